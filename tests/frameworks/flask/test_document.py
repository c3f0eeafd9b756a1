"""docs/flask.md: every block of code is run."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import flask
import pytest
from flask import Flask, session

from glimr_session import CookieStore
from glimr_session.flask import GlimrSession
from tests.support.documents import Block, blocks_of

from .sites import KEY, do, make_app, ours
from .test_moving import former

BLOCKS: Final = blocks_of("docs/flask.md")

THREE_LINES, VERBS, SETTINGS, A_TEST, FROM_FLASK, FROM_FLASK_SESSION = BLOCKS


def run(block: Block, **names: Any) -> dict[str, Any]:
    """Run a block with what its reader has; return all names it leaves."""
    exec(compile(block.code, f"{block.page}:{block.line}", "exec"), names)
    return names


def test_the_page_is_short_and_says_what_language_each_block_is_in() -> None:
    """At most 150 lines; each fence is one of the blocks above."""
    text = Path(__file__).parents[3].joinpath("docs/flask.md").read_text("utf-8")
    assert text.count("\n") <= 150
    assert text.count("```") == 2 * len(BLOCKS)
    assert {block.language for block in BLOCKS} == {"python"}


def test_the_three_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the key in the environment; on disk, as it is without a setting."""
    monkeypatch.setenv("SECRET_KEY", KEY)
    monkeypatch.setenv("GLIMR_SESSION_DISK_DIRECTORY", str(tmp_path / "sessions"))
    app: Flask = run(THREE_LINES, __name__="shop")["app"]
    client = app.test_client()
    client.post("/cart/one")
    client.post("/cart/two")
    with client.session_transaction() as found:
        assert found["cart"] == ["one", "two"]
    assert (tmp_path / "sessions" / "cache.db").exists()


def test_the_verbs() -> None:
    """Visits are counted, and the error of a form is there in the next request alone."""
    names = run(VERBS)
    app = make_app(CookieStore())
    client = app.test_client()
    assert do(app, names["count"], client).text == "Visit 1"
    assert do(app, names["count"], client).text == "Visit 2"
    answer = do(app, lambda: names["sign_up"]({"email": ["is taken"]}), client)
    assert answer.location == "/signup"
    assert do(app, lambda: ours.error("email"), client).text == "is taken"
    assert do(app, lambda: ours.error("email"), client).text == ""


def test_the_settings() -> None:
    """They are settings, and the login key gives a new id."""
    app = make_app(CookieStore())
    run(SETTINGS, app=app)
    client = app.test_client()
    ids: list[str] = []
    do(app, lambda: session.update(other=1), client)

    def log_in() -> None:
        ids.append(ours.id)
        session["user_id"] = 7

    for _ in range(3):
        do(app, log_in, client)
    assert ids[0] != ids[1] == ids[2]


def test_the_test() -> None:
    """It passes."""
    run(A_TEST)["test_the_cart"]()


def test_moving_from_flask_s_own_sessions(tmp_path: Path) -> None:
    """A user of before is still there."""
    app = Flask("shop", instance_path=str(tmp_path))
    app.config["SECRET_KEY"] = KEY
    run(FROM_FLASK, app=app)
    GlimrSession(app)
    client = app.test_client()
    client.set_cookie("session", former(user_id=7))
    assert do(app, lambda: session["user_id"], client).text == "done: 7"


def test_moving_from_flask_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Flask-Session itself has kept, in its files, and removed there at the first request."""
    flask_session = pytest.importorskip("flask_session")
    monkeypatch.chdir(tmp_path)
    module = ModuleType("shop_former")
    monkeypatch.setitem(sys.modules, "shop_former", module)
    vars(module).update(run(FROM_FLASK_SESSION))
    cache = vars(module)["cache"]
    before = Flask("shop")
    before.config.update(SECRET_KEY=KEY, SESSION_TYPE="cachelib", SESSION_CACHELIB=cache)
    flask_session.Session(before)
    client = before.test_client()
    do(before, lambda: flask.session.update(_user_id="7", cart=["book"], other=1), client)
    cookie = client.get_cookie("session")
    assert cookie is not None

    app = Flask("shop", instance_path=str(tmp_path / "instance"))
    settings = {"move_from": "shop_former:flask_session"}
    app.config.update(SECRET_KEY=KEY, GLIMR_SESSION=settings)
    GlimrSession(app)
    client = app.test_client()
    client.set_cookie("session", cookie.value)
    expected = {"_permanent": True, "_user_id": "7", "cart": ["book"], "other": 1}
    assert do(app, lambda: dict(session), client).json == expected
    assert do(app, lambda: dict(session), client).json == expected
    assert cache.get(f"session:{cookie.value}") is None
