"""A small site for real servers to serve, and how those are started that are libraries.

    python -m tests.support.server_apps waitress tests.support.server_apps:site

The configuration comes from the environment, as in production; the port is the
system's choice, and is told on standard error as gunicorn does it.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from glimr_session import Json, Session, SessionConfig, SessionMiddleware

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


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
    elif path == "/own":
        session.belongs_to("ada")
        session["owned"] = True
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


def serve_waitress(app: WSGIApplication, threads: int) -> None:
    import waitress

    with socket.create_server(("127.0.0.1", 0)) as listening:
        tell(listening.getsockname()[1])
        waitress.serve(app, sockets=[listening], threads=threads)


def serve_cheroot(app: WSGIApplication, threads: int) -> None:
    from cheroot.wsgi import Server

    server = Server(("127.0.0.1", 0), app, numthreads=threads)
    server.prepare()
    tell(server.bind_addr[1])
    try:
        server.serve()
    except SystemExit:
        server.stop()


def serve_werkzeug(app: WSGIApplication, threads: int) -> None:
    """Start a thread for each request, however many are asked for."""
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True)
    tell(server.port)
    server.serve_forever()


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    """The standard library's server, with a thread for each request."""

    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
        pass


def serve_wsgiref(app: WSGIApplication, threads: int) -> None:
    """Start a thread for each request, however many are asked for."""
    with _ThreadingServer(("127.0.0.1", 0), _QuietHandler) as server:
        server.set_app(app)
        tell(server.server_port)
        server.serve_forever()


SERVE: Final[dict[str, Callable[[WSGIApplication, int], None]]] = {
    "cheroot": serve_cheroot,
    "waitress": serve_waitress,
    "werkzeug": serve_werkzeug,
    "wsgiref": serve_wsgiref,
}


def tell(port: int) -> None:
    print(f"Listening at: http://127.0.0.1:{port}", file=sys.stderr, flush=True)


def end(signal_number: int, frame: object) -> NoReturn:
    os.write(sys.stderr.fileno(), b"Ending\n")  # a test may wait for it
    raise SystemExit


def make_application(app: str = "tests.support.server_apps:site") -> WSGIApplication:
    """Return an application with sessions, as the environment configures them.

    If its name ends in "()", that function makes all of it and is given nothing.
    """
    module, _, name = app.partition(":")
    found = getattr(importlib.import_module(module), name.removesuffix("()"))
    made: WSGIApplication = found() if name.endswith("()") else with_sessions(found)
    return made


def with_sessions(app: WSGIApplication) -> SessionMiddleware:
    return SessionMiddleware(app, SessionConfig.from_env(os.environ))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    server_name, app_name, thread_count = sys.argv[1:]
    SERVE[server_name](make_application(app_name), int(thread_count))
