"""What every store that merges commits writes of a session, and the rules of its versions.

A session that is stored has a revision, which each commit adds one to. A request remembers the
revision that it has opened; if another one is there at its commit, its changes are replayed.
"""

from __future__ import annotations

from typing import Final

import msgspec

from .._session.changes import Changes
from .._session.sealing import SEALED, Sealer
from .._session.serialization import (
    PayloadDecoder,
    Record,
    SessionPayload,
    StoredSession,
    encode,
)
from .base import Data

__all__ = [
    "ARRIVAL",
    "CLOCK_GRACE",
    "EXPIRY_MARGIN",
    "LEAVING",
    "REMEMBERED",
    "TOMBSTONE",
    "Content",
    "Marks",
    "adopted",
    "begun",
    "belongs_to",
    "decode_content",
    "gives_way",
    "has_left",
    "is_leaving",
    "last_use",
    "merged",
    "same_session",
]

CLOCK_GRACE: Final = 5 * 3600.0
"""Seconds by which what is stored outlives its session, where a clock that is wrong could remove
it: so that one that steps forward by less, and back again, has destroyed nothing. Two hours are
a mistaken time zone, four those from two hours behind to two ahead."""

EXPIRY_MARGIN: Final = 0.1
"""The time of removal may lie ahead by this share of the idle timeout, so that a session in use
need not move it at each commit."""

TOMBSTONE: Final = b""
"""The value that is left, for ``SessionStore.overlap``, where a session was when a login has
invalidated it and begun another one. It is no JSON."""

LEAVING: Final = b"\0"
"""What the value of a session begins with that is on its way to another store. Nothing else is
in the value of one that has left. It is no JSON."""

ARRIVAL: Final = 2
"""How much later a session's revision is in the store that adopts it than at its leaving. The
mark that stays behind has the one between, which no request knows: a commit that compares
revisions cannot take the mark for the session."""

REMEMBERED: Final = 600.0
"""Seconds for which a store remembers that a session has left for another one or, while sessions
are moved, that it has ended. No request takes that long to move a session that it has found."""

# Commits of others to a session while a request has it open, at most. Revisions begin at
# random, so one that is farther away is that of another session.
_MAX_COMMITS: Final = 2**24


class Content(SessionPayload, omit_defaults=True):
    """What no column has. ``flashed`` is the revision in which each flash value was set."""

    flashed: dict[str, int] = msgspec.field(default_factory=dict)


_decode: Final = PayloadDecoder(Content)


def decode_content(value: bytes, key: bytes, sealer: Sealer | None) -> Content | None:
    """Return the content of a session, or None if it is unreadable.

    Args:
        value: as it is stored.
        key: what it is stored under, and was sealed for.
        sealer: opens it, if it is sealed.

    Raises:
        StoreUnavailable: it is sealed, and the package that opens it is not installed.
    """
    if sealer is None or value[:2] != SEALED:
        return _decode(value)
    opened = sealer.open(value, key)
    return None if opened is None else _decode(opened)


class Marks(Record, frozen=True):
    """Where a session is, and at which version. It takes them along to another store.

    Attributes:
        number: what it is kept under, for life.
        key: the SHA-256 of its id.
        revision: counts commits.
        purge_after: when the store may remove it; 0.0 if the store does not say.
        flashed: the revision in which each flash value was set.
        commits: the marks of its last commits, in stores that have them.
    """

    number: int
    key: bytes
    revision: int
    purge_after: float
    flashed: dict[str, int]
    commits: bytes = b""


def is_leaving(value: bytes) -> bool:
    """Whether a value is that of a session on its way to another store."""
    return len(value) > len(LEAVING) and value.startswith(LEAVING)


def has_left(value: bytes) -> bool:
    """Whether a value is what a session has left when it was moved to another store."""
    return value == LEAVING


def belongs_to(found: StoredSession | None, owner: str, value: bytes) -> bool:
    """Whether a session that is listed under an owner has to end with all of the owner's.

    One that is encrypted with a key that is not here does: nobody can tell whose it is, and where
    its key is known it goes on.

    Args:
        found: the session, or None if it cannot be read.
        owner: the key of the owner.
        value: as it is stored.
    """
    if found is None:
        return value.removeprefix(LEAVING).startswith(SEALED)
    return found.owner is not None and found.owner.key == owner


def gives_way(value: bytes, revision: int, stored: StoredSession) -> bool:
    """Whether what is in the place of a session gives way to it when it comes from elsewhere.

    Only what has left or ended does, and only if it did so before the session was where it
    comes from: a request that was slow to move it may bring a session that has been here since.

    Args:
        value: what is in its place.
        revision: of that.
        stored: the session.
    """
    marks = stored.marks
    if not isinstance(marks, Marks):  # its store does not count, and cannot say what was before
        return value.startswith(LEAVING)
    gone = value == TOMBSTONE or value.startswith(LEAVING)
    return gone and not same_session(revision, marks.revision)


def same_session(revision: int, opened: int) -> bool:
    """Whether two revisions can be of one session, and not of one saved under its id since."""
    return 0 <= revision - opened < _MAX_COMMITS


def last_use(found: StoredSession, now: float) -> float:
    """Return the time of a use of a session that is used now: not before its last one.

    A clock that was set back would record an earlier one, and when it is right again the
    session would have been idle for as long as the clock was wrong. (If the last use is far
    in the future, that one was wrong.)
    """
    return found.last_used_at if now < found.last_used_at < now + CLOCK_GRACE else now


def adopted(stored: StoredSession, revision: int) -> bytes:
    """Return the value of a session that comes from another store."""
    unchanged = Changes(stored, stored.id)
    marks = stored.marks
    flashed = marks.flashed if isinstance(marks, Marks) else dict.fromkeys(stored.flash, revision)
    return _encode(stored.data, stored.flash, flashed, unchanged, stored)


def begun(changes: Changes, revision: int) -> bytes | None:
    """Return the value of a session that the changes begin; None if there is nothing in it."""
    data, flash = changes.replay({}, {})
    if not data and not flash:
        return None
    return _encode(data, flash, dict.fromkeys(flash, revision), changes, None)


def merged(
    found: StoredSession, flashed: dict[str, int], revision: int, changes: Changes, since: int
) -> bytes:
    """Replay changes onto a stored session that may have changed since a revision.

    Args:
        found: the session.
        flashed: the revision in which each of its flash values was set.
        revision: the one that this commit makes.
        changes: what the request did.
        since: the revision that the request has opened.
    """
    if not found.flash:
        data, flash = changes.replay(found.data, found.flash)
        return _encode(data, flash, dict.fromkeys(flash, revision), changes, found)
    newer = {key for key, set_in in flashed.items() if since < set_in < revision}
    data, flash = changes.replay(found.data, found.flash, flash_set_since=newer)
    set_in = {key: revision if key in changes.flash else flashed.get(key, 0) for key in flash}
    return _encode(data, flash, set_in, changes, found)


def _encode(
    data: Data,
    flash: Data,
    flashed: dict[str, int],
    changes: Changes,
    found: StoredSession | None,
) -> bytes:
    return encode(
        Content(
            data=data,
            flash=flash,
            lifetime=changes.lifetime_on(found) or None,
            expire_on_close=changes.expire_on_close_on(found),
            owner=changes.owner_on(found),
            flashed=flashed,
        )
    )
