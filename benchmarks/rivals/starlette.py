"""Starlette's SessionMiddleware: a signed cookie, the only kind of session it has.

It signs JSON in base64 with HMAC-SHA-1. A cookie has the time it was signed at, and lasts
for so long since the last change. It is verified and decoded in every request, used or
not. There is no id, so a login is a write like any other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TypeAlias

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ..asking import Ask, asgi
from ..ours import SECRET
from ..pages import Page
from ..sample import SAMPLE
from ..site import BARE_PAGES, LIFETIME, Rival

__all__ = ["Endpoint", "ask_bare", "in_cookies", "serve"]

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


@contextmanager
def in_cookies() -> Iterator[list[Rival]]:
    """Give Starlette's own."""
    middleware = Middleware(
        SessionMiddleware, secret_key=SECRET, max_age=LIFETIME, https_only=True, same_site="lax"
    )

    def endpoint(path: str, page: Page) -> Endpoint:
        untouched = path == "/ignore"

        async def answer(request: Request) -> Response:
            # To look at ``request.session`` is to use it: it adds a Vary.
            session = request.scope["session"] if untouched else request.session
            return PlainTextResponse(page(session))

        return answer

    made = serve({path: endpoint(path, page) for path, page in BARE_PAGES.items()}, middleware)
    yield [Rival(name="Starlette", ask=asgi(made), ask_bare=ask_bare(), forgets=False)]


@cache
def ask_bare() -> Ask:
    """Ask the site without sessions: its pages get one dict, for all requests."""
    shared = dict(SAMPLE)

    def endpoint(page: Page) -> Endpoint:
        async def answer(_request: Request) -> Response:
            return PlainTextResponse(page(shared))

        return answer

    return asgi(serve({path: endpoint(page) for path, page in BARE_PAGES.items()}))


def serve(endpoints: Mapping[str, Endpoint], *middleware: Middleware) -> Starlette:
    """Make an application of what answers to each path."""
    routes = [Route(path, endpoint) for path, endpoint in endpoints.items()]
    return Starlette(routes=routes, middleware=middleware)
