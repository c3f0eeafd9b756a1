"""How a Starlette application gets our sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.datastructures import Secret
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from glimr_session import ConfigError, CookieStore, DiskStore, SessionConfig
from glimr_session.asgi import ASGIApp, SessionMiddleware, session_of

from .sites import KEY, client_of, put, show, values

ROUTES = [Route("/show", show), Route("/put", put)]


def by_keywords() -> ASGIApp:
    return Starlette(routes=ROUTES, middleware=[Middleware(SessionMiddleware, secret_key=KEY)])


def by_a_secret() -> ASGIApp:
    return Starlette(
        routes=ROUTES, middleware=[Middleware(SessionMiddleware, secret_key=Secret(KEY))]
    )


def by_a_configuration() -> ASGIApp:
    config = SessionConfig(store="cookie", secret_keys=[KEY])
    return Starlette(routes=ROUTES, middleware=[Middleware(SessionMiddleware, config=config)])


def by_a_mapping() -> ASGIApp:
    app = Starlette(routes=ROUTES)
    app.add_middleware(SessionMiddleware, config={"store": "cookie", "secret_keys": [KEY]})
    return app


def by_a_store() -> ASGIApp:
    app = Starlette(routes=ROUTES)
    app.add_middleware(SessionMiddleware, config={"secret_keys": [KEY]}, store=CookieStore())
    return app


def by_wrapping() -> ASGIApp:
    return SessionMiddleware(Starlette(routes=ROUTES), {"store": "cookie", "secret_keys": [KEY]})


@pytest.mark.parametrize(
    "make",
    [by_keywords, by_a_secret, by_a_configuration, by_a_mapping, by_a_store, by_wrapping],
    ids=lambda make: make.__name__,
)
def test_each_way_gives_the_application_its_sessions(make: Callable[[], ASGIApp]) -> None:
    """What a request has put is there in the next one."""
    client = TestClient(make())
    client.get("/put?name=Ada")
    assert values(client) == {"name": "Ada"}


def test_the_environment_alone_configures_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument."""
    monkeypatch.setenv("GLIMR_SESSION_STORE", "cookie")
    monkeypatch.setenv("GLIMR_SESSION_SECRET_KEYS", KEY)
    client = TestClient(Starlette(routes=ROUTES, middleware=[Middleware(SessionMiddleware)]))
    client.get("/put?name=Ada")
    assert values(client) == {"name": "Ada"}


def test_starlette_s_keywords_say_what_the_cookie_is_like() -> None:
    """All of them, in one Set-Cookie."""
    app = Starlette(routes=ROUTES)
    app.add_middleware(
        SessionMiddleware,
        secret_key=KEY,
        session_cookie="shop",
        max_age=3600,
        path="/shop",
        same_site="strict",
        https_only=True,
        domain="example.com",
        partitioned=True,
    )
    client = TestClient(app, base_url="https://example.com/shop", root_path="/shop")
    name, *attributes = client.get("/put?a=1").headers["set-cookie"].split("; ")
    assert name.startswith("shop=")
    assert set(attributes) == {
        "Domain=example.com", "HttpOnly", "Max-Age=3600", "Path=/shop", "Partitioned",
        "SameSite=Strict", "Secure",
    }  # fmt: skip


def test_no_max_age_is_a_cookie_that_ends_with_the_browser() -> None:
    """As in Starlette."""
    app = Starlette(routes=ROUTES)
    app.add_middleware(SessionMiddleware, secret_key=KEY, max_age=None)
    assert "Max-Age" not in TestClient(app).get("/put?a=1").headers["set-cookie"]


def test_starlette_s_keywords_and_a_store_keep_sessions_there(disk: DiskStore) -> None:
    """The cookie holds an id, and nothing that was put."""
    app = Starlette(routes=ROUTES)
    app.add_middleware(SessionMiddleware, store=disk, secret_key=KEY)
    client = TestClient(app)
    client.get("/put?name=Ada")
    (stored,) = client.cookies.values()
    assert disk.load(stored.partition(".")[0])[0] == {"name": "Ada"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"secret_key": "short"}, "secret_key"),
        ({"secret_key": KEY, "max_age": -1}, "max_age"),
        ({"secret_key": KEY, "cookie": "shop"}, "cookie: no setting of Starlette's"),
        ({"secret_key": KEY, "config": {"store": "cookie"}}, "and not both"),
    ],
    ids=["a short key", "no lifetime", "a name of ours", "both"],
)
def test_a_wrong_setting_is_told_at_the_start(settings: dict[str, Any], message: str) -> None:
    """By the name that Starlette has for it, when the application begins its lifespan."""
    app = Starlette(routes=ROUTES, middleware=[Middleware(SessionMiddleware, **settings)])
    with pytest.raises(ConfigError, match=message), TestClient(app):
        pass


def test_the_lifespan_goes_through() -> None:
    """Its state reaches the pages, and it has no session."""
    seen: list[bool] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
        yield {"name": "Ada"}
        seen.append(True)

    def greet(request: Request) -> Response:
        request.session["name"] = request.state.name
        return JSONResponse(None)

    with client_of(CookieStore(), greet, lifespan=lifespan) as client:
        client.get("/greet")
        assert values(client) == {"name": "Ada"}
    assert seen == [True]


def test_without_ours_session_of_says_what_to_do() -> None:
    """A TypeError that names the middleware."""

    def count(request: Request) -> Response:
        return JSONResponse(session_of(request).increment("n"))

    with pytest.raises(TypeError, match="wrap the application"):
        TestClient(Starlette(routes=[Route("/", count)])).get("/")
