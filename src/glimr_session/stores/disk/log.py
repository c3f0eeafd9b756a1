"""The two files beside the database: SQLite's write-ahead log, and the index of that.

SQLite finds them by their names, and deletes them when the last connection is closed. If
somebody else deletes one, the processes that have it open go on with it, and the next one that
opens the database begins a second log beside them: both lose what they commit, and the database
is damaged. So each file has a second name here, under which it is put back, and no connection
is opened while one is missing. See docs/decisions/files-that-change.md.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from ..._forks import ForkHold
from .files import Identity, exclusive_lock, file_identity

__all__ = ["LOCKED", "LOST", "PUT_BACK", "LogLost", "OpenLog", "WriteAheadLog"]

LOCKED: Final = "database is locked"
"""SQLite's message when another connection holds a lock."""

PUT_BACK: Final = (
    "The log of the session database (cache.db-wal, cache.db-shm) was deleted while it was in "
    "use. It has been put back, and nothing is lost. Do not let a cleaner delete files there."
)

LOST: Final = (
    "processes have it open, and its log (cache.db-wal, cache.db-shm) is not there. If that was "
    "deleted, it cannot be put back. Nothing is written, so that nothing is lost; it goes on when "
    "each of them has answered a request or was ended. (Or one of them has taken it for itself, "
    "with SQLite's locking_mode = EXCLUSIVE.)"
)

_KEPT: Final = ".kept"  # suffix of the second names; diskcache's check() knows files of cache.db

# Times, a millisecond apart, that somebody is seen with the database open and no log. Who opens
# it has both within microseconds.
_TIMES: Final = 50


Identities: TypeAlias = tuple[Identity | None, ...]


class LogLost(Exception):
    """The log of a database that is in use was deleted, and cannot be put back."""


class OpenLog:
    """The files that a connection has open, for as long as the connection is."""

    __slots__ = ("__weakref__", "identities", "pid")

    def __init__(self, identities: Identities) -> None:
        self.identities = identities
        self.pid = os.getpid()


class WriteAheadLog:
    """The log of one database, as the connections of this process know it.

    Args:
        path: the database.
        is_in_use: returns whether anybody has it open.
    """

    def __init__(self, path: Path, is_in_use: Callable[[ForkHold], bool]) -> None:
        self._path = path
        self._is_in_use = is_in_use
        self.file = path.with_name(f"{path.name}-wal")
        self._files = (self.file, path.with_name(f"{path.name}-shm"))
        self._open: list[weakref.ref[OpenLog]] = []  # each removes itself

    @property
    def size(self) -> int:
        """Bytes of the log; 0 if there is none."""
        try:
            return self.file.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return 0

    def is_intact(self) -> bool:
        """Whether the files that this process has open are still there, under their names."""
        opened = self._opened()
        return opened is None or self._identities() == opened.identities

    def in_place(self) -> Identities | None:
        """Return the files, if both are there: those that this process has, if it has any open.

        Where there are second names, the files have to be theirs.
        """
        identities = self._identities()
        if None in identities or not self.is_intact():
            return None
        kept = map(file_identity, map(_kept, self._files))
        same = all(name in (None, file) for name, file in zip(kept, identities, strict=True))
        return identities if same else None

    def keep(self, expected: Identities | None) -> OpenLog:
        """Remember the files that a connection has just opened; give them their second names.

        Args:
            expected: the files that were there before; None if nobody had them open.

        Raises:
            LogLost: they are others, or are gone again, so that nobody knows which it has.
        """
        identities = self._identities()
        opened = OpenLog(identities)
        if None in identities or expected not in (None, identities) or not self.is_intact():
            raise LogLost
        self._open.append(weakref.ref(opened, self._open.remove))
        self._link(identities)
        return opened

    def put_back(self, hold: ForkHold | None = None) -> bool:
        """Put the files back, or see that nobody has them; return whether one was missing.

        Hold ``exclusive_lock``.

        Args:
            hold: holds off forks, where this process may have nothing open.

        Raises:
            LogLost: a process has a file open that has no name any more.
            sqlite3.Error: the database cannot be read.
        """
        opened = self._opened()
        if opened is None:
            if hold is None or not self._is_lost(hold):
                return False
            wanted = tuple(file_identity(_kept(file)) for file in self._files)
        else:
            wanted = opened.identities
        missing = []
        for file, identity in zip(self._files, wanted, strict=True):
            found = file_identity(file)
            if identity is None or (found or file_identity(_kept(file))) != identity:
                raise LogLost
            if found is None:
                missing.append(file)
        for file in missing:
            try:
                os.link(_kept(file), file)
            except OSError as error:  # somebody else was faster: with a file, or a deletion
                raise LogLost from error
        return bool(missing)

    def check(self, timeout: float) -> bool:
        """Put back what was deleted since; return whether something was.

        Raises:
            LogLost, OSError, sqlite3.Error: as ``put_back``.
        """
        opened = self._opened()
        if opened is None:
            return False
        if self._identities() == opened.identities:
            self._link(opened.identities)
            return False
        with exclusive_lock(self._path.parent, timeout):
            return self.put_back()

    def forget(self) -> None:
        """Remove the second names, once SQLite has deleted the files."""
        if self._opened() is None and file_identity(self.file) is None:
            for file in self._files:
                _kept(file).unlink(missing_ok=True)

    def _identities(self) -> Identities:
        return tuple(map(file_identity, self._files))

    def _opened(self) -> OpenLog | None:
        pid = os.getpid()
        for reference in tuple(self._open):
            opened = reference()
            if opened is not None and opened.pid == pid:
                return opened
        return None

    def _link(self, identities: Identities) -> None:
        for file, identity in zip(self._files, identities, strict=True):
            kept = _kept(file)
            if identity is None or file_identity(kept) == identity:
                continue
            with suppress(OSError):  # no links on this file system, or a full disk
                kept.unlink(missing_ok=True)
                os.link(file, kept)

    def _is_lost(self, hold: ForkHold) -> bool:
        """Whether a file is missing though somebody has the database open."""
        for _ in range(_TIMES):
            if self.in_place() is not None or not self._is_in_use(hold):
                return False
            time.sleep(0.001)
        return True


def _kept(file: Path) -> Path:
    return file.with_name(f"{file.name}{_KEPT}")
