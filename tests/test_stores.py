"""The stores: the contract on each of them, and what only one of them has."""

from __future__ import annotations

import base64
import gc
import multiprocessing
import os
import pickle
import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import diskcache
import pytest

from glimr_session import (
    ConfigError,
    CookieStore,
    DiskStore,
    SessionStore,
    StoredSession,
    StoreUnavailable,
    generate_id,
    new,
)
from glimr_session.ids import storage_key
from glimr_session.payload import encode_stored
from glimr_session.state import SessionState
from glimr_session.store import MOVED, Data
from glimr_session.stores.database import LOG, _log_identity
from glimr_session.stores.rows import Connection, checksum
from glimr_session.testing.contract import (
    ABSOLUTE,
    COLLECTED,
    LIFETIME,
    Request,
    StoreContract,
    Transition,
    begin,
    content,
    flash,
    increment,
    invalidate,
    put,
    regenerate,
    run_all,
)

from .conftest import Clock


class TestCookieStore(StoreContract):
    """The contract on the cookie store."""

    @pytest.fixture
    def store(self) -> SessionStore:
        return CookieStore(lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)

    @pytest.fixture
    def broken(self, store: SessionStore) -> SessionStore:
        return store


class TestDiskStore(StoreContract):
    """The contract on the disk store."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        store = DiskStore(tmp_path / "sessions", lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)
        yield store
        store.close()

    @pytest.fixture
    def broken(self, store: SessionStore) -> SessionStore:
        assert isinstance(store, DiskStore)
        with sqlite3.connect(store.directory / "cache.db") as connection:
            connection.execute("DROP TABLE Cache")
        connection.close()
        return store


class InMemory:
    """Storage for a store from five functions, which can be pulled out."""

    def __init__(self) -> None:
        self.sessions: dict[str, tuple[Data, Data]] = {}
        self.down = False

    def _reach(self) -> dict[str, tuple[Data, Data]]:
        if self.down:
            raise ConnectionError("the cable is out")
        return self.sessions

    def load(self, session_id: str) -> tuple[Data, Data]:
        return self._reach().get(session_id, ({}, {}))

    def save(self, session_id: str, data: Data, flash: Data) -> None:
        self._reach()[session_id] = (data, flash)

    def destroy(self, session_id: str) -> None:
        self._reach().pop(session_id, None)

    def gc(self) -> None:
        self._reach()

    def store(self) -> SessionStore:
        return new(
            load=self.load,
            save=self.save,
            destroy=self.destroy,
            gc=self.gc,
            cookie_value=lambda session_id, data, flash: session_id,
        )


class TestStoreFromFiveFunctions(StoreContract):
    """The contract on the plain implementations of open, commit and touch."""

    expires = False

    @pytest.fixture
    def memory(self) -> InMemory:
        return InMemory()

    @pytest.fixture
    def store(self, memory: InMemory) -> SessionStore:
        return memory.store()

    @pytest.fixture
    def broken(self, store: SessionStore, memory: InMemory) -> SessionStore:
        memory.down = True
        return store


# The cookie store alone.


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b"null", b"\xff", b"5", b'{"_data":5}', b"[" * 100_000, b"1" * 10_000],
)
def test_a_cookie_payload_that_is_no_session_is_absent(payload: bytes) -> None:
    """Signed by us or not, unreadable is absent; {} is a session that ended long ago."""
    wire = base64.urlsafe_b64encode(payload).decode()
    assert CookieStore().open(wire) is None
    assert CookieStore().open("{}") is None


# The disk store alone.


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "var" / "sessions"


def open_files() -> int:
    """Count what this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def rows(directory: Path, query: str, *arguments: Any) -> list[Any]:
    """Ask the database directly."""
    connection = sqlite3.connect(directory / "cache.db", isolation_level=None)
    try:
        return connection.execute(query, arguments).fetchall()
    finally:
        connection.close()


def test_the_directory_is_made_for_us_alone(directory: Path) -> None:
    """Mode 0700, its parents too if they are missing."""
    DiskStore(directory)
    assert directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o707, 0o701])
def test_a_looser_directory_is_refused_at_start(directory: Path, mode: int) -> None:
    """Who can read it could take sessions over; the message says what to run."""
    directory.mkdir(parents=True)
    directory.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode 0{mode:o}.*chmod 700"):
        DiskStore(directory)


@pytest.mark.parametrize("mode", [0o500, 0o600])
def test_a_read_only_directory_is_refused_at_start(directory: Path, mode: int) -> None:
    """Not at the first request."""
    directory.mkdir(parents=True)
    directory.chmod(mode)
    with pytest.raises(ConfigError, match="cannot be written"):
        DiskStore(directory)
    directory.chmod(0o700)


def test_a_directory_that_cannot_be_made_is_refused_at_start(tmp_path: Path) -> None:
    """A file is in the way."""
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="cannot be made"):
            DiskStore(directory)


def test_a_damaged_database_is_refused_at_start(directory: Path) -> None:
    """An outage, with advice; the file is left as it is."""
    directory.mkdir(mode=0o700, parents=True)
    (directory / "cache.db").write_bytes(b"this is no database " * 1000)
    with pytest.raises(StoreUnavailable, match="move it away"):
        DiskStore(directory)
    assert (directory / "cache.db").read_bytes().startswith(b"this is no database")


def test_variables_and_tildes_in_the_path_are_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory that is checked is the one that is used."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("$STATE_DIRECTORY/one", "~/two"):
        store = DiskStore(path)
        wire = begin(store)
        assert store.open(wire) is not None
        assert (tmp_path / path.rpartition("/")[2] / "cache.db").exists()
        store.close()


def test_nothing_is_ever_evicted(directory: Path) -> None:
    """diskcache's defaults drop live entries past a gigabyte, and cull on each write."""
    DiskStore(directory)
    settings = dict(rows(directory, "SELECT key, value FROM Settings"))
    assert settings["eviction_policy"] == "none"
    assert settings["cull_limit"] == 0


def test_values_stay_in_the_database(directory: Path) -> None:
    """A megabyte makes no file beside it, which a rolled back transaction would lose."""
    store = DiskStore(directory)
    begin(store, put("text", "x" * 1_000_000))
    assert {path.name for path in directory.rglob("*")} <= {
        "cache.db", "cache.db-wal", "cache.db-shm",
    }  # fmt: skip
    store.close()


def test_the_raw_id_is_nowhere_in_the_stored_bytes(directory: Path) -> None:
    """Who reads the store, or a backup of it, cannot take over a session."""
    store = DiskStore(directory)
    wire = begin(store, put("user", "somebody"))
    moved = str(Request(store, wire).commit(regenerate, flash("x", "y"))).partition("~")[0]
    stored = b"".join(path.read_bytes() for path in directory.iterdir())
    assert b"somebody" in stored
    for session_id in (wire, moved):
        assert session_id.encode() not in stored
        assert bytes.fromhex(session_id) not in stored
    assert storage_key(moved) in stored
    store.close()


def statements(store: DiskStore, wire: str) -> list[str]:
    """Open a session; give what SQLite was asked for."""
    connection = store._database.borrow()
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    store._database.give_back(connection)
    assert store.open(wire) is not None
    connection.set_trace_callback(None)
    return asked


def test_a_session_that_has_moved_is_found_as_fast_as_before(directory: Path) -> None:
    """Its cookie tells the number of its row: one statement, which needs no index."""
    store = DiskStore(directory)
    wire = begin(store)
    (asked,) = statements(store, wire)
    moved = Request(store, wire).commit(regenerate)
    assert isinstance(moved, str)
    assert len(statements(store, moved)) == 1
    again = Request(store, moved)
    assert again.commit(put("b", 2)) == moved  # and so the browser keeps its cookie
    twice = again.commit(regenerate)
    assert isinstance(twice, str)
    assert twice.partition("~")[2] == moved.partition("~")[2] != ""
    assert len(statements(store, twice)) == 1
    plan = rows(directory, f"EXPLAIN QUERY PLAN {asked}")
    assert [step[-1] for step in plan] == ["SEARCH Cache USING INTEGER PRIMARY KEY (rowid=?)"]
    store.close()


@pytest.mark.parametrize(
    "number", ["", "~", "~0", "~1", "~x", "~-1", "~7fffffffffffffff", "~8000000000000000", "~" * 9]
)
def test_a_number_that_is_wrong_or_missing_finds_the_same(directory: Path, number: str) -> None:
    """What decides is the key; any other text behind an id is another id."""
    store = DiskStore(directory)
    other = begin(store)
    moved = Request(store, begin(store, put("c", 3))).commit(regenerate)
    session_id = str(moved).partition("~")[0]
    found = content(store, session_id + number)
    number_of_row = number in ("", "~0", "~1", "~7fffffffffffffff")
    assert found == (({"c": 3}, {}) if number_of_row else None)
    row = int.from_bytes(storage_key(other)[:8]) >> 1
    assert content(store, f"{session_id}~{row:x}") == ({"c": 3}, {})
    store.close()


def test_a_row_in_the_place_of_another_session_costs_it_nothing(directory: Path) -> None:
    """Two ids may lead to one number: both sessions are there, under numbers of their own."""
    store = DiskStore(directory)
    mine = begin(store)
    number = int.from_bytes(storage_key(mine)[:8]) >> 1
    key = storage_key("f" * 64)
    rows(directory, f"UPDATE Cache SET rowid = {int.from_bytes(key[:8]) >> 1}")
    first, _ = Request(store, None), store.open(mine)
    first.state = first.state._replace(
        id="f" * 64, changes=first.state.changes._replace(id="f" * 64)
    )
    assert first.commit(put("b", 2)) == "f" * 64
    assert content(store, mine) == ({"a": 1}, {})
    assert content(store, "f" * 64) == ({"b": 2}, {})
    assert number not in [row for (row,) in rows(directory, "SELECT rowid FROM Cache")]
    store.close()


def test_no_commit_pays_for_the_counting_of_a_cache(directory: Path) -> None:
    """diskcache's triggers are not made, and those of somebody who made them are dropped."""
    DiskStore(directory).close()
    triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    assert rows(directory, triggers) == []
    diskcache.Cache(str(directory)).close()
    assert len(rows(directory, triggers)) == 5
    store = DiskStore(directory)
    assert rows(directory, triggers) == []
    assert content(store, begin(store)) == ({"a": 1}, {})
    store.close()


class Planted:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("mode", [1, 2, 3, 4])
@pytest.mark.parametrize("in_file", [False, True])
def test_a_planted_pickle_is_never_executed(
    directory: Path, tmp_path: Path, mode: int, in_file: bool
) -> None:
    """As value, in a file beside the database or in it, as key: it is corrupt, no more."""
    store = DiskStore(directory)
    wire = begin(store)
    trap, bait = tmp_path / "executed", pickle.dumps(Planted(tmp_path / "executed"))
    precious = tmp_path / "precious"
    precious.write_bytes(bait)
    rows(
        directory,
        "UPDATE Cache SET mode = ?, value = ?, filename = ?",
        mode, None if in_file else bait, str(precious) if in_file else None,
    )  # fmt: skip
    rows(
        directory,
        "INSERT INTO Cache (key, raw, expire_time, mode, value) VALUES (?, 0, 1, 4, ?)",
        bait, bait,
    )  # fmt: skip
    assert store.open(wire) is None
    base = StoredSession(id=wire, data={"a": 1})
    assert store.commit(put("a", 2)(SessionState.opened(base)).changes) is None
    store.save(wire, {"a": 3}, {})
    assert store.load(wire) == ({"a": 3}, {})
    store.destroy(wire)
    assert store.gc() == 1
    assert not trap.exists()
    assert precious.read_bytes() == bait  # nor is a planted file name deleted
    store.close()


@pytest.mark.parametrize(
    "value", [b"", b"{", b"[]", b"\xff\xfe", b'{"_data": 5}', b"[" * 100_000, "text", 5, None, 1.5]
)
def test_corrupt_bytes_are_a_fresh_session_and_one_log_line(
    directory: Path, caplog: pytest.LogCaptureFixture, value: object
) -> None:
    """The line names the session by a hash, and holds nothing of it."""
    store = DiskStore(directory)
    wire = begin(store)
    rows(directory, "UPDATE Cache SET value = ?", value)
    assert store.open(wire) is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "unreadable" in record.getMessage()
    assert wire not in caplog.text
    store.close()


def test_expired_sessions_are_collected_five_hours_later_only(
    directory: Path, clock: Clock
) -> None:
    """A clock that steps forward for a while and back again destroys nothing."""
    store = DiskStore(directory, lifetime=LIFETIME)
    wire = begin(store)
    clock.advance(LIFETIME + 5 * 3600 - 1)
    assert store.open(wire) is None
    assert store.gc() == 0
    clock.advance(-(LIFETIME + 5 * 3600 - 1))
    assert store.open(wire) is not None
    clock.advance(COLLECTED)
    assert store.gc() == 1
    store.close()


class LockHolder:
    """Another process that holds the write lock until it is let go."""

    def __init__(self, directory: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._held, self._go = context.Event(), context.Event()
        self.process = context.Process(
            target=hold_the_lock, args=(str(directory / "cache.db"), self._held, self._go)
        )
        self.process.start()
        assert self._held.wait(30)

    def let_go(self) -> None:
        self._go.set()
        self.process.join(10)
        assert self.process.exitcode == 0
        self.process.close()


def hold_the_lock(path: str, held: Any, go: Any) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    held.set()
    go.wait(30)
    connection.execute("ROLLBACK")
    connection.close()


def test_a_held_lock_is_an_outage_for_writers_and_none_for_readers(directory: Path) -> None:
    """StoreUnavailable within the timeout, and all is well when the lock is free."""
    store = DiskStore(directory, timeout=0.2)
    wire = begin(store)
    request = Request(store, wire)
    rows(directory, "INSERT INTO Cache (key, raw, expire_time) VALUES ('old', 1, 1.0)")
    holder = LockHolder(directory)
    started = time.monotonic()
    for write in (
        lambda: request.commit(put("b", 2)),
        lambda: store.touch(wire),
        lambda: store.destroy(wire),
        lambda: store.save(wire, {}, {}),
        store.gc,
    ):
        with pytest.raises(StoreUnavailable, match=r"another writer has held it for 0\.2 s"):
            write()
    assert time.monotonic() - started < 5 * 0.2 + 5
    assert content(store, wire) == ({"a": 1}, {})
    holder.let_go()
    assert request.commit() == wire
    assert content(store, wire) == ({"a": 1, "b": 2}, {})
    store.close()


def test_opening_in_a_child_waits_no_longer_than_the_timeout(directory: Path) -> None:
    """diskcache's own set-up tries for a minute, statement by statement."""
    DiskStore(directory)
    holder = LockHolder(directory)
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        DiskStore(directory, timeout=0.2)
    assert time.monotonic() - started < 5
    holder.let_go()


def test_a_commit_that_fails_half_way_leaves_everything_as_it_was(directory: Path) -> None:
    """Old absent and new absent is the one thing a move must never leave."""
    store = DiskStore(directory)
    wire = begin(store)
    rows(
        directory, "CREATE TRIGGER full BEFORE UPDATE ON Cache BEGIN SELECT RAISE(ABORT, 'x'); END"
    )
    request = Request(store, wire)
    with pytest.raises(StoreUnavailable):
        request.commit(regenerate, put("b", 2))
    assert content(store, wire) == ({"a": 1}, {})
    assert store.open(request.state.id) is None
    rows(directory, "DROP TRIGGER full")
    moved = request.commit()
    assert isinstance(moved, str)
    assert store.open(wire) is None
    assert content(store, moved) == ({"a": 1, "b": 2}, {})
    assert content(store, request.state.id) == ({"a": 1, "b": 2}, {})
    store.close()


def test_an_outage_passes_by_itself(directory: Path) -> None:
    """When the database is usable again, so is the store, without a restart."""
    store = DiskStore(directory)
    wire = begin(store)
    rows(directory, "ALTER TABLE Cache RENAME TO Elsewhere")
    with pytest.raises(StoreUnavailable):
        store.open(wire)
    rows(directory, "ALTER TABLE Elsewhere RENAME TO Cache")
    assert content(store, wire) == ({"a": 1}, {})
    store.close()


def test_a_store_holds_no_connection_when_it_has_been_made(directory: Path) -> None:
    """A server that forks after its start takes none along."""
    gc.collect()  # what tests before this one have left open
    before = open_files()
    store = DiskStore(directory)
    assert open_files() == before
    begin(store)
    assert open_files() > before
    store.close()
    assert open_files() == before


def test_two_stores_on_one_directory_see_each_other(directory: Path) -> None:
    """As two processes do."""
    one, other = DiskStore(directory), DiskStore(directory)
    wire = begin(one)
    assert Request(other, wire).commit(increment("n")) == wire
    assert content(one, wire) == ({"a": 1, "n": 1}, {})
    one.close()
    other.close()


def test_what_diskcache_wrote_by_itself_is_not_opened(directory: Path) -> None:
    """A cache of something else in the same directory is no danger, only unreadable."""
    store = DiskStore(directory)
    cache = diskcache.Cache(str(directory))
    session_id = generate_id()
    cache.set(storage_key(session_id), {"a": 1})
    cache.close()
    assert store.open(session_id) is None
    store.close()


def test_sessions_written_before_flash_was_counted_still_load(directory: Path) -> None:
    """Fields that are missing have their defaults."""
    store = DiskStore(directory)
    wire = begin(store)
    value = b'{"_data":{"a":1},"_flash":{"x":"y"}}'
    tag = checksum(storage_key(wire), value)
    rows(directory, "UPDATE Cache SET value = ?, tag = ?", value, tag)
    assert content(store, wire) == ({"a": 1}, {"x": "y"})
    assert Request(store, wire).commit(put("b", 2)) == wire
    assert content(store, wire) == ({"a": 1, "b": 2}, {})
    assert encode_stored(StoredSession(data={"a": 1})) == b'{"_data":{"a":1}}'
    store.close()


def test_threads_that_come_and_go_leave_no_connection(directory: Path) -> None:
    """close() gives back the calling thread's own, and no other's."""
    store = DiskStore(directory)
    wire = begin(store)
    before = open_files()
    found: list[Any] = []

    def use() -> None:
        found.append(store.open(wire))
        store.close()

    for _ in range(20):
        run_all([use])
    assert None not in found
    # SQLite keeps one file of a closed connection to give it to the next.
    assert open_files() <= before + 1
    assert store.open(wire) is not None
    store.close()


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf"), "5", None, True])
@pytest.mark.parametrize("setting", ["lifetime", "timeout", "absolute_lifetime"])
def test_durations_are_checked_at_start(directory: Path, setting: str, bad: Any) -> None:
    """Positive and finite; 0 is "none" for the absolute one."""
    if setting == "absolute_lifetime" and bad == 0 and bad is not True:
        assert DiskStore(directory, absolute_lifetime=0).absolute_lifetime == 0
        return
    with pytest.raises(ConfigError, match=setting):
        DiskStore(directory, **{setting: bad})


@pytest.mark.parametrize("used", ["written", "read"])
def test_sessions_that_outlived_an_earlier_lifetime_are_not_collected(
    directory: Path, clock: Clock, used: str
) -> None:
    """When it was last used counts, and today's lifetime; not the one it was stored with."""
    before = DiskStore(directory, lifetime=LIFETIME, absolute_lifetime=2 * LIFETIME)
    wire, ended = begin(before), begin(before)
    before.close()
    store = DiskStore(directory, lifetime=100 * LIFETIME)
    clock.advance(LIFETIME / 2)
    if used == "written":
        assert Request(store, wire).commit(put("b", 2)) == wire
    clock.advance(COLLECTED + 10 * LIFETIME)
    assert store.gc() == 0
    assert store.open(wire) is not None
    assert store.open(ended) is not None
    clock.advance(100 * LIFETIME + 5 * 3600)
    assert store.gc() == 2
    store.close()


def test_a_session_that_was_saved_anew_is_not_mistaken_for_the_old_one(
    directory: Path, clock: Clock
) -> None:
    """The same id at the same revision, and another session: the one that is gone stays gone."""
    store = DiskStore(directory)
    session_id = generate_id()
    store.save(session_id, {"n": 0}, {})
    slow = Request(store, session_id)
    store.destroy(session_id)
    clock.advance(1)
    store.save(session_id, {"n": 1, "kept": True}, {})
    assert slow.commit(put("b", 1)) is None
    assert content(store, session_id) == ({"n": 1, "kept": True}, {})
    store.close()


def test_a_full_disk_is_called_that_and_passes_by_itself(directory: Path) -> None:
    """What was acknowledged stays readable; when there is room, all is well."""
    store = DiskStore(directory)
    wire = begin(store)
    connection = store._database.borrow()
    connection.execute("PRAGMA max_page_count = 20")  # SQLite's own SQLITE_FULL
    store._database.give_back(connection)
    large = put("text", "x" * 1_000_000)
    with pytest.raises(StoreUnavailable, match="full"):
        Request(store, wire).commit(large, regenerate)
    assert content(store, wire) == ({"a": 1}, {})
    assert Request(store, wire).commit(large) == wire
    store.close()


def test_a_store_that_is_freed_closes_its_connections(directory: Path) -> None:
    """Nobody has to close a store, and no warning says that somebody should have."""
    gc.collect()
    before = open_files()
    store = DiskStore(directory)
    begin(store)
    assert open_files() > before
    del store
    gc.collect()
    assert open_files() == before


def test_sessions_that_come_and_go_are_no_damage(directory: Path) -> None:
    """A row that is begun or destroyed while it is looked for is there, or is not."""
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


def test_a_turn_that_was_lost_is_lost_once(directory: Path) -> None:
    """A signal handler that raised may have come before its release: one commit fails."""
    store = DiskStore(directory, timeout=0.2)
    wire = begin(store)
    store._database._turn.acquire()
    with pytest.raises(StoreUnavailable, match="another writer"):
        Request(store, wire).commit(put("b", 1))
    assert Request(store, wire).commit(put("b", 2)) == wire
    store.close()


def test_readers_do_not_wait_for_each_others_timeouts(directory: Path) -> None:
    """Eight of them at a database that somebody holds for himself fail together."""
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


def test_a_log_is_known_by_more_than_its_inode(tmp_path: Path) -> None:
    """File systems give an inode to the next file, and that log may be a live one."""
    log = tmp_path / "cache.db-wal"
    assert _log_identity(log) is None
    log.write_bytes(b"")
    assert _log_identity(log) is None
    log.write_bytes(b"1" * 100)
    first = _log_identity(log)
    assert first == _log_identity(log)
    assert first is not None
    with log.open("r+b") as file:
        file.write(b"2")
    assert _log_identity(log) != first


def test_a_log_that_was_never_seen_is_left_alone(directory: Path) -> None:
    """A store that was made and not used yet knows of no log, and deletes none."""
    unused = DiskStore(directory)
    (directory / "cache.db").rename(directory / "away.db")
    other = DiskStore(directory)
    wire = begin(other)
    unused._next_look = 0.0
    assert content(unused, wire) == ({"a": 1}, {})
    assert Request(unused, wire).commit(put("b", 2)) == wire
    assert content(other, wire) == ({"a": 1, "b": 2}, {})
    unused.close()
    other.close()


def test_a_crowd_leaves_few_connections(directory: Path) -> None:
    """Thirty at once need one each, and twelve of those are kept."""
    store = DiskStore(directory)
    database = store._database
    lent = [database.borrow() for _ in range(30)]
    for connection in lent:
        database.give_back(connection)
    assert len(database._idle) == len(database._open) == 12
    store.close()
    assert not database._open


def expired(store: DiskStore, clock: Clock, number: int) -> None:
    """Have so many sessions that may be collected, and one that may not."""
    for _ in range(number):
        begin(store)
    clock.advance(store.lifetime + 6 * 3600)
    begin(store)


@pytest.mark.parametrize("beside", ["nobody", "a reader", "a writer elsewhere"])
def test_who_collects_rests_unless_it_is_alone(
    directory: Path, clock: Clock, beside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, for it cannot know yet; and after each step where somebody uses the store."""
    store, elsewhere = DiskStore(directory), DiskStore(directory)
    expired(store, clock, 95)
    rests: list[float] = []
    monkeypatch.setattr("glimr_session.stores.disk.time.sleep", rests.append)
    collect = store._collect_some

    def collect_and_be_used() -> int:
        if beside == "a reader":
            store.open(generate_id())
        elif beside == "a writer elsewhere":
            begin(elsewhere)
        number: int = collect()
        return number

    monkeypatch.setattr(store, "_collect_some", collect_and_be_used)
    assert store.gc() == 95
    assert len(rests) == (1 if beside == "nobody" else 10)
    assert all(0.008 <= rest <= 0.1 for rest in rests)
    store.close()
    elsewhere.close()


def test_nobody_checkpoints_while_others_stand_in_line(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is put away after a thousand pages, by the thread that has left the line."""
    store = DiskStore(directory)
    wire = begin(store)
    checkpoint = Connection.checkpoint
    lines: list[bool] = []

    def watched(self: Connection) -> None:
        lines.append(store._database._turn.locked())
        checkpoint(self)

    monkeypatch.setattr(Connection, "checkpoint", watched)
    log = directory / "cache.db-wal"
    for number in range(2_100):
        assert Request(store, wire).commit(put("n", number)) == wire
    assert lines == [False, False]
    assert log.stat().st_size < 1_300 * 4_152  # or it would have grown all the time
    store.close()


def test_a_checkpoint_that_fails_fails_no_commit(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was written is written; the log says why it was not put away."""
    store = DiskStore(directory)
    wire = begin(store)

    def fail(self: Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Connection, "checkpoint", fail)
    store._logged = 10_000
    assert Request(store, wire).commit(put("b", 2)) == wire
    assert content(store, wire) == ({"a": 1, "b": 2}, {})
    assert "could not be put away: disk I/O error" in caplog.text
    store.close()


def test_a_login_is_one_statement_where_nobody_came_between(directory: Path) -> None:
    """And the way of all others where somebody did."""
    store = DiskStore(directory)
    wire = begin(store)
    login, beside = Request(store, wire), Request(store, wire)
    connection = store._database.borrow()
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    store._database.give_back(connection)
    moved = login.commit(regenerate, put("user", 1))
    assert len(asked) == 1
    assert asked[0].split()[:2] == ["UPDATE", "Cache"]
    assert beside.answer(put("b", 2)) is MOVED
    connection.set_trace_callback(None)
    assert content(store, str(moved)) == ({"a": 1, "user": 1, "b": 2}, {})
    assert store.open(wire) is None
    store.close()


@pytest.mark.parametrize("verb", [put("b", 2), regenerate])
def test_a_session_that_ends_while_its_commit_stands_in_line_has_ended(
    directory: Path, clock: Clock, verb: Transition
) -> None:
    """What counts is the time of the commit, not of its place in the line."""
    store = DiskStore(directory, lifetime=600, absolute_lifetime=600)
    wire = begin(store)
    request = Request(store, wire)
    take_turn = store._database.take_turn

    def take_turn_slowly(deadline: float) -> threading.Lock:
        clock.advance(600)
        return take_turn(deadline)

    store._database.take_turn = take_turn_slowly  # type: ignore[method-assign]
    assert request.commit(verb) is None
    clock.advance(-1)
    assert content(store, wire) == ({"a": 1}, {})
    store.close()


@pytest.mark.parametrize("verb", [put("b", 2), regenerate])
def test_a_use_is_not_forgotten_when_the_clock_has_stepped_back(
    directory: Path, clock: Clock, verb: Transition
) -> None:
    """Another request pushed the session on; this one, opened before, sees an earlier time."""
    store = DiskStore(directory, lifetime=7200)
    wire = begin(store)
    clock.advance(7140)
    request = Request(store, wire)
    clock.advance(1)
    assert store.touch(wire)
    clock.advance(-7200)
    kept = request.commit(verb)
    clock.advance(7200 + 60)
    assert content(store, str(kept)) is not None
    store.close()


@pytest.mark.parametrize(
    "session_id", ["user-42", "x" * 70, "g" * 64, "f" * 64, "é", "f" * 64 + "~"]
)
def test_a_session_under_any_id_is_there_after_its_commits(
    directory: Path, session_id: str
) -> None:
    """save() keeps data under any id, and what a commit gives leads back to it."""
    store = DiskStore(directory)
    store.save(session_id, {"a": 1}, {})
    wire = store.cookie_value(session_id, {"a": 1}, {})
    for number in range(3):
        answer = Request(store, wire).commit(put("n", number))
        assert answer is not None
        wire = answer
        assert content(store, wire) == ({"a": 1, "n": number}, {})
    assert content(store, session_id) == ({"a": 1, "n": 2}, {})
    store.close()


def without_its_entry(directory: Path, wire: str) -> None:
    """Take a session out of the index of keys, as a write that was lost would."""
    (sql,) = rows(directory, "SELECT * FROM sqlite_master WHERE name = 'Cache_key_raw'")
    (row,) = rows(directory, "SELECT rowid, * FROM Cache WHERE key = ?", storage_key(wire))
    rows(directory, "DELETE FROM Cache WHERE key = ?", storage_key(wire))
    connection = sqlite3.connect(directory / "cache.db", isolation_level=None)
    connection.execute("PRAGMA writable_schema = 1")
    connection.execute("DELETE FROM sqlite_master WHERE name = 'Cache_key_raw'")
    connection.close()
    rows(directory, f"INSERT INTO Cache VALUES ({','.join('?' * (len(row) - 1))})", *row[1:])
    connection = sqlite3.connect(directory / "cache.db", isolation_level=None)
    connection.execute("PRAGMA writable_schema = 1")
    connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", sql)
    connection.close()


@pytest.mark.parametrize("end", ["logout", "destroy"])
def test_a_session_that_the_index_has_lost_does_not_outlive_its_logout(
    directory: Path, end: str
) -> None:
    """It is found by its number, and so it is gone, or the damage is told."""
    made = DiskStore(directory)
    for _ in range(300):
        begin(made)
    wire = begin(made)
    made.close()
    without_its_entry(directory, wire)
    store = DiskStore(directory)
    assert content(store, wire) == ({"a": 1}, {})
    try:
        if end == "logout":
            Request(store, wire).commit(invalidate)
        else:
            store.destroy(wire)
    except StoreUnavailable:
        assert content(store, wire) == ({"a": 1}, {})
    else:
        assert store.open(wire) is None
    store.close()


def test_a_checkpoint_that_is_interrupted_leaves_no_connection_behind(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork would wait for it."""
    store = DiskStore(directory)
    wire = begin(store)

    def interrupted(self: Connection) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Connection, "checkpoint", interrupted)
    store._logged = 10_000
    with pytest.raises(KeyboardInterrupt):
        Request(store, wire).commit(put("b", 2))
    assert len(store._database._open) == len(store._database._idle)
    assert content(store, wire) == ({"a": 1, "b": 2}, {})
    store.close()


def test_large_sessions_and_new_ones_fill_the_log_faster(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that SQLite's own checkpoint, in the line, is never due."""
    store = DiskStore(directory)
    checkpoint = Connection.checkpoint
    longest = 0

    def watched(self: Connection) -> None:
        nonlocal longest
        _, pages, _ = self.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        longest = max(longest, pages)
        checkpoint(self)

    monkeypatch.setattr(Connection, "checkpoint", watched)
    wire = begin(store)
    for number in range(600):
        assert Request(store, wire).commit(put("text", f"{number}" + "x" * 20_000)) == wire
        begin(store)
    assert 0 < longest < 3 * LOG
    store.close()


def test_what_was_collected_is_counted_if_the_lock_is_taken_afterwards(
    directory: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To push others on is a step of its own, and repeated by itself."""
    store = DiskStore(directory)
    expired(store, clock, 5)
    push_on, failures = Connection.push_on, [True, False]

    def locked_at_first(self: Connection, *times: Any) -> None:
        if failures.pop(0):
            raise sqlite3.OperationalError("database is locked")
        push_on(self, *times)

    monkeypatch.setattr(Connection, "push_on", locked_at_first)
    assert store.gc() == 5
    assert failures == []
    store.close()
