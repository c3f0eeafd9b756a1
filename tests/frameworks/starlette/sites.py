"""Starlette applications for the tests, and pages that many of them have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.testclient import TestClient

from glimr_session import SessionStore
from glimr_session.asgi import SessionMiddleware

__all__ = ["KEY", "LIFETIME", "Page", "client_of", "make_app", "put", "show", "twin", "values"]

KEY = "a key for tests that is long enough"

LIFETIME = 1000.0

Page: TypeAlias = Callable[[Request], Any]
"""A view, which is at ``/`` and its name."""


def show(request: Request) -> Response:
    """Show what the session holds; in a thread of the pool."""
    return JSONResponse(dict(request.session))


async def put(request: Request) -> Response:
    """Put what the query says."""
    request.session.update(request.query_params)
    return JSONResponse(dict(request.session))


def make_app(
    store: SessionStore | None,
    *pages: Page | BaseRoute,
    outside: Sequence[Middleware] = (),
    inside: Sequence[Middleware] = (),
    settings: dict[str, Any] | None = None,
    **arguments: Any,
) -> Starlette:
    """Return an application with ours in the middle of its middleware, ``show`` and ``put``.

    Args:
        store: where its sessions are.
        pages: its routes; a view gets one of its name.
        outside: the middleware around ours.
        inside: the middleware in ours.
        settings: of ours, besides the key.
        arguments: of Starlette.
    """
    config = {"secret_keys": [KEY], "gc": "never", **(settings or {})}
    ours = Middleware(SessionMiddleware, config=config, store=store)
    routes = [
        page if isinstance(page, BaseRoute) else Route(f"/{page.__name__}", page)
        for page in (show, put, *pages)
    ]
    return Starlette(routes=routes, middleware=[*outside, ours, *inside], **arguments)


def client_of(
    store: SessionStore | None, *pages: Page | BaseRoute, raising: bool = True, **arguments: Any
) -> TestClient:
    """Return a client of such an application; one that does not raise sees a status of 500."""
    return TestClient(make_app(store, *pages, **arguments), raise_server_exceptions=raising)


def values(client: TestClient) -> dict[str, Any]:
    """Return what the session of this client holds."""
    found: dict[str, Any] = client.get("/show").json()
    return found


def twin(client: TestClient) -> TestClient:
    """Return another client with the cookies that this one has now: a copy of the browser."""
    return TestClient(client.app, cookies=dict(client.cookies))
