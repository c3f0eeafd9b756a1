"""The servers that the tests share. Each is started when a test asks for it first.

Tests isolate themselves: they flush Redis, and have tables of their own in databases. A test may
pause or kill a server; it runs again before the next test.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import services
from tests.support.services import DatabaseServer, RedisCluster, RedisServer, Service


@pytest.fixture(scope="session")
def running() -> list[Service]:
    """The servers that have been started."""
    return []


@pytest.fixture(autouse=True)
def _mended(running: list[Service]) -> Iterator[None]:
    """No test may leave a server paused or ended."""
    yield
    for server in running:
        server.mend()


@pytest.fixture(scope="session")
def redis(
    tmp_path_factory: pytest.TempPathFactory, running: list[Service]
) -> Iterator[RedisServer]:
    """A Redis server that keeps nothing on disk."""
    with services.redis_server(tmp_path_factory.mktemp("redis")) as server:
        running.append(server)
        yield server
        running.remove(server)


@pytest.fixture(scope="session")
def valkey(
    tmp_path_factory: pytest.TempPathFactory, running: list[Service]
) -> Iterator[RedisServer]:
    """A Valkey server that keeps nothing on disk."""
    directory = tmp_path_factory.mktemp("valkey")
    with services.redis_server(directory, program="valkey-server") as server:
        running.append(server)
        yield server
        running.remove(server)


@pytest.fixture(scope="session")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, running: list[Service]
) -> Iterator[RedisCluster]:
    """A cluster of three Redis servers, without replicas."""
    with services.redis_cluster(tmp_path_factory.mktemp("cluster")) as found:
        running += found.nodes
        yield found
        for node in found.nodes:
            running.remove(node)


@pytest.fixture(scope="session")
def postgresql(
    tmp_path_factory: pytest.TempPathFactory, running: list[Service]
) -> Iterator[DatabaseServer]:
    """A PostgreSQL server."""
    with services.postgresql_server(tmp_path_factory.mktemp("postgresql")) as server:
        running.append(server)
        yield server
        running.remove(server)


@pytest.fixture(scope="session")
def mariadb(
    tmp_path_factory: pytest.TempPathFactory, running: list[Service]
) -> Iterator[DatabaseServer]:
    """A MariaDB server."""
    with services.mariadb_server(tmp_path_factory.mktemp("mariadb")) as server:
        running.append(server)
        yield server
        running.remove(server)
