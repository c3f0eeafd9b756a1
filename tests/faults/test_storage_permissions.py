"""A directory that others can read, or that cannot be written."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from functools import partial
from getpass import getuser
from pathlib import Path

import pytest

from glimr_session import ConfigError, DiskStore, StoreUnavailable
from glimr_session.testing.contract import begin

from . import storage_process
from .storage import PRIVATE_MOUNTS, SESSIONS, TIMEOUT, able, fresh, refusal, soon
from .storage_process import Processes, StoreProcess, save_all, seen, some_sessions

# A directory that others can read, or that cannot be written.


def test_a_directory_opened_to_others_is_refused_until_it_is_closed(
    processes: Processes, directory: Path
) -> None:
    """A process refuses an open directory within about a second, until that is private again."""
    with processes.store(directory, timeout=TIMEOUT) as store:
        save_all(store, SESSIONS)
        directory.chmod(0o750)

        cookie_value = next(iter(SESSIONS))
        for operation in (lambda: store.open(cookie_value), lambda: begin(store)):
            message = soon(partial(refusal, operation))
            assert "mode 0750" in message
            assert f"chmod 700 {directory}" in message
        assert seen(store, SESSIONS) == Counter(unavailable=len(SESSIONS))
        assert fresh(processes, directory, SESSIONS) == Counter(unavailable=len(SESSIONS))
        directory.chmod(0o700)
        soon(lambda: begin(store))
        assert seen(store, SESSIONS) == Counter(exact=len(SESSIONS))


def set_modes(directory: Path, mode: int, file_mode: int) -> None:
    for file in directory.iterdir():
        file.chmod(file_mode)
    directory.chmod(mode)


@pytest.mark.parametrize("modes", [(0o500, 0o600), (0o700, 0o400), (0o500, 0o400), (0o000, 0o600)])
@pytest.mark.parametrize("connected", [True, False])
def test_what_has_become_read_only_is_no_silent_loss(
    bound_processes: Processes, directory: Path, modes: tuple[int, int], connected: bool
) -> None:
    """A read-only store returns sessions or raises, and works when it is writable again."""
    with bound_processes.store(directory, timeout=TIMEOUT) as store:
        save_all(store, SESSIONS)
        sessions = dict(SESSIONS)
        if not connected:
            store.close()
        set_modes(directory, *modes)
        for _ in range(2):
            new = some_sessions(1)
            with suppress(StoreUnavailable):
                save_all(store, new)
                sessions |= new
            assert not store.run(seen, sessions).keys() & {"silent", "wrong", "logged"}
            store.run(storage_process.look_now)
        directory.chmod(0o700)
        set_modes(directory, 0o700, 0o600)
        soon(lambda: begin(store))
        assert store.run(seen, sessions) == Counter(exact=len(sessions))
        assert store.run(storage_process.integrity) == "ok"


def test_a_read_only_file_system_is_no_silent_loss(directory: Path) -> None:
    """A read-only file system makes writes raise; reads go on, and a start on a store works."""
    able(*PRIVATE_MOUNTS, "true")
    path = str(directory)
    with StoreProcess(prefix=PRIVATE_MOUNTS) as store:
        store.make(directory, timeout=TIMEOUT)
        save_all(store, SESSIONS)
        store.close()
        store.run(storage_process.mount, "--bind", path, path)
        store.run(storage_process.mount, "-o", "remount,bind,ro", path)
        with pytest.raises(StoreUnavailable, match=r"read-?only|unable to open"):
            begin(store)
        assert not store.run(seen, SESSIONS).keys() & {"silent", "wrong", "logged"}
        store.make(directory, timeout=TIMEOUT)  # it was there before
        assert seen(store, SESSIONS) == Counter(exact=len(SESSIONS))
        with pytest.raises(StoreUnavailable, match=r"read-?only"):
            begin(store)
        with pytest.raises(ConfigError, match=r"cannot be made: Read-only.*is mounted read-only"):
            store.make(directory / "below")
        store.run(storage_process.mount, "-o", "remount,bind,rw", path)
        store.make(directory, timeout=TIMEOUT)
        begin(store)
        assert store.run(seen, SESSIONS) == Counter(exact=len(SESSIONS))


def make_under(_store: DiskStore, directory: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        store = DiskStore(directory)
        begin(store)
        store.close()
    finally:
        os.umask(before)


@pytest.mark.parametrize("umask", [0o177, 0o077, 0])
def test_a_umask_keeps_nobody_out_of_what_he_makes(
    bound_processes: Processes, directory: Path, umask: int
) -> None:
    """A store is made and used under a umask that no directory works with, root or not."""
    with bound_processes.store() as process:
        process.run(make_under, directory / "below", umask)
    assert (directory / "below" / "cache.db").stat().st_mode & 0o777 == 0o600


def test_a_directory_that_may_not_be_made_is_told_with_a_command(
    bound_processes: Processes, directory: Path
) -> None:
    """Below a directory that this user cannot write, the advice is a command for root."""
    closed = directory.with_name("closed")
    closed.mkdir(mode=0o500)
    with bound_processes.store(directory) as store:
        with pytest.raises(ConfigError, match="cannot be made: Permission denied") as caught:
            store.make(closed / "sessions")
        assert f"install -d -m 700 -o {getuser()} {closed / 'sessions'}" in str(caught.value)
        assert "chmod" not in str(caught.value)
        store.make(directory)
