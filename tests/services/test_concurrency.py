"""Many requests of one session at once, in many processes, on every store that is a server.

The scenes are those of ``tests.servers.test_concurrency``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from glimr_session import SqlStore
from tests.servers import test_concurrency as scenes
from tests.support.concurrency import begin, everywhere
from tests.support.servers import Server, running
from tests.support.services import DatabaseServer, RedisCluster, RedisServer

TABLE: Final = "concurrent_sessions"

globals().update({name: value for name, value in vars(scenes).items() if name[:5] == "test_"})


def redis_settings(url: str) -> dict[str, str]:
    return {"GLIMR_SESSION_STORE": "redis", "GLIMR_SESSION_REDIS_URL": url}


def sql_settings(url: str) -> dict[str, str]:
    SqlStore.create_table(url, table=TABLE)
    return {
        "GLIMR_SESSION_STORE": "sql",
        "GLIMR_SESSION_SQL_URL": url,
        "GLIMR_SESSION_SQL_TABLE": TABLE,
    }


@pytest.fixture(
    scope="module", params=("redis", "valkey", "cluster", "postgresql", "mariadb", "sqlite")
)
def environ(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The settings for each of the servers."""
    if request.param == "sqlite":
        return sql_settings(f"sqlite:///{tmp_path_factory.mktemp('sqlite')}/sessions.sqlite")
    found: RedisServer | RedisCluster | DatabaseServer = request.getfixturevalue(request.param)
    if isinstance(found, RedisCluster):
        for node in found.nodes:
            node.ask("FLUSHALL")
        return redis_settings(found.urls[0].replace("redis://", "redis+cluster://"))
    if isinstance(found, RedisServer):
        found.ask("FLUSHALL")
        return redis_settings(found.url)
    return sql_settings(found.url)


@pytest.fixture(scope="module")
def server(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """gunicorn, whose master has made the store before it forks."""
    directory: Path = tmp_path_factory.mktemp("concurrency")
    with running(
        "gunicorn preload",
        directory,
        app="tests.support.concurrency_app:site",
        store=environ["GLIMR_SESSION_STORE"],
        environ=environ,
        processes=scenes.PROCESSES,
        threads=scenes.THREADS,
    ) as found:
        everywhere(found, begin(found))  # gunicorn listens before its processes are there
        yield found
