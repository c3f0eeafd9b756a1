"""Answers of a real server that are lost, as the metrics count them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from glimr_session import RedisStore, SessionStore, SqlStore
from glimr_session.metrics import MeteredStore
from glimr_session.testing.contract import Request, begin
from glimr_session.testing.requests import increment
from tests.metrics.readers import Prometheus
from tests.support.proxy import Proxy
from tests.support.services import DatabaseServer, RedisServer


@pytest.fixture(params=["redis", "sql"])
def lossy(request: pytest.FixtureRequest) -> Iterator[tuple[SessionStore, Proxy]]:
    """A store on Redis or PostgreSQL, and the proxy in front of its server."""
    if request.param == "redis":
        redis: RedisServer = request.getfixturevalue("redis")
        with Proxy(redis.port) as proxy:
            store: SessionStore = RedisStore(f"redis://127.0.0.1:{proxy.port}/0")
            yield store, proxy
            store.close()
        return
    postgresql: DatabaseServer = request.getfixturevalue("postgresql")
    with Proxy(postgresql.port) as proxy:
        url = postgresql.url.replace(str(postgresql.port), str(proxy.port))
        SqlStore.create_table(url, table="counted_sessions")
        store = SqlStore(url, table="counted_sessions")
        yield store, proxy
        store.close()


@pytest.mark.parametrize("loop", [False, True], ids=["thread", "loop"])
def test_a_lost_answer_is_counted_as_a_retry(lossy: tuple[SessionStore, Proxy], loop: bool) -> None:
    """And the commit once."""
    inner, proxy = lossy
    backend = Prometheus()
    store = MeteredStore(inner, backend.metrics)
    cookie_value = begin(store)

    async def work() -> None:
        base = await store.aopen(cookie_value)
        assert base is not None
        request = Request(store, cookie_value)
        increment("n")(request.state)
        proxy.lose_answer()
        assert (await store.acommit(request.state.changes)).outcome == "stored"

    if loop:
        asyncio.run(work())
    else:
        request = Request(store, cookie_value)
        proxy.lose_answer()
        assert request.answer(increment("n")).outcome == "stored"
    assert proxy.lost == 1
    assert backend.events(inner.kind) == {
        "opened": 2 if loop else 1,
        "committed": 2,
        "retry": 1,
    }
