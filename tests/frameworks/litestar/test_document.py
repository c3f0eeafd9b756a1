"""docs/litestar.md: every block of code is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
from litestar import Litestar
from litestar.testing import TestClient

import glimr_session
from glimr_session import CookieStore
from tests.support.documents import Block, blocks_of
from tests.support.wsgi_apps import Recorded

from .sites import KEY, client_of, show, values

BLOCKS: Final = blocks_of("docs/litestar.md")

THREE_LINES, LOGIN, CHAT, OUTAGE, A_TEST = BLOCKS


def run(block: Block) -> dict[str, Any]:
    """Run a block; return all names it leaves."""
    names: dict[str, Any] = {"__name__": __name__}  # where Litestar looks for types
    # Litestar reads annotations, and strings (as in this module) are no types of the block's.
    code = compile(block.code, f"{block.page}:{block.line}", "exec", dont_inherit=True)
    exec(code, names)
    return names


def test_the_page_is_short_and_says_what_language_each_block_is_in() -> None:
    """At most 150 lines; each fence is one of the blocks above."""
    text = Path(__file__).parents[3].joinpath("docs/litestar.md").read_text("utf-8")
    assert text.count("\n") <= 150
    assert text.count("```") == 2 * len(BLOCKS)
    assert {block.language for block in BLOCKS} == {"python"}


def test_the_three_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the key in the environment; on disk, with one store for all routes."""
    monkeypatch.setenv("GLIMR_SESSION_SECRET_KEYS", KEY)
    monkeypatch.setenv("GLIMR_SESSION_DISK_DIRECTORY", str(tmp_path / "sessions"))
    made: list[object] = []
    make_store = glimr_session.SessionConfig.make_store

    def counted(config: glimr_session.SessionConfig) -> Any:
        made.append(config)
        return make_store(config)

    monkeypatch.setattr(glimr_session.SessionConfig, "make_store", counted)
    app: Litestar = run(THREE_LINES)["app"]
    app.register(show)
    with TestClient(app) as client:
        assert client.post("/buy").text == "in the cart"
        client.post("/buy")
        assert values(client) == {"cart": ["book", "book"]}
    assert len(made) == 1
    assert (tmp_path / "sessions" / "cache.db").exists()


def test_login_logout_and_flash() -> None:
    """The login leads to a page that greets once, and the logout leaves nothing."""
    names = run(LOGIN)
    with client_of(CookieStore(), names["log_in"], names["home"], names["log_out"]) as client:
        assert client.post("/login").text == "Welcome back."
        assert client.get("/").text == ""
        assert values(client) == {"user": "ada"}
        client.post("/logout")
        assert not client.cookies


def test_the_chat() -> None:
    """It counts messages, and answers with their number."""
    with (
        client_of(CookieStore(), run(CHAT)["chat"]) as client,
        client.websocket_connect("/chat") as socket,
    ):
        for number in (1, 2):
            socket.send_text("hello")
            assert socket.receive_json() == number


def test_the_outage() -> None:
    """It is answered with 503, and says when to come back."""
    recorded = Recorded()
    handlers = run(OUTAGE)["app"].exception_handlers
    with client_of(recorded.store, exception_handlers=handlers) as client:
        client.get("/put?a=1")
        recorded.down = True
        answer = client.get("/show")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_the_test() -> None:
    """It passes."""
    run(A_TEST)["test_nobody_is_logged_out"]()
