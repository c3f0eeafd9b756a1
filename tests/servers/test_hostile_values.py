"""Hostile values, cookies and headers, on real servers."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Final

import pytest

from tests.servers.test_secrecy import Secrets
from tests.support.hostile import (
    ATTACKS,
    KEY,
    NAME,
    SITE,
    Answer,
    ask,
    check_headers,
    sent,
)
from tests.support.server_apps import SERVE
from tests.support.servers import PATIENCE, Server, running

SERVERS: Final = (*SERVE, "gunicorn")


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
    """Keys, values and flash come back as they were put, and are in no header."""
    for attack in ATTACKS.values():
        left = ask(server.port, f"{store}/leave", key=f"k{attack}", value=f"v{attack}")
        check_headers(left)
        assert left.cookie
        read = ask(server.port, f"{store}/read", sent(left.cookie))
        check_headers(read)
        assert read.shown["data"] == {f"k{attack}": f"v{attack}"}
        assert read.shown["flash"] == {f"k{attack}": f"v{attack}"}


def test_a_cookie_value_that_would_break_a_header_is_an_error_of_ours(server: Server) -> None:
    """Such a value is answered with 500 and logged as a ConfigError."""
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

    ours = "glimr_session.errors.ConfigError: the store's cookie_value() returned characters"
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
    """Two cookie headers lead to the session or an anonymous one, and begin none."""
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
    """The cookie is Secure if the server hands the header on, whatever it says, if anything."""
    answer = ask(server.port, "disk/forwarded", *lines)
    check_headers(answer)
    if answer.status != 400:  # gunicorn refuses contradictions
        assert answer.set_cookies[0].endswith("; Secure") is bool(answer.data["forwarded"])


def test_the_log_of_a_server_holds_no_secret(server: Server) -> None:
    """The log of sessions, logins and refused cookies holds no id, cookie or key."""
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
    for line in (
        "A cookie glimr_session does not",
        "INFO:glimr_session:",
        "cookie_value() returned",
    ):
        while line not in (log := server.log.read_text()):  # some are told once per minute
            assert time.monotonic() < deadline, line
            time.sleep(0.01)
    watched.shown = [line for line in log.splitlines() if "GET /" not in line]
    assert watched.seen() == set()
