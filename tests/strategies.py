"""What sessions can hold, and what can be done to them, for Hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from glimr_session import StoredSession, state
from glimr_session.state import SessionState
from glimr_session.testing.contract import Transition, contents, keys, numbers, texts, values

__all__ = [
    "Transition",
    "contents",
    "edits",
    "keys",
    "moves",
    "numbers",
    "stored",
    "texts",
    "values",
]


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
