"""``transport = "header"`` behind every door: a program with a token, and no cookie."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from http.cookies import SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client as DjangoClient

import glimr_session.asgi
from glimr_session import (
    CookieStore,
    DiskStore,
    Session,
    SessionConfig,
    SessionMiddleware,
    SessionStore,
)
from glimr_session.testing import read_session, seed_session
from tests.conftest import Clock
from tests.support.asgi_servers import running_asgi
from tests.support.cookies import tampered
from tests.support.servers import PATIENCE, Server, running
from tests.support.wsgi_apps import warnings_in
from tests.support.wsgi_client import Browser

from .header_doors import (
    CONFIG,
    DOORS,
    HEADER,
    KEY,
    LIFETIME,
    Client,
    django_site,
    over_asgi,
    over_wsgi,
    with_django,
    with_fastapi,
    with_starlette,
    wsgi_site,
)  # fmt: skip

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Program:
    """A program that keeps the token of the last response that had one."""

    def __init__(self, client: Client, token: str = "") -> None:
        self.client, self.token = client, token

    def ask(self, path: str, **headers: str) -> Any:
        """Make a request. No response may have a cookie."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            sent[HEADER] = self.token
        response = self.client.get(path, headers=sent)
        assert response.status_code == 200
        assert "Set-Cookie" not in response.headers
        self.token = response.headers.get(HEADER, self.token)
        return response

    def get(self, path: str) -> str:
        """Return what is answered."""
        answer: str = self.ask(path).text
        return answer

    def all(self) -> dict[str, Any]:
        """Return what the session holds."""
        found: dict[str, Any] = json.loads(self.get("/all"))
        return found


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[DiskStore]:
    with closing(DiskStore(tmp_path / "sessions", lifetime=LIFETIME)) as store:
        yield store


# The cookie store, too, behind one door of each kind.
WITH_THE_COOKIE_STORE: Final = {"wsgi and the cookie store": "wsgi", "asgi and it": "asgi"}


@pytest.fixture(params=[*DOORS, *WITH_THE_COOKIE_STORE])
def store(request: pytest.FixtureRequest) -> SessionStore:
    """Where the client's sessions are."""
    if request.param in WITH_THE_COOKIE_STORE:
        return CookieStore(lifetime=LIFETIME)
    found: SessionStore = request.getfixturevalue("disk")
    return found


@pytest.fixture
def client(request: pytest.FixtureRequest, store: SessionStore, tmp_path: Path) -> Iterator[Client]:
    """A client of each door."""
    case: str = request.node.callspec.params["store"]
    with ExitStack() as stack:
        if case == "django":  # which makes its own store
            stack.enter_context(django_site(tmp_path / "django"))
        yield DOORS[WITH_THE_COOKIE_STORE.get(case, case)](store)


def test_a_program_logs_in_reads_writes_and_logs_out(
    client: Client, store: SessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The token alone carries the session; no cookie is set, and nothing of it is logged."""
    tokens = set[str]()
    with caplog.at_level(logging.DEBUG):
        program = Program(client)
        assert program.all() == {}
        assert program.token == ""
        assert [program.get("/count") for _ in range(3)] == ["1", "2", "3"]
        tokens.add(program.token)
        program.get("/login")
        assert program.token not in tokens
        tokens.add(program.token)
        assert program.all() == {"n": 3, "user": "ada"}
        logout = program.ask("/logout")
        assert logout.headers[HEADER] == ""
        assert "no-store" in logout.headers["Cache-Control"]
        assert program.all() == {}
    assert warnings_in(caplog) == []
    for token in tokens:
        assert token not in caplog.text
        assert token.partition(".")[0] not in caplog.text


def test_the_token_is_sent_when_it_changes_and_not_else(
    client: Client, store: SessionStore
) -> None:
    """A session on the server keeps its token; one in the token has another after each write."""
    program = Program(client)
    first = program.ask("/count").headers[HEADER]
    second = program.ask("/count").headers.get(HEADER)
    assert (second is None) is store.server_side
    assert second != first
    assert HEADER not in program.ask("/all").headers


def test_responses_vary_with_the_token_and_not_with_cookies(client: Client) -> None:
    """Vary names the header of a session that was used, whether it was changed or not."""
    program = Program(client)
    for path in ("/count", "/all", "/login", "/logout"):
        assert program.ask(path).headers["Vary"].lower() == HEADER.lower()
    assert "Vary" not in program.ask("/unused").headers


def test_a_cookie_is_ignored(client: Client) -> None:
    """A page elsewhere can have a browser send its cookies, and does nothing in their name."""
    program = Program(client)
    program.get("/count")
    for name in ("glimr_session", "sessionid", HEADER):
        forged = Program(client).ask("/all", Cookie=f"{name}={program.token}")
        assert json.loads(forged.text) == {}


def test_a_late_request_does_not_undo_a_login(client: Client, store: SessionStore) -> None:
    """A request with the token from before a login is anonymous, and is sent no other token."""
    program = Program(client)
    program.get("/count")
    late = Program(client, program.token)
    program.get("/login")
    answer = late.ask("/count")
    if store.server_side:
        assert answer.text == "1"
        assert HEADER not in answer.headers
    assert program.all() == {"n": 1, "user": "ada"}


def test_the_token_is_renewed(client: Client, clock: Clock) -> None:
    """A program that only reads is sent a newer token in time, and stays logged in."""
    program = Program(client)
    program.get("/login")
    for _ in range(15):
        before = program.token
        clock.now += LIFETIME / 8
        assert program.all() == {"user": "ada"}
        assert program.token not in (before, "")


BAD: Final = {
    "garbage": b"garbage",
    "control characters": b"\x01\x7f\x1b[31m",
    "no ASCII": b"\xff\xfe\xc3\xa9",
    "100 kB": b"x" * 100_000,
    "commas": b",,,",
    "a number": b"9" * 5000 + b".0.0",
}


def ask_wsgi(store: SessionStore, tokens: list[bytes]) -> tuple[str, list[str]]:
    """Return the answer, and the tokens in it; a WSGI server joins headers of one name."""
    extra = {"PATH_INFO": "/all", "HTTP_X_SESSION_TOKEN": b",".join(tokens).decode("latin-1")}
    app = SessionMiddleware(wsgi_site, CONFIG, store=store)
    answer = Browser().request(app, extra=extra).begin().finish()
    assert answer.status == "200 OK"
    return answer.body.decode(), answer.values(HEADER)


def ask_asgi(store: SessionStore, tokens: list[bytes]) -> tuple[str, list[str]]:
    """The same with an ASGI server, which does not."""
    headers = [(HEADER.encode(), token) for token in tokens]
    answer = DOORS["asgi"](store).get("/all", headers=headers)
    assert answer.status_code == 200
    return answer.text, answer.headers.get_list(HEADER)


@pytest.mark.parametrize("bad", [*BAD, "tampered", "twice"])
@pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])
def test_a_bad_token_counts_as_absent(
    ask: Callable[[SessionStore, list[bytes]], tuple[str, list[str]]],
    bad: str,
    disk: DiskStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The request is anonymous, the log has one warning, and the session goes on unharmed."""
    good = seed_session(SessionMiddleware(wsgi_site, CONFIG, store=disk), {"n": 1}).value
    sent = [BAD[bad]] if bad in BAD else [good.encode()] * 2
    if bad == "tampered":
        sent = [tampered(good).encode()]
    assert ask(disk, sent) == ("{}", [])
    warning = "A token X-Session-Token does not verify and counts as absent."
    assert warnings_in(caplog) == [warning]
    assert ask(disk, [good.encode()]) == ('{"n": 1}', [])


def test_a_session_that_is_too_large_is_an_error_page(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the token there is room for as much as in a cookie, and the log says so."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["glimr.session"]["text"] = "x" * 3000  # base64 makes 4,000 of them
        start_response("200 OK", [])
        return [b""]

    client = over_wsgi(SessionMiddleware(app, CONFIG, store=CookieStore()))
    answer = client.get("/")
    assert (answer.status_code, answer.headers.get(HEADER)) == (500, None)
    assert "4096" in caplog.text


# Websockets.


def test_a_websocket_has_the_session_of_its_handshake(tmp_path: Path) -> None:
    """The token comes with the handshake, and the answer to it has one if a session begins."""
    with closing(DiskStore(tmp_path)) as store:
        client = with_starlette(store)
        with client.websocket_connect("/socket") as websocket:
            assert websocket.receive_text() == "1"
            sent = {name.lower(): value for name, value in websocket.extra_headers}
        program = Program(client, sent[HEADER.lower().encode()].decode())
        assert b"set-cookie" not in sent
        with client.websocket_connect("/socket", headers={HEADER: program.token}) as websocket:
            assert websocket.receive_text() == "2"
        assert program.all() == {"n": 2}


# Two sessions.

PAGES: Final = SessionConfig(secret_keys=[KEY], gc="never")

API: Final = SessionConfig(transport="header", secret_keys=[KEY], gc="never", key="api.session")


def in_both_wsgi(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    site, api = environ["glimr.session"], environ["api.session"]
    start_response("200 OK", [])
    return [f"{site.increment('n')} {api.increment('n', 10)}".encode()]


async def in_both_asgi(scope: Any, receive: Any, send: Any) -> None:
    site: Session = scope["glimr.session"]
    api: Session = scope["api.session"]
    answer = f"{site.increment('n')} {api.increment('n', 10)}"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": answer.encode()})


@pytest.mark.parametrize("order", [(PAGES, API), (API, PAGES)], ids=["api outside", "api inside"])
@pytest.mark.parametrize("door", ["wsgi", "asgi"])
def test_the_two_transports_stand_side_by_side(
    door: str, order: tuple[SessionConfig, SessionConfig], tmp_path: Path
) -> None:
    """A site with its cookie, and its API with a token: in one request, on one store."""
    with closing(DiskStore(tmp_path)) as store:
        app: Any = in_both_wsgi if door == "wsgi" else in_both_asgi
        middleware: Any = glimr_session.asgi.SessionMiddleware
        for config in order:
            wrap = SessionMiddleware if door == "wsgi" else middleware
            app = wrap(app, config, store=store)
        client = over_wsgi(app) if door == "wsgi" else over_asgi(app)
        answer = client.get("/")
        assert answer.text == "1 10"
        assert answer.headers["Cache-Control"].count("no-store") == 1
        varies = {name.strip() for name in answer.headers["Vary"].split(",")}
        assert varies == {"Cookie", HEADER}
        (cookie,) = SimpleCookie(answer.headers["Set-Cookie"]).values()
        client.cookies.clear()
        both = {"Cookie": f"{cookie.key}={cookie.value}", HEADER: answer.headers[HEADER]}
        assert client.get("/", headers=both).text == "2 20"
        swapped = {"Cookie": f"{cookie.key}={both[HEADER]}", HEADER: cookie.value}
        assert client.get("/", headers=swapped).text == "1 10"


# What one framework has of its own.


def test_django_s_own_middleware_is_refused(tmp_path: Path) -> None:
    """It knows cookies alone; the error says what to put in its place."""
    with (
        django_site(tmp_path, "django's"),
        pytest.raises(ImproperlyConfigured, match=r"glimr_session\.django\.SessionMiddleware"),
    ):
        DjangoClient().get("/count")


def test_django_can_renew_the_token_with_each_request(tmp_path: Path, clock: Clock) -> None:
    """SESSION_SAVE_EVERY_REQUEST means the same as for cookies."""
    with django_site(tmp_path, SESSION_SAVE_EVERY_REQUEST=True):
        program = Program(with_django(CookieStore()))
        program.get("/count")
        for _ in range(3):
            clock.now += 1
            assert program.ask("/unused").headers[HEADER]
        assert program.all() == {"n": 1}


def test_openapi_documents_the_header() -> None:
    """FastAPI's documentation has an API key in the header, which its page lets people enter."""
    found = with_fastapi(CookieStore()).get("/openapi.json").json()
    schemes = found["components"]["securitySchemes"]
    assert {name: (key["type"], key["in"], key["name"]) for name, key in schemes.items()} == {
        HEADER: ("apiKey", "header", HEADER)
    }


@pytest.mark.parametrize("kind", ["disk", "cookie"])
@pytest.mark.parametrize("door", ["wsgi", "starlette"])
def test_a_test_can_begin_with_a_session(door: str, kind: str, disk: DiskStore) -> None:
    """seed_session() returns the header, and read_session() takes the token."""
    store = disk if kind == "disk" else CookieStore()
    app: Any = SessionMiddleware(wsgi_site, CONFIG, store=store)
    if door == "starlette":
        app = with_starlette(store).app
    seeded = seed_session(app, {"n": 4}, flash={"notice": "saved"})
    assert seeded.name == HEADER
    client = over_wsgi(app) if door == "wsgi" else over_asgi(app)
    answer = client.get("/count", headers=dict([seeded]))
    assert answer.text == "5"
    token = answer.headers.get(HEADER, seeded.value)
    assert read_session(app, token) == ({"n": 5}, {})
    assert read_session(app, tampered(token)) == read_session(app, None) == ({}, {})


# Real servers.


def on_waitress(directory: Path, environ: Mapping[str, str]) -> AbstractContextManager[Server]:
    return running("waitress", directory, environ=environ)


def on_uvicorn(directory: Path, environ: Mapping[str, str]) -> AbstractContextManager[Server]:
    return running_asgi("uvicorn", directory, environ=environ)


SERVERS: Final = {"waitress": on_waitress, "uvicorn": on_uvicorn}


@pytest.mark.parametrize("server", SERVERS)
def test_a_program_asks_a_real_server(server: str, tmp_path: Path) -> None:
    """Over the network, with httpx; a repeated, a huge and a garbled header do no harm there."""
    environ = {"GLIMR_SESSION_TRANSPORT": "header"}
    with (
        SERVERS[server](tmp_path, environ) as serving,
        httpx.Client(base_url=f"http://127.0.0.1:{serving.port}", timeout=PATIENCE) as client,
    ):
        program = Program(client)
        found = [json.loads(program.get("/count"))["found"] for _ in range(3)]
        assert found == [1, 2, 3]
        late = Program(client, program.token)
        program.get("/login")
        assert json.loads(program.get("/session"))["found"] == {"count": 3, "user": "ada"}
        assert HEADER not in late.ask("/count").headers
        good = program.token.encode()
        for bad in ([good, good], [b"x" * 10_000], [b"\xff\xe9,\t;"]):
            headers = [(HEADER.encode(), value) for value in bad]
            assert client.get("/session", headers=headers).json()["found"] == {}
        tokens = {late.token, program.token}
        assert program.ask("/logout").headers[HEADER] == ""
        assert json.loads(program.get("/session"))["found"] == {}
    log = serving.log.read_text()
    assert "A token X-Session-Token does not verify" in log
    for token in tokens:
        assert token.partition(".")[0] not in log
