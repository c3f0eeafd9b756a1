"""The two files beside the database: deleted by a cleaner, or grown beside a long reader."""

from __future__ import annotations

import itertools
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from glimr_session import DiskStore, StoreUnavailable, generate_id
from glimr_session.testing.contract import begin
from tests.support.servers import Client, running

from . import storage_process
from .storage import PROMPT, SESSIONS, TIMEOUT, refusal, soon, warnings
from .storage_process import Processes, StoreProcess, save_all, seen, some_sessions
from .test_processes import SITE

LOG: Final = "cache.db-wal"
INDEX: Final = "cache.db-shm"

DELETED: Final = [(LOG,), (INDEX,), (LOG, INDEX)]

MB: Final = 1_000_000


def delete(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).unlink()


def inodes(directory: Path) -> list[int]:
    return [(directory / name).stat().st_ino for name in (LOG, INDEX)]


@contextmanager
def three(
    processes: Processes, directory: Path
) -> Iterator[tuple[StoreProcess, StoreProcess, StoreProcess]]:
    """Lend two stores that have the log open, with sessions in it, and a process without one."""
    with (
        processes.store(directory, timeout=TIMEOUT) as one,
        processes.store(directory, timeout=TIMEOUT) as other,
        processes.store() as later,
    ):
        save_all(one, SESSIONS)
        assert other.run(seen, SESSIONS).keys() == {"exact"}
        yield one, other, later


# A file that is deleted.


@pytest.mark.parametrize("deleted", DELETED, ids="+".join)
def test_a_log_that_was_deleted_is_put_back(
    processes: Processes,
    directory: Path,
    deleted: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A process that starts at once puts the log back, though those that have it do nothing."""
    with three(processes, directory) as (one, other, later):
        before = inodes(directory)
        delete(directory, *deleted)
        later.make(directory, timeout=TIMEOUT)
        assert inodes(directory) == before
        assert later.run(seen, SESSIONS) == Counter(exact=len(SESSIONS))
        sessions: dict[str, Any] = dict(SESSIONS)
        for store in (one, other, later):
            save_all(store, new := some_sessions(3))
            sessions |= new
        for store in (one, other, later):
            assert store.run(seen, sessions) == Counter(exact=len(sessions))
            assert store.run(storage_process.integrity) == "ok"
        (told,) = warnings(caplog)
        assert "was deleted while it was in use. It has been put back" in told


@pytest.mark.parametrize("deleted", DELETED, ids="+".join)
def test_who_uses_it_puts_the_log_back_within_a_second(
    processes: Processes,
    directory: Path,
    deleted: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A process that goes on working puts the log back; threads with new connections, too."""
    with three(processes, directory) as (one, other, _):
        before = inodes(directory)
        delete(directory, *deleted)

        def is_put_back() -> None:
            assert one.open(next(iter(SESSIONS))) is not None
            assert all((directory / name).exists() for name in deleted)
            assert inodes(directory) == before

        soon(is_put_back)
        delete(directory, *deleted)
        acknowledged, _wait = other.run(storage_process.save_from_threads, 8, 20)
        assert len(acknowledged) == 160
        assert inodes(directory) == before
        assert one.run(seen, acknowledged) == Counter(exact=160)
        assert one.run(storage_process.integrity) == "ok"
        assert len(warnings(caplog)) == 2


def test_a_log_that_is_deleted_again_and_again_loses_nothing(
    processes: Processes, directory: Path
) -> None:
    """Two processes write from threads while a cleaner deletes and others start: all is kept.

    A cleaner that deletes twenty times a second can be faster than a process that opens the
    log; then they close it, and go on with a new one.
    """
    done = threading.Event()

    def clean() -> None:
        turn = 0
        while not done.wait(0.05):
            turn += 1
            with suppress(FileNotFoundError):
                delete(directory, *DELETED[turn % 3])

    sessions: dict[str, Any] = dict(SESSIONS)
    with (
        three(processes, directory) as (one, other, later),
        ThreadPoolExecutor(1) as pool,
    ):
        cleaner = pool.submit(clean)
        try:
            for _ in range(5):
                for store in (one, other):
                    store.begin(storage_process.save_from_threads, 4, 100)
                with suppress(StoreUnavailable):
                    later.make(directory, timeout=TIMEOUT)
                    save_all(later, new := some_sessions(5))
                    sessions |= new
                for store in (one, other):
                    sessions |= store.answer()[0]
        finally:
            done.set()
            cleaner.result()
        assert len(sessions) > 2000
        later.close()
        for store in (one, other):  # if a process was slower than the cleaner, the log is moved
            store.run(storage_process.look_now)
            with suppress(StoreUnavailable):
                begin(store)

        def is_exact() -> None:
            for store in (one, other):
                found = store.run(seen, sessions)
                assert not found.keys() & {"wrong", "silent"}
                assert found == Counter(exact=len(sessions))

        soon(is_exact)
        assert one.run(storage_process.integrity) == "ok"


def test_a_log_that_cannot_be_put_back_is_told_and_loses_nothing(
    processes: Processes, directory: Path
) -> None:
    """Where its second name was deleted too, nobody begins a log beside it.

    It goes on when each process that had the log has answered a request; what they had
    committed is there.
    """
    with three(processes, directory) as (one, other, later):
        for file in directory.glob("cache.db?*"):
            file.unlink()
        later.make(directory, timeout=TIMEOUT)
        for _ in range(2):
            assert "log (cache.db-wal, cache.db-shm) was deleted" in refusal(lambda: begin(later))
            time.sleep(PROMPT + 0.1)
        assert "was deleted" in refusal(lambda: begin(one))  # and has closed what it had
        assert "until each of them has closed it" in refusal(lambda: begin(later))
        with suppress(StoreUnavailable):
            begin(other)
        for store in (later, one, other):
            soon(lambda store=store: begin(store))  # type: ignore[misc]
            assert store.run(seen, SESSIONS) == Counter(exact=len(SESSIONS))
        assert later.run(storage_process.integrity) == "ok"


def test_a_lost_log_survives_a_process_that_is_killed(
    processes: Processes, directory: Path
) -> None:
    """What a process had committed is there, though the last one with the log was killed."""
    with processes.store(directory, timeout=TIMEOUT) as one:
        save_all(one, SESSIONS)
        with StoreProcess(directory, timeout=TIMEOUT) as killed:
            assert killed.run(seen, SESSIONS).keys() == {"exact"}
            for file in directory.glob("cache.db?*"):
                file.unlink()
            one.run(storage_process.look_now)
            assert "was deleted" in refusal(lambda: begin(one))
        soon(lambda: begin(one))
        assert one.run(seen, SESSIONS) == Counter(exact=len(SESSIONS))
        assert one.run(storage_process.integrity) == "ok"


def test_a_log_that_nobody_has_open_is_no_loss(
    processes: Processes, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Second names that are left over are not put back: what is in the database is newer."""
    with processes.store(directory, timeout=TIMEOUT) as store:
        save_all(store, SESSIONS)
        with closing(sqlite3.connect(directory / "cache.db")) as shell:  # it closes last
            shell.execute("SELECT count(*) FROM Cache").fetchone()
            store.close()
    left = sorted(directory.glob("*.kept"))
    assert len(left) == 2
    with closing(sqlite3.connect(directory / "cache.db")) as shell:
        shell.execute("DELETE FROM Cache WHERE rowid = (SELECT min(rowid) FROM Cache)")
        shell.commit()
        with processes.store(directory, timeout=TIMEOUT) as store:  # beside a log of its own
            assert store.run(seen, SESSIONS)["exact"] == len(SESSIONS) - 1
            store.close()
    with processes.store(directory, timeout=TIMEOUT) as store:
        assert store.run(seen, SESSIONS)["exact"] == len(SESSIONS) - 1
        begin(store)
        assert store.run(storage_process.integrity) == "ok"
        assert sorted(directory.glob("*.kept")) == left
    assert {file.name for file in directory.iterdir()} == {"cache.db"}
    assert warnings(caplog) == []


@pytest.mark.parametrize("deleted", [(LOG,), (LOG, INDEX)], ids="+".join)
def test_a_log_of_killed_processes_is_put_back(
    processes: Processes, directory: Path, deleted: tuple[str, ...]
) -> None:
    """What was acknowledged is there, though all processes were killed and the log deleted."""
    with StoreProcess(directory, timeout=TIMEOUT) as killed:
        save_all(killed, SESSIONS)
    delete(directory, *deleted)
    with processes.store(directory, timeout=TIMEOUT) as store:
        assert store.run(seen, SESSIONS) == Counter(exact=len(SESSIONS))
        assert store.run(storage_process.integrity) == "ok"


def test_a_database_put_in_place_never_gets_the_log_of_another(
    processes: Processes, directory: Path, tmp_path: Path
) -> None:
    """A copy that is put in place while threads write is used as it is, from a second on."""
    sessions = some_sessions(100)
    with processes.store(directory, timeout=TIMEOUT) as store:
        save_all(store, sessions)
        with (
            closing(sqlite3.connect(directory / "cache.db")) as there,
            closing(sqlite3.connect(tmp_path / "copy.db")) as copy,
        ):
            there.backup(copy)
        (tmp_path / "copy.db").chmod(0o600)
        save_all(store, SESSIONS)
        store.begin(storage_process.save_from_threads, 24, 20)
        for name in ("cache.db", LOG, INDEX):
            (directory / name).rename(tmp_path / name)
        (tmp_path / "copy.db").rename(directory / "cache.db")
        store.answer()
        soon(lambda: begin(store))
        assert store.run(seen, sessions) == Counter(exact=len(sessions))
        assert store.run(storage_process.integrity) == "ok"


@pytest.mark.parametrize("made_by", ["VACUUM INTO", "journal_mode"])
def test_a_database_without_a_log_gets_one(
    processes: Processes, directory: Path, tmp_path: Path, made_by: str
) -> None:
    """A copy that is in another journal mode, or one that was set to it, is opened all the same."""
    with processes.store(directory, timeout=TIMEOUT) as store:
        save_all(store, SESSIONS)
        store.close()
    database = directory / "cache.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        if made_by == "VACUUM INTO":
            connection.execute("VACUUM INTO ?", (str(tmp_path / "copy.db"),))
        else:
            connection.execute("PRAGMA journal_mode = delete")
    if made_by == "VACUUM INTO":
        (tmp_path / "copy.db").rename(database)
        database.chmod(0o600)
    with processes.store(directory, timeout=TIMEOUT) as store:
        assert store.run(seen, SESSIONS) == Counter(exact=len(SESSIONS))
        begin(store)
        assert (directory / LOG).exists()


def come_and_go(store: DiskStore, number: int) -> list[str]:
    """Save, read and close so many times; return what went wrong."""
    wrong = []
    for count in range(number):
        session_id = generate_id()
        try:
            store.save(session_id, {"n": count}, {})
            if count % 3:
                store.close()
            if store.load(session_id) != ({"n": count}, {}):
                wrong.append("another value")
        except StoreUnavailable as error:
            wrong.append(str(error))
        if count % 10 == 0:
            store.__init__(store.directory)  # type: ignore[misc]  # as in a process that starts
    return wrong


def test_processes_that_come_and_go_find_the_log(
    processes: Processes, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Processes that open the log while others close the last connection wait for nothing."""
    with (
        processes.store(directory) as one,
        processes.store(directory) as two,
        processes.store(directory) as three,
    ):
        for store in (one, two, three):
            store.begin(come_and_go, 250)
        assert [store.answer() for store in (one, two, three)] == [[], [], []]
    assert warnings(caplog) == []


def test_workers_go_on_while_a_cleaner_deletes_the_log(tmp_path: Path) -> None:
    """A site whose workers are recycled all the time counts right beside a cleaner.

    A process that has the database open, and does nothing, keeps SQLite from deleting the log.
    """
    with (
        running(
            "gunicorn",
            tmp_path,
            app=SITE,
            settings="max_requests = 15\n",
            environ={"GLIMR_SESSION_GC": "never"},
        ) as server,
        closing(DiskStore(tmp_path / "sessions")) as idle,
    ):
        assert idle.open("0" * 64) is None
        client = Client(server)
        workers = set()
        for number in range(1, 121):
            if number % 10 == 0:
                with suppress(FileNotFoundError):
                    delete(tmp_path / "sessions", *DELETED[number // 10 % 3])
            answer = client.get("/count")
            assert answer["found"] == number
            workers.add(answer["pid"])
        assert len(workers) > 5
        assert "has been put back" in server.log.read_text()


# A log that grows.


def write_large(store: DiskStore, sessions: int, commits: int) -> list[int]:
    """Commit sessions of 100 kB; return the sizes of the log, in bytes, after each commit."""
    sizes = []
    for number in range(commits):
        store.save(f"{number % sessions:064x}", {"n": number, "text": os.urandom(50_000).hex()}, {})
        sizes.append((store.directory / LOG).stat().st_size)
    return sizes


def write_a_second_later(store: DiskStore, commits: int) -> list[int]:
    """As ``write_large``, each commit after the pause that ordinary traffic has."""
    sizes = []
    for _ in range(commits):
        storage_process.look_now(store)
        store.save("0" * 64, {"n": 1}, {})
        sizes.append((store.directory / LOG).stat().st_size)
    return sizes


@contextmanager
def long_reader(directory: Path) -> Iterator[None]:
    """Be in a transaction, as a backup is."""
    with closing(sqlite3.connect(directory / "cache.db", isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM Cache").fetchone()
        yield


def test_a_log_that_has_grown_beside_a_reader_is_small_again(
    processes: Processes, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log is cut in steps when the reader has left, by commits that come once a second.

    A step is what a file system does in some 10 ms, and other writers wait for no more.
    """
    with processes.store(directory, timeout=TIMEOUT) as store:
        store.run(write_large, 5, 10)
        with long_reader(directory):
            sizes = store.run(write_large, 5, 1200)
            assert sizes[-1] > 100 * MB
            assert any("been reading for long" in warning for warning in warnings(caplog))
        sizes = [sizes[-1], *store.run(write_a_second_later, 20)]
        assert sizes[-1] < 5 * MB
        steps = [before - after for before, after in itertools.pairwise(sizes)]
        assert max(steps) <= 34 * MB
        assert store.run(storage_process.integrity) == "ok"


def test_a_log_is_short_while_many_write_without_a_pause(
    processes: Processes, directory: Path
) -> None:
    """Four processes that write without a pause keep the log within bounds all the time."""
    with (
        processes.store(directory) as one,
        processes.store(directory) as two,
        processes.store(directory) as three,
        processes.store(directory) as four,
    ):
        stores = (one, two, three, four)
        for store in stores:
            store.begin(write_large, 50, 700)
        largest = max(max(store.answer()) for store in stores)
        assert largest < 100 * MB  # of 280 that were written
        assert one.load("0" * 64)[0].keys() == {"n", "text"}
        assert one.run(storage_process.integrity) == "ok"
