"""SqlStore on PostgreSQL, on MariaDB, and on PostgreSQL behind PgBouncer."""

from __future__ import annotations

import asyncio
import pickle
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from glimr_session import CommitResult, ConfigError, SessionStore, StoreUnavailable
from glimr_session._session.state import SessionState
from glimr_session.stores._commands import MADE, Lock, Swap
from glimr_session.stores.sql import SqlStore, schema
from glimr_session.stores.sql.store import Commands
from glimr_session.testing.contract import (
    ABSOLUTE,
    COLLECTED,
    LIFETIME,
    Request,
    StoreContract,
    begin,
    content,
    increment,
    invalidate,
    put,
    regenerate,
)
from tests.support import forks
from tests.support.proxy import Proxy
from tests.support.services import DatabaseServer, Service, free_port, pgbouncer

numbers = count()


def new_table(server: Service) -> str:
    """Make a table that no other test has; return its name."""
    name = f"sessions{next(numbers)}"
    SqlStore.create_table(plain(server.url), table=name)
    return name


def plain(url: str) -> str:
    """Return a URL as users write it, without a driver."""
    return url.replace("+pymysql", "")


@pytest.fixture(scope="module")
def bouncer(
    postgresql: DatabaseServer,
    tmp_path_factory: pytest.TempPathFactory,
    running: list[Service],
) -> Iterator[Service]:
    """A PgBouncer that pools transactions."""
    with pgbouncer(tmp_path_factory.mktemp("pgbouncer"), postgresql) as found:
        running.append(found)
        yield found
        running.remove(found)


class ServerContract(StoreContract):
    """The contract on a server, in a table of its own."""

    prepare_threshold: int | None = 5

    @pytest.fixture
    def server(self) -> Service:
        raise NotImplementedError

    @pytest.fixture
    def table(self, server: Service) -> str:
        return new_table(server)

    @pytest.fixture
    def store(self, server: Service, table: str) -> Iterator[SessionStore]:
        store = SqlStore(
            plain(server.url),
            table=table,
            lifetime=LIFETIME,
            absolute_lifetime=ABSOLUTE,
            prepare_threshold=self.prepare_threshold,
        )
        yield store
        store.close()

    @pytest.fixture
    def broken(self, store: SessionStore, server: Service, table: str) -> SessionStore:
        store.close()
        execute(server, f"DROP TABLE {table}")
        return store


class TestPostgresql(ServerContract):
    """The contract on PostgreSQL."""

    @pytest.fixture
    def server(self, postgresql: DatabaseServer) -> Service:
        return postgresql


class TestMariadb(ServerContract):
    """The contract on MariaDB."""

    @pytest.fixture
    def server(self, mariadb: DatabaseServer) -> Service:
        return mariadb


class TestPgbouncer(ServerContract):
    """The contract on PostgreSQL behind a PgBouncer that pools transactions."""

    prepare_threshold = None

    @pytest.fixture
    def server(self, bouncer: Service) -> Service:
        return bouncer


PATIENCE = 1.0  # seconds: the timeout of stores in tests that wait for it
SLACK = 3.0  # what a busy machine may add
SERVERS = ("postgresql", "mariadb")


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> DatabaseServer:
    """Each of the servers."""
    found: DatabaseServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def table(server: DatabaseServer) -> str:
    """A table of its own on that server."""
    return new_table(server)


@pytest.fixture
def proxy(server: DatabaseServer) -> Iterator[Proxy]:
    """A proxy in front of that server."""
    with Proxy(server.port) as found:
        yield found


@pytest.fixture
def stores() -> Iterator[Stores]:
    """Makes stores, and closes them."""
    made = Stores()
    yield made
    for store in made:
        store.close()


class Stores(list[SqlStore]):
    def new(self, server: Service, table: str, *, port: int = 0, **settings: Any) -> SqlStore:
        """Return a store on a table, perhaps by way of another port."""
        url = plain(server.url).replace(str(server.port), str(port or server.port))
        settings = {"lifetime": LIFETIME, "absolute_lifetime": ABSOLUTE, **settings}
        self.append(SqlStore(url, table=table, **settings))
        return self[-1]


class Connection:
    """A connection of the test's own, in which it does what a store must bear."""

    def __init__(self, server: Service) -> None:
        self._engine = sa.create_engine(with_driver(server.url), poolclass=sa.NullPool)
        self._connection = self._engine.connect()

    def __enter__(self) -> sa.Connection:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.rollback()
        self._connection.close()


def execute(server: Service, statement: str, *, url: str = "") -> list[Any]:
    """Run a statement and commit; return its rows."""
    engine = sa.create_engine(with_driver(url or server.url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        result = connection.execute(sa.text(statement))
        return list(result) if result.returns_rows else []


def with_driver(url: str) -> sa.URL:
    """Return a URL for SQLAlchemy."""
    parsed = sa.make_url(url)
    if parsed.drivername == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    return parsed


class TestStart:
    """What is wrong is told when the store is made."""

    def test_a_wrong_password(self, server: DatabaseServer, table: str) -> None:
        """It is the URL's, and the message does not repeat it."""
        url = plain(server.url).replace("secret", "hush-hush")
        with pytest.raises(ConfigError, match=r"\[sql\] url: .*password") as caught:
            SqlStore(url, table=table)
        assert "hush-hush" not in "".join(traceback.format_exception(caught.value))

    def test_a_missing_database(self, server: DatabaseServer, table: str) -> None:
        """It has to be made, or the URL is wrong."""
        url = plain(server.url).removesuffix("/glimr") + "/nowhere"
        with pytest.raises(ConfigError, match=r"\[sql\] url: there is no such database"):
            SqlStore(url, table=table)

    def test_a_missing_table(self, server: DatabaseServer) -> None:
        """The message says how to make it."""
        with pytest.raises(ConfigError, match=r"no such table.*create_table") as caught:
            SqlStore(plain(server.url), table="nowhere")
        assert caught.value.__cause__ is not None

    def test_a_missing_schema(self, server: DatabaseServer) -> None:
        """It is told as a table that is missing, or as a database."""
        with pytest.raises(ConfigError, match=r"\[sql\]"):
            SqlStore(plain(server.url), table="nowhere.sessions")

    def test_a_table_with_other_columns(self, server: DatabaseServer) -> None:
        """It is another program's."""
        name = f"other{next(numbers)}"
        execute(server, f"CREATE TABLE {name} (number BIGINT)")
        with pytest.raises(ConfigError, match="other columns"):
            SqlStore(plain(server.url), table=name)

    def test_a_server_that_refuses(
        self, server: DatabaseServer, table: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The site starts, and the log says so; each use is an outage."""
        url = plain(server.url).replace(str(server.port), str(free_port()))
        store = SqlStore(url, table=table)
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert "The site starts" in caplog.text
        assert "correct [sql] url" in caplog.text
        assert "secret" not in caplog.text
        with pytest.raises(StoreUnavailable, match="refused") as caught:
            store.open("an id")
        assert caught.value.__cause__ is not None
        assert "secret" not in "".join(traceback.format_exception(caught.value))

    def test_a_postgresql_that_takes_no_writes(self, postgresql: DatabaseServer) -> None:
        """As a replica does not: sessions could be read and never kept."""
        table = new_table(postgresql)
        url = f"{postgresql.url}?options=-c%20default_transaction_read_only%3Don"
        with pytest.raises(ConfigError, match="takes no writes"):
            SqlStore(url, table=table)

    def test_a_mariadb_that_takes_no_writes(self, mariadb: DatabaseServer) -> None:
        """Likewise."""
        table = new_table(mariadb)
        execute(mariadb, "SET GLOBAL read_only = 1", url=mariadb.admin_url)
        try:
            with pytest.raises(ConfigError, match="takes no writes"):
                SqlStore(plain(mariadb.url), table=table)
        finally:
            execute(mariadb, "SET GLOBAL read_only = 0", url=mariadb.admin_url)

    def test_a_user_who_may_only_read(self, postgresql: DatabaseServer) -> None:
        """What the user must be allowed to do is in the message."""
        table, user = new_table(postgresql), f"reader{next(numbers)}"
        for statement in (
            f"CREATE ROLE {user} LOGIN PASSWORD 'secret'",
            f"GRANT SELECT ON {table} TO {user}",
        ):
            url = postgresql.admin_url.removesuffix("/postgres") + "/glimr"
            execute(postgresql, statement, url=url)
        with pytest.raises(ConfigError, match="SELECT, INSERT, UPDATE and DELETE"):
            SqlStore(postgresql.url.replace("glimr:", f"{user}:"), table=table)

    def test_no_connection_is_left_open(self, postgresql: DatabaseServer, stores: Stores) -> None:
        """A server may fork next."""
        with Proxy(postgresql.port) as proxy:
            store = stores.new(postgresql, new_table(postgresql), port=proxy.port)
            assert proxy.connections == 1
            begin(store)
            assert proxy.connections == 2


class TestTable:
    """How the table is made."""

    def test_printed_sql_makes_the_same_table(self, server: DatabaseServer, table: str) -> None:
        """Columns, keys and indexes are those of create_table."""
        name = f"printed{next(numbers)}"
        dialect = sa.make_url(server.url).get_backend_name()
        for statement in schema(dialect, table=name).split(";\n"):
            if statement.strip():
                execute(server, statement)
        SqlStore(plain(server.url), table=name).close()

        def described(name: str) -> str:
            inspector = sa.inspect(sa.create_engine(with_driver(server.url), poolclass=sa.NullPool))
            found = [
                inspector.get_columns(name),
                inspector.get_pk_constraint(name),
                inspector.get_unique_constraints(name),
                inspector.get_indexes(name),
            ]
            return str(found).replace(name, "TABLE")

        assert described(name) == described(table)

    def test_many_processes_make_it_at_once(self, server: DatabaseServer) -> None:
        """Each is done, and the table is there."""
        name = f"together{next(numbers)}"
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: SqlStore.create_table(plain(server.url), table=name), range(8)))
        SqlStore(plain(server.url), table=name).close()

    def test_it_may_be_in_a_schema(self, postgresql: DatabaseServer, stores: Stores) -> None:
        """The name of the schema comes first."""
        execute(postgresql, "CREATE SCHEMA IF NOT EXISTS app")
        SqlStore.create_table(postgresql.url, table="app.Order")
        assert begin(stores.new(postgresql, "app.Order"))


class TestCollection:
    """gc() beside others."""

    def test_collectors_pass_over_locked_rows(
        self, server: DatabaseServer, table: str, stores: Stores, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two at once wait neither for each other nor for a request that has a row locked."""
        store, other = (stores.new(server, table, timeout=10) for _ in range(2))
        for _ in range(500):
            begin(store)
        now = time.time() + COLLECTED
        monkeypatch.setattr(time, "time", lambda: now)
        ((number,),) = execute(server, f"SELECT min(number) FROM {table}")
        with Connection(server) as connection:
            lock = f"SELECT number FROM {table} WHERE number = {number} FOR UPDATE"
            connection.execute(sa.text(lock)).all()
            started = time.monotonic()
            with ThreadPoolExecutor(2) as pool:
                removed = list(pool.map(lambda found: found.gc(), (store, other)))
            assert time.monotonic() - started < 5
            assert sum(removed) == 499
        assert store.gc() == 1

    def test_a_longer_lifetime_counts_for_old_sessions(
        self, server: DatabaseServer, table: str, stores: Stores, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They are left, and are not looked at again at the next collection."""
        cookie_value = begin(stores.new(server, table, lifetime=1, absolute_lifetime=0))
        longer = stores.new(server, table, lifetime=100 * COLLECTED, absolute_lifetime=0)
        now = time.time() + COLLECTED
        monkeypatch.setattr(time, "time", lambda: now)
        assert longer.gc() == 0
        assert longer.open(cookie_value) is not None
        ((expires,),) = execute(server, f"SELECT expires FROM {table} WHERE number > 0")
        assert expires > now + 90 * COLLECTED

    def test_the_claim_is_no_session(
        self, server: DatabaseServer, table: str, stores: Stores, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is one row, which no collection removes, and no request finds."""
        store = stores.new(server, table)
        assert store.claim_gc(300) == 0
        monkeypatch.setattr(time, "time", lambda: 1e11)
        assert store.gc() == 0
        assert store.claim_gc(300) == 0
        assert execute(server, f"SELECT count(*) FROM {table}") == [(1,)]
        assert store.open("0" * 64 + "~0") is None

    def test_it_stops_after_a_batch(
        self, server: DatabaseServer, table: str, stores: Stores, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When the interpreter ends; the next collection goes on."""
        store = stores.new(server, table)
        for _ in range(250):
            begin(store)
        now = time.time() + COLLECTED
        monkeypatch.setattr(time, "time", lambda: now)
        collect = store._collect_batch

        def stop(cursor: Any) -> tuple[int, int]:
            store.stop_gc()
            return collect(cursor)

        monkeypatch.setattr(store, "_collect_batch", stop)
        assert [store.gc(), store.gc(), store.gc()] == [200, 50, 0]


class TestWaiting:
    """Nothing waits longer than the timeout."""

    def test_for_a_free_connection(
        self, server: DatabaseServer, table: str, stores: Stores
    ) -> None:
        """The error says which setting it is."""
        store = stores.new(server, table, max_connections=1, timeout=0.3)
        cookie_value = begin(store)
        lent = store._database.connections.take()
        try:
            with pytest.raises(StoreUnavailable, match=r"1 at most.*max_connections"):
                store.open(cookie_value)
        finally:
            store._database.connections.give_back(lent)
        assert store.open(cookie_value) is not None

    def test_for_a_server_that_is_stopped(
        self, server: DatabaseServer, table: str, stores: Stores
    ) -> None:
        """On a connection that is open, and on a new one; after that it is used again."""
        store = stores.new(server, table, timeout=PATIENCE)
        cookie_value = begin(store)
        request = Request(store, cookie_value)
        server.pause()
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            request.answer(put("b", 2))
        assert time.monotonic() - started < PATIENCE + SLACK / 3
        with pytest.raises(StoreUnavailable):
            store.open(cookie_value)
        assert time.monotonic() - started < PATIENCE + 2 + SLACK  # psycopg connects for 2 s
        server.resume()
        request.answer()
        found = content(store, cookie_value)
        assert found is not None
        assert found[0]["b"] == 2

    def test_for_a_row_that_is_locked(
        self, server: DatabaseServer, table: str, stores: Stores
    ) -> None:
        """The server gives up, and the connection can be used again."""
        store = stores.new(server, table, timeout=PATIENCE)
        cookie_value = begin(store)
        request = Request(store, cookie_value)
        with Connection(server) as connection:
            connection.execute(sa.text(f"SELECT number FROM {table} FOR UPDATE")).all()
            started = time.monotonic()
            with pytest.raises(StoreUnavailable):
                request.answer(put("b", 2))
            assert time.monotonic() - started < PATIENCE + SLACK
        assert request.answer().outcome == "stored"

    def test_event_loops_for_a_server_that_is_stopped(
        self, postgresql: DatabaseServer, stores: Stores
    ) -> None:
        """On a connection that is open, and on a new one."""
        store = stores.new(postgresql, new_table(postgresql), timeout=PATIENCE)
        cookie_value = begin(store)

        async def work() -> None:
            assert await store.aopen(cookie_value) is not None
            postgresql.pause()
            started = time.monotonic()
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await store.aopen(cookie_value)
            assert time.monotonic() - started < 2 * PATIENCE + SLACK
            postgresql.resume()
            assert await store.aopen(cookie_value) is not None

        asyncio.run(work())

    def test_event_loops_for_a_free_connection(
        self, postgresql: DatabaseServer, stores: Stores
    ) -> None:
        """The error says which setting it is."""
        table = new_table(postgresql)
        store = stores.new(postgresql, table, max_connections=1, timeout=0.3)
        cookie_value = begin(store)

        async def work() -> None:
            with Connection(postgresql) as connection:
                connection.execute(sa.text(f"LOCK TABLE {table}"))
                asked = [asyncio.create_task(store.aopen(cookie_value)) for _ in range(3)]
                answers = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(answer, StoreUnavailable) for answer in answers)
            assert any("max_connections" in str(answer) for answer in answers)
            assert await store.aopen(cookie_value) is not None

        asyncio.run(work())

    def test_a_cancelled_task_gives_its_connection_back(
        self, postgresql: DatabaseServer, stores: Stores
    ) -> None:
        """Whether it waits for an answer or for the connection."""
        table = new_table(postgresql)
        store = stores.new(postgresql, table, max_connections=1)
        cookie_value = begin(store)

        async def work() -> None:
            with Connection(postgresql) as connection:
                connection.execute(sa.text(f"LOCK TABLE {table}"))
                tasks = [asyncio.create_task(store.aopen(cookie_value)) for _ in range(3)]
                for task in (tasks[1], tasks[0]):
                    await asyncio.sleep(0.1)
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
            assert await tasks[2] is not None
            assert await store.aopen(cookie_value) is not None

        asyncio.run(work())

    def test_a_task_cancelled_at_any_step_leaves_no_answer_to_another(
        self, postgresql: DatabaseServer, stores: Stores
    ) -> None:
        """Its connection is not used for another command."""
        store = stores.new(postgresql, new_table(postgresql), max_connections=2)
        one, other = begin(store, put("name", "one")), begin(store, put("name", "other"))

        async def work() -> None:
            for steps in range(20):
                task = asyncio.ensure_future(store.aopen(one))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                for cookie_value, name in ((other, "other"), (one, "one")):
                    found = await store.aopen(cookie_value)
                    assert found is not None
                    assert found.data == {"name": name}

        asyncio.run(work())


class TestLostConnections:
    """Servers restart, and answers are lost."""

    def test_the_next_request_after_a_restart_works(
        self, server: DatabaseServer, table: str, stores: Stores, proxy: Proxy
    ) -> None:
        """Also if several connections were idle: one attempt is enough."""
        store = stores.new(server, table, port=proxy.port)
        cookie_value = begin(store)
        lent = [store._database.connections.take() for _ in range(5)]
        for found in lent:
            store._database.connections.give_back(found)
        server.restart()
        proxy.reset()
        assert Request(store, cookie_value).answer(put("b", 2)).outcome == "stored"
        assert proxy.connections == 1  # instead of all

    def test_a_killed_server(self, server: DatabaseServer, table: str, stores: Stores) -> None:
        """It is an outage for as long as it lasts, and nothing is lost."""
        store = stores.new(server, table)
        cookie_value = begin(store)
        server.kill()
        with pytest.raises(StoreUnavailable, match="refused"):
            store.open(cookie_value)
        server.restart()
        assert content(store, cookie_value) == ({"a": 1}, {})

    def test_event_loops_after_a_restart(self, postgresql: DatabaseServer, stores: Stores) -> None:
        """Their next request works too."""
        store = stores.new(postgresql, new_table(postgresql))
        cookie_value = begin(store)

        async def work() -> None:
            await asyncio.gather(*[store.aopen(cookie_value) for _ in range(5)])
            await asyncio.to_thread(postgresql.restart)
            assert await store.aopen(cookie_value) is not None

        asyncio.run(work())

    def test_a_lost_answer_to_a_beginning(
        self, server: DatabaseServer, table: str, stores: Stores, proxy: Proxy
    ) -> None:
        """The session is begun once."""
        store = stores.new(server, table, port=proxy.port)
        begin(store)
        proxy.lose_answer()
        cookie_value = begin(store)
        assert proxy.lost == 1
        assert store.open(cookie_value) is not None
        assert execute(server, f"SELECT count(*) FROM {table}") == [(2,)]

    def test_a_lost_answer_to_a_commit(
        self, server: DatabaseServer, table: str, stores: Stores, proxy: Proxy
    ) -> None:
        """It is made once."""
        store = stores.new(server, table, port=proxy.port)
        cookie_value = begin(store)
        request = Request(store, cookie_value)
        proxy.lose_answer()
        assert request.answer(increment("n")).outcome == "stored"
        assert proxy.lost == 1
        assert content(store, cookie_value) == ({"a": 1, "n": 1}, {})

    def test_a_lost_answer_to_a_logout(
        self, server: DatabaseServer, table: str, stores: Stores, proxy: Proxy
    ) -> None:
        """It was no one else's logout."""
        store = stores.new(server, table, port=proxy.port)
        request = Request(store, begin(store))
        proxy.lose_answer()
        assert request.answer(invalidate) is CommitResult.EMPTY
        assert proxy.lost == 1
        assert execute(server, f"SELECT count(*) FROM {table}") == [(0,)]

    def test_a_lost_answer_in_an_event_loop(
        self, postgresql: DatabaseServer, stores: Stores
    ) -> None:
        """A commit is made once."""
        with Proxy(postgresql.port) as proxy:
            store = stores.new(postgresql, new_table(postgresql), port=proxy.port)
            cookie_value = begin(store)

            async def work() -> None:
                base = await store.aopen(cookie_value)
                assert base is not None
                proxy.lose_answer()
                state = SessionState.opened(base)
                increment("n")(state)
                assert (await store.acommit(state.changes)).outcome == "stored"
                assert proxy.lost == 1

            asyncio.run(work())
            assert content(store, cookie_value) == ({"a": 1, "n": 1}, {})

    def test_a_request_takes_two_round_trips(
        self, server: DatabaseServer, table: str, stores: Stores, proxy: Proxy
    ) -> None:
        """One to read, one to write; the pool adds none."""
        store = stores.new(server, table, port=proxy.port)
        cookie_value = begin(store)
        for _ in range(20):  # psycopg prepares statements
            Request(store, cookie_value).commit(increment("n"))
        proxy.reset()
        for _ in range(10):
            Request(store, cookie_value).commit(increment("n"))
        assert (proxy.round_trips, proxy.connections) == (20, 0)


class TestTogether:
    """Many at once."""

    def test_a_stricter_isolation_is_not_used(
        self, postgresql: DatabaseServer, stores: Stores
    ) -> None:
        """A role may have one, and then PostgreSQL refuses writes that meet."""
        table, user = new_table(postgresql), f"strict{next(numbers)}"
        admin_url = postgresql.admin_url.removesuffix("/postgres") + "/glimr"
        for statement in (
            f"CREATE ROLE {user} LOGIN PASSWORD 'secret'",
            f"ALTER ROLE {user} SET default_transaction_isolation = 'serializable'",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {user}",
        ):
            execute(postgresql, statement, url=admin_url)
        stores.append(SqlStore(postgresql.url.replace("glimr:", f"{user}:"), table=table))
        cookie_value = begin(stores[0])
        request = Request(stores[0], cookie_value)
        with Connection(postgresql) as connection, ThreadPoolExecutor(1) as pool:
            connection.execute(sa.text(f"UPDATE {table} SET last_used = last_used + 1"))
            answered = pool.submit(request.answer, increment("n"))
            time.sleep(0.2)
            connection.commit()
            assert answered.result().outcome == "stored"

    def test_threads_lose_nothing(
        self, server: DatabaseServer, table: str, stores: Stores, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And a commit meets one conflict at most, on average."""
        store = stores.new(server, table)
        cookie_value = begin(store)
        swaps: list[Any] = []
        run = Commands.execute

        def count_swaps(self: Commands, command: Any) -> Any:
            result = run(self, command)
            if type(command) is Swap:
                swaps.append(result)
            return result

        monkeypatch.setattr(Commands, "execute", count_swaps)

        def work(_: int) -> None:
            for _ in range(20):
                Request(store, cookie_value).commit(increment("n"))

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(work, range(16)))
        assert content(store, cookie_value) == ({"a": 1, "n": 320}, {})
        assert swaps.count(MADE) == 320
        assert len(swaps) <= 2 * 320

    def test_stores_that_share_no_line_lose_nothing(
        self, server: DatabaseServer, table: str, stores: Stores
    ) -> None:
        """As processes do: after two conflicts a commit locks its row."""
        every = [stores.new(server, table, timeout=20) for _ in range(8)]
        cookie_value = begin(every[0])

        def work(store: SqlStore) -> None:
            for _ in range(20):
                Request(store, cookie_value).commit(increment("n"))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, every))
        assert content(every[0], cookie_value) == ({"a": 1, "n": 160}, {})

    def test_tasks_lose_nothing(self, postgresql: DatabaseServer, stores: Stores) -> None:
        """16 at once on one session, over fewer connections."""
        store = stores.new(postgresql, new_table(postgresql), max_connections=5)
        cookie_value = begin(store)

        async def work() -> None:
            for _ in range(10):
                base = await store.aopen(cookie_value)
                assert base is not None
                state = SessionState.opened(base)
                increment("n")(state)
                assert (await store.acommit(state.changes)).outcome == "stored"

        async def all_of_them() -> None:
            await asyncio.gather(*[work() for _ in range(16)])

        asyncio.run(all_of_them())
        assert content(store, cookie_value) == ({"a": 1, "n": 160}, {})

    def test_children_use_connections_of_their_own(
        self, server: DatabaseServer, table: str, tmp_path: Path
    ) -> None:
        """A pool that was used before a fork loses nothing."""
        (tmp_path / "url").write_text(plain(server.url))
        (tmp_path / "table").write_text(table)
        forks.run(fork_with_a_used_pool, tmp_path)

    def test_a_login_that_locks_a_row_and_comes_too_late_begins_its_own_session(
        self, server: DatabaseServer, table: str, stores: Stores, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its insertion is no part of the transaction that is given up."""
        store, other = stores.new(server, table), stores.new(server, table)
        cookie_value = begin(store)
        late = Request(store, cookie_value)
        seen: list[type[Any]] = []
        run = Commands.execute

        def be_late(commands: Commands, command: Any) -> Any:
            if commands._database is store._database:
                seen.append(type(command))
                if type(command) is Swap and seen.count(Swap) <= 3:
                    Request(other, cookie_value).commit(increment("n"))
                elif type(command) is Lock:
                    Request(other, cookie_value).commit(regenerate, put("user", "bob"))
            return run(commands, command)

        monkeypatch.setattr(Commands, "execute", be_late)
        own = late.commit(put("user", "alice"), regenerate)
        monkeypatch.undo()
        assert Lock in seen
        assert content(other, own) == ({"user": "alice"}, {})

    def test_an_interrupted_transaction_locks_nothing(
        self, server: DatabaseServer, table: str, stores: Stores
    ) -> None:
        """It is rolled back when its operation ends."""
        store = stores.new(server, table, timeout=PATIENCE)
        cookie_value = begin(store)
        found = store.open(cookie_value)
        assert found is not None
        commands = store._executor()
        assert commands.execute(Lock(found.marks.number)) is not None
        other = stores.new(server, table, timeout=PATIENCE)
        with pytest.raises(StoreUnavailable):
            other.destroy(cookie_value)
        commands.close()
        other.destroy(cookie_value)
        assert store.open(cookie_value) is None


def fork_with_a_used_pool(directory: Path) -> None:
    url, table = ((directory / name).read_text() for name in ("url", "table"))
    store = SqlStore(url, table=table)
    cookie_value = begin(store)
    for lent in [store._database.connections.take() for _ in range(4)]:
        store._database.connections.give_back(lent)

    def work() -> None:
        for _ in range(20):
            Request(store, cookie_value).commit(increment("n"))

    children = [forks.fork(work) for _ in range(4)]
    work()
    forks.reap(children)
    assert content(store, cookie_value) == ({"a": 1, "n": 100}, {})
    store.close()


class TestPgbouncerSettings:
    """PgBouncer in transaction mode needs a setting, and an error names it."""

    def test_prepared_statements_are_told(self, bouncer: Service, stores: Stores) -> None:
        """Where several clients share the connections of a server, they do not find theirs."""
        table = new_table(bouncer)
        every = [stores.new(bouncer, table, prepare_threshold=1) for _ in range(2)]
        cookie_value = begin(every[0])
        errors: list[StoreUnavailable] = []

        def work(store: SqlStore) -> None:
            for _ in range(50):
                try:
                    store.open(cookie_value)
                except StoreUnavailable as error:
                    errors.append(error)

        for _ in range(20):  # until they were at work at the same time
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(work, every))
            if errors:
                break
        assert errors
        assert all("[sql] prepare_threshold = 0" in str(error) for error in errors)

    def test_parameters_that_it_refuses_are_told(self, bouncer: Service) -> None:
        """They are part of the URL."""
        with pytest.raises(ConfigError, match="PgBouncer does not take"):
            SqlStore(f"{bouncer.url}?options=-c%20geqo%3Doff", prepare_threshold=0)

    def test_no_setting_is_left_on_its_connections(
        self, postgresql: DatabaseServer, tmp_path: Path, stores: Stores
    ) -> None:
        """Other clients would get them."""
        with pgbouncer(tmp_path, postgresql) as bouncer:
            begin(stores.new(bouncer, new_table(bouncer), prepare_threshold=0))
            assert execute(bouncer, "SHOW lock_timeout") == [("0",)]


class TestEngines:
    """An engine of the application's own."""

    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"isolation_level": "SERIALIZABLE"},
            {"isolation_level": "AUTOCOMMIT"},
            {"poolclass": sa.NullPool},
        ],
    )
    def test_any_will_do(
        self, server: DatabaseServer, table: str, settings: dict[str, Any]
    ) -> None:
        """Whatever its pool and its isolation level are; closing the store leaves it open."""
        engine = sa.create_engine(with_driver(server.url), **settings)
        store = SqlStore(engine=engine, table=table)
        cookie_value = begin(store)
        requests = [Request(store, cookie_value) for _ in range(2)]
        for request in requests:
            assert request.answer(increment("n")).outcome == "stored"
        assert content(store, cookie_value) == ({"a": 1, "n": 2}, {})
        assert asyncio.run(store.aopen(cookie_value)) is not None
        assert store.gc() == 0
        pool = engine.pool
        store.close()
        assert engine.pool is pool
        with engine.connect() as connection:
            assert connection.execute(sa.text("SELECT 1")).scalar() == 1
        with pytest.raises(TypeError, match="URL"):
            pickle.dumps(store)
        engine.dispose()

    def test_it_survives_a_restart(self, server: DatabaseServer, table: str) -> None:
        """As a store's own does."""
        engine = sa.create_engine(with_driver(server.url))
        store = SqlStore(engine=engine, table=table)
        cookie_value = begin(store)
        server.restart()
        assert store.open(cookie_value) is not None
        engine.dispose()


def test_a_store_can_be_pickled(server: DatabaseServer, table: str, stores: Stores) -> None:
    """For a process that is spawned: it connects by itself."""
    store = stores.new(server, table)
    cookie_value = begin(store)
    stores.append(pickle.loads(pickle.dumps(store)))
    assert stores[-1].open(cookie_value) is not None
    assert stores[-1].lifetime == LIFETIME


def test_no_repr_has_the_password(server: DatabaseServer, table: str, stores: Stores) -> None:
    """Neither of the store, nor of what it is made of."""
    store = stores.new(server, table)
    assert "secret" not in repr(store) + repr(vars(store)) + repr(vars(store._database))
