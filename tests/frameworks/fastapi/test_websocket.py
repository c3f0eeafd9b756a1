"""SessionDep in websockets."""

from __future__ import annotations

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.testclient import TestClient

from glimr_session import CookieStore, DiskStore, SessionStore
from glimr_session.fastapi import SessionDep

from .sites import ask, make_app


def with_counter(store: SessionStore, *, saving: bool = True) -> FastAPI:
    """Return an application whose websocket counts messages, below a router and a prefix."""
    app = make_app(store)
    router = APIRouter(prefix="/live")

    @app.get("/begin")
    async def begin(session: SessionDep) -> None:
        session["begun"] = True

    @router.websocket("/counter")
    async def count(websocket: WebSocket, session: SessionDep) -> None:
        await websocket.accept()
        async for _ in websocket.iter_text():
            session.increment("messages")
            if saving:
                await session.save()
            await websocket.send_text("done")

    app.include_router(router)
    return app


def test_each_message_is_saved(disk: DiskStore) -> None:
    """What a websocket has saved is there for a request before the websocket has ended."""
    client = TestClient(with_counter(disk))
    ask(client, "/begin")
    with client.websocket_connect("/live/counter") as socket:
        for number in (1, 2):
            socket.send_text("")
            socket.receive_text()
            assert ask(client) == {"begun": True, "messages": number}


def test_two_websockets_add_up(disk: DiskStore) -> None:
    """Websockets that know nothing of each other's messages count them all."""
    client = TestClient(with_counter(disk))
    ask(client, "/begin")
    with (
        client.websocket_connect("/live/counter") as first,
        client.websocket_connect("/live/counter") as second,
    ):
        for socket in (first, second, first, second, first):
            socket.send_text("")
            socket.receive_text()
        assert ask(client) == {"begun": True, "messages": 5}


def test_what_was_not_saved_is_kept_at_the_end(disk: DiskStore) -> None:
    """Without ``save()`` the messages are counted when the websocket has ended."""
    client = TestClient(with_counter(disk, saving=False))
    ask(client, "/begin")
    with client.websocket_connect("/live/counter") as socket:
        socket.send_text("")
        socket.receive_text()
        assert ask(client) == {"begun": True}
    assert ask(client) == {"begun": True, "messages": 1}


def test_a_session_that_begins_before_it_is_accepted(store: SessionStore) -> None:
    """The answer to the handshake sets the cookie."""
    app = make_app(store)

    @app.websocket("/hello")
    async def hello(websocket: WebSocket, session: SessionDep) -> None:
        session["greeted"] = True
        await websocket.accept()
        await websocket.close()

    client = TestClient(app)
    with client.websocket_connect("/hello") as socket:
        headers: dict[bytes, bytes] = dict(socket.extra_headers or [])
    assert headers[b"set-cookie"].startswith(b"glimr_session=")
    client.cookies.set("glimr_session", headers[b"set-cookie"].decode().split(";")[0][14:])
    assert ask(client) == {"greeted": True}


@pytest.mark.parametrize("reason", ["it lives in the cookie", "it has ended"])
def test_a_change_that_cannot_be_kept_is_told(
    disk: DiskStore, caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    """A warning says why what was saved is lost, and the websocket goes on."""
    app = with_counter(CookieStore() if reason == "it lives in the cookie" else disk)

    @app.get("/logout")
    async def log_out(session: SessionDep) -> None:
        session.invalidate()

    client = TestClient(app)
    ask(client, "/begin")
    with client.websocket_connect("/live/counter") as socket:
        socket.send_text("")
        socket.receive_text()
        if reason == "it has ended":
            ask(client, "/logout")
        socket.send_text("")
        assert socket.receive_text() == "done"
    assert f"the change is lost: {reason}" in caplog.text
    assert "messages" not in ask(client)
