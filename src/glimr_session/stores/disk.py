"""The embedded store: one SQLite database in a directory, through diskcache."""

from __future__ import annotations

import functools
import logging
import os
import sqlite3
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Final, NamedTuple, ParamSpec, TypeVar

import diskcache

from ..errors import ConfigError, StoreUnavailable
from ..ids import fingerprint, storage_key
from ..payload import StoredSession, checked_items, decode_stored, encode_stored
from ..store import DEFAULT_LIFETIME, Data, Duration, SessionStore, seconds

if TYPE_CHECKING:
    from ..state import Changes

__all__ = ["DiskStore", "disk_store"]

logger = logging.getLogger("glimr_session")

P = ParamSpec("P")
R = TypeVar("R")

# Rows outlive their sessions by this many seconds, so that a clock which steps forward
# and back again has destroyed nothing.
_GRACE: Final = 3600.0

# What diskcache and the system underneath raise when the store cannot be used.
_OUTAGES: Final = (sqlite3.Error, diskcache.Timeout, OSError)


def _raising(
    doing: str,
) -> Callable[[Callable[Concatenate[DiskStore, P], R]], Callable[Concatenate[DiskStore, P], R]]:
    """Turn what an operation of the store fails with into StoreUnavailable."""

    def decorate(
        operation: Callable[Concatenate[DiskStore, P], R],
    ) -> Callable[Concatenate[DiskStore, P], R]:
        @functools.wraps(operation)
        def guarded(self: DiskStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return operation(self, *args, **kwargs)
            except _OUTAGES as error:
                raise self._outage(doing, error) from error

        return guarded

    return decorate


class DiskStore(SessionStore):
    """Keeps sessions in a directory of this machine, for any number of processes.

    ``directory`` is made with mode 0700 if it is missing; its parents must exist or be
    possible to make. ``lifetime`` is the idle and ``absolute_lifetime`` the absolute
    timeout, in seconds or as a ``timedelta``; 0 is no absolute timeout. ``timeout`` is
    how long to wait for another writer before ``StoreUnavailable``, likewise.

    A directory that others can read, that cannot be written or that holds no sessions
    is a ConfigError here and not an error of the first request. It must be on a local
    file system: SQLite's locks do not hold on a network one.
    """

    kind = "disk"
    atomic = True

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        lifetime: Duration = DEFAULT_LIFETIME,
        absolute_lifetime: Duration = timedelta(0),
        timeout: Duration = 5.0,
    ) -> None:
        self.lifetime = seconds("lifetime", lifetime)
        self.absolute_lifetime = seconds("absolute_lifetime", absolute_lifetime, zero=True)
        self.directory = Path(os.path.expandvars(directory)).expanduser().absolute()
        self._timeout = seconds("timeout", timeout)
        self._margin = self.lifetime / 10
        self._opening = threading.Lock()
        _check_directory(self.directory)
        try:
            self._cache: Any = _BoundedCache(self.directory, self._timeout)
        except _OUTAGES as error:
            raise StoreUnavailable(
                f"the session store in {self.directory} cannot be opened: {error}. "
                "If another process holds it, end that; if the file cache.db is damaged, "
                "move it away (the sessions in it are lost)."
            ) from error
        self._pid = os.getpid()
        self._inherited: list[Any] = []
        self._cache.close()  # whoever forks from here must not take a connection along

    @_raising("read")
    def open(self, cookie_value: str) -> StoredSession | None:
        found = self._find(self._opened(), cookie_value, time.time())
        if found is None:
            return None
        stored = found.stored
        stored.id, stored.created, stored.seen = cookie_value, found.created, found.seen
        return stored

    @_raising("write")
    def commit(self, changes: Changes) -> str | None:
        now = time.time()
        base = changes.base
        cache = self._opened()
        with cache.transaction():
            if base is None:
                return self._begin(cache, changes, now)
            found = self._find(cache, base.id, now)
            if found is None:
                return None
            if changes.moved or changes.invalidated:
                cache.delete(storage_key(base.id))
            if changes.invalidated:
                return self._begin(cache, changes, now)
            _merge(found.stored, changes, base.revision)
            if changes.moved:
                self._keep(cache, changes.id, found.stored, now, now)
            else:
                self._keep(cache, base.id, found.stored, now, found.created, found.collected)
        return changes.id

    @_raising("write")
    def touch(self, session_id: str) -> bool:
        now = time.time()
        cache = self._opened()
        with cache.transaction():
            found = self._find(cache, session_id, now)
            if found is None:
                return False
            cache.touch_row(storage_key(session_id), now, self._collect(found.created, now))
        return True

    @_raising("read")
    def load(self, session_id: str) -> tuple[Data, Data]:
        found = self._find(self._opened(), session_id, time.time())
        return ({}, {}) if found is None else (found.stored.data, found.stored.flash)

    @_raising("write")
    def save(self, session_id: str, data: Data, flash: Data) -> None:
        now = time.time()
        cache = self._opened()
        with cache.transaction():
            found = self._find(cache, session_id, now)
            revision = 1 if found is None else found.stored.revision + 1
            stored = StoredSession(
                data=checked_items(data),
                flash=checked_items(flash),
                revision=revision,
                flashed=dict.fromkeys(flash, revision),
            )
            self._keep(cache, session_id, stored, now, now if found is None else found.created)

    @_raising("write")
    def destroy(self, session_id: str) -> None:
        self._opened().delete(storage_key(session_id))

    @_raising("write")
    def gc(self) -> int:
        cache = self._opened()
        total = 0
        # A step of diskcache's ends early among entries of the very same expiry.
        while number := cache.expire():
            total += number
        return total

    def cookie_value(self, session_id: str, data: Data, flash: Data) -> str:
        return session_id

    def close(self) -> None:
        """Close the connection of this thread; the next use opens another."""
        if self._pid == os.getpid():
            self._cache.close()

    def _opened(self) -> Any:
        """Give the cache of this process, which after a fork is not its parent's."""
        if self._pid != os.getpid():
            with self._opening:
                if self._pid != os.getpid():
                    # Kept, for to free the parent's connections would be to close them.
                    self._inherited.append(self._cache)
                    self._cache = _BoundedCache(self.directory, self._timeout)
                    self._pid = os.getpid()
        return self._cache

    def _find(self, cache: Any, session_id: str, now: float) -> _Found | None:
        row = cache.find(storage_key(session_id))
        if row is None:
            return None
        created, seen, collected, mode, value = row
        if (
            type(created) is type(seen) is type(collected) is float
            and mode == _RAW
            and type(value) is bytes
        ):
            if now >= seen + self.lifetime:
                return None
            if self.absolute_lifetime and now >= created + self.absolute_lifetime:
                return None
            stored = decode_stored(value)
            if stored is not None:
                return _Found(stored, created, seen, collected)
        logger.warning(
            "The stored session %s is unreadable and counts as absent.", fingerprint(session_id)
        )
        return None

    def _begin(self, cache: Any, changes: Changes, now: float) -> str:
        data, flash = changes.replay({}, {})
        if not data and not flash:
            return ""
        stored = StoredSession(data=data, flash=flash, revision=1, flashed=dict.fromkeys(flash, 1))
        self._keep(cache, changes.id, stored, now, now)
        return changes.id

    def _keep(
        self,
        cache: Any,
        session_id: str,
        stored: StoredSession,
        now: float,
        created: float,
        collected: float = 0.0,
    ) -> None:
        """Write a session, and the index of what to collect if it has fallen behind.

        To move an entry of the index takes longer than all the rest of a commit. So
        sessions are entered with a margin, and moved when they have used it up.
        """
        key, value = storage_key(session_id), encode_stored(stored)
        due = self._collect(created, now)
        if due - collected < self._margin:
            cache.rewrite(key, value, now)
        else:
            cache.write(key, value, now, created, due)

    def _collect(self, created: float, now: float) -> float:
        """Give the time from which a session that is used now may be collected."""
        ends = now + self.lifetime + self._margin
        if self.absolute_lifetime:
            ends = min(ends, created + self.absolute_lifetime)
        return ends + _GRACE

    def _outage(self, doing: str, error: Exception) -> StoreUnavailable:
        if isinstance(error, diskcache.Timeout):
            reason = f"another writer has held it for {self._timeout:g} s"
        else:
            reason = str(error)
            self.close()  # a connection that failed may be stuck in its transaction
        return StoreUnavailable(
            f"the session store in {self.directory} could not {doing}: {reason}"
        )


class _Found(NamedTuple):
    """A row: what is in it, and its times in seconds since the epoch."""

    stored: StoredSession
    created: float
    seen: float
    collected: float


def _merge(found: StoredSession, changes: Changes, revision: int) -> None:
    """Replay the changes onto a stored session that may have moved on since revision."""
    newer = {key for key, set_in in found.flashed.items() if set_in > revision}
    found.data, found.flash = changes.replay(found.data, found.flash, newer=newer)
    found.revision += 1
    found.flashed = {
        key: found.revision if key in changes.flash else found.flashed.get(key, 0)
        for key in found.flash
    }


# diskcache's mode of a value that is in the database as it is: no file, no pickle.
_RAW: Final = 1

# diskcache's columns, in its own sense: store_time is when the id was made, access_time
# when the session was last used, expire_time when the row may be collected. Only the last
# one is in an index.
_FIND: Final = """
    SELECT store_time, access_time, expire_time, mode, value FROM Cache WHERE key = ? AND raw = 1
"""
_WRITE: Final = """
    INSERT INTO Cache (key, raw, store_time, access_time, expire_time, mode, value)
    VALUES (?1, 1, ?2, ?3, ?4, 1, ?5)
    ON CONFLICT (key, raw) DO UPDATE SET
        store_time = ?2, access_time = ?3, expire_time = ?4, mode = 1, filename = NULL, value = ?5
"""
_REWRITE: Final = "UPDATE Cache SET access_time = ?, value = ? WHERE key = ? AND raw = 1"
_TOUCH: Final = "UPDATE Cache SET access_time = ?, expire_time = ? WHERE key = ? AND raw = 1"


class _BytesDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Bytes in, bytes out, all in the database.

    diskcache's own pickles what it does not know and unpickles what it is given
    (JSONDisk too: CVE-2025-69872), and writes large values to files beside the
    database, which are lost when a transaction rolls back.
    """

    def put(self, key: Any) -> Any:
        return key, True

    def get(self, key: Any, raw: bool) -> bytes:
        return key if raw and type(key) is bytes else b""

    def store(self, value: Any, read: bool, key: Any = None) -> Any:
        return 0, _RAW, None, value

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> bytes:
        return value if mode == _RAW and type(value) is bytes else b""

    def remove(self, file_path: str) -> None:
        """Remove nothing: a file name in a row can only have been planted."""


class _BoundedCache(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
    """A cache that never drops an entry by itself, and waits so long and no longer."""

    def __init__(self, directory: Path, timeout: float) -> None:
        self._patience = timeout
        super().__init__(
            str(directory),
            timeout=timeout,  # pyright: ignore[reportArgumentType]  # fractions are fine
            disk=_BytesDisk,
            # The defaults drop live entries once there is a gigabyte of them.
            eviction_policy="none",
            cull_limit=0,
        )

    transaction = diskcache.Cache._transact
    """BEGIN IMMEDIATE, and COMMIT, or ROLLBACK after an exception."""

    # get, set and touch of diskcache, without what sessions have no use for: they take
    # twice the time, for a nested transaction, files and statistics.

    def find(self, key: bytes) -> Any:
        """Give created, seen, collected, mode and value of a row, or None."""
        return self._sql(_FIND, (key,)).fetchone()

    def write(
        self, key: bytes, value: bytes, seen: float, created: float, collected: float
    ) -> None:
        """Insert a row, or replace everything in it."""
        self._sql(_WRITE, (key, created, seen, collected, value))

    def rewrite(self, key: bytes, value: bytes, seen: float) -> None:
        """Replace the value of a row."""
        self._sql(_REWRITE, (seen, value, key))

    def touch_row(self, key: bytes, seen: float, collected: float) -> None:
        """Push on a row and leave its value alone."""
        self._sql(_TOUCH, (seen, collected, key))

    @property
    def _sql_retry(self) -> Callable[..., sqlite3.Cursor]:
        # diskcache's own, for each of the thirty statements of a set-up, tries for 60 s.
        return self._retrying

    def _retrying(self, statement: str, *args: Any) -> sqlite3.Cursor:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                cursor: sqlite3.Cursor = self._sql(statement, *args)
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.001)
            else:
                return cursor


def _check_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(directory.stat().st_mode)
    except OSError as error:
        raise ConfigError(
            f"directory: {directory} cannot be made: {error.strerror}. Name one that can."
        ) from error
    if mode & 0o077:
        raise ConfigError(
            f"directory: {directory} is open to others (mode {mode:04o}), and who reads or "
            f"writes it can read or forge sessions. Run: chmod 700 {directory}"
        )
    try:
        if mode & 0o300 != 0o300:  # root may write all the same, and nobody meant it to
            raise PermissionError(13, f"mode {mode:04o}")
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise ConfigError(
            f"directory: {directory} cannot be written: {error.strerror}. "
            f"Run: chmod 700 {directory}, or name another one."
        ) from error


disk_store = DiskStore
