"""The door on trio, as on asyncio."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from glimr_session import DiskStore, SessionStore
from glimr_session._loops import on_asyncio
from glimr_session.asgi import AsgiSession
from tests.support.asgi_client import Browser
from tests.support.wsgi_apps import Recorded

from .apps import (
    LIFETIME,
    answering,
    browser_with,
    chatting,
    data_of,
    noting,
    put,
    streaming,
    wrap,
)


def run(work: Callable[[], Awaitable[Any]]) -> None:
    trio.run(work)


def test_a_session_goes_from_request_to_request(store: SessionStore) -> None:
    """Read, changed, logged in, flashed, and ended."""
    found: list[Any] = []

    async def work() -> None:
        assert not on_asyncio()
        browser = await browser_with(store, a=1)
        await browser.get(wrap(answering(lambda session: session.flash("notice", "Hello")), store))
        await browser.get(wrap(answering(), store))
        look = noting(found, lambda session: (session.get_flash("notice"), dict(session)))
        await browser.get(wrap(answering(look), store))
        await browser.get(wrap(answering(lambda session: session.regenerate()), store))
        await browser.get(wrap(answering(lambda session: session.increment("a")), store))
        found.append(await data_of(browser, store))
        await browser.get(wrap(answering(lambda session: session.invalidate()), store))
        assert browser.cookies.header() == ""

    run(work)
    assert found == [("Hello", {"a": 1}), {"a": 2}]


def test_later_changes_and_saves(server_store: SessionStore) -> None:
    """Of a response that streams, and of a websocket."""

    async def save(session: AsgiSession) -> None:
        session.increment("n")
        await session.save()

    async def work() -> None:
        browser = await browser_with(server_store, n=0)
        await browser.get(wrap(streaming(save, save, put("after", 1)), server_store))
        await browser.websocket(wrap(chatting(save, save), server_store), ["hello"]).run()
        assert await data_of(browser, server_store) == {"n": 4, "after": 1}

    run(work)


def test_an_outage_is_a_plain_page() -> None:
    """Of the read, and of the commit."""
    recorded = Recorded()

    async def work() -> None:
        browser = await browser_with(recorded.store, a=1)
        recorded.down = True
        for app in (answering(dict), answering(put("b", 2))):
            assert (await browser.get(wrap(app, recorded.store))).status == 503

    run(work)


def test_while_a_commit_waits_for_a_lock_the_loop_goes_on(disk: DiskStore) -> None:
    """Another task releases the lock that the request waits for."""

    async def work() -> None:
        browser, other = await browser_with(disk, a=1), await browser_with(disk, a=2)
        with closing(sqlite3.connect(disk.directory / "cache.db", isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(browser.get, wrap(answering(put("b", 2)), disk))
                for _ in range(100):  # turns of the loop
                    await trio.sleep(0)
                assert await data_of(other, disk) == {"a": 2}
                writer.execute("ROLLBACK")
        assert await data_of(browser, disk) == {"a": 1, "b": 2}

    run(work)


@pytest.mark.parametrize("settings", [{"durability": "power"}, {}], ids=["power", "closed"])
def test_what_may_wait_is_done_in_a_thread(settings: dict[str, Any], tmp_path: Path) -> None:
    """A commit that waits for the disk; and a store with nothing open is opened in one."""

    async def work() -> None:
        browser = await browser_with(store, a=1)
        if not settings:
            store.close()
        await browser.get(wrap(answering(put("b", 2)), store))
        assert await data_of(browser, store) == {"a": 1, "b": 2}

    with closing(DiskStore(tmp_path / "sessions", lifetime=LIFETIME, **settings)) as store:
        run(work)


def test_the_policy_is_asked_in_a_thread(disk: DiskStore) -> None:
    """Whether to collect."""
    asked: list[threading.Thread] = []

    class Asked(DiskStore):
        def claim_gc(self, interval: float) -> float:
            asked.append(threading.current_thread())
            return interval

    async def work(store: DiskStore) -> None:
        await Browser().get(wrap(answering(put("a", 1)), store, gc="interval"))

    with closing(Asked(disk.directory, lifetime=LIFETIME)) as store:
        run(lambda: work(store))
    assert len(asked) == 1
    assert asked[0] is not threading.main_thread()
