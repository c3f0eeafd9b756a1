"""Hostile Cookie headers, and the seeds of the fuzzer.

The targets in ``fuzz`` say what is promised of cookies, stored bytes and settings; Hypothesis
makes the inputs here. What was found once stays as an example."""

from __future__ import annotations

import importlib
import string
import time
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz import cookies
from glimr_session._request.cookie import SessionCookie
from glimr_session._request.signing import CookieSigner
from tests.fuzz.inputs import MEMORY_PER_BYTE, any_text, damaged, most_memory


@pytest.mark.parametrize("name", ["cookies", "payload", "config"])
def test_every_target_holds_for_its_seeds(name: str) -> None:
    """Every target of the fuzzer holds for its own seeds."""
    target = importlib.import_module(f"fuzz.{name}")
    for seed in target.seeds():
        target.run(seed)


stamps = (
    st.text("0123456789abcdefABCDEFx_+-. \t\v\n\u0661\uff11")
    | st.integers(min_value=0).map("{:x}".format)
    | st.sampled_from(["f" * 300, "f" * 100_000, "-1", "1_0", "0x1", " 1 ", "nan", "inf", "1e9"])
)


signed = st.builds("\x03{}{}\x03".format, st.sampled_from(["ours.", "a.b.", ".", ""]), stamps)


pieces = st.sampled_from(["\x01", "\x02", cookies.NAME, "=", ";", "; ", ".", '"', "\t", ",", "\0"])


@given(st.lists(signed | pieces | any_text).map("".join))
@example("\x03ours." + "f" * 300 + "\x03")  # a number of milliseconds that no float holds
@example("\x030x1\x03")  # signed, but not with a time
def test_a_header_gives_what_was_signed_or_nothing(text: str) -> None:
    """Reading any header returns what was signed or nothing."""
    cookies.check(text)


@given(
    damaged(
        st.lists(st.sampled_from([cookies.OURS, cookies.OTHER, "a=b", ""]), min_size=1).map(
            lambda parts: "; ".join(parts).encode()
        )
    )
)
def test_a_damaged_header_gives_what_was_signed_or_nothing(header: bytes) -> None:
    """Reading a damaged header returns what was signed or nothing."""
    values = [read.value for read in cookies.COOKIE.read(header.decode("latin-1")).verified]
    assert values in ([], ["ours"], ["other"], ["ours", "other"], ["other", "ours"])


NOW = 1_775_000_000.123
GRACE = 300.0
HEX_DIGITS = frozenset("0123456789abcdef")
BASE64 = frozenset(string.ascii_letters + string.digits + "-_")
graced = SessionCookie(CookieSigner(["a key that has signed none of these"], "x", grace=GRACE))

# What looks like a cookie of ours, more or less, a moment ago, more or less.
almost = st.builds(
    "{}.{}.{}".format,
    st.sampled_from(["a", "a.b", "", ".", '"', "\u0661"]),
    st.floats(NOW - GRACE - 5, NOW + 65).map(lambda at: f"{int(at * 1000):x}") | stamps,
    st.text("aB9-_", min_size=42, max_size=44)
    | st.sampled_from(["A" * 43, "+" * 43, "é" * 43, ""]),
)


def is_recent(value: str) -> bool:
    """Whether a value has the form of ours, and a time within the grace."""
    stamped, _, signature = value.rpartition(".")
    inner, _, stamp = stamped.rpartition(".")
    if not inner or not all("!" <= character <= "~" for character in inner):
        return False
    if not 1 <= len(stamp) <= 16 or not HEX_DIGITS.issuperset(stamp):
        return False
    if len(signature) != 43 or not BASE64.issuperset(signature):
        return False
    return -60 <= NOW - int(stamp, 16) / 1000 <= GRACE


@given(st.lists(almost | stamps | pieces | any_text | st.just(f";{cookies.NAME}=")).map("".join))
@example(f"a.{int(NOW * 1000):x}.{'A' * 43}")
@example(f'"a.{int(NOW * 1000):x}.{"A" * 43}"')
@example(f"a.{int(NOW * 1000) - 300_000:x}.{'A' * 43}")
@example(f"a.{int(NOW * 1000) - 300_001:x}.{'A' * 43}")
@example(f"a.{int(NOW * 1000):x}.{'é' * 43}")
@example(f"a.{'f' * 100_000}.{'A' * 43}")
def test_the_grace_is_given_for_form_and_time_alone(text: str) -> None:
    """Any header is read, and a cookie has the grace if, and only if, form and time are right."""
    header = f"{cookies.NAME}={text}"
    values = [
        part.strip(" \t").removeprefix(f"{cookies.NAME}=")
        for part in header.split(";")
        if part.strip(" \t").startswith(f"{cookies.NAME}=")
    ]
    bare = [v[1:-1] if v.startswith('"') and v.endswith('"') else v for v in values]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: NOW)
        received = graced.read(header)
    assert received.verified == ()
    assert received.newer is any(map(is_recent, bare))
    assert cookies.COOKIE.read(header).newer is False  # it has no grace


@pytest.mark.parametrize("cookie", [cookies.COOKIE, graced], ids=["no grace", "grace"])
@pytest.mark.parametrize(
    "piece",
    [
        lambda n: ";",
        lambda n: "ab;",
        lambda n: f"{cookies.NAME};",
        lambda n: f"{cookies.NAME}={n:x};",
        lambda n: f"{cookies.NAME}={n:x}.0.{'A' * 43};",
        lambda n: "A",
        lambda n: "\xff",
    ],
    ids=["semicolons", "words", "names", "values", "signatures", "a long value", "Latin-1"],
)
def test_reading_takes_memory_in_proportion_to_the_header(
    piece: Callable[[int], str], cookie: SessionCookie
) -> None:
    """Reading a header takes memory in proportion to its length."""
    header = f"{cookies.NAME}=" + "".join(map(piece, range(5_000)))
    assert most_memory(lambda: cookie.read(header)) < MEMORY_PER_BYTE * len(header)
