"""The second names of the log: whose they are, and when they are put back.

Which processes have a file open is made up here; real ones are in tests/faults/test_storage_log.py.
"""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path

import pytest

from glimr_session.stores.disk import log as log_module
from glimr_session.stores.disk.files import Identity, file_identity
from glimr_session.stores.disk.log import Identities, LogLost, OpenLog, WriteAheadLog

ALL = {"wal", "shm", "wal.kept", "shm.kept"}

every_deletion = pytest.mark.parametrize("deleted", [("wal",), ("shm",), ("wal", "shm")])
whoever_has_it = pytest.mark.parametrize("has_it_open", [True, False])


class Files:
    """The files of a log that a process has opened once, and that another one may have open."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.in_use = True
        self.index: Identity | None = None  # that somebody has open
        self.database = directory / "cache.db"
        self.database.write_text("a database")
        self.log = WriteAheadLog(self.database)
        monkeypatch.setattr(log_module, "_is_locked", self.is_locked)
        monkeypatch.setattr(log_module, "_PATIENCE", 0.01)
        self.make("wal", "shm")
        self.opened = OpenLog()
        self.identities = self.keep(self.opened, None)
        self.index = self.identities[1]

    def keep(self, opened: OpenLog, expected: Identities | None) -> Identities:
        self.log.keep(opened, expected)
        assert opened.identities is not None
        return opened.identities

    def close(self) -> None:
        self.opened.identities = None

    def is_locked(self, file: Identity | None) -> bool:
        if self.in_use and file == file_identity(self.database):
            return True
        return file is not None and file == self.index

    def names(self) -> set[str]:
        names = {re.sub(r"\.[0-9a-f]+\.", ".", file.name) for file in self.directory.iterdir()}
        return {name.removeprefix("cache.db-") for name in names - {"cache.db"}}

    def file(self, name: str) -> Path:
        name, _, kept = name.partition(".")
        number = f".{self.database.stat().st_ino:x}.kept" if kept else ""
        return self.directory / f"cache.db-{name}{number}"

    def make(self, *names: str) -> None:
        for name in names:
            self.file(name).write_text("a log")

    def delete(self, *names: str) -> None:
        for name in names:
            self.file(name).unlink()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    return Files(tmp_path, monkeypatch)


def opened_again(files: Files) -> Identities:
    """Return the files that one more connection finds."""
    return files.keep(OpenLog(), files.log.in_place())


@every_deletion
@whoever_has_it
def test_what_is_missing_is_put_back(
    files: Files, deleted: tuple[str, ...], has_it_open: bool
) -> None:
    """The very files come back, for a process that has them open and for one that has not."""
    if not has_it_open:
        files.close()
    files.delete(*deleted)
    assert files.log.put_back() == (files.identities, True)
    assert files.names() == ALL
    assert opened_again(files) == files.identities
    assert files.log.put_back() == (files.identities, False)


@every_deletion
def test_nothing_is_put_back_that_somebody_has_closed(
    files: Files, deleted: tuple[str, ...]
) -> None:
    """What is not open any more is not put back while others have the database open."""
    files.close()
    files.index = None
    files.delete(*deleted)
    with pytest.raises(LogLost):
        files.log.put_back()
    assert files.names() == ALL.difference(deleted)


def test_nothing_is_put_back_if_nobody_has_it_open(files: Files) -> None:
    """What a last connection has deleted stays deleted; the next log gets the second names."""
    files.close()
    files.in_use, files.index = False, None
    earlier = files.database.stat().st_ctime_ns - 10**9
    os.utime(files.file("wal"), ns=(earlier, earlier))  # all of it is in the database
    files.delete("wal", "shm")
    assert files.log.put_back() == (None, False)
    assert files.names() == {"wal.kept", "shm.kept"}
    files.make("wal", "shm")
    assert opened_again(files) != files.identities
    for name in ("wal", "shm"):
        assert files.file(name).samefile(files.file(f"{name}.kept"))


@pytest.mark.parametrize("deleted", [("wal",), ("wal", "shm")])
def test_a_log_whose_processes_were_killed_is_put_back(
    files: Files, deleted: tuple[str, ...]
) -> None:
    """A log that has not been moved into the database comes back though nobody has it open."""
    files.close()
    files.in_use, files.index = False, None
    files.file("wal").write_text("a commit")
    files.delete(*deleted)
    assert files.log.put_back() == (files.identities, True)
    assert opened_again(files) == files.identities


@pytest.mark.parametrize("made", [("wal",), ("shm",), ("wal", "shm")])
@whoever_has_it
def test_a_second_log_is_replaced_while_it_is_empty(
    files: Files, made: tuple[str, ...], has_it_open: bool
) -> None:
    """A log that was begun beside one that is open gives way, unless something is in it."""
    if not has_it_open:
        files.close()
    files.delete("wal", "shm")
    files.make(*made)
    if "wal" in made:
        with pytest.raises(LogLost):
            files.log.put_back()
        assert files.names() == {*made, "wal.kept", "shm.kept"}
        files.file("wal").write_text("")
    assert files.log.put_back() == (files.identities, True)
    assert opened_again(files) == files.identities


@pytest.mark.parametrize("open_elsewhere", [True, False])
def test_names_that_are_left_over_prove_nothing(files: Files, open_elsewhere: bool) -> None:
    """A log of somebody else is used, if nobody has that of the second names."""
    files.close()
    files.delete("wal", "shm")
    files.make("wal", "shm")
    if not open_elsewhere:
        files.index = None
        assert opened_again(files) != files.identities
    else:
        assert files.log.in_place() is None


def test_a_second_name_that_was_deleted_is_made_again(files: Files) -> None:
    """A look at the files replaces second names that are gone, or of another file."""
    files.delete("wal.kept", "shm.kept")
    files.make("shm.kept")
    assert not files.log.check(1.0)
    assert files.names() == ALL
    files.delete("wal", "shm")
    assert files.log.check(1.0)
    assert opened_again(files) == files.identities


def test_second_names_go_with_the_log(files: Files) -> None:
    """They are removed when SQLite has deleted the log, and not while a connection is open."""
    files.delete("wal", "shm")
    files.log.forget()
    assert files.names() == {"wal.kept", "shm.kept"}
    files.close()
    files.log.forget()
    assert files.names() == set()


@every_deletion
@pytest.mark.parametrize("made_anew", [True, False])
@whoever_has_it
def test_a_connection_to_other_files_than_were_there_is_refused(
    files: Files, deleted: tuple[str, ...], made_anew: bool, has_it_open: bool
) -> None:
    """What is deleted between a look and the opening leaves its second name as it was."""
    found = files.log.in_place()
    assert found is not None
    if not has_it_open:
        files.close()
    files.delete(*deleted)
    if made_anew:
        files.make(*deleted)
    with pytest.raises(LogLost):
        files.log.keep(OpenLog(), found)
    assert files.log._kept() == files.identities


@whoever_has_it
def test_the_log_of_another_database_is_left_alone(files: Files, has_it_open: bool) -> None:
    """Beside a database that was put in place no log of the former one is put back."""
    if not has_it_open:
        files.close()
        files.in_use = False
    files.delete("wal", "shm")
    files.database.rename(files.directory / "away")
    files.database.write_text("another database")
    if has_it_open:
        for look in (files.log.in_place, files.log.put_back):
            with pytest.raises(sqlite3.OperationalError, match="replaced"):
                look()
    else:
        assert files.log.put_back() == (None, False)
        files.log.remove_others()
        assert files.names() == {"away"}


def test_a_lock_is_seen(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system tells which files are open, by the locks that SQLite has on them."""
    monkeypatch.undo()
    connection = sqlite3.connect(files.directory / "real.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("CREATE TABLE t (n)")
    found = (files.directory / "real.db-shm").stat()
    identity = (found.st_dev, found.st_ino)
    assert log_module._is_locked(identity)
    connection.close()
    assert not log_module._is_locked(identity)
    assert not log_module._is_locked(None)
