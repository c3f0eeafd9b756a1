"""SessionCookie: what a hostile header can do to it, and what is sent."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimr_session import ConfigError, SessionTooLarge
from glimr_session._request.cookie import SessionCookie
from glimr_session._request.signing import CookieSigner

KEY = "a first key of 32 characters, at least"


OTHER_KEY = "some other key, long enough for this"


SALT = "the salt of these tests"


NAME = "glimr_session"


SIGNER = CookieSigner([KEY], SALT)


COOKIE = SessionCookie(SIGNER)


SIGNED = SIGNER.sign("ours")


GOOD = f"{NAME}={SIGNED}"


# It verifies too, so whoever takes another cookie for ours finds two, and takes neither.
PLANTED = SIGNER.sign("planted")


# RFC 6265, section 4.1.1: what a cookie's value can be made of.
OCTETS = "".join(character for character in map(chr, range(0x21, 0x7F)) if character not in '",;\\')


# Pieces of a Cookie header as they come over the wire. None holds a cookie of ours that
# verifies, so each alone is an anonymous request, and beside ours none may hide it.
HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "one space": b" ",
    "only semicolons": b";;;;;;",
    "semicolons and tabs": b";\t;\t;",
    "only an equals sign": b"=",
    "equals signs": b"==;=;==",
    "no name": b"=value",
    "no equals sign": b"value",
    "no equals sign, with spaces": b"some words",
    "two equals signs": b"a==b=c",
    "no semicolon between": b"a=b c=d",
    "only a quote": b'"',
    "a quote that is not closed": b'a="b',
    "a quote that is not opened": b'a=b"',
    "a quoted semicolon": b'a="b;c"',
    "an escaped quote": b'a="b\\"; c',
    "a backslash at the end": b"a=\\",
    "quotes in quotes": b'a="b"c"d"',
    "doubled quotes": b'a=""b""',
    "a quote of the other kind": b"a='b",
    "an octal escape that is none": b'a="\\999"',
    "NUL": b"\x00",
    "NULs around a pair": b"\x00a=b\x00",
    "control characters": bytes(range(0x20)) + b"\x7f",
    "a line break": b"a=b\r\nSet-Cookie: c=d",
    "Latin-1": bytes(range(0x80, 0x100)),
    "UTF-8": "naïve=é; 名=值".encode(),
    "bytes that are no UTF-8": b"\xc3\x28=\xff\xfe",
    "a byte order mark": b"\xef\xbb\xbfa=b",
    "a huge value": b"a=" + b"x" * 100_000,
    "a huge name": b"x" * 100_000 + b"=a",
    "a huge word": b"x" * 100_000,
    "thousands of cookies": b"; ".join(b"c%d=%d" % (n, n) for n in range(5_000)),
    "thousands of semicolons": b";" * 50_000,
    "thousands of quotes": b'a="' * 5_000,
    "commas": b"a=b, c=d,e=f",
    "our name after a comma": f"a=b,{NAME}={PLANTED}".encode(),
    "the version of RFC 2965": b'$Version="1"; a="b"; $Path="/"; $Domain="example.com"',
    "our name as a prefix": f"{NAME}2={PLANTED}; {NAME}s=x".encode(),
    "our name as a suffix": f"my_{NAME}={PLANTED}; __Host-{NAME}=x".encode(),
    "our name in the middle": f"my_{NAME}_2={PLANTED}".encode(),
    "our name as a value": f"a={NAME}".encode(),
    "our cookie as a value": f"a={NAME}={PLANTED}".encode(),
    "our cookie as a quoted value": f'a="{NAME}={PLANTED}"'.encode(),
    "our name quoted": f'"{NAME}"={PLANTED}'.encode(),
    "our name in capitals": f"{NAME.upper()}={PLANTED}; {NAME.title()}={PLANTED}".encode(),
    "our name percent-encoded": f"glimr%5Fsession={PLANTED}".encode(),
    "our name and a space": f"{NAME} ={PLANTED}".encode(),
    "our name and a NUL": f"{NAME}\0={PLANTED}".encode(),
    "our name after a NUL": f"\0{NAME}={PLANTED}".encode(),
    "our name after a vertical tab": f"\v{NAME}={PLANTED}".encode(),
    "our name after a no-break space": f"\xa0{NAME}={PLANTED}".encode("latin-1"),
    "our name after a line break": f"\n{NAME}={PLANTED}".encode(),
    "our name alone": NAME.encode(),
    "our name and nothing": f"{NAME}=".encode(),
    "our name and a quote": f'{NAME}="'.encode(),
    "ours, quoted": f'{NAME}="{SIGNED}"'.encode(),
    "ours, single-quoted": f"{NAME}='{SIGNED}'".encode(),
    "ours, cut at the front": f"{NAME}={SIGNED[1:]}".encode(),
    "ours, cut at the end": f"{NAME}={SIGNED[:-1]}".encode(),
    "ours, cut in the middle": f"{NAME}={SIGNED[: len(SIGNED) // 2]}".encode(),
    "ours without its signature": f"{NAME}={SIGNED.rpartition('.')[0]}".encode(),
    "ours with an empty signature": f"{NAME}={SIGNED.rpartition('.')[0]}.".encode(),
    "ours twice over": f"{NAME}={SIGNED}{SIGNED}".encode(),
    "ours with a changed value": f"{NAME}=hours{SIGNED[4:]}".encode(),
    "ours with a NUL": f"{NAME}={SIGNED}\0".encode(),
    "ours with a space inside": f"{NAME}={SIGNED[:10]} {SIGNED[10:]}".encode(),
    "ours and a comma": f"{NAME}={SIGNED},{SIGNED}".encode(),
    "ours in Latin-1": f"{NAME}=é{SIGNED}".encode("latin-1"),
    "ours, percent-encoded": f"{NAME}={SIGNED.replace('.', '%2E')}".encode(),
    "a made-up value": f"{NAME}={'0' * 64}".encode(),
    "a made-up value with dots": f"{NAME}=a.b.c.d.e.f".encode(),
    "only dots": f"{NAME}={'.' * 1_000}".encode(),
    "a huge made-up value": f"{NAME}={'A' * 100_000}".encode(),
    "a huge made-up signature": f"{NAME}=ours.1.{'A' * 100_000}".encode(),
    "many made-up values": "; ".join(f"{NAME}={n}" for n in range(1_000)).encode(),
    "the signature of another key": f"{NAME}={CookieSigner([OTHER_KEY], SALT).sign('x')}".encode(),
    "the signature of another salt": f"{NAME}={CookieSigner([KEY], 'other').sign('x')}".encode(),
}


# What a header's bytes never decode to in WSGI, but other servers' might.
HOSTILE_TEXT: dict[str, str] = {
    "a lone surrogate": "\ud800",
    "surrogates from undecodable bytes": b"a=\xff\xfe".decode("utf-8", "surrogateescape"),
    "ours and a lone surrogate": f"{NAME}={SIGNED}\udcff",
    "a lone surrogate in our name": f"\udcff{NAME}={PLANTED}",
    "outside the basic plane": f"{NAME}=\U0001f36a",
    "digits that are not ASCII": f"{NAME}=ours.\u0661.x",
    "a space that is not ASCII": f"\u2003{NAME}={PLANTED}",
    "a name that folds to ours": f"glimr_\u017fession={PLANTED}",
    **{what: piece.decode("latin-1") for what, piece in HOSTILE.items()},
}


hostile = pytest.mark.parametrize("piece", HOSTILE_TEXT.values(), ids=HOSTILE_TEXT.keys())


def value_of(header: str, cookie: SessionCookie = COOKIE) -> str | None:
    verified = cookie.read(header)
    return None if verified is None else verified.value


def attributes_of(set_cookie: str) -> set[str]:
    """Return the attributes of a Set-Cookie value; fail if one comes twice."""
    attributes = set_cookie.split("; ")[1:]
    assert len(set(attributes)) == len(attributes)
    return set(attributes)


@hostile
def test_a_hostile_header_alone_is_an_anonymous_request(piece: str) -> None:
    """A header without a good cookie of ours reads as None."""
    assert COOKIE.read(piece) is None


@hostile
@pytest.mark.parametrize("between", [";", "; ", ";\t", " ; ", ";;"])
def test_a_hostile_piece_never_hides_our_cookie(piece: str, between: str) -> None:
    """The cookie is found behind and before any other piece."""
    assert value_of(piece + between + GOOD) == "ours"
    assert value_of(GOOD + between + piece) == "ours"
    assert value_of(between.join([piece, GOOD, piece])) == "ours"


def test_all_hostile_pieces_together_do_not_hide_our_cookie() -> None:
    """The cookie is found between all hostile pieces together."""
    pieces = [*HOSTILE_TEXT.values()]
    assert value_of("; ".join([*pieces, GOOD, *pieces])) == "ours"


@pytest.mark.parametrize("around", ["", " ", "\t", " \t \t"])
def test_spaces_and_tabs_around_our_pair_do_not_matter(around: str) -> None:
    """Optional white space around the pair is ignored, as RFC 6265 has it."""
    assert value_of(f"a=b;{around}{GOOD}{around};c=d") == "ours"


def test_the_same_value_twice_is_read_with_the_younger_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two cookies with the same value are read as one, with the later time."""
    signed = []
    for now in (1_000.0, 3_000.0, 2_000.0):
        monkeypatch.setattr("time.time", lambda now=now: now)
        signed.append(SIGNER.sign("same"))
    verified = COOKIE.read("; ".join(f"{NAME}={value}" for value in signed))
    assert verified == ("same", 3_000.0)


def test_two_values_that_both_verify_make_the_request_anonymous(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two different cookies that verify make the request anonymous with a warning."""
    for header in (f"{GOOD}; {NAME}={PLANTED}", f"{NAME}={PLANTED}; a=b; {GOOD}; {GOOD}"):
        caplog.clear()
        assert COOKIE.read(header) is None
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert PLANTED not in caplog.text
        assert SIGNED not in caplog.text


@hostile
def test_a_hostile_header_beside_ours_never_hides_our_cookie(piece: str) -> None:
    """The cookie is found in a list of headers beside any other header."""
    for headers in ([piece, GOOD], [GOOD, piece], [piece, GOOD, piece], (GOOD,)):
        verified = COOKIE.read(headers)
        assert verified is not None
        assert verified.value == "ours"
    assert COOKIE.read([piece, piece]) is None


def test_several_headers_are_read_as_one(caplog: pytest.LogCaptureFixture) -> None:
    """Two different cookies that verify make the request anonymous across headers, too."""
    assert COOKIE.read([]) is None
    assert COOKIE.read(["", ""]) is None
    assert value_of("; ".join([GOOD, GOOD])) == "ours"
    verified = COOKIE.read([GOOD, "a=b", GOOD])
    assert verified is not None
    assert verified.value == "ours"
    for headers in ([GOOD, f"{NAME}={PLANTED}"], [f"a=b; {NAME}={PLANTED}", "c=d", GOOD]):
        caplog.clear()
        assert COOKIE.read(headers) is None
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert PLANTED not in caplog.text


def test_a_refused_cookie_is_one_log_line_without_the_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Any number of forged cookies in a header logs one line without their values."""
    header = "; ".join(f"{NAME}=made-up-{number}" for number in range(50))
    with caplog.at_level(logging.DEBUG):
        assert COOKIE.read(header) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "made-up" not in caplog.text


def test_a_header_without_our_cookie_is_no_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A header without a cookie of ours logs nothing."""
    with caplog.at_level(logging.DEBUG):
        assert COOKIE.read('a="b; c=\x00; d') is None
    assert caplog.text == ""


def work(header: str) -> int:
    """Return how many calls and returns, Python's and C's, reading a header takes."""
    count = 0

    def counting(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += 1

    before = sys.getprofile()
    sys.setprofile(counting)
    try:
        COOKIE.read(header)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(
    "make",
    [
        lambda n: ";" * n,
        lambda n: "; ".join(f"c{i}={i}" for i in range(n)) + f"; {GOOD}",
        lambda n: "; ".join(f"{NAME}={i}" for i in range(n)),
        lambda n: "; ".join(f"{NAME}={i}.1.AAAA" for i in range(n)),
        lambda n: "; ".join([GOOD] * n),
        lambda n: "; ".join(f"a={NAME}" for _ in range(n)),
        lambda n: f'{NAME}="' * n,
        lambda n: "a=" + '"\\' * n + f"; {GOOD}",
        lambda n: f"{NAME}=" + "A" * n,
        lambda n: f"{NAME}=" + "." * n,
        lambda n: f"{NAME}=" + "=" * n,
        lambda n: " \t" * n + f"; {GOOD}",
    ],
    ids=[
        "semicolons", "other cookies", "made-up values", "made-up signatures", "copies of ours",
        "our name as a value", "quotes", "escapes", "a long value", "dots", "equals signs",
        "white space",
    ],
)  # fmt: skip
def test_reading_takes_work_linear_in_the_header(make: Callable[[int], str]) -> None:
    """Reading a header of twice the length takes at most twice the calls."""
    work(GOOD)  # keys are derived once
    once, twice, four_times = (work(make(n)) for n in (1_000, 2_000, 4_000))
    constant = 100  # a log line is some dozens of calls
    assert twice <= 2 * once + constant
    assert four_times <= 4 * once + constant


any_text = st.text(st.characters(categories=None))  # lone surrogates too


@given(any_text)
def test_reading_any_text_never_raises(header: str) -> None:
    """Reading any text at all returns None and never raises."""
    assert COOKIE.read(header) is None


@given(
    st.lists(st.sampled_from([GOOD, NAME, SIGNED, ";", "=", '"', ".", " ", "\0", ","]) | any_text)
)
def test_reading_any_mix_of_ours_and_other_pieces_gives_ours_or_nothing(pieces: list[str]) -> None:
    """Reading any mix of our cookie and other pieces returns our value or None."""
    assert value_of("".join(pieces)) in (None, "ours")


@given(st.text(OCTETS))
def test_any_value_of_cookie_octets_comes_back_as_it_was_signed(value: str) -> None:
    """Any value of cookie octets is read back as it was signed."""
    header = COOKIE.set(value, secure=True)
    assert value_of(header.partition(";")[0]) == value


def test_the_attributes_are_those_of_the_design() -> None:
    """The cookie has HttpOnly, SameSite=Lax, Path=/, Max-Age and Secure."""
    cookie = SessionCookie(SIGNER, max_age=7200.0)
    header = cookie.set("x", secure=True)
    assert header.startswith(f"{NAME}=x.")
    assert attributes_of(header) == {
        "HttpOnly", "Max-Age=7200", "Path=/", "SameSite=Lax", "Secure",
    }  # fmt: skip


def test_a_cookie_that_ends_with_the_browser_has_no_max_age() -> None:
    """A cookie without a lifetime has no Max-Age."""
    header = SessionCookie(SIGNER, max_age=None).set("x", secure=False)
    assert attributes_of(header) == {"HttpOnly", "Path=/", "SameSite=Lax"}


def test_a_lifetime_below_a_second_does_not_end_the_cookie_at_once() -> None:
    """A lifetime below a second does not become Max-Age=0."""
    header = SessionCookie(SIGNER, max_age=0.5).set("x", secure=False)
    assert "Max-Age=0" not in attributes_of(header)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"secure": None}, {True: True, False: False}),
        ({"secure": True}, {True: True, False: True}),
        ({"secure": False}, {True: False, False: False}),
        ({"name": "__Host-s"}, {True: True, False: True}),
        ({"name": "__secure-s"}, {True: True, False: True}),
        ({"samesite": "None"}, {True: True, False: True}),
        ({"partitioned": True}, {True: True, False: True}),
    ],
    ids=str,
)
def test_secure_is_as_configured_or_as_the_request_asks(
    settings: dict[str, Any], expected: dict[bool, bool]
) -> None:
    """The setting, or what browsers tie to Secure, beats what the request asks for."""
    cookie = SessionCookie(SIGNER, **settings)
    for asked, secure in expected.items():
        assert ("Secure" in attributes_of(cookie.set("x", secure=asked))) is secure
        assert ("Secure" in attributes_of(cookie.expire(secure=asked))) is secure


def test_all_attributes_can_be_set() -> None:
    """The cookie has Path, Domain, SameSite and Partitioned as they were set."""
    cookie = SessionCookie(
        SIGNER,
        name="__Secure-s",
        path="/app,1",
        domain="example.com",
        samesite="Strict",
        partitioned=True,
        max_age=60,
    )
    header = cookie.set("x", secure=False)
    assert header.startswith("__Secure-s=x.")
    assert attributes_of(header) == {
        "Domain=example.com", "HttpOnly", "Max-Age=60", "Partitioned", "Path=/app,1",
        "SameSite=Strict", "Secure",
    }  # fmt: skip


@pytest.mark.parametrize("max_age", [None, 7200.0])
def test_the_end_has_the_same_path_and_domain_and_no_time_left(max_age: float | None) -> None:
    """expire() returns the same path and domain with Max-Age=0."""
    cookie = SessionCookie(SIGNER, path="/app", domain="example.com", max_age=max_age)
    header = cookie.expire(secure=True)
    assert header.startswith(f"{NAME}=; ")
    assert attributes_of(header) == {
        "Domain=example.com", "HttpOnly", "Max-Age=0", "Path=/app", "SameSite=Lax", "Secure",
    }  # fmt: skip


CONTRADICTIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({"name": "__Host-s", "path": "/app"}, ["__Host-s", "cookie_path", "/app"]),
    ({"name": "__Host-s", "domain": "example.com"}, ["__Host-s", "cookie_domain", "example.com"]),
    ({"name": "__host-s", "path": "/app"}, ["__host-s", "cookie_path", "/app"]),
    ({"name": "__Host-s", "secure": False}, ["__Host-s", "cookie_secure", "false"]),
    ({"name": "__Secure-s", "secure": False}, ["__Secure-s", "cookie_secure", "false"]),
    ({"samesite": "None", "secure": False}, ["cookie_samesite", "None", "cookie_secure"]),
    ({"partitioned": True, "secure": False}, ["cookie_partitioned", "cookie_secure"]),
    ({"samesite": "lax"}, ["cookie_samesite", "'lax'", "Lax", "Strict", "None"]),
    ({"samesite": ""}, ["cookie_samesite", "''", "Lax", "Strict", "None"]),
]


@pytest.mark.parametrize(("settings", "named"), CONTRADICTIONS, ids=str)
def test_what_browsers_would_reject_is_refused_at_start(
    settings: dict[str, Any], named: list[str]
) -> None:
    """A cookie that browsers would reject raises ConfigError, which names both settings."""
    with pytest.raises(ConfigError) as caught:
        SessionCookie(SIGNER, **settings)
    assert [word for word in named if word not in str(caught.value)] == []


def test_a_host_cookie_without_path_and_domain_is_fine() -> None:
    """A __Host- cookie with Path=/ and no domain is accepted."""
    header = SessionCookie(SIGNER, name="__Host-s").set("x", secure=False)
    assert attributes_of(header) == {"HttpOnly", "Path=/", "SameSite=Lax", "Secure"}


CONTROLS = [*map(chr, range(0x20)), "\x7f", "\x80", "\x9f"]


FORBIDDEN = [*CONTROLS, ";", " ", "\xa0", "\xe9", "\u2028", "\ud800"]


@pytest.mark.parametrize("character", FORBIDDEN, ids=ascii)
@pytest.mark.parametrize(
    ("setting", "before", "after"),
    [("name", "se", "on"), ("path", "/a", "b"), ("domain", "example", "com")],
)
def test_characters_that_would_break_the_header_are_refused(
    setting: str, before: str, after: str, character: str
) -> None:
    """Characters that would break the header are refused in name, path and domain."""
    for text in (before + character + after, before + after + character):
        with pytest.raises(ConfigError) as caught:
            SessionCookie(SIGNER, **{setting: text})  # type: ignore[arg-type]  # a table
        assert repr(text) in str(caught.value)


@pytest.mark.parametrize("name", ["", "a=b", "a,b", '"a"', "a(b)", "a/b", "a@b", "a[b]", "a\\b"])
def test_names_that_are_no_token_are_refused(name: str) -> None:
    """A cookie name that is not a token of RFC 6265 is refused."""
    with pytest.raises(ConfigError, match=r"^cookie: "):
        SessionCookie(SIGNER, name=name)


@pytest.mark.parametrize("path", ["", "app", "app/"])
def test_paths_that_do_not_begin_with_a_slash_are_refused(path: str) -> None:
    """A path that does not begin with a slash is refused."""
    with pytest.raises(ConfigError, match=r"^cookie_path: "):
        SessionCookie(SIGNER, path=path)


@pytest.mark.parametrize("domain", ["a,b", "http://example.com", "example.com/", "a:80", "-"])
def test_domains_that_are_none_are_refused(domain: str) -> None:
    """A domain that is not a bare host name is refused."""
    with pytest.raises(ConfigError, match=r"^cookie_domain: "):
        SessionCookie(SIGNER, domain=domain)


@pytest.mark.parametrize("character", [*FORBIDDEN, ",", '"', "\\"], ids=ascii)
def test_a_value_that_no_cookie_can_hold_is_refused(character: str) -> None:
    """A store's cookie_value that no cookie can hold is refused and not quoted."""
    for value in (f"stored{character}value", f"stored-value{character}"):
        with pytest.raises(ConfigError, match="cookie_value") as caught:
            COOKIE.set(value, secure=True)
        assert "stored" not in str(caught.value)


@pytest.mark.parametrize("settings", [{}, {"path": "/a/long/path", "domain": "example.com"}])
def test_a_cookie_of_4096_bytes_is_sent_and_one_more_is_refused(settings: dict[str, str]) -> None:
    """A cookie of 4096 bytes is sent, and one of 4097 bytes is refused."""
    cookie = SessionCookie(SIGNER, max_age=60, **settings)  # type: ignore[arg-type]  # a table
    room = 4096 - len(cookie.set("", secure=True))
    assert len(cookie.set("x" * room, secure=True)) == 4096
    with pytest.raises(SessionTooLarge) as caught:
        cookie.set("x" * (room + 1), secure=True)
    assert (caught.value.size, caught.value.limit) == (4097, 4096)
    assert "4097" in str(caught.value)
    assert "4096" in str(caught.value)
