"""The session cookie of a Flask application, and what caches are told."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, make_response, session
from werkzeug.http import parse_cookie

from glimr_session import CookieStore, SessionStore, SessionTooLarge
from tests.conftest import Clock
from tests.support.wsgi_apps import Recorded

from .sites import LIFETIME, do, make_app, ours, set_cookies


def cookie_of(app: Flask, *, permanent: bool = False, base: str = "http://localhost") -> str:
    """Return the one Set-Cookie header of a request that puts something."""

    def put() -> str:
        session["a"] = 1
        session.permanent = permanent
        return "done"

    app._got_first_request = False
    app.add_url_rule("/put", "put", put)
    (cookie,) = set_cookies(app.test_client().get("/put", base_url=base))
    return cookie


def test_the_defaults(store: SessionStore) -> None:
    """Flask's name, HttpOnly, Lax, this host alone, until the browser is closed."""
    cookie = cookie_of(make_app(store))
    assert re.fullmatch(r"session=[!-~]+; HttpOnly; Path=/; SameSite=Lax", cookie)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"SESSION_COOKIE_NAME": "shop"}, "shop="),
        ({"SESSION_COOKIE_DOMAIN": ".shop.test"}, "; Domain=.shop.test;"),
        ({"SESSION_COOKIE_PATH": "/shop"}, "; Path=/shop;"),
        ({"APPLICATION_ROOT": "/shop"}, "; Path=/shop;"),
        ({"APPLICATION_ROOT": "/other", "SESSION_COOKIE_PATH": "/shop"}, "; Path=/shop;"),
        ({"SESSION_COOKIE_SECURE": True}, "; Secure"),
        ({"SESSION_COOKIE_SAMESITE": "Strict"}, "; SameSite=Strict"),
        ({"SESSION_COOKIE_SAMESITE": "strict"}, "; SameSite=Strict"),
        ({"SESSION_COOKIE_SAMESITE": "None"}, "; Secure"),
        ({"SESSION_COOKIE_PARTITIONED": True}, "; Partitioned"),
        ({"GLIMR_SESSION": {"cookie": "mine"}, "SESSION_COOKIE_NAME": "shop"}, "mine="),
    ],
    ids=str,
)
def test_flask_s_settings_are_read_and_ours_win(
    store: SessionStore, settings: dict[str, Any], expected: str
) -> None:
    """Each of them is in the cookie."""
    cookie = cookie_of(make_app(store, **settings), base="http://localhost/shop")
    assert expected in cookie


def test_the_cookie_is_secure_except_for_plain_http_to_this_machine(store: SessionStore) -> None:
    """Flask's default of False does not turn Secure off; cookie_secure = false of ours does."""
    assert "; Secure" in cookie_of(make_app(store), base="https://shop.test")
    assert "; Secure" in cookie_of(make_app(store), base="http://shop.test")
    assert "; Secure" not in cookie_of(make_app(store), base="http://localhost")
    plain = make_app(store, GLIMR_SESSION={"cookie_secure": False})
    assert "; Secure" not in cookie_of(plain, base="http://shop.test")


@pytest.mark.parametrize("lifetime", [timedelta(days=3), 3 * 24 * 3600])
def test_a_permanent_session_s_cookie_has_the_age_of_flask_s_setting(
    tmp_path: Path, lifetime: Any
) -> None:
    """A timedelta or seconds, and here with the store of the settings."""
    app = make_app(
        None, PERMANENT_SESSION_LIFETIME=lifetime, GLIMR_SESSION={"store": "cookie", "gc": "never"}
    )
    assert f"; Max-Age={3 * 24 * 3600};" in cookie_of(app, permanent=True)


def test_permanent_is_kept_and_can_be_taken_back(store: SessionStore) -> None:
    """It is a value of the session, as in Flask; the cookie follows each change."""
    app = make_app(store)
    client = app.test_client()
    found: list[bool] = []

    def turn(flag: bool) -> None:
        found.append(session.permanent)
        session.permanent = flag

    (first,) = set_cookies(do(app, lambda: turn(True), client))
    do(app, lambda: found.append(session["_permanent"]), client)
    (second,) = set_cookies(do(app, lambda: turn(False), client))
    assert f"; Max-Age={LIFETIME:.0f};" in first
    assert "Max-Age" not in second
    assert found == [False, True, True]


def test_setting_permanent_again_changes_nothing(store: SessionStore) -> None:
    """``session.permanent = True`` before each request is what many applications do."""
    app = make_app(store)

    @app.before_request
    def _() -> None:
        session.permanent = True

    client = app.test_client()
    assert set_cookies(do(app, lambda: None, client)) != []
    assert set_cookies(do(app, lambda: None, client)) == []


def test_expire_on_close_of_ours_beats_permanent(store: SessionStore) -> None:
    """With false, every cookie has an age, whatever ``session.permanent`` was."""
    app = make_app(store, GLIMR_SESSION={"expire_on_close": False, "gc": "never"})
    assert "Max-Age" in cookie_of(app)
    client = app.test_client()
    do(app, lambda: setattr(session, "permanent", True), client)
    cookies = set_cookies(do(app, lambda: setattr(session, "permanent", False), client))
    assert all("Max-Age" in cookie for cookie in cookies)  # the disk store sends none


def test_a_session_expires(store: SessionStore, clock: Clock) -> None:
    """After its lifetime without a use it is gone; one that is used lives on."""
    app = make_app(store)
    client = app.test_client()
    found: list[Any] = []
    do(app, lambda: session.update(a=1), client)
    for seconds in (0.9 * LIFETIME, 0.9 * LIFETIME, 1.1 * LIFETIME):
        clock.now += seconds
        do(app, lambda: found.append(session.get("a")), client)
    assert found == [1, 1, None]


def test_a_session_that_is_too_large_for_its_cookie_is_an_error_and_keeps_nothing() -> None:
    """On the cookie store: SessionTooLarge, and the session is as it was."""
    app = make_app(CookieStore(lifetime=LIFETIME))
    client = app.test_client()
    do(app, lambda: session.update(a=1), client)
    with pytest.raises(SessionTooLarge):
        do(app, lambda: session.update(text="x" * 5000), client)
    found: list[Any] = []
    do(app, lambda: found.append(dict(session)), client)
    assert found == [{"a": 1}]


def test_a_large_session_fits_on_disk(disk: SessionStore) -> None:
    """A hundred kilobytes, which no cookie can hold."""
    app = make_app(disk)
    client = app.test_client()
    do(app, lambda: session.update(text="x" * 100_000), client)
    response = do(app, lambda: str(len(session["text"])), client)
    assert response.text == "100000"


def test_a_session_that_was_used_makes_the_response_vary(store: SessionStore) -> None:
    """Reads too, once, beside what the view has set; a response that used none does not."""
    app = make_app(store)

    def varying() -> Response:
        session.get("a")
        response = make_response("done")
        response.vary.add("Accept-Language")
        return response

    assert do(app, varying).headers.getlist("Vary") == ["Accept-Language, Cookie"]
    assert do(app, lambda: session.get("a")).headers.getlist("Vary") == ["Cookie"]
    assert do(app, lambda: str("a" in session)).headers.getlist("Vary") == ["Cookie"]
    assert do(app, lambda: ours.get_flash("a")).headers.getlist("Vary") == ["Cookie"]
    assert do(app, lambda: None).headers.getlist("Vary") == []


def test_a_response_that_sets_the_cookie_is_not_stored_by_caches(store: SessionStore) -> None:
    """Cache-Control comes with Set-Cookie, and not without."""
    app = make_app(store)
    client = app.test_client()
    response = do(app, lambda: session.update(a=1), client)
    assert response.headers["Cache-Control"] == "no-store"
    assert "Cache-Control" not in do(app, lambda: str(session.get("a")), client).headers


def test_static_files_and_views_without_a_session_do_not_touch_the_store(tmp_path: Path) -> None:
    """No call of the store, no cookie, no Vary."""
    recorded = Recorded()
    app = make_app(recorded.store)
    app.static_folder = str(tmp_path)
    app.add_url_rule("/files/<path:filename>", "files", app.send_static_file)
    (tmp_path / "style.css").write_text("a {}")
    client = app.test_client()
    do(app, lambda: session.update(a=1), client)
    recorded.calls.clear()
    response = client.get("/files/style.css")
    with response:
        assert response.text == "a {}"
        assert "Vary" not in response.headers
    do(app, lambda: None, client)
    assert recorded.calls == []


def test_another_cookie_of_the_response_stays(store: SessionStore) -> None:
    """Ours comes beside it."""
    app = make_app(store)

    def set_both() -> Response:
        session["a"] = 1
        response = make_response("done")
        response.set_cookie("theme", "dark")
        return response

    cookies = set_cookies(do(app, set_both))
    assert [next(iter(parse_cookie(cookie))) for cookie in cookies] == ["theme", "session"]


def test_a_forged_cookie_counts_as_none(store: SessionStore) -> None:
    """The request is anonymous."""
    app = make_app(store)
    client = app.test_client()
    client.set_cookie("session", "eyJhIjoxfQ.forged.signature")
    response = do(app, lambda: f"{dict(session)} {session.new}", client)
    assert response.text == "{} True"
