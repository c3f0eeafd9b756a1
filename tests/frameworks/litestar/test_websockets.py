"""Sessions of Litestar's websockets."""

from __future__ import annotations

from typing import Any, TypeAlias

import pytest
from litestar import WebSocket, websocket, websocket_listener
from litestar.exceptions import NotAuthorizedException, WebSocketDisconnect

from glimr_session import DiskStore, SessionStore
from glimr_session.asgi import session_of

from .sites import client_of, values

AnySocket: TypeAlias = WebSocket[Any, Any, Any]


@websocket("/count")
async def count(socket: AnySocket) -> None:
    """Count messages, and commit each before it is answered."""
    session = session_of(socket)
    session.setdefault("messages", 0)
    await socket.accept()
    async for _ in socket.iter_data("text"):
        number = session.increment("messages")
        await session.save()
        await socket.send_json(number)


@pytest.mark.parametrize("wrapped", [False, True], ids=["in its middleware", "around it"])
def test_save_commits_while_it_is_open(disk: DiskStore, wrapped: bool) -> None:
    """A page sees each message that was answered."""
    with client_of(disk, count, wrapped=wrapped) as client:
        client.get("/put?a=1")
        with client.websocket_connect("/count") as socket:
            for number in (1, 2):
                socket.send_text("hello")
                assert socket.receive_json() == number
                assert values(client) == {"a": "1", "messages": number}


def test_a_listener_commits_at_its_end(disk: DiskStore) -> None:
    """Each of its messages changes the session of the browser."""

    @websocket_listener("/listen")
    async def listen(data: str, socket: AnySocket) -> str:
        socket.session.setdefault("seen", []).append(data)
        return data

    with client_of(disk, listen) as client:
        client.get("/put?a=1")
        with client.websocket_connect("/listen") as socket:
            for text in ("one", "two"):
                socket.send_text(text)
                assert socket.receive_text() == text
        assert values(client) == {"a": "1", "seen": ["one", "two"]}


def test_clear_session_counts_before_and_after_it_is_accepted(disk: DiskStore) -> None:
    """As in a page."""

    @websocket("/before")
    async def before(socket: AnySocket) -> None:
        socket.clear_session()
        await socket.accept()
        await socket.close()

    @websocket("/after")
    async def after(socket: AnySocket) -> None:
        await socket.accept()
        await socket.send_json(dict(socket.session))
        socket.clear_session()
        await socket.close()

    with client_of(disk, before, after) as client:
        for path in ("/before", "/after"):
            client.get("/put?a=1")
            with client.websocket_connect(path) as socket:
                if path == "/after":
                    assert socket.receive_json() == {"a": "1"}
            assert values(client) == {}


def test_one_that_is_refused_keeps_nothing(store: SessionStore) -> None:
    """Its handshake has no headers of ours."""

    @websocket("/refuse")
    async def refuse(socket: AnySocket) -> None:
        socket.session["refused"] = 1
        raise NotAuthorizedException

    with client_of(store, refuse) as client:
        client.get("/put?a=1")
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/refuse"):
            pass
        assert values(client) == {"a": "1"}
