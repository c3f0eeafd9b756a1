"""The disk store's database: made by diskcache, for all threads and processes.

diskcache makes the file, its tables and its settings. What a request needs of it is a
handful of statements (``rows.py``), and connections that are lent: diskcache's own are
one for each thread, open until the thread ends, and are carried across forks, where
SQLite forbids it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import diskcache

from ..forks import forking, may_fork_unseen
from .rows import Connection

__all__ = ["LOG", "OUTAGES", "PAGE", "Database", "is_damage", "is_locked"]

logger = logging.getLogger("glimr_session")

OUTAGES: Final = (sqlite3.Error, OSError)
"""What an operation raises when the database cannot be used."""

_LOCKED: Final = "database is locked"  # what SQLite says when another process writes

# What a commit outlives, and how SQLite calls that: handed to the system, or on the disk.
_SYNCHRONOUS: Final = {"process": "NORMAL", "power": "FULL"}

# Connections that are kept open in a process, of up to three files each. An operation takes
# some 10 us, so that even a hundred threads seldom need more at the same time.
_MOST_IDLE: Final = 12

LOG: Final = 1000
"""Pages in the log after which it is time for a checkpoint: SQLite's own default."""

PAGE: Final = 4096
"""Bytes of one: SQLite's own default, too."""

_FILE: Final[str] = diskcache.core.DBNAME


class Database(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
    """A diskcache that drops nothing by itself, waits so long and no longer, and lends.

    A connection that was borrowed is given back, or dropped if something failed on it.
    """

    _forking: bool
    _turn: threading.Lock

    def __init__(
        self,
        directory: Path,
        *,
        timeout: float,
        durability: str,
        instead_of: Database | None = None,
    ) -> None:
        """Open the database in a directory, or make it.

        ``instead_of`` is the one that was there before, if this takes its place.
        """
        self._path = directory / _FILE
        self._log = self._path.with_name(f"{_FILE}-wal")
        self._patience = timeout
        self._durability = durability
        self._begin()
        with _alone(directory, timeout):
            self._clear_away(instead_of)
            self._deadline = time.monotonic() + timeout
            try:
                super().__init__(
                    str(directory),
                    timeout=timeout,  # pyright: ignore[reportArgumentType]  # fractions are fine
                    disk=_NoDisk,
                    # The defaults drop live entries once there is a gigabyte of them.
                    eviction_policy="none",
                    cull_limit=0,
                    # To read a mapped file that somebody has cut short is to be killed.
                    sqlite_mmap_size=0,
                )
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise sqlite3.DatabaseError(f"malformed settings: {error}") from error
            finally:
                self.close()
            self._identity = _identity(_found(self._path))
            self._log_identity: tuple[int, int, bytes] | None = None
        _databases.add(self)

    def is_in_place(self) -> bool:
        """Tell whether the file is still the one it was: neither deleted nor replaced.

        Raises sqlite3.DatabaseError if somebody has cut it short: what is remembered of
        it would be served on, and written to, until it is too late to tell.
        """
        found = _found(self._path)
        if found is None or _identity(found) != self._identity:
            return False
        self._log_identity = _log_identity(self._log)
        if found.st_size == 0 or found.st_size % self._page_size:
            raise sqlite3.DatabaseError("malformed: the file was cut short")
        return True

    def borrow(self) -> Connection:
        """Lend a connection: the one that was used last, or a new one."""
        if self._pid != os.getpid():
            self._leave_to_parent()
        try:
            return self._idle.pop()
        except IndexError:
            if not self._gate.acquire(timeout=self._patience):
                raise sqlite3.OperationalError(_LOCKED) from None
            try:
                connection = self._connect()
                # From here on the store waits for locks, and not SQLite, whose pauses grow
                # to 100 ms.
                connection.execute("PRAGMA busy_timeout = 0")
                self._open.add(connection)
                self._log_identity = _log_identity(self._log)
                return connection
            finally:
                self._gate.release()

    def take_turn(self, deadline: float) -> threading.Lock:
        """Wait until no other thread of this process writes; release it in the end."""
        turn = self._turn
        while not turn.acquire(timeout=0.001):
            if time.monotonic() > deadline:
                # Maybe nobody has it: a signal handler that raised can have come between
                # any two steps. SQLite lets one in at a time in any case.
                self._turn = threading.Lock()
                raise sqlite3.OperationalError(_LOCKED)
            time.sleep(0)  # who has it may be a greenlet, if gevent came after the lock
        return turn

    def give_back(self, connection: Connection) -> None:
        """Take back what was lent, and keep some of it open for the next."""
        if self._forking:
            self.drop(connection)
            if not forking.locked():
                self._forking = may_fork_unseen()
        elif len(self._idle) < _MOST_IDLE:
            self._idle.append(connection)
        else:
            self.drop(connection)

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
            self._local.con = self._connect("rwc")
        connection: Connection = self._local.con
        return connection

    def _connect(self, mode: str = "rw") -> Connection:
        """Open a connection; ``mode`` is SQLite's: one for requests makes no file."""
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode={mode}",
            uri=True,
            timeout=self._patience,
            isolation_level=None,
            check_same_thread=False,  # it is lent to one thread after the other
            factory=Connection,
        )
        connection.text_factory = _as_text
        try:
            connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[self._durability]}")
            connection.execute("PRAGMA fullfsync = 1")  # what it takes on macOS
            connection.execute("PRAGMA cache_size = 8192")  # pages, as diskcache has it
            connection.execute(f"PRAGMA wal_autocheckpoint = {4 * LOG}")  # if nobody else does
        except BaseException:
            connection.close()
            raise
        return connection

    def _clear_away(self, instead_of: Database | None) -> None:
        """Delete the log of another database, which would be taken for that of this one.

        SQLite knows a log by its name alone. A log belongs to another database if there
        is none yet, or if it is the very file that the one before this had as its log.
        """
        found = _found(self._path)
        if found is None or (
            instead_of is not None
            and instead_of._log_identity is not None
            and _log_identity(self._log) == instead_of._log_identity
        ):
            self._log.unlink(missing_ok=True)
            self._log.with_name(f"{_FILE}-shm").unlink(missing_ok=True)
        elif found.st_size == 0:
            logger.warning("%s is empty; no session that was in it is left.", self._path)

    # diskcache tries each of the thirty statements of its set-up for 60 s, in two ways.

    @property
    def _sql(self) -> Callable[..., sqlite3.Cursor]:
        return self._retrying

    @property
    def _sql_retry(self) -> Callable[..., sqlite3.Cursor]:
        return self._retrying

    def _retrying(self, statement: str, *args: Any) -> sqlite3.Cursor:
        # Its triggers count rows and bytes for itself: a tenth of a commit, a third of a new
        # session. A database from before, or that somebody opened as a cache, has them.
        statement = re.sub(
            r"^CREATE TRIGGER IF NOT EXISTS (\w+).*", r"DROP TRIGGER IF EXISTS \1", statement
        )
        while True:
            try:
                return self._con.execute(statement, *args)
            except sqlite3.OperationalError as error:
                if not is_locked(error):
                    raise
                if time.monotonic() > self._deadline:
                    # It goes on trying where SQLite says just that it is locked.
                    raise sqlite3.OperationalError(f"{_LOCKED} by another process") from error
                time.sleep(0.001)

    # SQLite keeps book of its locks by process, and a child's copy of the book is wrong:
    # a new connection would take part in locks that only the parent holds. So no
    # connection may be open at a fork. ("How To Corrupt An SQLite Database File", 2.6.)

    def before_fork(self) -> None:
        """Close all connections, those that are lent as soon as they come back."""
        # A signal handler may fork while its own thread is inside.
        self._gated = self._gate.acquire(timeout=self._patience)
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
        self._forking = may_fork_unseen()
        if self._pid != os.getpid():
            self._leave_to_parent()
        elif self._gated:
            self._gate.release()

    def _leave_to_parent(self) -> None:
        """Begin anew in a child; uWSGI's find out by their process id."""
        # To free the connections would be to close them.
        _inherited.append((self._idle, self._open))
        self._begin()

    def _begin(self) -> None:
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._gate = threading.Lock()  # for opening a connection; held while forking
        self._gated = False
        self._turn = threading.Lock()  # for writing: one thread of a process asks SQLite
        self._forking = may_fork_unseen()
        self._pid = os.getpid()
        weakref.finalize(self, _close_all, self._idle, self._pid)


def _as_text(value: bytes) -> str:
    # There is no text in a session's row. That of a damaged one need not be UTF-8, and
    # the error that says so quotes all of it.
    return value.decode("utf-8", "replace")


class _NoDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Refuses everything: the statements above are all there is.

    diskcache's own pickles what it does not know and unpickles what it is given
    (JSONDisk too: CVE-2025-69872), writes large values to files beside the database,
    which are lost when a transaction rolls back, and removes files that a row names.
    """

    def _refuse(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise TypeError("sessions are read and written by the statements of Connection alone")

    put = get = store = fetch = remove = hash = _refuse


def _found(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _identity(found: os.stat_result | None) -> tuple[int, int] | None:
    return None if found is None else (found.st_dev, found.st_ino)


def _log_identity(log: Path) -> tuple[int, int, bytes] | None:
    """Give what no other log has: an inode is given to the next file, a header is random."""
    try:
        with log.open("rb") as file:
            found = os.fstat(file.fileno())
            header = file.read(32)
    except FileNotFoundError:
        return None
    return (found.st_dev, found.st_ino, header) if header else None


def _close_all(idle: deque[Connection], pid: int) -> None:
    while idle and pid == os.getpid():
        idle.pop().close()


@contextmanager
def _alone(directory: Path, patience: float) -> Iterator[None]:
    """Let one process at a time make a database in this directory."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    deadline = time.monotonic() + patience
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError("another process has been opening it all the time") from None
                time.sleep(0.001)
        try:
            yield
        finally:
            # Not by closing alone: a process that was forked meanwhile has it open, too.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def is_locked(error: Exception) -> bool:
    """Whether another writer held the database for longer than the timeout."""
    return isinstance(error, sqlite3.OperationalError) and _LOCKED in str(error)


def is_damage(error: Exception) -> bool:
    """Whether there is something in the file that is no database, or not all of one."""
    return isinstance(error, sqlite3.DatabaseError) and any(
        words in str(error)
        for words in ("malformed", "not a database", "no such table", "no such column")
    )


_databases: Final[weakref.WeakSet[Database]] = weakref.WeakSet()
_inherited: Final[list[tuple[deque[Connection], set[Connection]]]] = []
_forking: Final[list[Database]] = []
_waited: Final[list[bool]] = []  # whether ``forking`` was got, for each fork under way

_LONGEST_WAIT: Final = 10.0  # seconds: a signal handler may fork while its thread holds it


def _before_fork() -> None:
    _waited.append(forking.acquire(timeout=_LONGEST_WAIT))  # two threads may fork at once
    for database in list(_databases):
        _forking.append(database)  # first: a signal may interrupt the wait
        database.before_fork()


def _after_fork() -> None:
    while _forking:
        _forking.pop().after_fork()
    if _waited and _waited.pop():  # uWSGI can be told to call this alone
        forking.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
