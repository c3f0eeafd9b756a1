"""The statements of the disk store: how sessions are found, and how rows get their numbers."""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path

import pytest

from glimr_session import CommitResult, DiskStore, StoreUnavailable
from glimr_session._ids import number_for, storage_key
from glimr_session.stores.disk.queries import checksum
from glimr_session.testing.contract import (
    Request,
    begin,
    content,
    invalidate,
    put,
    regenerate,
)
from tests.support.disk import query, record_statements


def statements_of_open(store: DiskStore, cookie_value: str) -> list[str]:
    """Open a session that is there; return the statements that SQLite was given."""
    connection, statements = record_statements(store)
    assert store.open(cookie_value) is not None
    connection.set_trace_callback(None)
    return statements


def test_a_session_that_has_moved_is_found_as_fast_as_before(directory: Path) -> None:
    """One statement finds a session by the number in its cookie, without an index."""
    store = DiskStore(directory)
    cookie_value = begin(store)
    (statement,) = statements_of_open(store, cookie_value)
    moved = Request(store, cookie_value).commit(regenerate)
    assert len(statements_of_open(store, moved)) == 1
    again = Request(store, moved)
    assert again.commit(put("b", 2)) == moved  # so the browser keeps its cookie
    twice = again.commit(regenerate)
    assert twice.partition("~")[2] == moved.partition("~")[2] != ""
    assert len(statements_of_open(store, twice)) == 1
    plan = query(directory, f"EXPLAIN QUERY PLAN {statement}")
    assert [step[-1] for step in plan] == ["SEARCH Cache USING INTEGER PRIMARY KEY (rowid=?)"]
    store.close()


def test_a_login_is_one_statement_where_nobody_came_between(directory: Path) -> None:
    """A login without a competitor is a single UPDATE, and a later commit is merged into it."""
    store = DiskStore(directory)
    cookie_value = begin(store)
    login, beside = Request(store, cookie_value), Request(store, cookie_value)
    # Python traces a statement once more for each step of its triggers.
    query(directory, "DROP TRIGGER Settings_size_update")
    connection, statements = record_statements(store)
    moved = login.commit(regenerate, put("user", 1))
    assert len(statements) == 1
    assert statements[0].split()[:2] == ["UPDATE", "Cache"]
    assert beside.answer(put("b", 2)) is CommitResult.MOVED
    connection.set_trace_callback(None)
    assert content(store, moved) == ({"a": 1, "user": 1, "b": 2}, {})
    assert store.open(cookie_value) is None
    store.close()


@pytest.mark.parametrize(
    "number", ["", "~", "~0", "~1", "~x", "~-1", "~7fffffffffffffff", "~8000000000000000", "~" * 9]
)
def test_a_number_that_is_wrong_or_missing_finds_the_same(directory: Path, number: str) -> None:
    """The key decides which session it is, and any other text after an id is another id."""
    store = DiskStore(directory)
    other = begin(store)
    moved = Request(store, begin(store, put("c", 3))).commit(regenerate)
    session_id = moved.partition("~")[0]
    found = content(store, session_id + number)
    is_number = number in ("", "~0", "~1", "~7fffffffffffffff")
    assert found == (({"c": 3}, {}) if is_number else None)
    row = number_for(storage_key(other))
    assert content(store, f"{session_id}~{row:x}") == ({"c": 3}, {})
    store.close()


def test_a_row_in_the_place_of_another_session_costs_it_nothing(directory: Path) -> None:
    """Two sessions whose ids lead to one number are both there, under numbers of their own."""
    store = DiskStore(directory)
    mine = begin(store)
    number = number_for(storage_key(mine))
    query(directory, f"UPDATE Cache SET rowid = {number_for(storage_key('f' * 64))}")
    first = Request(store, None)
    assert store.open(mine) is not None
    first.state.changes = first.state.changes._replace(id="f" * 64)
    assert first.commit(put("b", 2)) == "f" * 64
    assert content(store, mine) == ({"a": 1}, {})
    assert content(store, "f" * 64) == ({"b": 2}, {})
    assert number not in [row for (row,) in query(directory, "SELECT rowid FROM Cache")]
    store.close()


def test_the_checksum_is_a_crc_of_key_and_value() -> None:
    """The checksum of a row is the CRC-32 that every version has written."""
    assert checksum(b"key", b"value") == zlib.crc32(b"keyvalue")


def remove_from_index(directory: Path, cookie_value: str) -> None:
    """Take a session out of the index of keys, as a write that was lost would."""
    (sql,) = query(directory, "SELECT * FROM sqlite_master WHERE name = 'Cache_key_raw'")
    key = storage_key(cookie_value)
    (row,) = query(directory, "SELECT rowid, * FROM Cache WHERE key = ?", key)
    query(directory, "DELETE FROM Cache WHERE key = ?", key)
    connection = sqlite3.connect(directory / "cache.db", isolation_level=None)
    connection.execute("PRAGMA writable_schema = 1")
    connection.execute("DELETE FROM sqlite_master WHERE name = 'Cache_key_raw'")
    connection.close()
    query(directory, f"INSERT INTO Cache VALUES ({','.join('?' * (len(row) - 1))})", *row[1:])
    connection = sqlite3.connect(directory / "cache.db", isolation_level=None)
    connection.execute("PRAGMA writable_schema = 1")
    connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", sql)
    connection.close()


@pytest.mark.parametrize("end", ["logout", "destroy"])
def test_a_session_that_the_index_has_lost_does_not_outlive_its_logout(
    directory: Path, end: str
) -> None:
    """The end of a session that is missing in the index is done, or it raises."""
    made = DiskStore(directory)
    for _ in range(300):
        begin(made)
    cookie_value = begin(made)
    made.close()
    remove_from_index(directory, cookie_value)
    store = DiskStore(directory)
    assert content(store, cookie_value) == ({"a": 1}, {})
    try:
        if end == "logout":
            Request(store, cookie_value).commit(invalidate)
        else:
            store.destroy(cookie_value)
    except StoreUnavailable:
        assert content(store, cookie_value) == ({"a": 1}, {})
    else:
        assert store.open(cookie_value) is None
    store.close()
