"""A pool of SQLite connections that survives forks.

diskcache's own connections are one per thread, open until the thread ends, and are carried
across forks, which SQLite forbids. See docs/decisions/connection-pool.md.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections import deque
from pathlib import Path
from typing import Final

from ..._forks import around_forks, fork_lock, forks_without_hooks
from .files import LogIdentity, log_identity
from .queries import SessionConnection

__all__ = ["CHECKPOINT_PAGES", "LOCKED", "ConnectionPool", "WouldBlock"]

logger = logging.getLogger("glimr_session")

LOCKED: Final = "database is locked"
"""SQLite's message when another process writes."""

CHECKPOINT_PAGES: Final = 1000
"""Pages in the write-ahead log after which it is time for a checkpoint: SQLite's default."""

# Which failure a commit survives, and SQLite's name for that: the commit was handed to the
# operating system, or is on the disk.
_SYNCHRONOUS: Final = {"process": "NORMAL", "power": "FULL"}

# Connections that are kept open in a process, of up to three files each. An operation takes
# some 10 us, so that even a hundred threads seldom need more at the same time.
_MAX_IDLE: Final = 12


class WouldBlock(Exception):
    """Another writer holds the lock, and the caller did not want to wait."""


class ConnectionPool:
    """Connections to one database, for all threads of a process.

    Every connection that was acquired is released, or discarded if something failed on it.
    No connection is open at a fork.

    Args:
        path: the database.
        timeout: seconds to wait for a lock.
        durability: ``process`` or ``power``.
    """

    _forking: bool
    _write_lock: threading.Lock

    def __init__(self, path: Path, *, timeout: float, durability: str) -> None:
        self._path = path
        self._log = path.with_name(f"{path.name}-wal")
        self._timeout = timeout
        self._synchronous = _SYNCHRONOUS[durability]
        self.log_identity: LogIdentity | None = None
        """The write-ahead log as it was when a connection was opened last."""
        self._start_empty()
        around_forks(self)

    def acquire(self) -> SessionConnection:
        """Return the connection that was used last, or a new one."""
        if self._pid != os.getpid():
            self._leave_to_parent()
        try:
            return self._idle.pop()
        except IndexError:
            if not self._opening.acquire(timeout=self._timeout):
                raise sqlite3.OperationalError(LOCKED) from None
            try:
                connection = self._connect()
                self._open.add(connection)
                self.note_log()
                return connection
            finally:
                self._opening.release()

    def acquire_write_lock(self, deadline: float) -> threading.Lock:
        """Wait until no other thread of this process writes; release the lock in the end.

        Args:
            deadline: a time of ``time.monotonic``; 0 does not wait.

        Raises:
            WouldBlock: the deadline is 0 and another thread writes.
            sqlite3.OperationalError: the deadline has passed.
        """
        lock = self._write_lock
        if not deadline:
            if not lock.acquire(blocking=False):
                raise WouldBlock
            return lock
        while not lock.acquire(timeout=0.001):
            if time.monotonic() > deadline:
                # Perhaps no thread has it: a signal handler may have raised between any two
                # steps. SQLite still admits one writer at a time.
                self._write_lock = threading.Lock()
                raise sqlite3.OperationalError(LOCKED)
            time.sleep(0)  # the holder may be a greenlet, if gevent came after the lock
        return lock

    def release(self, connection: SessionConnection) -> None:
        """Take a connection back, and keep it open unless enough are."""
        if self._forking:
            self.discard(connection)
            if not fork_lock.locked():
                self._forking = forks_without_hooks()
        elif len(self._idle) < _MAX_IDLE:
            self._idle.append(connection)
        else:
            self.discard(connection)

    def discard(self, connection: SessionConnection) -> None:
        """Close a connection: after a failure it may be stuck in its transaction."""
        connection.close()
        self._open.discard(connection)  # after it is closed: a fork waits for that

    def close_idle(self) -> None:
        """Close every connection that is not in use."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return
            self.discard(connection)

    def note_log(self) -> None:
        """Remember which file the write-ahead log is."""
        self.log_identity = log_identity(self._log)

    def _connect(self) -> SessionConnection:
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw",  # never makes a file
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,  # one thread at a time uses it
            factory=SessionConnection,
        )
        connection.text_factory = _as_text
        try:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA fullfsync = 1")  # macOS needs it to reach the disk
            connection.execute("PRAGMA cache_size = 8192")  # pages, as diskcache has it
            # The store checkpoints; SQLite does it only if no process of the store has.
            connection.execute(f"PRAGMA wal_autocheckpoint = {4 * CHECKPOINT_PAGES}")
            # From here on the store waits for locks: SQLite's pauses grow to 100 ms.
            connection.execute("PRAGMA busy_timeout = 0")
        except BaseException:
            connection.close()
            raise
        return connection

    # SQLite tracks file locks per process, and the copy of that table a child inherits is
    # wrong: a new connection there would believe in locks that only the parent holds. So no
    # connection may be open at a fork ("How To Corrupt An SQLite Database File", 2.6).

    def before_fork(self) -> None:
        """Close all connections; those in use as soon as they are released."""
        # A signal handler may fork while its own thread is opening one.
        self._closed_for_fork = self._opening.acquire(timeout=self._timeout)
        self._forking = True
        deadline = time.monotonic() + self._timeout
        self.close_idle()
        while self._open and time.monotonic() < deadline:
            time.sleep(0.0005)
            self.close_idle()
        if self._open:
            logger.warning(
                "The process forks while the session store is in use; the child may not see "
                "the locks of its parent. Fork before the first request."
            )

    def after_fork(self) -> None:
        """Allow connections again."""
        self._forking = forks_without_hooks()
        if self._pid != os.getpid():
            self._leave_to_parent()
        elif self._closed_for_fork:
            self._opening.release()

    def _leave_to_parent(self) -> None:
        """Start empty in a child; uWSGI's notice by their process id."""
        # Keep references: garbage-collecting a connection closes it, which the child must
        # not do.
        _inherited.append((self._idle, self._open))
        self._start_empty()

    def _start_empty(self) -> None:
        self._idle: deque[SessionConnection] = deque()
        self._open: set[SessionConnection] = set()
        self._opening = threading.Lock()  # for opening a connection; held during a fork
        self._closed_for_fork = False
        self._write_lock = threading.Lock()  # one thread of a process asks SQLite to write
        self._forking = forks_without_hooks()
        self._pid = os.getpid()
        weakref.finalize(self, _close_all, self._idle, self._pid)


_inherited: Final[list[tuple[deque[SessionConnection], set[SessionConnection]]]] = []


def _as_text(value: bytes) -> str:
    # A session's row has no text. That of a damaged one need not be UTF-8, and the error
    # that sqlite3 would raise quotes all of it.
    return value.decode("utf-8", "replace")


def _close_all(idle: deque[SessionConnection], pid: int) -> None:
    while idle and pid == os.getpid():
        idle.pop().close()
