"""Requests that are cancelled, at each place where they wait."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing

import anyio
import pytest

from glimr_session import DiskStore, Json, SessionStore
from glimr_session.asgi import AsgiSession, Message
from tests.support.actors import living_session_actors
from tests.support.asgi_client import LOOPS
from tests.support.wsgi_apps import Recorded

from .apps import answering, browser_with, chatting, data_of, put, run, streaming, wrap

pytestmark = pytest.mark.parametrize("loop", LOOPS)


class Place:
    """Where a task waits until it is cancelled."""

    def __init__(self) -> None:
        self.reached = anyio.Event()

    async def wait(self) -> None:
        self.reached.set()
        await anyio.sleep_forever()

    def change(self, key: str) -> Callable[[AsgiSession], Awaitable[None]]:
        """Return what a handler does: it changes a key, and waits."""

        async def wait(session: AsgiSession) -> None:
            session[key] = True
            await self.wait()

        return wait

    def at(self, kind: str) -> Callable[[Message], Awaitable[None]]:
        """Return a server that waits when it is to send this."""

        async def on_send(message: Message) -> None:
            if message["type"] == kind:
                await self.wait()

        return on_send


EARLY: dict[str, Json] = {"a": 1, "early": True}


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("in the handler", {"a": 1}),
        ("while the start is sent", EARLY),
        ("while a chunk is sent", EARLY),
        ("between two chunks", EARLY),
        ("after the response", EARLY),
    ],
)
def test_a_cancelled_request_commits_nothing_more(
    where: str, kept: dict[str, Json], loop: str, server_store: SessionStore
) -> None:
    """What was committed stays, what was changed afterwards is dropped, and no actor is left."""

    async def work() -> None:
        browser = await browser_with(server_store, a=1)
        place = Place()
        early, late = put("early", True), put("late", True)
        apps = {
            "in the handler": (answering(place.change("early")), None),
            "while the start is sent": (streaming(early, late), place.at("http.response.start")),
            "while a chunk is sent": (streaming(early, late), place.at("http.response.body")),
            "between two chunks": (streaming(early, place.change("late")), None),
            "after the response": (streaming(early, after=place.change("late")), None),
        }
        app, on_send = apps[where]
        async with anyio.create_task_group() as group:
            group.start_soon(browser.request(wrap(app, server_store), on_send=on_send).run)
            await place.reached.wait()
            group.cancel_scope.cancel()
        assert living_session_actors() == []
        assert await data_of(browser, server_store) == kept

    LOOPS[loop](work)


@pytest.mark.parametrize("where", ["reading ahead", "committing", "committing late"])
def test_a_request_that_is_cancelled_while_its_store_works(where: str, loop: str) -> None:
    """What the store has been told is done once, and nothing is committed after it."""
    recorded = Recorded()
    browser = run(browser_with(recorded.store, a=1))
    working, gate = threading.Event(), threading.Event()

    def be_slow() -> None:
        working.set()
        assert gate.wait(20)

    def change(session: AsgiSession) -> None:
        session["n"] = 1
        recorded.while_loading = be_slow  # a commit begins with a load

    async def work() -> None:
        app = {
            "reading ahead": answering(put("n", 1)),
            "committing": streaming(change, put("late", True)),
            "committing late": streaming(dict, change),
        }[where]
        async with anyio.create_task_group() as group:
            group.start_soon(browser.request(wrap(app, recorded.store)).run)
            while not working.is_set():
                await anyio.sleep(0.001)
            group.cancel_scope.cancel()
            gate.set()
        assert living_session_actors() == []

    recorded.calls.clear()
    if where == "reading ahead":
        recorded.while_loading = be_slow
    LOOPS[loop](work)
    recorded.while_loading = lambda: None
    saved = where != "reading ahead"
    assert recorded.calls == ["load", *(["load", "save"] if saved else [])]
    assert run(data_of(browser, recorded.store)) == {"a": 1, **({"n": 1} if saved else {})}


def test_a_request_that_is_cancelled_while_it_waits_for_a_lock(loop: str, disk: DiskStore) -> None:
    """Its commit is not made, and the next request goes on."""
    browser = run(browser_with(disk, n=0))

    async def work() -> None:
        app = wrap(answering(lambda session: session.increment("n")), disk)
        with closing(sqlite3.connect(disk.directory / "cache.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with anyio.create_task_group() as group:
                group.start_soon(browser.request(app).run)
                for _ in range(100):  # turns of the loop
                    await anyio.sleep(0)
                group.cancel_scope.cancel()
                other.execute("ROLLBACK")
        assert living_session_actors() == []

    LOOPS[loop](work)
    assert run(data_of(browser, disk)) == {"n": 0}


@pytest.mark.parametrize(
    ("where", "kept"),
    [("before it is accepted", {"a": 1}), ("while it is accepted", EARLY), ("when open", EARLY)],
)
def test_a_cancelled_websocket_commits_nothing_more(
    where: str, kept: dict[str, Json], loop: str, server_store: SessionStore
) -> None:
    """As a server does that shuts down."""

    async def work() -> None:
        browser = await browser_with(server_store, a=1)
        place = Place()
        early, late = put("early", True), put("late", True)
        apps = {
            "before it is accepted": (chatting(place.change("early")), None),
            "while it is accepted": (chatting(early, late), place.at("websocket.accept")),
            "when open": (chatting(early, place.change("late")), None),
        }
        app, on_send = apps[where]
        websocket = browser.websocket(wrap(app, server_store), ["hello"], on_send=on_send)
        async with anyio.create_task_group() as group:
            group.start_soon(websocket.run)
            await place.reached.wait()
            group.cancel_scope.cancel()
        assert living_session_actors() == []
        assert await data_of(browser, server_store) == kept

    LOOPS[loop](work)
