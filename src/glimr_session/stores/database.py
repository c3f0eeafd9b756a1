"""The disk store's rows: one diskcache database for all threads and processes.

diskcache makes the file, its tables and its settings. What a request needs of it is a
handful of statements, and connections that are lent: its own are one for each thread,
open until the thread ends, and are carried across forks, where SQLite forbids it.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import diskcache

__all__ = ["OUTAGES", "Connection", "Database", "Row", "is_locked"]

logger = logging.getLogger("glimr_session")

OUTAGES: Final = (sqlite3.Error, OSError)
"""What an operation raises when the database cannot be used."""

# diskcache's columns, in its own sense: store_time is when the id was made, access_time
# when the session was last used, access_count counts commits, and expire_time is when
# the row may be collected. Of these, only expire_time is in an index, and to move an
# entry of that takes as long as the rest of a commit together.
_FIND: Final = """
    SELECT store_time, access_time, access_count, expire_time, value, mode
    FROM Cache WHERE key = ? AND raw = 1
"""
_WRITE: Final = """
    INSERT INTO Cache (key, raw, store_time, access_time, access_count, expire_time, mode, value)
    VALUES (?1, 1, ?2, ?3, ?4, ?5, 1, ?6)
    ON CONFLICT (key, raw) DO UPDATE SET store_time = ?2, access_time = ?3, access_count = ?4,
        expire_time = ?5, mode = 1, filename = NULL, value = ?6
"""
_SWAP: Final = """
    UPDATE Cache SET access_time = ?3, access_count = ?2 + 1, value = ?4
    WHERE key = ?1 AND raw = 1 AND access_count = ?2 AND store_time = ?5 AND access_time > ?6
"""
_TOUCH: Final = "UPDATE Cache SET access_time = ?, expire_time = ? WHERE key = ? AND raw = 1"
_DELETE: Final = "DELETE FROM Cache WHERE key = ? AND raw = 1"
_COLLECTABLE: Final = "SELECT 1 FROM Cache WHERE expire_time < ? LIMIT 1"
# A row's expire_time was computed with the lifetimes of that day; today's have a say too.
# A planted row without times has none.
_COLLECT: Final = """
    DELETE FROM Cache WHERE rowid IN
    (SELECT rowid FROM Cache WHERE expire_time < ?1 ORDER BY expire_time LIMIT 100)
    AND coalesce(min(access_time + ?2, store_time + ?3), 0) < ?1
"""
_PUSH_ON: Final = """
    UPDATE Cache SET expire_time = min(access_time + ?2, store_time + ?3) WHERE rowid IN
    (SELECT rowid FROM Cache WHERE expire_time < ?1 ORDER BY expire_time LIMIT 100)
"""

# The settings of diskcache that each connection has to be told; the others are in the file.
_OF_CONNECTIONS: Final = {"sqlite_cache_size", "sqlite_mmap_size", "sqlite_synchronous"}


class Row(NamedTuple):
    """A session as it is stored. Times are seconds since the epoch."""

    created: float
    seen: float
    revision: int
    collected: float
    value: bytes


class Connection(sqlite3.Connection):
    """A connection, and what a store says on it."""

    def find(self, key: bytes) -> tuple[Any, ...] | None:
        """Give the fields of a Row, and the mode: 1 is a value that is there as it is."""
        found: tuple[Any, ...] | None = self.execute(_FIND, (key,)).fetchone()
        return found

    def write(self, key: bytes, row: Row) -> None:
        """Insert a row, or replace everything in it."""
        created, seen, revision, collected, value = row
        self.execute(_WRITE, (key, created, seen, revision, collected, value))

    def swap(
        self, key: bytes, revision: int, value: bytes, now: float, *, created: float, seen: float
    ) -> bool:
        """Replace the value of a row if it is at this revision still: compare and swap.

        It must have been used after ``seen``, or has expired, and been made at
        ``created``, or is another one under the same id.
        """
        return self.execute(_SWAP, (key, revision, now, value, created, seen)).rowcount == 1

    def renew(self, key: bytes, now: float, collected: float) -> None:
        """Push a row on and leave its value alone."""
        self.execute(_TOUCH, (now, collected, key))

    def remove(self, key: bytes) -> None:
        """Delete a row, there or not."""
        self.execute(_DELETE, (key,))

    def collect(self, now: float, idle: float, absolute: float) -> int | None:
        """Delete up to a hundred of the rows that may be collected; give their number.

        Those that were used less than ``idle`` seconds ago and made less than
        ``absolute`` ago are pushed on instead. None if there was nothing to look at.

        If there are none, which is nearly always, the write lock is not asked for.
        """
        if self.execute(_COLLECTABLE, (now,)).fetchone() is None:
            return None
        with self.transaction():
            number = self.execute(_COLLECT, (now, idle, absolute)).rowcount
            self.execute(_PUSH_ON, (now, idle, absolute))
        return number

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Take the write lock, and COMMIT, or ROLLBACK after an exception."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self.in_transaction:  # SQLite itself rolls back when the disk is full
                self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")


class Database(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
    """A diskcache that drops nothing by itself, waits so long and no longer, and lends.

    A connection that was borrowed is given back, or dropped if something failed on it.
    """

    def __init__(self, directory: Path, timeout: float) -> None:
        self._patience = timeout
        self._begin()
        try:
            super().__init__(
                str(directory),
                timeout=timeout,  # pyright: ignore[reportArgumentType]  # fractions are fine
                disk=_NoDisk,
                # The defaults drop live entries once there is a gigabyte of them.
                eviction_policy="none",
                cull_limit=0,
            )
        finally:
            self.close()
        _databases.add(self)

    def borrow(self) -> Connection:
        """Lend a connection: the one that was used last, or a new one."""
        if self._pid != os.getpid():
            self._leave_to_parent()
        try:
            return self._idle.pop()
        except IndexError:
            with self._gate:
                connection = self._connect()
                self._open.add(connection)
                return connection

    def give_back(self, connection: Connection) -> None:
        """Take back what was lent."""
        if self._forking:
            self.drop(connection)
        else:
            self._idle.append(connection)

    def drop(self, connection: Connection) -> None:
        """Close what was lent: if it failed, it may be stuck in its transaction."""
        connection.close()
        self._open.discard(connection)  # closed, and not before: a fork waits for it

    def close_idle(self) -> None:
        """Close every connection that is not lent."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return
            self.drop(connection)

    @property
    def _con(self) -> Connection:
        """The connection that diskcache itself works on while it makes the database."""
        if not hasattr(self._local, "con"):
            self._local.con = self._connect()
        connection: Connection = self._local.con
        return connection

    def _connect(self) -> Connection:
        """Open a connection, set up as diskcache's own are."""
        connection = sqlite3.connect(
            os.path.join(self.directory, diskcache.core.DBNAME),  # noqa: PTH118  # as there
            timeout=self.timeout,
            isolation_level=None,
            check_same_thread=False,  # it is lent to one thread after the other
            factory=Connection,
        )
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: Connection) -> None:
        try:
            settings = connection.execute("SELECT key, value FROM Settings").fetchall()
        except sqlite3.OperationalError:
            return  # the database is being made
        for key, value in settings:
            if key in _OF_CONNECTIONS:
                connection.execute(f"PRAGMA {key.removeprefix('sqlite_')} = {int(value)}")

    @property
    def _sql_retry(self) -> Callable[..., sqlite3.Cursor]:
        # diskcache's own, for each of the thirty statements of a set-up, tries for 60 s.
        return self._retrying

    def _retrying(self, statement: str, *args: Any) -> sqlite3.Cursor:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return self._con.execute(statement, *args)
            except sqlite3.OperationalError as error:
                if not is_locked(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.001)

    # SQLite keeps book of its locks by process, and a child's copy of the book is wrong:
    # a new connection would take part in locks that only the parent holds. So no
    # connection may be open at a fork. ("How To Corrupt An SQLite Database File", 2.6.)

    def before_fork(self) -> None:
        """Close all connections, those that are lent as soon as they come back."""
        self._gate.acquire()
        self._forking = True
        deadline = time.monotonic() + self._patience
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
        """Open connections again when they are needed."""
        self._forking = False
        if self._pid == os.getpid():
            self._gate.release()
        else:
            self._leave_to_parent()

    def _leave_to_parent(self) -> None:
        """Begin anew in a child; uWSGI's find out by their process id."""
        # To free the connections would be to close them.
        _inherited.append((self._idle, self._open))
        self._begin()

    def _begin(self) -> None:
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._gate = threading.Lock()  # for opening a connection; held while forking
        self._forking = False
        self._pid = os.getpid()
        weakref.finalize(self, _close_all, self._idle, self._pid)


class _NoDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Refuses everything: the statements above are all there is.

    diskcache's own pickles what it does not know and unpickles what it is given
    (JSONDisk too: CVE-2025-69872), writes large values to files beside the database,
    which are lost when a transaction rolls back, and removes files that a row names.
    """

    def _refuse(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise TypeError("sessions are read and written by the statements of Connection alone")

    put = get = store = fetch = remove = hash = _refuse


def _close_all(idle: deque[Connection], pid: int) -> None:
    while idle and pid == os.getpid():
        idle.pop().close()


def is_locked(error: Exception) -> bool:
    """Whether another writer held the database for longer than the timeout."""
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


_databases: Final[weakref.WeakSet[Database]] = weakref.WeakSet()
_inherited: Final[list[tuple[deque[Connection], set[Connection]]]] = []
_forking: Final[list[Database]] = []
_one_fork: Final = threading.Lock()  # two threads may fork at once


def _before_fork() -> None:
    _one_fork.acquire()
    for database in list(_databases):
        _forking.append(database)  # first: a signal may interrupt the wait
        database.before_fork()


def _after_fork() -> None:
    while _forking:
        _forking.pop().after_fork()
    _one_fork.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
