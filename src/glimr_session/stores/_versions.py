"""What every store that merges commits writes of a session, and the rules of its versions.

A session that is stored has a revision, which each commit adds one to. A request remembers the
revision that it has opened; if another one is there at its commit, its changes are replayed.
"""

from __future__ import annotations

from typing import Final

import msgspec

from .._session.changes import Changes
from .._session.serialization import PayloadDecoder, SessionPayload, StoredSession, encode
from .base import Data

__all__ = [
    "CLOCK_GRACE",
    "EXPIRY_MARGIN",
    "LEAVING",
    "TOMBSTONE",
    "Content",
    "adopted",
    "begun",
    "decode_content",
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
"""What the value of a session begins with that is on its way to another store."""

# Commits of others to a session while a request has it open, at most. Revisions begin at
# random, so one that is farther away is that of another session.
_MAX_COMMITS: Final = 2**24


class Content(SessionPayload, omit_defaults=True):
    """What no column has. ``flashed`` is the revision in which each flash value was set."""

    flashed: dict[str, int] = msgspec.field(default_factory=dict)


decode_content: Final = PayloadDecoder(Content)


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
    flashed = dict.fromkeys(stored.flash, revision)
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
            flashed=flashed,
        )
    )
