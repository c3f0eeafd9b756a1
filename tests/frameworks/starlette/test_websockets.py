"""Sessions of Starlette's websockets."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.endpoints import WebSocketEndpoint
from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from glimr_session import CookieStore, DiskStore, SessionStore
from glimr_session.asgi import session_of
from tests.support.wsgi_apps import Recorded, warnings_in

from .sites import client_of, values


def socket_of(store: SessionStore, endpoint: Any, **arguments: Any) -> TestClient:
    """Return a client of an application with this websocket at ``/socket``."""
    return client_of(store, WebSocketRoute("/socket", endpoint), **arguments)


def take_cookie(client: TestClient, set_cookie: str) -> None:
    """Keep a cookie that came with a handshake, as browsers do and the client does not."""
    name, _, value = set_cookie.partition(";")[0].partition("=")
    client.cookies.set(name, value)


async def count(websocket: WebSocket) -> None:
    """Count messages, and commit each before it is answered."""
    session = session_of(websocket)
    session.setdefault("messages", 0)
    await websocket.accept()
    async for _ in websocket.iter_text():
        number = session.increment("messages")
        await session.save()
        await websocket.send_json(number)


def test_it_has_the_session_of_the_browser(store: SessionStore) -> None:
    """As pages have it."""

    async def greet(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(websocket.session["name"])
        await websocket.close()

    client = socket_of(store, greet)
    client.get("/put?name=Ada")
    with client.websocket_connect("/socket") as socket:
        assert socket.receive_text() == "Ada"


def test_what_is_put_before_it_is_accepted_is_in_its_headers(store: SessionStore) -> None:
    """The cookie comes with the handshake, and a session that begins there is kept."""

    async def begin(websocket: WebSocket) -> None:
        websocket.session["begun"] = 1
        await websocket.accept()
        await websocket.close()

    client = socket_of(store, begin)
    with client.websocket_connect("/socket") as socket:
        headers: list[tuple[bytes, bytes]] = [*(socket.extra_headers or [])]
        sent = {name.decode(): value.decode() for name, value in headers}
    take_cookie(client, sent["set-cookie"])
    assert values(client) == {"begun": 1}


def test_save_commits_while_it_is_open(disk: DiskStore) -> None:
    """A page sees each message that was answered."""
    client = socket_of(disk, count)
    client.get("/put?a=1")
    with client.websocket_connect("/socket") as socket:
        for number in (1, 2):
            socket.send_text("hello")
            assert socket.receive_json() == number
            assert values(client) == {"a": "1", "messages": number}


def test_two_tabs_add_up(disk: DiskStore) -> None:
    """Each counts what it has seen, and the session what both have."""
    client = socket_of(disk, count)
    client.get("/put?a=1")
    with (
        client.websocket_connect("/socket") as one,
        client.websocket_connect("/socket") as two,
    ):
        for socket in (one, two, one):
            socket.send_text("hello")
            socket.receive_json()
    assert values(client)["messages"] == 3


def test_an_endpoint_class_commits_at_its_end(disk: DiskStore) -> None:
    """Without ``save()``, when the client has closed it."""

    class Chat(WebSocketEndpoint):
        encoding = "text"

        async def on_connect(self, websocket: WebSocket) -> None:
            websocket.session["seen"] = []
            await websocket.accept()

        async def on_receive(self, websocket: WebSocket, data: Any) -> None:
            websocket.session["seen"].append(data)
            await websocket.send_text(data)

        async def on_disconnect(self, websocket: WebSocket, close_code: int) -> None:
            session_of(websocket).increment("left")

    client = socket_of(disk, Chat)
    client.get("/put?a=1")
    with client.websocket_connect("/socket") as socket:
        for text in ("one", "two"):
            socket.send_text(text)
            assert socket.receive_text() == text
    assert values(client) == {"a": "1", "seen": ["one", "two"], "left": 1}


def test_an_error_in_it_commits_nothing_more(disk: DiskStore) -> None:
    """What was committed at its start stays."""

    async def fail(websocket: WebSocket) -> None:
        websocket.session["early"] = 1
        await websocket.accept()
        websocket.session["late"] = 1
        raise LookupError("in the websocket")

    client = socket_of(disk, fail)
    client.get("/put?a=1")
    with (
        pytest.raises(LookupError, match="in the websocket"),
        client.websocket_connect("/socket") as socket,
    ):
        socket.receive_text()
    assert values(client) == {"a": "1", "early": 1}


@pytest.mark.parametrize("sealed_cookie", [True, False], ids=["cookie", "disk"])
def test_a_change_that_cannot_be_kept_is_told(
    disk: DiskStore, sealed_cookie: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """After it was accepted: on the cookie store, and in a session that begins too late."""

    async def late(websocket: WebSocket) -> None:
        websocket.session.get("a")
        await websocket.accept()
        websocket.session["late"] = 1
        await websocket.close()

    client = socket_of(CookieStore() if sealed_cookie else disk, late)
    if sealed_cookie:
        client.get("/put?a=1")
    with client.websocket_connect("/socket"):
        pass
    (warning,) = warnings_in(caplog)
    reason = "it lives in the cookie" if sealed_cookie else "the browser has no cookie for it"
    assert reason in warning
    assert values(client) == ({"a": "1"} if sealed_cookie else {})


def test_a_denial_is_a_response(store: SessionStore) -> None:
    """Below 500 it keeps what was changed, and its cookie reaches the client."""

    async def deny(websocket: WebSocket) -> None:
        websocket.session["denied"] = 1
        await websocket.send_denial_response(JSONResponse("no", 403))

    client = socket_of(store, deny)
    with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/socket"):
        pass
    assert denied.value.status_code == 403
    take_cookie(client, denied.value.headers["set-cookie"])
    assert values(client) == {"denied": 1}


def test_one_that_is_closed_at_once_keeps_nothing(
    disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Servers answer with 403, and no header of ours could be in it."""

    async def refuse(websocket: WebSocket) -> None:
        websocket.session["refused"] = 1
        await websocket.close()

    client = socket_of(disk, refuse)
    client.get("/put?a=1")
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/socket"):
        pass
    assert values(client) == {"a": "1"}


def test_an_outage_closes_it_for_a_later_try(caplog: pytest.LogCaptureFixture) -> None:
    """With the code 1013, before it is accepted."""
    recorded = Recorded()
    client = socket_of(recorded.store, count)
    client.get("/put?a=1")
    recorded.down = True
    with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/socket"):
        pass
    assert closed.value.code == 1013
    assert "could not be read or committed" in caplog.text
