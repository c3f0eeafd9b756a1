"""The messages a session understands, one for each verb.

They are tuples: a message is made and read on every operation, and a frozen dataclass
takes three times as long to make. Values in them are checked and belong to the session
already; what a reply holds must be copied before it is given to anybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .ids import fingerprint
from .payload import Json

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
    "Now",
    "Pull",
    "Put",
    "Reflash",
    "Regenerate",
    "SetDefault",
    "TakeChanges",
    "Update",
]


class Get(NamedTuple):
    """Ask for a value, or the default if there is none."""

    key: str
    default: Any


class Has(NamedTuple):
    """Ask whether a key is there."""

    key: str


class GetAll(NamedTuple):
    """Ask for all data."""


class GetId(NamedTuple):
    """Ask for the id."""


class GetFlash(NamedTuple):
    """Ask for what the request before has left, or the default."""

    key: str
    default: Any


class HasFlash(NamedTuple):
    """Ask whether the request before has left something."""

    key: str


class GetState(NamedTuple):
    """Ask for everything, the changes included."""


class Put(NamedTuple):
    """Set a key."""

    key: str
    value: Json


class Update(NamedTuple):
    """Set several keys at once."""

    values: Mapping[str, Json]


class SetDefault(NamedTuple):
    """Ask for a value, which is set first if there is none."""

    key: str
    value: Json


class Forget(NamedTuple):
    """Remove a key, there or not."""

    key: str


class Pull(NamedTuple):
    """Ask for a value and remove it."""

    key: str
    default: Any


class Increment(NamedTuple):
    """Add to a number, 0 if there is none, and ask for the sum."""

    key: str
    by: int | float


class Clear(NamedTuple):
    """Remove all data. The id and the flash stay."""


class Flash(NamedTuple):
    """Leave a value for the next request."""

    key: str
    value: Json


class Now(NamedTuple):
    """Show a value as if the request before had left it."""

    key: str
    value: Json


class Keep(NamedTuple):
    """Leave what this request was shown for the next one too."""

    keys: tuple[str, ...]


class Reflash(NamedTuple):
    """Leave everything this request was shown for the next one too."""


class Invalidate(NamedTuple):
    """End this session; what follows belongs to another one with this id."""

    new_id: str

    def __repr__(self) -> str:
        """Name the session by the hash of its id."""
        return f"Invalidate({fingerprint(self.new_id)})"


class Regenerate(NamedTuple):
    """Go on under this id."""

    new_id: str

    def __repr__(self) -> str:
        """Name the session by the hash of its id."""
        return f"Regenerate({fingerprint(self.new_id)})"


class TakeChanges(NamedTuple):
    """Ask for everything in order to commit it; later changes count from there."""


class Finish(NamedTuple):
    """Ask for everything in order to commit it, and stop."""
