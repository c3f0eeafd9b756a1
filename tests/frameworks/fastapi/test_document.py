"""docs/fastapi.md: every block of code is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.testclient import TestClient

from glimr_session import DiskStore
from glimr_session.fastapi import SessionDep
from tests.support.documents import Block, blocks_of

from .sites import CONFIG, ask, make_app

BLOCKS: Final = blocks_of("docs/fastapi.md")

THREE_LINES, FORMS, WEBSOCKET, A_TEST = BLOCKS


def run(block: Block) -> dict[str, Any]:
    """Run a block; return all names it leaves."""
    names: dict[str, Any] = {}
    exec(compile(block.code, f"{block.page}:{block.line}", "exec", dont_inherit=True), names)
    return names


def test_the_page_is_short_and_says_what_language_each_block_is_in() -> None:
    """At most 150 lines; each fence is one of the blocks above."""
    text = Path(__file__).parents[3].joinpath("docs/fastapi.md").read_text("utf-8")
    assert text.count("\n") <= 150
    assert text.count("```") == 2 * len(BLOCKS)
    assert {block.language for block in BLOCKS} == {"python"}


def test_the_three_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the key in the environment, sessions are kept on disk."""
    monkeypatch.setenv("GLIMR_SESSION_SECRET_KEYS", CONFIG.secret_keys[0])
    monkeypatch.chdir(tmp_path)
    app: FastAPI = run(THREE_LINES)["app"]
    shown = make_app()  # to see what is in the cart

    client = TestClient(app)
    client.post("/cart/one")
    answer = client.post("/cart/two")
    assert answer.json() == "in the cart"
    app.mount("/shown", shown)
    assert ask(client, "/shown/session") == {"cart": ["one", "two"]}
    assert (tmp_path / "var" / "sessions" / "cache.db").exists()


def test_login_logout_and_a_form_with_an_error(disk: DiskStore) -> None:
    """Who signs up gets a new id, and nobody is logged in after a logout."""
    names = run(FORMS)
    again = {RequestValidationError: names["show_again"]}
    app = make_app(disk, exception_handlers=again)
    app.include_router(names["router"])

    @app.get("/signup")
    async def show(session: SessionDep) -> list[str]:
        return [session.error("email"), session.old("email"), session.old("password")]

    client = TestClient(app)
    answer = client.post("/signup", data={"email": "ada", "password": "correct horse battery"})
    assert answer.json() == ["String should match pattern '@'", "ada", ""]
    before = client.cookies["glimr_session"]
    form = {"email": "ada@example.org", "password": "correct horse battery"}
    assert client.post("/signup", data=form, follow_redirects=False).headers["location"] == "/"
    assert client.cookies["glimr_session"].split(".")[0] != before.split(".")[0]
    copied = TestClient(app, cookies={"glimr_session": client.cookies["glimr_session"]})
    assert ask(copied) == {"user": "ada@example.org"}
    client.post("/logout")
    assert [ask(client), ask(copied)] == [{}, {}]


def test_the_websocket(disk: DiskStore) -> None:
    """Its messages are counted in the session that was there before."""
    app = make_app(disk)
    app.include_router(run(WEBSOCKET)["router"])
    app.include_router(run(FORMS)["router"])
    client = TestClient(app)
    client.post("/signup", data={"email": "ada@example.org", "password": "correct horse battery"})
    with client.websocket_connect("/counter") as socket:
        socket.send_text("")
        socket.send_text("")
    assert ask(client) == {"user": "ada@example.org", "messages": 2}


def test_the_test() -> None:
    """It passes."""
    run(A_TEST)["test_the_greeting"]()
