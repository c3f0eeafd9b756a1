"""What our middleware does that Django's does not."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.contrib import auth
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.template import engines
from django.test import RequestFactory
from django.test.utils import override_settings

from glimr_session import DiskStore, StoreUnavailable
from glimr_session.django import SessionMiddleware, SessionStore
from tests.support.cookies import tampered

from .conftest import KEY, MIDDLEWARE, site_with
from .site import browser, data_of, visit

pytestmark = pytest.mark.usefixtures("ours")


def put(client: Any, **values: Any) -> Any:
    return visit(client, lambda request: request.session.update(values) or {})


def key_of(client: Any) -> Any:
    return client.session.session_key


# The cookie.


def test_the_cookie_is_signed() -> None:
    """One that was changed is none of ours, and is ended."""
    client = browser()
    put(client, n=1)
    value = client.cookies["sessionid"].value
    assert re.fullmatch(r"[a-z0-9]{24}\.[0-9a-f]+\.[\w-]{43}", value)
    client.cookies["sessionid"] = tampered(value)
    assert data_of(client) == {}


def test_a_cookie_of_django_s_own_middleware_is_taken_and_replaced() -> None:
    """Nobody is logged out when the middleware is changed, nor when it is changed back."""
    before, client, after = browser(), browser(), browser()
    with site_with("django's"):
        put(before, n=1)
    client.cookies = before.cookies
    key = client.cookies["sessionid"].value
    assert data_of(client) == {"n": 1}
    assert client.cookies["sessionid"].value.startswith(f"{key[:24]}.")
    assert data_of(client) == {"n": 1}
    after.cookies = client.cookies
    with site_with("django's"):
        assert data_of(after) == {"n": 1}


def test_secret_keys_are_rotated_as_django_s_are() -> None:
    """SECRET_KEY_FALLBACKS verify."""
    client = browser()
    put(client, n=1)
    new = "another key for the tests of Django"
    with override_settings(SECRET_KEY=new, SECRET_KEY_FALLBACKS=[KEY]):
        assert data_of(client) == {"n": 1}
    with override_settings(SECRET_KEY=new):
        assert data_of(client) == {}


def test_a_short_secret_key_is_told_at_the_start() -> None:
    """The error says how to make one."""
    with (
        override_settings(SECRET_KEY="short"),
        pytest.raises(ImproperlyConfigured, match=r"secrets\.token_hex"),
    ):
        SessionMiddleware(lambda request: HttpResponse())


def test_another_engine_is_told_at_the_start() -> None:
    """The error says what to set."""
    with (
        override_settings(SESSION_ENGINE="django.contrib.sessions.backends.db"),
        pytest.raises(ImproperlyConfigured, match=r'SESSION_ENGINE = "glimr_session\.django"'),
    ):
        SessionMiddleware(lambda request: HttpResponse())


def test_django_s_checks_know_the_middleware() -> None:
    """Those of the admin want Django's, or a subclass of it."""
    assert [problem for problem in run_checks() if "SessionMiddleware" in problem.msg] == []


def test_the_cookie_is_secure_over_https_alone_unless_settings_say_otherwise() -> None:
    """As everywhere in this package; Django's own default is never."""

    def secure(**more: Any) -> Any:
        client = browser(headers={"host": "localhost"})
        response = visit(client, lambda request: request.session.update({"n": 1}) or {}, **more)
        return bool(response.cookies["sessionid"]["secure"])

    assert not secure()
    assert secure(secure=True)
    with override_settings(SECURE_PROXY_SSL_HEADER=("HTTP_X_SCHEME", "https")):
        assert secure(headers={"X-Scheme": "https"})
    with override_settings(SESSION_COOKIE_SECURE=False):
        assert not secure(secure=True)


def test_a_partitioned_cookie(glimr: dict[str, Any]) -> None:
    """It says so, on every Python."""
    with override_settings(
        GLIMR_SESSION={**glimr, "cookie_partitioned": True, "cookie_samesite": "None"}
    ):
        cookie = put(browser(), n=1).cookies["sessionid"]
    assert "Partitioned" in cookie.OutputString()
    assert "SameSite=None" in cookie.OutputString()


def test_settings_of_ours_win(glimr: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the environment before those of GLIMR_SESSION, and these before Django's."""
    more = {"cookie": "shop", "lifetime": 10, "cookie_path": "/do"}
    monkeypatch.setenv("GLIMR_SESSION_COOKIE_PATH", "/")
    with override_settings(GLIMR_SESSION={**glimr, **more}):
        cookie = put(browser(), n=1).cookies["shop"]
    assert (cookie["max-age"], cookie["path"]) == (600, "/")


# The order of requests.


def test_nested_changes_are_kept_without_modified() -> None:
    """Django's middleware has to be told of them."""
    client = browser()
    put(client, cart={"book": 1})
    visit(client, lambda request: request.session["cart"].update(pen=2) or {})
    assert data_of(client) == {"cart": {"book": 1, "pen": 2}}


def test_a_failing_page_after_a_login_leaves_the_browser_as_it_was() -> None:
    """Its old cookie still counts, for it has got no other one."""
    client = browser(raise_request_exception=False)
    put(client, cart=["book"])

    def fail(request: Any) -> None:
        request.session.cycle_key()
        request.session["_auth_user_id"] = "2"
        raise RuntimeError("a bug")

    assert visit(client, fail).status_code == 500
    assert data_of(client) == {"cart": ["book"]}


def test_a_login_in_a_late_request_is_a_login() -> None:
    """It begins a session of what it has written."""
    client = browser()
    put(client, cart=["book"])
    late = browser()
    late.cookies.load({"sessionid": client.cookies["sessionid"].value})
    visit(client, lambda request: request.session.cycle_key() or {})

    def login(request: Any) -> dict[str, Any]:
        assert "cart" not in request.session
        request.session.cycle_key()
        request.session["_auth_user_id"] = "2"
        return {}

    assert visit(late, login).cookies["sessionid"].value
    assert data_of(late) == {"_auth_user_id": "2"}
    assert data_of(client) == {"cart": ["book"]}


def test_a_logout_and_something_new_in_one_request() -> None:
    """The new session has nothing of the old one."""
    client = browser()
    put(client, cart=["book"])
    former = key_of(client)

    def act(request: Any) -> dict[str, Any]:
        request.session.flush()
        request.session["n"] = 1
        return {}

    visit(client, act)
    assert data_of(client) == {"n": 1}
    assert key_of(client) not in (None, former)
    assert not SessionStore().exists(former)


def test_a_key_for_a_new_session_can_be_had_in_the_view() -> None:
    """By save() or create(), and it is that of the requests that follow."""
    client = browser()

    def begin(request: Any) -> Any:
        assert request.session.session_key is None
        request.session.create()
        request.session["n"] = 1
        return request.session.session_key

    key = visit(client, begin).json()
    assert visit(client, lambda request: request.session.session_key).json() == key
    assert data_of(client) == {"n": 1}


def test_the_data_can_be_read_anew_in_a_view() -> None:
    """load() returns what other requests have committed since, and changes nothing here."""
    client = browser()
    put(client, n=1)

    def act(request: Any) -> Any:
        assert request.session["n"] == 1
        other = SessionStore(request.session.session_key)
        other["n"] = 2
        other.save()
        request.session["m"] = 3
        return [request.session.load()["n"], request.session["n"]]

    assert visit(client, act).json() == [2, 1]
    assert data_of(client) == {"n": 2, "m": 3}


def test_of_two_cookies_that_of_the_living_session_counts() -> None:
    """As when Path or Domain were changed."""
    dead, client = browser(), browser()
    put(dead, n=1)
    put(client, n=2)
    both = "; ".join(f"sessionid={each.cookies['sessionid'].value}" for each in (dead, client))
    SessionStore().delete(key_of(dead))

    def read(request: Any) -> Any:
        return [request.session["n"], request.session.session_key]

    response = visit(browser(), read, headers={"cookie": both})
    assert response.json() == [2, key_of(client)]


def test_a_session_that_expired_by_its_date_is_ended() -> None:
    """The request begins a new one."""
    client = browser()

    def act(request: Any) -> dict[str, Any]:
        request.session["n"] = 1
        request.session["_session_expiry"] = "2026-01-01T00:00:00+00:00"
        return {}

    visit(client, act)
    assert data_of(client) == {}
    put(client, n=2)
    assert data_of(client) == {"n": 2}


def test_the_same_middleware_twice_is_one() -> None:
    """The inner one passes through."""
    with override_settings(MIDDLEWARE=[MIDDLEWARE["ours"]] * 2):
        client = browser()
        assert [client.get("/count/a").json()["visits"] for _ in range(3)] == [1, 2, 3]


# Bodies.


def test_what_a_body_does_while_it_is_sent_is_committed() -> None:
    """Where it has ended, and where the client has left."""
    client = browser()
    put(client, n=1)

    def stream(request: Any) -> StreamingHttpResponse:
        def chunks() -> Iterator[bytes]:
            request.session["n"] += 1
            yield b"one"
            request.session["n"] += 1
            yield b"two"

        return StreamingHttpResponse(chunks())

    assert b"".join(visit(client, stream).streaming_content) == b"onetwo"
    assert data_of(client) == {"n": 3}
    response = visit(client, stream)
    next(response.streaming_content)
    response.close()
    assert data_of(client) == {"n": 4}


def test_a_body_that_fails_keeps_what_was_committed_before() -> None:
    """And nothing of what came after the headers."""
    client = browser()

    def stream(request: Any) -> StreamingHttpResponse:
        def chunks() -> Iterator[bytes]:
            yield b"one"
            request.session["n"] = 2
            raise RuntimeError("a bug")

        request.session["n"] = 1
        return StreamingHttpResponse(chunks())

    response = visit(client, stream)
    with pytest.raises(RuntimeError, match="a bug"):
        list(response.streaming_content)
    assert data_of(client) == {"n": 1}


def test_a_file_is_left_to_the_server(tmp_path: Path) -> None:
    """Which may have a faster way to send it than in chunks."""
    (tmp_path / "file").write_bytes(b"content")

    def download(request: Any) -> FileResponse:
        request.session["n"] = 1
        return FileResponse((tmp_path / "file").open("rb"))

    response = SessionMiddleware(download)(RequestFactory().get("/"))
    assert response.file_to_stream is not None
    assert response.cookies["sessionid"].value
    response.close()


# Outages.


def down(*args: object, **kwargs: object) -> None:
    raise StoreUnavailable("the disk is full")


def test_an_outage_is_answered_by_a_plain_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no-store, for no cache may keep it."""
    monkeypatch.setattr(DiskStore, "open", down)
    client = browser(headers={"cookie": "sessionid=" + "a" * 24 + "0" * 15 + "1"})
    response = client.get("/read")
    assert (response.status_code, response["Cache-Control"]) == (503, "no-store")
    assert b"Please try again" in response.content


def test_an_outage_is_answered_by_a_template_of_the_site(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """If there is a 503.html."""
    (tmp_path / "503.html").write_text("<h1>Back in a moment</h1>")
    templates = [
        {"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [str(tmp_path)]}
    ]
    monkeypatch.setattr(DiskStore, "commit", down)
    with override_settings(TEMPLATES=templates):
        assert engines.all()
        response = put(browser(), n=1)
    assert (response.status_code, response.content) == (503, b"<h1>Back in a moment</h1>")


def test_a_logout_ends_every_session_that_the_browser_has(people: Any) -> None:
    """Two cookies of living sessions came: the request is anonymous, and its logout counts."""
    one, two = browser(), browser()
    put(one, n=1)
    two.force_login(people.get(username="grace"))
    data_of(two)
    both = "; ".join(f"sessionid={each.cookies['sessionid'].value}" for each in (one, two))
    response = visit(
        browser(), lambda request: auth.logout(request) or {}, headers={"cookie": both}
    )
    assert response.cookies["sessionid"]["max-age"] == 0
    assert data_of(one) == data_of(two) == {}


def raising_middleware(get_response: Any) -> Any:
    """Read the session in a middleware, as one that demands a login does."""

    def middleware(request: Any) -> Any:
        request.session.get("n")
        return get_response(request)

    return middleware


def test_an_outage_in_another_middleware_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django has made a 500 of it by the time that it comes to ours."""
    with override_settings(MIDDLEWARE=[MIDDLEWARE["ours"], f"{__name__}.raising_middleware"]):
        client = browser(raise_request_exception=False)
        put(client, n=1)
        monkeypatch.setattr(DiskStore, "open", down)
        assert client.get("/read").status_code == 503


def test_an_outage_that_the_page_for_errors_meets_too_is_503(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where CSRF tokens are in the session: Django's page for a 500 cannot be made."""
    middleware = [MIDDLEWARE["ours"], "django.middleware.csrf.CsrfViewMiddleware"]
    with override_settings(MIDDLEWARE=middleware, CSRF_USE_SESSIONS=True):
        client = browser(raise_request_exception=False)
        put(client, n=1)
        monkeypatch.setattr(DiskStore, "open", down)
        assert client.get("/read").status_code == 503


# Settings, and sessions that a view makes.


def test_both_middlewares_are_refused() -> None:
    """Django's would set another cookie, without a signature."""
    with (
        override_settings(MIDDLEWARE=[*MIDDLEWARE.values()]),
        pytest.raises(ImproperlyConfigured, match="Remove Django's"),
    ):
        SessionMiddleware(lambda request: HttpResponse())


def test_the_key_that_startproject_makes_signs() -> None:
    """Its prefix is Django's warning to change it before a deploy; the rest is random."""
    with override_settings(SECRET_KEY="django-insecure-" + "kx0v#j2)t9q^w$5m" * 3 + "zr"):
        client = browser()
        put(client, n=1)
        assert data_of(client) == {"n": 1}
    with (
        override_settings(SECRET_KEY="short", SECRET_KEY_FALLBACKS=[]),
        pytest.raises(ImproperlyConfigured, match=r"SECRET_KEY has 5 characters.*may stay"),
    ):
        SessionMiddleware(lambda request: HttpResponse())


def test_a_session_that_a_view_puts_in_the_place_of_another_counts() -> None:
    """What the browser had is ended; another engine's session is taken too."""
    client = browser()
    put(client, n=1)

    def replace(request: Any) -> dict[str, Any]:
        request.session = SessionStore()
        request.session["m"] = 2
        return {}

    visit(client, replace)
    assert data_of(client) == {"m": 2}


@pytest.mark.skipif(not hasattr(SessionStore, "aset"), reason="Django has it since 5.1")
def test_a_session_that_an_async_view_puts_there_is_not_read_on_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the store is asked, it is asked in a thread."""
    threads: set[int] = set()
    commit = DiskStore.commit

    def noted(self: DiskStore, *args: Any, **kwargs: Any) -> Any:
        threads.add(threading.get_ident())
        return commit(self, *args, **kwargs)

    monkeypatch.setattr(DiskStore, "commit", noted)

    async def answer(request: Any) -> HttpResponse:
        request.session = SessionStore()
        await request.session.aset("m", 2)
        return HttpResponse()

    async def ask() -> int:
        await SessionMiddleware(answer)(RequestFactory().get("/"))
        return threading.get_ident()

    loop = asyncio.run(ask())
    assert threads
    assert loop not in threads


def test_reading_the_data_anew_leaves_the_session_open() -> None:
    """``load`` returns data of its own, before the first use too."""
    client = browser()
    put(client, n=1)

    def load(request: Any) -> dict[str, Any]:
        loaded = dict(request.session.load())
        request.session["m"] = 2
        return loaded

    assert visit(client, load).json() == {"n": 1}
    assert data_of(client) == {"n": 1, "m": 2}


def test_threads_that_open_a_session_at_once_share_it() -> None:
    """One reads it, the others wait."""
    client = browser()
    put(client, n=1)

    def use(request: Any) -> dict[str, Any]:
        with ThreadPoolExecutor(4) as pool:
            jobs = [
                pool.submit(request.session.__setitem__, f"key {number}", number)
                for number in range(4)
            ]
            for job in jobs:
                job.result()
        return {}

    for _ in range(20):
        visit(client, use)
    assert data_of(client) == {"n": 1, **{f"key {number}": number for number in range(4)}}
