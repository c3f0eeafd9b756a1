"""What the disk store makes of sessions: rows, expiry, and whatever else may be in a row."""

from __future__ import annotations

import os
import pickle
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import diskcache
import pytest

from glimr_session import (
    CommitResult,
    ConfigError,
    DiskStore,
    StoredSession,
    generate_id,
)
from glimr_session._ids import storage_key
from glimr_session._session.state import SessionState
from glimr_session.stores.disk.queries import checksum
from glimr_session.testing.contract import (
    COLLECTED,
    LIFETIME,
    Request,
    Transition,
    begin,
    changed,
    content,
    flash,
    increment,
    invalidate,
    put,
    regenerate,
)
from tests.conftest import Clock
from tests.support.disk import query

# Settings.


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf"), "5", None, True])
@pytest.mark.parametrize("setting", ["lifetime", "timeout", "absolute_lifetime"])
def test_durations_are_checked_at_start(directory: Path, setting: str, bad: Any) -> None:
    """The store takes positive and finite durations, and 0 for no absolute timeout."""
    if setting == "absolute_lifetime" and bad == 0 and bad is not True:
        assert DiskStore(directory, absolute_lifetime=0).absolute_lifetime == 0
        return
    with pytest.raises(ConfigError, match=setting):
        DiskStore(directory, **{setting: bad})


def test_variables_and_tildes_in_the_path_are_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory that the store checks is the one that it uses."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("$STATE_DIRECTORY/one", "~/two"):
        store = DiskStore(path)
        cookie_value = begin(store)
        assert store.open(cookie_value) is not None
        assert (tmp_path / path.rpartition("/")[2] / "cache.db").exists()
        store.close()


# What is stored, and where.


def test_values_stay_in_the_database(directory: Path) -> None:
    """A session of a megabyte makes no file beside the database."""
    store = DiskStore(directory)
    begin(store, put("text", "x" * 1_000_000))
    assert {path.name.partition(".")[2].partition(".")[0] for path in directory.rglob("*")} <= {
        "db", "db-wal", "db-shm",
    }  # fmt: skip
    store.close()


def test_the_raw_id_is_nowhere_in_the_stored_bytes(directory: Path) -> None:
    """The files have the hash of an id, with which nobody can take over a session."""
    store = DiskStore(directory)
    cookie_value = begin(store, put("user", "somebody"))
    moved = Request(store, cookie_value).commit(regenerate, flash("x", "y")).partition("~")[0]
    stored = b"".join(path.read_bytes() for path in directory.iterdir())
    assert b"somebody" in stored
    for session_id in (cookie_value, moved):
        assert session_id.encode() not in stored
        assert bytes.fromhex(session_id) not in stored
    assert storage_key(moved) in stored
    store.close()


def test_two_stores_on_one_directory_see_each_other(directory: Path) -> None:
    """Each of two stores reads what the other has committed, as two processes do."""
    one, other = DiskStore(directory), DiskStore(directory)
    cookie_value = begin(one)
    assert Request(other, cookie_value).commit(increment("n")) == cookie_value
    assert content(one, cookie_value) == ({"a": 1, "n": 1}, {})
    one.close()
    other.close()


@pytest.mark.parametrize(
    "session_id", ["user-42", "x" * 70, "g" * 64, "f" * 64, "é", "f" * 64 + "~"]
)
def test_a_session_under_any_id_is_there_after_its_commits(
    directory: Path, session_id: str
) -> None:
    """A session that was saved under any id is found by what its commits return."""
    store = DiskStore(directory)
    store.save(session_id, {"a": 1}, {})
    cookie_value = store.cookie_value(session_id, {"a": 1}, {})
    for number in range(3):
        cookie_value = Request(store, cookie_value).commit(put("n", number))
        assert content(store, cookie_value) == ({"a": 1, "n": number}, {})
    assert content(store, session_id) == ({"a": 1, "n": 2}, {})
    store.close()


# What else may be in a row.


class Planted:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("mode", [1, 2, 3, 4])
@pytest.mark.parametrize("in_file", [False, True])
def test_a_planted_pickle_is_never_executed(
    directory: Path, tmp_path: Path, mode: int, in_file: bool
) -> None:
    """A pickle in a row, in a file that it names, or as a key makes a session unreadable."""
    store = DiskStore(directory)
    cookie_value = begin(store)
    trap, bait = tmp_path / "executed", pickle.dumps(Planted(tmp_path / "executed"))
    precious = tmp_path / "precious"
    precious.write_bytes(bait)
    query(
        directory,
        "UPDATE Cache SET mode = ?, value = ?, filename = ?",
        mode, None if in_file else bait, str(precious) if in_file else None,
    )  # fmt: skip
    query(
        directory,
        "INSERT INTO Cache (key, raw, expire_time, mode, value) VALUES (?, 0, 1, 4, ?)",
        bait, bait,
    )  # fmt: skip
    assert store.open(cookie_value) is None
    base = StoredSession(id=cookie_value, data={"a": 1})
    assert store.commit(changed(SessionState.opened(base), put("a", 2))) is CommitResult.GONE
    store.save(cookie_value, {"a": 3}, {})
    assert store.load(cookie_value) == ({"a": 3}, {})
    store.destroy(cookie_value)
    assert store.gc() == 1
    assert not trap.exists()
    assert precious.read_bytes() == bait  # a file that a row names is not deleted either
    store.close()


@pytest.mark.parametrize(
    "value", [b"", b"{", b"[]", b"\xff\xfe", b'{"_data": 5}', b"[" * 100_000, "text", 5, None, 1.5]
)
def test_corrupt_bytes_are_a_fresh_session_and_one_log_line(
    directory: Path, caplog: pytest.LogCaptureFixture, value: object
) -> None:
    """An unreadable session is absent, and one warning names it by a hash of its id."""
    store = DiskStore(directory)
    cookie_value = begin(store)
    query(directory, "UPDATE Cache SET value = ?", value)
    assert store.open(cookie_value) is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "unreadable" in record.getMessage()
    assert cookie_value not in caplog.text
    store.close()


def test_an_unreadable_session_can_be_destroyed(directory: Path) -> None:
    """The row of a session that cannot be read is gone when destroy() has returned."""
    store = DiskStore(directory)
    cookie_value = begin(store)
    query(directory, "UPDATE Cache SET value = x'00'")
    store.destroy(cookie_value)
    assert query(directory, "SELECT count(*) FROM Cache") == [(0,)]
    store.close()


def test_what_diskcache_wrote_by_itself_is_not_opened(directory: Path) -> None:
    """An entry that somebody has made with diskcache is unreadable, and no session."""
    store = DiskStore(directory)
    cache = diskcache.Cache(str(directory))
    session_id = generate_id()
    cache.set(storage_key(session_id), {"a": 1})
    cache.close()
    assert store.open(session_id) is None
    store.close()


def test_sessions_written_before_flash_was_counted_still_load(directory: Path) -> None:
    """A stored session without some of the fields has the defaults of these."""
    store = DiskStore(directory)
    cookie_value = begin(store)
    assert query(directory, "SELECT value FROM Cache") == [(b'{"_data":{"a":1}}',)]
    value = b'{"_data":{"a":1},"_flash":{"x":"y"}}'
    tag = checksum(storage_key(cookie_value), value)
    query(directory, "UPDATE Cache SET value = ?, tag = ?", value, tag)
    assert content(store, cookie_value) == ({"a": 1}, {"x": "y"})
    assert Request(store, cookie_value).commit(put("b", 2)) == cookie_value
    assert content(store, cookie_value) == ({"a": 1, "b": 2}, {})
    store.close()


# Time.


def test_expired_sessions_are_removed_five_hours_later_only(directory: Path, clock: Clock) -> None:
    """A clock that steps forward for a while and back again destroys no session."""
    store = DiskStore(directory, lifetime=LIFETIME)
    cookie_value = begin(store)
    clock.advance(LIFETIME + 5 * 3600 - 1)
    assert store.open(cookie_value) is None
    assert store.gc() == 0
    clock.advance(-(LIFETIME + 5 * 3600 - 1))
    assert store.open(cookie_value) is not None
    clock.advance(COLLECTED)
    assert store.gc() == 1
    store.close()


def test_a_session_that_was_destroyed_while_the_clock_was_ahead_stays_destroyed(
    directory: Path, clock: Clock
) -> None:
    """destroy() removes a session that seems to have expired, for the clock may step back."""
    store = DiskStore(directory, lifetime=LIFETIME)
    cookie_value = begin(store)
    clock.advance(LIFETIME + 1)
    assert store.open(cookie_value) is None
    store.destroy(cookie_value)
    clock.advance(-LIFETIME - 1)
    assert store.open(cookie_value) is None
    store.close()


@pytest.mark.parametrize("used", ["written", "read"])
def test_sessions_that_outlived_an_earlier_lifetime_are_not_removed(
    directory: Path, clock: Clock, used: str
) -> None:
    """gc computes expiry from the last use and today's lifetime, whatever is stored."""
    before = DiskStore(directory, lifetime=LIFETIME, absolute_lifetime=2 * LIFETIME)
    cookie_value, ended = begin(before), begin(before)
    before.close()
    store = DiskStore(directory, lifetime=100 * LIFETIME)
    clock.advance(LIFETIME / 2)
    if used == "written":
        assert Request(store, cookie_value).commit(put("b", 2)) == cookie_value
    clock.advance(COLLECTED + 10 * LIFETIME)
    assert store.gc() == 0
    assert store.open(cookie_value) is not None
    assert store.open(ended) is not None
    clock.advance(100 * LIFETIME + 5 * 3600)
    assert store.gc() == 2
    store.close()


@pytest.mark.parametrize("verb", [put("b", 2), regenerate])
def test_a_session_that_ends_while_its_commit_waits_has_ended(
    directory: Path, clock: Clock, verb: Transition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time at which a commit has the lock decides, not the time at which it asked."""
    store = DiskStore(directory, lifetime=600, absolute_lifetime=600)
    cookie_value = begin(store)
    request = Request(store, cookie_value)
    with closing(sqlite3.connect(directory / "cache.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        def wait_for_lock(*_arguments: object) -> None:
            clock.advance(600)
            other.execute("ROLLBACK")

        monkeypatch.setattr(store._database, "_wait_for_lock", wait_for_lock)
        assert request.answer(verb) is CommitResult.GONE
    clock.advance(-1)
    assert content(store, cookie_value) == ({"a": 1}, {})
    store.close()


@pytest.mark.parametrize("verb", [put("b", 2), regenerate])
def test_a_use_is_not_forgotten_when_the_clock_has_stepped_back(
    directory: Path, clock: Clock, verb: Transition
) -> None:
    """A commit at an earlier time than the last use of its session leaves that time alone."""
    store = DiskStore(directory, lifetime=7200)
    cookie_value = begin(store)
    clock.advance(7140)
    request = Request(store, cookie_value)
    clock.advance(1)
    assert store.touch(cookie_value)
    clock.advance(-7200)
    kept = request.commit(verb)
    clock.advance(7200 + 60)
    assert content(store, kept) is not None
    store.close()


# One id, two sessions.


@pytest.mark.parametrize("late", [[put("b", 1)], [regenerate], [invalidate], []])
@pytest.mark.parametrize("pause", [0, 1])
@pytest.mark.parametrize("first", ["saved", "begun"])
def test_a_session_that_was_saved_anew_is_not_mistaken_for_the_old_one(
    directory: Path, clock: Clock, first: str, pause: float, late: list[Transition]
) -> None:
    """A request that opened a session finds it gone, though another one has its id by now."""
    store = DiskStore(directory)
    session_id = generate_id()
    if first == "saved":
        store.save(session_id, {"n": 0}, {})
    else:
        session_id = begin(store, put("n", 0))
    for _ in range(3):  # so that the second session comes to the revision of the first
        Request(store, session_id).commit(increment("n"))
    slow = Request(store, session_id)
    store.destroy(session_id)
    clock.advance(pause)
    store.save(session_id, {"n": 1, "kept": True}, {})
    for _ in range(3):
        Request(store, session_id).commit(increment("n"))
    assert slow.answer(*late) is CommitResult.GONE
    assert content(store, session_id) == ({"n": 4, "kept": True}, {})
    assert store.open(slow.state.id) is None or not slow.state.changes.id_changed
    store.close()


def test_a_session_that_was_saved_anew_and_moved_is_not_mistaken_for_the_old_one(
    directory: Path,
) -> None:
    """A request that opened a session merges nothing into the next one after its login."""
    store = DiskStore(directory)
    session_id = generate_id()
    store.save(session_id, {"n": 0}, {})
    slow = Request(store, session_id)
    store.destroy(session_id)
    store.save(session_id, {"n": 1}, {})
    moved = Request(store, session_id).commit(regenerate, put("user", 1))
    assert slow.answer(put("b", 1)) is CommitResult.GONE
    assert slow.answer(invalidate) is CommitResult.GONE
    assert content(store, moved) == ({"n": 1, "user": 1}, {})
    store.close()


def test_a_session_that_was_saved_again_is_still_the_same(directory: Path) -> None:
    """A request that opened a session merges its changes into what was saved since."""
    store = DiskStore(directory)
    session_id = generate_id()
    store.save(session_id, {"n": 0}, {})
    slow = Request(store, session_id)
    store.save(session_id, {"n": 1}, {})
    assert slow.answer(put("b", 1)).outcome == "stored"
    assert content(store, session_id) == ({"n": 1, "b": 1}, {})
    store.close()
