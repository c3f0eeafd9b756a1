"""A site whose requests can be held in the middle, and that tells what its process has open."""

from __future__ import annotations

import gc
import json
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import parse_qs

from pykka import ActorRegistry

from glimr_session import DiskStore, Json, Session, SessionConfig, empty
from tests.support import server_apps
from tests.support.actors import living_session_actors
from tests.support.wsgi_client import Browser

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HELD: Final = 30.0
"""Seconds that a request is held at most, if the test forgets to let it go."""

FILE: Final = Path(__file__)


def site(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer as the other site does, and hold, break off and report besides.

    It serves without the middleware too, and then keeps nothing.
    """
    session: Session = environ.setdefault("glimr.session", empty())
    path = environ["PATH_INFO"]
    found: Json = None
    if path == "/held":
        found = session.increment("count")
        hold(int(parse_qs(environ["QUERY_STRING"])["gate"][0]))
    elif path == "/report":
        found = report()
    elif path == "/endless":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return endless(session)
    elif path == "/broken":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return broken(session)
    elif path == "/file":
        session.increment("count")
        start_response("200 OK", [("Content-Type", "text/plain")])
        chunks: Iterable[bytes] = environ["wsgi.file_wrapper"](FILE.open("rb"), 100)
        return chunks
    else:
        return server_apps.site(environ, start_response)
    answer = json.dumps({"pid": os.getpid(), "found": found}).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [answer]


def hold(gate: int) -> None:
    """Send the id of this process to the test at the gate, and wait until it opens."""
    with (
        suppress(ConnectionResetError),  # the test may open it without having listened
        socket.create_connection(("127.0.0.1", gate), timeout=HELD) as connection,
    ):
        connection.sendall(b"%d\n" % os.getpid())
        connection.recv(1)


def report() -> dict[str, Json]:
    """Return what this process has, the request that asks included."""
    return {
        "files": len([*Path("/proc/self/fd").iterdir()]),
        "threads": threading.active_count(),
        "actors": len(ActorRegistry.get_all()) + len(living_session_actors()),
    }


def endless(session: Session) -> Iterator[bytes]:
    """Go on until the client has gone, as slowly as a stream of events."""
    for number in range(10_000):
        session["chunk"] = number
        yield b"x" * 1024
        time.sleep(0.001)


def broken(session: Session) -> Iterator[bytes]:
    """Raise in the middle of the body."""
    session["chunk"] = 0
    yield b"first"
    raise ZeroDivisionError("this is what the test is about")


def without_sessions() -> WSGIApplication:
    """Return the site as it is."""
    return site


def without_collector() -> WSGIApplication:
    """Return the site with sessions, in a process whose garbage nobody collects."""
    gc.disable()
    return server_apps.with_sessions(site)


def used_before() -> WSGIApplication:
    """Return the site with sessions, after this process has made and committed one."""
    app = server_apps.with_sessions(site)
    Browser().request(app, extra={"PATH_INFO": "/count"}).begin().finish()
    return app


class BusyStore(DiskStore):
    """Collects for ever, once the gate that the environment names knows of it."""

    def gc(self) -> NoReturn:
        while True:
            hold(int(os.environ["GATE"]))


def busy_store(config: SessionConfig) -> BusyStore:
    return BusyStore(config.disk_directory)


def impatient_store(config: SessionConfig) -> DiskStore:
    """Wait for another writer for less long than a browser does in a test."""
    return DiskStore(config.disk_directory, timeout=0.3)
