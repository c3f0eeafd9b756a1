"""Sessions of the engine that was used before."""

from __future__ import annotations

import functools
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.contrib import auth
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError
from django.test.utils import override_settings

from glimr_session import StoreUnavailable
from glimr_session.django import SessionStore
from tests.conftest import Clock

from .conftest import site_with
from .site import browser, data_of, visit

ENGINES = ["db", "cache", "cached_db", "file", "signed_cookies"]


@pytest.fixture(params=ENGINES)
def former(request: pytest.FixtureRequest, database: None, tmp_path: Path) -> Any:
    """The name of an engine of Django's."""
    with override_settings(SESSION_FILE_PATH=str(tmp_path)):
        yield f"django.contrib.sessions.backends.{request.param}"


def moving(glimr: dict[str, Any], former: str) -> override_settings:
    return override_settings(GLIMR_SESSION={**glimr, "move_from": former})


def logged_in(former: str, user: Any, **data: Any) -> Any:
    """Return a browser that has logged in while the former engine was in use."""
    client = browser()
    with site_with("django's", SESSION_ENGINE=former):
        client.force_login(user)
        visit(client, lambda request: request.session.update(data) or {})
    return client


def put(key: str, value: int, request: Any) -> dict[str, Any]:
    request.session[key] = value
    return {}


def now(client: Any) -> Any:
    """Return the same browser, after the settings were changed."""
    other = browser()
    other.cookies = client.cookies
    return other


@pytest.mark.usefixtures("middleware")
def test_nobody_is_logged_out_by_the_switch(
    glimr: dict[str, Any], former: str, people: Any
) -> None:
    """The data is there, the cookie is a new one, and the engine has it no more."""
    client = logged_in(former, people.get(username="grace"), cart=["book"])
    old = client.cookies["sessionid"].value
    with moving(glimr, former):
        client = now(client)
        response = visit(client, lambda request: [request.user.username, request.session["cart"]])
        assert response.json() == ["grace", ["book"]]
        assert response.cookies["sessionid"].value != old
        assert data_of(client)["cart"] == ["book"]
    client = now(client)
    assert data_of(client)["cart"] == ["book"], "it was moved, and needs the old engine no more"
    if "signed_cookies" not in former:
        assert not import_module(former).SessionStore().exists(old)


@pytest.mark.usefixtures("middleware")
def test_a_session_that_was_moved_and_ended_does_not_come_back(
    glimr: dict[str, Any], former: str, people: Any
) -> None:
    """Not even with the cookie that it was moved with."""
    client = logged_in(former, people.get(username="grace"))
    old = client.cookies["sessionid"].value
    with moving(glimr, former):
        client, stolen = now(client), browser()
        stolen.cookies.load({"sessionid": old})
        data_of(client)
        visit(client, lambda request: auth.logout(request) or {})
        assert data_of(client) == data_of(stolen) == {}


@pytest.mark.usefixtures("middleware")
def test_requests_at_once_with_one_old_cookie_all_find_the_session(
    glimr: dict[str, Any], former: str, people: Any
) -> None:
    """As those of one page do."""
    client = logged_in(former, people.get(username="grace"), cart=["book"])
    with moving(glimr, former):
        pages = [browser() for _ in range(3)]
        for page in pages:
            page.cookies.load({"sessionid": client.cookies["sessionid"].value})
        for number, page in enumerate(pages):
            visit(page, functools.partial(put, f"n{number}", number))
        for page in pages:
            found = data_of(page)
            assert [found["cart"], found["n0"], found["n1"], found["n2"]] == [["book"], 0, 1, 2]


def test_a_logout_with_an_old_cookie_ends_the_old_session(
    glimr: dict[str, Any], former: str, people: Any
) -> None:
    """In the engine too."""
    client = logged_in(former, people.get(username="grace"))
    old = client.cookies["sessionid"].value
    with moving(glimr, former), site_with("ours"):
        client, stolen = now(client), browser()
        stolen.cookies.load({"sessionid": old})
        visit(client, lambda request: auth.logout(request) or {})
        assert data_of(client) == data_of(stolen) == {}


def test_the_environment_may_name_the_engine(
    glimr: dict[str, Any], database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It beats GLIMR_SESSION, as every setting."""
    session = import_module("django.contrib.sessions.backends.db").SessionStore()
    session["n"] = 1
    session.save()
    monkeypatch.setenv("GLIMR_SESSION_MOVE_FROM", "django.contrib.sessions.backends.db")
    with override_settings(GLIMR_SESSION={**glimr, "move_from": "no.such.engine"}):
        assert SessionStore(session.session_key)["n"] == 1


def test_what_json_does_not_have_is_left_behind(
    glimr: dict[str, Any], database: None, caplog: pytest.LogCaptureFixture
) -> None:
    """And the rest is moved; a warning names the key."""
    former = "django.contrib.sessions.backends.cache"
    session = import_module(former).SessionStore()
    session.update({"n": 1, "tags": {1, 2}})
    session.save()
    with moving(glimr, former):
        assert SessionStore(session.session_key).load() == {"n": 1}
    assert "'tags'" in caplog.text


def test_a_former_engine_that_is_down_is_an_outage(
    glimr: dict[str, Any], database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is taken for a stranger."""
    former = "django.contrib.sessions.backends.db"

    def down(self: object) -> None:
        raise DatabaseError("no connection")

    monkeypatch.setattr(f"{former}.SessionStore.load", down)
    with moving(glimr, former), pytest.raises(StoreUnavailable, match="no connection"):
        SessionStore("k" * 32).load()


@pytest.mark.parametrize("engine", ["no.such.engine", "django.contrib.sessions.models"])
def test_a_former_engine_that_is_none_is_told(glimr: dict[str, Any], engine: str) -> None:
    """The error names it."""
    with moving(glimr, engine), pytest.raises(ImproperlyConfigured, match=f"'{engine}'"):
        SessionStore()


def test_a_former_session_expires_as_it_was_told_to(
    glimr: dict[str, Any], database: None, clock: Clock
) -> None:
    """set_expiry() of before counts."""
    former = "django.contrib.sessions.backends.db"
    session = import_module(former).SessionStore()
    session["n"] = 1
    session.set_expiry(300)
    session.save()
    with moving(glimr, former):
        moved = SessionStore(session.session_key)
        assert moved["n"] == 1
        moved.save()
        clock.now += 301
        assert SessionStore(moved.session_key).load() == {}
