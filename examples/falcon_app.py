"""A counter with Falcon, in JSON: count, log in, log out.

    python examples/falcon_app.py

Sessions end with this process, unless the environment has keys and a store for them:
GLIMR_SESSION_SECRET_KEYS, GLIMR_SESSION_STORE=disk.
"""

from __future__ import annotations

import os
import secrets
import socket
from typing import Any, NoReturn

import falcon
import waitress
from falcon import Request, Response

from glimr_session import Session, SessionConfig, SessionMiddleware, SessionStore, StoreUnavailable


class Counter:
    """GET / shows the count of this browser, POST / counts."""

    def on_get(self, req: Request, resp: Response) -> None:
        session: Session = req.env["glimr.session"]
        resp.media = {"user": session.get("user"), "count": session.get("count", 0)}

    def on_post(self, req: Request, resp: Response) -> None:
        resp.media = {"count": req.env["glimr.session"].increment("count")}


class Login:
    """PUT /login {"user": "ada"} logs in, DELETE /login logs out."""

    def on_put(self, req: Request, resp: Response) -> None:
        session: Session = req.env["glimr.session"]
        session.regenerate()  # whoever knew the id before knows it no more
        session["user"] = str(req.get_media()["user"])

    def on_delete(self, req: Request, resp: Response) -> None:
        req.env["glimr.session"].invalidate()


def answer_outage(*_: Any) -> NoReturn:
    """Answer as Falcon does, where the session cannot be read."""
    raise falcon.HTTPServiceUnavailable(retry_after=5)


def make_app(store: SessionStore | None = None) -> SessionMiddleware:
    """Return the counter, with sessions in this store or in the configured one."""
    app = falcon.App()
    app.add_route("/", Counter())
    app.add_route("/login", Login())
    app.add_error_handler(StoreUnavailable, answer_outage)
    defaults = {"store": "cookie", "secret_keys": [secrets.token_hex()]}
    config = SessionConfig.from_mapping(defaults, os.environ)
    return SessionMiddleware(app, config, store=store)


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "8000")))) as listening:
        print(f"Counter: http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
        waitress.serve(make_app(), sockets=[listening])
