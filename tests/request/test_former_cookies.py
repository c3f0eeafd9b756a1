"""Cookies of a former store, and of a framework's own sessions, at the requests that move them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from glimr_session import CookieStore, DiskStore, Session, SessionConfig, SessionStore
from glimr_session._request.manager import SessionManager
from glimr_session._request.origin import Origin
from glimr_session.stores.moving import ForeignSessions, MovingStore
from tests.support.documents import block
from tests.support.servers import needed
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


def move_five_times(moving: SessionManager, cookie: str, new: DiskStore) -> Cookies:
    """Send five requests at once with a framework's cookie; return a browser after them."""
    with ThreadPoolExecutor(5) as pool:
        browsers = [Cookies(cookie) for _ in range(5)]
        jobs = [
            pool.submit(ask, moving, each, lambda session: session.increment("n"))
            for each in browsers
        ]
        for job in jobs:
            job.result()
    name = cookie.partition("=")[0]
    assert all(f"{name}=" not in each.header().split("; ") for each in browsers)
    assert all(seen(site(new), each) == {"user_id": "7", "n": 5} for each in browsers)
    return browsers[0]


def test_from_flask(new: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flask's own cookie sessions: the code of the page, with a real Flask."""
    needed("flask")
    from flask import Flask, session

    app = Flask("shop")
    app.secret_key = "the secret key that Flask has signed with"

    @app.route("/login")
    def login() -> str:
        session["user_id"] = "7"
        session.permanent = True
        return "welcome"

    client = app.test_client()
    client.get("/login")
    found = client.get_cookie("session")
    assert found is not None
    cookie = f"session={found.value}"

    shop = ModuleType("shop.app")
    vars(shop)["app"] = app
    monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.app", shop)
    names: dict[str, Any] = {}
    exec(block('# shop/former.py: move_from = "shop.former:flask_sessions"').code, names)

    moving = site(MovingStore(new, names["flask_sessions"]()))
    assert seen(moving, Cookies(f"{cookie}x")) == {}
    browser = move_five_times(moving, cookie, new)
    ask(moving, browser, Session.invalidate)
    assert browser.header() == ""
    assert seen(moving, Cookies(cookie)) == {}


DJANGO = """
import sys
from pathlib import Path

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="a secret key of Django's",
    INSTALLED_APPS=["django.contrib.sessions"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1],
                           "OPTIONS": {"timeout": 20}}},
    USE_TZ=True,
)
django.setup()

from django.core.management import call_command

call_command("migrate", verbosity=0)

from django.contrib.sessions.backends.db import SessionStore as Before

before = Before()
before["_auth_user_id"] = "7"
before.create()

"""

OUTCOME = """
# What has to come of it.
from glimr_session import DiskStore, Session, StoreUnavailable
from glimr_session.stores.moving import MovingStore
from tests.request.test_former_cookies import LIFETIME, ask, move_five_times, read, seen, site
from tests.support.wsgi_client import Cookies

new = DiskStore(Path(sys.argv[1]).parent / "new", lifetime=LIFETIME)
moving = site(MovingStore(new, django_sessions()))
cookie = f"sessionid={before.session_key}"
assert seen(moving, Cookies("sessionid=unknown")) == {}
assert seen(moving, Cookies("sessionid=../é")) == {}
browser = move_five_times(moving, cookie, new)
assert not Before().exists(before.session_key)
ask(moving, browser, Session.invalidate)
assert browser.header() == ""
assert seen(moving, Cookies(cookie)) == {}

from django.db import connection

connection.cursor().execute("DROP TABLE django_session")
try:
    ask(moving, Cookies("sessionid=other"), read)
except StoreUnavailable:
    print("as it should be")
"""


def test_from_django(tmp_path: Path) -> None:
    """Django's sessions in its database: the code of the page, with a real Django."""
    needed("django")
    import subprocess

    root = Path(__file__).resolve().parents[2]
    code = block('# shop/former.py: move_from = "shop.former:django_sessions"').code
    done = subprocess.run(
        [sys.executable, "-c", f"{DJANGO}{code}{OUTCOME}", str(tmp_path / "django.db")],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "as it should be\n", done.stderr
