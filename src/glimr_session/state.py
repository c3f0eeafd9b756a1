"""What a session is at one moment, what was done to it, and how one becomes the other.

A transition is a pure function: it takes a state and the fields of a message, and gives
the next state and the reply. Nothing in here is ever changed in place, so a state that
has been handed out stays what it was.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Final, TypeAlias, TypeGuard

from .payload import Json, Record, StoredSession, checked

__all__ = ["Added", "Changes", "Edit", "Forgotten", "SessionState"]


class Added(Record, frozen=True):
    """``by`` was added to ``start``, and this request saw ``total`` come out."""

    by: int | float
    start: int | float
    total: int | float

    def to(self, current: Json) -> int | float:
        """Add to another number, or keep to the total where there is none."""
        if current == self.start:
            return self.total  # to the last digit, which float sums depend on their order for
        total = _sum(current, self.by)
        return self.total if total is None else total


class Forgotten(Record, frozen=True):
    """The key was removed."""


Edit: TypeAlias = Json | Added | Forgotten
"""The last word on a key: the value it was given, what was added to it, or its end."""

_FORGOTTEN: Final = Forgotten()
_NOTHING: Final[dict[str, Any]] = {}


class Changes(Record, frozen=True):
    """What a request did to its session, compacted to the last word on each key.

    ``base`` is the stored session that the request found, or None if it began a new
    one; ``id`` is the id to keep it under from now on. ``cleared`` comes before
    ``edits``. ``consumed`` is the flash that the request was shown, ``flash`` what it
    left for the next one.
    """

    base: StoredSession | None
    id: str
    cleared: bool = False
    edits: Mapping[str, Edit] = _NOTHING
    flash: Mapping[str, Json] = _NOTHING
    consumed: Mapping[str, Json] = _NOTHING
    invalidated: bool = False

    @property
    def moved(self) -> bool:
        """Whether a stored session has to go on under another id."""
        return self.base is not None and self.id != self.base.id

    def __bool__(self) -> bool:
        return bool(
            self.edits
            or self.flash
            or self.consumed
            or self.cleared
            or self.invalidated
            or (self.base is not None and self.id != self.base.id)
        )

    def replay(
        self,
        data: Mapping[str, Json],
        flash: Mapping[str, Json],
        *,
        newer: Container[str] = (),
    ) -> tuple[dict[str, Json], dict[str, Json]]:
        """Repeat the changes on any version of the session; give its data and flash.

        On the version the request began with, that is exactly the state it ended with.
        Of the flash goes only what was shown: not another value, and not the same one
        under a key in ``newer``, which has been set anew since.
        """
        result = {} if self.cleared else dict(data)
        for key, edit in self.edits.items():
            if isinstance(edit, Added):
                result[key] = edit.to(result.get(key, 0))
            elif isinstance(edit, Forgotten):
                result.pop(key, None)
            else:
                result[key] = edit
        if self.invalidated:
            return result, dict(self.flash)
        consumed = self.consumed
        left = {
            key: value
            for key, value in flash.items()
            if key not in consumed or key in newer or consumed[key] != value
        }
        return result, {**left, **self.flash}

    def edited(self, edits: Mapping[str, Edit]) -> Changes:
        """Give these changes and some more."""
        # Not _replace, which takes three times as long: this is every write.
        return Changes(
            self.base,
            self.id,
            self.cleared,
            {**self.edits, **edits},
            self.flash,
            self.consumed,
            self.invalidated,
        )


class SessionState(Record, frozen=True):
    """A session at one moment of a request.

    ``loaded_flash`` is what the request before left and this one may read; ``flash``
    is what the next one will. The dicts belong to the session: read them, do not
    change them.
    """

    id: str
    data: Mapping[str, Json]
    loaded_flash: Mapping[str, Json]
    flash: Mapping[str, Json]
    changes: Changes

    @classmethod
    def new(cls, session_id: str) -> SessionState:
        """Begin a session that no store knows."""
        return cls(session_id, _NOTHING, _NOTHING, _NOTHING, Changes(None, session_id))

    @classmethod
    def opened(cls, stored: StoredSession) -> SessionState:
        """Go on with a stored session. Its flash counts as read, and so as a change."""
        flash = stored.flash
        changes = Changes(stored, stored.id, False, _NOTHING, _NOTHING, flash)
        return cls(stored.id, stored.data, flash, _NOTHING, changes)

    @property
    def dirty(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.changes)

    @property
    def invalidated(self) -> bool:
        """Whether the stored session has to be destroyed."""
        return self.changes.invalidated


Step: TypeAlias = tuple[SessionState, Any]


def get(state: SessionState, key: str, default: Any) -> Step:
    return state, state.data.get(key, default)


def has(state: SessionState, key: str) -> Step:
    return state, key in state.data


def get_all(state: SessionState) -> Step:
    return state, state.data


def get_id(state: SessionState) -> Step:
    return state, state.id


def get_flash(state: SessionState, key: str, default: Any) -> Step:
    return state, state.loaded_flash.get(key, default)


def has_flash(state: SessionState, key: str) -> Step:
    return state, key in state.loaded_flash


def get_state(state: SessionState) -> Step:
    return state, state


def put(state: SessionState, key: str, value: Json) -> Step:
    return _edited(state, {**state.data, key: value}, {key: value}), None


def update(state: SessionState, values: Mapping[str, Json]) -> Step:
    return _edited(state, {**state.data, **values}, values), None


def set_default(state: SessionState, key: str, value: Json) -> Step:
    if key in state.data:
        return state, state.data[key]
    return put(state, key, value)[0], value


def forget(state: SessionState, key: str) -> Step:
    data = {name: value for name, value in state.data.items() if name != key}
    return _edited(state, data, {key: _FORGOTTEN}), None


def pull(state: SessionState, key: str, default: Any) -> Step:
    if key not in state.data:
        return state, default
    return forget(state, key)[0], state.data[key]


def increment(state: SessionState, key: str, by: int | float) -> Step:
    current = state.data.get(key, 0)
    total = _sum(current, by)
    if total is None or not _is_number(current):
        raise TypeError(
            f"increment({key!r}): the session holds a {type(current).__name__} there, "
            "or a number too large to add to; put() a number first"
        )
    before = state.changes.edits.get(key)
    if type(before) is Added:
        edit: Edit = Added(before.by + by, before.start, total)
    elif before is None and not state.changes.cleared:
        edit = Added(by, current, total)
    else:
        edit = total  # what it adds to was set in this request
    return _edited(state, {**state.data, key: total}, {key: edit}), total


def clear(state: SessionState) -> Step:
    changes = state.changes._replace(cleared=True, edits=_NOTHING)
    return state._replace(data=_NOTHING, changes=changes), None


def flash(state: SessionState, key: str, value: Json) -> Step:
    return _flashed(state, {key: value}), None


def now(state: SessionState, key: str, value: Json) -> Step:
    return state._replace(loaded_flash={**state.loaded_flash, key: value}), None


def keep(state: SessionState, keys: tuple[str, ...]) -> Step:
    kept = {key: state.loaded_flash[key] for key in keys if key in state.loaded_flash}
    return _flashed(state, kept), None


def reflash(state: SessionState) -> Step:
    return _flashed(state, state.loaded_flash), None


def regenerate(state: SessionState, new_id: str) -> Step:
    return state._replace(id=new_id, changes=state.changes._replace(id=new_id)), None


def invalidate(state: SessionState, new_id: str) -> Step:
    changes = Changes(state.changes.base, new_id, cleared=True, invalidated=True)
    return SessionState(new_id, _NOTHING, _NOTHING, _NOTHING, changes), None


def take_changes(state: SessionState) -> Step:
    """Hand out the state to be committed, and go on from there as if it had been."""
    if not state.changes:
        return state, state
    base = StoredSession(id=state.id, data=dict(state.data), flash=dict(state.flash))
    before = state.changes.base
    if before is not None and not state.changes.invalidated:
        base.row = before.row
        base.created = before.created if before.id == state.id else 0.0
    return state._replace(changes=Changes(base, state.id)), state


def _edited(
    state: SessionState, data: Mapping[str, Json], edits: Mapping[str, Edit]
) -> SessionState:
    changes = state.changes.edited(edits)
    return SessionState(state.id, data, state.loaded_flash, state.flash, changes)


def _flashed(state: SessionState, values: Mapping[str, Json]) -> SessionState:
    if not values:
        return state
    changes = state.changes
    return state._replace(
        flash={**state.flash, **values},
        changes=changes._replace(flash={**changes.flash, **values}),
    )


def _is_number(value: Json) -> TypeGuard[int | float]:
    return type(value) is int or type(value) is float


def _sum(current: Json, by: int | float) -> int | float | None:
    """Add, or give None where the sum would be no number that a session can hold."""
    if not _is_number(current):
        return None
    try:
        total = current + by
        checked("", total)
    except (OverflowError, ValueError):
        return None
    return total
