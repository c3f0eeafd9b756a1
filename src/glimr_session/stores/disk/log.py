"""The two files beside the database: SQLite's write-ahead log, and the index of that.

SQLite finds them by their names, and deletes them when the last connection is closed. If
somebody else deletes one, the processes that have it open go on with it, and the next one that
opens the database begins a second log beside them: both lose what they commit, and the database
is damaged. So each file has a second name here, under which it is put back, and no connection
is opened while one is missing. See docs/decisions/the-log.md.
"""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from .files import Identity, exclusive_lock, file_identity

__all__ = ["LOST", "PUT_BACK", "LogLost", "OpenLog", "WriteAheadLog"]

PUT_BACK: Final = (
    "The log of the session database (cache.db-wal, cache.db-shm) was deleted while it was in "
    "use. It has been put back, and nothing is lost. Do not let a cleaner delete files there."
)

LOST: Final = (
    "processes have it open, and its log (cache.db-wal, cache.db-shm) was deleted, or another one "
    "is in its place. Nothing is written until each of them has closed it: at its next request, "
    "or when it is ended (lsof cache.db names them). Or one of them has it for itself "
    "(locking_mode = EXCLUSIVE)"
)

_KEPT: Final = ".kept"  # suffix of the second names; diskcache's check() knows files of cache.db

# Seconds in which somebody who opens or closes the database has made or deleted the log.
_PATIENCE: Final = 1.0

Identities: TypeAlias = tuple[Identity | None, Identity | None]
"""The log and its index."""


class LogLost(Exception):
    """The log of a database that is in use was deleted, and cannot be put back."""


class OpenLog:
    """The files that a connection has open; ``identities`` is None unless it is open."""

    __slots__ = ("__weakref__", "database", "identities", "pid")

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.database: Identity | None = None
        self.identities: Identities | None = None


class WriteAheadLog:
    """The log of one database, as the connections of this process know it.

    Args:
        path: the database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.file = path.with_name(f"{path.name}-wal")
        self._index = path.with_name(f"{path.name}-shm")
        self._open: list[weakref.ref[OpenLog]] = []  # each removes itself

    @property
    def size(self) -> int:
        """Bytes of the log; 0 if there is none."""
        try:
            return self.file.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return 0

    def in_place(self) -> Identities | None:
        """Return the files, if both are there and are those that are in use.

        Those that this process has, if it has any open; else those of the second names, if
        somebody else has these open.

        Raises:
            sqlite3.OperationalError: this process has another database open, which was here.
        """
        opened, found = self._opened(), self._found()
        if None in found or opened not in (None, found):
            return None
        kept = self._kept()
        return found if kept == found or not _is_locked(kept[1]) else None

    def keep(self, opened: OpenLog, expected: Identities | None) -> None:
        """Note the files that a connection has just opened; give them their second names.

        Args:
            opened: the connection's.
            expected: the files that were there before; None if nobody had them open.

        Raises:
            LogLost: they are others, or are gone again, so that nobody knows which it has.
            sqlite3.OperationalError: as ``in_place``.
        """
        other, found = self._opened(), self._found()
        expected = expected if other is None else other
        if None in found or expected not in (None, found):
            raise LogLost
        self._open.append(weakref.ref(opened, self._open.remove))
        opened.database, opened.identities = file_identity(self._path), found
        self._link(found)

    def put_back(self) -> tuple[Identities | None, bool]:
        """Put the files back, or see that nobody has them. Hold ``exclusive_lock``.

        Returns:
            The files that are in use, None if nobody has the database open; and whether one was
            missing.

        Raises:
            LogLost: a process has a file open that has no name any more.
            sqlite3.OperationalError: as ``in_place``.
        """
        opened = self._opened()
        if opened is not None:
            return opened, self._restore(opened)
        deadline = time.monotonic() + _PATIENCE
        while (found := self.in_place()) is None:
            # SQLite deletes the files before it lets go of them, and may have been about to; then
            # what is put back is what is in the database.
            kept = self._kept()
            if _is_locked(kept[1]):
                with suppress(LogLost):  # it may be about to change
                    return kept, self._restore(kept)
            elif not _is_locked(file_identity(self._path)):
                return (kept, self._restore(kept)) if self._was_left(kept) else (None, False)
            if time.monotonic() > deadline:
                raise LogLost
            time.sleep(0.001)
        return found, False

    def check(self, timeout: float) -> bool:
        """Put back what this process has open; return whether something was missing.

        Raises:
            LogLost, OSError, sqlite3.OperationalError: as ``put_back``.
        """
        opened = self._opened()
        if opened is None:
            return False
        if self._found() == opened:
            self._link(opened)
            return False
        with exclusive_lock(self._path.parent, timeout):
            return self._restore(opened)

    def forget(self) -> None:
        """Remove the second names, once SQLite has deleted the files."""
        if self._opened() is None and file_identity(self.file) is None:
            for kept in self._second_names():
                kept.unlink(missing_ok=True)

    def remove_others(self) -> None:
        """Remove the second names of other databases, which were here before."""
        own = self._second_names()
        for kept in self._path.parent.glob(f"{self._path.name}-*{_KEPT}"):
            if kept not in own:
                kept.unlink(missing_ok=True)

    def _was_left(self, kept: Identities) -> bool:
        """Whether the log is that of processes that were killed, and was deleted since.

        SQLite deletes the log before its index, and only when all of it is in the database.
        """
        found = self._found()
        if None in kept or found[0] is not None or found[1] not in (None, kept[1]):
            return False
        log, _ = self._second_names()
        try:
            # ctime, for a copy that was written over the database may have an older mtime.
            return found[1] == kept[1] or log.stat().st_mtime_ns >= self._path.stat().st_ctime_ns
        except FileNotFoundError:  # whoever has closed the database has just tidied up
            return False

    def _found(self) -> Identities:
        return file_identity(self.file), file_identity(self._index)

    def _kept(self) -> Identities:
        log, index = self._second_names()
        return file_identity(log), file_identity(index)

    def _second_names(self) -> tuple[Path, Path]:
        """Return the names for the database that is there: a log is worth nothing to another."""
        database = file_identity(self._path)
        number = "none" if database is None else f"{database[1]:x}"
        log, index = (
            file.with_name(f"{file.name}.{number}{_KEPT}") for file in (self.file, self._index)
        )
        return log, index

    def _opened(self) -> Identities | None:
        """Return the files that this process has open, if it has any."""
        pid = os.getpid()
        for reference in tuple(self._open):
            opened = reference()
            identities = opened.identities if opened is not None and opened.pid == pid else None
            if opened is not None and identities is not None:
                if opened.database != file_identity(self._path):
                    raise sqlite3.OperationalError("the file was replaced")
                return identities
        return None

    def _link(self, identities: Identities) -> None:
        files = (self.file, self._index)
        for file, kept, identity in zip(files, self._second_names(), identities, strict=True):
            if identity is None or file_identity(kept) == identity:
                continue
            with suppress(OSError):  # no links on this file system, or a full disk
                kept.unlink(missing_ok=True)
                os.link(file, kept)

    def _restore(self, identities: Identities) -> bool:
        """Give files that somebody has open their names back; return whether one had none.

        Who has begun another log beside them has noticed that, and has written nothing to it.
        """
        found = self._found()
        if found == identities:
            return False
        is_other = found[0] not in (None, identities[0])
        if None in identities or self._kept() != identities or (is_other and self.size > 0):
            raise LogLost
        names = zip((self.file, self._index), self._second_names(), strict=True)
        for (file, kept), there, identity in zip(names, found, identities, strict=True):
            try:
                if there not in (None, identity):
                    file.unlink()
                if there != identity:
                    os.link(kept, file)
            except OSError as error:  # somebody else was faster: with a file, or a deletion
                raise LogLost from error
        return True


def _is_locked(file: Identity | None) -> bool:
    """Whether some process has a database, or the index of a log, open: SQLite locks both as long.

    False also where the system does not tell, as for processes of another container.
    """
    if file is None:
        return False
    device, inode = file
    place = f" {os.major(device):02x}:{os.minor(device):02x}:{inode} "
    try:
        return place in Path("/proc/locks").read_text("ascii")
    except OSError:
        return False
