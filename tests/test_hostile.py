"""Hostile input, from end to end: settings, values, cookies that were planted, secrets.

What the parts do by themselves is in ``test_cookies.py`` and ``test_secrecy.py``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pprint
import re
import shutil
import socket
import sqlite3
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import pytest
from pykka import ActorRegistry
from pykka._envelope import Envelope

from glimr_session import (
    ConfigError,
    CookieStore,
    DiskStore,
    Json,
    SessionConfig,
    SessionMiddleware,
    SessionStore,
    StoredSession,
    StoreUnavailable,
    generate_id,
    state,
)
from glimr_session.actor import SessionActor
from glimr_session.cookies import Signatures
from glimr_session.janitor import never
from glimr_session.lifecycle import Exchange, Sessions
from glimr_session.messages import Invalidate, Regenerate
from glimr_session.state import SessionState

from . import test_secrecy
from .conftest import Clock
from .hostile_app import SLOW, pages
from .server_apps import SERVE
from .servers import PATIENCE, ROOT, Server, command, running
from .test_secrecy import TYPED, Secrets
from .wsgi_client import Browser

KEY: Final = "HOSTILE-KEY-41c0d6b2e8f7a935c04e7721"
OLD_KEY: Final = "HOSTILE-OLD-KEY-7b1f5e09d3c2a6f480d1"
NAME: Final = "glimr_session"
SITE: Final = "tests.hostile_app:site"
SERVERS: Final = (*SERVE, "gunicorn")

secrets = test_secrecy.secrets  # the fixture: no log record of a test may hold one

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

# Settings.

# What is a good value of each, as a variable of the environment has it.
IN_A_HEADER: Final = {
    "cookie": "shop",
    "cookie_path": "/shop",
    "cookie_domain": "example.com",
    "cookie_samesite": "Lax",
    "cookie_secure": "true",
    "cookie_partitioned": "true",
    "lifetime": "120",
    "expire_on_close": "true",
}
IN_NO_HEADER: Final = {
    "store", "absolute_lifetime", "gc", "gc_chance", "gc_interval", "secret_keys",
    "disk_directory", "disk_durability",
}  # fmt: skip

every_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())


def test_every_setting_that_reaches_a_header_is_attacked() -> None:
    """A new setting has to be put into one of the two lists."""
    settings = {field.name for field in dataclasses.fields(SessionConfig)}
    assert settings == IN_A_HEADER.keys() | IN_NO_HEADER


@every_attack
@pytest.mark.parametrize("setting", IN_A_HEADER)
def test_a_setting_that_would_break_a_header_is_refused_at_start(
    setting: str, attack: str, tmp_path: Path
) -> None:
    """From a mapping, the environment, a file and code: the error names it, on one line."""
    hostile: Any = IN_A_HEADER[setting] + attack
    file = tmp_path / "session.toml"
    escaped = "".join(f"\\U{ord(character):08x}" for character in hostile)
    file.write_text(f'{setting} = "{escaped}"\n')
    ways: list[Callable[[], object]] = [
        lambda: SessionConfig.from_mapping({setting: hostile}),
        lambda: SessionConfig.from_env({f"GLIMR_SESSION_{setting.upper()}": hostile}),
        lambda: SessionConfig.from_toml(file, {}),
        lambda: SessionConfig(**{setting: hostile}),
    ]
    for read in ways:
        with pytest.raises(ConfigError) as caught:
            read()
        assert str(caught.value).startswith(setting)
        assert str(caught.value).isprintable()  # nor does it begin a line of its own in a log


@pytest.mark.parametrize(
    ("server", "setting"),
    [
        ("gunicorn preload", "cookie"),
        ("waitress", "cookie"),
        ("waitress", "cookie_path"),
        ("waitress", "cookie_domain"),
        ("waitress", "cookie_samesite"),
    ],
)
def test_a_server_does_not_start_with_such_a_setting(
    server: str, setting: str, tmp_path: Path
) -> None:
    """The process ends with the ConfigError, and never listens."""
    ended = subprocess.run(
        command(server, tmp_path, app=SITE, processes=1, threads=1, settings=""),
        cwd=ROOT,
        env={
            **os.environ,
            "GLIMR_SESSION_STORE": "cookie",
            "GLIMR_SESSION_SECRET_KEYS": KEY,
            f"GLIMR_SESSION_{setting.upper()}": IN_A_HEADER[setting] + ATTACKS["CRLF"],
        },
        stderr=subprocess.PIPE,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert ended.returncode != 0
    assert f"ConfigError: {setting}: " in ended.stderr
    assert "Listening at" not in ended.stderr


# Values, on real servers.


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


@pytest.fixture(scope="module", params=SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Each server, with all it has to say in its log."""
    with running(
        request.param,
        tmp_path_factory.mktemp("server"),
        app=SITE,
        processes=1,
        threads=8,
        environ={"GLIMR_SESSION_SECRET_KEYS": KEY, "GLIMR_SESSION_GC_CHANCE": "1"},
        failing=True,
    ) as found:
        yield found


@pytest.mark.parametrize("store", ["disk", "cookie"])
def test_keys_values_and_flash_reach_no_header(server: Server, store: str) -> None:
    """Whatever is in a session comes back as it was put, and is in no header."""
    for attack in ATTACKS.values():
        left = ask(server.port, f"{store}/leave", key=f"k{attack}", value=f"v{attack}")
        check_headers(left)
        assert left.cookie
        read = ask(server.port, f"{store}/read", sent(left.cookie))
        check_headers(read)
        assert read.shown["data"] == {f"k{attack}": f"v{attack}"}
        assert read.shown["flash"] == {f"k{attack}": f"v{attack}"}


def test_a_cookie_value_that_would_break_a_header_is_an_error_of_ours(server: Server) -> None:
    """Answered 500 and logged as a ConfigError; the server is not left to see to it."""
    before = len(server.log.read_text())
    shapes = ("put", "stream", "write")
    for shape in shapes:
        good = ask(server.port, f"functions/{shape}", key="wire", value="a-good-value")
        check_headers(good)
        assert good.cookie.startswith(f"{NAME}=a-good-value.")
        # cheroot answers nothing at all when an iterator raises before its first chunk.
        mute = shape == "stream" and b"Cheroot" in good.head
        for attack in ATTACKS.values():
            refused = ask(server.port, f"functions/{shape}", key="wire", value=f"v{attack}")
            assert refused.status == (0 if mute else 500)
            assert not refused.cookie
            if not mute:
                check_headers(refused)

    def errors() -> list[str]:
        log = server.log.read_text()[before:]
        return re.findall(r"^(?:\w+\.)*\w*(?:Error|Exception)\b.*", log, re.MULTILINE)

    ours = "glimr_session.errors.ConfigError: the store's cookie_value() gave characters"
    deadline = time.monotonic() + PATIENCE  # the log may come after the answer
    while sum(error.startswith(ours) for error in errors()) < len(shapes) * len(ATTACKS):
        assert time.monotonic() < deadline, errors()
        time.sleep(0.01)
    muted = "invalid literal for int() with base 10: ''"
    assert all("ConfigError" in error or muted in error for error in errors())


# What comes in, on real servers.

# Beside a good cookie, in the same header. True: a server that lets it through at all
# has to lead to the session; False: it may end the header.
PIECES: Final[dict[bytes, bool]] = {
    bytes(range(0x80, 0x100)): True,
    b"\xff=\xfe": True,
    b"\xc3\x28=\xed\xa0\x80": True,
    b"a=\x00": True,
    b"\x01\x02\x7f": True,
    b"a=\v; \f=b": True,
    b"\x1c\x1d\x1e": True,
    b"a=\rX: y": False,
    b"a=\nX: y": False,
    b"a=b\r\n folded": False,
    b"x" * 7_000: True,
    b"x=" + b"y" * 60_000: True,
    b";" * 60_000: True,
    b"x" * 100_000: True,
    f"{NAME}=".encode() + b"A" * 100_000: True,
    f"{NAME}=x;".encode() * 5_000: True,
}


def test_hostile_cookies_are_refused_by_the_server_or_do_no_harm(server: Server) -> None:
    """The answer is the session, an anonymous one, or the server's own 400 or 431."""
    cookie = ask(server.port, "disk/put", value="ours").cookie
    for piece, harmless in PIECES.items():
        for header in (piece + b"; " + cookie.encode(), cookie.encode() + b"; " + piece):
            answer = ask(server.port, "disk/read", b"Cookie: " + header)
            assert answer.status in (200, 400, 431), piece[:20]
            if answer.status == 200:
                check_headers(answer)
                assert not answer.cookie
                assert answer.data == {"key": "ours"} or (answer.data == {} and not harmless)


def test_two_cookie_headers_lead_to_the_session_or_an_anonymous_one(server: Server) -> None:
    """However a server puts them together: no error, no other session, and none begun."""
    ours = ask(server.port, "disk/put", value="ours").cookie
    other = ask(server.port, "disk/put", value="other").cookie
    for first, second in (("a=b", ours), (ours, "a=b"), (ours, f"{NAME}=forged"), (ours, ours)):
        answer = ask(server.port, "disk/read", sent(first), sent(second))
        assert answer.data in ({"key": "ours"}, {})
        assert not answer.cookie
    for first, second in ((other, ours), (ours, other)):
        answer = ask(server.port, "disk/read", sent(first), sent(second))
        # The last one, where that is all the server keeps; never the one before it.
        assert answer.data in ({}, {"key": "ours" if second == ours else "other"})
        assert not answer.cookie


@pytest.mark.parametrize(
    "lines",
    [
        [b"X-Forwarded-Proto: https"],
        [b"X-Forwarded-Proto: http"],
        [b"X-Forwarded-Proto:"],
        [b"X-Forwarded-Proto: HTTPS, http"],
        [b"X-Forwarded-Proto: \xff\xfe"],
        [b"X-Forwarded-Proto: " + b"x" * 5_000],
        [b"X-Forwarded-Proto: http; Domain=evil.example"],
        [b"X-Forwarded-Proto: https", b"X-Forwarded-Proto: http"],
        [b"X_Forwarded_Proto: http"],
    ],
    ids=lambda lines: b" and ".join(lines)[:50],
)
def test_a_forwarded_protocol_can_only_make_the_cookie_secure(
    server: Server, lines: list[bytes]
) -> None:
    """Whatever it says: with it, if the server hands it on, the cookie is Secure."""
    answer = ask(server.port, "disk/forwarded", *lines)
    check_headers(answer)
    if answer.status != 400:  # gunicorn refuses contradictions
        assert answer.set_cookies[0].endswith("; Secure") is (answer.data["forwarded"] is not None)


def test_the_log_of_a_server_holds_no_secret(server: Server) -> None:
    """Sessions, logins, forged and refused cookies: nothing of an id, a cookie or a key."""
    before = len(server.log.read_text())
    watched = Secrets()
    watched.hidden = {KEY}

    def told(page: str, cookie: str = "", **asked: str) -> Answer:
        answer = ask(server.port, page, sent(cookie), **asked)
        for pair in (cookie, answer.cookie):
            watched.hide(*(part for part in re.split("[=.; ]", pair) if len(part) > 20))
        if answer.status == 200:
            watched.hide(answer.id)
        return answer

    for store in ("disk", "cookie"):
        first = told(f"{store}/put", value="a").cookie
        second = told(f"{store}/put", value="b").cookie
        told(f"{store}/read", f"{first}; {second}")
        told(f"{store}/read", f"{first}x; {NAME}={'f0e1d2c3' * 8}")
        after = told(f"{store}/login", first, value="ada").cookie
        told(f"{store}/put", first)
        told(f"{store}/leave", after)
        told(f"{store}/logout", after)
        told(f"{store}/put", after)
    assert told("functions/put", key="wire", value="WIRE-VALUE 3f9a27c1d5\n").status == 500
    watched.hide("WIRE-VALUE 3f9a27c1d5")
    # All is heard there, but for the lines of access logs, which hold what was asked for.
    deadline = time.monotonic() + PATIENCE
    for line in ("A cookie glimr_session does not", "INFO:glimr_session:", "cookie_value() gave"):
        while line not in (log := server.log.read_text()[before:]):
            assert time.monotonic() < deadline, line
            time.sleep(0.01)
    watched.shown = [line for line in log.splitlines() if "GET /" not in line]
    assert watched.seen() == set()


# Whose session it is: cookies that were planted, copied, made up or meant for others.


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
        """Begin a session that tells whose it is; give its cookie."""
        return self.get("put", key="owner", value=owner).cookie

    def rows(self) -> set[tuple[Any, ...]]:
        """Give everything that is stored."""
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
    """Give the cookie in which an application would send a value."""
    cookie = SessionConfig(secret_keys=[key], cookie=name).make_cookie(store)
    return cookie.set(value, secure=True).partition(";")[0]


@pytest.fixture(scope="module")
def served_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The disk store on a real server."""
    directory = tmp_path_factory.mktemp("world")
    keys = {"GLIMR_SESSION_SECRET_KEYS": KEY}
    with (
        running("waitress", directory, app=SITE, environ=keys) as found,
        closing(DiskStore(directory / "sessions")) as store,
    ):

        def ask_there(page: str, cookies: str, asked: dict[str, str]) -> Answer:
            return ask(found.port, f"disk/{page}", sent(cookies), **asked)

        yield World(ask_there, store)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[DiskStore]:
    with closing(DiskStore(tmp_path / "sessions")) as store:
        yield store


@pytest.fixture(params=["disk", "waitress"])
def disk_world(request: pytest.FixtureRequest) -> World:
    """The disk store, inside the test and on a real server."""
    if request.param == "disk":
        return inside(request.getfixturevalue("disk"))
    found: World = request.getfixturevalue("served_world")
    return found


@pytest.fixture(params=["disk", "cookie", "waitress"])
def world(request: pytest.FixtureRequest) -> World:
    """Both stores, inside of the test, and the one of them on a real server too."""
    if request.param == "cookie":
        return inside(CookieStore())
    name = {"disk": "disk", "waitress": "served_world"}[request.param]
    found = request.getfixturevalue(name)
    return inside(found) if isinstance(found, SessionStore) else found


def check_anonymous(world: World, header: str, *ids: str) -> None:
    """See that a Cookie header leads to nobody's session, and becomes nobody's.

    ``ids`` are those that it holds, or that an attacker knows.
    """
    before = world.rows()
    found = world.get("read", header)
    assert (found.data, found.shown["flash"], found.set_cookies) == ({}, {}, [])
    assert world.rows() == before
    login = world.get("login", header, value="somebody")
    assert login.data == {"user": "somebody"}
    assert len({found.id, login.id, *ids}) == 2 + len(ids)
    assert login.cookie
    assert login.cookie not in header
    assert world.rows() > before or not world.store.server_side
    assert world.get("read", login.cookie).data == {"user": "somebody"}
    again = world.get("read", header)
    assert (again.data, again.set_cookies) == ({}, [])
    assert again.id != login.id


def parts(cookie: str) -> list[str]:
    """Give the value, the time and the signature of a cookie."""
    return cookie.partition("=")[2].rsplit(".", 2)


UNKNOWN: Final = "0123456789abcdef" * 4

Header = Callable[[World, str, str], str]

# Each holds nothing by which to tell whose session it is.
NOBODY: Final[dict[str, Header]] = {
    "planted before": lambda world, victim, mallory: f"{mallory}; {victim}",
    "planted behind": lambda world, victim, mallory: f"{victim}; {mallory}",
    "planted on both sides": lambda world, victim, mallory: f"{mallory}; {victim}; {mallory}",
    "planted, and a forged one": lambda world, victim, mallory: (
        f"{NAME}=forged; {victim}; {mallory}"
    ),
    "planted, and never issued": lambda world, victim, mallory: (
        f"{victim}; {sign(world.store, UNKNOWN)}"
    ),
    "an id of one's own choice": lambda world, victim, mallory: f"{NAME}={UNKNOWN}",
    "a word of one's own choice": lambda world, victim, mallory: f"{NAME}=mallory",
    "a path as an id": lambda world, victim, mallory: f"{NAME}=../../etc/passwd",
    "an id that was never issued, signed": lambda world, victim, mallory: sign(
        world.store, UNKNOWN
    ),
    "nothing, signed": lambda world, victim, mallory: sign(world.store, ""),
    "the value of a cookie that is good, unsigned": lambda world, victim, mallory: (
        f"{NAME}={parts(victim)[0]}"
    ),
    "the value of one, signed as another": lambda world, victim, mallory: (
        f"{NAME}={'.'.join([parts(victim)[0], *parts(mallory)[1:]])}"
    ),
    "the value of one, with another key": lambda world, victim, mallory: sign(
        world.store, parts(victim)[0], key=OLD_KEY
    ),
    "from an application of another name": lambda world, victim, mallory: sign(
        world.store, parts(victim)[0], name="other"
    ).replace("other", NAME, 1),
    "from an application on another store": lambda world, victim, mallory: sign(
        CookieStore() if world.store.server_side else _Elsewhere(), parts(victim)[0]
    ),
}


class _Elsewhere(CookieStore):
    kind = "elsewhere"


@pytest.mark.parametrize("header", NOBODY.values(), ids=NOBODY.keys())
def test_a_cookie_that_is_nobody_s_finds_nothing_and_becomes_nobody_s(
    world: World, header: Header
) -> None:
    """No data of others, nothing written, a fresh id: and the planted one stays worthless."""
    victim, mallory = world.begin("victim"), world.begin("mallory")
    ids = [world.get("read", cookie).id for cookie in (victim, mallory)]
    check_anonymous(world, header(world, victim, mallory), *ids, UNKNOWN)
    assert world.get("read", victim).data == {"owner": "victim"}
    assert world.get("read", mallory).data == {"owner": "mallory"}


GOOD: Final[dict[str, Header]] = {
    "twice": lambda world, victim, mallory: f"{victim}; {victim}",
    "signed twice": lambda world, victim, mallory: (
        f"{victim}; {sign(world.store, parts(victim)[0])}"
    ),
    "a forged one before": lambda world, victim, mallory: f"{NAME}={UNKNOWN}; {victim}",
    "a forged one behind": lambda world, victim, mallory: f"{victim}; {NAME}={UNKNOWN}",
    "an empty one before": lambda world, victim, mallory: f"{NAME}=; {victim}",
    "another's, changed": lambda world, victim, mallory: f"{mallory[:-1]}; {victim}; {mallory}x",
    "another's, with another key": lambda world, victim, mallory: (
        f"{sign(world.store, parts(mallory)[0], key=OLD_KEY)}; {victim}"
    ),
    "another's, under other names": lambda world, victim, mallory: (
        f"other={mallory.partition('=')[2]}; x{mallory}; {victim}; {mallory.capitalize()}"
    ),
}


@pytest.mark.parametrize("header", GOOD.values(), ids=GOOD.keys())
def test_a_good_cookie_is_used_whatever_is_planted_beside_it(world: World, header: Header) -> None:
    """Duplicates, and cookies that do not verify, take no session away."""
    victim, mallory = world.begin("victim"), world.begin("mallory")
    before = world.rows()
    found = world.get("read", header(world, victim, mallory))
    assert found.data == {"owner": "victim"}
    assert found.set_cookies == []
    assert world.rows() == before


def test_a_cookie_from_before_a_login_finds_nothing_after_it(disk_world: World) -> None:
    """Alone and beside the new one; and the session that logged in goes on."""
    world = disk_world
    planted = world.begin("planted")
    before = world.get("read", planted).id
    login = world.get("login", planted, value="ada")
    assert login.data == {"owner": "planted", "user": "ada"}
    for header in (planted, f"{planted}; {login.cookie}", f"{login.cookie}; {planted}"):
        check_anonymous(world, header, before, login.id)
    assert world.get("read", login.cookie).data == login.data


def test_a_cookie_from_before_a_login_is_not_logged_in_by_it() -> None:
    """With the cookie store it goes on holding what it held, and nothing of the login."""
    world = inside(CookieStore())
    planted = world.begin("planted")
    login = world.get("login", planted, value="ada")
    assert login.id != world.get("read", planted).id
    assert world.get("read", planted).data == {"owner": "planted"}


def test_a_cookie_from_before_a_logout_finds_nothing_after_it(disk_world: World) -> None:
    """A copy of the cookie is worth nothing, and what is begun after is begun anew."""
    world = disk_world
    copy = world.begin("victim")
    before = world.get("read", copy).id
    assert "Max-Age=0" in world.get("logout", copy).set_cookies[0]
    check_anonymous(world, copy, before)


def test_a_cookie_for_another_directory_finds_nothing(disk: DiskStore, tmp_path: Path) -> None:
    """Two applications with one key, name and kind of store do not share their sessions."""
    with closing(DiskStore(tmp_path / "other")) as other:
        cookie = inside(other).begin("other")
        check_anonymous(inside(disk), cookie, inside(other).get("read", cookie).id)


@pytest.fixture(params=["disk", "cookie"])
def store(request: pytest.FixtureRequest) -> SessionStore:
    if request.param == "cookie":
        return CookieStore()
    found: SessionStore = request.getfixturevalue("disk")
    return found


def test_keys_are_rotated_and_removed_without_a_logout(store: SessionStore, clock: Clock) -> None:
    """Old cookies are read, the next Set-Cookie has the new key, and then the old can go."""
    old = inside(store, secret_keys=[OLD_KEY])
    both = inside(store, secret_keys=[KEY, OLD_KEY])
    new = inside(store, secret_keys=[KEY])
    first, last = old.begin("ada"), old.begin("bob")
    assert both.get("read", first).data == {"owner": "ada"}
    clock.advance(store.lifetime / 10)
    renewed = both.get("read", first).cookie
    assert new.get("read", renewed).data == {"owner": "ada"}
    login = both.get("login", last, value="bob").cookie
    assert new.get("read", login).data == {"owner": "bob", "user": "bob"}
    check_anonymous(old, renewed, new.get("read", renewed).id)
    check_anonymous(new, first, both.get("read", first).id)


# Session fixation, with requests of the attacker's that are on their way during the login.

FIXED: Final = "FIXED-USER-e61b9a04c7d3"


@pytest.fixture(scope="module", params=["waitress", "gunicorn"])
def crowd(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Two servers with room for many at once, gunicorn with two processes."""
    directory = tmp_path_factory.mktemp("crowd")
    keys = {"GLIMR_SESSION_SECRET_KEYS": KEY}
    with running(request.param, directory, app=SITE, threads=12, environ=keys) as found:
        yield found


@contextmanager
def waiting(
    pool: ThreadPoolExecutor, port: int, page: str, cookie: str, value: str
) -> Iterator[Future[Answer]]:
    """Have a request open its session and wait; let it go on at the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as gate:
        gate.settimeout(PATIENCE)
        number = str(gate.getsockname()[1])
        answer = pool.submit(ask, port, page, sent(cookie), value=value, gate=number)
        connection, _ = gate.accept()
        with connection:
            yield answer
        answer.result(PATIENCE)


@pytest.mark.parametrize("store", ["disk", "cookie"])
def test_a_planted_session_gives_its_planter_nothing_of_who_logs_in_with_it(
    crowd: Server, store: str
) -> None:
    """Not before, not after, and not in answers to requests that were opened before."""
    port = crowd.port
    planted = ask(port, f"{store}/put", key="cart", value="planted").cookie
    assert ask(port, f"{store}/read", sent(planted)).data == {"cart": "planted"}
    logged_in = threading.Event()
    seen: list[Answer] = []

    def poll() -> None:
        while not logged_in.is_set():
            seen.append(ask(port, f"{store}/read", sent(planted)))

    with ThreadPoolExecutor(12) as pool:
        with ExitStack() as gates:
            slow = [
                gates.enter_context(waiting(pool, port, f"{store}/{page}", planted, value))
                for page, value in [*(("slow", what) for what in SLOW), ("late", "")]
                if value != "logout"
            ]
            polling = pool.submit(poll)
            login = ask(port, f"{store}/login", sent(planted), value=FIXED)
        logged_in.set()
        polling.result(PATIENCE)
    seen += [answer.result() for answer in slow]
    assert all(answer.status == 200 for answer in seen)
    after = [ask(port, f"{store}/read", sent(planted)) for _ in range(8)]
    victim = ask(port, f"{store}/read", sent(login.cookie))
    assert victim.id == login.id
    assert victim.data["user"] == FIXED
    if store == "disk":
        assert all(answer.data == {} and answer.id != login.id for answer in after)
        assert all(answer.set_cookies == [] for answer in (*seen, *after))
    else:  # whoever copied a cookie of this store can go on using the copy
        assert all(answer.data == {"cart": "planted"} for answer in after)
    watched = Secrets()
    watched.hidden = {FIXED, login.id, parts(login.cookie)[-1]}
    watched.shown = [str(part) for answer in (*seen, *after) for part in answer]
    assert watched.seen() == set()


def test_a_slow_logout_of_the_planter_gives_nothing_either(crowd: Server) -> None:
    """It ends the session wherever that is by now, and learns nothing of it."""
    port = crowd.port
    planted = ask(port, "disk/put", key="cart", value="planted").cookie
    with ThreadPoolExecutor(1) as pool:
        with waiting(pool, port, "disk/slow", planted, "logout") as slow:
            login = ask(port, "disk/login", sent(planted), value=FIXED)
        answer = slow.result()
    assert answer.data == {}
    watched = Secrets()
    watched.hidden = {FIXED, login.id, parts(login.cookie)[-1]}
    watched.shown = [str(part) for part in answer]
    assert watched.seen() == set()
    assert ask(port, "disk/read", sent(login.cookie)).data == {}


# Secrets, where test_secrecy.py does not look.


def cut_in_half(directory: Path) -> None:
    os.truncate(directory / "cache.db", (directory / "cache.db").stat().st_size // 2)


def overwrite_pages(directory: Path) -> None:
    """Leave the first page, and put what looks like text of ours into the others."""
    with (directory / "cache.db").open("r+b") as file:
        file.seek(4096)
        file.write(TYPED.encode() * 1_000)


def make_public(directory: Path) -> None:
    directory.chmod(0o755)


def delete(directory: Path) -> None:
    shutil.rmtree(directory)


DAMAGES: Final[dict[Callable[[Path], None], str]] = {
    cut_in_half: "StoreUnavailable",
    overwrite_pages: "StoreUnavailable",
    make_public: "chmod 700",
    delete: "deleted or replaced",
}


@pytest.mark.parametrize(
    ("damage", "told"), DAMAGES.items(), ids=[damage.__name__ for damage in DAMAGES]
)
def test_a_damaged_store_tells_no_secret(
    damage: Callable[[Path], None],
    told: str,
    secrets: Secrets,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While it is used, and when it is opened: errors with all their causes, and the log."""
    monkeypatch.setattr("glimr_session.stores.lending._LOOK_EVERY", 0.0)
    with closing(DiskStore(tmp_path / "sessions")) as store:
        site = test_secrecy.Site(store, secrets)
        site.get("put")
        store.close()
        damage(store.directory)
        for page in ("read", "put", "login", "late", "logout"):
            site.get(page)
        site.get("put", "")
        with suppress(StoreUnavailable, ConfigError):
            DiskStore(store.directory).close()
        for use in (store.gc, lambda: store.save("f" * 64, {"typed": TYPED}, {})):
            try:
                use()
            except StoreUnavailable as error:
                secrets.show(error, *told_of(error))
    secrets.hide("f" * 64)
    assert told in "\n".join([*secrets.shown, caplog.text])


def test_text_that_is_no_utf_8_is_unreadable_and_not_quoted(
    secrets: Secrets, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite's own error would quote the value, and be an outage that lasts."""
    with closing(DiskStore(tmp_path / "sessions")) as store:
        site = test_secrecy.Site(store, secrets)
        site.get("put")
        with closing(sqlite3.connect(store.directory / "cache.db")) as database:
            database.execute("UPDATE Cache SET value = CAST(value || X'FF' AS TEXT)")
            database.commit()
        assert site.get("read") is not None
        assert "is unreadable" in caplog.text


def told_of(error: BaseException) -> Iterator[object]:
    """Give what an error, its notes and all its causes carry about with them."""
    following: list[BaseException | None] = [error]
    while following:
        if (found := following.pop()) is not None:
            yield from (repr(found), found.args, vars(found))
            # Some have slots, or members in C: UnicodeDecodeError's object is one.
            yield [getattr(found, name) for name in dir(found) if not name.startswith("__")]
            following += [found.__cause__, found.__context__]


FILES: Final = {
    "not UTF-8": f'secret_keys = ["{KEY}"] # \xff'.encode("latin-1"),
    "not closed": f'secret_keys = ["{KEY}'.encode(),
    "no quotes": f"secret_keys = [{KEY}]".encode(),
    "a key of its own": f'"{KEY}" = "secret_keys'.encode(),
    "twice": f'secret_keys = ["{KEY}"]\nsecret_keys = ["{KEY}"]'.encode(),
    "a control character": f'secret_keys = ["{KEY}\0"]'.encode(),
    "a wrong type": f'secret_keys = "{KEY}"'.encode(),
    "a short one": f'secret_keys = ["{KEY[:31]}"]'.encode(),
    "in a wrong table": f'[disk]\nsecret_keys = ["{KEY}"]'.encode(),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES.keys())
def test_an_error_about_a_file_carries_no_key(content: bytes, tmp_path: Path) -> None:
    """Not in its message, nor in what it and its causes carry: error reporters send that."""
    file = tmp_path / "session.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        SessionConfig.from_toml(file, {})
    watched = Secrets()
    watched.hidden = {KEY}
    watched.show(caught.value, *told_of(caught.value))
    assert watched.seen() == set()


def locals_of(error: BaseException) -> list[str]:
    """Give the variables of our own frames, as error reporters show them.

    But for ``environ`` and ``body``: they are the request and the answer, and not ours.
    """
    shown: list[str] = []
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    following: list[traceback.TracebackException | None] = [told]
    while following:
        if (found := following.pop()) is not None:
            following += [found.__cause__, found.__context__]
            shown += [
                f"{Path(frame.filename).name}:{frame.lineno} {frame.name}: {name} = {value}"
                for frame in found.stack
                if "glimr_session" in frame.filename
                for name, value in (frame.locals or {}).items()
                if name not in ("environ", "body")
            ]
    return shown


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold the write lock of the database."""
    with closing(sqlite3.connect(directory / "cache.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def done(directory: Path, damage: Callable[[Path], None]) -> Iterator[None]:
    damage(directory)
    yield


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ("read", partial(done, damage=overwrite_pages)),
        ("read", partial(done, damage=make_public)),
        ("put", held),
        ("login", held),
        ("logout", held),
        ("read", held),
    ],
    ids=["opening", "looking", "writing", "regenerating", "destroying", "renewing"],
)
def test_the_variables_of_an_outage_hold_no_secret(
    page: str,
    fault: Callable[[Path], AbstractContextManager[None]],
    tmp_path: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error reporter that shows the variables of each frame shows no id, cookie or key."""
    monkeypatch.setattr("glimr_session.stores.lending._LOOK_EVERY", 0.0)
    with closing(DiskStore(tmp_path / "sessions", timeout=0.01)) as disk:
        world = inside(disk)
        cookie = world.begin("victim")
        watched = Secrets()
        watched.hidden = {KEY, world.get("read", cookie).id, parts(cookie)[-1]}
        disk.close()
        clock.advance(disk.lifetime / 5)
        with fault(disk.directory), pytest.raises(StoreUnavailable) as caught:
            world.get(page, cookie)
    watched.shown = locals_of(caught.value)
    assert any("Exchange object" in line for line in watched.shown)  # they are seen at all
    assert watched.seen() == set()


def test_nothing_inside_shows_an_id_or_a_key(disk: DiskStore) -> None:
    """Whatever of ours a variable can refer to, its repr tells of no secret."""
    session_id, watched = generate_id(), Secrets()
    watched.hidden = {KEY, session_id}
    disk.save(session_id, {"typed": 1}, {"flashed": 2})
    stored = disk.open(session_id)
    assert stored is not None
    opened = SessionState.opened(stored)
    config = SessionConfig(secret_keys=[KEY], gc="never")
    cookie = config.make_cookie(disk)
    pair = cookie.set(session_id, secure=True).partition(";")[0]
    watched.hidden |= {*parts(pair)}
    sessions = Sessions(disk, cookie, lifetime=1.0, policy=never)
    exchange = Exchange(sessions, pair)
    assert exchange.session.get("typed") == 1
    message = Regenerate(session_id)
    things = [
        config, cookie, Signatures([KEY], "salt"), sessions, exchange, exchange.session, disk,
        disk.open, stored, opened, opened.changes, opened.changes._replace(id=session_id),
        state.regenerate(opened, session_id), state.invalidate(opened, session_id),
        state.take_changes(state.put(opened, "typed", 3)[0]), message, Invalidate(session_id),
        Envelope(message), SessionActor(opened), cookie.read(pair), inside(disk),
        *ActorRegistry.get_all(), vars(cookie), vars(disk),
    ]  # fmt: skip
    for thing in things:
        watched.show(thing, [thing], pprint.pformat(thing))
    exchange.abandon()
    assert watched.seen() == set()


def test_rich_shows_no_id_either() -> None:
    """Structs of msgspec have a second repr, which Rich takes for its tracebacks."""
    stored: Any = StoredSession(id=generate_id(), data={"typed": 1})
    watched = Secrets()
    watched.hidden = {stored.id}
    watched.show(*stored.__rich_repr__())
    assert "typed" in "".join(watched.shown)
    assert watched.seen() == set()
