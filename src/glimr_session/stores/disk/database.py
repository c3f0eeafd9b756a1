"""The disk store's database: runs operations on pooled connections, and watches its file."""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any, Final, TypeVar, TypeVarTuple

from ..._forks import ForkHold, hold_off_forks
from ..._log import warn
from ...errors import ConfigError, StoreUnavailable
from .directory import DATABASE, Directory
from .files import (
    Identity,
    check_database,
    check_format,
    ensure_database,
    exclusive_lock,
    file_identity,
)
from .log import LOST, PUT_BACK, LogLost
from .pool import ConnectionPool, PooledConnection, WouldBlock
from .queries import SessionConnection

__all__ = ["Database", "is_damage", "is_locked"]

logger = logging.getLogger("glimr_session")

R = TypeVar("R")
Arguments = TypeVarTuple("Arguments")

_OUTAGES: Final = (sqlite3.Error, OSError)
"""What an operation raises when the database cannot be used."""

_FAILURES: Final = (*_OUTAGES, LogLost, ConfigError)
"""What becomes StoreUnavailable while the store is in use."""

# Seconds between two attempts at a database that another process is writing to: at first,
# and at most. A commit takes half of the former, a batch of removals half of the latter;
# SQLite's own pauses begin at 1 ms, and grow to a hundred times as much.
_FIRST_PAUSE: Final = 0.0001
_MAX_PAUSE: Final = 0.0005

# Seconds between two checks whether the database is still there and private. To check at
# each operation would take a tenth of what opening a session takes.
_CHECK_INTERVAL: Final = 1.0

_PAGE: Final = 4096  # bytes: SQLite's default

# Pages in the write-ahead log after which it is time for a checkpoint: SQLite's default. If the
# log has four times as many, writers have never left it alone, and it is begun anew with the
# write lock held. In one of a few attempts the lock is free; the longer the log, the more are
# made, up to some hundred milliseconds of them.
CHECKPOINT_PAGES: Final = 1000
_MAX_PAGES: Final = 4 * CHECKPOINT_PAGES
_RESTARTS: Final = 3
_MAX_URGENCY: Final = 10

# A log that has grown, beside a long reader say, is cut to the size that a checkpoint leaves;
# so many bytes at a time, for some 10 ms, since other writers wait for that.
_LOG_SIZE: Final = CHECKPOINT_PAGES * _PAGE
_CUT: Final = 32 * 1024 * 1024

# Bytes of the log from which on it is told that somebody keeps it from being moved.
_LONG_LOG: Final = 64 * 1024 * 1024

_WHEN_DAMAGED: Final = (
    "if the file cache.db is damaged, move it away, and a new one is begun "
    "(the sessions in it are lost)."
)


class Database:
    """A database in a directory of its own, for all threads and processes.

    Operations are functions of a connection. If another process holds the lock, they are
    repeated; until then they must have done nothing. What they fail with becomes
    StoreUnavailable.

    An outage is no error of the constructor: a site starts, and each operation tries again.
    What is read is read all the same, if the file cannot change meanwhile.

    Args:
        directory: where the database is; made if it is missing.
        timeout: seconds to wait for another writer.
        durability: ``process`` or ``power``.

    Raises:
        ConfigError: the directory is not private, or cannot be used for another reason that
            does not pass.
    """

    def __init__(self, directory: Directory, *, timeout: float, durability: str) -> None:
        self.directory = directory.path
        self._rules = directory
        self._path = directory.path / DATABASE
        self._timeout = timeout
        self._durability = durability
        self.operations = 0
        """Operations since start; ``gc()`` uses it to tell whether the store is idle."""
        self._logged = 0  # pages in the write-ahead log, as far as this process knows
        self._identity: Identity | None = None  # of the file that is open; None: none is yet
        self._page_size = _PAGE
        # When it was last opened in vain, and what was raised: not the exception, which would
        # keep the frames that it came through.
        self._last_failure: tuple[float, type[Exception], tuple[Any, ...]]
        self._last_failure = (-math.inf, OSError, ())
        self._next_check = 0.0
        self._pool = self._new_pool()
        self._start()

    def read(
        self,
        operation: Callable[[SessionConnection, *Arguments], R],
        *args: *Arguments,
    ) -> R:
        """Return what an operation that only reads returns."""
        try:
            return self._run("read", operation, args, wait=True)
        except StoreUnavailable as error:
            if not _needs_space(error.__cause__):
                raise
            outage = error
        found = self._read_file(operation, args)
        if found is not None:
            return found[0]
        if self._pool.log.size:  # somebody could open it, and so can we
            self._last_failure = (-math.inf, OSError, ())
            return self._run("read", operation, args, wait=True)
        del args  # see _run
        raise outage

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
        """As ``write``, but raise WouldBlock instead of waiting for another writer.

        Afterwards, call ``checkpoint`` if ``claim_checkpoint`` says so.
        """
        return self._run("write", operation, args, wait=False)

    @property
    def is_open(self) -> bool:
        """Whether a connection is open and not in use."""
        return self._pool.has_idle

    def claim_checkpoint(self) -> bool:
        """Whether the write-ahead log is long, and nobody has been told so before."""
        is_due = self._logged >= CHECKPOINT_PAGES
        if is_due:
            self._logged = 0
        return is_due

    def checkpoint(self) -> None:
        """Move the write-ahead log into the database: milliseconds."""
        told = self._run("read", lambda connection: self._checkpoint(connection), (), wait=True)
        if told:
            warn(told, self._path)

    def held_too_long(self) -> StoreUnavailable:
        """Return the error for a write that another writer has kept waiting."""
        return self._outage("write", sqlite3.OperationalError("database is locked"))

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
        self.operations += 1
        told = ""
        try:
            check_is_due = time.monotonic() >= self._next_check
            if check_is_due:
                pool = self._check_files()
            pooled = pool.acquire()
            connection = pooled.connection
            if check_is_due:
                check_format(connection, self._path)
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
                if wait and self._logged >= CHECKPOINT_PAGES:
                    told = self._checkpoint(connection)
        except WouldBlock:
            if pooled is not None:
                pool.release(pooled)
            raise
        except BaseException as error:
            self._next_check = 0.0
            if pooled is not None:
                pool.discard(pooled)
            # Session ids are locals of this frame; drop them, since some loggers print
            # locals with tracebacks.
            del args
            if isinstance(error, LogLost):
                self._give_up_log(pool)
            if isinstance(error, _FAILURES):
                raise self._outage(doing, error) from error.with_traceback(None)
            raise
        # No exception may close it now, for it may be back already. If none comes back, the
        # connection is closed because nothing references it any more.
        pool.release(pooled)
        if told:  # the commit is done all the same
            warn(told, self._path)
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

    def _checkpoint(self, connection: SessionConnection) -> str:
        """Move the write-ahead log into the database, after a write; return what is to be told.

        SQLite would have the commit that comes to a thousand pages do it, for some 20 ms,
        and all other writers would wait for that commit. It does one checkpoint at a time.
        """
        self._logged = 0
        try:
            pages, moved = connection.checkpoint()
            for _ in range(min(pages // _MAX_PAGES, _MAX_URGENCY) * _RESTARTS):
                pages, moved = connection.checkpoint(restart=True)
                if moved == pages:
                    break
            size = self._pool.log.size
            if size > _LOG_SIZE and 0 <= pages == moved:
                connection.shorten_log(max(size - _CUT, _LOG_SIZE))
        except sqlite3.Error as error:
            return "" if is_locked(error) else f"The log of %s could not be moved: {error}"
        if size > _LONG_LOG and moved < pages:
            return (
                "The log of %s grows, and cannot be moved into it as a whole: somebody has been "
                "reading for long (a backup, a shell of sqlite3 that is in a transaction), or "
                "processes write without a pause."
            )
        return ""

    def _read_file(
        self, operation: Callable[[SessionConnection, *Arguments], R], args: tuple[*Arguments]
    ) -> tuple[R] | None:
        """Read where SQLite cannot, as on a full disk: it needs space for the index of its log.

        Where there is no log, the file is all there is, and stays as it is until there is one.

        Returns:
            What the operation returns, in a tuple; None if there is a log, if the file has
            changed meanwhile, or if it cannot be read either.
        """
        try:
            before = self._path.stat()
            with closing(self._pool.connect_to_file()) as pooled:
                result = operation(pooled.connection, *args)
            after = self._path.stat()
            alone = self._pool.log.size == 0
        except _OUTAGES:
            return None
        changed = [(found.st_ino, found.st_size, found.st_mtime_ns) for found in (before, after)]
        return (result,) if alone and changed[0] == changed[1] else None

    # The file.

    def _start(self) -> None:
        """Open the database, so that what is wrong is told now and not by the first request."""
        owner = self._rules.left_to()
        if owner:
            logger.warning(
                "%s belongs to %s, and this process still runs as root. It is left alone until "
                "this process has become that user.",
                self.directory,
                owner,
            )
            return
        try:
            self._open(None)
        except StoreUnavailable as error:
            logger.error("%s. The site starts without it, and it is tried again.", error)  # noqa: TRY400

    def _new_pool(self) -> ConnectionPool:
        return ConnectionPool(self._path, timeout=self._timeout, durability=self._durability)

    def _open(self, gone: ConnectionPool | None) -> bool:
        """Open the database that is there now, or make one.

        Args:
            gone: the pool on the database that was there before. Of the threads that need a
                new one, one tries at a time, and once a second.

        Returns:
            Whether this thread opened it; else another one has.
        """
        started = time.monotonic()
        hold: ForkHold | None = None
        messages: list[str] = []
        try:
            self._rules.prepare()
            hold = hold_off_forks(self._timeout)
            with exclusive_lock(self.directory, self._timeout):
                if gone is not None and gone is not self._pool:
                    return False
                failed_at, kind, arguments = self._last_failure
                if started < failed_at + _CHECK_INTERVAL:
                    raise kind(*arguments)
                try:
                    messages += ensure_database(
                        self._rules, replaces_log=None if gone is None else gone.log_identity
                    )
                    pool = self._new_pool()
                    pool.log.remove_others()
                    pooled, was_missing = pool.connect(hold)
                    if was_missing:
                        messages.append(PUT_BACK)
                    try:
                        messages += check_database(pooled.connection, self._path)
                        ((self._page_size,),) = pooled.connection.execute("PRAGMA page_size")
                    finally:
                        pool.discard(pooled)
                except (*_OUTAGES, LogLost) as error:
                    self._last_failure = (time.monotonic(), type(error), error.args)
                    raise
                self._pool, self._identity = pool, file_identity(self._path)
        except (*_OUTAGES, LogLost) as error:
            raise StoreUnavailable(
                f"the session store in {self.directory} cannot be opened: {self._reason(error)}"
            ) from error.with_traceback(None)
        finally:
            hold = None  # the traceback would keep it, and each fork would wait
            for message in messages:
                logger.warning("%s", message)
        self._next_check = time.monotonic() + _CHECK_INTERVAL
        return True

    def _check_files(self) -> ConnectionPool:
        """Check that the files are there and private, or make them anew; return the pool."""
        try:
            problem = self._rules.problem(self.directory.stat())
            if problem:
                raise StoreUnavailable(problem)
            in_place = self._is_in_place()
            put_back = in_place and self._pool.log.check(self._timeout)
        except FileNotFoundError:
            in_place = put_back = False
        except LogLost as error:
            self._give_up_log(self._pool)
            raise self._outage("be used", error) from None
        except _OUTAGES as error:
            raise self._outage("be used", error) from error.with_traceback(None)
        if put_back:
            logger.warning(PUT_BACK)
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
        if self._identity is None:
            return False
        found = self._path.stat()
        if (found.st_dev, found.st_ino) != self._identity:
            return False
        self._pool.note_log()
        if self._pool.log.size > 2 * _LOG_SIZE:
            self._logged = CHECKPOINT_PAGES  # other processes may have left it to somebody
        if found.st_size == 0 or found.st_size % self._page_size:
            raise sqlite3.DatabaseError("malformed: the file was cut short")
        problem = self._rules.file_problem(self._path, found)
        if problem:
            raise StoreUnavailable(problem)
        return True

    def _reopen(self, gone: ConnectionPool) -> None:
        """Open what is there now, unless another thread does."""
        before = self._identity
        try:
            opened = self._open(gone)
        except ConfigError as error:
            raise StoreUnavailable(str(error)) from error
        gone.close_idle()
        if opened and before is None:
            level = logging.INFO if self._last_failure[0] < 0 else logging.WARNING
            logger.log(level, "The session database in %s is in use now.", self.directory)
        elif opened:
            logger.warning(
                "The session database in %s was deleted or replaced while it was in use. What is "
                "there now is used; the sessions that are not in it are lost.",
                self.directory,
            )

    def _give_up_log(self, pool: ConnectionPool) -> None:
        """Close what is open on a log that has no name any more, and begin none beside it.

        When the last process has done so, SQLite has moved all of it into the database.
        """
        if pool is not self._pool:
            return
        self._pool, self._identity = self._new_pool(), None
        with suppress(sqlite3.Error):  # in case those that still have it are killed
            pool.checkpoint_idle()
        pool.close_idle()

    def _outage(self, doing: str, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(
            f"the session store in {self.directory} could not {doing}: {self._reason(error)}"
        )

    def _reason(self, error: Exception) -> str:
        if isinstance(error, LogLost):
            return LOST
        if is_locked(error):
            return f"another writer has held it for {self._timeout:g} s"
        if is_damage(error):
            return f"{error}. {_WHEN_DAMAGED.capitalize()}"
        with suppress(OSError):
            problem = self._rules.problem(self.directory.stat())
            if problem:  # root has opened it, and the process has become another user since
                return problem
        if isinstance(error, sqlite3.Error) and not os.access(self.directory, os.W_OK):
            return f"{error}, for the directory is read-only"
        return str(error).removeprefix("directory: ")


def _needs_space(error: BaseException | None) -> bool:
    """Whether SQLite cannot make what it needs to read: full, read-only, or no descriptors."""
    if isinstance(error, sqlite3.OperationalError):
        return not is_locked(error) and not is_damage(error)
    return isinstance(error, OSError) and not isinstance(error, TimeoutError | PermissionError)


def is_locked(error: Exception) -> bool:
    """Whether another writer held the database for longer than the timeout."""
    return isinstance(error, sqlite3.OperationalError) and "database is locked" in str(error)


def is_damage(error: Exception) -> bool:
    """Whether the file is no database, or not all of one."""
    return isinstance(error, sqlite3.DatabaseError) and any(
        words in str(error)
        for words in ("malformed", "not a database", "no such table", "no such column")
    )
