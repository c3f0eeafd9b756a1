"""Cookies of a former store, and of a framework's own sessions, at the requests that move them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from glimr_session import CookieStore, DiskStore, Session, SessionConfig, SessionStore
from glimr_session._log import forget_warnings
from glimr_session._request.manager import SessionManager
from glimr_session._request.origin import Origin
from glimr_session.stores.moving import ForeignSessions, MovingStore
from tests.support.wsgi_apps import warnings_in
from tests.support.wsgi_client import Cookies, Headers

pytestmark = pytest.mark.usefixtures("no_session_left")

KEY = "the key of this test, which is long enough"

HTTPS = Origin(https=True, host="testserver")

LIFETIME = 600.0


def site(store: SessionStore, name: str = "glimr_session") -> SessionManager:
    config = SessionConfig(secret_keys=[KEY], gc="never", lifetime=LIFETIME, cookie=name)
    return SessionManager.from_config(config, store)


def ask(asked: SessionManager, cookies: Cookies, change: Callable[[Session], object]) -> Headers:
    """Make a whole request; return the Set-Cookie headers."""
    request = asked.begin(cookies.header())
    change(request.session)
    headers = request.response_headers(200, [], origin=lambda: HTTPS)
    request.close()
    cookies.take(headers)
    return [header for header in headers if header[0] == "Set-Cookie"]


def read(session: Session) -> None:
    """Use the session."""
    session.get("n")


def seen(asked: SessionManager, cookies: Cookies) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    ask(asked, cookies, lambda session: found.append(dict(session)))
    return found[0]


@pytest.fixture
def new(tmp_path: Path) -> Iterator[DiskStore]:
    with closing(DiskStore(tmp_path / "new", lifetime=LIFETIME)) as store:
        yield store


class Elsewhere(DiskStore):
    """A store on the server whose cookies have another salt."""

    kind = "elsewhere"


@pytest.fixture
def former(tmp_path: Path) -> Iterator[SessionStore]:
    with closing(Elsewhere(tmp_path / "former", lifetime=LIFETIME)) as store:
        yield store


@pytest.mark.parametrize("change", [read, lambda session: session.put("b", 2)])
def test_the_first_request_moves_the_session_and_signs_its_cookie_anew(
    new: DiskStore, former: SessionStore, change: Callable[[Session], object]
) -> None:
    """Also one that only reads; the next one sets no cookie, and the former store is not asked."""
    cookies = Cookies()
    ask(site(former), cookies, lambda session: session.put("a", 1))
    before = cookies.header()
    moving = site(MovingStore(new, former))
    assert len(ask(moving, cookies, change)) == 1
    assert cookies.header() != before
    assert seen(site(new), cookies)["a"] == 1
    assert ask(moving, cookies, read) == []
    assert seen(site(former), cookies) == {}


def test_processes_of_both_settings_answer_one_browser(
    new: DiskStore, former: SessionStore
) -> None:
    """Each takes the other one's cookie; no count is lost, and a logout is one in both."""
    cookies = Cookies()
    both = [site(MovingStore(new, former)), site(MovingStore(former, new))]
    for number in range(6):
        assert seen(both[number % 2], cookies).get("n", 0) == number
        ask(both[number % 2], cookies, lambda session: session.increment("n"))
    copy = cookies.header()
    ask(both[0], cookies, Session.invalidate)
    assert cookies.header() == ""
    for asked in both:
        assert seen(asked, Cookies(copy)) == {}


def test_a_cookie_session_moves_to_the_server(new: DiskStore) -> None:
    """Five requests at once move it once, and a copy of the cookie is nothing after a logout."""
    cookies = Cookies()
    ask(site(CookieStore(lifetime=LIFETIME)), cookies, lambda session: session.put("n", 0))
    copy = cookies.header()
    moving = site(MovingStore(new, CookieStore(lifetime=LIFETIME)))
    with ThreadPoolExecutor(5) as pool:
        browsers = [Cookies(copy) for _ in range(5)]
        jobs = [
            pool.submit(ask, moving, each, lambda session: session.increment("n"))
            for each in browsers
        ]
        assert [len(job.result()) for job in jobs] == [1] * 5
    assert all(seen(site(new), each) == {"n": 5} for each in browsers)
    ask(moving, browsers[0], Session.invalidate)
    for late in (Cookies(copy), *browsers[1:]):
        assert seen(moving, late) == {}


def test_a_login_beside_a_late_request_keeps_its_cookie(new: DiskStore) -> None:
    """A request with the former cookie, sent before the login, does not end the new one."""
    cookies = Cookies()
    ask(site(CookieStore(lifetime=LIFETIME)), cookies, lambda session: session.put("n", 0))
    late = Cookies(cookies.header())
    moving = site(MovingStore(new, CookieStore(lifetime=LIFETIME)))
    ask(moving, cookies, Session.regenerate)
    assert ask(moving, late, read) == []
    assert seen(moving, cookies) == {"n": 0}


def theirs(sessions: dict[str, dict[str, Any]]) -> ForeignSessions:
    def destroy(value: str) -> None:
        sessions.pop(value, None)

    return ForeignSessions("theirs", sessions.get, destroy, lifetime=LIFETIME)


def test_a_frameworks_cookie_is_read_where_there_is_none_of_ours(new: DiskStore) -> None:
    """It ends when its session has been moved; one that leads nowhere is left alone."""
    moving = site(MovingStore(new, theirs({"v": {"user": 7}, "w": {"user": 8}})))
    cookies = Cookies("theirs=v")
    headers = ask(moving, cookies, read)
    assert headers[0] == ("Set-Cookie", "theirs=; Max-Age=0; Path=/")
    assert headers[1][1].startswith("glimr_session=")
    assert seen(moving, Cookies(cookies.header() + "; theirs=w")) == {"user": 7}
    assert ask(moving, Cookies("theirs=unknown"), read) == []
    assert ask(moving, Cookies("nottheirs=v; x=theirs=v"), read) == []


def test_a_logout_with_a_frameworks_cookie_ends_both(new: DiskStore) -> None:
    """The session, the framework's, and both cookies."""
    sessions: dict[str, dict[str, Any]] = {"v": {"user": 7}}
    moving = site(MovingStore(new, theirs(sessions)))
    cookies = Cookies("theirs=v")
    headers = ask(moving, cookies, Session.invalidate)
    assert [value.partition(";")[0] for _, value in headers] == ["theirs="]
    assert (cookies.header(), sessions) == ("", {})
    assert seen(moving, Cookies("theirs=v")) == {}


def test_a_frameworks_cookie_with_a_prefix_ends_too(new: DiskStore) -> None:
    """Browsers take no cookie named __Host- that is not Secure, not even one that ends."""
    sessions = ForeignSessions("__Host-theirs", {"v": {"user": 7}}.get)
    headers = ask(site(MovingStore(new, sessions)), Cookies("__Host-theirs=v"), read)
    assert headers[0][1] == "__Host-theirs=; Max-Age=0; Path=/; Secure"


def test_a_frameworks_cookie_of_our_name_is_replaced(
    new: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """By one Set-Cookie, without a warning; a logout ends it."""
    forget_warnings()
    sessions: dict[str, dict[str, Any]] = {"v": {"user": 7}, "w": {"user": 8}}
    moving = site(MovingStore(new, theirs(sessions)), "theirs")
    cookies = Cookies("theirs=v")
    headers = ask(moving, cookies, read)
    assert [value.partition("=")[0] for name, value in headers if name == "Set-Cookie"] == [
        "theirs"
    ]
    assert seen(moving, cookies) == {"user": 7}
    headers = ask(moving, Cookies("theirs=w"), Session.invalidate)
    (ended,) = [value for name, value in headers if name == "Set-Cookie"]
    assert ended.startswith("theirs=;")
    assert "w" not in sessions
    assert ask(moving, Cookies("theirs=unknown"), read) == []
    assert warnings_in(caplog) == []


def test_five_requests_with_a_frameworks_cookie_move_one_session(new: DiskStore) -> None:
    """Whichever moves it, what all five did is in it; after a logout the old cookie is dead."""
    moving = site(MovingStore(new, theirs({"signed": {"user_id": "7"}})))
    browsers = [Cookies("theirs=signed") for _ in range(5)]
    with ThreadPoolExecutor(5) as pool:
        jobs = [
            pool.submit(ask, moving, browser, lambda session: session.increment("n"))
            for browser in browsers
        ]
        for job in jobs:
            job.result()
    assert all("theirs=" not in browser.header() for browser in browsers)
    assert all(seen(site(new), browser) == {"user_id": "7", "n": 5} for browser in browsers)
    ask(moving, browsers[0], Session.invalidate)
    assert browsers[0].header() == ""
    assert seen(moving, Cookies("theirs=signed")) == {}
