"""starsessions, for Starlette: in a cookie, or in the memory of the process.

A session is loaded by a call, here where a page uses it, and what was loaded is saved,
changed or not. The data is JSON. ``rolling`` lets the lifetime count from the last use.

In a cookie it is signed with HMAC-SHA-1, in base64.

In memory it is a text in a dict: all that it has on the server without another service
to run. It is here to show what is left of the cost where a session is kept nowhere. It is
gone with the process, and no other process sees it; nothing ever expires; of two requests
at the same time one loses its changes; the id in the cookie is not signed; and after a
login the old one still opens the session as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starsessions import (
    CookieStore,
    InMemoryStore,
    SessionMiddleware,
    SessionStore,
    load_session,
    regenerate_session_id,
)

from ..asking import asgi
from ..ours import SECRET
from ..pages import Page
from ..site import BARE_PAGES, LIFETIME, Rival
from .starlette import Endpoint, ask_bare, serve

__all__ = ["in_cookies", "on_server"]


@contextmanager
def in_cookies() -> Iterator[list[Rival]]:
    """Give its cookies."""
    yield [_rival("starsessions (cookie)", CookieStore(SECRET))]


@contextmanager
def on_server(_directory: Path) -> Iterator[list[Rival]]:
    """Give its memory."""
    yield [_rival("starsessions (memory)", InMemoryStore())]


def _rival(name: str, store: SessionStore) -> Rival:
    middleware = Middleware(
        SessionMiddleware, store=store, lifetime=LIFETIME, rolling=True, cookie_path="/"
    )
    made = serve({path: _endpoint(path, page) for path, page in BARE_PAGES.items()}, middleware)
    return Rival(name=name, ask=asgi(made), ask_bare=ask_bare(), forgets=False)


def _endpoint(path: str, page: Page) -> Endpoint:
    untouched, regenerates = path == "/ignore", path == "/login"

    async def answer(request: Request) -> Response:
        if untouched:  # not so much as looked at: it is not loaded
            return PlainTextResponse(page({}))
        await load_session(request)
        if regenerates:  # it takes the request, and not the session that a page gets
            regenerate_session_id(request)
        return PlainTextResponse(page(request.session))

    return answer
