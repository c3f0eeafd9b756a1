"""What a session costs when there are many of them, or much in it.

The same is done to a store with a thousand sessions, with a hundred thousand and with a
million. Who comes next is drawn at random: from all of them, the worst there is, for no
cache holds what is needed; and from a thousand active ones among them, as on a site. A
bare database with as many of the same rows shows what SQLite alone makes of it: one
SELECT by the number of a row, one UPDATE, nothing around them.

What these cases do not show: a database that is larger than the memory of the machine,
where a page that is in no cache comes from the disk; the making of so many sessions; and
a session that comes back after a tenth of its lifetime, whose next commit pushes it on in
an index, once. The sessions here were all used within a minute.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final, NamedTuple

from glimr_session import DiskStore, Json, encode_payload
from glimr_session.payload import decode_stored
from glimr_session.state import Changes

from ..case import Case, Place, Side, Target, Timed, require_equal
from ..measure import Arm
from ..ours import glimr_site
from ..population import Part, cookies_of, copy, id_of, populate, require_room
from ..sample import SAMPLE
from ..site import bare_site, in_turn, visiting

__all__ = ["PLACES", "SECONDS", "cases"]

PLACES: Final = ("tmpfs", "disk")
SECONDS: Final = 50

_SIZES: Final = {"1 million": 1_000_000, "100 thousand": 100_000, "1 thousand": 1_000}
_QUICK_SIZES: Final = {"50 thousand": 50_000, "5 thousand": 5_000, "1 thousand": 1_000}

_IN_USE: Final = 60.0  # seconds since the last use of the one that was used first
_ACTIVE: Final = 1_000

# Twice as many as there are pages in a connection's cache, so that what is drawn from a
# million has gone from there when it comes round again.
_DRAWN: Final = 20_000

_LIMIT: Final = 1.3

_ALL: Final = "of all"
_ONE_PAGE: Final = (
    "of a million that are drawn at random, the page of each is in no cache of SQLite's, and to "
    "fetch it takes a third of an open; a bare SELECT by the number of the row grows more"
)

_EACH: Final = 3.5  # seconds for a case of many sessions
_EACH_LARGE: Final = 1.5


def cases(place: Place) -> Iterator[Case]:
    """Yield what is done to stores of several sizes, then to sessions of several sizes."""
    sizes = _QUICK_SIZES if place.quick else _SIZES
    require_room(place.directory, 2 * sum(sizes.values()))
    yield from _many_sessions(place.directory, sizes)
    yield from _large_sessions(place.directory)


class _Crowd(NamedTuple):
    """A store, the same rows in a bare database, and those of its sessions that were drawn."""

    store: DiskStore
    bare: sqlite3.Connection
    ids: Sequence[str]
    rows: Sequence[int]


def _many_sessions(directory: Path, sizes: Mapping[str, int]) -> Iterator[Case]:
    with ExitStack() as ending:
        stores: dict[str, DiskStore] = {}
        bares: dict[str, sqlite3.Connection] = {}
        for name, size in sizes.items():
            source = directory / f"{size} sessions"
            populate(source, Part(range(size), _IN_USE))
            beside = copy(source, directory / f"{size} rows")
            stores[name] = ending.enter_context(closing(DiskStore(source)))
            bares[name] = ending.enter_context(closing(_bare(beside)))
        for who, most in ((_ALL, max(sizes.values())), ("of 1,000 active", _ACTIVE)):
            crowds = {
                name: _draw(stores[name], bares[name], size, most) for name, size in sizes.items()
            }
            yield from _of_crowds(who, crowds)


def _draw(store: DiskStore, bare: sqlite3.Connection, size: int, most: int) -> _Crowd:
    """Draw visitors, with replacement, from so many of a store's sessions."""
    lots = random.Random(most)
    pool: Sequence[int] = range(size) if most >= size else lots.sample(range(size), most)
    ids = [id_of(lots.choice(pool)) for _ in range(_DRAWN)]
    rows = []
    for session_id in ids:
        found = store.open(session_id)
        if found is None:
            raise RuntimeError("a session of the population is not there")
        rows.append(found.row)
    return _Crowd(store, bare, ids, rows)


def _of_crowds(who: str, crowds: Mapping[str, _Crowd]) -> Iterator[Case]:
    """Yield one open, one open and commit, and one request that reads and writes."""
    most, *_, least = crowds

    def targets(what: str) -> list[Target]:
        promise = f"{what}, {who}: with {most} sessions at most {_LIMIT} times as with {least}"
        miss = _ONE_PAGE if (what, who) == ("open", _ALL) else ""
        return [Target(promise, yardstick=least, limit=_LIMIT, known_miss=miss)]

    for crowd in crowds.values():
        _prove(crowd)
    yield Timed(
        name=f"open, {who}",
        group="growth",
        sides={
            **{name: Side(_opening(crowd.store, crowd.ids)) for name, crowd in crowds.items()},
            **{f"SQLite, {name}": Side(_selecting(crowd)) for name, crowd in crowds.items()},
        },
        targets=targets("open"),
        seconds=_EACH,
    )
    yield Timed(
        name=f"open and commit, {who}",
        group="growth",
        sides={
            **{name: Side(_committing(crowd.store, crowd.ids)) for name, crowd in crowds.items()},
            **{f"SQLite, {name}": Side(_updating(crowd)) for name, crowd in crowds.items()},
        },
        targets=targets("open and commit"),
        seconds=_EACH,
    )
    without = bare_site()
    visits = {}
    for name, crowd in crowds.items():
        cookies = cookies_of(crowd.store, crowd.ids)
        visits[name] = Side(
            visiting(glimr_site(crowd.store), "/visit", cookies),
            visiting(without, "/visit", cookies),
        )
    yield Timed(
        name=f"a request that reads and writes, {who}",
        group="growth",
        sides=visits,
        targets=targets("a request that reads and writes"),
        seconds=_EACH,
    )


def _opening(store: DiskStore, ids: Sequence[str]) -> Arm:
    turns = in_turn(ids)

    def opened() -> object:
        return store.open(next(turns))

    return opened


def _committing(store: DiskStore, ids: Sequence[str]) -> Arm:
    """Make an arm that commits one key: a visit more, or the text that was there."""
    turns = in_turn(ids)

    def commit() -> object:
        base = store.open(next(turns))
        assert base is not None
        key = next(reversed(base.data))
        value = base.data[key]
        edits = {key: value + 1 if type(value) is int else value}
        return store.commit(Changes(base, base.id, edits=edits))

    return commit


# What the store reads of a row, and what it writes at a commit.
_SELECT: Final = """
    SELECT rowid, store_time, access_time, access_count, expire_time, value, tag, key
    FROM Cache WHERE rowid = ?
"""
_UPDATE: Final = """
    UPDATE Cache SET access_time = ?, access_count = ?, value = ?, tag = ? WHERE rowid = ?
"""


def _bare(directory: Path) -> sqlite3.Connection:
    """Connect to a store's database with its settings, and nothing around it."""
    connection = sqlite3.connect(directory / "cache.db", isolation_level=None)
    for setting in ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = 8192"):
        connection.execute(f"PRAGMA {setting}")
    return connection


def _selecting(crowd: _Crowd) -> Callable[[], tuple[Any, ...]]:
    turns = in_turn(crowd.rows)
    bare = crowd.bare

    def select() -> tuple[Any, ...]:
        found: tuple[Any, ...] = bare.execute(_SELECT, (next(turns),)).fetchone()
        return found

    return select


def _updating(crowd: _Crowd) -> Arm:
    turns = in_turn(crowd.rows)
    bare = crowd.bare

    def update() -> object:
        found = bare.execute(_SELECT, (next(turns),)).fetchone()
        number, _, _, revision, _, value, tag, _ = found
        return bare.execute(_UPDATE, (time.time(), revision + 1, value, tag, number))

    return update


def _prove(crowd: _Crowd) -> None:
    """See that the store and the bare database find a session, and that each writes it once."""
    session_id, row = crowd.ids[0], crowd.rows[0]
    found = [_found(crowd, session_id, row)]
    _committing(crowd.store, [session_id])()
    _updating(crowd._replace(rows=[row]))()
    found.append(_found(crowd, session_id, row))
    (revision, bare_revision), after = found
    require_equal("a commit", expected=(revision + 1, bare_revision + 1), after=after)


def _found(crowd: _Crowd, session_id: str, row: int) -> tuple[int, int]:
    """See what both find of a session; give how often it has been written in each."""
    opened = crowd.store.open(session_id)
    (number, _, _, revision, _, value, _, _) = _selecting(crowd._replace(rows=[row]))()
    selected = decode_stored(value)
    assert opened is not None
    assert selected is not None
    require_equal(
        "a session",
        expected=(row, {**SAMPLE, "visits": 0}),
        opened=(opened.row, {**opened.data, "visits": 0}),
        selected=(number, {**selected.data, "visits": 0}),
    )
    return opened.revision, revision


def _large_sessions(directory: Path) -> Iterator[Case]:
    """Yield one open, and one open and commit, by the number of keys and by the size."""
    kinds = {
        "by keys, 3 kB": {f"{keys} keys": _data(keys, 3_000) for keys in (1, 10, 100)},
        "by size, 10 keys": {f"{size / 1000:g} kB": _data(10, size) for size in _BYTES},
    }
    with ExitStack() as ending:
        for number, (kind, samples) in enumerate(kinds.items()):
            stores = {}
            for name, data in samples.items():
                place = directory / f"{number} {name}"
                populate(place, Part(range(_ACTIVE), _IN_USE), data=data)
                stores[name] = ending.enter_context(closing(DiskStore(place)))
            ids = [id_of(number) for number in range(_ACTIVE)]
            for what, make in (("open", _opening), ("open and commit", _committing)):
                yield Timed(
                    name=f"{what}, {kind}",
                    group="size",
                    sides={name: Side(make(store, ids)) for name, store in stores.items()},
                    seconds=_EACH_LARGE,
                )


_BYTES: Final = (300, 3_000, 30_000)


def _data(keys: int, size: int) -> dict[str, Json]:
    """Make data of so many keys that takes so many bytes as JSON."""
    names = [f"key{number}" for number in range(keys)]
    empty = len(encode_payload(dict.fromkeys(names, ""), {}))
    each, more = divmod(size - empty, keys)
    return {name: "x" * (each + (position < more)) for position, name in enumerate(names)}
