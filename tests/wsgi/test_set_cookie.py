"""When the middleware sets, renews and expires the cookie."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

from glimr_session import DiskStore, Json, Session, SessionConfig, SessionMiddleware, SessionStore
from tests.conftest import Clock
from tests.support.actors import living_session_actors
from tests.support.wsgi_apps import (
    KEY,
    LIFETIME,
    TEXT,
    Change,
    Recorded,
    Wrap,
    a_list,
    answering,
    bare,
    browser_with,
    closing_app,
    data_of,
    nothing,
    put,
    rows,
    session_of,
    warnings_in,
)
from tests.support.wsgi_client import Browser

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def test_an_untouched_request_costs_nothing(wrap: Wrap, caplog: pytest.LogCaptureFixture) -> None:
    """An unused session starts no actor, asks no store and reads no cookie."""
    recorded = Recorded()
    actors: list[object] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        repr(session_of(environ))
        start_response("200 OK", [TEXT])
        actors.extend(living_session_actors())
        return [b"answer"]

    response = Browser("glimr_session=forged").get(wrap(app, recorded.store))
    assert response.headers == [TEXT]
    assert recorded.calls == []
    assert actors == []
    assert warnings_in(caplog) == []


def test_reading_sets_no_cookie(wrap: Wrap, store: SessionStore) -> None:
    """A request that only reads its session sets no cookie."""
    look = wrap(answering(lambda session: session.get("a")), store)
    assert Browser().get(look).set_cookie is None
    assert browser_with(store, a=1).get(look).set_cookie is None


def test_a_new_session_sets_the_cookie_once(wrap: Wrap, disk: DiskStore) -> None:
    """The first change sets the cookie, and later changes keep it."""
    browser = Browser()
    app = wrap(a_list, disk)
    assert browser.get(app).set_cookie is not None
    before = browser.cookies.header()
    assert browser.get(app).set_cookie is None
    assert browser.cookies.header() == before
    assert rows(disk) == 1


def test_regenerate_sets_a_new_cookie(wrap: Wrap, disk: DiskStore) -> None:
    """regenerate() moves the data to a new id and makes the old cookie worthless."""
    browser = browser_with(disk, a=1)
    old = Browser(browser.cookies.header())
    response = browser.get(wrap(answering(lambda session: session.regenerate()), disk))
    assert response.set_cookie is not None
    assert browser.cookies.header() != old.cookies.header()
    assert data_of(browser, disk) == {"a": 1}
    assert data_of(old, disk) == {}
    assert rows(disk) == 1


@pytest.mark.parametrize("change", [lambda session: session.get("a"), put("a", 1)], ids=["r", "w"])
def test_the_cookie_is_refreshed_after_a_tenth_of_its_lifetime(
    change: Change, wrap: Wrap, disk: DiskStore, clock: Clock
) -> None:
    """A session in use gets a new cookie after each tenth of its lifetime."""
    browser = browser_with(disk, a=1)
    app = wrap(answering(change), disk)
    clock.advance(LIFETIME / 10 - 1)
    assert browser.get(app).set_cookie is None
    clock.advance(1)
    refreshed = browser.get(app).set_cookie
    assert refreshed is not None
    assert f"Max-Age={LIFETIME:.0f}" in refreshed
    clock.advance(LIFETIME / 10 - 1)
    assert browser.get(app).set_cookie is None


def test_reading_keeps_a_session_alive(wrap: Wrap, store: SessionStore, clock: Clock) -> None:
    """Reading extends a session's lifetime, and an idle session ends."""
    browser = browser_with(store, a=1)
    look = wrap(answering(lambda session: session.get("a")), store)
    for _ in range(3):
        clock.advance(LIFETIME * 0.6)
        browser.get(look)
    assert data_of(browser, store) == {"a": 1}
    clock.advance(LIFETIME)
    assert data_of(browser, store) == {}


def test_a_logout_ends_the_cookie(store: SessionStore) -> None:
    """invalidate() expires the cookie with the path and domain it was set with."""
    config = SessionConfig(
        secret_keys=[KEY], gc="never", cookie_path="/shop", cookie_domain="example.org"
    )

    def app(change: Change) -> WSGIApplication:
        return SessionMiddleware(answering(change), config, store=store)

    browser = Browser()
    begun = browser.get(app(put("user", "ada"))).set_cookie
    old = Browser(browser.cookies.header())
    ended = browser.get(app(lambda session: session.invalidate())).set_cookie
    assert begun is not None
    assert ended is not None
    assert ended.startswith("glimr_session=;")
    assert "Max-Age=0" in ended
    for attribute in ("Path=/shop", "Domain=example.org"):
        assert attribute in begun
        assert attribute in ended
    assert browser.cookies.header() == ""
    found: list[Json] = []
    old.get(app(lambda session: found.append(session.get("user"))))
    # A copy of a cookie that holds everything cannot be called back.
    assert found == [None if store.server_side else "ada"]


def test_a_login_after_a_logout_begins_another_session(wrap: Wrap, disk: DiskStore) -> None:
    """A put after invalidate() begins a session with a new id and the new data alone."""

    def switch(session: Session) -> None:
        session.invalidate()
        session["user"] = "bob"

    browser = browser_with(disk, user="ada", basket=1)
    old = Browser(browser.cookies.header())
    assert browser.get(wrap(answering(switch), disk)).set_cookie is not None
    assert data_of(browser, disk) == {"user": "bob"}
    assert data_of(old, disk) == {}


def test_a_session_that_ended_beside_the_request_stays_ended(wrap: Wrap, disk: DiskStore) -> None:
    """A request whose session ended meanwhile writes nothing and sends no cookie."""
    browser = browser_with(disk, user="ada")
    app = wrap(closing_app(put("late", True), nothing, []), disk)
    slow = Browser(browser.cookies.header()).begin(app)
    browser.get(bare(answering(lambda session: session.invalidate()), disk))
    assert slow.finish().set_cookie is None
    assert rows(disk) == 0


@pytest.mark.parametrize(
    ("extra", "secure"),
    [
        ({}, False),  # 127.0.0.1
        ({"HTTP_HOST": "localhost:8000"}, False),
        ({"HTTP_HOST": "LocalHost"}, False),
        ({"HTTP_HOST": "[::1]:8000"}, False),
        ({"HTTP_HOST": "[::1]"}, False),
        ({"HTTP_HOST": "", "SERVER_NAME": "localhost"}, False),
        ({"HTTP_HOST": "localhost", "wsgi.url_scheme": "https"}, True),
        ({"HTTP_HOST": "localhost", "HTTP_X_FORWARDED_PROTO": "http"}, True),
        ({"HTTP_HOST": "example.org"}, True),
        ({"HTTP_HOST": "localhost.example.org"}, True),
        ({"HTTP_HOST": "[2001:db8::1]:8000"}, True),
    ],
    ids=str,
)
def test_the_cookie_is_secure_but_on_this_machine(
    extra: dict[str, str], secure: bool, store: SessionStore
) -> None:
    """The cookie is Secure except for plain HTTP to this machine's own names."""
    request = Browser().request(bare(a_list, store), extra=extra)
    set_cookie = request.begin().finish().set_cookie
    assert set_cookie is not None
    assert ("; Secure" in set_cookie) is secure
