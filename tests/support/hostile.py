"""Hostile input for sites, and what is asked of them: attacks, clients, and what must not be."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from glimr_session import (
    DiskStore,
    Json,
    SessionConfig,
    SessionMiddleware,
    SessionStore,
)
from glimr_session._request.origin import Origin
from tests.support.cookies import make_cookie
from tests.support.hostile_app import pages
from tests.support.servers import PATIENCE
from tests.support.wsgi_client import Browser

__all__ = [
    "ATTACKS",
    "KEY",
    "NAME",
    "OLD_KEY",
    "SITE",
    "Answer",
    "World",
    "ask",
    "check_anonymous",
    "check_ended",
    "check_headers",
    "inside",
    "parts",
    "sent",
    "sign",
]

KEY: Final = "HOSTILE-KEY-41c0d6b2e8f7a935c04e7721"
OLD_KEY: Final = "HOSTILE-OLD-KEY-7b1f5e09d3c2a6f480d1"
NAME: Final = "glimr_session"
SITE: Final = "tests.support.hostile_app:site"

# What is put behind a good value, to begin a header or an attribute of its own.
ATTACKS: Final = {
    "CRLF": "\r\nSet-Cookie: x=1",
    "CRLF, and a body": "\r\n\r\n<script>x=1</script>",
    "CRLF, folded": "\r\n Set-Cookie: x=1",
    "LF": "\nSet-Cookie: x=1",
    "CR": "\rSet-Cookie: x=1",
    "NUL": "\0 Set-Cookie: x=1",
    "NUL and CRLF": "\0\r\nSet-Cookie: x=1",
    "backspace": "\b Set-Cookie: x=1",
    "tab": "\tSet-Cookie: x=1",
    "vertical tab": "\vSet-Cookie: x=1",
    "form feed": "\fSet-Cookie: x=1",
    "file separator": "\x1cSet-Cookie: x=1",
    "escape": "\x1b[2J x=1",
    "delete": "\x7f x=1",
    "next line": "\x85Set-Cookie: x=1",
    "line separator": "\u2028Set-Cookie: x=1",
    "letters that end in the bytes of CRLF": "\u560d\u560aSet-Cookie: x=1",
    "semicolon": "; Domain=evil.example; x=1",
    "comma": ", x=1",
    "quotes": '"; x="1',
    "backslash": "\\; x=1",
    "Latin-1": "\xe9 x=1",
    "outside of the basic plane": "\U0001f36a x=1",
}


class Answer(NamedTuple):
    """A response as it came over the wire. ``status`` is 0 if none came."""

    status: int
    head: bytes
    body: bytes

    @property
    def set_cookies(self) -> list[str]:
        """The values of the Set-Cookie headers, however lenient the reader is."""
        lines = [line.partition(b":") for line in re.split(rb"[\r\n]+", self.head)]
        return [
            value.strip().decode("latin-1")
            for name, _, value in lines
            if name.strip().lower() == b"set-cookie"
        ]

    @property
    def cookie(self) -> str:
        """The pair of the one Set-Cookie header, "" if there is none."""
        found = self.set_cookies
        assert len(found) <= 1
        return found[0].partition(";")[0] if found else ""

    @property
    def shown(self) -> dict[str, Any]:
        """What the page found: id, data and flash."""
        assert self.status == 200
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def id(self) -> str:
        found: str = self.shown["id"]
        return found

    @property
    def data(self) -> dict[str, Json]:
        found: dict[str, Json] = self.shown["data"]
        return found


def ask(port: int, page: str, *headers: bytes, **asked: str) -> Answer:
    """Send a request with these header lines over a socket, and read all that comes."""
    lines = [
        f"GET /{page}?{urlencode(asked)} HTTP/1.0".encode(),
        b"Host: 127.0.0.1",
        *headers,
        b"",
        b"",
    ]
    received = b""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        with suppress(ConnectionError):  # a server that refuses them does not read them all
            connection.sendall(b"\r\n".join(lines))
        with suppress(ConnectionError):
            while chunk := connection.recv(65536):
                received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    return Answer(int(head[9:12] or 0), head, body)


def sent(cookie: str) -> bytes:
    return b"Cookie: " + cookie.encode("latin-1")


# What the application, the middleware and the servers send.
NAMES: Final = {
    b"cache-control", b"connection", b"content-length", b"content-type", b"date", b"server",
    b"set-cookie", b"vary",
}  # fmt: skip
ENDED: Final = re.compile(
    NAME + r"=; HttpOnly; Max-Age=0; Path=/; SameSite=Lax(; Secure)?", re.ASCII
)
OURS: Final = re.compile(
    NAME + r"=[\w.-]+; HttpOnly; Max-Age=7200; Path=/; SameSite=Lax(; Secure)?", re.ASCII
)


def check_headers(answer: Answer) -> None:
    """See that there are only headers that belong there, and at most one cookie: ours."""
    status, *lines = re.split(rb"[\r\n]+", answer.head)
    assert re.fullmatch(rb"HTTP/1\.[01] \d{3} [A-Z][A-Za-z ]+", status)
    for line in lines:
        assert re.fullmatch(rb"[!-9;-~]+: [ -~]*", line), line
        assert line.partition(b":")[0].lower() in NAMES, line
    assert len(answer.set_cookies) <= 1
    assert all(OURS.fullmatch(cookie) for cookie in answer.set_cookies)


class World:
    """The pages on one store, inside the test or on a real server, and what is stored."""

    def __init__(
        self, ask: Callable[[str, str, dict[str, str]], Answer], store: SessionStore
    ) -> None:
        self._ask = ask
        self.store = store

    def get(self, page: str, cookies: str = "", **asked: str) -> Answer:
        """Ask for a page with this Cookie header."""
        return self._ask(page, cookies, asked)

    def begin(self, owner: str) -> str:
        """Begin a session that tells whose it is; return its cookie."""
        return self.get("put", key="owner", value=owner).cookie

    def rows(self) -> set[tuple[Any, ...]]:
        """Return everything that is stored."""
        if not isinstance(self.store, DiskStore):
            return set()
        with closing(sqlite3.connect(self.store.directory / "cache.db")) as database:
            return set(database.execute("SELECT * FROM Cache"))


def inside(store: SessionStore, **settings: Any) -> World:
    """Serve the pages in this thread."""
    config = SessionConfig(**{"secret_keys": [KEY], "gc": "never", **settings})
    served = SessionMiddleware(pages, config, store=store)

    def ask_inside(page: str, cookies: str, asked: dict[str, str]) -> Answer:
        extra = {"PATH_INFO": f"/{page}", "QUERY_STRING": urlencode(asked)}
        response = Browser().request(served, extra={**extra, "HTTP_COOKIE": cookies})
        response.begin().finish()
        lines = [f"{name}: {value}" for name, value in response.headers]
        head = "\r\n".join([response.status, *lines]).encode("latin-1")
        return Answer(int(response.status[:3]), head, response.body)

    return World(ask_inside, store)


def sign(store: SessionStore, value: str, *, key: str = KEY, name: str = NAME) -> str:
    """Return the cookie in which an application would send a value."""
    cookie = make_cookie(SessionConfig(secret_keys=[key], cookie=name), store)
    return cookie.set(value, Origin(https=True, host="testserver")).partition(";")[0]


def check_anonymous(world: World, header: str, *ids: str, dead: bool = False) -> None:
    """See that a Cookie header leads to nobody's session, and becomes nobody's.

    ``ids`` are those that it holds, or that an attacker knows. ``dead`` says that it verifies,
    and that no store knows it: then the browser is told to forget it.
    """
    before = world.rows()
    found = world.get("read", header)
    assert (found.data, found.shown["flash"]) == ({}, {})
    check_ended(found, dead)
    assert world.rows() == before
    login = world.get("login", header, value="somebody")
    assert login.data == {"user": "somebody"}
    assert len({found.id, login.id, *ids}) == 2 + len(ids)
    assert login.cookie
    assert login.cookie not in header
    assert world.rows() > before or not world.store.server_side
    assert world.get("read", login.cookie).data == {"user": "somebody"}
    again = world.get("read", header)
    assert again.data == {}
    check_ended(again, dead)
    assert again.id != login.id


def check_ended(answer: Answer, ended: bool) -> None:
    """See that an answer ends the cookie, or sets none."""
    assert len(answer.set_cookies) == ended
    assert all(ENDED.fullmatch(value) for value in answer.set_cookies)


def parts(cookie: str) -> list[str]:
    """Return the value, the time and the signature of a cookie."""
    return cookie.partition("=")[2].rsplit(".", 2)
