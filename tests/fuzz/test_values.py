"""Hostile values that are put into a session."""

from __future__ import annotations

import datetime
import decimal
from itertools import count
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from fuzz import payload
from glimr_session import SessionStore, SessionTooLarge
from tests.fuzz.inputs import any_text, wrapped
from tests.support.strategies import contents, values


class Text(str):
    """A subclass, which would come back as its base."""

    __slots__ = ()


class Number(float):
    """A subclass, which would come back as its base."""


def holding_itself() -> list[Any]:
    value: list[Any] = []
    value.append([value])
    return value


strange = (
    values
    | any_text
    | st.floats()
    | st.integers(2**2121, 2**2123)
    | st.binary()
    | st.complex_numbers()
    | st.decimals()
    | st.datetimes()
    | st.sets(st.integers())
    | st.integers(97, 102).map(lambda levels: wrapped(levels, lambda inner: [inner]))
    | st.sampled_from(
        [object(), print, Ellipsis, Text("x"), Number(1), holding_itself(), range(3),
         bytearray(b"x"), decimal.Decimal(1), datetime.timedelta(1), frozenset(), iter([]), count()]
    )
)  # fmt: skip


anything = strange | st.recursive(
    values | strange,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.lists(inner, max_size=2).map(tuple)
        | st.dictionaries(st.text() | any_text | st.integers(), inner, max_size=2)
    ),
    max_leaves=3,
)


def as_lists(value: Any) -> Any:
    """Return a value with its tuples turned into lists."""
    if isinstance(value, list | tuple):
        return [as_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: as_lists(item) for key, item in value.items()}
    return value


@given(key=any_text, value=anything, flashed=contents)
@example(key="a", value=float("nan"), flashed={})
@example(key="a", value=2**2122 - 1, flashed={})
@example(key="a", value=2**2122, flashed={})
@example(key="a", value={1}, flashed={})
def test_what_put_takes_comes_back_and_what_it_refuses_is_a_type_or_value_error(
    store: SessionStore, key: str, value: Any, flashed: dict[str, Any]
) -> None:
    """put() raises TypeError or ValueError for every value that would not come back exactly."""
    request = payload.begin(store)
    session = request.session
    try:
        session["there"] = True
        try:
            session.put(key, value)
        except (TypeError, ValueError):
            assert session.all() == {"there": True}
            return
        for name, shown in flashed.items():
            session.flash(name, shown)
        result = request.commit()
    except SessionTooLarge:  # for a cookie
        assert store.max_cookie_size is not None
        return
    finally:
        request.abandon()
    assert result is not None
    assert result.outcome == "stored"
    stored = store.open(result.cookie_value)
    assert stored is not None
    assert repr(stored.data) == repr({"there": True, key: as_lists(value)})
    assert repr(stored.flash) == repr(flashed)
