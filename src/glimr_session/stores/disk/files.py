"""The disk store's files: a private directory, the database that diskcache makes in it."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import pwd
import re
import shutil
import sqlite3
import stat
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import diskcache

from ...errors import ConfigError

__all__ = [
    "DATABASE",
    "Identity",
    "check_directory",
    "ensure_database",
    "exclusive_lock",
    "expand_directory",
    "file_identity",
    "log_identity",
    "open_to_others",
]

logger = logging.getLogger("glimr_session")

DATABASE: Final[str] = diskcache.core.DBNAME

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


def expand_directory(directory: str | os.PathLike[str]) -> Path:
    """Return the absolute path, with ``~``, ``$NAME`` and ``${NAME}`` expanded.

    Raises:
        ConfigError: it is no path, or a variable or a home directory in it is not known.
    """
    written = os.fsdecode(directory)
    told = f"directory: {written!r}"
    if not _is_path(written):
        raise ConfigError(f'{told} is not a path; write it as in "/var/lib/shop/sessions"')
    for name in re.findall(r"\$(\w+|\{[^}]*\})", written, re.ASCII):
        if not os.environ.get(name.strip("{}")):
            raise ConfigError(
                f"{told}: {name.strip('{}')} is not set, or empty, in the environment of this "
                "process. Set it, or write the path out."
            )
    path = Path(os.path.expandvars(written))
    user = path.parts[0] if path.parts else ""
    if user.startswith("~"):
        try:
            home = Path(user).expanduser()
        except RuntimeError:
            home = None
        if home is None or (user == "~" and os.environ.get("HOME") == ""):  # or ~/shop is /shop
            problem = (
                "this process has no home directory. Set HOME"
                if user == "~"
                else f"there is no user {user[1:]} on this machine. Name another one"
            )
            raise ConfigError(f"{told}: {problem}, or write the path out.")
        path = home.joinpath(*path.parts[1:])
    try:
        return path.absolute()
    except OSError as error:
        raise ConfigError(
            f"{told} is relative, and the working directory of this process cannot be used: "
            f"{error.strerror}. Write an absolute path."
        ) from error


def _is_path(text: str) -> bool:
    try:
        return text != "" and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def check_directory(directory: Path) -> None:
    """Make the directory if it is missing, and check that it is private, ours and writable.

    Raises:
        ConfigError: it is not; the message says how to mend it.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.stat()
    except OSError as error:
        raise ConfigError(
            f"directory: {directory} cannot be made: {error.strerror}. "
            + _ADVICE.get(error.errno or 0, _NAME_ANOTHER).format(
                user=_user_name(os.geteuid()), directory=directory
            )
        ) from error
    _check_owner(directory, found)
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise ConfigError(f"directory: {open_to_others(directory, mode)}")
    # Root could use it all the same, against the owner's will.
    if mode & 0o700 != 0o700:
        raise ConfigError(
            f"directory: {directory} cannot be written: its mode is {mode:04o}. "
            f"Run: chmod 700 {directory}"
        )
    for path in directory.glob(f"{DATABASE}*"):
        _check_owner(path, _stat(path))
    try:
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, _NAME_ANOTHER)
        if error.errno in (errno.EACCES, errno.EPERM):
            advice = (
                "Its owner and mode are right, so something else does not allow it: look at "
                "lsattr, getfacl, and the rules of SELinux or AppArmor."
            )
        raise ConfigError(
            f"directory: {directory} cannot be written: {error.strerror}. {advice}"
        ) from error


_NAME_ANOTHER: Final = "Name another directory."
_FREE_SPACE: Final = "Free some space there, or name another directory."
_IN_THE_WAY: Final = "A file is in the way: move it, or name another directory."
_MAY_NOT: Final = (
    "This process runs as {user}, which may not. Have root run: "
    "install -d -m 700 -o {user} {directory}, or name another directory."
)
_ADVICE: Final = {
    errno.EROFS: (
        "The file system is mounted read-only: name a directory on another one, or make this "
        "one writable (a volume of the container, ReadWritePaths= of the systemd unit)."
    ),
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EEXIST: _IN_THE_WAY,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EACCES: _MAY_NOT,
    errno.EPERM: _MAY_NOT,
}
"""What to do about a directory that cannot be made or written."""


def _check_owner(path: Path, found: os.stat_result | None) -> None:
    """Raise ConfigError for a file or directory of another user, who could change all sessions."""
    if found is not None and found.st_uid != os.geteuid():
        us, them = _user_name(os.geteuid()), _user_name(found.st_uid)
        raise ConfigError(
            f"directory: {path} belongs to the user {_with_number(them, found.st_uid)}, and this "
            f"process runs as {_with_number(us, os.geteuid())}: each could be locked out by the "
            f"files of the other, and the owner can change all sessions. Run this process as "
            f"{them}, or name another directory, or have root run: chown -R {us} {path}"
        )


def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # as in a container that is run with any number
        return str(number)


def _with_number(name: str, number: int) -> str:
    return name if name == str(number) else f"{name} ({number})"


def open_to_others(directory: Path, mode: int) -> str:
    """Return the error message for a directory that others can use."""
    return (
        f"{directory} is open to others (mode {mode:04o}), and anyone who can read or write it "
        f"can read or forge sessions. Run: chmod 700 {directory}"
    )


def ensure_database(directory: Path, *, timeout: float, replaces_log: LogIdentity | None) -> None:
    """Make the database if it is missing or empty, and check the one that is there.

    diskcache makes it in a directory of its own, from where it is moved into place. So a
    database is there as a whole or not at all, and nobody can lock it while it is made.
    Hold ``exclusive_lock``.

    Args:
        directory: the store's directory.
        timeout: seconds to wait for a writer, where the database has to be changed.
        replaces_log: the log of the database that was here before, if it was replaced.

    Raises:
        sqlite3.Error, OSError: the database is damaged or cannot be used.
    """
    for left in directory.glob(f"{_NEW}*"):  # by a start that was killed
        shutil.rmtree(left, ignore_errors=True)
    path = directory / DATABASE
    log = directory / f"{DATABASE}-wal"
    found = _stat(path)
    missing = found is None or found.st_size == 0
    if missing or (replaces_log is not None and log_identity(log) == replaces_log):
        # SQLite recognises a log by its name alone, and would replay that of another
        # database into this one.
        log.unlink(missing_ok=True)
        (directory / f"{DATABASE}-shm").unlink(missing_ok=True)
    if found is not None and found.st_size > 0:
        _check_database(directory, timeout)
        return
    if found is not None:
        logger.warning("%s is empty; no session that was in it is left.", path)
    _make_database(directory)


def _make_database(directory: Path) -> None:
    made = Path(tempfile.mkdtemp(prefix=_NEW, dir=directory))
    try:
        _Cache(str(made), **_SETTINGS).close()
        (made / DATABASE).replace(directory / DATABASE)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _check_database(directory: Path, timeout: float) -> None:
    """Read the settings and triggers of an existing database; mend what can be mended."""
    path = directory / DATABASE
    with closing(
        sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=timeout)
    ) as connection:
        connection.isolation_level = None
        settings = dict(connection.execute("SELECT key, value FROM Settings"))
        triggers = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'Cache'"
        ).fetchone()[0]
        connection.execute("SELECT key, raw, mode, tag, value FROM Cache LIMIT 1").fetchone()
        ((journal_mode,),) = connection.execute("PRAGMA journal_mode")
        dangerous = [name for name in _DANGEROUS if settings.get(name) != _SETTINGS[name]]
        if not dangerous and triggers >= _TRIGGERS and journal_mode == "wal":
            return
        # diskcache itself would go on trying for minutes if another process had the lock.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    if dangerous:
        logger.warning(
            "%s was opened as a cache that may drop entries (%s), live sessions included. It is "
            "set back; open it without settings of your own, or sessions are lost.",
            path,
            ", ".join(f"{name} = {settings.get(name)!r}" for name in dangerous),
        )
    try:
        with closing(_Cache(str(directory), **_SETTINGS)) as cache:
            if triggers < _TRIGGERS:  # an earlier version removed them
                cache.reset("count", _count(path, timeout))  # pyright: ignore[reportArgumentType]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise sqlite3.DatabaseError(f"malformed settings: {error}") from error


_TRIGGERS: Final = 5  # that diskcache has on its table: they count rows and bytes


def _count(path: Path, timeout: float) -> int:
    with closing(sqlite3.connect(path, timeout=timeout)) as connection:
        ((count,),) = connection.execute("SELECT count(key) FROM Cache")
    return int(count)


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
    except FileNotFoundError:
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
                    raise TimeoutError("another process has been opening it all the time") from None
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
    except FileNotFoundError:
        return None
