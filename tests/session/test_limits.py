"""How deep and how long stored JSON can be: the fast check agrees with a plain one."""

from __future__ import annotations

import json
import sys
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from glimr_session._session.serialization import (
    Payload,
    PayloadDecoder,
    _exceeds_limits,  # pyright: ignore[reportPrivateUsage]
)
from glimr_session._session.values import MAX_BITS

# Few levels, so that examples are small; the limit is counted in the same way.
LEVELS: Final = 3


class Everything(Payload):
    """A payload of any size and depth."""


decode_everything = PayloadDecoder(Everything, max_nesting=sys.maxsize)


def levels_of(value: Any) -> int:
    """Return how many lists and dicts are nested in each other."""
    if isinstance(value, dict):
        return 1 + max(map(levels_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(levels_of, value), default=0)
    return 0


def holds_long_int(value: Any) -> bool:
    """Return whether an int in the value has more than MAX_BITS bits."""
    if isinstance(value, dict):
        return any(map(holds_long_int, value.values()))
    if isinstance(value, list):
        return any(map(holds_long_int, value))
    return isinstance(value, int) and value.bit_length() > MAX_BITS


def exceeds_limits(data: Any, flash: Any, max_nesting: int) -> bool:
    """Return what ``_exceeds_limits`` should, by walking through all values."""
    return any(
        levels_of(part) > max_nesting + 1 or holds_long_int(part)  # the part is a level itself
        for part in (data, flash)
    )


def as_bytes(data: Any, flash: Any, *, spaces: bool, ascii_only: bool) -> bytes:
    text = json.dumps(
        {"_data": data, "_flash": flash},
        ensure_ascii=ascii_only,
        indent=1 if spaces else None,
        separators=None if spaces else (",", ":"),
    )
    return text.encode()


def nested(levels: int, inner: Any, kinds: list[bool]) -> Any:
    """Return the inner value in so many lists (True) and dicts (False), in turns."""
    for level in range(levels):
        if kinds[level % len(kinds)]:
            inner = [inner, '[{"\\'] if level % 3 else [inner]
        else:
            inner = {'"]\\': 0, "{": inner} if level % 3 else {"a": inner}
    return inner


def check(data: Any, flash: Any, max_nesting: int, *, spaces: bool, ascii_only: bool) -> None:
    """Fail unless the fast check and the plain one agree about this payload."""
    value = as_bytes(data, flash, spaces=spaces, ascii_only=ascii_only)
    payload = decode_everything(value)
    assert payload is not None
    assert (payload.data, payload.flash) == (data, flash)
    expected = exceeds_limits(data, flash, max_nesting)
    assert _exceeds_limits(value, payload, max_nesting) is expected


# What could be taken for a bracket, for the end of a string, or for a long int.
texts = st.text(st.sampled_from('[]{}"\\:,1a\u00e9/\n'), max_size=6) | st.integers(630, 645).map(
    lambda digits: "7" * digits
)
long_ints = st.builds(
    lambda digits, first, sign: sign * int(first + "9" * (digits - 1)),
    st.integers(636, 642),
    st.sampled_from("1234567"),
    st.sampled_from([1, -1]),
) | st.integers(2**MAX_BITS - 2, 2**MAX_BITS + 2)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)


def trees(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=12,
    )


parts = st.dictionaries(texts, trees(leaves) | trees(leaves | long_ints), max_size=3)


@given(data=parts, flash=parts, spaces=st.booleans(), ascii_only=st.booleans())
@example(data={'"': "\\"}, flash={"\\": ["["] * 9}, spaces=False, ascii_only=True)
@example(data={"a": [[[{}]]]}, flash={}, spaces=False, ascii_only=True)
@example(data={"a": [[["\\\\"]]]}, flash={}, spaces=False, ascii_only=True)
@example(data={}, flash={"a": [{"b": [2**MAX_BITS]}]}, spaces=True, ascii_only=True)
def test_the_fast_check_agrees_with_a_plain_one(
    data: dict[str, Any], flash: dict[str, Any], spaces: bool, ascii_only: bool
) -> None:
    """_exceeds_limits() agrees with a recursive function on every payload."""
    check(data, flash, LEVELS, spaces=spaces, ascii_only=ascii_only)


@given(
    max_nesting=st.sampled_from([100, 320]),
    off=st.integers(-3, 3),
    kinds=st.lists(st.booleans(), min_size=1, max_size=4),
    inner=leaves,
    beside=parts,
    where=st.sampled_from(["data", "flash"]),
    spaces=st.booleans(),
)
def test_the_fast_check_agrees_near_the_real_limits(
    max_nesting: int,
    off: int,
    kinds: list[bool],
    inner: Any,
    beside: dict[str, Any],
    where: str,
    spaces: bool,
) -> None:
    """_exceeds_limits() agrees with a recursive function near 100 and 320 levels."""
    deep = {**beside, "deep": nested(max_nesting + off, inner, kinds)}
    data, flash = (deep, beside) if where == "data" else (beside, deep)
    check(data, flash, max_nesting, spaces=spaces, ascii_only=True)


@given(
    number=long_ints,
    before=st.integers(0, 1_300),
    after=st.integers(0, 1_300),
    kind=st.sampled_from(["text", "digits", "lists"]),
)
def test_a_long_int_is_found_wherever_it_stands(
    number: int, before: int, after: int, kind: str
) -> None:
    """_exceeds_limits() finds an int of too many bits at any place in the bytes."""
    fill: dict[str, Any] = {"text": "x" * before, "digits": "1" * before, "lists": [[]] * before}
    data = {"before": fill[kind], "number": number, "after": "y" * after}
    check(data, {}, 320, spaces=False, ascii_only=True)


@given(
    items=st.lists(
        st.lists(leaves, max_size=4) | st.dictionaries(texts, leaves, max_size=2),
        min_size=1,
        max_size=40,
    ),
    last=st.sampled_from([[], 0, [[[[]]]], 2**MAX_BITS, 2**MAX_BITS - 1]),
    max_nesting=st.sampled_from([2, 100, 320]),
)
def test_a_session_of_20_kb_of_small_lists_is_checked_rightly(
    items: list[Any], last: Any, max_nesting: int
) -> None:
    """_exceeds_limits() agrees with a recursive function about 20 kB of small lists."""
    repeated = items * (20_000 // len(json.dumps(items)) + 1)
    check({"items": [*repeated, last]}, {}, max_nesting, spaces=False, ascii_only=True)


@pytest.mark.parametrize(("levels", "readable"), [(319, True), (320, True), (321, False)])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_store_reads_320_levels_and_no_more(levels: int, readable: bool, opening: str) -> None:
    """A decoder reads 320 levels of lists or dicts and refuses 321."""
    closing = "]" if opening == "[" else "}"
    value = f'{{"_data":{{"a":{opening * levels}1{closing * levels}}}}}'
    if opening == "[":
        value = value.replace("1", "")
    assert (PayloadDecoder(Payload)(value.encode()) is not None) is readable
