"""Stores with many sessions in them: a million in some fifteen seconds, half a gigabyte.

The rows are those that the store makes for a request which begins a session, as is shown
for one of them. What makes it fast is one transaction, and indexes that are made in the end.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

from glimr_session import DiskStore, Json, SessionConfig
from glimr_session.ids import storage_key
from glimr_session.state import Changes
from glimr_session.stores.rows import _INSERT, Connection, checksum, first_number

from .ours import SECRET
from .sample import SAMPLE

__all__ = ["Part", "cookies_of", "copy", "id_of", "populate", "require_room"]

_FILE: Final = "cache.db"  # diskcache's name for it

_BYTES: Final = 600  # of a session of the sample, and of what its part in a log takes

_INDEXES: Final = """
    SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'Cache' AND sql > ''
"""


class Part(NamedTuple):
    """Some of the sessions, by their numbers, that were last used so many seconds ago."""

    numbers: Iterable[int]
    oldest: float
    newest: float = 0.0


def id_of(number: int) -> str:
    """Give an id like those that are made at random, but the same in every process."""
    return blake2b(number.to_bytes(8), digest_size=32, person=b"benchmarks").hexdigest()


def populate(directory: Path, *parts: Part, data: Mapping[str, Json] = SAMPLE) -> None:
    """Make a store with sessions in it that all hold the same."""
    store = DiskStore(directory)
    connection = store._database.borrow()
    try:
        # Rows come in the order of a hash, as in life: each goes to another page.
        connection.execute("PRAGMA cache_size = -1000000")  # kB
        connection.execute("PRAGMA journal_mode = MEMORY")  # a log would be as large again
        connection.execute("PRAGMA synchronous = OFF")
        with connection.transaction():
            indexes = connection.execute(_INDEXES).fetchall()
            for name, _ in indexes:
                connection.execute(f"DROP INDEX {name}")
            for part in parts:
                _fill(store, connection, part, data)
            for _, statement in indexes:
                connection.execute(statement)
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        store._database.drop(connection)
        store.close()
    _prove(directory, parts, data)


def _fill(store: DiskStore, connection: Connection, part: Part, data: Mapping[str, Json]) -> None:
    """Insert a part's sessions: what the store itself makes of the first, for all of them."""
    numbers = list(part.numbers)
    latest = time.time() - part.newest
    step = (part.oldest - part.newest) / len(numbers)
    template = _begun(store, connection, id_of(numbers[0]), data, latest)
    value: bytes = template[-2]

    def rows() -> Iterator[tuple[object, ...]]:
        for position, number in enumerate(numbers):
            key = storage_key(id_of(number))
            then = latest - step * (position * 7_919 % len(numbers))
            row = store._row(key, value, revision=1, created=then, now=then)
            yield first_number(key), *row, checksum(key, value)

    if next(rows()) != template:
        raise RuntimeError("the store makes other rows of sessions than are made here")
    connection.executemany(_INSERT, rows())


def _begun(
    store: DiskStore, connection: Connection, session_id: str, data: Mapping[str, Json], then: float
) -> tuple[Any, ...]:
    """Give the row that the store makes for a request that begins a session."""
    store._begin(connection, Changes(None, session_id, edits=data), then)
    columns = "rowid, key, store_time, access_time, access_count, expire_time, value, tag"
    (row,) = connection.execute(
        f"SELECT {columns} FROM Cache WHERE key = ?", (storage_key(session_id),)
    )
    connection.execute("DELETE FROM Cache WHERE rowid = ?", (row[0],))
    return tuple(row)


def _prove(directory: Path, parts: Iterable[Part], data: Mapping[str, Json]) -> None:
    """See that the store finds what is in it, and only while it has not expired."""
    store = DiskStore(directory)
    lifetime = float(store.lifetime)
    try:
        for numbers, oldest, newest in parts:
            for number in list(numbers)[::9_973]:
                found = store.open(id_of(number))
                if found is None:
                    held = newest >= lifetime
                else:
                    held = oldest <= lifetime and found.data == data
                if not held:
                    raise RuntimeError(f"session {number} of {directory} came out as {found}")
    finally:
        store.close()


def copy(source: Path, target: Path) -> Path:
    """Copy a store that nobody has open; give where it is."""
    target.mkdir(mode=0o700, parents=True)
    shutil.copyfile(source / _FILE, target / _FILE)
    (target / _FILE).chmod(0o600)
    return target


def cookies_of(store: DiskStore, ids: Iterable[str]) -> Sequence[str]:
    """Give the cookies that browsers send for these sessions."""
    cookie = SessionConfig(secret_keys=[SECRET]).make_cookie(store)
    return [cookie.set(session_id, secure=True).partition(";")[0] for session_id in ids]


def require_room(directory: Path, sessions: int) -> None:
    """Refuse to begin where there is no room for so many sessions."""
    free = shutil.disk_usage(directory).free
    if free < sessions * _BYTES:
        raise RuntimeError(
            f"{sessions:,} sessions take {sessions * _BYTES / 1e9:.1f} GB, and in {directory} "
            f"{free / 1e9:.1f} GB are free; name another directory, or make room"
        )
