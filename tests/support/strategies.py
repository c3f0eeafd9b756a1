"""What sessions can hold, and what can be done to them, for Hypothesis."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from hypothesis import strategies as st

from glimr_session import StoredSession
from glimr_session._session import messages
from glimr_session._session.changes import ABSENT, Merged
from glimr_session._session.messages import Message
from glimr_session._session.serialization import Owner
from glimr_session._session.state import SessionState
from glimr_session.testing.contract import Transition, contents, keys, numbers, texts, values

__all__ = [
    "BASE",
    "MESSAGES",
    "Transition",
    "after",
    "contents",
    "edits",
    "keys",
    "messages_of_every_kind",
    "moves",
    "numbers",
    "run",
    "stored",
    "texts",
    "transition_of",
    "values",
]

_present = values | contents
_in_place = st.builds(Merged, st.just(ABSENT) | _present, st.just(ABSENT) | _present)

_EDITS: Final[dict[type[Message], st.SearchStrategy[Message]]] = {
    messages.Put: st.builds(messages.Put, keys, values | numbers),
    messages.Update: st.builds(messages.Update, contents),
    messages.ChangeKeys: st.builds(
        messages.ChangeKeys,
        st.dictionaries(keys, values | st.just(ABSENT) | _in_place, max_size=2),
    ),
    messages.SetDefault: st.builds(messages.SetDefault, keys, values),
    messages.Forget: st.builds(messages.Forget, keys),
    messages.Pull: st.builds(messages.Pull, keys, st.none()),
    messages.Increment: st.builds(messages.Increment, keys, numbers),
    messages.Clear: st.builds(messages.Clear),
    messages.Flash: st.builds(messages.Flash, keys, values, st.booleans()),
    messages.Now: st.builds(messages.Now, keys, values),
    messages.Keep: st.builds(messages.Keep, st.lists(keys, max_size=2).map(tuple)),
    messages.Reflash: st.builds(messages.Reflash),
    messages.ExpireAfter: st.builds(messages.ExpireAfter, st.sampled_from([0.0, 60.0, 1e6])),
    messages.BelongTo: st.builds(
        messages.BelongTo, st.builds(Owner, st.sampled_from(["", "a" * 64]), noted=contents)
    ),
    messages.ExpireOnClose: st.builds(messages.ExpireOnClose, st.booleans()),
}

_MOVES: Final[dict[type[Message], st.SearchStrategy[Message]]] = {
    messages.Regenerate: st.builds(messages.Regenerate, st.just("f" * 64)),
    messages.Invalidate: st.builds(messages.Invalidate, st.just("e" * 64)),
}

_READS: Final[dict[type[Message], st.SearchStrategy[Message]]] = {
    messages.Get: st.builds(messages.Get, keys, values),
    messages.Has: st.builds(messages.Has, keys),
    messages.GetAll: st.builds(messages.GetAll),
    messages.GetId: st.builds(messages.GetId),
    messages.GetFlash: st.builds(messages.GetFlash, keys, values),
    messages.HasFlash: st.builds(messages.HasFlash, keys),
    messages.GetState: st.builds(messages.GetState),
    messages.TakeChanges: st.builds(messages.TakeChanges),
    messages.Finish: st.builds(messages.Finish),
}

MESSAGES: Final = {**_EDITS, **_MOVES, **_READS}
"""A strategy for each kind of message."""

messages_of_every_kind: st.SearchStrategy[Message] = st.one_of(*MESSAGES.values())


def transition_of(message: Message) -> Transition:
    """Return the transition of a message; an increment of no number changes nothing."""

    def transition(current: SessionState) -> None:
        with suppress(TypeError):  # increment of what is no number
            message.apply(current)

    transition.__name__ = repr(message)
    return transition


edits: st.SearchStrategy[Transition] = st.one_of(*_EDITS.values()).map(transition_of)

moves: st.SearchStrategy[Transition] = st.one_of(*_MOVES.values()).map(transition_of)

stored = st.builds(StoredSession, id=st.just("0" * 64), data=contents, flash=contents)

BASE: Final = StoredSession(id="0" * 64, data={"a": 0, "n": 1}, flash={"x": "shown"})
"""A stored session with data and flash."""


def run(base: StoredSession | None, transitions: list[Transition]) -> SessionState:
    """Return the state of a session after these transitions; None begins a new one."""
    current = SessionState.new("1" * 64) if base is None else SessionState.opened(base)
    for transition in transitions:
        transition(current)
    return current


def after(base: StoredSession | None, *sent: Message) -> SessionState:
    """Return the state of a session after these messages; None begins a new one."""
    current = run(base, [])
    for message in sent:
        message.apply(current)
    return current
