"""The disk store's directory: where it is, whose it is, and who else may use it."""

from __future__ import annotations

import errno
import os
import pwd
import re
import stat
import tempfile
from pathlib import Path
from typing import Final

from ...errors import ConfigError

__all__ = ["DATABASE", "Directory", "expand_directory"]

DATABASE: Final = "cache.db"
"""diskcache's name for its file. The others are that name and a suffix."""

_PRIVATE: Final = 0o700

# SQLite opens no longer path, in bytes (MAX_PATHNAME of its os_unix.c). A database is made in a
# directory below the store's.
_LONGEST: Final = 512 - len(f"/.new-12345678/{DATABASE}-journal")

_OUTAGES: Final = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""What ends by itself, and so is no wrong setting."""


class Directory:
    """A directory for a store: ours, and no more open to others than ``mode`` allows.

    Args:
        path: where it is.
        mode: the most that its permissions may be, as 0o700; it is made with them. If the
            group may write, its files may belong to anyone of that group.
    """

    def __init__(self, path: Path, mode: int = _PRIVATE) -> None:
        self.path = path
        self.mode = mode
        self.file_mode: Final = 0o600 | (0o060 if mode & 0o020 else 0)
        """The permissions of the files: the group may use them if it may write here."""

    def prepare(self) -> None:
        """Make the directory if it is missing, and check that we can use it and others cannot.

        Raises:
            ConfigError: something is wrong with it; the message says how to mend it.
            OSError: it cannot be used at present, as on a full disk.
        """
        self._check_path()
        try:
            if _make(self.path, self.mode):
                self.path.chmod(self.mode)  # whatever the umask is
            found = self.path.stat()
        except OSError as error:
            raise self._cannot("made", error) from error
        problem = self.problem(found)
        if problem:
            raise ConfigError(f"directory: {problem}")
        # Root could use it all the same, against the owner's will.
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid == os.geteuid() and mode & 0o700 != 0o700:
            raise ConfigError(
                f"directory: {self.path} cannot be written: its mode is {mode:04o}. "
                f"Run: chmod {self.mode:o} {self.path}"
            )
        self._check_files()
        self._check_writing()

    def problem(self, found: os.stat_result) -> str:
        """Return what is wrong with owner or permissions, and how to mend it; "" if nothing is."""
        return self._foreign(self.path, found) or self._open_to_others(self.path, found)

    def file_problem(self, path: Path, found: os.stat_result) -> str:
        """As ``problem``, for a file in the directory."""
        if self.mode & 0o077 == 0:
            return ""  # nobody else comes as far
        return self._open_to_others(path, found, self.file_mode)

    def left_to(self) -> str:
        """Return the owner, if we are root and leave the directory to another user; else "".

        A server that starts as root becomes its user later, as gunicorn does with ``--preload``
        and ``--user``. As root nothing is opened or made there, so that no file is root's, and
        the owner cannot have root follow a link of his.
        """
        if os.geteuid() != 0:
            return ""
        try:
            found = self.path.stat()
        except OSError:
            return ""
        return _told(found.st_uid) if self._foreign(self.path, found) else ""

    def _check_path(self) -> None:
        longest = max(map(len, os.fsencode(self.path).split(b"/")))
        whole = len(os.fsencode(self.path))
        if whole > _LONGEST or longest > _LONGEST_NAME:
            raise ConfigError(
                f"directory: {self.path} is too long: {whole} bytes, and {longest} in one name; "
                f"SQLite opens {_LONGEST}, and file systems have names of up to {_LONGEST_NAME}. "
                "Name a shorter one."
            )

    def _check_files(self) -> None:
        link = self.path / DATABASE
        if link.is_symlink():
            raise ConfigError(
                f"directory: {link} is a link, and SQLite would keep its log where that leads to, "
                f"in a directory that nobody checks. Remove the link, and let {self.path} be the "
                "directory that has the file, or a link to it."
            )
        for path in sorted(self.path.glob(f"{DATABASE}*")):  # a log before its second name
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            problem = self._foreign(path, found)
            open_to = self.file_problem(path, found)
            if open_to and found.st_uid == os.geteuid():
                path.chmod(self.file_mode)  # it was made while nobody else came as far
                open_to = ""
            if problem or open_to:
                raise ConfigError(f"directory: {problem or open_to}")

    def _check_writing(self) -> None:
        try:
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            was_writable = error.errno == errno.EROFS and (self.path / DATABASE).exists()
            if error.errno not in _OUTAGES and not was_writable:
                raise self._cannot("written", error) from error

    def _foreign(self, path: Path, found: os.stat_result) -> str:
        """Return what is wrong with a file or directory of another user."""
        us = os.geteuid()
        is_of_our_group = found.st_gid in (os.getegid(), *os.getgroups())
        if found.st_uid == us or (is_of_our_group and self.mode & found.st_mode & 0o020):
            return ""
        chown = f"chown -R {_name(us)} {path}"
        if us and is_of_our_group and found.st_mode & 0o020:
            chown += '. Or, if it is meant for all users of its group, set [disk] mode = "2770"'
        if us == 0:
            return (
                f"{path} belongs to the user {_told(found.st_uid)}, and this process still runs as "
                "root, which makes no files for somebody else. Have the server become "
                f"{_name(found.st_uid)} before its first request (gunicorn --user, uid of uWSGI), "
                f"or, if root is to serve, run: {chown}"
            )
        return (
            f"{path} belongs to the user {_told(found.st_uid)}, and this process runs as "
            f"{_told(us)}: each could be locked out by the files of the other, and the owner can "
            f"change all sessions. Run this process as {_name(found.st_uid)}, or name another "
            f"directory, or have root run: {chown}"
        )

    def _open_to_others(self, path: Path, found: os.stat_result, allowed: int | None = None) -> str:
        mode = stat.S_IMODE(found.st_mode)
        allowed = self.mode if allowed is None else allowed
        if not mode & 0o077 & ~allowed:
            return ""
        advice = f"Run: chmod {allowed:o} {path}"
        if allowed == _PRIVATE:
            advice += (
                " (or, where the platform insists on it, set [disk] mode; the guide says what "
                "that means)"
            )
        return (
            f"{path} is open to others (mode {mode:04o}), and anyone who can read or write it "
            f"can read or forge sessions. {advice}"
        )

    def _cannot(self, be: str, error: OSError) -> OSError | ConfigError:
        if error.errno in _OUTAGES:
            return error
        return ConfigError(
            f"directory: {self.path} cannot be {be}: {error.strerror}. {self._advice(be, error)}"
        )

    def _advice(self, be: str, error: OSError) -> str:
        user = _name(os.geteuid())
        if error.errno == errno.EROFS:
            return _READ_ONLY
        if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.ENOENT):
            link = _dangling(self.path)
            if link is not None:
                return (
                    f"{link} is a link to {link.readlink()}, which does not exist. Make that "
                    "directory, or remove the link."
                )
            return _IN_THE_WAY
        if error.errno in (errno.EACCES, errno.EPERM):
            if be == "written":
                return _NOT_ALLOWED
            closed = _closed(self.path)
            if closed is not None:
                return (
                    f"{closed} is there, and {user} may not search it. Have root run: "
                    f"setfacl -m u:{user}:x {closed}, or chmod o+x {closed}, or name another "
                    "directory."
                )
            return (
                f"This process runs as {user}, which may not. Have root run: "
                f"install -d -m {self.mode:o} -o {user} {self.path}, or name another directory."
            )
        return "Name another directory."


_LONGEST_NAME: Final = 255

_READ_ONLY: Final = (
    "The file system is mounted read-only: name a directory on another one, or make this "
    "one writable (a volume of the container, ReadWritePaths= of the systemd unit)."
)
_IN_THE_WAY: Final = "A file is in the way: move it, or name another directory."
_NOT_ALLOWED: Final = (
    "Its owner and mode are right, so something else does not allow it: look at "
    "lsattr, getfacl, and the rules of SELinux or AppArmor."
)


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


def _make(path: Path, mode: int) -> bool:
    """Make a directory and those above it, unless it is there; return whether it was made.

    Each can be used by us at once, whatever the umask is.
    """
    try:
        path.mkdir(mode & _PRIVATE)
    except FileNotFoundError:
        if _make(path.parent, 0o755):
            path.parent.chmod(0o755)
        path.mkdir(mode & _PRIVATE)
    except FileExistsError:
        if not path.is_dir():
            raise
        return False
    return True


def _dangling(path: Path) -> Path | None:
    """Return the link in a path that leads nowhere, if there is one."""
    for link in (path, *path.parents):
        if link.is_symlink() and not link.exists():
            return link
    return None


def _closed(path: Path) -> Path | None:
    """Return the directory above that this user may not search, if there is one."""
    for parent in reversed(path.parents):
        if not os.access(parent, os.X_OK):
            return parent if os.path.lexists(parent) else None
    return None


def _told(number: int) -> str:
    """Return a user's name, and the number if that is another word."""
    name = _name(number)
    return name if name == str(number) else f"{name} ({number})"


def _name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # as in a container that is run with any number
        return str(number)
