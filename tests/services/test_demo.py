"""The sign-up site on Redis and in a database, as ``make demo STORE=redis`` serves it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.browser import SITE, copy_of_site, serving
from tests.support.services import DatabaseServer, RedisServer
from tests.test_examples import KEY, Visitor


def sign_up_and_out(url: str) -> None:
    """Sign up on the site, and log out."""
    visitor = Visitor(url)
    assert visitor.sign_up().status == 303
    assert visitor.is_known()
    cookie = visitor.cookies.header()
    assert visitor.log_out().status == 303
    assert not visitor.is_known()
    visitor.cookies = type(visitor.cookies)(cookie)
    assert not visitor.is_known()


@pytest.mark.parametrize("store", ["redis", "sql"])
def test_without_a_url_the_site_has_a_server_or_a_file_of_its_own(
    store: str, redis: RedisServer, tmp_path: Path
) -> None:
    """A server that ends with it, or a file beside its other files."""
    del redis  # so that the test is skipped where there is no redis-server
    script = copy_of_site(tmp_path)
    with serving(script, STORE=store, GLIMR_SESSION_SECRET_KEYS=KEY) as url:
        sign_up_and_out(url)
    assert (tmp_path / "var" / "sessions.sqlite").exists() is (store == "sql")


def test_with_a_url_it_is_on_that_server(redis: RedisServer) -> None:
    """The sessions are keys of that server."""
    redis.ask("FLUSHALL")
    settings = {"GLIMR_SESSION_REDIS_URL": redis.url, "GLIMR_SESSION_SECRET_KEYS": KEY}
    with serving(SITE, STORE="redis", **settings) as url:
        assert Visitor(url).sign_up().status == 303
        assert redis.ask("DBSIZE") == 2  # and who it belongs to


def test_a_table_that_is_missing_is_said_in_one_line(
    postgresql: DatabaseServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """And how to make it."""
    settings = {
        "GLIMR_SESSION_SQL_URL": postgresql.url,
        "GLIMR_SESSION_SQL_TABLE": "missing_sessions",
        "GLIMR_SESSION_SECRET_KEYS": KEY,
    }
    with (
        pytest.raises(AssertionError, match="glimr-session sql-schema"),
        serving(SITE, STORE="sql", **settings),
    ):
        pass
