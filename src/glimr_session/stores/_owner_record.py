"""OwnerRecord: what has ended of the sessions of one owner, that are in cookies."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from .._ids import storage_key
from .._log import warn
from .._session.changes import ABSENT, Edit
from .._session.serialization import Owner, StoredSession

__all__ = ["CLOCK_DIFFERENCE", "OwnerRecord", "name_of_record"]

# How far the clocks of two machines may differ, in seconds.
CLOCK_DIFFERENCE: Final = 60.0

# Between a revocation and the next one, or a login that is known to come after it, in seconds.
_STEP: Final = 0.001

_ALL: Final = "all "  # what the keys of a record begin with
_ONE: Final = "one "


class _End(NamedTuple):
    """When something has ended of an owner's sessions.

    Attributes:
        at: by the clock of the machine that has ended it.
        since: sessions that were given to the owner until then have ended. Later than ``at``
            where a login was stamped with a later time.
    """

    at: float
    since: float


class OwnerRecord:
    """What has ended of an owner's sessions.

    Each revocation has a key of its own, so that those of requests at the same time are merged.
    Under ``all <random>`` is an ``_End``, and digests of the ids that stay; under ``one <digest of
    an id>`` an ``_End``, until when it matters, and when the session was given another id, or 0.
    """

    def __init__(self, stored: StoredSession | None) -> None:
        self._data: Mapping[str, Any] = {} if stored is None else stored.data

    def refuses(self, ids: set[str], since: float) -> bool:
        """Whether a session with one of these ids has ended that was given to the owner then."""
        return any(since - CLOCK_DIFFERENCE <= end.since for end in self._ends(ids))

    def refuses_login(self, ids: set[str], since: float) -> bool:
        """Whether a session has ended that this request has given to the owner.

        What a clock has ended that is more than a minute ahead says nothing of a login now.
        """
        latest = time.time() + CLOCK_DIFFERENCE
        ends = [end.at for end in self._ends(ids) if since <= end.at]
        if any(at > latest for at in ends):
            warn(
                "Sessions of an owner were ended at a time that is still to come: the clock of "
                "a machine is wrong, or was. Set the clocks of all machines by NTP.",
                once=True,
            )
        return any(at <= latest for at in ends)

    def floor(self, ids: set[str]) -> float:
        """Return the least time for a session that is given to the owner now; 0.0: any."""
        ends = [*(end.since for _, end, _ in self._all()), *(end.since for end in self._ends(ids))]
        return max(ends) + CLOCK_DIFFERENCE + _STEP if ends else 0.0

    def moved_at(self, session_id: str) -> float:
        """Return when a session was given another id, or 0.0."""
        ended = self._data.get(_one(session_id))
        return 0.0 if ended is None else ended[3]

    def ending_all(self, kept: set[str]) -> dict[str, Edit]:
        """Return the edits that end all sessions but those with these ids."""
        now, digests = time.time(), sorted(map(_digest, kept))
        # Later than what the logins since the last one were stamped with.
        since = max([now, *(end.since + 2 * _STEP for _, end, _ in self._all())])
        edits: dict[str, Edit] = {f"{_ALL}{secrets.token_hex(8)}": [now, since, [*digests]]}
        left = set[tuple[str, ...]]()
        for name, end, stays in sorted(self._all(), key=lambda one: -one[1].since):
            both = tuple(digest for digest in digests if digest in stays)  # the others have ended
            covered = len(both) == len(digests) or both in left
            edits[name] = ABSENT if covered else [*end, [*both]]
            left.add(both)
        for name in self._data:
            if name.startswith(_ONE) and name.removeprefix(_ONE) not in digests:
                edits[name] = ABSENT
        return edits

    def ending(
        self, ended: StoredSession, owner: Owner, until: float, moved_at: float
    ) -> dict[str, Edit]:
        """Return the edits that end one session, and forget those whose cookies have expired."""
        now = time.time()
        edits: dict[str, Edit] = {
            name: ABSENT
            for name, value in self._data.items()
            if name.startswith(_ONE) and value[2] < now
        }
        edits[_one(ended.id)] = [now, max(now, owner.since), until, moved_at]
        return edits

    def _all(self) -> Iterator[tuple[str, _End, list[str]]]:
        for name, value in self._data.items():
            if name.startswith(_ALL):
                yield name, _End(*value[:2]), value[2]

    def _ends(self, ids: set[str]) -> Iterator[_End]:
        digests = {_digest(one) for one in ids}
        yield from (end for _, end, kept in self._all() if digests.isdisjoint(kept))
        for one in ids:
            if _one(one) in self._data:
                yield _End(*self._data[_one(one)][:2])


def name_of_record(key: str) -> str:
    """Return the id of a record: no cookie can hold it."""
    return f"revoked {key}"


def _one(session_id: str) -> str:
    return f"{_ONE}{_digest(session_id)}"


def _digest(session_id: str) -> str:
    return storage_key(session_id).hex()[:32]
