"""Requests in a given order of steps, and in any order, on the databases of the SQL store.

The same scenes on Redis, Valkey and a Cluster are in ``test_redis_store``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from glimr_session import SqlStore
from tests.services import test_redis_store as scenes
from tests.support.services import DatabaseServer
from tests.testing.test_any_order import Interleavings
from tests.testing.test_interleavings import Answers

TABLE = "interleaved_sessions"

test_requests_at_once = scenes.test_requests_of_a_site_at_once_are_merged
test_a_request_beside_a_login = scenes.test_a_request_beside_a_login_is_merged_and_keeps_its_cookie
test_a_request_beside_a_logout = (
    scenes.test_a_request_beside_a_logout_does_not_bring_the_session_back
)
test_a_logout_beside_a_login = scenes.test_a_logout_beside_a_login_ends_the_session
test_all_sessions_of_an_owner = scenes.test_all_sessions_of_an_owner_end_before_or_after_a_request


class Rows:
    """A table, asked as the state machine asks the database of the disk store."""

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        driver = {"postgresql": "postgresql+psycopg"}.get(scheme, scheme)
        self.engine = sqlalchemy.create_engine(
            f"{driver}://{rest}", poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT"
        )

    def execute(self, statement: str) -> Any:
        words = statement.replace("FROM Cache", f"FROM {TABLE}")
        words += " AND number <> 0" if "WHERE" in words else " WHERE number <> 0"
        with self.engine.connect() as connection:
            found = connection.execute(sqlalchemy.text(words))
            rows = found.fetchall() if found.returns_rows else []
        return _Found(rows)


class _Found:
    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def fetchall(self) -> Any:
        return self._rows


@pytest.fixture(params=["postgresql", "mariadb", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with a table."""
    found = f"sqlite:///{tmp_path}/sessions.sqlite"
    if request.param != "sqlite":
        server: DatabaseServer = request.getfixturevalue(request.param)
        found = server.url
    SqlStore.create_table(found, table=TABLE)
    return found


@pytest.fixture
def answers(url: str) -> Iterator[Answers]:
    """A site whose sessions are in the table, and a browser."""
    store = SqlStore(url, table=TABLE)
    yield Answers(store)
    store.close()


def test_any_order_of_steps_is_as_one_request_after_the_other(url: str) -> None:
    """What is found after any order of steps is what whole requests, one after the other, make."""

    class OnSql(Interleavings):
        store: Any = SqlStore(url, table=TABLE)
        database: Any = Rows(url)

    run_state_machine_as_test(OnSql, settings=settings(stateful_step_count=25, max_examples=10))
    OnSql.store.close()
