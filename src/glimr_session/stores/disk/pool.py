"""A pool of SQLite connections that survives forks.

diskcache's own connections are one per thread, open until the thread ends, and are carried
across forks, which SQLite forbids. See docs/decisions/connection-pool.md.
"""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..._forks import ForkHold, before_forks, fork_is_near, hold_off_forks
from ..._log import logger
from .files import LogIdentity, check_format, exclusive_lock, log_identity
from .log import PUT_BACK, Identities, LogLost, OpenLog, WriteAheadLog
from .queries import SessionConnection

__all__ = ["ConnectionPool", "PooledConnection", "WouldBlock"]

# Which failure a commit survives, and SQLite's name for that: the commit was handed to the
# operating system, or is on the disk.
_SYNCHRONOUS: Final = {"process": "NORMAL", "power": "FULL"}

# Connections that are kept open in a process, of up to three files each. An operation takes
# some 10 us, so that even a hundred threads seldom need more at the same time.
_MAX_IDLE: Final = 12


# Seconds of attempts to open the log that is there; each finds another one only if others have
# closed the database meanwhile, and opened it.
_PATIENCE: Final = 1.0


class WouldBlock(Exception):
    """Another writer holds the lock, and the caller did not want to wait."""


class PooledConnection:
    """Owns a connection, which is closed when nobody references its owner any more.

    So an exception at any moment leaves no connection open. (sqlite3's own objects reference
    themselves, and stay open until Python's collector finds them.) While a connection is open,
    it holds off forks. In a child of its process it is never closed: that would be to use it.
    """

    __slots__ = ("_hold", "connection", "log", "pid")

    connection: SessionConnection

    def __init__(self, hold: ForkHold, uri: str, timeout: float) -> None:
        self.pid = hold.pid
        self.log = OpenLog()
        self._hold: ForkHold | None = hold
        _OwnedConnection(
            self,
            uri,
            uri=True,
            timeout=timeout,
            isolation_level=None,
            check_same_thread=False,  # one thread at a time uses it
        )

    def close(self) -> None:
        """Close the connection."""
        if self.pid != os.getpid():
            _inherited.append(self.connection)
        else:
            self.log.identities = None  # the last connection deletes the log
            self.connection.close()
            self._hold = None  # now that it is closed

    def __del__(self) -> None:
        with suppress(AttributeError, sqlite3.ProgrammingError):  # it was never opened
            self.close()


class _OwnedConnection(SessionConnection):
    """A connection that has an owner before it is open."""

    def __init__(self, owner: PooledConnection, *args: Any, **kwargs: Any) -> None:
        owner.connection = self
        super().__init__(*args, **kwargs)


class ConnectionPool:
    """Connections to one database, for all threads of a process.

    A connection that was acquired is released, or closed if something failed on it: it may be
    stuck in its transaction. No connection is open at a fork.

    Args:
        path: the database.
        timeout: seconds to wait for a lock.
        durability: ``process`` or ``power``.
    """

    def __init__(self, path: Path, *, timeout: float, durability: str) -> None:
        self._path = path
        self._timeout = timeout
        self._synchronous = _SYNCHRONOUS[durability]
        self.log: Final = WriteAheadLog(path)
        self.log_identity: LogIdentity | None = None
        """The write-ahead log as it was when a connection was opened last."""
        self._idle: deque[PooledConnection] = deque()
        weakref.finalize(self, _close_all, self._idle, self.log)
        before_forks(self)

    @property
    def has_idle(self) -> bool:
        """Whether ``acquire`` opens nothing."""
        try:
            return self._idle[-1].pid == os.getpid()
        except IndexError:
            return False

    def acquire(self) -> PooledConnection:
        """Return the connection that was used last, or a new one.

        Raises:
            TimeoutError: a fork of this process takes too long.
            LogLost: the log was deleted; a new connection would begin another one.
            ConfigError: a later version of this package has made the database.
            sqlite3.Error, OSError: the database cannot be opened.
        """
        pid = os.getpid()
        try:
            while (pooled := self._idle.pop()).pid != pid:
                pass  # uWSGI forks while connections are open; a child leaves them alone
        except IndexError:
            return self._connect_to_log()
        return pooled

    def _connect_to_log(self) -> PooledConnection:
        hold = hold_off_forks(self._timeout)
        files = self.log.in_place()
        if files is not None:
            with suppress(LogLost):  # deleted since
                return self._connect(hold, files)
        # Nobody has it open, or something was deleted: one process at a time looks.
        with exclusive_lock(self._path.parent, self._timeout):
            pooled, was_missing = self.connect(hold)
        if was_missing:
            logger.warning(PUT_BACK)
        return pooled

    def connect(self, hold: ForkHold) -> tuple[PooledConnection, bool]:
        """Return a new connection, and whether its log was deleted and has been put back.

        Hold ``exclusive_lock``.
        """
        was_missing = False
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                files, is_back = self.log.put_back()
                was_missing |= is_back
                return self._connect(hold, files), was_missing
            except LogLost:  # or a connection of this process has been closed just now
                if time.monotonic() > deadline:
                    raise

    def _connect(self, hold: ForkHold, files: Identities | None) -> PooledConnection:
        """Return a new connection, which keeps the hold until it is closed.

        Args:
            hold: holds off forks.
            files: the log that is there; None if nobody has the database open.
        """
        # mode=rw never makes a file.
        pooled = PooledConnection(hold, f"{self._path.as_uri()}?mode=rw", self._timeout)
        try:
            connection = pooled.connection
            connection.text_factory = _as_text
            check_format(connection, self._path)  # what reads first opens the log
            ((journal_mode,),) = connection.execute("PRAGMA journal_mode")
            if journal_mode == "wal":  # else a start is about to set it
                self.log.keep(pooled.log, files)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA fullfsync = 1")  # macOS needs it to reach the disk
            connection.execute("PRAGMA cache_size = 8192")  # pages, as diskcache has it
            connection.execute("PRAGMA wal_autocheckpoint = 0")  # the store does it
            # From here on the store waits for locks: SQLite's pauses grow to 100 ms.
            connection.execute("PRAGMA busy_timeout = 0")
            self.log_identity = log_identity(self.log.file)
        except BaseException:
            self.discard(pooled)
            raise
        return pooled

    def connect_to_file(self) -> PooledConnection:
        """Return a connection that takes the file for all there is, and changes nothing.

        No log may be there, and nobody may write meanwhile.
        """
        uri = f"{self._path.as_uri()}?mode=ro&immutable=1"
        pooled = PooledConnection(hold_off_forks(self._timeout), uri, self._timeout)
        pooled.connection.text_factory = _as_text
        return pooled

    def release(self, pooled: PooledConnection) -> None:
        """Take a connection back, and keep it open unless enough are."""
        if len(self._idle) < _MAX_IDLE and not fork_is_near():
            self._idle.append(pooled)
        else:
            self.discard(pooled)

    def discard(self, pooled: PooledConnection) -> None:
        """Close a connection, and with the last one what is left of its log."""
        _close_all(deque([pooled]), self.log)

    def close_idle(self) -> None:
        """Close every connection that is not in use."""
        _close_all(self._idle, self.log)

    def checkpoint_idle(self) -> None:
        """Move a log that was deleted into the database, with a connection that has it open."""
        with suppress(IndexError):
            pooled = self._idle.pop()
            if pooled.pid == os.getpid() and not self.log.file.exists():
                pooled.connection.checkpoint()
            self._idle.append(pooled)

    def note_log(self) -> None:
        """Remember which file the write-ahead log is."""
        hold = hold_off_forks(self._timeout)  # or a child would have it open
        self.log_identity = log_identity(self.log.file)
        del hold

    # SQLite tracks file locks per process, and the copy of that table a child inherits is
    # wrong: a new connection there would believe in locks that only the parent holds. So no
    # connection may be open at a fork ("How To Corrupt An SQLite Database File", 2.6).
    before_fork = close_idle


_inherited: Final[list[SessionConnection]] = []


def _as_text(value: bytes) -> str:
    # A session's row has no text. That of a damaged one need not be UTF-8, and the error
    # that sqlite3 would raise quotes all of it.
    return value.decode("utf-8", "replace")


def _close_all(idle: deque[PooledConnection], log: WriteAheadLog) -> None:
    was_complete = False
    with suppress(OSError, sqlite3.Error):  # whoever uses the store next is told of it
        was_complete = log.in_place() is not None
    with suppress(IndexError):
        while True:
            idle.pop().close()
    if was_complete:  # so that it was SQLite who deleted it
        with suppress(OSError, sqlite3.Error):
            log.forget()
