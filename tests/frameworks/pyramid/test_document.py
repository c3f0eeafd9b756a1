"""Every block of the page about Pyramid, run as it stands there."""

from __future__ import annotations

import configparser
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from pyramid.config import Configurator
from pyramid.interfaces import ISessionFactory
from pyramid.request import Request
from pyramid.session import SignedCookieSessionFactory
from webtest import TestApp

from glimr_session import DiskStore, StoreUnavailable
from glimr_session.pyramid import PyramidSession
from tests.support.documents import ROOT, Block, blocks_of
from tests.support.wsgi_apps import KEY

from .sites import SETTINGS, changing, configure, putting

PAGE: Final = "docs/pyramid.md"
CHANGE, INI, IN_CODE, OUTAGE, TESTED, FORMER = blocks_of(PAGE)

IMPORT: Final = "from pyramid.view import view_config\n"
VIEWS: Final = """

@view_config(name="put", renderer="json")
def put(request):
    request.session["a"] = 1
    return {}
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for the modules of a package ``shop``, of which none stays loaded."""
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


@pytest.fixture
def _configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIMR_SESSION_STORE", "cookie")
    monkeypatch.setenv("GLIMR_SESSION_SECRET_KEYS", KEY)


def run(block: Block, **names: Any) -> dict[str, Any]:
    exec(compile(block.code, f"{block.page}:{block.line}", "exec"), names)
    return names


@pytest.mark.usefixtures("_configured")
def test_the_lines_to_change() -> None:
    """The old lines make a session of Pyramid's, the new one makes one of ours."""
    lines = CHANGE.code.splitlines()
    made = []
    for sign in "-+":
        code = "\n".join(line[1:].strip() for line in lines if line.startswith(sign))
        with Configurator() as config:
            run(
                CHANGE._replace(code=code),
                config=config,
                settings={"session.secret": KEY},
                SignedCookieSessionFactory=SignedCookieSessionFactory,
            )
        registry: Any = config.registry
        made.append(registry.getUtility(ISessionFactory)(Request.blank("/")))
    assert [isinstance(session, PyramidSession) for session in made] == [False, True]


def test_the_settings(tmp_path: Path) -> None:
    """They put the sessions into a directory, here into one of the test's."""
    parser = configparser.ConfigParser({"here": str(tmp_path)})
    parser.read_string(INI.code)
    settings = {**SETTINGS, **parser["app:main"]}
    TestApp(configure(settings, {"put": putting("a", 1)}, lambda config: None)).get("/put")
    assert (tmp_path / "var" / "sessions" / "cache.db").exists()


@pytest.mark.usefixtures("_configured")
def test_code_with_a_store_and_a_view_for_outages(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is the one that was passed, and when it is down the page's view answers."""
    (shop / "views.py").write_text(f"{IMPORT}{OUTAGE.code}{VIEWS}", "utf-8")
    main = run(IN_CODE)["main"]
    site = TestApp(main({}, sessions=str(tmp_path / "kept"), key=KEY))
    site.get("/put")
    assert (tmp_path / "kept" / "cache.db").exists()

    def fail(*_: object, **__: object) -> None:
        raise StoreUnavailable("down")

    monkeypatch.setattr(DiskStore, "open", fail)
    answer = site.get("/put", status=503)
    assert answer.headers["Retry-After"] == "5"


@pytest.mark.usefixtures("_configured")
def test_a_test_with_a_session() -> None:
    """The seeded user is logged in, and what the request put can be read."""

    def buy(session: Any) -> None:
        assert session["auth.userid"] == "ada"
        session.setdefault("cart", []).append("book")

    run(TESTED, app=configure(SETTINGS, {"buy": changing(buy)}, lambda config: None))


def test_the_move_from_pyramid_s_own_sessions(shop: Path, tmp_path: Path) -> None:
    """Nobody is logged out, an expired session stays out, and the old cookie ends."""
    (shop / "former.py").write_text(FORMER.code, "utf-8")
    old = SignedCookieSessionFactory("the secret that you had", timeout=1200)
    with Configurator(session_factory=old) as config:
        config.add_route("put", "/put")
        config.add_view(putting("auth.userid", "ada"), route_name="put", renderer="json")
    before = TestApp(config.make_wsgi_app())
    before.get("/put")
    settings = {
        **SETTINGS,
        "glimr_session.store": "disk",
        "glimr_session.disk.directory": str(tmp_path / "sessions"),
        "glimr_session.move_from": "shop.former:pyramid_sessions",
    }
    after = TestApp(configure(settings, {"put": putting("b", 2)}, lambda config: None))
    after.cookiejar = before.cookiejar
    assert after.get("/all").json == {"auth.userid": "ada"}
    after.get("/put")
    assert {cookie.name for cookie in after.cookiejar} == {"glimr_session"}
    assert after.get("/all").json == {"auth.userid": "ada", "b": 2}
    forged = TestApp(after.app)
    forged.set_cookie("session", "forged")
    assert forged.get("/all").json == {}


def test_an_expired_session_of_pyramid_s_is_not_moved(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own factory tells: what it no longer takes is nobody's."""
    (shop / "former.py").write_text(FORMER.code, "utf-8")
    old = SignedCookieSessionFactory("the secret that you had", timeout=1200)
    with Configurator(session_factory=old) as config:
        config.add_route("put", "/put")
        config.add_view(putting("a", 1), route_name="put", renderer="json")
    site = TestApp(config.make_wsgi_app())
    site.get("/put")
    (cookie,) = site.cookiejar
    sessions = run(FORMER)["pyramid_sessions"]()
    assert sessions.open(f"~{cookie.value}").data == {"a": 1}
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1300)
    assert sessions.open(f"~{cookie.value}") is None


def test_the_page_is_short_and_names_its_languages() -> None:
    """It has under 150 lines, and each fence of its blocks names a language."""
    lines = (ROOT / PAGE).read_text("utf-8").splitlines()
    assert len(lines) < 150
    assert sum(line.startswith("```") for line in lines) == 2 * len(blocks_of(PAGE))
