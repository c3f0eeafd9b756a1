"""A small site for real servers to serve, and how waitress and cheroot are started.

    python -m tests.server_apps waitress

The configuration comes from the environment, as in production; the port is the
system's choice, and is told on standard error as gunicorn does it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import parse_qs

from glimr_session import Json, Session, SessionConfig, SessionMiddleware

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

THREADS = 4


def site(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer in JSON: which process it was, and what it found in the session."""
    session: Session = environ["glimr.session"]
    path = environ["PATH_INFO"]
    found: Json = None
    if path == "/count":
        found = session.increment("count")
    elif path == "/login":
        session.regenerate()
        session["user"] = "ada"
    elif path == "/logout":
        session.invalidate()
    elif path == "/stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return stream(session, int(parse_qs(environ["QUERY_STRING"])["gate"][0]))
    elif path == "/session":
        found = session.all()
    answer = json.dumps({"pid": os.getpid(), "found": found}).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [answer]


def stream(session: Session, gate: int) -> Iterator[bytes]:
    """Make one chunk, wait until the reader connects to the gate, and make another."""
    session["streamed"] = "early"
    yield b"first"
    with socket.create_connection(("127.0.0.1", gate), timeout=10) as connection:
        connection.recv(1)
    session["streamed"] = "late"
    yield b"second"


def serve_waitress(app: WSGIApplication) -> None:
    import waitress

    with socket.create_server(("127.0.0.1", 0)) as listening:
        tell(listening.getsockname()[1])
        waitress.serve(app, sockets=[listening], threads=THREADS)


def serve_cheroot(app: WSGIApplication) -> None:
    from cheroot.wsgi import Server

    server = Server(("127.0.0.1", 0), app, numthreads=THREADS)
    server.prepare()
    tell(server.bind_addr[1])
    try:
        server.serve()
    except SystemExit:
        server.stop()


def tell(port: int) -> None:
    print(f"Listening at: http://127.0.0.1:{port}", file=sys.stderr, flush=True)


def end(signal_number: int, frame: object) -> NoReturn:
    raise SystemExit


def make_application() -> SessionMiddleware:
    return SessionMiddleware(site, SessionConfig.from_env(os.environ))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    {"waitress": serve_waitress, "cheroot": serve_cheroot}[sys.argv[1]](make_application())
