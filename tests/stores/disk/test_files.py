"""The files of the disk store: the database that diskcache makes, and its log."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import diskcache
import pytest

from glimr_session import ConfigError, DiskStore, StoreUnavailable, generate_id
from glimr_session._ids import storage_key
from glimr_session.stores.disk import files
from glimr_session.stores.disk.directory import DATABASE
from glimr_session.stores.disk.files import log_identity
from glimr_session.testing.contract import Request, begin, content, put
from tests.conftest import Clock
from tests.support.disk import LockHolder, begin_and_expire, query, start_in_outage

TRIGGERS: Final = {
    "Settings_count_insert",
    "Settings_count_delete",
    "Settings_size_insert",
    "Settings_size_update",
    "Settings_size_delete",
}
"""The triggers of diskcache, by which it counts rows and bytes."""


def plain_cache(directory: Path, **settings: Any) -> Any:
    """Open the directory as anybody can; diskcache has no types."""
    return diskcache.Cache(str(directory), **settings)


def triggers(directory: Path) -> set[str]:
    found = query(directory, "SELECT name FROM sqlite_master WHERE type = 'trigger'")
    return {name for (name,) in found}


def settings(directory: Path) -> dict[str, Any]:
    return dict(query(directory, "SELECT key, value FROM Settings"))


# A new database.


def test_the_file_has_the_name_that_diskcache_looks_for() -> None:
    """The constants for names and paths are those of the library."""
    assert diskcache.core.DBNAME == DATABASE


def test_nothing_is_ever_evicted(directory: Path) -> None:
    """A new database has the settings with which diskcache removes nothing by itself."""
    DiskStore(directory)
    found = settings(directory)
    assert found["eviction_policy"] == "none"
    assert found["cull_limit"] == 0
    assert found["sqlite_mmap_size"] == 0


def test_a_new_database_has_the_triggers_of_diskcache(directory: Path) -> None:
    """A plain Cache counts by its five triggers, and the store leaves them there."""
    DiskStore(directory).close()
    assert triggers(directory) == TRIGGERS
    DiskStore(directory).close()
    assert triggers(directory) == TRIGGERS


def test_a_plain_cache_counts_and_lists_the_sessions(directory: Path, clock: Clock) -> None:
    """A plain Cache has one key for each session, however sessions begin and end."""
    store = DiskStore(directory)
    live: set[str] = set()
    with plain_cache(directory) as cache:

        def check() -> None:
            keys = {storage_key(session_id) for session_id in live}
            assert len(cache) == len(live)
            assert sorted(cache) == sorted(keys)
            assert sorted(cache.iterkeys()) == sorted(keys)
            assert list(reversed(cache)) == list(cache)[::-1]
            assert all(key in cache for key in keys)
            assert cache.check() == []
            with plain_cache(directory) as another:
                assert (len(another), another.check()) == (len(live), [])

        check()
        live |= {begin(store, put("n", number)) for number in range(30)}
        check()
        for cookie_value in sorted(live)[:10]:
            Request(store, cookie_value).commit(put("text", "x" * 50_000))
        check()
        saved = generate_id()
        store.save(saved, {"a": 1}, {"x": 1})
        store.save(saved, {"a": 2}, {})
        live.add(saved)
        check()
        for cookie_value in sorted(live)[:5]:
            store.destroy(cookie_value)
            live.remove(cookie_value)
        check()
        begin_and_expire(store, clock, 25)
        assert store.gc() == len(live) + 25
        # Of the sessions of this test only the one is left that begin_and_expire leaves.
        assert len(cache) == len(list(cache)) == 1
        assert cache.check() == []
    assert triggers(directory) == TRIGGERS
    store.close()


KILLED_WHILE_IT_MAKES: Final = """
import os, signal, sys
from glimr_session import DiskStore

def kill(event, arguments):
    if event == sys.argv[2]:
        print(arguments, file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
DiskStore(sys.argv[1])
"""


@pytest.mark.parametrize("event", ["sqlite3.connect", "os.rename", "shutil.rmtree"])
def test_a_start_that_was_killed_leaves_nothing_for_long(directory: Path, event: str) -> None:
    """The next start removes the directory in which a killed one was making a database."""
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_IT_MAKES, str(directory), event],
        check=False,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (left,) = directory.glob(".new-*")
    assert stat.S_IMODE(left.stat().st_mode) == 0o700
    assert (directory / "cache.db").exists() == (event == "shutil.rmtree")
    store = DiskStore(directory)
    assert content(store, begin(store)) == ({"a": 1}, {})
    store.close()
    assert [path.name for path in directory.iterdir()] == ["cache.db"]
    with plain_cache(directory) as cache:
        assert cache.check() == []


def test_nobody_can_lock_the_database_while_it_is_made(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others find no database in the directory before it is there as a whole."""
    looked: list[str] = []

    def look() -> None:
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            sqlite3.connect(f"{(directory / 'cache.db').as_uri()}?mode=rw", uri=True)
        assert not (directory / "cache.db").exists()

    class Watched(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
        def _sql_watched(self, statement: str, *args: Any) -> Any:
            looked.append(statement)
            look()
            return self._con.execute(statement, *args)

        _sql = property(lambda self: self._sql_watched)  # pyright: ignore[reportIncompatibleMethodOverride]
        _sql_retry = _sql  # pyright: ignore[reportIncompatibleMethodOverride]

        def close(self) -> None:
            look()
            super().close()

    monkeypatch.setattr(files, "_Cache", Watched)
    store = DiskStore(directory)
    assert len(looked) > 30
    assert triggers(directory) == TRIGGERS
    assert content(store, begin(store)) == ({"a": 1}, {})
    store.close()


# A database that is there.


def test_a_start_on_a_good_database_writes_nothing(directory: Path) -> None:
    """The second start takes no write lock and leaves the file as it is."""
    first = DiskStore(directory)
    cookie_value = begin(first)
    first.close()
    before = (directory / "cache.db").read_bytes()
    with LockHolder(directory):
        started = time.monotonic()
        store = DiskStore(directory, timeout=60)
        assert time.monotonic() - started < 30
        assert content(store, cookie_value) == ({"a": 1}, {})
        store.close()
    assert (directory / "cache.db").read_bytes() == before


def test_a_damaged_database_is_told_at_start(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The start logs an error with advice, each use raises it, and the file stays as it is."""
    directory.mkdir(mode=0o700, parents=True)
    (directory / "cache.db").write_bytes(b"this is no database " * 1000)
    start_in_outage(directory, "move it away", caplog)
    assert (directory / "cache.db").read_bytes().startswith(b"this is no database")


@pytest.mark.parametrize("missing", ["Settings", "Cache"])
def test_a_database_without_the_tables_of_diskcache_is_told_at_start(
    directory: Path, missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The start logs an error with advice if a table is missing."""
    DiskStore(directory).close()
    query(directory, f"ALTER TABLE {missing} RENAME TO Elsewhere")
    start_in_outage(directory, r"no such table.*move it away", caplog)


EVICTING: Final[dict[str, dict[str, Any]]] = {
    "eviction_policy": {"eviction_policy": "least-recently-stored", "size_limit": 10_000},
    "cull_limit": {"cull_limit": 10, "size_limit": 10_000},
}


@pytest.mark.parametrize("name", EVICTING)
def test_settings_that_drop_sessions_are_told_and_set_back(
    directory: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The next start names the setting in one warning, sets it back, and keeps all sessions."""
    store = DiskStore(directory)
    sessions = {begin(store, put("text", f"{n}" * 200)): f"{n}" * 200 for n in range(100)}
    store.close()
    plain_cache(directory, **EVICTING[name]).close()
    assert settings(directory)[name] == EVICTING[name][name]
    assert caplog.records == []
    store = DiskStore(directory)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.name == "glimr_session"
    assert f"({name} = {EVICTING[name][name]!r})" in record.getMessage()
    assert str(directory) in record.getMessage()
    found = settings(directory)
    assert (found["eviction_policy"], found["cull_limit"]) == ("none", 0)
    caplog.clear()
    for cookie_value, text in sessions.items():
        assert content(store, cookie_value) == ({"text": text}, {})
    with plain_cache(directory) as cache:
        cache.set("a key of somebody else", "x" * 20_000)
        cache.cull()
        cache.delete("a key of somebody else")
    assert all(store.open(cookie_value) is not None for cookie_value in sessions)
    store.close()
    DiskStore(directory).close()
    assert caplog.records == []


def as_an_old_version_left_it(directory: Path, number: int) -> list[str]:
    """Make a database as old versions did: without triggers, and so with a count of 0."""
    DiskStore(directory).close()
    for trigger in triggers(directory):
        query(directory, f"DROP TRIGGER {trigger}")
    ids = [generate_id() for _ in range(number)]
    now = time.time()
    for n, session_id in enumerate(ids):
        key = storage_key(session_id)
        value = b'{"_data":{"n":%d},"_flash":{"x":%d},"flashed":{"x":1}}' % (n, n)
        query(
            directory,
            "INSERT INTO Cache (rowid, key, raw, mode, store_time, access_time, access_count,"
            " expire_time, value, tag) VALUES (?, ?, 1, 1, ?, ?, 1, ?, ?, ?)",
            1000 + n, key, now, now, now + 7200, value, crc_of(key, value),
        )  # fmt: skip
    assert triggers(directory) == set()
    assert settings(directory)["count"] == 0
    return ids


def crc_of(key: bytes, value: bytes) -> int:
    """Return the checksum as every version has written it: the CRC-32 of key and value."""
    return zlib.crc32(key + value)


def test_a_database_of_an_old_version_gets_its_triggers_back(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A start on a database without triggers makes them, counts the rows, and reads all."""
    ids = as_an_old_version_left_it(directory, 30)
    store = DiskStore(directory)
    assert caplog.records == []
    assert triggers(directory) == TRIGGERS
    for n, session_id in enumerate(ids):
        assert content(store, session_id) == ({"n": n}, {"x": n})
    with plain_cache(directory) as cache:
        assert len(cache) == len(list(cache)) == 30
        assert cache.check() == []
        store.destroy(ids.pop())
        begin(store)
        begin(store)
        assert Request(store, ids[0]).commit(put("b", 2)).startswith(ids[0])
        assert len(cache) == len(list(cache)) == 31
        assert cache.check() == []
    assert content(store, ids[0]) == ({"n": 0, "b": 2}, {})
    store.close()


@pytest.mark.parametrize("mending", ["triggers", "settings"])
def test_a_start_mends_a_locked_database_later(
    directory: Path, mending: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A start that would have to change a locked database reads it, and says what is left to do."""
    session_id = as_an_old_version_left_it(directory, 3)[0]
    if mending == "settings":
        plain_cache(directory, **EVICTING["eviction_policy"]).close()
    with LockHolder(directory):
        store = DiskStore(directory, timeout=60)
        assert "could not be set back (database is locked)" in caplog.text
        assert content(store, session_id) == ({"n": 0}, {"x": 0})
        store.close()
    DiskStore(directory).close()
    assert triggers(directory) == TRIGGERS
    assert settings(directory)["eviction_policy"] == "none"


def test_settings_that_diskcache_cannot_read_are_an_outage_at_start(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A start that has to mend a database and fails on its settings says so."""
    DiskStore(directory).close()
    query(directory, "INSERT OR REPLACE INTO Settings VALUES ('disk_no_such_setting', 1)")
    query(directory, "UPDATE Settings SET value = 10 WHERE key = 'cull_limit'")
    start_in_outage(directory, "settings", caplog)


def test_a_start_waits_no_longer_than_the_timeout_for_another_start(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A start goes on without its database if another process keeps on opening that."""
    DiskStore(directory).close()
    with files.exclusive_lock(directory, 1):
        started = time.monotonic()
        store = start_in_outage(
            directory, "another process has had the lock of the directory", caplog
        )
        assert time.monotonic() - started < 5
    time.sleep(1.1)  # it is tried once a second
    assert content(store, begin(store)) == ({"a": 1}, {})
    store.close()


# The format.


def test_the_file_says_its_format(directory: Path) -> None:
    """A new database has the number of its format where SQLite keeps one for applications."""
    DiskStore(directory).close()
    assert query(directory, "PRAGMA user_version") == [(1,)]


def test_a_newer_format_is_refused_at_start(directory: Path) -> None:
    """A start on a file of a later version is a ConfigError that says so, and changes nothing."""
    store = DiskStore(directory)
    begin(store)
    store.close()
    query(directory, "PRAGMA user_version = 2")
    before = (directory / "cache.db").read_bytes()
    with pytest.raises(ConfigError, match=r"later version of glimr_session \(its format is 2"):
        DiskStore(directory)
    assert (directory / "cache.db").read_bytes() == before


def test_a_newer_format_ends_what_is_running(directory: Path) -> None:
    """A process whose file has been converted by a later version writes nothing more to it."""
    store = DiskStore(directory)
    cookie_value = begin(store)
    query(directory, "PRAGMA user_version = 2")
    store._database._next_check = 0.0
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="later version"):
            begin(store)
        with pytest.raises(StoreUnavailable, match="later version"):
            store.open(cookie_value)
    query(directory, "PRAGMA user_version = 1")
    assert content(store, cookie_value) == ({"a": 1}, {})
    store.close()


# The write-ahead log.


def test_a_log_is_known_by_more_than_its_inode(tmp_path: Path) -> None:
    """A log that has the inode of another one, but not its header, is another log."""
    log = tmp_path / "cache.db-wal"
    assert log_identity(log) is None
    log.write_bytes(b"")
    assert log_identity(log) is None
    log.write_bytes(b"1" * 100)
    first = log_identity(log)
    assert first == log_identity(log)
    assert first is not None
    with log.open("r+b") as file:
        file.write(b"2")
    assert log_identity(log) != first


def test_the_log_of_a_database_that_is_gone_is_not_replayed(directory: Path) -> None:
    """A start that finds a log without a database makes a new one, and the log is gone."""
    old = DiskStore(directory)
    cookie_value = begin(old)
    (directory / "cache.db").unlink()
    assert (directory / "cache.db-wal").stat().st_size > 0
    store = DiskStore(directory)
    assert store.open(cookie_value) is None
    assert log_identity(directory / "cache.db-wal") is None
    with plain_cache(directory) as cache:
        assert (len(cache), cache.check()) == (0, [])
    store.close()
    old.close()


def test_the_log_beside_an_emptied_database_is_not_replayed(directory: Path) -> None:
    """A start that finds an empty file makes a new one, and the log of the old one is gone."""
    old = DiskStore(directory)
    values = [begin(old) for _ in range(300)]
    os.truncate(directory / "cache.db", 0)
    assert (directory / "cache.db-wal").stat().st_size > 0
    store = DiskStore(directory)
    assert all(store.open(value) is None for value in values)
    assert content(store, begin(store)) is not None
    with plain_cache(directory) as cache:
        assert (len(cache), cache.check()) == (1, [])
    store.close()
    old.close()


def test_a_database_without_a_write_ahead_log_gets_one(directory: Path) -> None:
    """Readers would wait for writers without it; the next start sets it back."""
    DiskStore(directory).close()
    with closing(sqlite3.connect(directory / "cache.db")) as connection:
        assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    DiskStore(directory).close()
    with closing(sqlite3.connect(directory / "cache.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
