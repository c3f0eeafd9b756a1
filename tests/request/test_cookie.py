"""SessionCookie: what a hostile header can do to it, and what is sent."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimr_session import ConfigError, SessionTooLarge
from glimr_session._request.cookie import SessionCookie
from glimr_session._request.origin import Origin
from glimr_session._request.signing import CookieSigner, VerifiedCookie

KEY = "a first key of 32 characters, at least"


OTHER_KEY = "some other key, long enough for this"


SALT = "the salt of these tests"


NAME = "glimr_session"


SIGNER = CookieSigner([KEY], SALT)


COOKIE = SessionCookie(SIGNER)


SIGNED = SIGNER.sign("ours")


GOOD = f"{NAME}={SIGNED}"


# It verifies too, so whoever takes another cookie for ours finds two.
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
    "ours in two pairs of quotes": f'{NAME}=""{SIGNED}""'.encode(),
    "ours with a quote before": f'{NAME}="{SIGNED}'.encode(),
    "ours with a quote after": f'{NAME}={SIGNED}"'.encode(),
    "ours in quotes with a space": f'{NAME}="{SIGNED} "'.encode(),
    "ours in escaped quotes": f'{NAME}=\\"{SIGNED}\\"'.encode(),
    "a pair of quotes": f'{NAME}=""'.encode(),
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


HTTPS = Origin(https=True, host="testserver")


HTTP_HERE = Origin(https=False, host="localhost")


def values_of(headers: str | Sequence[str], cookie: SessionCookie = COOKIE) -> list[str]:
    """Return the values of all cookies that verify."""
    return [verified.value for verified in cookie.read(headers).verified]


def attributes_of(set_cookie: str) -> set[str]:
    """Return the attributes of a Set-Cookie value; fail if one comes twice."""
    attributes = set_cookie.split("; ")[1:]
    assert len(set(attributes)) == len(attributes)
    return set(attributes)


@hostile
def test_a_hostile_header_alone_is_an_anonymous_request(piece: str) -> None:
    """A header without a good cookie of ours reads as none that verifies."""
    assert values_of(piece) == []


@hostile
@pytest.mark.parametrize("between", [";", "; ", ";\t", " ; ", ";;"])
def test_a_hostile_piece_never_hides_our_cookie(piece: str, between: str) -> None:
    """The cookie is found behind and before any other piece."""
    assert values_of(piece + between + GOOD) == ["ours"]
    assert values_of(GOOD + between + piece) == ["ours"]
    assert values_of(between.join([piece, GOOD, piece])) == ["ours"]


def test_all_hostile_pieces_together_do_not_hide_our_cookie() -> None:
    """The cookie is found between all hostile pieces together."""
    pieces = [*HOSTILE_TEXT.values()]
    assert values_of("; ".join([*pieces, GOOD, *pieces])) == ["ours"]


@pytest.mark.parametrize("around", ["", " ", "\t", " \t \t"])
def test_spaces_and_tabs_around_our_pair_do_not_matter(around: str) -> None:
    """Optional white space around the pair is ignored, as RFC 6265 has it."""
    assert COOKIE.read(f"a=b;{around}{GOOD}{around};c=d") == COOKIE.read(GOOD)
    assert values_of(GOOD) == ["ours"]


@pytest.mark.parametrize("beside", ["", "a=b", f"{NAME}=made-up", f'{NAME}="made-up"'])
def test_a_quoted_value_is_read_as_the_value(beside: str) -> None:
    """A proxy or client that quotes the value, as RFC 6265 lets it, does not end the session."""
    quoted = f'{NAME}="{SIGNED}"'
    assert values_of(f"{beside}; {quoted}") == ["ours"]
    assert values_of(f"{quoted}; {beside}") == ["ours"]
    assert values_of(f"{quoted}; {beside}; {GOOD}") == ["ours"]
    assert values_of([quoted, beside]) == ["ours"]


def test_the_same_value_twice_is_read_with_the_younger_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two cookies with the same value are read as one, with the later time."""
    signed = []
    for now in (1_000.0, 3_000.0, 2_000.0):
        monkeypatch.setattr("time.time", lambda now=now: now)
        signed.append(SIGNER.sign("same"))
    received = COOKIE.read("; ".join(f"{NAME}={value}" for value in signed))
    assert [*received.verified] == [VerifiedCookie("same", 3_000.0)]
    assert received.refused is False


def test_every_value_that_verifies_is_returned_once() -> None:
    """Of several cookies each value that verifies is returned, once."""
    planted = f"{NAME}={PLANTED}"
    assert sorted(values_of(f"{GOOD}; {planted}")) == ["ours", "planted"]
    assert sorted(values_of(f"{planted}; a=b; {GOOD}; {GOOD}; {planted}")) == ["ours", "planted"]


@hostile
def test_a_hostile_header_beside_ours_never_hides_our_cookie(piece: str) -> None:
    """The cookie is found in a list of headers beside any other header."""
    for headers in ([piece, GOOD], [GOOD, piece], [piece, GOOD, piece], (GOOD,)):
        assert values_of(headers) == ["ours"]
    assert values_of([piece, piece]) == []


def test_several_headers_are_read_as_one() -> None:
    """Cookies in several headers are read as if they were in one."""
    assert values_of([]) == values_of(["", ""]) == values_of("") == []
    assert values_of([GOOD, "a=b", GOOD]) == ["ours"]
    planted = f"{NAME}={PLANTED}"
    assert sorted(values_of([GOOD, planted])) == ["ours", "planted"]
    assert sorted(values_of([f"a=b; {planted}", "c=d", GOOD])) == ["ours", "planted"]


@pytest.mark.parametrize(
    ("header", "refused"),
    [
        ("", False),
        ('a="b; c=\x00; d', False),
        (GOOD, False),
        (f"{GOOD}; my_{NAME}=made-up; a={NAME}", False),
        (f"{NAME}=made-up", True),
        (f"{NAME}=", True),
        (f"{GOOD}; {NAME}=made-up", True),
        (f"{NAME}=made-up; {GOOD}", True),
    ],
    ids=lambda value: str(value).replace(SIGNED, "ours"),
)
def test_a_cookie_of_ours_that_does_not_verify_is_told_of(header: str, refused: bool) -> None:
    """Whether a cookie under our name was refused is told, beside a good one too."""
    assert COOKIE.read(header).refused is refused


def test_reading_is_no_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Reading logs nothing, whatever the header: one may warn only when the session is used."""
    with caplog.at_level(logging.DEBUG):
        COOKIE.read("; ".join([*HOSTILE_TEXT.values(), GOOD, f"{NAME}={PLANTED}"]))
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
    constant = 20
    assert twice <= 2 * once + constant
    assert four_times <= 4 * once + constant


any_text = st.text(st.characters(categories=None))  # lone surrogates too


@given(any_text)
def test_reading_any_text_never_raises(header: str) -> None:
    """Reading any text at all finds no cookie that verifies, and never raises."""
    assert values_of(header) == []


@given(
    st.lists(st.sampled_from([GOOD, NAME, SIGNED, ";", "=", '"', ".", " ", "\0", ","]) | any_text)
)
def test_reading_any_mix_of_ours_and_other_pieces_gives_ours_or_nothing(pieces: list[str]) -> None:
    """Reading any mix of our cookie and other pieces finds our value or none."""
    assert values_of("".join(pieces)) in ([], ["ours"])


@given(st.text(OCTETS))
def test_any_value_of_cookie_octets_comes_back_as_it_was_signed(value: str) -> None:
    """Any value of cookie octets is read back as it was signed."""
    pair = COOKIE.set(value, HTTPS).partition(";")[0]
    assert values_of(pair) == [value]
    name, _, signed = pair.partition("=")
    assert values_of(f'{name}="{signed}"') == [value]


def test_the_attributes_are_those_of_the_design() -> None:
    """The cookie has HttpOnly, SameSite=Lax, Path=/, Max-Age and Secure."""
    cookie = SessionCookie(SIGNER, lifetime=7200.0)
    header = cookie.set("x", HTTPS)
    assert header.startswith(f"{NAME}=x.")
    assert attributes_of(header) == {
        "HttpOnly", "Max-Age=7200", "Path=/", "SameSite=Lax", "Secure",
    }  # fmt: skip


def test_a_cookie_that_ends_with_the_browser_has_no_max_age() -> None:
    """A cookie that ends with the browser has no Max-Age, whatever the lifetime."""
    header = SessionCookie(SIGNER, lifetime=7200.0, on_close=True).set("x", HTTP_HERE)
    assert attributes_of(header) == {"HttpOnly", "Path=/", "SameSite=Lax"}


def test_a_lifetime_below_a_second_does_not_end_the_cookie_at_once() -> None:
    """A lifetime below a second does not become Max-Age=0."""
    header = SessionCookie(SIGNER, lifetime=0.5).set("x", HTTP_HERE)
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
        origin = HTTPS if asked else HTTP_HERE
        assert ("Secure" in attributes_of(cookie.set("x", origin))) is secure
        assert ("Secure" in attributes_of(cookie.expire(origin))) is secure


def test_all_attributes_can_be_set() -> None:
    """The cookie has Path, Domain, SameSite and Partitioned as they were set."""
    cookie = SessionCookie(
        SIGNER,
        name="__Secure-s",
        path="/app,1",
        domain="example.com",
        samesite="Strict",
        partitioned=True,
        lifetime=60,
    )
    header = cookie.set("x", HTTP_HERE)
    assert header.startswith("__Secure-s=x.")
    assert attributes_of(header) == {
        "Domain=example.com", "HttpOnly", "Max-Age=60", "Partitioned", "Path=/app,1",
        "SameSite=Strict", "Secure",
    }  # fmt: skip


@pytest.mark.parametrize("on_close", [True, False])
def test_the_end_has_the_same_path_and_domain_and_no_time_left(on_close: bool) -> None:
    """expire() returns the same path and domain with Max-Age=0."""
    cookie = SessionCookie(
        SIGNER, path="/app", domain="example.com", lifetime=7200.0, on_close=on_close
    )
    header = cookie.expire(HTTPS)
    assert header.startswith(f"{NAME}=; ")
    assert attributes_of(header) == {
        "Domain=example.com", "HttpOnly", "Max-Age=0", "Path=/app", "SameSite=Lax", "Secure",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("configured", "own", "expected"),
    [
        (False, {}, "Max-Age=7200"),
        (False, {"lifetime": 60.0}, "Max-Age=60"),
        (False, {"lifetime": 60.0, "on_close": False}, "Max-Age=60"),
        (False, {"on_close": True}, None),
        (False, {"lifetime": 60.0, "on_close": True}, None),
        (True, {}, None),
        (True, {"lifetime": 60.0}, None),
        (True, {"on_close": False}, "Max-Age=7200"),
        (True, {"lifetime": 60.0, "on_close": False}, "Max-Age=60"),
        (True, {"on_close": True}, None),
    ],
    ids=str,
)
def test_a_session_can_have_an_age_of_its_own(
    configured: bool, own: dict[str, Any], expected: str | None
) -> None:
    """What a session says of its own lifetime and its end beats the configuration."""
    cookie = SessionCookie(SIGNER, lifetime=7200.0, on_close=configured)
    attributes = attributes_of(cookie.set("x", HTTPS, **own))
    ages = {attribute for attribute in attributes if attribute.startswith("Max-Age")}
    assert ages == ({expected} if expected else set())
    assert attributes - ages == {"HttpOnly", "Path=/", "SameSite=Lax", "Secure"}


def test_cookies_that_other_settings_may_have_left_are_ended() -> None:
    """expire_others() names each other cookie of path, domain and Partitioned once, not ours."""
    cookie = SessionCookie(SIGNER, path="/app", domain="example.com")
    ended = cookie.expire_others(HTTPS)
    assert all(header.startswith(f"{NAME}=; ") for header in ended)
    same = {"HttpOnly", "Max-Age=0", "SameSite=Lax", "Secure"}
    assert all(same < attributes_of(header) for header in ended)
    places = sorted(sorted(attributes_of(header) - same) for header in ended)
    domain = "Domain=example.com"
    assert places == sorted(
        sorted([*where, *partitioned])
        for where in (["Path=/app", domain], ["Path=/", domain], ["Path=/app"], ["Path=/"])
        for partitioned in ([], ["Partitioned"])
        if (where, partitioned) != (["Path=/app", domain], [])
    )
    assert SessionCookie(SIGNER).expire_others(HTTP_HERE) == []


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
    header = SessionCookie(SIGNER, name="__Host-s").set("x", HTTP_HERE)
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
            COOKIE.set(value, HTTPS)
        assert "stored" not in str(caught.value)


@pytest.mark.parametrize("settings", [{}, {"path": "/a/long/path", "domain": "example.com"}])
def test_a_cookie_of_4096_bytes_is_sent_and_one_more_is_refused(settings: dict[str, str]) -> None:
    """A cookie of 4096 bytes is sent, and one of 4097 bytes is refused."""
    cookie = SessionCookie(SIGNER, lifetime=60, **settings)  # type: ignore[arg-type]  # a table
    room = 4096 - len(cookie.set("", HTTPS))
    assert len(cookie.set("x" * room, HTTPS)) == 4096
    with pytest.raises(SessionTooLarge) as caught:
        cookie.set("x" * (room + 1), HTTPS)
    assert (caught.value.size, caught.value.limit) == (4097, 4096)
    assert "4097" in str(caught.value)
    assert "4096" in str(caught.value)
