"""Requests of browsers, with Django's own middleware and with ours."""

from __future__ import annotations

import gc
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from django.contrib import auth, messages
from django.contrib.sessions.backends.base import UpdateError
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory
from django.test.utils import override_settings
from django.utils.timezone import now

from glimr_session import DiskStore
from glimr_session.django import SessionStore
from tests.conftest import Clock
from tests.support.actors import living_session_actors

from .conftest import KEY, MIDDLEWARE
from .site import browser, data_of, read, visit

pytestmark = pytest.mark.usefixtures("middleware")


def same_browser(client: Any) -> Any:
    """Return a second client with the cookies that the first one has now."""
    other = browser()
    other.cookies.load({name: morsel.value for name, morsel in client.cookies.items()})
    return other


def put(client: Any, **values: Any) -> Any:
    return visit(client, lambda request: request.session.update(values) or {})


def test_a_session_lasts_and_its_response_is_not_for_others() -> None:
    """Each request finds what the one before has left; caches are told."""
    client = browser()
    assert [client.get("/count/a").json()["visits"] for _ in range(3)] == [1, 2, 3]
    assert data_of(client) == {"counts": {"a": 3}, "visits": 3}
    assert client.get("/read")["Vary"] == "Cookie"
    assert "Vary" not in visit(client, lambda request: {})


def test_a_request_that_uses_no_session_gets_no_cookie() -> None:
    """Nor does one that only reads."""
    client = browser()
    assert not visit(client, lambda request: {}).cookies
    assert not client.get("/read").cookies


def test_two_requests_at_once_both_survive() -> None:
    """They change different keys, and different keys of one dict and the ends of one list."""
    client = browser()
    put(client, cart={"book": 1}, log=["begun"])
    other = same_browser(client)

    def beside(request: Any) -> dict[str, Any]:
        request.session["cart"]["ink"] = 3
        request.session["log"].append("ink")
        request.session["beside"] = True
        return {}

    def slow(request: Any) -> dict[str, Any]:
        assert request.session["cart"] == {"book": 1}
        assert visit(other, beside).status_code == 200
        request.session["cart"]["pen"] = 2
        request.session["log"].append("pen")
        request.session["slow"] = True
        return {}

    assert visit(client, slow).status_code == 200
    assert data_of(client) == {
        "cart": {"book": 1, "ink": 3, "pen": 2},
        "log": ["begun", "ink", "pen"],
        "beside": True,
        "slow": True,
    }


def test_a_logout_beside_a_slow_request_stays(people: Any, middleware: str) -> None:
    """Django's own middleware interrupts the slow one; ours answers, and sets no cookie."""
    client = browser(raise_request_exception=False)
    client.force_login(people.get(username="grace"))
    other = same_browser(client)

    def slow(request: Any) -> dict[str, Any]:
        assert request.user.is_authenticated
        visit(other, lambda beside: auth.logout(beside) or {})
        request.session["slow"] = True
        return {}

    response = visit(client, slow)
    assert response.status_code == (400 if middleware == "django's" else 200)
    assert not response.cookies
    assert data_of(client) == data_of(other) == {}


def test_a_slow_request_beside_a_login_does_not_undo_it(people: Any, middleware: str) -> None:
    """Its change is in the session, and the browser keeps the login's cookie."""
    client = browser(raise_request_exception=False)
    put(client, cart=["book"])
    other = same_browser(client)

    def slow(request: Any) -> dict[str, Any]:
        assert request.session["cart"] == ["book"]
        visit(other, lambda beside: auth.login(beside, people.get(username="grace")) or {})
        request.session["slow"] = True
        return {}

    response = visit(client, slow)
    assert response.status_code == (400 if middleware == "django's" else 200)
    assert not response.cookies
    found = data_of(other)
    assert (found["cart"], found["slow"], found["_auth_user_id"]) == (["book"], True, "2")


def test_a_request_that_left_before_the_login_does_not_end_it(people: Any) -> None:
    """It comes with the old cookie, reads nothing, writes in vain, and is sent no cookie."""
    client = browser()
    put(client, cart=["book"])
    late = same_browser(client)
    client.force_login(people.get(username="grace"))
    response = late.get("/read")
    assert (response.json(), dict(response.cookies)) == ({}, {})
    response = visit(late, lambda request: request.session.update({"late": True}) or {})
    assert (response.status_code, dict(response.cookies)) == (200, {})
    assert "late" not in data_of(client)


def test_a_login_gives_a_new_cookie_and_kills_the_old_one(people: Any) -> None:
    """The data goes along."""
    client = browser()
    put(client, cart=["book"])
    attacker = same_browser(client)
    client.force_login(people.get(username="grace"))
    found = data_of(client)
    assert (found["cart"], found["_auth_user_id"]) == (["book"], "2")
    assert data_of(attacker) == {}


def test_a_logout_leaves_nothing_for_the_next_user(people: Any) -> None:
    """The cookie ends, and the old one is dead."""
    client = browser()
    client.force_login(people.get(username="grace"))
    put(client, cart=["book"])
    stolen = same_browser(client)
    response = visit(client, lambda request: auth.logout(request) or {})
    assert response.cookies["sessionid"]["max-age"] == 0
    assert data_of(client) == data_of(stolen) == {}
    client.force_login(people.get(username="ada"))
    assert "cart" not in data_of(client)


def test_another_user_s_login_begins_a_new_session(people: Any) -> None:
    """Django flushes the session of the first one."""
    client = browser()
    client.force_login(people.get(username="grace"))
    put(client, cart=["book"])
    visit(client, lambda request: auth.login(request, people.get(username="ada")) or {})
    found = data_of(client)
    assert found["_auth_user_id"] == "1"
    assert "cart" not in found


def test_a_new_secret_key_logs_nobody_out(people: Any, middleware: str) -> None:
    """Requests at once each find the old one; the first gives the session a new key."""
    client = browser(raise_request_exception=False)
    client.force_login(people.get(username="grace"))
    other = same_browser(client)

    def name(request: Any) -> Any:
        return request.user.username

    def slow(request: Any) -> Any:
        assert request.session["_auth_user_id"] == "2"
        assert visit(other, name).json() == "grace"
        return request.user.username

    with override_settings(SECRET_KEY=f"new {KEY}", SECRET_KEY_FALLBACKS=[KEY]):
        client, other = same_browser(client), same_browser(other)
        client.raise_request_exception = False
        response = visit(client, slow)
        assert response.status_code == (400 if middleware == "django's" else 200)
        assert not response.cookies
        assert visit(other, name).json() == "grace"


def test_the_key_that_a_login_is_recorded_under_is_the_browser_s(people: Any) -> None:
    """What a receiver of user_logged_in sees is the key of the requests that follow."""
    client = browser()

    def login(request: Any) -> Any:
        auth.login(request, people.get(username="grace"))
        return request.session.session_key

    def key(request: Any) -> Any:
        return request.session.session_key

    for visits in (0, 1):
        if visits:
            visit(client, lambda request: request.session.flush() or {})
            put(client, cart=["pen"])
        at_login = visit(client, login).json()
        assert visit(client, key).json() == at_login


def test_the_admin_s_login_and_logout(people: Any) -> None:
    """Through its own forms."""
    client = browser()
    wrong = client.post("/admin/login/", {"username": "ada", "password": "wrong"})
    assert b"Please enter the correct" in wrong.content
    form = {"username": "ada", "password": "correct horse", "next": "/admin/"}
    assert client.post("/admin/login/", form).status_code == 302
    stolen = same_browser(client)
    assert b"Site administration" in client.get("/admin/").content
    assert client.post("/admin/logout/").status_code == 200
    assert client.get("/admin/").status_code == 302
    assert stolen.get("/admin/").status_code == 302


@pytest.mark.parametrize("storage", ["session.SessionStorage", "fallback.FallbackStorage"])
def test_messages_of_django_are_shown_once(storage: str) -> None:
    """Those that are kept in the session, and those that overflow into it."""

    def leave(request: Any) -> dict[str, Any]:
        messages.success(request, "Saved." * 1000)
        return {}

    def show(request: Any) -> list[str]:
        return [str(message) for message in messages.get_messages(request)]

    with override_settings(MESSAGE_STORAGE=f"django.contrib.messages.storage.{storage}"):
        client = browser()
        visit(client, leave)
        assert visit(client, show).json() == ["Saved." * 1000]
        assert visit(client, show).json() == []


def test_our_flash_is_shown_to_the_next_request_alone() -> None:
    """Also where nothing else is in the session."""
    client = browser()
    visit(client, lambda request: request.session.flash("notice", "Saved.") or {})

    def show(request: Any) -> Any:
        return request.session.get_flash("notice")

    assert [visit(client, show).json() for _ in range(2)] == ["Saved.", ""]


@pytest.mark.parametrize("how", ["answer", "raise"])
def test_a_failed_response_keeps_nothing(how: str) -> None:
    """A status of 500, or an exception."""
    client = browser(raise_request_exception=False)
    put(client, n=1)

    def fail(request: Any) -> HttpResponse:
        request.session["n"] = 2
        if how == "raise":
            raise RuntimeError("a bug")
        return HttpResponse(status=500)

    response = visit(client, fail)
    assert response.status_code == 500
    assert not response.cookies
    assert data_of(client) == {"n": 1}


def test_what_json_does_not_have_is_an_error_of_the_request() -> None:
    """It names the key."""
    with pytest.raises(TypeError, match="'when'"):
        put(browser(), when=now())


def test_a_session_expires(clock: Clock) -> None:
    """After SESSION_COOKIE_AGE without use."""
    with override_settings(SESSION_COOKIE_AGE=600):
        client = browser()
        assert put(client, n=1).cookies["sessionid"]["max-age"] == 600
        clock.now += 599
        put(client, n=2)
        clock.now += 599
        assert data_of(client) == {"n": 2}
        clock.now += 601
        assert data_of(client) == {}


def test_set_expiry_is_the_age_of_the_cookie() -> None:
    """In seconds, or 0 for the end of the browser."""
    client = browser()

    def expiry(value: int) -> Any:
        def act(request: Any) -> dict[str, Any]:
            request.session["n"] = value
            request.session.set_expiry(value)
            return {}

        return visit(client, act).cookies["sessionid"]["max-age"]

    assert [expiry(300), expiry(0), expiry(500)] == [300, "", 500]


def test_a_session_is_renewed_by_each_request_if_settings_say_so(clock: Clock) -> None:
    """SESSION_SAVE_EVERY_REQUEST: by one that does not use it too."""
    with override_settings(SESSION_COOKIE_AGE=600, SESSION_SAVE_EVERY_REQUEST=True):
        client = browser()
        put(client, n=1)
        for seconds in (500, 1, 500):
            clock.now += seconds
            response = visit(client, lambda request: {})
            assert response.cookies["sessionid"]["max-age"] == 600
        assert data_of(client) == {"n": 1}


def test_the_cookie_is_as_django_s_settings_say() -> None:
    """Name, Domain, Path, Secure, HttpOnly, SameSite, and the browser's end."""
    with override_settings(
        SESSION_COOKIE_NAME="shop",
        SESSION_COOKIE_DOMAIN="shop.example",
        SESSION_COOKIE_PATH="/do",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=False,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_EXPIRE_AT_BROWSER_CLOSE=True,
    ):
        client = browser(headers={"host": "shop.example"})
        cookie = put(client, n=1).cookies["shop"]
    attributes = {name: value for name, value in cookie.items() if value}
    assert attributes == {
        "domain": "shop.example",
        "path": "/do",
        "secure": True,
        "samesite": "Strict",
    }


def test_the_cookie_is_careful_unless_settings_say_otherwise() -> None:
    """HttpOnly and Lax; SESSION_COOKIE_SAMESITE = False leaves that out."""
    cookie = put(browser(), n=1).cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    with override_settings(SESSION_COOKIE_SAMESITE=False):
        assert put(browser(), n=1).cookies["sessionid"]["samesite"] == ""


def test_the_test_client_s_session() -> None:
    """It is read and changed from outside, before the first request and between two."""
    client = browser()
    session = client.session
    session["n"] = 1
    session.save()
    assert data_of(client) == {"n": 1}
    visit(client, lambda request: request.session.update({"m": 2}) or {})
    session = client.session
    assert dict(session.items()) == {"n": 1, "m": 2}
    session["n"] = 3
    session.save()
    assert data_of(client) == {"n": 3, "m": 2}
    client.logout()
    assert data_of(client) == {}


def test_a_session_can_be_read_after_the_response() -> None:
    """As tests do, by the request that the client remembers."""
    client = browser()
    response = client.get("/count/a")
    assert response.wsgi_request.session["visits"] == 1
    assert response.wsgi_request.session.session_key == client.session.session_key


def test_a_response_that_nobody_closes_leaves_no_actor(middleware: str) -> None:
    """Nor does a request without a server; without the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        with override_settings(MIDDLEWARE=[MIDDLEWARE[middleware]]):
            environ: dict[str, Any] = {"PATH_INFO": "/count/a"}
            setup_testing_defaults(environ)
            response: Any = WSGIHandler()(environ, lambda status, headers: None)
            assert next(iter(response)) == b'{"counts": {"a": 1}, "visits": 1}'
            del response
            request: Any = RequestFactory().get("/read")
            request.session = SessionStore()
            read(request)
            del request
        assert living_session_actors() == []
    finally:
        gc.enable()


def test_a_test_client_that_closes_nothing_leaves_no_actor() -> None:
    """Once its responses are collected: they refer to themselves, whatever the sessions are."""

    def stream(request: Any) -> StreamingHttpResponse:
        request.session["n"] = 1
        return StreamingHttpResponse(iter([b"chunk"]))

    put(browser(), n=1)
    visit(browser(), stream)
    gc.collect()
    assert living_session_actors() == []


@pytest.mark.parametrize("broken", ["read", "commit"])
def test_a_store_that_is_down_is_told_to_django(
    broken: str, monkeypatch: pytest.MonkeyPatch, middleware: str
) -> None:
    """503 with our middleware, 500 with Django's; nobody is logged out."""
    from glimr_session import StoreUnavailable

    client = browser(raise_request_exception=False)
    put(client, n=1)

    def down(*args: object, **kwargs: object) -> None:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(DiskStore, "open" if broken == "read" else "commit", down)
        response = put(client, n=2)
    assert response.status_code == (503 if middleware == "ours" else 500)
    assert not response.cookies
    assert data_of(client) == {"n": 1}


def test_save_in_a_view_keeps_its_contract() -> None:
    """UpdateError, where the session has ended meanwhile."""
    client = browser()
    put(client, n=1)

    def act(request: Any) -> str:
        request.session["n"] = 2
        request.session.save()
        SessionStore().delete(request.session.session_key)
        request.session["n"] = 3
        try:
            request.session.save()
        except UpdateError:
            request.session.modified = False
            return "told"
        return "not told"

    assert visit(client, act).json() == "told"


def test_a_store_in_the_cookie_is_improperly_configured() -> None:
    """The error says what to set."""
    with (
        override_settings(GLIMR_SESSION={"store": "cookie"}),
        pytest.raises(ImproperlyConfigured, match=r'Set GLIMR_SESSION = {"store": "disk"}'),
    ):
        browser().get("/read")
