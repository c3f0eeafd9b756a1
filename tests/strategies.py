"""What sessions can hold, and what can be done to them, for Hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from hypothesis import strategies as st

from glimr_session import Json, StoredSession, state
from glimr_session.state import SessionState

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)

values: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)

# Few keys, so that operations meet; the empty one and a name of the wire format too.
keys = st.sampled_from(["", "a", "b", "_flash", "ключ\0"])

contents = st.dictionaries(keys, values, max_size=4)

Transition: TypeAlias = Callable[[SessionState], SessionState]


def _then(function: Callable[..., state.Step], *arguments: Any) -> Transition:
    def transition(current: SessionState) -> SessionState:
        try:
            return function(current, *arguments)[0]
        except TypeError:  # increment of what is no number
            return current

    transition.__name__ = f"{function.__name__}{arguments}"
    return transition


edits: st.SearchStrategy[Transition] = st.one_of(
    st.builds(_then, st.just(state.put), keys, values),
    st.builds(_then, st.just(state.put), keys, numbers),
    st.builds(_then, st.just(state.update), contents),
    st.builds(_then, st.just(state.set_default), keys, values),
    st.builds(_then, st.just(state.forget), keys),
    st.builds(_then, st.just(state.pull), keys, st.none()),
    st.builds(_then, st.just(state.increment), keys, numbers),
    st.builds(_then, st.just(state.clear)),
    st.builds(_then, st.just(state.flash), keys, values),
    st.builds(_then, st.just(state.now), keys, values),
    st.builds(_then, st.just(state.keep), st.lists(keys, max_size=2).map(tuple)),
    st.builds(_then, st.just(state.reflash)),
)

moves: st.SearchStrategy[Transition] = st.one_of(
    st.builds(_then, st.just(state.regenerate), st.just("f" * 64)),
    st.builds(_then, st.just(state.invalidate), st.just("e" * 64)),
)

stored = st.builds(StoredSession, id=st.just("0" * 64), data=contents, flash=contents)
