"""Litestar applications for the tests, and pages that many of them have."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from litestar import Litestar, Request, get
from litestar.middleware import DefineMiddleware
from litestar.testing import TestClient

from glimr_session import SessionStore
from glimr_session.asgi import SessionMiddleware

__all__ = ["KEY", "LIFETIME", "AnyRequest", "Client", "client_of", "make_app", "twin", "values"]

KEY = "a key for tests that is long enough"

LIFETIME = 1000.0

AnyRequest: TypeAlias = Request[Any, Any, Any]

Client: TypeAlias = TestClient[Any]

# Litestar's client logs each request.
logging.getLogger("httpx").setLevel(logging.WARNING)


@get("/show", sync_to_thread=True)
def show(request: AnyRequest) -> dict[str, Any]:
    return dict(request.session)


@get("/put")
async def put(request: AnyRequest) -> dict[str, Any]:
    request.session.update(request.query_params)
    return dict(request.session)


def make_app(
    store: SessionStore, *handlers: Any, wrapped: bool = False, **arguments: Any
) -> Litestar | SessionMiddleware:
    """Return an application with our sessions, and the handlers ``show`` and ``put``.

    Args:
        store: where its sessions are.
        handlers: others.
        wrapped: whether ours is around Litestar, and not one of its middlewares.
        arguments: of Litestar.
    """
    handlers = (show, put, *handlers)
    # Its logging would take pytest's handlers out, and its documentation has many routes.
    arguments = {"logging_config": None, "openapi_config": None, **arguments}
    config = {"secret_keys": [KEY], "gc": "never"}
    if wrapped:
        return SessionMiddleware(Litestar(handlers, **arguments), config, store=store)
    middleware = DefineMiddleware(SessionMiddleware, config=config, store=store)
    return Litestar(handlers, middleware=[middleware], **arguments)


@contextmanager
def client_of(
    store: SessionStore, *handlers: Any, raising: bool = True, **arguments: Any
) -> Iterator[Client]:
    """Run a client of such an application; one that does not raise sees a status of 500."""
    app: Any = make_app(store, *handlers, **arguments)
    with TestClient(app, raise_server_exceptions=raising) as client:
        yield client


def values(client: Client) -> dict[str, Any]:
    """Return what the session of this client holds."""
    found: dict[str, Any] = client.get("/show").json()
    return found


def twin(client: Client) -> Client:
    """Return another client with the cookies that this one has now: a copy of the browser."""
    return TestClient(client.app, cookies=dict(client.cookies))
