"""The disk store's database: runs operations on pooled connections, and watches its file."""

from __future__ import annotations

import logging
import math
import sqlite3
import stat
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

from ..._forks import ForkHold, hold_off_forks
from ...errors import ConfigError, StoreUnavailable
from .files import (
    DATABASE,
    Identity,
    check_directory,
    ensure_database,
    exclusive_lock,
    file_identity,
    open_to_others,
)
from .pool import CHECKPOINT_PAGES, LOCKED, ConnectionPool, PooledConnection, WouldBlock
from .queries import SessionConnection

__all__ = ["Database", "is_damage", "is_locked"]

logger = logging.getLogger("glimr_session")

R = TypeVar("R")
Arguments = TypeVarTuple("Arguments")

_OUTAGES: Final = (sqlite3.Error, OSError)
"""What an operation raises when the database cannot be used."""

# Seconds between two attempts at a database that another process is writing to: at first,
# and at most. A commit takes half of the former, a batch of removals half of the latter;
# SQLite's own pauses begin at 1 ms, and grow to a hundred times as much.
_FIRST_PAUSE: Final = 0.0001
_MAX_PAUSE: Final = 0.0005

# Seconds between two checks whether the database is still there and private. To check at
# each operation would take a tenth of what opening a session takes.
_CHECK_INTERVAL: Final = 1.0

_PAGE: Final = 4096  # bytes: SQLite's default

_WHEN_DAMAGED: Final = (
    "if the file cache.db is damaged, move it away, and a new one is begun "
    "(the sessions in it are lost)."
)


class Database:
    """A database in a directory of its own, for all threads and processes.

    Operations are functions of a connection. If another process holds the lock, they are
    repeated; until then they must have done nothing. What they fail with becomes
    StoreUnavailable.

    Args:
        directory: where the database is; made with mode 0700 if it is missing.
        timeout: seconds to wait for another writer.
        durability: ``process`` or ``power``.

    Raises:
        ConfigError: the directory is not private or cannot be written.
        StoreUnavailable: the database is damaged or cannot be opened.
    """

    _pool: ConnectionPool
    _identity: Identity | None
    _page_size: int

    def __init__(self, directory: Path, *, timeout: float, durability: str) -> None:
        self.directory = directory
        self._path = directory / DATABASE
        self._timeout = timeout
        self._durability = durability
        self.operations = 0
        """Operations since start; ``gc()`` uses it to tell whether the store is idle."""
        self._logged = 0  # pages in the write-ahead log, as far as this process knows
        self._last_failure = (-math.inf, "")  # when it was last opened in vain, and why
        self._open()
        self._next_check = time.monotonic() + _CHECK_INTERVAL

    def read(
        self,
        operation: Callable[[SessionConnection, *Arguments], R],
        *args: *Arguments,
    ) -> R:
        """Return what an operation that only reads returns."""
        return self._run("read", operation, args, wait=True)

    def write(
        self,
        operation: Callable[[SessionConnection, *Arguments], R],
        *args: *Arguments,
    ) -> R:
        """Return what an operation that writes returns."""
        return self._run("write", operation, args, wait=True)

    def write_now(
        self,
        operation: Callable[[SessionConnection, *Arguments], R],
        *args: *Arguments,
    ) -> R:
        """As ``write``, but raise WouldBlock instead of waiting for another writer."""
        return self._run("write", operation, args, wait=False)

    def note_logged(self, entries: int, size: int = 0) -> None:
        """Count what an operation adds to the write-ahead log.

        Args:
            entries: changed pages of table and indexes.
            size: bytes of the value.
        """
        self._logged += entries + size // _PAGE

    def close(self) -> None:
        """Close what is open and not in use."""
        self._pool.close_idle()

    def _run(
        self,
        doing: str,
        operation: Callable[[SessionConnection, *Arguments], R],
        args: tuple[*Arguments],
        *,
        wait: bool,
    ) -> R:
        writes = doing == "write"
        pool = self._pool
        pooled: PooledConnection | None = None
        failure: sqlite3.Error | None = None
        self.operations += 1
        try:
            if time.monotonic() >= self._next_check:
                pool = self._check_files()
            pooled = pool.acquire()
            connection = pooled.connection
            deadline, pause = 0.0, _FIRST_PAUSE
            while True:
                try:
                    result = operation(connection, *args)
                    break
                except sqlite3.OperationalError as error:
                    if not wait and is_locked(error) and not connection.in_transaction:
                        raise WouldBlock from None
                    deadline = deadline or time.monotonic() + self._timeout
                    self._wait_for_lock(error, connection, deadline, pause)
                    pause = min(1.5 * pause, _MAX_PAUSE)
            if writes:
                self._logged += 1
                if self._logged >= CHECKPOINT_PAGES:
                    failure = self._checkpoint(connection)
        except WouldBlock:
            if pooled is not None:
                pool.release(pooled)
            raise
        except BaseException as error:
            self._next_check = 0.0
            if pooled is not None:
                pooled.close()
            # Session ids are locals of this frame; drop them, since some loggers print
            # locals with tracebacks.
            del args
            if isinstance(error, _OUTAGES):
                raise self._outage(doing, error) from error.with_traceback(None)
            raise
        # No exception may close it now, for it may be back already. If none comes back, the
        # connection is closed because nothing references it any more.
        pool.release(pooled)
        if failure is not None:  # the commit is done all the same; the next one tells
            logger.warning("WAL checkpoint failed: %s", failure)
        return result

    def _wait_for_lock(
        self,
        error: sqlite3.OperationalError,
        connection: SessionConnection,
        deadline: float,
        pause: float,
    ) -> None:
        """Sleep before another attempt, or raise the error if there is no point in one."""
        if not is_locked(error) or connection.in_transaction or time.monotonic() >= deadline:
            raise error
        time.sleep(pause)

    def _checkpoint(self, connection: SessionConnection) -> sqlite3.Error | None:
        """Move the write-ahead log into the database, after a write; return what failed.

        SQLite would have the commit that comes to a thousand pages do it, for some 20 ms,
        and all other writers would wait for that commit. It does one checkpoint at a time.
        """
        self._logged = 0
        try:
            connection.checkpoint()
        except sqlite3.Error as error:
            return error
        return None

    # The file.

    def _open(self, gone: ConnectionPool | None = None) -> bool:
        """Open the database that is there now, or make one.

        Args:
            gone: the pool on the database that was there before. Of the threads that need a
                new one, one tries at a time, and once a second.

        Returns:
            Whether this thread opened it; else another one has.
        """
        started = time.monotonic()
        check_directory(self.directory)
        hold: ForkHold | None = None
        try:
            hold = hold_off_forks(self._timeout)
            with exclusive_lock(self.directory, self._timeout):
                if gone is not None and gone is not self._pool:
                    return False
                failed_at, failure = self._last_failure
                if started < failed_at + _CHECK_INTERVAL:
                    raise sqlite3.DatabaseError(failure)
                try:
                    ensure_database(
                        self.directory,
                        timeout=self._timeout,
                        replaces_log=None if gone is None else gone.log_identity,
                    )
                    pool = ConnectionPool(
                        self._path, timeout=self._timeout, durability=self._durability
                    )
                    with closing(pool.connect(hold)) as pooled:
                        ((self._page_size,),) = pooled.connection.execute("PRAGMA page_size")
                except _OUTAGES as error:
                    self._last_failure = (time.monotonic(), str(error))
                    raise
                self._pool, self._identity = pool, file_identity(self._path)
                return True
        except _OUTAGES as error:
            raise StoreUnavailable(
                f"the session store in {self.directory} cannot be opened: {error}. "
                f"If another process holds it, end that; {_WHEN_DAMAGED}"
            ) from error.with_traceback(None)
        finally:
            hold = None  # the traceback would keep it, and each fork would wait

    def _check_files(self) -> ConnectionPool:
        """Check that the database is there and private, or make it anew; return the pool."""
        try:
            mode = stat.S_IMODE(self.directory.stat().st_mode)
            if mode & 0o077:
                raise StoreUnavailable(open_to_others(self.directory, mode))
            in_place = self._is_in_place()
        except FileNotFoundError:
            in_place = False
        except _OUTAGES as error:
            raise self._outage("be used", error) from error
        if not in_place:
            self._reopen(self._pool)
        self._next_check = time.monotonic() + _CHECK_INTERVAL
        return self._pool

    def _is_in_place(self) -> bool:
        """Whether the file is still the same: neither deleted nor replaced.

        Raises:
            sqlite3.DatabaseError: it was cut short. SQLite would go on serving from memory,
                and writing, until it is too late to tell.
        """
        found = self._path.stat()
        if (found.st_dev, found.st_ino) != self._identity:
            return False
        self._pool.note_log()
        if found.st_size == 0 or found.st_size % self._page_size:
            raise sqlite3.DatabaseError("malformed: the file was cut short")
        return True

    def _reopen(self, gone: ConnectionPool) -> None:
        """Open what is there now, unless another thread does."""
        try:
            opened = self._open(gone)
        except ConfigError as error:
            raise StoreUnavailable(str(error)) from error
        gone.close_idle()
        if opened:
            logger.warning(
                "The session database in %s was deleted or replaced while it was in use. What is "
                "there now is used; the sessions that are not in it are lost.",
                self.directory,
            )

    def _outage(self, doing: str, error: Exception) -> StoreUnavailable:
        if is_locked(error):
            reason = f"another writer has held it for {self._timeout:g} s"
        elif is_damage(error):
            reason = f"{error}. {_WHEN_DAMAGED.capitalize()}"
        else:
            reason = str(error)
        return StoreUnavailable(
            f"the session store in {self.directory} could not {doing}: {reason}"
        )


def is_locked(error: Exception) -> bool:
    """Whether another writer held the database for longer than the timeout."""
    return isinstance(error, sqlite3.OperationalError) and LOCKED in str(error)


def is_damage(error: Exception) -> bool:
    """Whether the file is no database, or not all of one."""
    return isinstance(error, sqlite3.DatabaseError) and any(
        words in str(error)
        for words in ("malformed", "not a database", "no such table", "no such column")
    )
