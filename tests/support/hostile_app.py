"""A site that does with its sessions, and with its cookies, whatever it is told to.

Served as ``tests.support.hostile_app:site`` by a real server, where the first part of a path
says which store the session is in; ``pages`` alone is served inside of tests.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from glimr_session import (
    CookieStore,
    Session,
    SessionConfig,
    SessionMiddleware,
    SessionStore,
    new,
)
from glimr_session.stores.base import Data

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def site(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Find the store in the path, and the page in the rest of it."""
    _, mount, page = environ["PATH_INFO"].split("/")
    inner = {**environ, "PATH_INFO": f"/{page}"}
    if mount != "disk":
        del inner["glimr.session"]  # or a middleware inside of another one passes it through
    return mounted(mount)(inner, start_response)


def pages(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Do one thing to the session and tell, in JSON, what is in it then."""
    session: Session = environ["glimr.session"]
    page = environ["PATH_INFO"].strip("/")
    asked = parse_qs(environ["QUERY_STRING"])
    key, value = asked.get("key", ["key"])[0], asked.get("value", [""])[0]
    if page in ("put", "stream", "write"):
        session.put(key, value)
    elif page == "leave":
        session.put(key, value)
        session.flash(key, value)
    elif page == "forwarded":
        session.put("forwarded", environ.get("HTTP_X_FORWARDED_PROTO"))
    elif page == "login":
        login(session, value)
    elif page == "logout":
        session.invalidate()
    elif page in ("slow", "late"):
        session.get("opened before the gate")
    if page == "late":
        return late(session, start_response, int(asked["gate"][0]))
    if page == "slow":
        wait(int(asked["gate"][0]))
        SLOW[value](session)
    flash = session.state().loaded_flash
    shown = {"id": session.id, "data": session.all(), "flash": {**flash}}
    body = json.dumps(shown).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    write = start_response("200 OK", headers)
    if page == "write":
        write(body)
        return []
    return iter([body]) if page == "stream" else [body]


def login(session: Session, user: str) -> None:
    session.regenerate()
    session.put("user", user)


SLOW: Final[dict[str, Callable[[Session], object]]] = {
    "read": Session.all,
    "put": lambda session: session.put("slow", "put"),
    "increment": lambda session: session.increment("counted"),
    "flash": lambda session: session.flash("slow", "flashed"),
    "login": lambda session: login(session, "mallory"),
    "logout": Session.invalidate,
}
"""What a request can do that has opened its session, and then waited."""


def late(session: Session, start_response: StartResponse, gate: int) -> Iterator[bytes]:
    """Send the headers, wait at the gate, and only then write, and show the session."""
    start_response("200 OK", [("Content-Type", "application/json")])
    yield b" "
    wait(gate)
    session.put("slow", "late")
    yield json.dumps({"id": session.id, "data": session.all(), "flash": {}}).encode()


def wait(gate: int) -> None:
    """Wait until the test, which listens at this port, lets the request go on."""
    with socket.create_connection(("127.0.0.1", gate), timeout=10) as connection:
        connection.recv(1)


@functools.cache
def mounted(mount: str) -> WSGIApplication:
    """Return the pages on one of the stores: disk, cookie, or one from five functions."""
    logging.basicConfig(level=logging.DEBUG, force=True)  # all there is, for a test to read
    if mount == "disk":
        return pages  # server_apps has made its session
    store = CookieStore() if mount == "cookie" else from_functions()
    return SessionMiddleware(pages, SessionConfig.from_env(os.environ), store=store)


def from_functions() -> SessionStore:
    """Make a store whose ``cookie_value`` is what the session says it is."""
    saved: dict[str, tuple[Data, Data]] = {}

    def save(session_id: str, data: Data, flash: Data) -> None:
        saved[session_id] = data, flash

    return new(
        load=lambda session_id: saved.get(session_id, ({}, {})),
        save=save,
        destroy=lambda session_id: None,
        gc=lambda: 0,
        cookie_value=lambda session_id, data, flash: str(data.get("wire", session_id)),
    )
