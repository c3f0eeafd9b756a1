"""The messages a session understands: one for each verb, with its transition.

A transition is a pure function. ``apply`` takes a state and returns the next one and the
reply. Values in a message have been validated and belong to the session already. A reply
must be copied before it is handed out.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, TypeAlias

from .changes import DELETED, EMPTY, Changes, Incremented, add
from .serialization import Record
from .state import SessionState
from .values import Json

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
    "Transition",
    "Update",
]

Transition: TypeAlias = tuple[SessionState, Any]
"""The state after a message, and the reply."""


class Message(Record, frozen=True):
    """A request to a session."""

    @abstractmethod
    def apply(self, state: SessionState) -> Transition:
        """Return the state after this message, and the reply."""


class Get(Message, frozen=True):
    """Reply with the value of a key, or the default."""

    key: str
    default: Any

    def apply(self, state: SessionState) -> Transition:
        return state, state.data.get(self.key, self.default)


class Has(Message, frozen=True):
    """Reply whether a key is there."""

    key: str

    def apply(self, state: SessionState) -> Transition:
        return state, self.key in state.data


class GetAll(Message, frozen=True):
    """Reply with all data."""

    def apply(self, state: SessionState) -> Transition:
        return state, state.data


class GetId(Message, frozen=True):
    """Reply with the id."""

    def apply(self, state: SessionState) -> Transition:
        return state, state.id


class GetFlash(Message, frozen=True):
    """Reply with what the request before has left under a key, or the default."""

    key: str
    default: Any

    def apply(self, state: SessionState) -> Transition:
        return state, state.loaded_flash.get(self.key, self.default)


class HasFlash(Message, frozen=True):
    """Reply whether the request before has left something under a key."""

    key: str

    def apply(self, state: SessionState) -> Transition:
        return state, self.key in state.loaded_flash


class GetState(Message, frozen=True):
    """Reply with the whole state, the changes included."""

    def apply(self, state: SessionState) -> Transition:
        return state, state


class Put(Message, frozen=True):
    """Set a key."""

    key: str
    value: Json

    def apply(self, state: SessionState) -> Transition:
        edit: dict[str, Any] = {self.key: self.value}
        return state.with_data({**state.data, **edit}, edit), None


class Update(Message, frozen=True):
    """Set several keys at once."""

    values: Mapping[str, Json]

    def apply(self, state: SessionState) -> Transition:
        return state.with_data({**state.data, **self.values}, self.values), None


class SetDefault(Message, frozen=True):
    """Reply with the value of a key, which is set first if there is none."""

    key: str
    value: Json

    def apply(self, state: SessionState) -> Transition:
        if self.key in state.data:
            return state, state.data[self.key]
        return Put(self.key, self.value).apply(state)[0], self.value


class Forget(Message, frozen=True):
    """Remove a key, whether it is there or not."""

    key: str

    def apply(self, state: SessionState) -> Transition:
        data = {key: value for key, value in state.data.items() if key != self.key}
        return state.with_data(data, {self.key: DELETED}), None


class Pull(Message, frozen=True):
    """Reply with the value of a key, or the default, and remove it."""

    key: str
    default: Any

    def apply(self, state: SessionState) -> Transition:
        if self.key not in state.data:
            return state, self.default
        return Forget(self.key).apply(state)[0], state.data[self.key]


class Increment(Message, frozen=True):
    """Add to a number, 0 if there is none, and reply with the sum."""

    key: str
    by: int | float

    def apply(self, state: SessionState) -> Transition:
        """Raise TypeError if the session holds something else there."""
        key, by, changes = self.key, self.by, state.changes
        current: Any = state.data.get(key, 0)
        total = add(current, by)
        if total is None:
            raise TypeError(
                f"increment({key!r}): the session holds a {type(current).__name__} there, "
                "or a number too large to add to; put() a number first"
            )
        increment = Incremented(by, current, total)
        edit = increment.after(changes.edits.get(key), changes.cleared)
        return state.with_data({**state.data, key: total}, {key: edit}), total


class Clear(Message, frozen=True):
    """Remove all data. The id and the flash stay."""

    def apply(self, state: SessionState) -> Transition:
        changes = state.changes._replace(cleared=True, edits=EMPTY)
        return state._replace(data=EMPTY, changes=changes), None


class Flash(Message, frozen=True):
    """Leave a value for the next request."""

    key: str
    value: Json

    def apply(self, state: SessionState) -> Transition:
        return state.with_flash({self.key: self.value}), None


class Now(Message, frozen=True):
    """Show a value as if the request before had left it."""

    key: str
    value: Json

    def apply(self, state: SessionState) -> Transition:
        return state._replace(loaded_flash={**state.loaded_flash, self.key: self.value}), None


class Keep(Message, frozen=True):
    """Leave what this request was shown for the next one too."""

    keys: tuple[str, ...]

    def apply(self, state: SessionState) -> Transition:
        shown = state.loaded_flash
        return state.with_flash({key: shown[key] for key in self.keys if key in shown}), None


class Reflash(Message, frozen=True):
    """Leave everything this request was shown for the next one too."""

    def apply(self, state: SessionState) -> Transition:
        return state.with_flash(state.loaded_flash), None


class Regenerate(Message, frozen=True):
    """Go on under another id."""

    new_id: str

    def apply(self, state: SessionState) -> Transition:
        changes = state.changes._replace(id=self.new_id)
        return state._replace(id=self.new_id, changes=changes), None


class Invalidate(Message, frozen=True):
    """End this session; what follows belongs to a new one with this id."""

    new_id: str

    def apply(self, state: SessionState) -> Transition:
        changes = Changes(state.changes.base, self.new_id, cleared=True, invalidated=True)
        return SessionState(self.new_id, EMPTY, EMPTY, EMPTY, changes), None


class Finish(Message, frozen=True):
    """Reply with the state to be committed, and stop: nothing can come after it."""

    def apply(self, state: SessionState) -> Transition:
        return state, state


class TakeChanges(Message, frozen=True):
    """Reply with the state to be committed, and go on as if it had been."""

    def apply(self, state: SessionState) -> Transition:
        return (state.committed() if state.changes else state), state
