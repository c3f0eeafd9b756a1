"""The middleware in event loops, on stores that are servers.

On asyncio, Redis and PostgreSQL are asked by their asyncio clients, and no thread is started;
MariaDB is asked in threads, and on trio all of them are.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import anyio
import pytest

from glimr_session import RedisStore, SessionConfig, SessionStore, SqlStore
from glimr_session.asgi import ASGIApp, SessionMiddleware
from tests.services.test_sql_store import new_table, plain
from tests.support.asgi_apps import EVENTS, site
from tests.support.asgi_client import LOOPS, Browser
from tests.support.services import DatabaseServer, RedisServer

# A collection would begin a thread, and connections of its own.
CONFIG: Final = SessionConfig(secret_keys=["a key for tests that is long enough"], gc="never")
AT_ONCE: Final = 30
CANCELLED: Final = 60

Run = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]

ON_ASYNCIO: Final = ("redis", "postgresql")


@pytest.fixture(params=["redis", "postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> RedisServer | DatabaseServer:
    """Each of the servers."""
    found: RedisServer | DatabaseServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def timeout() -> float:
    """Seconds that a store waits, here for a busy machine."""
    return 10.0


@pytest.fixture
def app(server: RedisServer | DatabaseServer, timeout: float) -> Iterator[ASGIApp]:
    """The site of ``asgi_apps`` with sessions on that server."""
    store: SessionStore
    if isinstance(server, RedisServer):
        server.ask("FLUSHALL")
        store = RedisStore(server.url, timeout=timeout)
    else:
        store = SqlStore(plain(server.url), table=new_table(server), timeout=timeout)
    yield SessionMiddleware(site, CONFIG, store=store)
    store.close()


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine function on each event loop."""
    found: Run = LOOPS[request.param]
    return found


async def get(app: ASGIApp, browser: Browser, path: str = "/session") -> Any:
    """Return what a path of the site has found."""
    exchange = await browser.get(app, path)
    assert exchange.status == 200
    return json.loads(exchange.body)["found"]


async def visit(app: ASGIApp) -> None:
    """Read, write, log in and out, and use flash, a websocket and a stream."""
    browser = Browser()
    assert [await get(app, browser, "/count") for _ in range(2)] == [1, 2]
    before = browser.twin()
    await get(app, browser, "/login")
    assert await get(app, before) == {}
    await get(app, browser, "/flash")
    assert [await get(app, browser, "/shown") for _ in range(2)] == ["saved", ""]
    assert (await browser.websocket(app, ["a", "b"]).run()).texts == ["1", "2"]
    events = await browser.get(app, "/events")
    assert events.body.count(b"data: ") == EVENTS
    whole = {"count": 2, "user": "ada", "messages": 2, "events": EVENTS}
    assert await get(app, browser) == whole
    copy = browser.twin()
    await get(app, browser, "/logout")
    assert await get(app, copy) == {}


async def count_at_once(app: ASGIApp, browser: Browser) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(get, app, browser.twin(), "/count")


def test_sessions_are_what_they_are_elsewhere(run: Run, app: ASGIApp) -> None:
    """What is written is read, a login moves the session, and a logout ends it."""
    run(lambda: visit(app))


def test_increments_at_once_add_up(run: Run, app: ASGIApp) -> None:
    """Requests of one event loop that increment a counter at once are all counted."""

    async def work() -> Any:
        browser = Browser()
        await get(app, browser, "/login")
        await count_at_once(app, browser)
        return await get(app, browser)

    assert run(work) == {"user": "ada", "count": AT_ONCE}


@pytest.mark.parametrize("server", ON_ASYNCIO, indirect=True)
def test_asyncio_clients_need_no_thread(app: ASGIApp) -> None:
    """Requests, also at once, start no thread."""
    before = threading.enumerate()

    async def work() -> list[threading.Thread]:
        await visit(app)
        await count_at_once(app, Browser())
        return threading.enumerate()

    assert asyncio.run(work()) == before


def test_two_event_loops_share_a_session(app: ASGIApp) -> None:
    """Two threads with an event loop each count in one session at once, and lose nothing."""
    browser = Browser()
    asyncio.run(get(app, browser, "/login"))

    def work(_: int) -> None:
        asyncio.run(count_at_once(app, browser))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    assert asyncio.run(get(app, browser)) == {"user": "ada", "count": 2 * AT_ONCE}


@pytest.mark.parametrize("timeout", [0.5])
def test_an_outage_is_no_logout(run: Run, app: ASGIApp, server: DatabaseServer) -> None:
    """A server that says nothing is a 503, also for a commit; everybody is still there later."""

    async def status(browser: Browser, path: str) -> int:
        return (await browser.get(app, path)).status

    async def work() -> Any:
        browser = Browser()
        await get(app, browser, "/login")
        server.pause()
        try:
            found = [await status(browser, path) for path in ("/session", "/health")]
            found.append(await status(Browser(), "/count"))
        finally:
            server.resume()
        assert found == [503, 200, 503]
        return await get(app, browser)

    assert run(work) == {"user": "ada"}


@pytest.mark.parametrize("server", ON_ASYNCIO, indirect=True)
def test_cancelled_requests_count_once_or_not_at_all(app: ASGIApp) -> None:
    """Requests that are cancelled anywhere leave no connection that others would stumble over."""

    async def work() -> Any:
        browser = Browser()
        await get(app, browser, "/login")
        answered = 0
        for number in range(CANCELLED):
            request = asyncio.create_task(get(app, browser.twin(), "/count"))
            await asyncio.sleep(0.003 * random.random())
            if number % 2:
                request.cancel()
            ended = await asyncio.gather(request, return_exceptions=True)
            answered += not isinstance(ended[0], BaseException)
        return answered, (await get(app, browser))["count"]

    answered, count = asyncio.run(work())
    assert CANCELLED // 2 <= answered <= count <= CANCELLED
