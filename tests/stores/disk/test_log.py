"""The second names of the log: whose they are, and when they are put back."""

from __future__ import annotations

from pathlib import Path

import pytest

from glimr_session._forks import ForkHold
from glimr_session.stores.disk.log import LogLost, WriteAheadLog

HOLD = ForkHold(0.0)


class Files:
    """The files of a log, in a process that may have them open."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.in_use = True
        self.log = WriteAheadLog(directory / "cache.db", lambda _: self.in_use)

    def names(self) -> set[str]:
        return {file.name.removeprefix("cache.db-") for file in self.directory.iterdir()}

    def make(self, *names: str) -> None:
        for name in names:
            (self.directory / f"cache.db-{name}").write_text("a log")

    def delete(self, *names: str) -> None:
        for name in names:
            (self.directory / f"cache.db-{name}").unlink()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    files.make("wal", "shm")
    return files


ALL = {"wal", "shm", "wal.kept", "shm.kept"}


@pytest.mark.parametrize("deleted", [("wal",), ("shm",), ("wal", "shm")])
@pytest.mark.parametrize("has_it_open", [True, False])
def test_what_is_missing_is_put_back(
    files: Files, deleted: tuple[str, ...], has_it_open: bool
) -> None:
    """The very files come back, for a process that has them open and for one that has not."""
    opened = files.log.keep(None)
    identities = opened.identities
    if not has_it_open:
        del opened
    files.delete(*deleted)
    assert files.log.put_back(HOLD)
    assert files.names() == ALL
    assert files.log.keep(None).identities == identities
    assert not files.log.put_back(HOLD)


@pytest.mark.parametrize("deleted", [("wal",), ("shm",), ("wal", "shm")])
def test_nothing_is_put_back_if_nobody_has_it_open(files: Files, deleted: tuple[str, ...]) -> None:
    """What a last connection has deleted stays deleted; the next log gets the second names."""
    files.log.keep(None)
    files.in_use = False
    files.delete(*deleted)
    assert not files.log.put_back(HOLD)
    assert files.names() == ALL.difference(deleted)
    files.make(*deleted)
    opened = files.log.keep(None)
    for name in ("wal", "shm"):
        file = files.directory / f"cache.db-{name}"
        assert file.samefile(f"{file}.kept")
    assert files.log.in_place() is not None
    del opened


@pytest.mark.parametrize("other", ["wal", "shm"])
@pytest.mark.parametrize("has_it_open", [True, False])
def test_a_name_that_another_file_has_is_left_to_it(
    files: Files, other: str, has_it_open: bool
) -> None:
    """Where somebody has begun another log, nothing of the old one is put beside it."""
    opened = files.log.keep(None)
    if not has_it_open:
        del opened
    files.delete("wal", "shm")
    files.make(other)
    with pytest.raises(LogLost):
        files.log.put_back(HOLD)
    assert files.names() == {other, "wal.kept", "shm.kept"}


def test_a_second_name_that_was_deleted_is_made_again(files: Files) -> None:
    """A look at the files replaces second names that are gone, or of another file."""
    opened = files.log.keep(None)
    files.delete("wal.kept")
    files.delete("shm.kept")
    files.make("shm.kept")
    assert not files.log.check(1.0)
    assert files.names() == ALL
    files.delete("wal", "shm")
    assert files.log.check(1.0)
    assert files.log.is_intact()
    assert opened.identities == files.log.keep(None).identities


def test_second_names_go_with_the_log(files: Files) -> None:
    """They are removed when SQLite has deleted the log, and not while a connection is open."""
    opened = files.log.keep(None)
    files.delete("wal", "shm")
    files.log.forget()
    assert files.names() == {"wal.kept", "shm.kept"}
    del opened
    files.log.forget()
    assert files.names() == set()


def test_a_connection_to_another_log_is_refused(files: Files) -> None:
    """A connection that has opened a second log, beside one of this process, is not used."""
    opened = files.log.keep(None)
    files.delete("wal")
    files.make("wal")
    with pytest.raises(LogLost):
        files.log.keep(None)
    del opened
    assert files.log.in_place() is None  # the second name is of the first log
    assert files.log.keep(None) is not None
    assert files.log.in_place() is not None


@pytest.mark.parametrize("deleted", [("wal",), ("shm",), ("wal", "shm")])
@pytest.mark.parametrize("made_anew", [True, False])
def test_a_connection_to_other_files_than_were_there_is_refused(
    files: Files, deleted: tuple[str, ...], made_anew: bool
) -> None:
    """What is deleted between a look and the opening leaves its second name as it was."""
    files.log.keep(None)
    found = files.log.in_place()
    assert found is not None
    files.delete(*deleted)
    if made_anew:
        files.make(*deleted)
    with pytest.raises(LogLost):
        files.log.keep(found)
    if not made_anew:
        assert files.log.put_back(HOLD)
        assert files.log.in_place() == found
