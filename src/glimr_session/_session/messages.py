"""The messages a session understands: one for each verb, with its transition.

``apply`` changes the state, and returns the reply. Values in a message have been validated
and belong to the session already. A reply must be copied before it is handed out.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from .changes import ABSENT, Added, Changes, CompareAndSet, Incremented, Merged, add
from .serialization import Owner, Record
from .state import SessionState
from .values import Json

__all__ = [
    "BelongTo",
    "ChangeKeys",
    "Clear",
    "ExpireAfter",
    "ExpireOnClose",
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
    """A request to a session.

    Attributes:
        writes: whether it changes what is committed, but for flash that counts as read.
    """

    writes: ClassVar[bool] = False

    @abstractmethod
    def apply(self, state: SessionState) -> Any:
        """Change the state, and return the reply."""


class Write(Message, frozen=True):
    """A message that changes what is committed; it comes too late after the commit."""

    writes: ClassVar[bool] = True


class Get(Message, frozen=True):
    """Reply with the value of a key, or the default."""

    key: str
    default: Any

    def apply(self, state: SessionState) -> Any:
        return state.get(self.key, self.default)


class Has(Message, frozen=True):
    """Reply whether a key is there."""

    key: str

    def apply(self, state: SessionState) -> Any:
        return state.get(self.key, ABSENT) is not ABSENT


class GetAll(Message, frozen=True):
    """Reply with all data."""

    def apply(self, state: SessionState) -> Any:
        return state.data


class GetId(Message, frozen=True):
    """Reply with the id."""

    def apply(self, state: SessionState) -> Any:
        return state.id


class GetFlash(Message, frozen=True):
    """Reply with what the request before has left under a key, or the default."""

    key: str
    default: Any

    def apply(self, state: SessionState) -> Any:
        return state.read_flash(self.key, self.default)


class HasFlash(Message, frozen=True):
    """Reply whether the request before has left something under a key."""

    key: str

    def apply(self, state: SessionState) -> Any:
        return self.key in state.loaded_flash


class GetState(Message, frozen=True):
    """Reply with the whole state, the changes included."""

    def apply(self, state: SessionState) -> Any:
        return state.snapshot()


class Put(Write, frozen=True):
    """Set a key."""

    key: str
    value: Json

    def apply(self, state: SessionState) -> Any:
        state.edit(self.key, self.value)


class Update(Write, frozen=True):
    """Set several keys at once."""

    values: Mapping[str, Json]

    def apply(self, state: SessionState) -> Any:
        state.changes.edits.update(self.values)


class ChangeKeys(Write, frozen=True):
    """Change several keys, each by a value, ABSENT, or what was done to the value it had."""

    edits: Mapping[str, Any]

    def apply(self, state: SessionState) -> Any:
        for key, edit in self.edits.items():
            if type(edit) is Merged:  # another thread may have changed it since it was found
                there = state.get(key, ABSENT)
                edit = Merged(there, edit.replay(there), edit.anew)
            state.edit(key, edit)


class SetDefault(Write, frozen=True):
    """Reply with the value of a key, which is set first if there is none."""

    key: str
    value: Json

    def apply(self, state: SessionState) -> Any:
        value = state.get(self.key, ABSENT)
        if value is not ABSENT:
            return value
        state.edit(self.key, CompareAndSet(ABSENT, self.value))
        return self.value


class Forget(Write, frozen=True):
    """Remove a key, whether it is there or not."""

    key: str

    def apply(self, state: SessionState) -> Any:
        state.edit(self.key, ABSENT)


class Pull(Write, frozen=True):
    """Reply with the value of a key, or the default, and remove the value it had."""

    key: str
    default: Any

    def apply(self, state: SessionState) -> Any:
        value = state.get(self.key, ABSENT)
        if value is ABSENT:
            return self.default
        state.edit(self.key, CompareAndSet(value, ABSENT))
        return value


class Increment(Write, frozen=True):
    """Add to a number, 0 if there is none, and reply with the sum."""

    key: str
    by: int | float

    def apply(self, state: SessionState) -> Any:
        """Raise TypeError if the session holds something else there."""
        current = state.get(self.key, 0)
        total = add(current, self.by)
        if total is None:
            raise TypeError(
                f"increment({self.key!r}): the session holds a {type(current).__name__} there, "
                "or a number too large to add to; put() a number first"
            )
        state.edit(self.key, Incremented(self.by, current, total))
        return total


class Clear(Write, frozen=True):
    """Remove all data. The id and the flash stay."""

    def apply(self, state: SessionState) -> Any:
        state.changes = state.changes._replace(cleared=True, edits={})


class Flash(Write, frozen=True):
    """Leave a value for the next request, or add it to those under the same key."""

    key: str
    value: Json
    add: bool = False

    def apply(self, state: SessionState) -> Any:
        state.leave_flash(self.key, Added((self.value,)) if self.add else self.value)


class Now(Write, frozen=True):
    """Show a value as if the request before had left it."""

    key: str
    value: Json

    def apply(self, state: SessionState) -> Any:
        state.unread.pop(self.key, None)
        state.loaded_flash = {**state.loaded_flash, self.key: self.value}


class Keep(Write, frozen=True):
    """Leave what this request was shown for the next one too."""

    keys: tuple[str, ...]

    def apply(self, state: SessionState) -> Any:
        state.keep_flash(self.keys)


class Reflash(Write, frozen=True):
    """Leave everything this request was shown for the next one too."""

    def apply(self, state: SessionState) -> Any:
        state.keep_flash(state.loaded_flash)


class ExpireAfter(Write, frozen=True):
    """Set the session's own idle timeout, in seconds; 0 is the store's."""

    lifetime: float

    def apply(self, state: SessionState) -> Any:
        state.changes = state.changes._replace(lifetime=self.lifetime)


class ExpireOnClose(Write, frozen=True):
    """Set whether the cookie ends with the browser."""

    flag: bool

    def apply(self, state: SessionState) -> Any:
        state.changes = state.changes._replace(expire_on_close=self.flag)


class BelongTo(Write, frozen=True):
    """Give the session to an owner, or to nobody."""

    owner: Owner

    def apply(self, state: SessionState) -> Any:
        state.changes = state.changes._replace(owner=self.owner)


class Regenerate(Write, frozen=True):
    """Go on under another id."""

    new_id: str

    def apply(self, state: SessionState) -> Any:
        state.changes = state.changes._replace(id=self.new_id)


class Invalidate(Write, frozen=True):
    """End this session; what follows belongs to a new one with this id."""

    new_id: str

    def apply(self, state: SessionState) -> Any:
        state.loaded_flash, state.unread = {}, {}
        state.changes = Changes(state.changes.base, self.new_id, cleared=True, invalidated=True)


class TakeChanges(Message, frozen=True):
    """Reply with the changes to be committed, and go on as if they had been."""

    def apply(self, state: SessionState) -> Any:
        return state.take_changes()


class Finish(Message, frozen=True):
    """Reply with the state, and stop: whoever asked is the only one to have it now."""

    def apply(self, state: SessionState) -> Any:
        return state
