"""What a request did to its session, so that it can be repeated on any version of it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Final, TypeAlias

from .serialization import Record, StoredSession
from .values import Json, is_number, validate_value

__all__ = ["DELETED", "EMPTY", "Changes", "Deleted", "Edit", "Incremented", "add"]


class Incremented(Record, frozen=True):
    """A number was incremented.

    Attributes:
        by: what was added, in all.
        start: the number it was added to.
        total: the sum that this request saw.
    """

    by: int | float
    start: int | float
    total: int | float

    def after(self, before: Edit, cleared: bool) -> Edit:
        """Return the edit that this one makes of an earlier one of the same request.

        Args:
            before: the earlier edit of the key, or None.
            cleared: whether the request has removed all data before.
        """
        if type(before) is Incremented:
            return Incremented(before.by + self.by, before.start, self.total)
        if before is None and not cleared:
            return self
        return self.total  # this request has set the number it adds to

    def replay(self, current: Json) -> int | float:
        """Return the sum with another number, or the total where there is no number."""
        if current == self.start:
            return self.total  # exactly: a float sum depends on the order of its additions
        total = add(current, self.by)
        return self.total if total is None else total


class Deleted(Record, frozen=True):
    """A key was removed."""


Edit: TypeAlias = Json | Incremented | Deleted
"""The last change of a key: the value it was given, an increment, or its removal."""

DELETED: Final = Deleted()
EMPTY: Final[dict[str, Any]] = {}


class Changes(Record, frozen=True):
    """What a request did to its session, compacted to the last change of each key.

    Attributes:
        base: the stored session that the request found; None if it began a new one.
        id: the id to keep the session under from now on.
        cleared: whether all data was removed before ``edits``.
        edits: the last change of each key.
        flash: what the request left for the next one.
        consumed: the flash that the request was shown.
        invalidated: whether the stored session has to be destroyed; what is left then
            belongs to a new session.
    """

    base: StoredSession | None
    id: str
    cleared: bool = False
    edits: Mapping[str, Edit] = EMPTY
    flash: Mapping[str, Json] = EMPTY
    consumed: Mapping[str, Json] = EMPTY
    invalidated: bool = False

    @property
    def id_changed(self) -> bool:
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

    def with_edits(self, edits: Mapping[str, Edit]) -> Changes:
        """Return these changes and some more edits."""
        return Changes(
            self.base,
            self.id,
            self.cleared,
            {**self.edits, **edits},
            self.flash,
            self.consumed,
            self.invalidated,
        )

    def then(self, later: Changes) -> Changes:
        """Return these changes and later ones of the same request as one.

        ``later.base`` is the session as these changes leave it.
        """
        if later.invalidated:
            return later._replace(base=self.base)
        edits: dict[str, Edit] = {} if later.cleared else {**self.edits}
        for key, edit in later.edits.items():
            edits[key] = (
                edit.after(edits.get(key), self.cleared) if type(edit) is Incremented else edit
            )
        return self._replace(
            id=later.id,
            cleared=self.cleared or later.cleared,
            edits=edits,
            flash={**self.flash, **later.flash},
            consumed={**self.consumed, **later.consumed},
        )

    def replay(
        self,
        data: Mapping[str, Json],
        flash: Mapping[str, Json],
        *,
        flash_set_since: Container[str] = (),
    ) -> tuple[dict[str, Json], dict[str, Json]]:
        """Repeat the changes on any version of the session; return its data and flash.

        On the version the request began with, the result is exactly the state it ended
        with. Flash that this request was shown is removed, unless it has another value by
        now or its key is in ``flash_set_since``: set again since the request began.

        Example:
            >>> Changes(None, "id", edits={"n": Incremented(1, 0, 1)}).replay({"n": 5}, {})
            ({'n': 6}, {})
        """
        result = {} if self.cleared else dict(data)
        for key, edit in self.edits.items():
            if isinstance(edit, Incremented):
                result[key] = edit.replay(result.get(key, 0))
            elif isinstance(edit, Deleted):
                result.pop(key, None)
            else:
                result[key] = edit
        if self.invalidated:
            return result, dict(self.flash)
        consumed = self.consumed
        left = {
            key: value
            for key, value in flash.items()
            if key not in consumed or key in flash_set_since or consumed[key] != value
        }
        return result, {**left, **self.flash}


def add(current: Json, by: int | float) -> int | float | None:
    """Return the sum, or None where a session could not hold it or there is no number."""
    if not is_number(current):
        return None
    try:
        total: int | float = current + by  # type: ignore[operator]  # it is a number
        validate_value("", total)
    except (OverflowError, ValueError):
        return None
    return total
