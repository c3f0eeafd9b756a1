"""The values a session can hold are checked and copied."""

from __future__ import annotations

import json
import math
import sys
from collections import OrderedDict
from datetime import date
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

import pytest
from hypothesis import given

from glimr_session import Json
from glimr_session._session.values import (
    MAX_BITS,
    copy_value,
    is_number,
    validate_items,
    validate_key,
    validate_value,
)
from tests.support.ids import name_of
from tests.support.strategies import contents, values


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Pair(NamedTuple):
    first: int
    second: int


@given(values)
def test_a_valid_value_is_what_json_gives_back(value: Json) -> None:
    """A validated value equals its input and what JSON makes of it, types included."""
    valid = validate_value("key", value)
    assert repr(valid) == repr(value) == repr(json.loads(json.dumps(value)))


@given(values)
def test_a_copy_shares_nothing_that_can_be_changed(value: Json) -> None:
    """A copy and a validated value have no list and no dict of the original."""

    def containers(of: Json) -> set[int]:
        inner = of.values() if isinstance(of, dict) else of if isinstance(of, list) else None
        return set() if inner is None else {id(of)}.union(*map(containers, inner))

    for copied in (copy_value(value), validate_value("key", value)):
        assert repr(copied) == repr(value)
        assert not containers(copied) & containers(value)


def test_tuples_become_lists_at_every_level() -> None:
    """A tuple, and a tuple in a tuple, a list or a dict, becomes a list."""
    assert validate_value("key", ((1,), [(2,)], {"a": (3,)})) == [[1], [[2]], {"a": [3]}]


@pytest.mark.parametrize(
    "value",
    [
        date(2026, 1, 1), b"bytes", bytearray(), {1, 2}, frozenset(), object(), Colour.RED,
        Level.LOW, 1j, range(3), Pair(1, 2), OrderedDict(), {1: "one"}, {None: 1}, {b"a": 1},
        {Colour.RED: 1},
    ],
    ids=name_of,
)  # fmt: skip
def test_types_that_json_does_not_have_are_refused(value: Any) -> None:
    """A value of another type raises a TypeError that names the key, at every level."""
    for hostile in (value, [value], {"deep": [value]}):
        with pytest.raises(TypeError, match="'the key'"):
            validate_value("the key", hostile)


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, "\ud800", {"\udfff": 1}, 10**700, 2**MAX_BITS],
    ids=lambda value: repr(value)[:20],
)
def test_values_that_json_does_not_have_are_refused(value: Any) -> None:
    """A value that would not come back raises a ValueError that names the key."""
    for hostile in (value, [value], {"deep": [value]}):
        with pytest.raises(ValueError, match="'the key'"):
            validate_value("the key", hostile)


def test_the_longest_int_can_be_written_whatever_the_limit_of_the_process() -> None:
    """The longest int has as many digits as Python converts under the lowest limit."""
    longest = 2**MAX_BITS - 1
    assert validate_value("key", longest) == longest
    assert len(str(longest)) <= sys.int_info.str_digits_check_threshold


def test_a_hundred_levels_are_the_most() -> None:
    """A value of 100 levels is taken, and one of 101 or one that holds itself is refused."""
    deep: list[Any] = []
    for _ in range(99):
        deep = [deep]
    assert validate_value("key", deep) == deep
    loop: list[Any] = []
    loop.append(loop)
    for hostile in ([deep], loop):
        with pytest.raises(ValueError, match="'key' is nested over 100 levels deep"):
            validate_value("key", hostile)


@pytest.mark.parametrize("key", [1, None, b"a", ("a",), Colour.RED, object()], ids=name_of)
def test_only_text_is_a_key(key: Any) -> None:
    """A key that is no str raises a TypeError."""
    with pytest.raises(TypeError, match="session keys are str"):
        validate_key(key)


def test_a_key_can_be_encoded() -> None:
    """A key with a lone surrogate raises a ValueError, and other text is a key."""
    with pytest.raises(ValueError, match="surrogate"):
        validate_key("\ud800")
    assert [validate_key(key) for key in ("", "a", "\0", "ключ")] == ["", "a", "\0", "ключ"]


@given(contents)
def test_items_are_validated_one_by_one(content: dict[str, Json]) -> None:
    """All items are copied, or the first bad one is refused."""
    assert validate_items(content) == content
    assert validate_items(content) is not content
    with pytest.raises(TypeError, match="'bad'"):
        validate_items({**content, "bad": {1}})


@pytest.mark.parametrize(("value", "number"), [(1, True), (1.0, True), (True, False), ("1", False)])
def test_a_bool_is_no_number(value: Json, number: bool) -> None:
    """Only int and float are numbers."""
    assert is_number(value) is number
