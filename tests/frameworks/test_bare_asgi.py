"""docs/asgi.md: every block of code is run, as a server or httpx does it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import glimr_session
from glimr_session import CookieStore
from glimr_session.asgi import SessionMiddleware
from tests.support.actors import living_session_actors
from tests.support.asgi_client import Browser, Exchange
from tests.support.documents import Block, blocks_of
from tests.support.wsgi_apps import CONFIG, KEY, Recorded

BLOCKS: Final = blocks_of("docs/asgi.md")

COUNTER, ECHO, A_TEST = BLOCKS


@pytest.fixture(autouse=True)
def _clean(_nothing_left: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail the test if it leaves a session actor running; the environment sets a key alone."""
    for name in [name for name in os.environ if name.startswith("GLIMR_SESSION_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GLIMR_SESSION_SECRET_KEYS", KEY)
    yield
    assert living_session_actors() == []


def run(block: Block) -> dict[str, Any]:
    """Run a block; return all names it leaves."""
    names: dict[str, Any] = {}
    exec(compile(block.code, f"{block.page}:{block.line}", "exec"), names)
    return names


def get(browser: Browser, app: Any) -> Exchange:
    """Make a request."""
    return asyncio.run(browser.get(app))


def test_the_page_is_short_and_says_what_language_each_block_is_in() -> None:
    """At most 150 lines; each fence is one of the blocks above."""
    text = Path(__file__).parents[2].joinpath("docs/asgi.md").read_text("utf-8")
    assert text.count("\n") <= 150
    assert text.count("```") == 2 * len(BLOCKS)
    assert {block.language for block in BLOCKS} == {"python"}


def test_the_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts visits, configured by the environment; an outage is a 503."""
    monkeypatch.setenv("GLIMR_SESSION_STORE", "cookie")
    browser, app = Browser(), run(COUNTER)["application"]
    assert [get(browser, app).body for _ in range(2)] == [b"Visit 1", b"Visit 2"]


def test_the_counter_in_an_outage() -> None:
    """It is answered with 503, and counts on afterwards."""
    recorded = Recorded()
    glimr_session.setup(recorded.store)
    browser, app = Browser(), run(COUNTER)["application"]
    get(browser, app)
    recorded.down = True
    assert get(browser, app).status == 503
    recorded.down = False
    assert get(browser, app).body == b"Visit 2"


def test_the_websocket() -> None:
    """It counts messages, and answers with their number; its session begins with the handshake."""
    app = SessionMiddleware(run(ECHO)["echo"], CONFIG, store=CookieStore())
    exchange = asyncio.run(Browser().websocket(app, ["hello", "hello"]).run())
    assert exchange.texts == ["1", "2"]
    assert exchange.set_cookie is not None


def test_the_test() -> None:
    """It passes."""
    run(A_TEST)["test_it_is_bought"]()
