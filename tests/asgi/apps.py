"""ASGI applications for tests, and the stores they run on."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeAlias, TypeVar

from glimr_session import Json, SessionConfig, SessionStore
from glimr_session.asgi import ASGIApp, AsgiSession, Receive, Scope, Send, SessionMiddleware
from tests.support.asgi_client import Browser
from tests.support.wsgi_apps import CONFIG, KEY, LIFETIME

__all__ = [
    "CONFIG",
    "KEY",
    "LIFETIME",
    "Change",
    "answering",
    "browser_with",
    "chatting",
    "config",
    "data_of",
    "nothing",
    "noting",
    "put",
    "run",
    "streaming",
    "wrap",
]

T = TypeVar("T")

Change: TypeAlias = Callable[[AsgiSession], object]
"""What a handler does to its session. If that can be awaited, it is."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on asyncio."""
    return asyncio.run(work)


def config(**settings: Any) -> SessionConfig:
    """Return the configuration of these tests with other settings."""
    return SessionConfig(**{"secret_keys": [KEY], "gc": "never", "lifetime": LIFETIME, **settings})


def wrap(app: ASGIApp, store: SessionStore, **settings: Any) -> SessionMiddleware:
    """Return an application with sessions."""
    return SessionMiddleware(app, config(**settings) if settings else CONFIG, store=store)


def nothing(session: AsgiSession) -> None:
    """Leave the session alone."""


def put(key: str, value: Any) -> Change:
    return lambda session: session.put(key, value)


def noting(found: list[Any], use: Change) -> Change:
    """Return a change that notes what another one returns."""
    return lambda session: found.append(use(session))


async def apply(change: Change, scope: Scope) -> None:
    result = change(scope["session"])
    if inspect.isawaitable(result):
        await result


def answering(
    change: Change = nothing, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()
) -> ASGIApp:
    """Return an application that does something to its session, and answers."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await apply(change, scope)
        start = {"type": "http.response.start", "status": status, "headers": [*headers]}
        await send(start)
        await send({"type": "http.response.body", "body": b"answer"})

    return app


def streaming(
    early: Change = nothing,
    late: Change = nothing,
    after: Change = nothing,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> ASGIApp:
    """Return an application that changes its session before, in and after its body."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await apply(early, scope)
        await send({"type": "http.response.start", "status": 200, "headers": [*headers]})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await apply(late, scope)
        await send({"type": "http.response.body", "body": b"second"})
        await apply(after, scope)

    return app


def chatting(early: Change = nothing, each: Change = nothing, late: Change = nothing) -> ASGIApp:
    """Return an application for websockets that answers each text with all the data."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await apply(early, scope)
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            await apply(each, scope)
            await send({"type": "websocket.send", "text": str(dict(scope["session"]))})
        await apply(late, scope)

    return app


async def data_of(browser: Browser, store: SessionStore) -> dict[str, Json]:
    """Return the data that the next request of this browser finds."""
    found: dict[str, Json] = {}
    await browser.get(wrap(answering(found.update), store))
    return found


async def browser_with(store: SessionStore, **data: Json) -> Browser:
    """Return a browser that has a session with this data."""
    browser = Browser()
    await browser.get(wrap(answering(lambda session: session.update(data)), store))
    assert await data_of(browser, store) == data
    return browser
