"""Flask-SocketIO on our sessions, with and without ``manage_session``."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask, session
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from glimr_session import DiskStore, SessionStore

from .sites import make_app, ours

flask_socketio = pytest.importorskip("flask_socketio")


def site(store: SessionStore, *, manage_session: bool) -> tuple[Flask, Any]:
    """Return an application and its SocketIO, with events that use the session."""
    app = make_app(store)
    sockets = flask_socketio.SocketIO(
        app, manage_session=manage_session, async_mode="threading", logger=False
    )
    app.add_url_rule("/put/<int:value>", "put", lambda value: session.update(a=value) or "done")
    app.add_url_rule("/all", "all", lambda: dict(session))

    @sockets.on("look")  # type: ignore[untyped-decorator]
    def look(*_: Any) -> dict[str, Any]:
        return dict(session)

    @sockets.on("put")  # type: ignore[untyped-decorator]
    def put(key: str, value: Any) -> None:
        session[key] = value

    @sockets.on("append")  # type: ignore[untyped-decorator]
    def append(value: Any) -> None:
        session["list"].append(value)

    @sockets.on("increment")  # type: ignore[untyped-decorator]
    def increment(key: str) -> int | float:
        return ours.increment(key)

    @sockets.on("fail")  # type: ignore[untyped-decorator]
    def fail() -> None:
        session["a"] = "failed"
        raise ZeroDivisionError

    @sockets.on_error_default  # type: ignore[untyped-decorator]
    def _(_error: Exception) -> str:
        return "failed"

    return app, sockets


def connect(app: Flask, sockets: Any) -> tuple[FlaskClient, Any]:
    """Return a browser that has a session, and its open socket."""
    client = app.test_client()
    client.get("/put/1")
    return client, sockets.test_client(app, flask_test_client=client)


def test_an_event_reads_the_session_of_the_browser(store: SessionStore) -> None:
    """In both modes, on each store."""
    for manage_session in (True, False):
        _, socket = connect(*site(store, manage_session=manage_session))
        assert socket.emit("look", callback=True) == {"a": 1}
        socket.disconnect()


def test_with_manage_session_a_socket_has_a_copy_of_its_own(store: SessionStore) -> None:
    """What an event puts is there for the next one of this socket, and for no HTTP request."""
    client, socket = connect(*site(store, manage_session=True))
    socket.emit("put", "b", 2)
    assert socket.emit("look", callback=True) == {"a": 1, "b": 2}
    assert client.get("/all").json == {"a": 1}
    client.get("/put/5")
    assert socket.emit("look", callback=True) == {"a": 1, "b": 2}
    socket.disconnect()


def test_without_it_events_and_http_share_the_session(disk: DiskStore) -> None:
    """In both directions, nested changes and increments too; on the disk store."""
    client, socket = connect(*site(disk, manage_session=False))
    socket.emit("put", "list", [(1, 2)])
    socket.emit("append", "x")
    assert socket.emit("increment", "n", callback=True) == 1
    assert client.get("/all").json == {"a": 1, "list": [[1, 2], "x"], "n": 1}
    client.get("/put/5")
    assert socket.emit("look", callback=True) == {"a": 5, "list": [[1, 2], "x"], "n": 1}
    socket.disconnect()


def test_an_event_that_fails_keeps_nothing(disk: DiskStore) -> None:
    """Its handler for errors answers, and the session is as it was."""
    client, socket = connect(*site(disk, manage_session=False))
    assert socket.emit("fail", callback=True) == "failed"
    assert client.get("/all").json == {"a": 1}
    socket.disconnect()


def test_after_the_logout_an_open_socket_has_no_session(disk: DiskStore) -> None:
    """It came with the cookie of the session that has ended, and cannot bring it back."""
    app, sockets = site(disk, manage_session=False)

    @app.get("/logout")
    def _() -> str:
        session.clear()
        return "done"

    client, socket = connect(app, sockets)
    client.get("/logout")
    socket.emit("put", "b", 2)
    assert socket.emit("look", callback=True) == {}
    assert client.get("/all").json == {}
    socket.disconnect()


@contextmanager
def serving(app: Flask) -> Iterator[int]:
    """Serve an application with threads; return its port."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("manage_session", [True, False])
def test_a_real_client_on_a_real_server(disk: DiskStore, manage_session: bool) -> None:
    """Over long polling, on Werkzeug's server with threads."""
    socketio = pytest.importorskip("socketio")
    pytest.importorskip("requests")
    app, _ = site(disk, manage_session=manage_session)
    client = app.test_client()
    client.get("/put/1")
    cookie = client.get_cookie("session")
    assert cookie is not None
    with serving(app) as port:
        socket = socketio.Client()
        socket.connect(
            f"http://127.0.0.1:{port}",
            headers={"Cookie": f"session={cookie.value}"},
            transports=["polling"],
        )
        assert socket.call("look") == {"a": 1}
        socket.call("put", ("b", 2))
        assert socket.call("look") == {"a": 1, "b": 2}
        socket.disconnect()
        socket.wait()
    expected = {"a": 1} if manage_session else {"a": 1, "b": 2}
    assert client.get("/all").json == expected
