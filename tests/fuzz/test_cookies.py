"""Hostile Cookie headers, and the seeds of the fuzzer.

The targets in ``fuzz`` say what is promised of cookies, stored bytes and settings; Hypothesis
makes the inputs here. What was found once stays as an example."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz import cookies
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
def test_reading_takes_memory_in_proportion_to_the_header(piece: Callable[[int], str]) -> None:
    """Reading a header takes memory in proportion to its length."""
    header = f"{cookies.NAME}=" + "".join(map(piece, range(5_000)))
    assert most_memory(lambda: cookies.COOKIE.read(header)) < MEMORY_PER_BYTE * len(header)
