"""The directory of the disk store: its name, its owner, its permissions."""

from __future__ import annotations

import errno
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import pytest

from glimr_session import ConfigError, DiskStore, StoreUnavailable
from glimr_session.stores.disk.directory import _LONGEST, expand_directory
from glimr_session.testing.contract import begin, content

# The directory's name.


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("/srv/shop", "/srv/shop"),
        ("var/sessions", "{cwd}/var/sessions"),
        (Path("var/sessions"), "{cwd}/var/sessions"),
        ("~", "/home/ada"),
        ("~/shop", "/home/ada/shop"),
        ("$STATE_DIR/shop", "/var/lib/shop"),
        ("${STATE_DIR}/shop", "/var/lib/shop"),
        ("a/$STATE_NAME/b", "{cwd}/a/state/b"),
        ("/srv/$", "/srv/$"),
        ("/srv/shop~", "/srv/shop~"),
        ("$SUBSTITUTE/shop", "{cwd}/$NOBODY/shop"),
    ],
    ids=str,
)
def test_variables_and_home_directories_are_expanded(
    written: str | Path, meant: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``~``, ``$NAME`` and ``${NAME}`` stand for what they do in a shell; the path is absolute."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("STATE_DIR", "/var/lib")
    monkeypatch.setenv("STATE_NAME", "state")
    monkeypatch.setenv("SUBSTITUTE", "$NOBODY")  # a value is not expanded again
    assert expand_directory(written) == Path(meant.format(cwd=tmp_path))


@pytest.mark.parametrize("directory", ["$STATE_DIR", "$STATE_DIR/shop", "/srv/${STATE_DIR}/shop"])
@pytest.mark.parametrize("text", [None, ""], ids=["unset", "empty"])
def test_a_variable_that_is_not_set_is_refused(
    directory: str, text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No directory is named "$STATE_DIR", nor is one made in / for a variable that is empty."""
    if text is None:
        monkeypatch.delenv("STATE_DIR", raising=False)
    else:
        monkeypatch.setenv("STATE_DIR", text)
    with pytest.raises(ConfigError) as caught:
        expand_directory(directory)
    message = str(caught.value)
    assert message.startswith(f"directory: {directory!r}: ")
    assert "STATE_DIR is not set, or empty" in message
    assert "write the path out" in message


def no_user(_key: object) -> NoReturn:
    """Answer as the user database does for a user that is not in it."""
    raise KeyError


@pytest.mark.parametrize("home", [None, ""], ids=["unset", "empty"])
def test_a_home_directory_that_is_not_known_is_refused(
    home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``~`` without HOME is a ConfigError with advice: no RuntimeError, and nothing in /."""
    monkeypatch.setattr("pwd.getpwuid", no_user)
    if home is None:
        monkeypatch.delenv("HOME", raising=False)
    else:
        monkeypatch.setenv("HOME", home)
    for directory in ("~", "~/shop"):
        with pytest.raises(ConfigError) as caught:
            expand_directory(directory)
        message = str(caught.value)
        assert message.startswith(f"directory: {directory!r}: ")
        assert "Set HOME" in message
        assert "write the path out" in message


def test_the_home_directory_of_nobody_is_refused() -> None:
    """``~name`` of a user that this machine does not have is a ConfigError that names it."""
    with pytest.raises(
        ConfigError, match=r"^directory: '~nosuchuser/shop': there is no user nosuchuser"
    ):
        expand_directory("~nosuchuser/shop")


@pytest.mark.parametrize("directory", ["", "a\0b", "a\ud800b"], ids=repr)
def test_what_is_no_path_is_refused(directory: str) -> None:
    """An empty path, one with a null character and one that is no text are ConfigErrors."""
    with pytest.raises(ConfigError, match=r"^directory: .* is not a path") as caught:
        expand_directory(directory)
    assert repr(directory) in str(caught.value)


def test_a_working_directory_that_is_gone_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative directory cannot be found below one that was deleted."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match=r"^directory: 'shop' .*working directory.*absolute"):
        expand_directory("shop")


def test_a_store_is_made_in_the_expanded_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store with a variable that is not set makes no directory of that name, where it stands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STATE_DIR", raising=False)
    with pytest.raises(ConfigError, match="STATE_DIR is not set"):
        DiskStore("$STATE_DIR/shop")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    assert DiskStore("$STATE_DIR/shop").directory == tmp_path / "shop"


# The directory.


def test_the_directory_is_made_for_its_owner_alone(directory: Path) -> None:
    """The store makes a missing directory, and missing parents, with mode 0700 for itself."""
    DiskStore(directory)
    assert directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o707, 0o701])
def test_a_directory_that_is_open_to_others_is_refused_at_start(directory: Path, mode: int) -> None:
    """The start raises ConfigError, which names the mode and the command that mends it."""
    directory.mkdir(parents=True)
    directory.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode 0{mode:o}.*chmod 700"):
        DiskStore(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize("mode", [0o700, 0o755, 0o500])
def test_root_leaves_the_directory_of_another_user_alone(
    directory: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The start as root warns and makes nothing there; each use says whose it is, and what to do.

    A server that becomes that user later works then: see tests/faults/test_starts.py.
    """
    directory.mkdir(parents=True)
    directory.chmod(mode)
    os.chown(directory, 1, 1)
    store = DiskStore(directory)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert re.search(r"belongs to \w+ \(1\), and this process still runs as root", caplog.text)
    for use in (store.open, store.destroy):
        with pytest.raises(StoreUnavailable, match=r"belongs to the user \w+ \(1\)") as caught:
            use("0" * 64)
        assert f"chown -R root {directory}" in str(caught.value)
        assert "chmod" not in str(caught.value)
    assert list(directory.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("name", ["cache.db", "cache.db-wal"])
def test_a_file_of_another_user_is_refused_at_start(directory: Path, name: str) -> None:
    """A database that somebody else has made there is not damaged: its owner is to be changed."""
    store = DiskStore(directory)
    begin(store)
    os.chown(directory / name, 1, 1)
    with pytest.raises(ConfigError, match=rf"{name} belongs to the user \w+ \(1\)") as caught:
        DiskStore(directory)
    assert f"chown -R root {directory / name}" in str(caught.value)
    store.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_user_without_a_name_is_told_by_number(directory: Path) -> None:
    """An owner that the user database does not know is a number in the message."""
    directory.mkdir(mode=0o700, parents=True)
    os.chown(directory, 54321, 54321)
    with pytest.raises(StoreUnavailable, match=r"belongs to the user 54321,"):
        DiskStore(directory).open("0" * 64)


def cannot_write(patched: pytest.MonkeyPatch, code: int) -> None:
    """Have the system refuse new files, for a reason that a test cannot make here."""

    def fail(*_args: object, **_options: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    patched.setattr(tempfile, "TemporaryFile", fail)


@pytest.mark.parametrize(
    ("code", "advised"), [(errno.EROFS, "read-only"), (errno.EPERM, "allow")], ids=str
)
def test_the_advice_is_for_the_failure(
    directory: Path, monkeypatch: pytest.MonkeyPatch, code: int, advised: str
) -> None:
    """A directory that cannot be written for another reason than its mode needs no chmod."""
    cannot_write(monkeypatch, code)
    with pytest.raises(ConfigError, match="cannot be written") as caught:
        DiskStore(directory)
    assert advised in str(caught.value)
    assert "chmod" not in str(caught.value)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS], ids=str)
def test_what_passes_does_not_end_the_start(
    directory: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A store that is there is opened though no file can be made beside it at present."""
    store = DiskStore(directory)
    cookie_value = begin(store)
    cannot_write(monkeypatch, code)
    assert content(DiskStore(directory), cookie_value) == ({"a": 1}, {})
    store.close()


@pytest.mark.parametrize("mode", [0o500, 0o600, 0o300])
def test_a_read_only_directory_is_refused_at_start(directory: Path, mode: int) -> None:
    """The start raises ConfigError, so that the first request does not have to."""
    directory.mkdir(parents=True)
    directory.chmod(mode)
    with pytest.raises(ConfigError, match=f"cannot be written.*Run: chmod 700 {directory}$"):
        DiskStore(directory)
    directory.chmod(0o700)


def test_a_directory_that_cannot_be_made_is_refused_at_start(tmp_path: Path) -> None:
    """The start raises ConfigError if a file is in the way."""
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match=r"cannot be made.* is in the way"):
            DiskStore(directory)


def test_a_link_that_leads_nowhere_is_said(tmp_path: Path) -> None:
    """A dangling link, as the directory or above it, is named with what it leads to."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "gone")
    for directory in (link, link / "sessions", link / "shop" / "sessions"):
        with pytest.raises(ConfigError, match=rf"{link} is a link to {tmp_path / 'gone'}, which"):
            DiskStore(directory)
    (tmp_path / "gone").mkdir(mode=0o700)
    store = DiskStore(link)
    assert content(store, begin(store)) == ({"a": 1}, {})
    store.close()


@pytest.mark.parametrize("there", [True, False])
def test_a_database_that_is_a_link_is_refused(directory: Path, tmp_path: Path, there: bool) -> None:
    """SQLite would keep the log where a link leads to, which may be open to others."""
    elsewhere = tmp_path / "elsewhere"
    if there:
        DiskStore(elsewhere).close()
    directory.mkdir(mode=0o700, parents=True)
    (directory / "cache.db").symlink_to(elsewhere / "cache.db")
    with pytest.raises(ConfigError, match=r"cache.db is a link.*Remove the link"):
        DiskStore(directory)


def test_the_longest_path_works_and_a_longer_one_is_refused(tmp_path: Path) -> None:
    """A path is refused from the byte on at which SQLite could not open its database."""
    above = tmp_path / ("a" * 200)
    longest = above / ("b" * (_LONGEST - len(os.fsencode(above)) - 1))
    store = DiskStore(longest)
    assert content(store, begin(store)) == ({"a": 1}, {})
    store.close()
    for directory in (longest.with_name(f"{longest.name}b"), tmp_path / ("c" * 256)):
        with pytest.raises(ConfigError, match=r"is too long: .*Name a shorter one"):
            DiskStore(directory)
        assert not os.path.lexists(longest.with_name(f"{longest.name}b"))


@pytest.mark.parametrize("umask", [0o177, 0o777, 0])
def test_the_umask_does_not_matter(tmp_path: Path, umask: int) -> None:
    """Directories and files are made as they have to be, whatever the process takes away."""
    before = os.umask(umask)
    try:
        store = DiskStore(tmp_path / "var" / "sessions")
        assert content(store, begin(store)) == ({"a": 1}, {})
    finally:
        os.umask(before)
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in store.directory.iterdir()}
    assert set(found.values()) == {0o600}, found
    assert stat.S_IMODE(store.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(store.directory.parent.stat().st_mode) == 0o755
    store.close()


# Directories that are meant to be more open.


@pytest.mark.parametrize("mode", ["0755", "0750", "0711", "2770", "2775", "0770"])
def test_a_mode_that_is_set_is_accepted_and_no_more(directory: Path, mode: str) -> None:
    """What the setting allows works, with files for the owner alone unless the group may write."""
    if mode == "2775":
        store = DiskStore(directory, mode=mode)
    else:
        directory.mkdir(parents=True)
        directory.chmod(int(mode, 8))
        store = DiskStore(directory, mode=mode)
    assert content(store, begin(store)) == ({"a": 1}, {})
    assert stat.S_IMODE(directory.stat().st_mode) == int(mode, 8)
    wanted = 0o660 if mode in ("2770", "0770", "2775") else 0o600
    for path in directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path
    store.close()
    directory.chmod(0o777)
    with pytest.raises(ConfigError, match=r"open to others \(mode 0777\)"):
        DiskStore(directory, mode=mode)


def test_files_that_others_could_read_are_closed_to_them(directory: Path) -> None:
    """A database from when the directory was private is not left readable in one that is not."""
    DiskStore(directory).close()
    (directory / "cache.db").chmod(0o644)
    directory.chmod(0o755)
    store = DiskStore(directory, mode="0755")
    assert stat.S_IMODE((directory / "cache.db").stat().st_mode) == 0o600
    (directory / "cache.db").chmod(0o644)
    store._database._next_check = 0.0
    with pytest.raises(StoreUnavailable, match=r"cache.db is open to others .*chmod 600"):
        begin(store)
    store.close()


@pytest.mark.parametrize(
    "mode", ["", "700", "0o700", "0777", "2772", "0722", "0600", "4700", "1777", "rwx", 448, None]
)
def test_a_mode_that_nobody_could_use_safely_is_refused(directory: Path, mode: Any) -> None:
    """Others may never write; the owner can do everything; it is written in octal, as text."""
    allowed = mode == "700"
    if allowed:
        DiskStore(directory, mode=mode).close()
        return
    with pytest.raises(ConfigError, match=r"^mode: .* is no mode for sessions"):
        DiskStore(directory, mode=mode)
    assert not directory.exists()
