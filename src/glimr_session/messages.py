"""The messages a session understands, one for each verb, and what each does to it.

Values in them are checked and belong to the session already; what a reply holds must be
copied before it is given to anybody. A default is the caller's own, whatever it is, and may
be part of a cycle: those messages the cycle collector has to see.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from . import state as transitions
from .payload import Json, Record
from .state import SessionState, Step

__all__ = [
    "Clear",
    "Finish",
    "Flash",
    "Forget",
    "Get",
    "GetAll",
    "GetFlash",
    "GetId",
    "GetState",
    "Has",
    "HasFlash",
    "Increment",
    "Invalidate",
    "Keep",
    "Message",
    "Now",
    "Pull",
    "Put",
    "Reflash",
    "Regenerate",
    "SetDefault",
    "TakeChanges",
    "Update",
]


class Message(Record, frozen=True):
    """What can be said to a session: how it goes on from here, and the reply."""

    @abstractmethod
    def step(self, state: SessionState) -> Step:
        """Give the state after this message, and the reply."""


class Finish(Record, frozen=True):
    """Ask for everything in order to commit it, and stop: the actor's own affair."""


class Get(Message, frozen=True, gc=True):
    """Ask for a value, or the default if there is none."""

    key: str
    default: Any

    def step(self, state: SessionState) -> Step:
        return transitions.get(state, self.key, self.default)


class Has(Message, frozen=True):
    """Ask whether a key is there."""

    key: str

    def step(self, state: SessionState) -> Step:
        return transitions.has(state, self.key)


class GetAll(Message, frozen=True):
    """Ask for all data."""

    def step(self, state: SessionState) -> Step:
        return transitions.get_all(state)


class GetId(Message, frozen=True):
    """Ask for the id."""

    def step(self, state: SessionState) -> Step:
        return transitions.get_id(state)


class GetFlash(Message, frozen=True, gc=True):
    """Ask for what the request before has left, or the default."""

    key: str
    default: Any

    def step(self, state: SessionState) -> Step:
        return transitions.get_flash(state, self.key, self.default)


class HasFlash(Message, frozen=True):
    """Ask whether the request before has left something."""

    key: str

    def step(self, state: SessionState) -> Step:
        return transitions.has_flash(state, self.key)


class GetState(Message, frozen=True):
    """Ask for everything, the changes included."""

    def step(self, state: SessionState) -> Step:
        return transitions.get_state(state)


class Put(Message, frozen=True):
    """Set a key."""

    key: str
    value: Json

    def step(self, state: SessionState) -> Step:
        return transitions.put(state, self.key, self.value)


class Update(Message, frozen=True):
    """Set several keys at once."""

    values: Mapping[str, Json]

    def step(self, state: SessionState) -> Step:
        return transitions.update(state, self.values)


class SetDefault(Message, frozen=True):
    """Ask for a value, which is set first if there is none."""

    key: str
    value: Json

    def step(self, state: SessionState) -> Step:
        return transitions.set_default(state, self.key, self.value)


class Forget(Message, frozen=True):
    """Remove a key, there or not."""

    key: str

    def step(self, state: SessionState) -> Step:
        return transitions.forget(state, self.key)


class Pull(Message, frozen=True, gc=True):
    """Ask for a value and remove it."""

    key: str
    default: Any

    def step(self, state: SessionState) -> Step:
        return transitions.pull(state, self.key, self.default)


class Increment(Message, frozen=True):
    """Add to a number, 0 if there is none, and ask for the sum."""

    key: str
    by: int | float

    def step(self, state: SessionState) -> Step:
        return transitions.increment(state, self.key, self.by)


class Clear(Message, frozen=True):
    """Remove all data. The id and the flash stay."""

    def step(self, state: SessionState) -> Step:
        return transitions.clear(state)


class Flash(Message, frozen=True):
    """Leave a value for the next request."""

    key: str
    value: Json

    def step(self, state: SessionState) -> Step:
        return transitions.flash(state, self.key, self.value)


class Now(Message, frozen=True):
    """Show a value as if the request before had left it."""

    key: str
    value: Json

    def step(self, state: SessionState) -> Step:
        return transitions.now(state, self.key, self.value)


class Keep(Message, frozen=True):
    """Leave what this request was shown for the next one too."""

    keys: tuple[str, ...]

    def step(self, state: SessionState) -> Step:
        return transitions.keep(state, self.keys)


class Reflash(Message, frozen=True):
    """Leave everything this request was shown for the next one too."""

    def step(self, state: SessionState) -> Step:
        return transitions.reflash(state)


class Invalidate(Message, frozen=True):
    """End this session; what follows belongs to another one with this id."""

    new_id: str

    def step(self, state: SessionState) -> Step:
        return transitions.invalidate(state, self.new_id)


class Regenerate(Message, frozen=True):
    """Go on under this id."""

    new_id: str

    def step(self, state: SessionState) -> Step:
        return transitions.regenerate(state, self.new_id)


class TakeChanges(Message, frozen=True):
    """Ask for everything in order to commit it; later changes count from there."""

    def step(self, state: SessionState) -> Step:
        return transitions.take_changes(state)
