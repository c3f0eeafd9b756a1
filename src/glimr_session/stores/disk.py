"""The embedded store: sessions in a directory of this machine."""

from __future__ import annotations

import functools
import logging
import math
import os
import stat
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar

from ..errors import ConfigError, StoreUnavailable
from ..ids import storage_key
from ..payload import StoredSession, checked_items, decode_stored, encode_stored
from ..store import DEFAULT_LIFETIME, Data, Duration, SessionStore, seconds
from .database import OUTAGES, Connection, Database, Row, is_locked

if TYPE_CHECKING:
    from ..state import Changes

__all__ = ["DiskStore", "disk_store"]

logger = logging.getLogger("glimr_session")

P = ParamSpec("P")
R = TypeVar("R")

# Rows outlive their sessions by this many seconds, so that a clock which steps forward
# and back again has destroyed nothing.
_GRACE: Final = 3600.0


def _lent(
    doing: str,
) -> Callable[
    [Callable[Concatenate[DiskStore, Connection, P], R]], Callable[Concatenate[DiskStore, P], R]
]:
    """Lend an operation a connection, and turn what it fails with into StoreUnavailable."""

    def decorate(
        operation: Callable[Concatenate[DiskStore, Connection, P], R],
    ) -> Callable[Concatenate[DiskStore, P], R]:
        @functools.wraps(operation)
        def lent(self: DiskStore, /, *args: P.args, **kwargs: P.kwargs) -> R:
            database = self._database
            connection = None
            try:
                connection = database.borrow()
                result = operation(self, connection, *args, **kwargs)
            except BaseException as error:
                if connection is not None:
                    database.drop(connection)
                if isinstance(error, OUTAGES):
                    raise self._outage(doing, error) from error
                raise
            database.give_back(connection)
            return result

        return lent

    return decorate


class DiskStore(SessionStore):
    """Keeps sessions in a directory of this machine, for any number of processes.

    ``directory`` is made with mode 0700 if it is missing; its parents must exist or be
    possible to make. ``lifetime`` is the idle and ``absolute_lifetime`` the absolute
    timeout, in seconds or as a ``timedelta``; 0 is no absolute timeout. ``timeout`` is
    how long to wait for another writer before ``StoreUnavailable``, likewise.

    A directory that others can read or that cannot be written is a ConfigError here, and
    a damaged database StoreUnavailable, not an error of the first request. It must be on
    a local file system: SQLite's locks do not hold on a network one.
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
        _check_directory(self.directory)
        try:
            self._database = Database(self.directory, self._timeout)
        except OUTAGES as error:
            raise StoreUnavailable(
                f"the session store in {self.directory} cannot be opened: {error}. "
                "If another process holds it, end that; if the file cache.db is damaged, "
                "move it away (the sessions in it are lost)."
            ) from error

    @_lent("read")
    def open(self, connection: Connection, cookie_value: str) -> StoredSession | None:
        found = self._find(connection, storage_key(cookie_value), time.time())
        if found is not None:
            found.id = cookie_value
        return found

    @_lent("write")
    def commit(self, connection: Connection, changes: Changes) -> str | None:
        now = time.time()
        base = changes.base
        if base is not None and not changes.moved and self._swap(connection, base, changes, now):
            return base.id
        with connection.transaction():
            if base is None:
                return self._begin(connection, changes, now)
            key = storage_key(base.id)
            found = self._find(connection, key, now)
            if found is None:
                return None
            if changes.moved:
                connection.remove(key)
            if changes.invalidated:
                return self._begin(connection, changes, now)
            row = self._row(
                _merged(found, changes, base.revision),
                revision=found.revision + 1,
                created=now if changes.moved else found.created,
                now=now,
            )
            connection.write(storage_key(changes.id), row)
        return changes.id

    @_lent("write")
    def touch(self, connection: Connection, session_id: str) -> bool:
        now = time.time()
        key = storage_key(session_id)
        with connection.transaction():
            found = self._find(connection, key, now)
            if found is None:
                return False
            connection.renew(key, now, self._collect(found.created, now))
        return True

    @_lent("read")
    def load(self, connection: Connection, session_id: str) -> tuple[Data, Data]:
        found = self._find(connection, storage_key(session_id), time.time())
        return ({}, {}) if found is None else (found.data, found.flash)

    @_lent("write")
    def save(self, connection: Connection, session_id: str, data: Data, flash: Data) -> None:
        now = time.time()
        key = storage_key(session_id)
        with connection.transaction():
            found = self._find(connection, key, now) or StoredSession(created=now)
            revision = found.revision + 1
            value = _encoded(checked_items(data), checked_items(flash), set_in=revision)
            row = self._row(value, revision=revision, created=found.created, now=now)
            connection.write(key, row)

    @_lent("write")
    def destroy(self, connection: Connection, session_id: str) -> None:
        connection.remove(storage_key(session_id))

    def gc(self) -> int:
        total = 0
        while (number := self._collect_some()) is not None:
            total += number
        return total

    def cookie_value(self, session_id: str, data: Data, flash: Data) -> str:
        return session_id

    def close(self) -> None:
        self._database.close_idle()

    @_lent("write")
    def _collect_some(self, connection: Connection) -> int | None:
        return connection.collect(
            time.time(), self.lifetime + _GRACE, (self.absolute_lifetime or math.inf) + _GRACE
        )

    def _find(self, connection: Connection, key: bytes, now: float) -> StoredSession | None:
        row = connection.find(key)
        if row is None:
            return None
        created, seen, revision, collected, value, mode = row
        ours = (
            type(created) is type(seen) is type(collected) is float
            and type(revision) is type(mode) is int
            and type(value) is bytes
        )
        stored = decode_stored(value) if ours and mode == 1 else None
        if stored is None:
            logger.warning(
                "The stored session %s is unreadable and counts as absent.", key.hex()[:8]
            )
            return None
        if now >= seen + self.lifetime or now >= self._end(created):
            return None
        stored.created, stored.seen = created, seen
        stored.revision, stored.collected = revision, collected
        return stored

    def _swap(
        self, connection: Connection, base: StoredSession, changes: Changes, now: float
    ) -> bool:
        """Commit onto the very version that the request opened, if nobody came between.

        One statement and no transaction: half the time of the other way, which is
        there for all other cases.
        """
        if not base.revision or now >= self._end(base.created):
            return False
        if self._collect(base.created, now) - base.collected >= self._margin:
            return False
        return connection.swap(
            storage_key(base.id),
            base.revision,
            _merged(base, changes, base.revision),
            now,
            created=base.created,
            seen=now - self.lifetime,
        )

    def _begin(self, connection: Connection, changes: Changes, now: float) -> str:
        data, flash = changes.replay({}, {})
        if not data and not flash:
            return ""
        row = self._row(_encoded(data, flash, set_in=1), revision=1, created=now, now=now)
        connection.write(storage_key(changes.id), row)
        return changes.id

    def _row(self, value: bytes, *, revision: int, created: float, now: float) -> Row:
        return Row(created, now, revision, self._collect(created, now), value)

    def _end(self, created: float) -> float:
        """Give the time of the absolute timeout."""
        return created + self.absolute_lifetime if self.absolute_lifetime else math.inf

    def _collect(self, created: float, now: float) -> float:
        """Give the time from which a session that is used now may be collected.

        With a margin, so that a session in use need not be pushed on at each commit.
        """
        return min(now + self.lifetime + self._margin, self._end(created)) + _GRACE

    def _outage(self, doing: str, error: Exception) -> StoreUnavailable:
        if is_locked(error):
            reason = f"another writer has held it for {self._timeout:g} s"
        else:
            reason = str(error)
        return StoreUnavailable(
            f"the session store in {self.directory} could not {doing}: {reason}"
        )


def _merged(found: StoredSession, changes: Changes, revision: int) -> bytes:
    """Replay changes onto a stored session that may have moved on since a revision."""
    if not found.flash:
        data, flash = changes.replay(found.data, found.flash)
        return _encoded(data, flash, set_in=found.revision + 1)
    newer = {key for key, set_in in found.flashed.items() if set_in > revision}
    data, flash = changes.replay(found.data, found.flash, newer=newer)
    flashed = {
        key: found.revision + 1 if key in changes.flash else found.flashed.get(key, 0)
        for key in flash
    }
    return encode_stored(StoredSession(data=data, flash=flash, flashed=flashed))


def _encoded(data: Data, flash: Data, *, set_in: int) -> bytes:
    """Encode what is in no column of its own; all of the flash was set in one revision."""
    return encode_stored(
        StoredSession(data=data, flash=flash, flashed=dict.fromkeys(flash, set_in))
    )


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
