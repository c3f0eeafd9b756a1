"""Starlette with its SessionMiddleware: a signed cookie, its only kind of session.

It signs JSON in base64 with HMAC-SHA-1. The cookie is verified and decoded in every request,
used or not. There is no session id, so a login is a write like any other.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ..sites import BARE, LIFETIME, Site
from ..worker import PATHS, SAMPLE, SECRET, Answer, Client, respond

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_SCOPE: Final[dict[str, Any]] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.4"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "https",
    "root_path": "",
    "query_string": b"",
    "server": ("example.org", 443),
    "client": ("127.0.0.1", 50_000),
}


def cookies() -> Site:
    """Return the site with Starlette's sessions."""
    sessions = Middleware(
        SessionMiddleware, secret_key=SECRET, max_age=LIFETIME, https_only=True, same_site="lax"
    )
    shared = dict(SAMPLE)

    def find(request: Request) -> Any:
        # To look at ``request.session`` is to use it: that adds a Vary header.
        ignored = request.scope["path"] == "/ignore"
        return request.scope["session"] if ignored else request.session

    return Site("Starlette", _client(find, sessions), _client(lambda _request: shared))


def _client(find: Callable[[Request], Any], *middleware: Middleware) -> Client:
    """Return a client of an application; ``find`` returns the session of a request."""

    async def answer(request: Request) -> Response:
        return PlainTextResponse(respond(request.scope["path"], find(request), BARE))

    routes = [Route(path, answer) for path in PATHS]
    return _asgi_client(Starlette(routes=routes, middleware=middleware))


def _asgi_client(application: ASGIApp) -> Client:
    """Return a client that runs the application without an event loop.

    Nothing here waits for anything, so the first step of the coroutine is its last.
    """

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    def get(path: str, cookie: str) -> Answer:
        sent: list[MutableMapping[str, Any]] = []

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        headers = [(b"host", b"example.org"), (b"cookie", cookie.encode())]
        scope = {**_SCOPE, "path": path, "raw_path": path.encode(), "headers": headers}
        coroutine: Any = application(scope, receive, send)
        with suppress(StopIteration):
            coroutine.send(None)
            raise RuntimeError("the application waits for something")
        status = HTTPStatus(sent[0]["status"])
        set_cookies = [value for name, value in sent[0]["headers"] if name == b"set-cookie"]
        new_cookie = set_cookies[0].decode().partition(";")[0] if set_cookies else ""
        body = b"".join(message["body"] for message in sent[1:]).decode()
        return Answer(f"{status} {status.phrase}", new_cookie, body)

    return get
