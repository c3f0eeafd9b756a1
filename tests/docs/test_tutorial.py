"""docs/tutorial.md: each step is done as it says, and shows what it says."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.support.commands import run_shell, served
from tests.support.documents import RECIPES, ROOT, session_of_a_shell

PAGE: Final = [block for block in RECIPES if block.page == "docs/tutorial.md"]
INSTALL, COUNTER, SERVE, VISITS, CART, BOOKS, SHOP = PAGE
RUN: Final = set(PAGE)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The key, made by the command of the first step."""
    *_, export = INSTALL.code.splitlines()
    printed = run_shell(f'{export}\necho "$FLASK_SECRET_KEY"', tmp_path_factory.mktemp("key"))
    return printed.strip()


@contextmanager
def shop(folder: Path, code: str, key: str) -> Iterator[str]:
    """Serve this app.py with the command of the tutorial; yield its URL."""
    (folder / "app.py").write_text(code, "utf-8")
    with served(folder, SERVE.code, FLASK_SECRET_KEY=key) as (url, _):
        yield url


def test_what_is_installed_exists() -> None:
    """The extra is one of ours; installing it is tried by the tests of the release."""
    made, activated, installed, _ = INSTALL.code.splitlines()
    assert (made, activated) == ("python3 -m venv .venv", ". .venv/bin/activate")
    assert installed == 'pip install "glimr-session[flask]" waitress'
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["name"] == "glimr-session"
    assert "flask" in project["optional-dependencies"]


def test_visits_are_counted_beyond_a_restart(tmp_path: Path, key: str) -> None:
    """The commands print what stands below them, and the sessions are where the page says."""
    with shop(tmp_path, COUNTER.code, key) as url:
        for command, printed in session_of_a_shell(VISITS):
            assert run_shell(command, tmp_path, {"http://127.0.0.1:8000": url}) == printed
    assert (tmp_path / "instance" / "sessions" / "cache.db").exists()
    with shop(tmp_path, COUNTER.code, key) as url:
        command, _ = session_of_a_shell(VISITS)[0]
        assert run_shell(command, tmp_path, {"http://127.0.0.1:8000": url}) == "Visit 3\n"


def test_books_that_are_bought_at_once_are_all_in_the_cart(tmp_path: Path, key: str) -> None:
    """The four requests that run at the same time lose nothing."""
    with shop(tmp_path, CART.code, key) as url:
        for command, printed in session_of_a_shell(BOOKS):
            assert run_shell(command, tmp_path, {"http://127.0.0.1:8000": url}) == printed


def test_somebody_logs_in_buys_and_logs_out(tmp_path: Path, key: str) -> None:
    """Each notice is shown once, the login changes the id, and the logout ends a copied cookie."""

    def notice(text: str) -> str:
        return str(re.findall("<p>(.*?)</p>", text)[0])

    with (
        shop(tmp_path, SHOP.code, key) as url,
        httpx.Client(base_url=url, follow_redirects=True) as browser,
    ):
        assert 'action="/login"' in browser.get("/").text
        page = browser.post("/login", data={"user": "<Ada>"})
        assert notice(page.text) == "Welcome!"
        assert "&lt;Ada&gt; has in the cart" in page.text
        before = browser.cookies["session"]
        assert notice(browser.post("/cart", data={"book": "Emma"}).text) == "It is in your cart."
        page = browser.get("/")
        assert notice(page.text) == ""
        assert "has in the cart: Emma<" in page.text
        browser.post("/login", data={"user": "Ada"})
        copy = browser.cookies["session"]
        assert copy.partition(".")[0] != before.partition(".")[0]
        assert notice(browser.post("/logout").text) == "You are logged out."
        assert "Emma" not in browser.get("/").text
        for cookie in (before, copy):
            thief = httpx.get(url, headers={"Cookie": f"session={cookie}"})
            assert 'action="/login"' in thief.text
