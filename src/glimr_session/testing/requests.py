"""Requests to a store, step by step, and values to put: what the contract is tested with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from hypothesis import strategies as st

from .._ids import generate_id, owner_key
from .._session.changes import Changes
from .._session.messages import (
    BelongTo,
    ExpireAfter,
    Flash,
    Forget,
    Increment,
    Invalidate,
    Put,
    Regenerate,
)
from .._session.serialization import Owner
from .._session.state import SessionState
from .._session.values import Json
from ..stores.base import CommitResult, SessionStore

__all__ = [
    "ABSOLUTE",
    "COLLECTED",
    "LIFETIME",
    "Clock",
    "Request",
    "Transition",
    "add_flash",
    "begin",
    "belong_to",
    "changed",
    "content",
    "contents",
    "expire_after",
    "flash",
    "forget",
    "increment",
    "invalidate",
    "keeps_own_lifetime",
    "keys",
    "numbers",
    "put",
    "regenerate",
    "texts",
    "to",
    "values",
]

Transition: TypeAlias = Callable[[SessionState], object]
"""Changes the state of a session, as a message does."""

LIFETIME: Final = 600.0
"""The idle timeout of the store under test, in seconds."""

ABSOLUTE: Final = 3600.0
"""Its absolute timeout, in seconds."""

COLLECTED: Final = LIFETIME + 6 * 3600
"""Seconds after its last use by which a store has had every reason to collect a session."""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
values: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)

# Few keys, so that operations meet; the empty one and a name of the cookie_value format too.
keys = st.sampled_from(["", "a", "b", "_flash", "ключ\0"])

contents = st.dictionaries(keys, values, max_size=4)


class Clock:
    """The time of day, moved by the test.

    Args:
        now: seconds since the epoch.
        follow: is told each new time.
    """

    def __init__(self, now: float, follow: Callable[[float], None] = lambda _now: None) -> None:
        self._now = now
        self._follow = follow

    def __call__(self) -> float:
        return self._now

    @property
    def now(self) -> float:
        """Seconds since the epoch; set it to any time."""
        return self._now

    @now.setter
    def now(self, now: float) -> None:
        self._now = now
        self._follow(now)

    def advance(self, seconds: float) -> None:
        """Let some time pass."""
        self.now += seconds


def put(key: str, value: Json) -> Transition:
    return Put(key, value).apply


def flash(key: str, value: Json) -> Transition:
    return Flash(key, value).apply


def increment(key: str) -> Transition:
    return Increment(key, 1).apply


def forget(key: str) -> Transition:
    return Forget(key).apply


def add_flash(key: str, value: Json) -> Transition:
    return Flash(key, value, add=True).apply


def expire_after(seconds: float) -> Transition:
    return ExpireAfter(seconds).apply


def belong_to(owner: str | int | None, **noted: Json) -> Transition:
    key = "" if owner is None else owner_key(owner)
    return BelongTo(Owner(key, noted=noted)).apply


def regenerate(current: SessionState) -> None:
    Regenerate(generate_id()).apply(current)


def to(new_id: str) -> Transition:
    return Regenerate(new_id).apply


def invalidate(current: SessionState) -> None:
    Invalidate(generate_id()).apply(current)


def changed(state: SessionState, transition: Transition) -> Changes:
    """Return the changes that a transition makes to a state."""
    transition(state)
    return state.changes


def begin(store: SessionStore, *transitions: Transition) -> str:
    """Begin a session and return its cookie value."""
    cookie_value = Request(store, None).commit(*transitions or (put("a", 1),))
    assert cookie_value
    return cookie_value


class Request:
    """A request: it opens a session, and commits what it did to it."""

    def __init__(self, store: SessionStore, cookie_value: str | None) -> None:
        self.store = store
        base = None if cookie_value is None else store.open(cookie_value)
        assert cookie_value is None or base is not None
        self.cookie_value = cookie_value or ""
        self.state = SessionState.new(generate_id()) if base is None else SessionState.opened(base)

    def answer(self, *transitions: Transition, wait: bool = True) -> CommitResult:
        """Commit and return the result."""
        for transition in transitions:
            transition(self.state)
        return self.store.commit(self.state.changes, wait=wait)

    def commit(self, *transitions: Transition) -> str:
        """Commit a session that is still there; return the cookie value, or ""."""
        result = self.answer(*transitions)
        assert result.outcome in ("stored", "empty")
        return result.cookie_value

    def touch(self) -> bool:
        """Touch the session by its cookie value."""
        return self.store.touch(self.cookie_value)


def content(
    store: SessionStore, cookie_value: str
) -> tuple[dict[str, Json], dict[str, Json]] | None:
    """Return data and flash behind a cookie value, or None."""
    found = store.open(cookie_value)
    return None if found is None else (found.data, found.flash)


def keeps_own_lifetime(store: SessionStore, cookie_value: str) -> bool:
    """Whether the store keeps what ``expire_after`` said; five functions cannot."""
    found = store.open(cookie_value)
    return found is not None and found.lifetime > 0
