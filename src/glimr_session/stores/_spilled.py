"""Where a session is that may be in its cookie or on the server: how its cookie names it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from .._ids import split_cookie_value, storage_key
from .._session.serialization import StoredSession
from .base import CommitResult

__all__ = [
    "RETURNING", "ROOM_IN_TOKEN", "SPILLED", "Place", "Spilled", "name_of", "opened", "place_of",
    "room_in_cookie", "spilled_result",
]  # fmt: skip

# No session in a cookie begins with these: its alphabet has no colon.
SPILLED: Final = "spilled:"
RETURNING: Final = "returning:"

_ID: Final = re.compile("[0-9a-z]{20,64}", re.ASCII)

# RFC 6265, section 6.1: name, value and attributes together, in bytes.
_MAX_SIZE: Final = 4096

_SIGNATURE: Final = f".{'f' * 16}.{'x' * 43}"  # as the signer adds it, with the time

ROOM_IN_TOKEN: Final = _MAX_SIZE - len(_SIGNATURE)
"""How many bytes a token has for the session, with the setting ``transport = "header"``."""

# Own lifetimes of any length become Max-Age; this many digits are 300 million years.
_MAX_AGE: Final = "9" * 16


def room_in_cookie(name: str, *, path: str = "/", domain: str = "", samesite: str = "Lax") -> int:
    """Return how many bytes a cookie has for the session, whatever its other attributes are.

    Example:
        >>> room_in_cookie("glimr_session")
        3933
    """
    attributes = (
        f"Domain={domain}; HttpOnly; Max-Age={_MAX_AGE}; Path={path}; SameSite={samesite}; "
        "Secure; Partitioned"
    )
    return _MAX_SIZE - len(f"{name}={_SIGNATURE}; {attributes}")


class Place(NamedTuple):
    """Where a session is on the server.

    Attributes:
        id: its id.
        name: what the server knows it by.
        version: that which fits into the cookie, as the browser knows; "" if it does not.
    """

    id: str
    name: str
    version: str = ""

    def __repr__(self) -> str:
        """Show nothing: both are ids."""
        return f"<{type(self).__name__}>"


@dataclass
class Spilled:
    """The marks of a session on the server.

    Attributes:
        marks: those of the server.
        returning: whether the browser knows that it fits into its cookie, as it is.
        returned: whether it has left the server for its cookie.
        commits: those of this request.
    """

    marks: Any
    returning: bool
    returned: bool = False
    commits: int = 0

    def is_ours(self, stored: StoredSession) -> bool:
        """Whether nobody else has committed to a session since it was opened."""
        before, after = self.marks, stored.marks
        if before is None:
            return False
        begun: bool = after.number != before.number
        unchanged: bool = after.revision == before.revision + self.commits
        return begun or unchanged


def place_of(cookie_value: str) -> Place | None:
    """Return where a session is, by its cookie value or its id; None if it is in its cookie."""
    prefix, colon, rest = cookie_value.partition(":")
    if f"{prefix}{colon}" not in (SPILLED, RETURNING):
        if _ID.fullmatch(cookie_value):
            return Place(cookie_value, name_of(cookie_value))
        return None
    value, _, version = rest.partition(":")
    session_id, _ = split_cookie_value(value)
    return Place(session_id, name_of(session_id) + value.removeprefix(session_id), version)


def opened(
    found: StoredSession | None, place: Place, returned: bool = False
) -> StoredSession | None:
    if found is None:
        return None
    returning = place.version == f"{found.marks.revision:x}"
    return found._replace(id=place.id, marks=Spilled(found.marks, returning, returned))


def name_of(session_id: str) -> str:
    """Return the id on the server: not that of a session which the server has by itself."""
    return storage_key(f"spilled {session_id}").hex()


def spilled_result(session_id: str, result: CommitResult) -> CommitResult:
    """Return the result of a commit on the server with the cookie value for it."""
    if result.outcome != "stored":
        return result
    number = result.cookie_value.removeprefix(name_of(session_id))
    return CommitResult.stored(f"{SPILLED}{session_id}{number}")
