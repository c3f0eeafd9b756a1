"""docs/starlette.md: every block of code is run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware as StarletteSessions
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient

from glimr_session import CookieStore
from glimr_session.asgi import SessionMiddleware
from glimr_session.testing import seed_session
from tests.support.documents import Block, blocks_of

from .sites import KEY, make_app, put, show, values

BLOCKS: Final = blocks_of("docs/starlette.md")

ONE_IMPORT, SETTINGS, LOGIN, CHAT, A_TEST = BLOCKS


def run(block: Block) -> dict[str, Any]:
    """Run a block; return all names it leaves."""
    names: dict[str, Any] = {}
    exec(compile(block.code, f"{block.page}:{block.line}", "exec"), names)
    return names


def test_the_page_is_short_and_says_what_language_each_block_is_in() -> None:
    """At most 150 lines; each fence is one of the blocks above."""
    text = Path(__file__).parents[3].joinpath("docs/starlette.md").read_text("utf-8")
    assert text.count("\n") <= 150
    assert text.count("```") == 2 * len(BLOCKS)
    assert {block.language for block in BLOCKS} == {"python"}


def test_the_changed_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the key in the environment, and all in the cookie."""
    monkeypatch.setenv("SECRET_KEY", KEY)
    app: Starlette = run(ONE_IMPORT)["app"]
    app.routes.append(Route("/show", show))
    client = TestClient(app)
    client.post("/cart/one")
    client.post("/cart/two")
    assert values(client) == {"cart": ["one", "two"]}
    assert {*client.cookies} == {"session"}


def configured(monkeypatch: pytest.MonkeyPatch, directory: Path, **more: object) -> TestClient:
    """Return a client of a site with the configuration of the page, in a directory of the test."""
    monkeypatch.setenv("SECRET_KEY", KEY)
    monkeypatch.setenv("GLIMR_SESSION_DISK_DIRECTORY", str(directory))
    config = {**run(SETTINGS)["config"], **more}
    sessions = Middleware(SessionMiddleware, config=config)
    routes = [Route("/put", put), Route("/show", show)]
    return TestClient(Starlette(routes=routes, middleware=[sessions]))


def test_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On disk, and the login key gives a new id."""
    client = configured(monkeypatch, tmp_path / "sessions")
    client.get("/put?a=1")
    before = client.cookies["glimr_session"]
    client.get("/put?user=ada")
    assert client.cookies["glimr_session"] != before
    assert values(client) == {"a": "1", "user": "ada"}
    assert (tmp_path / "sessions" / "cache.db").exists()


def test_login_logout_and_flash() -> None:
    """The login leads to a page that greets once."""
    names = run(LOGIN)
    app = make_app(CookieStore(), Route("/", names["home"]), names["log_in"])
    client = TestClient(app)
    assert client.get("/log_in").text == "Welcome back."
    assert client.get("/").text == ""
    assert values(client) == {"user": "ada"}


def test_the_chat() -> None:
    """It counts messages, and answers with their number."""
    app = make_app(CookieStore(), WebSocketRoute("/chat", run(CHAT)["chat"]))
    with TestClient(app).websocket_connect("/chat") as socket:
        for number in (1, 2):
            socket.send_text("hello")
            assert socket.receive_json() == number


def test_the_test() -> None:
    """It passes; httpx gets its cookie back as the page says."""
    names = run(A_TEST)
    names["test_it_answers"]()

    async def ask() -> list[str]:
        app = make_app(CookieStore())
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            client.cookies.set(*seed_session(app, {"name": "Ada"}), domain="127.0.0.1")
            assert (await client.get("/put?a=1")).json() == {"name": "Ada", "a": "1"}
            return [*client.cookies]

    assert asyncio.run(ask()) == ["glimr_session"]


def test_moving(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user of before is still there, and the old cookie ends."""
    sessions = Middleware(StarletteSessions, secret_key=KEY)
    before = TestClient(Starlette(routes=[Route("/put", put)], middleware=[sessions]))
    before.get("/put?user=ada")
    client = configured(
        monkeypatch,
        tmp_path / "sessions",
        move_from="glimr_session.starlette:signed_cookies",
        lifetime=20160,
    )
    client.cookies.set("session", before.cookies["session"], domain="testserver.local")
    assert values(client) == {"user": "ada"}
    client.get("/put?a=1")
    assert {*client.cookies} == {"glimr_session"}
    assert values(client) == {"user": "ada", "a": "1"}
