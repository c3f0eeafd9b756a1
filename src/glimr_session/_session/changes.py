"""What a request did to its session, so that it can be repeated on any version of it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Final, TypeAlias

from .serialization import Owner, Record, StoredSession, encode_value
from .values import Json, is_number, validate_value

__all__ = [
    "ABSENT",
    "EMPTY",
    "Absent",
    "Added",
    "Changes",
    "CompareAndSet",
    "Edit",
    "Incremented",
    "Kept",
    "Merged",
    "add",
    "add_flash",
    "merge",
    "result_of",
    "same",
]


class Absent(Record, frozen=True):
    """There is no value under a key, or not any more."""


ABSENT: Final = Absent()
EMPTY: Final[dict[str, Any]] = {}


class _DependentEdit(Record, frozen=True):
    """An edit whose outcome depends on what other requests have committed meanwhile."""


class Incremented(_DependentEdit, frozen=True):
    """A number was incremented.

    Attributes:
        by: what was added, in all.
        start: the number it was added to.
        result: the sum that this request saw.
        absent: the number that a missing key counts as.
    """

    by: int | float
    start: int | float
    result: int | float
    absent: int | float = 0

    def after(self, before: Edit) -> Edit:
        """Return the edit that this one makes of an earlier one of the same request."""
        if type(before) is Incremented:
            return Incremented(before.by + self.by, before.start, self.result, before.absent)
        if type(before) is CompareAndSet:
            if before.expected is ABSENT and before.result is not ABSENT:  # setdefault()
                return Incremented(self.by, self.start, self.result, absent=self.start)
            return CompareAndSet(before.expected, self.result)
        if type(before) is Merged:
            return Merged(before.found, self.result)
        return self.result  # this request has set the number it adds to

    def replay(self, current: Json | Absent) -> Json:
        """Return the sum with another number, or the result where there is no number."""
        number = self.absent if current is ABSENT else current
        if is_number(number) and number == self.start:
            return self.result  # exactly: a float sum depends on the order of its additions
        total = add(number, self.by)
        return self.result if total is None else total


class CompareAndSet(_DependentEdit, frozen=True):
    """A key was set or removed because of what this request saw there.

    ``setdefault`` and ``pull`` are such edits. A value that another request has put there
    since stays: this request has not seen it.

    Attributes:
        expected: the value that this request found, or ABSENT.
        result: the value that it left, or ABSENT.
    """

    expected: Json | Absent
    result: Json | Absent

    def after(self, before: Edit) -> Edit:
        """Return the edit that this one makes of an earlier one of the same request."""
        if type(before) is Incremented:
            return CompareAndSet(before.start, self.result)
        if type(before) is CompareAndSet:
            return CompareAndSet(before.expected, self.result)
        if type(before) is Merged:
            return Merged(before.found, self.result)
        return self.result

    def replay(self, current: Json | Absent) -> Json | Absent:
        """Return the result where the expected value or none is there, else what is there."""
        return self.result if current is ABSENT or same(current, self.expected) else current


class Merged(_DependentEdit, frozen=True):
    """A value was changed in place: a list or dict that the request held in its hands.

    What led from one value to the other is repeated: keys of dicts that were set or removed,
    at any depth, and items that were appended to lists.

    Attributes:
        found: the value that this request found, or ABSENT.
        result: the value that it left, or ABSENT.
        anew: whether it took what it found, and then began the result.
    """

    found: Json | Absent
    result: Json | Absent
    anew: bool = False

    def after(self, before: Edit) -> Edit:
        """Return the edit that this one makes of an earlier one of the same request."""
        if type(before) is Incremented:
            return Merged(before.start, self.result)
        if type(before) is CompareAndSet:
            return Merged(before.expected, self.result, self.anew or before.result is ABSENT)
        if type(before) is Merged:
            anew = before.anew or self.anew or before.result is ABSENT
            return Merged(before.found, self.result, anew)
        return self.result

    def replay(self, current: Json | Absent) -> Json | Absent:
        """Return what is there now, with the same change."""
        found: Json | Absent = self.found
        if self.anew:
            found, current = ABSENT, merge(found, ABSENT, current)
        beside = found is ABSENT and current is not ABSENT
        if beside and not (type(current) is type(self.result) and _can_be_merged(current)):
            return current  # as for setdefault()
        return merge(found, self.result, current)


Edit: TypeAlias = Json | Absent | Incremented | CompareAndSet | Merged
"""The last change of a key: the value it was given, ABSENT, or an edit that depends on what
was there."""


class Added(Record, frozen=True):
    """Flash values that were added to those under the same key."""

    values: tuple[Json, ...]

    def replay(self, current: Json | Absent) -> list[Json]:
        """Return the list of what is there and of these values."""
        if isinstance(current, Absent):
            return [*self.values]
        return [*(current if isinstance(current, list) else [current]), *self.values]


class Kept(Record, frozen=True):
    """A flash value that is left once more, unless there is a new one under its key."""

    value: Json

    def replay(self, current: Json | Absent) -> Json:
        """Return what is there, or the value."""
        return self.value if isinstance(current, Absent) else current


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
        lifetime: the idle timeout in seconds that the request gave this session, 0 for the
            store's own; None if it did not say.
        expire_on_close: whether the cookie ends with the browser; None if it did not say.
        owner: who the session belongs to from now on; None if the request did not say.
    """

    base: StoredSession | None
    id: str
    cleared: bool = False
    edits: dict[str, Any] = {}  # noqa: RUF012  # msgspec makes a new one each time
    flash: dict[str, Any] = {}  # noqa: RUF012
    consumed: Mapping[str, Json] = {}
    invalidated: bool = False
    lifetime: float | None = None
    expire_on_close: bool | None = None
    owner: Owner | None = None

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
            or self.lifetime is not None
            or self.expire_on_close is not None
            or self.owner is not None
            or (self.base is not None and self.id != self.base.id)
        )

    def compose(self, key: str, edit: Edit) -> Edit:
        """Return the edit that these changes and a later edit of a key are together."""
        if isinstance(edit, _DependentEdit) and (self.cleared or key in self.edits):
            return edit.after(self.edits.get(key, ABSENT))
        return edit

    def then(self, later: Changes) -> Changes:
        """Return these changes and later ones of the same request as one.

        ``later.base`` is the session as these changes leave it.
        """
        if later.invalidated:
            return later._replace(base=self.base)
        edits: dict[str, Edit] = {} if later.cleared else {**self.edits}
        for key, edit in later.edits.items():
            edits[key] = edit if later.cleared else self.compose(key, edit)
        flash = {**self.flash}
        for key, value in later.flash.items():
            flash[key] = (
                add_flash(flash[key], value) if type(value) is Added and key in flash else value
            )
        return self._replace(
            id=later.id,
            cleared=self.cleared or later.cleared,
            edits=edits,
            flash=flash,
            consumed={**self.consumed, **later.consumed},
            lifetime=self.lifetime if later.lifetime is None else later.lifetime,
            expire_on_close=(
                self.expire_on_close if later.expire_on_close is None else later.expire_on_close
            ),
            owner=self.owner if later.owner is None else later.owner,
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
        return self.replay_data(data), self.replay_flash(flash, flash_set_since)

    def replay_data(self, data: Mapping[str, Json]) -> dict[str, Json]:
        """Repeat the edits; see ``replay``."""
        result = {} if self.cleared else dict(data)
        for key, edit in self.edits.items():
            if isinstance(edit, _DependentEdit):
                edit = edit.replay(result.get(key, ABSENT))  # type: ignore[attr-defined]
            if edit is ABSENT:
                result.pop(key, None)
            else:
                result[key] = edit
        return result

    def replay_flash(
        self, flash: Mapping[str, Json], set_since: Container[str] = ()
    ) -> dict[str, Json]:
        """Remove the flash that was shown, and leave the new one; see ``replay``."""
        consumed = self.consumed
        left: dict[str, Any] = {
            key: value
            for key, value in (() if self.invalidated else flash.items())
            if key not in consumed or key in set_since or not same(consumed[key], value)
        }
        for key, value in self.flash.items():
            weak = isinstance(value, Added | Kept)
            left[key] = value.replay(left.get(key, ABSENT)) if weak else value
        return left

    def lifetime_on(self, stored: StoredSession | None) -> float:
        """Return the session's own idle timeout after these changes, 0 for the store's."""
        if self.lifetime is not None:
            return self.lifetime
        return 0.0 if stored is None or self.invalidated else stored.lifetime

    def expire_on_close_on(self, stored: StoredSession | None) -> bool | None:
        """Return whether the cookie ends with the browser; None for the configuration's."""
        if self.expire_on_close is not None:
            return self.expire_on_close
        return None if stored is None or self.invalidated else stored.expire_on_close

    @property
    def owner_bytes(self) -> bytes:
        """What stands for the owner that they name, as 32 bytes; b"" for nobody, or none."""
        return bytes.fromhex(self.owner.key) if self.owner is not None else b""

    def owner_on(self, stored: StoredSession | None) -> Owner | None:
        """Return who the session belongs to after these changes; None if nobody."""
        if self.owner is not None:
            return self.owner if self.owner.key else None
        return None if stored is None or self.invalidated else stored.owner


def result_of(edit: Edit) -> Json | Absent:
    """Return the value that the request sees after an edit, or ABSENT."""
    return edit.result if isinstance(edit, _DependentEdit) else edit


def add_flash(before: Json | Added | Kept, added: Added) -> Json | Added:
    """Return two flash edits of one key and one request as one."""
    if isinstance(before, Added):
        return Added(before.values + added.values)
    return added.replay(before.value if isinstance(before, Kept) else before)


def merge(found: Json | Absent, result: Json | Absent, current: Json | Absent) -> Json | Absent:
    """Return ``current`` after the change that led from ``found`` to ``result``.

    Where another request has changed the same place meanwhile, a value that was set here wins,
    and one that was removed here stays as the other request has set it. A dict that either of
    them has removed is gone; items that were appended to a list that was taken stay.

    Example:
        >>> merge({"a": 1, "b": [1]}, {"b": [1, 2]}, {"a": 1, "b": [1, 3], "c": 1})
        {'b': [1, 3, 2], 'c': 1}
    """
    if same(found, result):
        return current
    if same(found, current):
        return result
    sides = (found, result, current)
    if all(side is ABSENT or (type(side) is dict and _can_be_merged(side)) for side in sides):
        removed = found is not ABSENT and (result is ABSENT or current is ABSENT)
        return ABSENT if removed else _merge_dicts(*({} if s is ABSENT else s for s in sides))
    if all(side is ABSENT or type(side) is list for side in sides):
        lists: list[Any] = [[] if side is ABSENT else side for side in sides]
        before, after, there = lists
        if result is ABSENT and not same(before, there[: len(before)]):
            return current  # another request has taken it too, and begun another list
        merged = _merge_lists(before, after, there)
        return ABSENT if not merged and (result is ABSENT or current is ABSENT) else merged
    return current if result is ABSENT else result


def _merge_dicts(found: Any, result: Any, current: Any) -> Any:
    merged = dict(current)
    for key in {**found, **result}:
        value = merge(found.get(key, ABSENT), result.get(key, ABSENT), current.get(key, ABSENT))
        if value is ABSENT:
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged


def _merge_lists(found: Any, result: Any, current: Any) -> Any:
    count = len(found)
    if same(found, result[:count]):
        return current + result[count:]
    if same(found, current[:count]):
        return result + current[count:]
    if count == len(result) == len(current):
        rows = [*zip(found, result, current, strict=True)]
        if all(type(side) is dict and _can_be_merged(side) for row in rows for side in row):
            return [merge(*row) for row in rows]
    return result


def _can_be_merged(value: Any) -> bool:
    """Whether it is a list, or a dict that does not stand for one value.

    ``{" t": [1, 2]}`` is a tuple in Flask's tagged JSON.
    """
    if type(value) is dict:
        return len(value) != 1 or next(iter(value))[:1] != " "
    return type(value) is list


def same(one: Json | Absent, other: Json | Absent) -> bool:
    """Whether two values are the same JSON: True is not 1, and 1.0 is not 1."""
    return one is other or (one == other and encode_value(one) == encode_value(other))


def add(current: Json | Absent, by: int | float) -> int | float | None:
    """Return the sum, or None where a session could not hold it or there is no number."""
    if not is_number(current):
        return None
    try:
        total: int | float = current + by  # type: ignore[operator]  # it is a number
        validate_value("", total)
    except (OverflowError, ValueError):
        return None
    return total
