"""Event loops: SessionBase's methods for them, and sites under ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.core.handlers.asgi import ASGIHandler
from django.http import StreamingHttpResponse
from django.test import AsyncClient

from glimr_session import DiskStore, StoreUnavailable
from glimr_session.django import SessionStore

from .site import avisit

# Django's own methods for event loops, such as aget(), came with Django 5.1.
NEW = hasattr(SessionBase, "aset")


async def data_of(client: Any) -> Any:
    return (await client.get("/read")).json()


async def set_value(session: Any, key: str, value: object) -> None:
    if NEW:
        await session.aset(key, value)
    else:
        await session._aget_session()
        session[key] = value


def test_a_session_for_event_loops() -> None:
    """Each method does what its sister does."""

    async def program() -> None:
        session: Any = SessionStore()
        await session.acreate()
        former = session.session_key
        await set_value(session, "n", 1)
        await session.asave()
        assert await session.aexists(former)
        await session.acycle_key()
        assert not await session.aexists(former)
        assert await SessionStore(session.session_key).aload() == {"n": 1}
        assert await SessionStore(session.session_key).asetdefault("n", 2) == 1
        assert not await session.aget_expire_at_browser_close()
        other: Any = SessionStore(session.session_key)
        await other.adelete()
        with pytest.raises(UpdateError):
            await session.asave()
        await session.aflush()
        assert session.session_key is None
        await SessionStore.aclear_expired()

    asyncio.run(program())


@pytest.mark.usefixtures("middleware")
def test_async_views() -> None:
    """One after the other, and many at once: nothing is lost."""

    async def act(request: Any) -> dict[str, Any]:
        await request.session._aget_session()
        request.session.increment("visits")
        return {}

    async def program() -> None:
        client = AsyncClient()
        for _ in range(3):
            await avisit(client, act)
        await asyncio.gather(*(avisit(client, act) for _ in range(10)))
        assert await data_of(client) == {"visits": 13}

    asyncio.run(program())


@pytest.mark.usefixtures("ours")
def test_a_body_of_an_async_view() -> None:
    """What it does while it is sent is committed; an outage is 503."""

    async def stream(request: Any) -> StreamingHttpResponse:
        session = request.session
        await set_value(session, "n", 1)

        async def chunks() -> AsyncIterator[bytes]:
            session["n"] += 1
            yield b"one"
            session["n"] += 1

        return StreamingHttpResponse(chunks())

    async def program() -> None:
        client = AsyncClient()
        response: Any = await avisit(client, stream)
        assert [chunk async for chunk in response.streaming_content] == [b"one"]
        assert await data_of(client) == {"n": 3}

    asyncio.run(program())


@pytest.mark.usefixtures("ours")
def test_an_outage_under_asgi(monkeypatch: pytest.MonkeyPatch) -> None:
    """503 by the middleware."""

    def down(*args: object, **kwargs: object) -> None:
        raise StoreUnavailable("the disk is full")

    async def act(request: Any) -> dict[str, Any]:
        await set_value(request.session, "n", 1)
        return {}

    async def program() -> None:
        monkeypatch.setattr(DiskStore, "commit", down)
        assert (await avisit(AsyncClient(), act)).status_code == 503

    asyncio.run(program())


def test_under_the_handler_of_a_server(middleware: str) -> None:
    """The bare ASGI application, with the cookie that it sets."""

    async def ask(application: Any, cookie: bytes) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []
        waiting = [{"type": "http.request", "body": b"", "more_body": False}]
        left = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if waiting:
                return waiting.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"cookie", cookie)]
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
            "path": "/count/a", "query_string": b"", "headers": headers, "scheme": "http",
        }  # fmt: skip
        await application(scope, receive, send)
        return sent

    async def program() -> None:
        application = ASGIHandler()
        start, body = await ask(application, b"")
        assert start["status"] == 200
        cookie = dict(start["headers"])[b"Set-Cookie"].partition(b";")[0].strip()
        start, body = await ask(application, cookie)
        assert b'"visits": 2' in body["body"]

    asyncio.run(program())
