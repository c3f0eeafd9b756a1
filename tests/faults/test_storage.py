"""Faults of storage: what they do to sessions, and what the user sees of it.

What the user never sees is a silent empty session. For each session that was stored, the
store gives exactly its data, or says that it cannot, or its loss is in the log.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glimr_session import ConfigError, DiskStore, SessionMiddleware, StoreUnavailable, generate_id
from glimr_session.stores.rows import checksum
from glimr_session.testing.contract import (
    Request,
    begin,
    content,
    increment,
    invalidate,
    put,
    regenerate,
)

from ..conftest import Clock
from ..server_apps import site
from ..servers import Client, running
from ..wsgi_client import Browser
from . import storage_process
from .storage_process import (
    CONFIG,
    ROOT,
    Processes,
    Sessions,
    StoreProcess,
    save_all,
    seen,
    some_sessions,
)

T = TypeVar("T")

TIMEOUT: Final = 0.3
"""Seconds that a store waits for another writer."""

PROMPT: Final = 1.0
"""Seconds in which a store notices that its files have changed."""

MARGIN: Final = 5.0
"""Seconds that everything may take longer on a machine that is busy with something else."""

PRIVATE_MOUNTS: Final = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
"""Starts a process that may mount, and whose mounts nobody else sees."""


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    """For stores in processes of their own."""
    processes = Processes()
    yield processes
    processes.end()


@pytest.fixture(scope="module")
def bound_processes() -> Iterator[Processes]:
    """The same, for processes that permissions hold for, root or not."""
    prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    if os.geteuid() == 0:
        able(*prefix, "true")
    processes = Processes(prefix if os.geteuid() == 0 else [])
    yield processes
    processes.end()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


def able(*command: str) -> None:
    """Skip the test, or fail it in CI, if a command does not work here."""
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = f"{error} {getattr(error, 'stderr', b'').decode()}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def soon(attempt: Callable[[], T]) -> T:
    """Try until the store is available and no assertion fails: about a second."""
    started = time.monotonic()
    while True:
        try:
            return attempt()
        except (StoreUnavailable, AssertionError):
            if time.monotonic() - started > PROMPT + MARGIN:
                raise
            time.sleep(0.02)


def refusal(operation: Callable[[], Any]) -> str:
    """Give the message with which an operation says that the store is unavailable."""
    try:
        operation()
    except StoreUnavailable as error:
        return str(error)
    raise AssertionError("the store is available")


def fresh(processes: Processes, directory: Path, sessions: Sessions) -> Counter[str]:
    """Count how another process finds sessions that opens the database only now."""
    with processes.store() as store:
        started = time.monotonic()
        try:
            store.make(directory, timeout=TIMEOUT)
        except (StoreUnavailable, ConfigError):
            return Counter(unavailable=len(sessions))
        finally:
            assert time.monotonic() - started < TIMEOUT + MARGIN
        return seen(store, sessions)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# Killed, stopped.


def run_writers(script: str, directory: Path) -> str:
    """Run a script of writers.py, and end everything that it has started; give its output."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.writers", script, str(directory), os.urandom(4).hex()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=60)
        finally:
            with suppress(ProcessLookupError):  # it has ended, and all its children
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output
    return output


def test_what_was_acknowledged_outlives_writers_that_are_killed(directory: Path) -> None:
    """After kill -9 of four writers, in twelve rounds, nothing is lost and nothing is there twice.

    What was not acknowledged is there whole or not at all, the database passes SQLite's
    integrity check, and the next start works and goes on.
    """
    assert "commits were acknowledged" in run_writers("rounds", directory)


def test_a_start_that_was_killed_is_followed_by_one_that_works(tmp_path: Path) -> None:
    """A process is killed while it makes the database, at any point of it."""
    run_writers("starts", tmp_path)


def stop_in_a_commit(store: StoreProcess) -> str:
    """Stop the process while it holds the write lock; give the session that it commits to."""
    wire = begin(store)
    request = Request(store, wire)
    Request(store, wire).commit(put("between", 1))  # so that the commit has to merge
    store.run(storage_process.stop_before_commit)
    store.begin("commit", put("stopped", 1)(request.state).changes)
    store.wait_until_stopped()
    return wire


def test_a_process_stopped_in_its_transaction_keeps_nobody_waiting(
    processes: Processes, directory: Path
) -> None:
    """Writers get StoreUnavailable within the timeout, readers read, and later all is well.

    It is stopped (SIGSTOP) while it holds the write lock, just before it commits; when it
    goes on, what it has in its transaction is there.
    """
    other = DiskStore(directory, timeout=TIMEOUT)
    with (
        processes.store(directory, timeout=TIMEOUT) as store,
        processes.store(directory, timeout=TIMEOUT) as crowd,
    ):
        wire = begin(other)
        merged, logout = stop_in_a_commit(store), Request(other, wire)
        request = Request(other, merged)
        writes: list[Callable[[], Any]] = [
            lambda: request.commit(put("b", 2)),
            lambda: logout.commit(invalidate),
            lambda: Request(other, None).commit(put("new", 1)),
            lambda: other.touch(wire),
            lambda: other.destroy(wire),
            lambda: other.save(wire, {}, {}),
        ]
        for write in writes:
            started = time.monotonic()
            with pytest.raises(StoreUnavailable, match=r"another writer has held it for 0\.3 s"):
                write()
            assert time.monotonic() - started < TIMEOUT + MARGIN
            assert content(other, merged) == ({"a": 1, "between": 1}, {})
            assert content(other, wire) == ({"a": 1}, {})
        acknowledged, longest = crowd.run(storage_process.save_from_threads, 20, 1)
        assert not acknowledged
        assert longest < TIMEOUT + MARGIN  # and not twenty times that
        store.go_on()
        assert store.answer() == merged
        assert request.commit() == merged
        assert content(other, merged) == ({"a": 1, "between": 1, "stopped": 1, "b": 2}, {})
        assert logout.commit() == ""
        assert other.open(wire) is None
    other.close()


def impatient_store() -> DiskStore:
    """A store for the site, which does not wait five seconds."""
    return DiskStore(os.environ["GLIMR_SESSION_DISK_DIRECTORY"], timeout=TIMEOUT)


def test_a_site_goes_on_reading_while_a_stopped_process_holds_the_lock(
    processes: Processes, tmp_path: Path
) -> None:
    """A request that writes is answered with an error, and not late; one that reads, as always."""
    with (
        running("waitress", tmp_path, store=f"{__name__}:impatient_store") as server,
        processes.store(tmp_path / "sessions", timeout=TIMEOUT) as store,
    ):
        client = Client(server)
        assert client.get("/count")["found"] == 1
        cookies = client.cookies.header()
        merged = stop_in_a_commit(store)
        for path in ("/count", "/login", "/logout"):
            started = time.monotonic()
            with client.open(path) as response:
                assert response.status in (500, 503)
            assert time.monotonic() - started < TIMEOUT + MARGIN
            assert client.cookies.header() == cookies
            assert client.get("/session")["found"] == {"count": 1}
        store.go_on()
        assert store.answer() == merged
        assert client.get("/count")["found"] == 2
        assert server.log.read_text().count("StoreUnavailable") >= 3
        server.log.write_bytes(b"")  # the tracebacks in it are as they should be


# A disk that is full.

FULL: Final = "full|disk I/O error"
"""What SQLite says, on writing and on making room for its log."""


class SmallDisk:
    """A store on a disk of 2 MB, and a file to fill it with."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        self.ballast = path / "ballast"
        self.store = StoreProcess(prefix=PRIVATE_MOUNTS)
        self.mount("size=2m")
        self.store.make(path / "sessions", timeout=TIMEOUT)

    def mount(self, options: str) -> None:
        self.store.run(storage_process.mount, "-t", "tmpfs", "-o", options, "none", str(self.path))

    def fill(self) -> None:
        """Leave no room for anything, in SQLite's own files neither."""
        # The last connection that is closed, as one is that fails, would free its log.
        self.store.run(storage_process.connect, 20)
        with pytest.raises(StoreUnavailable, match=FULL):
            self._write_without_end()

    def _write_without_end(self) -> None:
        while True:
            self.store.run(storage_process.fill, self.ballast)
            begin(self.store)

    def make_room(self) -> None:
        self.store.run(storage_process.remove, self.ballast)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    able(*PRIVATE_MOUNTS, "mount", "-t", "tmpfs", "none", str(tmp_path))
    disk = SmallDisk(tmp_path / "disk")
    yield disk
    disk.store.end()


def test_a_full_disk_refuses_every_write_and_loses_nothing(small_disk: SmallDisk) -> None:
    """Commits, logouts and all else fail loudly, readers read, and it recovers by itself."""
    store = small_disk.store
    sessions = some_sessions(50)
    save_all(store, sessions)
    wire, new_id = begin(store), generate_id()
    request, logout, move = (Request(store, wire) for _ in range(3))
    small_disk.fill()
    writes: list[Callable[[], Any]] = [
        lambda: request.commit(put("b", 2)),
        lambda: Request(store, None).commit(put("new", 1)),
        lambda: move.commit(regenerate),
        lambda: logout.commit(invalidate),
        lambda: store.destroy(wire),
        lambda: store.touch(wire),
        lambda: store.save(new_id, {"a": 1}, {}),
    ]
    for write in writes:
        with pytest.raises(StoreUnavailable, match=FULL):
            write()
    assert seen(store, sessions) == Counter(exact=len(sessions))
    assert content(store, wire) == ({"a": 1}, {})
    assert store.open(new_id) is None
    small_disk.make_room()
    assert request.commit() == wire
    assert content(store, wire) == ({"a": 1, "b": 2}, {})
    assert logout.commit() == ""
    assert store.open(wire) is None
    assert seen(store, sessions) == Counter(exact=len(sessions))
    assert store.run(storage_process.integrity) == "ok"


def test_a_disk_that_sessions_have_filled_keeps_them_all(small_disk: SmallDisk) -> None:
    """Each that was acknowledged is there: now, after a start on the full disk, with more room."""
    store = small_disk.store
    sessions: dict[str, Any] = {}

    def save_without_end() -> None:
        while True:
            save_all(store, new := some_sessions(1))
            sessions.update(new)

    with pytest.raises(StoreUnavailable, match=FULL):
        save_without_end()
    assert len(sessions) > 20
    assert seen(store, sessions) == Counter(exact=len(sessions))
    store.close()
    with suppress(StoreUnavailable):
        store.make(small_disk.path / "sessions", timeout=TIMEOUT)
        assert not seen(store, sessions).keys() & {"silent", "wrong"}
    small_disk.mount("remount,size=8m")
    store.make(small_disk.path / "sessions", timeout=TIMEOUT)
    assert seen(store, sessions) == Counter(exact=len(sessions))
    begin(store)
    assert store.run(storage_process.integrity) == "ok"


def test_a_logout_on_a_full_disk_is_an_error_in_the_browser(small_disk: SmallDisk) -> None:
    """Nobody is told that they are logged out while the session is there; nor logged in."""
    store = small_disk.store
    status, cookie = store.run(storage_process.ask, "/login", "")
    assert status == "200"
    small_disk.fill()
    assert store.run(storage_process.ask, "/logout", cookie) == ("500", cookie)
    assert store.run(storage_process.ask, "/login", "") == ("500", "")
    assert store.run(storage_process.ask, "/session", cookie) == ("200", cookie)
    small_disk.make_room()
    assert store.run(storage_process.ask, "/logout", cookie) == ("200", "")
    assert store.run(storage_process.ask, "/count", cookie)[1] != cookie


# A database that is damaged.


def truncate(directory: Path) -> None:
    os.truncate(directory / "cache.db", 0)


def cut_in_half(directory: Path) -> None:
    size = (directory / "cache.db").stat().st_size
    os.truncate(directory / "cache.db", size // 8192 * 4096)


def cut_within_a_page(directory: Path) -> None:
    size = (directory / "cache.db").stat().st_size
    os.truncate(directory / "cache.db", size // 8192 * 4096 + 1234)


def overwrite_with_noise(directory: Path) -> None:
    file = directory / "cache.db"
    file.write_bytes(os.urandom(file.stat().st_size))


DAMAGES: Final = [truncate, cut_in_half, cut_within_a_page, overwrite_with_noise]


def leave_in_memory(store: StoreProcess) -> None:
    """Have all sessions read by connections that are open."""
    store.close()
    assert store.run(seen, SESSIONS).keys() == {"exact"}


def leave_on_disk(store: StoreProcess) -> None:
    """Have all but a little in the file, and connections open that have read hardly any of it."""
    store.run(storage_process.connect, 2)
    begin(store)


def leave_in_log(store: StoreProcess) -> None:
    """Have everything in the write-ahead log still, as it was written."""


SESSIONS: Final = some_sessions()


@pytest.mark.parametrize("leave", [leave_in_log, leave_in_memory, leave_on_disk])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_while_it_runs_is_never_a_silent_empty_session(
    processes: Processes,
    directory: Path,
    damage: Callable[[Path], None],
    leave: Callable[[StoreProcess], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The process goes on, with exact data or a typed error; so do others that start now."""
    sessions = dict(SESSIONS)
    with processes.store(directory, timeout=TIMEOUT) as store:
        save_all(store, sessions)
        leave(store)
        damage(directory)
        for number in range(3):
            new = some_sessions(1)
            with suppress(StoreUnavailable):
                save_all(store, new)
                sessions |= new
            assert not store.run(seen, sessions).keys() & {"silent", "wrong"}
            if number == 1:
                store.run(storage_process.look_now)
        caplog.clear()
        for closed in (False, True):
            if closed:
                store.close()
            counted = fresh(processes, directory, sessions)
            assert not counted["wrong"]
            assert not counted["silent"] or warnings(caplog)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_before_the_start_is_told_at_the_start(
    processes: Processes,
    directory: Path,
    damage: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With StoreUnavailable and advice; an empty file, which is all that can go on, in the log."""
    with processes.store(directory) as store:
        save_all(store, SESSIONS)
        store.close()
    damage(directory)
    with processes.store() as store:
        if damage is truncate:
            store.make(directory)
            assert any("cache.db is empty" in warning for warning in warnings(caplog))
            wire = begin(store)
            assert content(store, wire) == ({"a": 1}, {})
        else:
            with pytest.raises(StoreUnavailable, match="move it away"):
                store.make(directory)


@pytest.mark.parametrize("running", [False, True], ids=["fresh", "running"])
@pytest.mark.parametrize("kind", ["zeros", "noise", "another"])
def test_no_page_can_be_overwritten_unseen(
    processes: Processes, tmp_path: Path, kind: str, running: bool
) -> None:
    """With zeros, with noise, with another page of the same file: each page in turn."""
    with processes.store() as process:
        overwrite = storage_process.overwrite_pages
        assert process.run(overwrite, tmp_path, kind, running=running) == []


def move_away(directory: Path) -> None:
    (directory / "cache.db").rename(directory.parent / "damaged")


def move_all_away(directory: Path) -> None:
    away = directory.parent / "away"
    away.mkdir()
    for file in directory.iterdir():
        file.rename(away / file.name)


@pytest.mark.parametrize("leave", [leave_in_log, leave_on_disk])
@pytest.mark.parametrize("move", [move_away, move_all_away])
@pytest.mark.parametrize("damage", [truncate, cut_in_half, overwrite_with_noise])
def test_a_damaged_database_that_is_moved_away_is_made_anew(
    processes: Processes,
    directory: Path,
    damage: Callable[[Path], None],
    move: Callable[[Path], None],
    leave: Callable[[StoreProcess], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As the message advises, without a restart, within about a second, and it is logged."""
    with processes.store(directory, timeout=TIMEOUT) as store:
        save_all(store, SESSIONS)
        leave(store)
        damage(directory)
        store.run(seen, SESSIONS)
        move(directory)

        def is_new() -> str:
            wire = begin(store)
            assert (directory / "cache.db").exists()
            assert stored_number(directory) == 1
            return wire

        wire = soon(is_new)
        assert content(store, wire) == ({"a": 1}, {})
        assert any("deleted or replaced" in warning for warning in warnings(caplog))
        assert store.run(storage_process.integrity) == "ok"


def stored_number(directory: Path) -> int:
    """Count the sessions in the database, with a connection of our own."""
    connection = sqlite3.connect(f"{(directory / 'cache.db').as_uri()}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM Cache").fetchone()[0])
    except sqlite3.Error as error:
        raise AssertionError(error) from error
    finally:
        connection.close()


def restore_all(directory: Path, good: Path) -> None:
    """Move all files out, and those of the copy in."""
    move_all_away(directory)
    for file in good.iterdir():
        file.rename(directory / file.name)


def restore_over(directory: Path, good: Path) -> None:
    """Rename the copy over the file; its log stays, which belongs to the damaged one."""
    (good / "cache.db").rename(directory / "cache.db")


@pytest.mark.parametrize("leave", [leave_in_log, leave_on_disk])
@pytest.mark.parametrize("restore", [restore_all, restore_over])
@pytest.mark.parametrize("damage", [truncate, cut_in_half, overwrite_with_noise])
def test_a_good_copy_that_is_put_in_its_place_is_used(
    processes: Processes,
    directory: Path,
    damage: Callable[[Path], None],
    restore: Callable[[Path, Path], None],
    leave: Callable[[StoreProcess], None],
) -> None:
    """Without a restart and within about a second; it is written to, and stays whole."""
    good = directory.parent / "good"
    with processes.store(directory, timeout=TIMEOUT) as store:
        save_all(store, SESSIONS)
        store.close()
        shutil.copytree(directory, good)
        lost = begin(store)
        leave(store)
        damage(directory)
        store.run(seen, SESSIONS)
        restore(directory, good)

        def is_back() -> None:
            assert store.run(seen, SESSIONS) == Counter(exact=len(SESSIONS))
            assert store.open(lost) is None

        soon(is_back)
        sessions = some_sessions(20)
        save_all(store, sessions)
        assert store.run(seen, {**SESSIONS, **sessions}).keys() == {"exact"}
        assert store.run(storage_process.integrity) == "ok"
        store.close()
        assert fresh(processes, directory, {**SESSIONS, **sessions}).keys() == {"exact"}


# A database that is deleted.


def delete_file(directory: Path) -> None:
    """Delete cache.db, and leave its log and the index of that, which others have open."""
    (directory / "cache.db").unlink()


def delete_files(directory: Path) -> None:
    for file in directory.iterdir():
        file.unlink()


def delete_directory(directory: Path) -> None:
    shutil.rmtree(directory)


@pytest.mark.parametrize("delete", [delete_file, delete_files, delete_directory])
def test_processes_whose_database_is_deleted_go_on_with_one_new_one(
    processes: Processes,
    directory: Path,
    delete: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Within about a second all use the same; what is acknowledged from then on is not lost.

    Threads whose connections were open before go on with the new one, too.
    """
    with (
        processes.store(directory, timeout=TIMEOUT) as one,
        processes.store(directory, timeout=TIMEOUT) as other,
    ):
        save_all(one, SESSIONS)
        assert other.run(seen, SESSIONS).keys() == {"exact"}
        for store in (one, other):
            store.run(storage_process.connect, 4)
        delete(directory)

        def is_shared() -> None:
            assert content(other, begin(one)) == content(one, begin(other)) == ({"a": 1}, {})
            assert (directory / "cache.db").exists()

        soon(is_shared)
        sessions: dict[str, Any] = {}
        for store in (one, other):
            acknowledged, _ = store.run(storage_process.save_from_threads, 4, 20)
            assert len(acknowledged) == 80
            sessions |= acknowledged
        for store in (one, other):
            assert store.run(seen, sessions) == Counter(exact=160)
            assert store.open(next(iter(SESSIONS))) is None
            assert store.run(storage_process.integrity) == "ok"
        told = [warning for warning in warnings(caplog) if "deleted or replaced" in warning]
        assert len(told) == 2  # one for each process
        assert directory.stat().st_mode & 0o777 == 0o700
        one.close()
        save_all(other, new := some_sessions(5))  # the close of one has deleted nothing of it
        other.close()
        assert fresh(processes, directory, {**sessions, **new}).keys() == {"exact"}


def test_a_new_file_that_is_empty_yet_is_no_damage(
    processes: Processes, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As long as another process is making it: to move that away would be the wrong advice."""
    with processes.store(directory, timeout=TIMEOUT) as store:
        begin(store)
        delete_files(directory)
        (directory / "cache.db").touch()
        store.run(storage_process.look_now)
        wire = begin(store)
        assert content(store, wire) == ({"a": 1}, {})
        assert any("deleted or replaced" in warning for warning in warnings(caplog))
        assert stored_number(directory) == 1


# A directory that others can read, or that cannot be written.


def test_a_directory_opened_to_others_is_refused_until_it_is_closed(
    processes: Processes, directory: Path
) -> None:
    """Within about a second, reading and writing; then all is there."""
    with processes.store(directory, timeout=TIMEOUT) as store:
        save_all(store, SESSIONS)
        directory.chmod(0o750)

        wire = next(iter(SESSIONS))
        for operation in (lambda: store.open(wire), lambda: begin(store)):
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
    """Sessions are read or an error says why not; when it can be written again, all is well."""
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
    """While it runs a typed error, or exact data; at the start a ConfigError; then all is well."""
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
        with pytest.raises(ConfigError, match="Read-only"):
            store.make(directory)
        store.run(storage_process.mount, "-o", "remount,bind,rw", path)
        store.make(directory, timeout=TIMEOUT)
        begin(store)
        assert store.run(seen, SESSIONS) == Counter(exact=len(SESSIONS))


# A store that stays broken.


def put_a_file_in_the_way(directory: Path) -> None:
    move_all_away(directory)
    directory.rmdir()
    directory.write_text("")


def open_to_others(directory: Path) -> None:
    directory.chmod(0o755)


@pytest.mark.parametrize(
    "break_it", [truncate, cut_in_half, overwrite_with_noise, open_to_others, put_a_file_in_the_way]
)
def test_a_store_that_stays_broken_leaves_no_files_open(
    processes: Processes, directory: Path, break_it: Callable[[Path], None]
) -> None:
    """Over a hundred operations fail, and each closes what it used, Python's collector or not."""
    with processes.store() as store:
        before = store.run(storage_process.open_files, collect=True)
        store.make(directory, timeout=TIMEOUT)
        save_all(store, SESSIONS)
        store.run(storage_process.connect, 20)
        begin(store)
        break_it(directory)
        store.run(storage_process.look_now)
        assert store.run(storage_process.fail_for_long, 200) > 100
        assert store.run(storage_process.open_files, collect=False) <= before


def test_threads_wait_for_a_new_database_together(processes: Processes, directory: Path) -> None:
    """Twenty threads get their errors after one timeout, not one after the other."""
    with (
        processes.store(directory, timeout=TIMEOUT) as store,
        processes.store(directory, timeout=TIMEOUT) as stopped,
    ):
        begin(store)
        delete_files(directory)
        stopped.run(storage_process.look_now)
        stopped.run(storage_process.stop_while_it_makes_a_database)
        stopped.begin("open", generate_id())
        stopped.wait_until_stopped()
        store.run(storage_process.look_now)
        acknowledged, longest = store.run(storage_process.save_from_threads, 20, 1)
        assert longest < TIMEOUT + MARGIN
        stopped.go_on()
        assert stopped.answer() is None
        wire = soon(lambda: begin(store))
        assert content(stopped, wire) == ({"a": 1}, {})
        assert stopped.run(seen, acknowledged).keys() <= {"exact"}


# What others have written into it.


class Planted:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self._path),))


PLANT: Final = {
    "value": "UPDATE Cache SET value = :bait, mode = :mode, raw = 1",
    "checked value": "UPDATE Cache SET value = :bait, mode = :mode, tag = :tag",
    "key": "UPDATE Cache SET key = :bait, mode = :mode, raw = :mode % 2",
    "another key": "INSERT INTO Cache (key, raw, expire_time, mode, value)"
    " VALUES (:bait, :mode % 2, 1.0, :mode, :bait)",
    "setting": "INSERT OR REPLACE INTO Settings VALUES ('disk_min_file_size', :bait)",
}


@pytest.mark.parametrize("mode", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("where", PLANT)
def test_a_pickle_planted_behind_a_cookie_is_never_executed(
    directory: Path, tmp_path: Path, where: str, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The visitor is anonymous, or as before; a new session, a collection, a new start: no harm.

    The cookie is a good one, signed by us: what is behind it has been exchanged.
    """
    store = DiskStore(directory)
    browser = Browser()
    app = SessionMiddleware(site, CONFIG, store=store)

    def ask(path: str) -> Any:
        response = browser.request(app, extra={"PATH_INFO": path}).begin().finish()
        assert response.status == "200 OK"
        return response.body

    ask("/login")
    trap = tmp_path / "executed"
    bait = pickle.dumps(Planted(trap))
    connection = sqlite3.connect(directory / "cache.db")
    ((key,),) = connection.execute("SELECT key FROM Cache")
    tag = checksum(key, bait)
    connection.execute(PLANT[where], {"bait": bait, "mode": mode, "tag": tag})
    connection.commit()
    connection.close()
    if "value" in where:
        assert b"ada" not in ask("/session")
        assert any("unreadable" in warning for warning in warnings(caplog))
    ask("/session")
    ask("/count")
    ask("/login")
    ask("/logout")
    store.gc()
    store.close()
    DiskStore(directory).close()
    assert not trap.exists()


# A clock that steps.

HOUR: Final = 3600.0
LIFETIME: Final = 2 * HOUR  # the default


def merge(store: DiskStore, wire: str) -> str | None:
    """Commit what another request has come between."""
    request = Request(store, wire)
    Request(store, wire).commit(put("between", True))
    return request.commit(put("merged", True))


WRITES: Final[dict[str, Callable[[DiskStore, str], object]]] = {
    "commit": lambda store, wire: Request(store, wire).commit(put("written", True)),
    "merge": merge,
    "regenerate": lambda store, wire: Request(store, wire).commit(regenerate),
    "save": lambda store, wire: store.save(wire, {"saved": True}, {}),
    "touch": lambda store, wire: store.touch(wire),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("step", [2 * HOUR, HOUR, -HOUR, -2 * HOUR])
def test_a_clock_that_steps_by_hours_and_back_destroys_no_live_session(
    directory: Path, clock: Clock, step: float, write: str
) -> None:
    """Whenever it was used last, and whatever is done while the clock is wrong."""
    store = DiskStore(directory)
    wires = []
    for pause in (0, 59, 60):  # so that they were used 119, 60 and 0 minutes before the step
        clock.advance(60 * pause)
        wires += [begin(store, put("begun", clock.now)) for _ in range(2)]
    expected = {wire: content(store, wire) for wire in wires}
    assert store.gc() == 0
    clock.advance(step)
    assert store.gc() == 0
    for wire in wires[::2]:
        if store.open(wire) is not None:
            moved = WRITES[write](store, wire)
            kept = moved if isinstance(moved, str) else wire
            del expected[wire]
            expected[kept] = content(store, kept)
            assert expected[kept] is not None
    assert store.gc() == 0
    clock.advance(-step)
    assert store.gc() == 0
    assert {wire: content(store, wire) for wire in expected} == expected
    store.close()


class Step(NamedTuple):
    """What happens one after the other: a pause, a step of the clock, and requests."""

    pause: int
    offset: int
    reads: list[int]
    writes: list[int]
    collects: bool


MINUTES: Final = st.sampled_from([-120, 0, 120]) | st.integers(-120, 120)
INDICES: Final = st.lists(st.integers(0, 3), max_size=3)
STEPS: Final = st.builds(Step, st.integers(0, 40), MINUTES, INDICES, INDICES, st.booleans())


def test_whatever_the_clock_does_within_two_hours_no_live_session_is_destroyed(
    directory: Path, clock: Clock
) -> None:
    """Who was there less than two hours ago by the right clock is there when it is right again."""
    with closing(DiskStore(directory)) as store:

        @settings(max_examples=60)
        @given(st.lists(STEPS, min_size=2, max_size=8))
        def is_there_again(story: list[Step]) -> None:
            wires = [begin(store, put("n", 0)) for _ in range(4)]
            written = dict.fromkeys(wires, 0)
            used = dict.fromkeys(wires, clock.now)
            offset = 0
            for step in story:
                clock.advance(60 * (step.pause + step.offset - offset))
                offset = step.offset
                for index in step.reads:
                    store.open(wires[index])
                for index in step.writes:
                    wire = wires[index]
                    if store.open(wire) is not None and Request(store, wire).commit(increment("n")):
                        written[wire] += 1
                        if not offset:
                            used[wire] = clock.now
                if step.collects:
                    store.gc()
            clock.advance(-60 * offset)
            for wire in wires:
                if clock.now - used[wire] < LIFETIME:
                    assert content(store, wire) == ({"n": written[wire]}, {})

        is_there_again()


# What a commit outlives.


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_commit_is_on_the_disk_if_that_is_asked_for(
    tmp_path: Path, directory: Path, durability: str
) -> None:
    """At least one fsync for each commit with "power", and none with "process"."""
    trace = tmp_path / "trace"
    able("strace", "-o", str(trace), "true")
    prefix = ["strace", "-f", "-e", "trace=fsync,fdatasync", "-o", str(trace)]
    with StoreProcess(prefix=prefix) as store:
        store.make(directory, durability=durability)
        wire = begin(store)
        commits: list[Callable[[], Any]] = [
            lambda: begin(store),
            lambda: Request(store, wire).commit(increment("n")),  # in one statement
            lambda: store.save(wire, {"n": 1}, {}),  # in a transaction
            lambda: store.destroy(begin(store)),
        ]
        for commit in commits:
            for _ in range(5):
                before = syncs(trace)
                commit()
                if durability == "power":
                    assert syncs(trace) > before
                else:
                    assert syncs(trace) == before


def syncs(trace: Path) -> int:
    """Count the calls that have returned."""
    return sum("sync(" in line for line in trace.read_text().splitlines())
