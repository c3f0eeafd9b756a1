"""SqlStore on SQLite, and what needs no server: settings and the SQL that makes the table."""

from __future__ import annotations

import gc
import pickle
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from glimr_session import ConfigError, SessionStore, StoreUnavailable
from glimr_session._forks import _before_fork
from glimr_session.stores import _places, sql
from glimr_session.stores.sql import SqlStore, schema
from glimr_session.stores.sql.connections import OwnConnections
from glimr_session.testing.contract import (
    ABSOLUTE,
    COLLECTED,
    LIFETIME,
    Request,
    StoreContract,
    begin,
    content,
    increment,
    put,
)
from tests.faults.test_store_interrupted import interrupt
from tests.support import forks

SOURCES = (str(Path(sql.__file__).parent), str(Path(_places.__file__)))
"""The modules that are interrupted."""


class TestSqlite(StoreContract):
    """The contract on SQLite."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "sessions.db"

    @pytest.fixture
    def store(self, file: Path) -> Iterator[SessionStore]:
        url = f"sqlite:///{file}"
        SqlStore.create_table(url)
        store = SqlStore(url, lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)
        yield store
        store.close()

    @pytest.fixture
    def broken(self, store: SessionStore, file: Path) -> SessionStore:
        store.close()
        with sqlite3.connect(file) as connection:
            connection.execute("DROP TABLE glimr_sessions")
        connection.close()
        return store


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the database is to be."""
    return tmp_path / "sessions.db"


@pytest.fixture
def url(file: Path) -> str:
    """A database with a table."""
    url = f"sqlite:///{file}"
    SqlStore.create_table(url)
    return url


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    """A store on it."""
    store = SqlStore(url, timeout=1)
    yield store
    store.close()


class TestFile:
    """SQLite's file."""

    def test_its_owner_alone_can_read_it(self, store: SqlStore, file: Path) -> None:
        """And the log beside it."""
        begin(store)
        modes = [stat.S_IMODE(found.stat().st_mode) for found in file.parent.iterdir()]
        assert len(modes) == 3
        assert set(modes) == {0o600}

    def test_readers_do_not_wait_for_a_writer(self, store: SqlStore, file: Path) -> None:
        """A writer waits for another one, as long as the timeout says."""
        cookie_value = begin(store)
        request = Request(store, cookie_value)
        writer = sqlite3.connect(file, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        assert store.open(cookie_value) is not None
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match="locked"):
            request.answer(put("b", 2))
        assert 0.9 < time.monotonic() - started < 3
        writer.close()
        assert request.answer().outcome == "stored"

    def test_a_file_that_cannot_be_used(self, tmp_path: Path) -> None:
        """The message names the setting: no directory, or no database."""
        text = tmp_path / "text"
        text.write_text("This is no database, however often it is read. " * 100)
        for path in (tmp_path / "nowhere" / "sessions.db", text, tmp_path):
            with pytest.raises(ConfigError, match=r"\[sql\] url: SQLite cannot use this file"):
                SqlStore(f"sqlite:///{path}")

    def test_a_missing_table(self, file: Path) -> None:
        """The message says how to make it."""
        with pytest.raises(ConfigError, match=r"no such table.*create_table"):
            SqlStore(f"sqlite:///{file}")

    def test_a_table_of_another_program(self, url: str, file: Path) -> None:
        """It is not touched."""
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE other (number INTEGER)")
        connection.close()
        with pytest.raises(ConfigError, match="other columns"):
            SqlStore(url, table="other")

    def test_a_database_that_cannot_be_written(self, url: str) -> None:
        """Sessions could be read and never kept."""
        engine = sa.create_engine(f"{url.replace('///', '///file:')}?mode=ro&uri=true")
        with pytest.raises(ConfigError, match="takes no writes"):
            SqlStore(engine=engine)
        engine.dispose()

    def test_children_use_connections_of_their_own(self, url: str, tmp_path: Path) -> None:
        """A pool that was used before a fork loses nothing."""
        forks.run(fork_with_a_used_pool, tmp_path)

    def test_no_connection_is_open_at_a_fork(self, store: SqlStore, file: Path) -> None:
        """SQLite's must not be carried across one."""
        begin(store)
        assert open_files(file) > 0
        _before_fork()
        assert open_files(file) == 0
        begin(store)
        assert open_files(file) > 0


def open_files(file: Path) -> int:
    """Return how often this process has a database open, with its log."""
    found = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return sum(path.name.startswith(file.name) for path in found)


def fork_with_a_used_pool(directory: Path) -> None:
    store = SqlStore(f"sqlite:///{directory / 'sessions.db'}", timeout=20)
    cookie_value = begin(store)

    def work() -> None:
        for _ in range(20):
            Request(store, cookie_value).commit(increment("n"))

    children = [forks.fork(work) for _ in range(4)]
    work()
    forks.reap(children)
    assert content(store, cookie_value) == ({"a": 1, "n": 100}, {})
    store.close()


class TestStore:
    """What does not depend on the database."""

    def test_it_can_be_pickled(self, store: SqlStore) -> None:
        """For a process that is spawned: it connects by itself."""
        cookie_value = begin(store)
        copy = pickle.loads(pickle.dumps(store))
        assert copy.open(cookie_value) is not None
        copy.close()

    def test_an_engine_passed_in_is_not_closed(self, url: str) -> None:
        """Its pool and its isolation level are its owner's."""
        engine = sa.create_engine(url)
        store = SqlStore(engine=engine)
        cookie_value = begin(store)
        assert Request(store, cookie_value).answer(increment("n")).outcome == "stored"
        pool = engine.pool
        store.close()
        assert engine.pool is pool
        with pytest.raises(TypeError, match="URL"):
            pickle.dumps(store)
        engine.dispose()

    def test_threads_lose_nothing(self, store: SqlStore) -> None:
        """16 at once on one session."""
        cookie_value = begin(store)

        def work(_: int) -> None:
            for _ in range(20):
                Request(store, cookie_value).commit(increment("n"))

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(work, range(16)))
        assert content(store, cookie_value) == ({"a": 1, "n": 320}, {})

    def test_an_exception_at_any_instruction_loses_no_connection(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A signal handler may raise at any moment; afterwards all can be used at once."""
        # pytest keeps the exceptions of finalizers, and with them the frames that were interrupted.
        monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
        store = SqlStore(url, max_connections=2, timeout=1)
        cookie_value = begin(store)
        connections = store._database.connections
        assert isinstance(connections, OwnConnections)
        stack = connections._places._stack
        at = 0
        while place := interrupt(lambda: store.open(cookie_value), at := at + 1, SOURCES):
            if len(stack.every) > len(stack.free):
                gc.collect()  # SQLAlchemy and sqlite3 may hold the frames of an exception
            both = [connections.take(), connections.take()]
            while both:  # no reference to one may be left here
                connections.give_back(both.pop())
            assert content(store, cookie_value) == ({"a": 1}, {}), place
            if at % 3 == 0:
                store.close()  # so that it connects
        assert at > 100
        store.close()

    def test_a_longer_lifetime_counts_for_old_sessions(
        self, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They are left, and are not looked at again at the next collection."""
        shorter, longer = (SqlStore(url, lifetime=time) for time in (1, 100 * COLLECTED))
        cookie_value = begin(shorter)
        now = time.time() + COLLECTED
        monkeypatch.setattr(time, "time", lambda: now)
        assert longer.gc() == 0
        assert longer.open(cookie_value) is not None
        assert shorter.gc() == 0
        for store in (shorter, longer):
            store.close()

    def test_the_claim_is_no_session(
        self, store: SqlStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No collection removes it, and no request finds it."""
        assert store.claim_gc(300) == 0
        monkeypatch.setattr(time, "time", lambda: 1e11)
        assert store.gc() == 0
        assert store.claim_gc(300) == 0
        assert store.claim_gc(300) == 300
        assert store.open("0" * 64 + "~0") is None


class TestSettings:
    """A wrong setting is told, and what is allowed."""

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({}, r"\[sql\] url: name one"),
            ({"url": "hush-hush"}, r"\[sql\] url: this is no URL"),
            ({"url": "postgresql://user:hush-hush@host:port/x"}, r"\[sql\] url"),
            ({"url": "oracle://user:hush-hush@host/x"}, "'oracle' is none of"),
            ({"url": "postgresql+asyncpg://user:hush-hush@host/x"}, "pass an engine"),
            ({"url": "postgresql://user:hush-hush@host"}, "it names no database"),
            ({"url": "sqlite://"}, "SQLite needs a file"),
            ({"url": "sqlite:///:memory:"}, "SQLite needs a file"),
            ({"table": "sessions; DROP TABLE users"}, r"\[sql\] table: 'sessions; DROP"),
            ({"table": "a.b.c"}, r"\[sql\] table"),
            ({"table": "x" * 49}, "48 at most"),
            ({"table": 7}, r"\[sql\] table: 7"),
            ({"max_connections": 0}, r"\[sql\] max_connections: 0"),
            ({"max_connections": True}, r"\[sql\] max_connections: True"),
            ({"prepare_threshold": -1}, r"\[sql\] prepare_threshold: -1"),
            ({"timeout": 0}, "timeout must be more than 0"),
            ({"lifetime": -1}, "lifetime must be more than 0"),
        ],
    )
    def test_it_is_named(self, settings: dict[str, Any], message: str, url: str) -> None:
        """And no password is repeated."""
        if settings and "url" not in settings:
            settings = {"url": url, **settings}
        with pytest.raises(ConfigError, match=message) as caught:
            SqlStore(**settings)
        assert "hush-hush" not in str(caught.value)

    def test_a_url_and_an_engine_are_one_too_many(self, url: str) -> None:
        """Which one would it be?"""
        with pytest.raises(ConfigError, match="name one, or pass an engine"):
            SqlStore(url, engine=sa.create_engine(url))

    @pytest.mark.parametrize(
        ("package", "extra"),
        [("psycopg", "postgresql"), ("pymysql", "mysql"), ("sqlalchemy", "sql")],
    )
    def test_a_missing_package_says_how_to_install_it(self, package: str, extra: str) -> None:
        """By the extra that has it."""
        script = (
            f"import sys; sys.modules[{package!r}] = None\n"
            "from glimr_session import ConfigError\n"
            "try:\n"
            "    from glimr_session.stores.sql import SqlStore\n"
            f"    SqlStore('{extra}://user@127.0.0.1/x')\n"
            "except ConfigError as error:\n"
            "    print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        assert f"{package} is not installed" in done.stdout
        assert f"pip install 'glimr-session[{extra}]'" in done.stdout


class TestSchema:
    """The SQL for those who run migrations."""

    @pytest.mark.parametrize(
        ("dialect", "columns"),
        [
            ("postgresql", ["number BIGINT", "key BYTEA", "created DOUBLE PRECISION"]),
            ("mysql", ["number BIGINT", "`key` BINARY(32)", "value LONGBLOB", "created DOUBLE"]),
            ("mariadb+pymysql://user@host/x", ["number BIGINT", "commits VARBINARY(64)"]),
            ("sqlite:////path", ["number INTEGER", '"key" BLOB', "revision BIGINT"]),
        ],
    )
    def test_each_dialect_has_its_types(self, dialect: str, columns: list[str]) -> None:
        """A table, two indexes, and on PostgreSQL a setting; each is ended by a semicolon."""
        text = schema(dialect, table="app.sessions")
        assert text.count(";\n") == 3 + (dialect == "postgresql")
        assert "CREATE TABLE app.sessions (" in text
        assert "AUTO_INCREMENT" not in text
        assert all(column in text for column in columns)

    def test_it_makes_the_same_table(self, url: str, file: Path) -> None:
        """As ``create_table`` does, which does nothing a second time."""
        SqlStore.create_table(url)
        find = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
        with sqlite3.connect(file) as made, sqlite3.connect(":memory:") as printed:
            printed.executescript(schema("sqlite"))
            assert list(map(words, printed.execute(find))) == list(map(words, made.execute(find)))
        made.close()
        printed.close()

    def test_many_processes_make_it_at_once(self, file: Path) -> None:
        """Each is done, and the table is there."""
        url = f"sqlite:///{file}"
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(SqlStore.create_table, [url] * 8))
        SqlStore(url).close()

    def test_wrong_names_are_refused(self) -> None:
        """Of dialects and of tables."""
        with pytest.raises(ConfigError, match="'oracle' is none of"):
            schema("oracle")
        with pytest.raises(ConfigError, match=r"\[sql\] table"):
            schema("sqlite", table="no-name")


def words(row: tuple[str]) -> list[str]:
    return row[0].split()
