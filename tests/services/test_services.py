"""The servers and the proxy that the tests use do what the tests rely on."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pymysql
import pytest
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster as ClusterClient
from redis.retry import Retry
from redis.sentinel import Sentinel

from tests.support.proxy import Proxy
from tests.support.services import (
    DatabaseServer,
    RedisCluster,
    RedisServer,
    Service,
    mariadb_connection,
    pgbouncer,
    redis_cluster,
    redis_sentinel,
    redis_server,
)

FAILURES = (OSError, RedisError, psycopg.Error, pymysql.MySQLError)
MOMENT = 0.3  # seconds: a server that is not paused has answered many times over


class Kind(NamedTuple):
    """A server, and how a client asks it for something: over a URL, the number that it is told."""

    server: Service
    ask: Callable[[str, int], int]


def ask_redis(url: str, number: int) -> int:
    with redis_client(url) as client:
        return int(str(client.echo(str(number))))


def ask_postgresql(url: str, number: int) -> int:
    with psycopg.connect(url, connect_timeout=5) as connection:
        found = connection.execute("SELECT %s::int", (number,)).fetchone()
        assert found is not None
        return int(found[0])


def ask_mariadb(url: str, number: int) -> int:
    with mariadb_connection(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT %s", (number,))
        return int(cursor.fetchone()[0])


def redis_client(url: str) -> Redis:
    """Return a client that does not try again."""
    return Redis.from_url(url, decode_responses=True, socket_timeout=5, retry=Retry(NoBackoff(), 0))


@pytest.fixture(params=("redis", "valkey", "postgresql", "mariadb"))
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each server alone."""
    ask = {"postgresql": ask_postgresql, "mariadb": ask_mariadb}.get(request.param, ask_redis)
    return Kind(request.getfixturevalue(request.param), ask)


@pytest.fixture
def proxy(redis: RedisServer) -> Iterator[Proxy]:
    """A proxy in front of an empty Redis server."""
    redis.ask("FLUSHALL")
    with Proxy(redis.port, record=True) as found:
        yield found


@pytest.fixture
def client(proxy: Proxy) -> Iterator[Redis]:
    """A client that asks the Redis server through the proxy."""
    with redis_client(f"redis://127.0.0.1:{proxy.port}/0") as found:
        yield found


def test_answers(kind: Kind) -> None:
    """A server answers a client that logs in."""
    assert kind.ask(kind.server.url, 42) == 42


def test_redis_and_valkey(redis: RedisServer, valkey: RedisServer) -> None:
    """The two programs are the ones they are called."""
    assert "valkey_version" not in redis.ask("INFO", "server")
    assert "valkey_version" in valkey.ask("INFO", "server")


def test_a_paused_server_does_not_answer(kind: Kind) -> None:
    """A client of a paused server waits, and is answered when the server is resumed."""
    kind.server.pause()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(kind.ask, kind.server.url, 42)
        with pytest.raises(TimeoutError):
            answer.result(MOMENT)
        kind.server.resume()
        assert answer.result() == 42


def test_a_paused_server_does_not_answer_open_connections(postgresql: DatabaseServer) -> None:
    """The processes that serve the connections of PostgreSQL are paused with it."""
    with psycopg.connect(postgresql.url) as connection, ThreadPoolExecutor(1) as pool:
        connection.execute("SELECT 1")
        postgresql.pause()
        answer = pool.submit(connection.execute, "SELECT 1")
        with pytest.raises(TimeoutError):
            answer.result(MOMENT)
        postgresql.resume()
        assert answer.result().fetchone() == (1,)


def test_killed_and_started_again(kind: Kind) -> None:
    """A killed server is gone; started again, it is found at the same URL."""
    process = kind.server.process
    kind.server.kill()
    with pytest.raises(FAILURES):
        kind.ask(kind.server.url, 42)
    kind.server.restart()
    assert kind.server.process.pid != process.pid
    assert kind.ask(kind.server.url, 42) == 42


def test_killed_databases_keep_what_was_committed(
    postgresql: DatabaseServer, mariadb: DatabaseServer
) -> None:
    """A row that was committed is there after the server was killed and started again."""
    with psycopg.connect(postgresql.url) as connection:
        connection.execute("CREATE TABLE kept (id int)")
    with mariadb_connection(mariadb.url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept (id int)")
    for server in (postgresql, mariadb):
        server.kill()
        server.restart()
    with psycopg.connect(postgresql.url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        connection.execute("DROP TABLE kept")
    with mariadb_connection(mariadb.url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM kept")
        assert cursor.fetchone() == (0,)
        cursor.execute("DROP TABLE kept")


@pytest.mark.parametrize("setting", ["appendonly no", "appendonly yes"])
def test_redis_keeps_what_it_is_told_to(tmp_path: Path, setting: str) -> None:
    """Redis forgets everything when it is killed, unless it is set to keep it."""
    with redis_server(tmp_path, settings=[setting, "appendfsync always"]) as server:
        server.ask("SET", "a", "1")
        server.kill()
        server.restart()
        assert server.ask("GET", "a") == ("1" if setting == "appendonly yes" else None)


def test_wrong_passwords_are_refused_by_databases(
    postgresql: DatabaseServer, mariadb: DatabaseServer
) -> None:
    """PostgreSQL and MariaDB refuse a client with a wrong password."""
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        ask_postgresql(postgresql.url.replace("secret", "wrong"), 42)
    with pytest.raises(pymysql.OperationalError, match="Access denied"):
        ask_mariadb(mariadb.url.replace("secret", "wrong"), 42)


@pytest.mark.parametrize(
    "settings",
    [("requirepass secret",), ("user glimr on >secret ~* &* +@all", "user default off")],
)
def test_wrong_passwords_are_refused_by_redis(tmp_path: Path, settings: tuple[str, ...]) -> None:
    """A Redis server that has a password, or a user with one, refuses a wrong one."""
    with redis_server(tmp_path, settings=settings) as server:
        assert ask_redis(server.url, 42) == 42
        with pytest.raises(RedisError, match="invalid username-password pair"):
            ask_redis(server.url.replace("secret", "wrong"), 42)


def test_administrators(postgresql: DatabaseServer, mariadb: DatabaseServer) -> None:
    """The administrator's URL is that of a user who may end the connections of others."""
    with psycopg.connect(postgresql.admin_url) as admin, psycopg.connect(postgresql.url) as victim:
        admin.execute("SELECT pg_terminate_backend(%s)", (victim.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            victim.execute("SELECT 1")
    with mariadb_connection(mariadb.admin_url) as admin, mariadb_connection(mariadb.url) as victim:
        with admin.cursor() as cursor:
            cursor.execute(f"KILL {victim.thread_id()}")
        with pytest.raises(pymysql.MySQLError):
            victim.ping(reconnect=False)


def test_tls(tmp_path: Path) -> None:
    """A server with TLS has a certificate that its own authority has signed, and no other."""
    with redis_server(tmp_path, tls=True) as server:
        assert server.url.startswith("rediss://")
        assert server.ask("PING") in (True, "PONG")
        with pytest.raises(RedisError, match="certificate verify failed"):
            ask_redis(server.url, 42)
        with pytest.raises(RedisError):
            ask_redis(server.url.replace("rediss", "redis"), 42)


def test_cluster(cluster: RedisCluster) -> None:
    """A cluster has three masters, and each keeps some of the keys."""
    roles = [node.ask("ROLE")[0] for node in cluster.nodes]
    assert roles == ["master"] * 3
    for node in cluster.nodes:
        node.ask("FLUSHALL")
    client: Any
    with ClusterClient.from_url(cluster.urls[0]) as client:
        for number in range(20):
            client.set(f"key {number}", number)
        assert client.get("key 7") == b"7"
    sizes = [node.ask("DBSIZE") for node in cluster.nodes]
    assert sum(sizes) == 20
    assert all(sizes)
    for node in cluster.nodes:
        node.ask("FLUSHALL")


def test_cluster_failover(tmp_path: Path) -> None:
    """The replica of a master that is killed takes its place."""
    with redis_cluster(tmp_path, replicas=1) as found:
        assert len(found.nodes) == 6
        replica = found.nodes[3]
        assert replica.ask("ROLE")[0] == "slave"
        found.nodes[0].kill()
        replica.until(lambda: replica.ask("ROLE")[0] == "master")


def test_sentinel_failover(tmp_path: Path) -> None:
    """The sentinels promote the replica of a master that does not answer."""
    with redis_sentinel(tmp_path) as group:
        make: Any = Sentinel  # it is not typed
        sentinel = make(group.addresses, socket_timeout=1)
        try:
            assert sentinel.discover_master(group.service) == ("127.0.0.1", group.master.port)
            group.master.pause()
            promoted = ("127.0.0.1", group.replica.port)
            group.replica.until(lambda: sentinel.discover_master(group.service) == promoted)
            assert group.replica.ask("ROLE")[0] == "master"
        finally:
            for client in sentinel.sentinels:
                client.close()


@pytest.mark.parametrize("pool_mode", ["session", "transaction"])
def test_pgbouncer(tmp_path: Path, postgresql: DatabaseServer, pool_mode: Any) -> None:
    """Clients of PgBouncer share a connection to the server, if it pools transactions."""
    with pgbouncer(tmp_path, postgresql, pool_mode=pool_mode) as pool:
        with (
            psycopg.connect(pool.url, autocommit=True) as first,
            psycopg.connect(pool.url, autocommit=True) as second,
        ):
            found = [
                connection.execute("SELECT pg_backend_pid()").fetchone()
                for connection in (first, second)
            ]
        assert (found[0] == found[1]) is (pool_mode == "transaction")
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            ask_postgresql(pool.url.replace("secret", "wrong"), 42)


def test_what_does_not_start_says_why(tmp_path: Path) -> None:
    """A server that does not start is an error with its log."""
    with (
        pytest.raises(AssertionError, match="Bad directive"),
        redis_server(tmp_path, settings=["no-such-setting yes"]),
    ):
        pass


def test_proxy_counts(client: Redis, proxy: Proxy) -> None:
    """The proxy counts connections and round trips, and records what is sent."""
    client.ping()
    proxy.reset()
    client.set("a", "1")
    with client.pipeline() as pipeline:
        pipeline.set("a", "2")
        pipeline.get("a")
        pipeline.execute()
    assert (proxy.connections, proxy.chunks, proxy.round_trips) == (0, 2, 2)
    assert b"SET" in proxy.sent[0]
    assert proxy.received[0] == b"+OK\r\n"
    assert ask_redis(f"redis://127.0.0.1:{proxy.port}/0", 42) == 42
    assert proxy.connections == 1


def test_proxy_loses_an_answer_of_redis(client: Redis, proxy: Proxy, redis: RedisServer) -> None:
    """A write whose answer is lost was made; the answers before and after it are not lost."""
    proxy.lose_answer(lambda chunk: b"\r\nSET\r\n" in chunk)
    assert client.get("a") is None
    with pytest.raises(RedisError):
        client.set("a", "1")
    assert proxy.lost == 1
    assert redis.ask("GET", "a") == "1"
    assert client.get("a") == "1"


def test_proxy_loses_an_answer_of_postgresql(postgresql: DatabaseServer) -> None:
    """A transaction is committed, although its client is not told."""
    with psycopg.connect(postgresql.url) as connection:
        connection.execute("CREATE TABLE unanswered (id int)")
    with Proxy(postgresql.port) as proxy:
        proxy.lose_answer(lambda chunk: b"COMMIT" in chunk)
        url = postgresql.url.replace(str(postgresql.port), str(proxy.port))
        with (
            pytest.raises(psycopg.OperationalError, match="closed the connection"),
            psycopg.connect(url) as connection,
        ):
            connection.execute("INSERT INTO unanswered VALUES (1)")
    with psycopg.connect(postgresql.url) as connection:
        assert connection.execute("SELECT id FROM unanswered").fetchall() == [(1,)]
        connection.execute("DROP TABLE unanswered")


def test_proxy_loses_an_answer_of_mariadb(mariadb: DatabaseServer) -> None:
    """A row is inserted, although its client is not told."""
    with mariadb_connection(mariadb.url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE unanswered (id int)")
        with Proxy(mariadb.port) as proxy:
            proxy.lose_answer(lambda chunk: b"INSERT" in chunk)
            url = mariadb.url.replace(str(mariadb.port), str(proxy.port))
            with (
                mariadb_connection(url) as unlucky,
                unlucky.cursor() as writer,
                pytest.raises(pymysql.OperationalError, match="Lost connection"),
            ):
                writer.execute("INSERT INTO unanswered VALUES (1)")
        cursor.execute("SELECT id FROM unanswered")
        assert cursor.fetchall() == ((1,),)
        cursor.execute("DROP TABLE unanswered")


def test_proxy_refuses(client: Redis, proxy: Proxy) -> None:
    """While the proxy refuses, an open connection works, and a new one is refused."""
    client.ping()
    proxy.refuse()
    client.set("a", "1")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port))
    proxy.accept()
    assert ask_redis(f"redis://127.0.0.1:{proxy.port}/0", 42) == 42


def test_proxy_stalls(client: Redis, proxy: Proxy, redis: RedisServer) -> None:
    """While the proxy stalls, nothing reaches the server; what was sent arrives afterwards."""
    client.ping()
    proxy.stall()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.set, "a", "1")
        with pytest.raises(TimeoutError):
            answer.result(MOMENT)
        assert redis.ask("GET", "a") is None
        proxy.resume()
        assert answer.result() is True
    assert redis.ask("GET", "a") == "1"


def test_proxy_cuts(client: Redis, proxy: Proxy, redis: RedisServer) -> None:
    """A request that is held back when connections are cut fails, and never arrives."""
    client.ping()
    proxy.stall()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.set, "a", "1")
        with pytest.raises(TimeoutError):
            answer.result(MOMENT)
        proxy.cut()
        with pytest.raises(RedisError):
            answer.result()
    proxy.resume()
    assert client.get("a") is None
    assert redis.ask("GET", "a") is None


def test_proxy_without_a_server(redis: RedisServer) -> None:
    """The proxy closes connections while its server is down, and serves when it is back."""
    with Proxy(redis.port) as proxy:
        redis.kill()
        url = f"redis://127.0.0.1:{proxy.port}/0"
        with pytest.raises(RedisError):
            ask_redis(url, 42)
        redis.restart()
        assert ask_redis(url, 42) == 42
