"""A counter without any framework, on the server of the standard library.

    python examples/bare_wsgi.py

Sessions end with this process, unless the environment has keys and a store for them:
GLIMR_SESSION_SECRET_KEYS, GLIMR_SESSION_STORE=disk.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from wsgiref.simple_server import make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from glimr_session import Session, SessionConfig, SessionMiddleware, SessionStore

ACTIONS = ("count", "login", "logout")


def counter(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Show a count; a POST counts, logs in or logs out, and leads back to it."""
    session: Session = environ["glimr.session"]
    action = environ["PATH_INFO"].lstrip("/")
    if environ["REQUEST_METHOD"] == "POST" and action in ACTIONS:
        if action == "count":
            session.increment("count")
        elif action == "login":
            session.regenerate()  # whoever knew the id before knows it no more
            session["user"] = "ada"
        else:
            session.invalidate()
        start_response("303 See Other", [("Location", "/"), ("Content-Length", "0")])
        return []
    who = session.get("user", "nobody")
    forms = (
        f'<form method="post" action="/{name}"><button>{name}</button></form>' for name in ACTIONS
    )
    body = f"<!doctype html><title>Counter</title><p>{who}: {session.get('count', 0)}</p>"
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [body.encode(), *(form.encode() for form in forms)]


def make_app(store: SessionStore | None = None) -> SessionMiddleware:
    """Return the counter, with sessions in this store or in the configured one."""
    defaults = {"store": "cookie", "secret_keys": [secrets.token_hex()]}
    return SessionMiddleware(counter, SessionConfig.from_mapping(defaults, os.environ), store=store)


if __name__ == "__main__":
    with make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), make_app()) as server:
        print(f"Counter: http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
