"""seed_session and read_session, with the test clients that people have."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import flask
import httpx
import pytest
import werkzeug.test

from glimr_session import CookieStore, DiskStore, Session, SessionConfig, SessionMiddleware
from glimr_session import SessionStore as Store
from glimr_session.testing import read_session, seed_session
from tests.support.ids import name_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # WebOb imports cgi
    import webtest

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

CONFIG = SessionConfig(secret_keys=["a key for tests that is long enough"], gc="never")


def shop(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Say who the user is and what the flash says; log in or out where it is asked to."""
    session: Session = environ["glimr.session"]
    match environ["PATH_INFO"]:
        case "/login":
            session.regenerate()
            session["user"] = "Grace"
        case "/logout":
            session.invalidate()
    text = f"{session.get('user')}, {session.get_flash_or('notice')}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text]


class Client(Protocol):
    """A test client, cut down to what the tests need."""

    def seed(self, cookie: tuple[str, str]) -> None: ...

    def get(self, path: str) -> str: ...

    def cookie(self) -> str | None: ...


class WebTest:
    def __init__(self, app: SessionMiddleware) -> None:
        self.client = webtest.TestApp(app, extra_environ={"HTTP_HOST": "localhost"})

    def seed(self, cookie: tuple[str, str]) -> None:
        self.client.set_cookie(*cookie)

    def get(self, path: str) -> str:
        return str(self.client.get(path).text)

    def cookie(self) -> str | None:
        found: str | None = self.client.cookies.get("glimr_session")
        return found


class Werkzeug:
    def __init__(self, app: SessionMiddleware) -> None:
        self.client = werkzeug.test.Client(app)

    def seed(self, cookie: tuple[str, str]) -> None:
        self.client.set_cookie(*cookie)

    def get(self, path: str) -> str:
        return self.client.get(path).text

    def cookie(self) -> str | None:
        found = self.client.get_cookie("glimr_session")
        return None if found is None else found.value


class Httpx:
    def __init__(self, app: SessionMiddleware) -> None:
        transport = httpx.WSGITransport(app)
        self.client = httpx.Client(transport=transport, base_url="http://127.0.0.1")

    def seed(self, cookie: tuple[str, str]) -> None:
        self.client.cookies.set(*cookie, domain="127.0.0.1")

    def get(self, path: str) -> str:
        return self.client.get(path).text

    def cookie(self) -> str | None:
        return self.client.cookies.get("glimr_session")


@pytest.fixture(params=["cookie", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = CookieStore() if request.param == "cookie" else DiskStore(tmp_path / "sessions")
    yield store
    store.close()


@pytest.fixture
def app(store: Store) -> SessionMiddleware:
    return SessionMiddleware(shop, CONFIG, store=store)


@pytest.fixture(params=[WebTest, Werkzeug, Httpx])
def client(request: pytest.FixtureRequest, app: SessionMiddleware) -> Client:
    make: Callable[[SessionMiddleware], Client] = request.param
    return make(app)


def test_a_seeded_session_is_the_client_s(app: SessionMiddleware, client: Client) -> None:
    """The first request finds data and flash, the second one the data."""
    client.seed(seed_session(app, {"user": "Ada"}, flash={"notice": "Welcome."}))
    assert client.get("/") == "Ada, Welcome."
    assert client.get("/") == "Ada, None"


def test_a_login_takes_the_place_of_the_seeded_session(
    app: SessionMiddleware, client: Client
) -> None:
    """The cookie of a response replaces the seeded one, and what is read is the new session."""
    client.seed(seed_session(app, {"user": "Ada", "cart": ["book"]}))
    before = client.cookie()
    assert client.get("/login") == "Grace, None"
    assert client.cookie() != before
    assert read_session(app, client.cookie()).data == {"user": "Grace", "cart": ["book"]}
    assert client.get("/") == "Grace, None"


def test_reading_a_session_changes_nothing(app: SessionMiddleware, client: Client) -> None:
    """A session can be read as often as one likes, and its flash waits for a request."""
    client.seed(seed_session(app, {"user": "Ada"}, flash={"notice": "Welcome."}))
    for _ in range(2):
        assert read_session(app, client.cookie()) == ({"user": "Ada"}, {"notice": "Welcome."})
    assert client.get("/") == "Ada, Welcome."
    assert read_session(app, client.cookie()) == ({"user": "Ada"}, {})


def test_after_a_logout_there_is_nothing_to_read(app: SessionMiddleware, client: Client) -> None:
    """A session that has ended, a forged cookie and none at all read as empty."""
    client.seed(seed_session(app, {"user": "Ada"}))
    assert client.get("/logout") == "None, None"
    for value in (client.cookie(), None, "", "forged"):
        assert read_session(app, value) == ({}, {})


def test_the_cookie_has_the_name_of_the_configuration(store: Store) -> None:
    """Name, domain and path of the cookie are set, and nothing is logged about the request."""
    config = SessionConfig(
        secret_keys=CONFIG.secret_keys,
        cookie="shop",
        cookie_domain=".shop.example",
        cookie_path="/app",
    )
    app = SessionMiddleware(shop, config, store=store)
    name, value = seed_session(app, {"user": "Ada"})
    assert name == "shop"
    assert read_session(app, value).data == {"user": "Ada"}


def test_a_session_without_content_cannot_be_seeded(app: SessionMiddleware) -> None:
    """It would have no cookie; the error says what to give it."""
    with pytest.raises(ValueError, match="seed it with data or flash"):
        seed_session(app, {})
    assert seed_session(app, {}, flash={"notice": "Hello."}).name == "glimr_session"


def test_the_application_of_a_framework_will_do(store: Store) -> None:
    """Flask's users pass the object they have, which has the middleware inside."""
    site = flask.Flask(__name__)
    middleware: Any = SessionMiddleware(site.wsgi_app, CONFIG, store=store)
    site.wsgi_app = middleware  # type: ignore[method-assign]
    site.add_url_rule("/", view_func=lambda: flask.request.environ["glimr.session"]["user"])
    client = site.test_client()
    client.set_cookie(*seed_session(site, {"user": "Ada"}))
    assert client.get("/").text == "Ada"


@pytest.mark.parametrize("application", [shop, None, flask.Flask(__name__)], ids=name_of)
def test_an_application_without_sessions_is_refused(application: object) -> None:
    """The error says what to pass instead."""
    with pytest.raises(TypeError, match="no SessionMiddleware; pass the one"):
        seed_session(application, {"user": 1})
    with pytest.raises(TypeError, match="no SessionMiddleware; pass the one"):
        read_session(application, "")
