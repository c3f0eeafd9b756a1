"""seed_session and read_session, for applications on event loops."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from glimr_session import SessionConfig, SessionStore
from glimr_session.asgi import ASGIApp, AsgiSession, SessionMiddleware, session_of
from glimr_session.testing import read_session, seed_session
from tests.support.asgi_client import Browser
from tests.support.memory import InMemory

from .apps import CONFIG, KEY, answering, run, wrap


def test_a_middleware_is_seeded(store: SessionStore) -> None:
    """The first request finds data and flash; what it leaves can be read."""
    found: list[Any] = []

    def change(session: AsgiSession) -> None:
        found.append((dict(session), session.get_flash("notice")))
        session["visits"] = 1

    app = wrap(answering(change), store)
    cookie = seed_session(app, {"user": "Ada"}, flash={"notice": "Welcome."})
    browser = Browser("=".join(cookie))
    run(browser.get(app))
    assert found == [({"user": "Ada"}, "Welcome.")]
    value = browser.cookies.header().partition("=")[2]
    assert read_session(app, value) == ({"user": "Ada", "visits": 1}, {})


async def home(request: Request) -> PlainTextResponse:
    session = session_of(request)
    return PlainTextResponse(f"{session.get('user')}, {session.increment('visits')}")


def starlette(store: SessionStore) -> Starlette:
    app = Starlette(routes=[Route("/", home)])
    app.add_middleware(SessionMiddleware, config=CONFIG, store=store)
    app.add_middleware(GZipMiddleware)
    return app


def starlette_at_once(store: SessionStore) -> Starlette:
    ours = Middleware(SessionMiddleware, config=CONFIG, store=store)
    return Starlette(routes=[Route("/", home)], middleware=[Middleware(GZipMiddleware), ours])


def fastapi(store: SessionStore) -> FastAPI:
    app = FastAPI()

    @app.get("/", response_class=PlainTextResponse)
    async def page(session: Annotated[AsgiSession, Depends(session_of_request)]) -> str:
        return f"{session.get('user')}, {session.increment('visits')}"

    app.add_middleware(SessionMiddleware, config=CONFIG, store=store)
    return app


def session_of_request(request: Request) -> AsgiSession:
    return session_of(request)


@pytest.mark.parametrize("make", [starlette, starlette_at_once, fastapi], ids=lambda f: f.__name__)
def test_an_application_with_the_middleware_is_seeded(make: Any, store: SessionStore) -> None:
    """Before its first request, and between two; the test client then has the session's cookie."""
    app = make(store)
    for user in ("Ada", "Grace"):
        client = TestClient(app)
        cookie = seed_session(app, {"user": user})
        client.cookies.set(*cookie, domain="testserver.local")
        assert [client.get("/").text for _ in range(2)] == [f"{user}, 1", f"{user}, 2"]
        left = client.cookies.get(cookie.name)
        assert read_session(app, left).data == {"user": user, "visits": 2}


def test_the_store_of_the_settings_is_made_once() -> None:
    """What is seeded is in the very store that serves the requests, if only it knows it."""
    config = SessionConfig(
        secret_keys=[KEY], gc="never", store="tests.asgi.test_seeding:in_this_process"
    )
    app = Starlette(routes=[Route("/", home)])
    app.add_middleware(SessionMiddleware, config=config)
    cookie = seed_session(app, {"user": "Ada"})
    assert TestClient(app, cookies=[cookie]).get("/").text == "Ada, 1"


def in_this_process(config: SessionConfig) -> SessionStore:
    return InMemory().store()


@pytest.mark.parametrize(
    "application", [answering(), Starlette(), FastAPI()], ids=["app", "Starlette", "FastAPI"]
)
def test_an_application_without_sessions_is_refused(application: ASGIApp) -> None:
    """The error says what to pass instead."""
    with pytest.raises(TypeError, match="no SessionMiddleware; pass the one"):
        seed_session(application, {"user": 1})
