"""The database of the disk store: locks, outages, checkpoints, and a file that changes."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest

from glimr_session import CommitResult, DiskStore, StoreUnavailable, _forks, generate_id
from glimr_session.stores.disk.database import CHECKPOINT_PAGES
from glimr_session.stores.disk.pool import ConnectionPool
from glimr_session.stores.disk.queries import SessionConnection
from glimr_session.testing.contract import (
    Request,
    Transition,
    begin,
    content,
    invalidate,
    put,
    regenerate,
    run_all,
)
from tests.conftest import Clock
from tests.support.disk import LockHolder, begin_and_expire, query, record_statements

# Another writer.


def test_a_held_lock_is_an_outage_for_writers_and_none_for_readers(directory: Path) -> None:
    """Writers raise StoreUnavailable after the timeout, readers read, and later all is well."""
    store = DiskStore(directory, timeout=0.2)
    cookie_value = begin(store)
    request = Request(store, cookie_value)
    query(directory, "INSERT INTO Cache (key, raw, expire_time) VALUES ('old', 1, 1.0)")
    with LockHolder(directory):
        started = time.monotonic()
        for write in (
            lambda: request.commit(put("b", 2)),
            lambda: store.touch(cookie_value),
            lambda: store.destroy(cookie_value),
            lambda: store.save(cookie_value, {}, {}),
            store.gc,
        ):
            with pytest.raises(StoreUnavailable, match=r"another writer has held it for 0\.2 s"):
                write()
        assert time.monotonic() - started < 5 * 0.2 + 5
        assert content(store, cookie_value) == ({"a": 1}, {})
    assert request.commit() == cookie_value
    assert content(store, cookie_value) == ({"a": 1, "b": 2}, {})
    store.close()


def test_readers_do_not_wait_for_each_others_timeouts(directory: Path) -> None:
    """Eight readers of a database that somebody has locked for himself fail at the same time."""
    DiskStore(directory).close()
    store = DiskStore(directory, timeout=0.3)
    holder = sqlite3.connect(directory / "cache.db", isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    failed: list[str] = []

    def read() -> None:
        try:
            store.load("x")
        except StoreUnavailable as error:
            failed.append(str(error))

    started = time.monotonic()
    run_all([read] * 8)
    assert time.monotonic() - started < 8 * 0.3
    assert len(failed) == 8
    holder.close()
    assert store.load("x") == ({}, {})
    store.close()


def test_sessions_that_come_and_go_are_no_damage(directory: Path) -> None:
    """A reader finds a row that is begun and destroyed meanwhile, or none, and never an error."""
    store = DiskStore(directory)
    session_id, done = generate_id(), threading.Event()
    errors: list[BaseException] = []

    def until_done(work: Callable[[], object]) -> None:
        try:
            while not done.is_set():
                work()
        except BaseException as error:  # noqa: BLE001  # raised below
            errors.append(error)

    def come_and_go() -> None:
        for _ in range(1500):
            store.save(session_id, {"a": 1}, {})
            store.destroy(session_id)
        done.set()

    def look() -> None:
        assert store.load(session_id)[0] in ({}, {"a": 1})

    destroy = partial(until_done, lambda: store.destroy(session_id))
    run_all([come_and_go, destroy, *[partial(until_done, look)] * 2])
    assert errors == []
    store.close()


# Commits that do not wait.

LONG: Final = 60.0
"""A timeout in seconds that no test waits for."""

AT_ONCE: Final = 10.0
"""Seconds within which an operation has not waited for a lock, however slow the machine."""


@contextmanager
def locked_by_a_process(store: DiskStore) -> Iterator[None]:
    with LockHolder(store.directory):
        yield


@contextmanager
def locked_by_a_thread(store: DiskStore) -> Iterator[None]:
    """Hold the lock in a write of another thread of this process."""
    held, go = threading.Event(), threading.Event()

    def hold(connection: SessionConnection) -> None:
        with connection.transaction():
            held.set()
            assert go.wait(LONG)

    thread = threading.Thread(target=store._database.write, args=(hold,))
    thread.start()
    try:
        assert held.wait(LONG)
        yield
    finally:
        go.set()
        thread.join(LONG)
    assert not thread.is_alive()


LOCKS: Final = [locked_by_a_process, locked_by_a_thread]
Locked = Callable[[DiskStore], Any]


@pytest.mark.parametrize("locked", LOCKS)
@pytest.mark.parametrize("way", ["change", "merge", "login", "logout", "first"])
def test_a_commit_that_does_not_wait_is_busy_at_once(
    directory: Path, locked: Locked, way: str
) -> None:
    """A commit with wait=False on a locked store writes nothing, and can be repeated."""
    store = DiskStore(directory, timeout=LONG)
    cookie_value = begin(store)
    request = Request(store, None if way == "first" else cookie_value)
    transitions: dict[str, list[Transition]] = {
        "change": [put("b", 2)],
        "merge": [put("b", 2)],
        "login": [regenerate, put("b", 2)],
        "logout": [invalidate],
        "first": [put("b", 2)],
    }
    if way == "merge":
        Request(store, cookie_value).commit(put("between", 1))
    before = content(store, cookie_value)
    for transition in transitions[way]:
        transition(request.state)
    with locked(store):
        started = time.monotonic()
        for _ in range(3):
            assert request.answer(wait=False) is CommitResult.BUSY
        assert time.monotonic() - started < AT_ONCE
        assert content(store, cookie_value) == before
        assert query(directory, "SELECT count(*) FROM Cache") == [(1,)]
    answer = request.answer(wait=False)
    if way == "logout":
        assert answer is CommitResult.EMPTY
        assert store.open(cookie_value) is None
    else:
        assert answer.outcome == "stored"
        found = content(store, answer.cookie_value)
        assert found is not None
        assert found[0]["b"] == 2
        assert ("between" in found[0]) == (way == "merge")
    store.close()


@pytest.mark.parametrize("locked", LOCKS)
def test_a_busy_connection_goes_back_to_the_pool(directory: Path, locked: Locked) -> None:
    """A commit that was BUSY closes no connection and opens none."""
    store = DiskStore(directory, timeout=LONG)
    request = Request(store, begin(store))
    put("b", 2)(request.state)
    pool = store._database._pool
    with locked(store):
        assert request.answer(wait=False) is CommitResult.BUSY
        idle, opened = list(pool._idle), len(_forks._holds)
        assert idle
        for _ in range(20):
            assert request.answer(wait=False) is CommitResult.BUSY
            assert list(pool._idle) == idle
            assert len(_forks._holds) == opened
        assert not any(pooled.connection.in_transaction for pooled in idle)
    assert store._database._next_check > 0  # a BUSY is no failure after which to check the files
    store.close()


def test_an_event_loop_commits_inline_on_a_free_store(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The acommit of a free store runs in the thread of the event loop and starts no other."""
    store = DiskStore(directory)
    request = Request(store, begin(store))
    put("b", 2)(request.state)
    threads: list[threading.Thread] = []
    commit = store._commit

    def watched(*args: Any) -> CommitResult:
        threads.append(threading.current_thread())
        return commit(*args)

    monkeypatch.setattr(store, "_commit", watched)
    before = threading.active_count()

    async def run() -> CommitResult:
        result = await store.acommit(request.state.changes)
        assert threading.active_count() == before
        return result

    assert asyncio.run(run()).outcome == "stored"
    assert threads == [threading.current_thread()]
    store.close()


@pytest.mark.parametrize("locked", LOCKS)
def test_an_event_loop_goes_on_while_a_commit_waits(directory: Path, locked: Locked) -> None:
    """The acommit of a locked store lets other coroutines run, and commits in the end."""
    store = DiskStore(directory, timeout=LONG)
    cookie_value = begin(store)
    request = Request(store, cookie_value)
    put("b", 2)(request.state)

    async def run() -> CommitResult:
        with locked(store):
            waiting = asyncio.ensure_future(store.acommit(request.state.changes))
            for _ in range(50):
                await asyncio.sleep(0.005)
            assert not waiting.done()
            assert content(store, cookie_value) == ({"a": 1}, {})
        return await waiting

    started = time.monotonic()
    assert asyncio.run(run()) == CommitResult.stored(cookie_value)
    assert time.monotonic() - started < LONG / 2
    assert content(store, cookie_value) == ({"a": 1, "b": 2}, {})
    store.close()


# Failures.


def test_a_commit_that_fails_half_way_leaves_everything_as_it_was(directory: Path) -> None:
    """A login that fails leaves the session under its old id, and can be repeated."""
    store = DiskStore(directory)
    cookie_value = begin(store)
    query(
        directory, "CREATE TRIGGER full BEFORE UPDATE ON Cache BEGIN SELECT RAISE(ABORT, 'x'); END"
    )
    request = Request(store, cookie_value)
    with pytest.raises(StoreUnavailable):
        request.commit(regenerate, put("b", 2))
    assert content(store, cookie_value) == ({"a": 1}, {})
    assert store.open(request.state.id) is None
    query(directory, "DROP TRIGGER full")
    moved = request.commit()
    assert moved
    assert store.open(cookie_value) is None
    assert content(store, moved) == ({"a": 1, "b": 2}, {})
    assert content(store, request.state.id) == ({"a": 1, "b": 2}, {})
    store.close()


def test_an_outage_passes_by_itself(directory: Path) -> None:
    """The store works again without a restart when its database does."""
    store = DiskStore(directory)
    cookie_value = begin(store)
    query(directory, "ALTER TABLE Cache RENAME TO Elsewhere")
    with pytest.raises(StoreUnavailable):
        store.open(cookie_value)
    query(directory, "ALTER TABLE Elsewhere RENAME TO Cache")
    assert content(store, cookie_value) == ({"a": 1}, {})
    store.close()


def test_a_full_disk_is_called_that_and_passes_by_itself(directory: Path) -> None:
    """A commit without room raises and loses nothing, and succeeds when there is room."""
    store = DiskStore(directory)
    cookie_value = begin(store)
    pool = store._database._pool
    pooled = pool.acquire()
    pooled.connection.execute("PRAGMA max_page_count = 20")  # SQLite's own SQLITE_FULL
    pool.release(pooled)
    large = put("text", "x" * 1_000_000)
    with pytest.raises(StoreUnavailable, match="full"):
        Request(store, cookie_value).commit(large, regenerate)
    assert content(store, cookie_value) == ({"a": 1}, {})
    assert Request(store, cookie_value).commit(large) == cookie_value
    store.close()


# A disk on which SQLite cannot read. (Real ones are in tests/faults.)


@pytest.fixture
def without_space(directory: Path, monkeypatch: pytest.MonkeyPatch) -> DiskStore:
    """Return a store with a session, whose connections cannot be opened any more."""
    store = DiskStore(directory)
    store.save("0" * 64, {"a": 1}, {})
    store.close()

    def fail(_pool: ConnectionPool) -> NoReturn:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(ConnectionPool, "acquire", fail)
    return store


def test_what_is_read_without_space_is_exact(without_space: DiskStore) -> None:
    """Where there is no log, reads go on; writes say why they do not; nothing is made there."""
    assert without_space.load("0" * 64) == ({"a": 1}, {})
    assert without_space.open("1" * 64) is None
    with pytest.raises(StoreUnavailable, match="disk I/O error"):
        without_space.save("0" * 64, {"a": 2}, {})
    assert [file.name for file in without_space.directory.iterdir()] == ["cache.db"]


def test_a_store_that_is_only_closed_leaves_nothing(directory: Path) -> None:
    """The log of a start has no second name that outlives it."""
    for _ in range(2):
        DiskStore(directory).close()
        assert [file.name for file in directory.iterdir()] == ["cache.db"]


def test_a_file_that_has_a_log_is_not_all_there_is(
    directory: Path, without_space: DiskStore
) -> None:
    """Beside a log a read is an outage: what was committed last is not in the file."""
    with closing(sqlite3.connect(directory / "cache.db", isolation_level=None)) as connection:
        connection.execute("DELETE FROM Cache")
        with pytest.raises(StoreUnavailable, match="disk I/O error"):
            without_space.open("0" * 64)
    assert without_space.open("0" * 64) is None


def test_a_file_that_changes_meanwhile_is_not_believed(
    directory: Path, without_space: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read while somebody moved a log into the file may be half of each."""
    find = SessionConnection.find

    def find_late(self: SessionConnection, key: bytes, rowid: int) -> Any:
        found = find(self, key, rowid)
        query(directory, "DELETE FROM Cache")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(SessionConnection, "find", find_late)
        with pytest.raises(StoreUnavailable, match="disk I/O error"):
            without_space.open("0" * 64)


# A file that is replaced. (The rest is in tests/faults.)


def test_a_log_that_was_never_seen_is_left_alone(directory: Path) -> None:
    """A store that has not been used yet does not delete the log of a database put in place."""
    unused = DiskStore(directory)
    (directory / "cache.db").rename(directory / "away.db")
    other = DiskStore(directory)
    cookie_value = begin(other)
    unused._database._next_check = 0.0
    assert content(unused, cookie_value) == ({"a": 1}, {})
    assert Request(unused, cookie_value).commit(put("b", 2)) == cookie_value
    assert content(other, cookie_value) == ({"a": 1, "b": 2}, {})
    unused.close()
    other.close()


# Checkpoints.


def test_nobody_checkpoints_while_others_wait_to_write(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread checkpoints once in a thousand pages, after its transaction."""
    store = DiskStore(directory)
    cookie_value = begin(store)
    checkpoint = SessionConnection.checkpoint
    locked: list[bool] = []
    pages: list[int] = []

    def watched(self: SessionConnection) -> tuple[int, int]:
        locked.append(self.in_transaction)
        pages.append(self.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])
        return checkpoint(self)

    monkeypatch.setattr(SessionConnection, "checkpoint", watched)
    log = directory / "cache.db-wal"
    for number in range(2_100):
        assert Request(store, cookie_value).commit(put("n", number)) == cookie_value
    assert locked == [False, False]
    assert all(950 < number <= 1_050 for number in pages)
    assert log.stat().st_size < 1_300 * 4_152  # or it would have grown all the time
    store.close()


def test_a_checkpoint_that_fails_fails_no_commit(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The commit before a checkpoint that fails is done, and the log says what failed."""
    store = DiskStore(directory)
    cookie_value = begin(store)

    def fail(self: SessionConnection) -> NoReturn:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(SessionConnection, "checkpoint", fail)
    store._database._logged = 10_000
    assert Request(store, cookie_value).commit(put("b", 2)) == cookie_value
    assert content(store, cookie_value) == ({"a": 1, "b": 2}, {})
    assert "cache.db could not be moved: disk I/O error" in caplog.text
    store.close()


@pytest.mark.usefixtures("nothing_open")
def test_a_log_filter_may_use_the_store_when_a_checkpoint_fails(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No connection is in use when the failure of a checkpoint is logged."""
    store = DiskStore(directory)
    cookie_value = begin(store)
    opened: list[int] = []

    def fail(self: SessionConnection) -> NoReturn:
        raise sqlite3.OperationalError("disk I/O error")

    def look(record: logging.LogRecord) -> bool:
        opened.append(len(_forks._holds) - len(store._database._pool._idle))
        return store.open(cookie_value) is not None

    monkeypatch.setattr(SessionConnection, "checkpoint", fail)
    caplog.handler.addFilter(look)
    try:
        store._database._logged = 10_000
        assert Request(store, cookie_value).commit(put("b", 2)) == cookie_value
    finally:
        caplog.handler.removeFilter(look)
    assert opened == [0]
    store.close()


@pytest.mark.usefixtures("nothing_open")
def test_a_checkpoint_that_is_interrupted_leaves_no_connection_behind(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that is interrupted closes its connection, or a fork would wait for it."""
    store = DiskStore(directory)
    cookie_value = begin(store)

    def interrupted(self: SessionConnection) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(SessionConnection, "checkpoint", interrupted)
    store._database._logged = 10_000
    with pytest.raises(KeyboardInterrupt):
        Request(store, cookie_value).commit(put("b", 2))
    assert len(_forks._holds) == len(store._database._pool._idle)
    assert content(store, cookie_value) == ({"a": 1, "b": 2}, {})
    store.close()


def test_large_sessions_and_new_ones_fill_the_log_faster(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store counts enough pages that the log is never far longer than it means it to be."""
    store = DiskStore(directory)
    checkpoint = SessionConnection.checkpoint
    longest = 0

    def watched(self: SessionConnection) -> tuple[int, int]:
        nonlocal longest
        pages, moved = checkpoint(self)
        longest = max(longest, pages)
        return pages, moved

    monkeypatch.setattr(SessionConnection, "checkpoint", watched)
    cookie_value = begin(store)
    for number in range(600):
        text = put("text", f"{number}" + "x" * 20_000)
        assert Request(store, cookie_value).commit(text) == cookie_value
        begin(store)
    assert 0 < longest < 3 * CHECKPOINT_PAGES
    store.close()


# gc, beside others.


@pytest.mark.parametrize("beside", ["nobody", "a reader", "a writer elsewhere"])
def test_gc_pauses_unless_it_is_alone(
    directory: Path, clock: Clock, beside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gc that is alone pauses once, before it can know; else it pauses after each batch."""
    store, elsewhere = DiskStore(directory), DiskStore(directory)
    begin_and_expire(store, clock, 95)
    pauses: list[float] = []
    monkeypatch.setattr("glimr_session.stores.disk.store.time.sleep", pauses.append)
    remove_expired = store._remove_expired

    def remove_beside_others(connection: SessionConnection) -> int:
        if beside == "a reader":
            store.open(generate_id())
        elif beside == "a writer elsewhere":
            begin(elsewhere)
        return remove_expired(connection)

    monkeypatch.setattr(store, "_remove_expired", remove_beside_others)
    assert store.gc() == 95
    assert len(pauses) == (1 if beside == "nobody" else 10)
    assert all(0.008 <= pause <= 0.1 for pause in pauses)
    store.close()
    elsewhere.close()


@pytest.mark.parametrize("beside", ["nobody", "a reader"])
def test_gc_recognises_its_own_corrections(
    directory: Path, clock: Clock, beside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches that also correct times take three operations, and do not pause when alone."""
    before = DiskStore(directory, lifetime=600)
    lasting = [begin(before) for _ in range(45)]
    before.close()
    store = DiskStore(directory, lifetime=10_000_000)
    clock.advance(600 + 6 * 3600)
    pauses: list[float] = []
    monkeypatch.setattr("glimr_session.stores.disk.store.time.sleep", pauses.append)
    corrected: list[int] = []
    correct_expiry = store._correct_expiry

    def correct_beside_others(connection: SessionConnection) -> None:
        if beside == "a reader":
            store.open(generate_id())
        corrected.append(connection.total_changes)
        correct_expiry(connection)

    monkeypatch.setattr(store, "_correct_expiry", correct_beside_others)
    assert store.gc() == 0
    assert len(corrected) == 5
    assert len(pauses) == (1 if beside == "nobody" else 5)
    assert all(store.open(cookie_value) is not None for cookie_value in lasting)
    assert store.gc() == 0
    assert len(corrected) == 5
    store.close()


def test_gc_counts_what_it_removed_if_the_lock_is_taken_afterwards(
    directory: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The correction of times is repeated by itself, and not the removal before it."""
    store = DiskStore(directory)
    begin_and_expire(store, clock, 5)
    correct_expiry, failures = SessionConnection.correct_expiry, [True, False]

    def locked_at_first(self: SessionConnection, *times: Any) -> None:
        if failures.pop(0):
            raise sqlite3.OperationalError("database is locked")
        correct_expiry(self, *times)

    monkeypatch.setattr(SessionConnection, "correct_expiry", locked_at_first)
    assert store.gc() == 5
    assert failures == []
    store.close()


def test_gc_takes_no_write_lock_if_nothing_has_expired(directory: Path) -> None:
    """A gc of a store without expired sessions only reads, and so waits for no writer."""
    store = DiskStore(directory, timeout=0.2)
    begin(store)
    connection, statements = record_statements(store)
    with LockHolder(directory):
        assert store.gc() == 0
    connection.set_trace_callback(None)
    if statements[0] == "PRAGMA user_version":  # which is looked at once a second
        statements.pop(0)
    assert [statement.split()[0] for statement in statements] == ["SELECT"]
    store.close()
