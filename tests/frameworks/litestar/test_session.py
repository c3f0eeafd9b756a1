"""What a handler of Litestar does with its session."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from litestar import Litestar, asgi, get
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers.base import BaseRouteHandler
from litestar.response import Redirect
from litestar.testing import AsyncTestClient, TestClient
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware as StarletteSessions

from glimr_session import DiskStore, SessionStore
from glimr_session.asgi import SessionMiddleware, session_of

from .sites import KEY, AnyRequest, client_of, make_app, twin, values


@get("/count")
async def count(request: AnyRequest) -> float:
    return session_of(request).increment("visits")


@get("/untouched")
async def untouched() -> str:
    return "nothing"


@get("/set")
async def set_values(request: AnyRequest) -> dict[str, Any]:
    request.set_session({"name": "Bob"})
    return dict(request.session)


@get("/clear")
async def clear(request: AnyRequest) -> None:
    request.clear_session()


@get("/none")
async def set_none(request: AnyRequest) -> None:
    request.set_session(None)  # type: ignore[arg-type]  # its documentation does it


@pytest.mark.parametrize("wrapped", [False, True], ids=["in its middleware", "around it"])
def test_each_way_gives_the_application_its_sessions(store: SessionStore, wrapped: bool) -> None:
    """What a request has put is there in the next one, by request.session and by its verbs."""
    with client_of(store, count, wrapped=wrapped) as client:
        client.get("/put?name=Ada")
        assert [client.get("/count").json() for _ in range(2)] == [1, 2]
        assert values(client) == {"name": "Ada", "visits": 2}


@pytest.mark.parametrize("wrapped", [False, True], ids=["in its middleware", "around it"])
@pytest.mark.parametrize(
    ("path", "left"), [("/set", {"name": "Bob"}), ("/clear", {}), ("/none", {})]
)
def test_litestar_s_own_functions_replace_all_values(
    store: SessionStore, wrapped: bool, path: str, left: dict[str, Any]
) -> None:
    """``set_session`` with a dict or None, and ``clear_session``."""
    with client_of(store, set_values, clear, set_none, wrapped=wrapped) as client:
        client.get("/put?name=Ada&a=1")
        client.get(path)
        assert values(client) == left


def test_set_session_begins_one(store: SessionStore) -> None:
    """Where there was none."""
    with client_of(store, set_values) as client:
        client.get("/set")
        assert values(client) == {"name": "Bob"}


def test_set_session_refuses_what_is_no_dict(disk: DiskStore) -> None:
    """It says what to pass, and what the session holds stays."""

    @dataclass
    class User:
        name: str

    @get("/wrong")
    async def wrong(request: AnyRequest) -> None:
        request.set_session(User("Bob"))

    with client_of(disk, wrong, raising=False) as client:
        client.get("/put?name=Ada")
        assert client.get("/wrong").status_code == 500
        assert values(client) == {"name": "Ada"}


def test_a_user_who_is_replaced_by_set_session_gets_a_new_id(store: SessionStore) -> None:
    """By the login key; a copied cookie is not the new user."""
    ids: list[str] = []

    @get("/log-in")
    async def log_in(request: AnyRequest) -> None:
        request.set_session({"user": request.query_params["user"]})

    @get("/tell")
    async def tell(request: AnyRequest) -> None:
        ids.append(session_of(request).id)

    config = {"secret_keys": [KEY], "gc": "never", "login_key": "user"}
    app = SessionMiddleware(Litestar([log_in, tell]), config, store=store)
    with TestClient(app) as client:
        for user in ("ada", "ada", "bob"):
            client.get(f"/log-in?user={user}")
            client.get("/tell")
    assert len({*ids}) == 3


def test_a_change_in_place_is_found(store: SessionStore) -> None:
    """In a list, without a further word."""

    @get("/buy")
    async def buy(request: AnyRequest) -> None:
        request.session.setdefault("cart", []).append("book")

    with client_of(store, buy) as client:
        client.get("/buy")
        client.get("/buy")
        assert values(client) == {"cart": ["book", "book"]}


def test_a_flash_is_there_after_a_redirect_and_gone_then(store: SessionStore) -> None:
    """It is not one of the values."""

    @get("/save")
    async def save(request: AnyRequest) -> Redirect:
        session_of(request).flash("notice", "saved")
        return Redirect("/shown")

    @get("/shown")
    async def shown(request: AnyRequest) -> list[Any]:
        return [session_of(request).get_flash("notice"), dict(request.session)]

    with client_of(store, save, shown) as client:
        assert client.get("/save").json() == ["saved", {}]
        assert client.get("/shown").json() == ["", {}]


def test_a_login_and_a_logout(disk: DiskStore) -> None:
    """The login gives a new id, and the logout ends the session everywhere."""

    @get("/log-in")
    async def log_in(request: AnyRequest) -> None:
        session_of(request).regenerate()
        request.session["user"] = "ada"

    @get("/log-out")
    async def log_out(request: AnyRequest) -> None:
        session_of(request).invalidate()

    with client_of(disk, log_in, log_out) as client:
        client.get("/put?a=1")
        before = twin(client)
        client.get("/log-in")
        copied = twin(client)
        assert values(client) == values(copied) == {"a": "1", "user": "ada"}
        assert "user" not in values(before)
        client.get("/log-out")
        assert values(client) == values(copied) == {}
        assert not client.cookies


def test_a_guard_sees_the_session(store: SessionStore) -> None:
    """As ``connection.session``; a refusal below 500 keeps what the guard has changed."""

    def members(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        session_of(connection).increment("tries")
        if "user" not in connection.session:
            raise NotAuthorizedException

    @get("/members", guards=[members])
    async def inside(request: AnyRequest) -> str:
        return "welcome"

    with client_of(store, inside) as client:
        assert client.get("/members").status_code == 401
        client.get("/put?user=ada")
        assert client.get("/members").text == "welcome"
        assert values(client) == {"user": "ada", "tries": 2}


def test_vary_is_sent_where_the_session_was_used(store: SessionStore) -> None:
    """And nowhere else."""
    with client_of(store, count, untouched) as client:
        client.get("/count")
        assert client.get("/show").headers["vary"] == "Cookie"
        assert "vary" not in client.get("/untouched").headers


def test_a_cached_response_has_no_cookie_of_ours(store: SessionStore) -> None:
    """Litestar keeps the response in its cache without what we have added."""

    @get("/cached", cache=60)
    async def cached(request: AnyRequest) -> None:
        session_of(request).increment("visits")

    with client_of(store, cached) as client:
        assert "set-cookie" in client.get("/cached").headers
        client.cookies.clear()
        assert "set-cookie" not in client.get("/cached").headers


@pytest.mark.parametrize("wrapped", [False, True], ids=["in its middleware", "around it"])
def test_sessions_of_a_mounted_application_are_its_own(store: SessionStore, wrapped: bool) -> None:
    """Ours stay as they are, although it puts something else into the scope."""
    inner = Starlette(middleware=[Middleware(StarletteSessions, secret_key=KEY)])

    @asgi("/inner", is_mount=True, copy_scope=False)
    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)

    with client_of(store, mounted, wrapped=wrapped) as client:
        client.get("/put?name=Ada")
        assert client.get("/inner/").status_code == 404
        assert values(client) == {"name": "Ada"}


def test_the_asynchronous_client(store: SessionStore) -> None:
    """AsyncTestClient gets its cookie back."""

    async def ask() -> list[float]:
        app: Any = make_app(store, count)
        async with AsyncTestClient(app) as client:
            return [(await client.get("/count")).json() for _ in range(3)]

    assert asyncio.run(ask()) == [1, 2, 3]
