"""The disk store's files: the database that diskcache makes, and who may open it."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import diskcache

from ...errors import ConfigError
from .directory import DATABASE, Directory

__all__ = [
    "Identity",
    "check_database",
    "check_format",
    "ensure_database",
    "exclusive_lock",
    "file_identity",
    "log_identity",
]

_FORMAT: Final = 1
"""The version of what is in the rows; SQLite's ``user_version``. 0 is from before there was one."""

# The defaults drop live entries when there is a gigabyte of them; and reading a mapped file
# that somebody has cut short kills the process.
_SETTINGS: Final[dict[str, Any]] = {
    "eviction_policy": "none",
    "cull_limit": 0,
    "sqlite_mmap_size": 0,
}
_DANGEROUS: Final = ("eviction_policy", "cull_limit")

_NEW: Final = ".new-"  # prefix of the directory where a database is made

Identity = tuple[int, int]
"""Device and inode: the same file, wherever it is moved."""

LogIdentity = tuple[int, int, bytes]


def ensure_database(directory: Directory, *, replaces_log: LogIdentity | None) -> list[str]:
    """Make the database if it is missing or empty; return what is to be logged of it.

    diskcache makes it in a directory of its own, from where it is moved into place. So a
    database is there as a whole or not at all, and nobody can lock it while it is made.
    Hold ``exclusive_lock``.

    Args:
        directory: the store's directory.
        replaces_log: the log of the database that was here before, if it was replaced.

    Raises:
        sqlite3.Error, OSError: it cannot be made.
    """
    for left in directory.path.glob(f"{_NEW}*"):  # by a start that was killed
        shutil.rmtree(left, ignore_errors=True)
    path = directory.path / DATABASE
    log = directory.path / f"{DATABASE}-wal"
    found = _stat(path)
    missing = found is None or found.st_size == 0
    if missing or (replaces_log is not None and log_identity(log) == replaces_log):
        # SQLite recognises a log by its name alone, and would replay that of another
        # database into this one.
        log.unlink(missing_ok=True)
        (directory.path / f"{DATABASE}-shm").unlink(missing_ok=True)
    if not missing:
        return []
    _make_database(directory)
    return [] if found is None else [f"{path} is empty; no session that was in it is left."]


def _make_database(directory: Directory) -> None:
    made = Path(tempfile.mkdtemp(prefix=_NEW, dir=directory.path))
    try:
        made.chmod(0o700)  # whatever the umask is
        with closing(_Cache(str(made), **_SETTINGS)):
            pass
        file = made / DATABASE
        with closing(sqlite3.connect(file)) as connection:
            connection.execute(f"PRAGMA user_version = {_FORMAT}")
        file.chmod(directory.file_mode)
        file.replace(directory.path / DATABASE)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def check_format(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a database that a later version of this package has made; older ones are read.

    Raises:
        ConfigError: it is newer.
        sqlite3.Error: it is no database, or cannot be read.
    """
    ((version,),) = connection.execute("PRAGMA user_version")
    if version > _FORMAT:
        raise ConfigError(
            f"directory: {path} was made by a later version of glimr_session (its format is "
            f"{version}, and this version knows {_FORMAT}). Install that version again, or name "
            "another directory."
        )


def check_database(connection: sqlite3.Connection, path: Path) -> list[str]:
    """Read settings and triggers of a database, and mend what can be mended.

    It is read without the write lock and without space. What cannot be mended at present is
    mended at a later start.

    Returns:
        What is to be logged.

    Raises:
        sqlite3.Error: it is damaged, or cannot be used as it is.
    """
    settings = dict(connection.execute("SELECT key, value FROM Settings"))
    ((triggers,),) = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'Cache'"
    )
    connection.execute("SELECT key, raw, mode, tag, value FROM Cache LIMIT 1").fetchone()
    ((journal_mode,),) = connection.execute("PRAGMA journal_mode")
    dangerous = [name for name in _DANGEROUS if settings.get(name) != _SETTINGS[name]]
    if not dangerous and triggers >= _TRIGGERS and journal_mode == "wal":
        return []
    messages = []
    if dangerous:
        told = ", ".join(f"{name} = {settings.get(name)!r}" for name in dangerous)
        messages.append(
            f"{path} was opened as a cache that may drop entries ({told}), live sessions "
            "included. It is set back; open it without settings of your own, or sessions are lost."
        )
    try:
        # diskcache itself would go on trying for minutes if another process had the lock.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
        with closing(_Cache(str(path.parent), **_SETTINGS)) as cache:
            if triggers < _TRIGGERS:  # an earlier version removed them
                ((count,),) = connection.execute("SELECT count(key) FROM Cache")
                cache.reset("count", count)
    except sqlite3.OperationalError as error:
        if journal_mode != "wal":
            raise
        messages.append(f"{path} could not be set back ({error}); a later start will do it.")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise sqlite3.DatabaseError(f"malformed settings: {error}") from error
    return messages


_TRIGGERS: Final = 5  # that diskcache has on its table: they count rows and bytes


def file_identity(path: Path) -> Identity | None:
    """Return the identity of a file, or None if it is missing."""
    found = _stat(path)
    return None if found is None else (found.st_dev, found.st_ino)


def log_identity(log: Path) -> LogIdentity | None:
    """Return what no other log has; an inode is reused, and a log's header is random."""
    try:
        with log.open("rb") as file:
            found = os.fstat(file.fileno())
            header = file.read(32)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (found.st_dev, found.st_ino, header) if header else None


@contextmanager
def exclusive_lock(directory: Path, timeout: float) -> Iterator[None]:
    """Let one process at a time make or check the database in this directory.

    Raises:
        TimeoutError: another process has held the lock for ``timeout`` seconds.
    """
    lock = _Descriptor(directory)
    deadline = time.monotonic() + timeout
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        "another process has had the lock of the directory (flock) all the time"
                    ) from None
                time.sleep(0.001)
        yield
    finally:
        # Closing is not enough: a process forked meanwhile has the descriptor too.
        fcntl.flock(lock, fcntl.LOCK_UN)
        lock.close()


class _Cache(diskcache.Cache):  # type: ignore[misc]  # it has no types
    """A diskcache that leaves no connection open when it cannot be made."""

    def __init__(self, directory: str, **settings: Any) -> None:
        try:
            super().__init__(directory, **settings)
        except BaseException:
            with suppress(AttributeError):  # it has no connection yet
                self.close()
            raise


class _Descriptor:
    """Owns the descriptor of a directory, and closes it when nobody references it any more.

    It is opened and kept, and let go of and closed, in one step of the interpreter each: a
    signal handler that raises in between would leave it open, and the directory locked.
    """

    def __init__(self, directory: Path) -> None:
        self._number: list[int] = []
        self._number.extend(map(os.open, [directory], [os.O_RDONLY | os.O_DIRECTORY]))

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._number[0]

    def close(self) -> None:
        """Close it, once."""
        with suppress(IndexError):
            deque(map(os.close, map(list[int].pop, [self._number])), maxlen=0)

    __del__ = close


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
