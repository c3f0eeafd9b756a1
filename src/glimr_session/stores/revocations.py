"""RevocableStore: sessions in cookies that can be ended, with a record for each owner.

The record is on the server and says what has ended: all sessions that were given to the owner up
to a time, but for those that stay; and single ones. Each request with a session that belongs to
somebody reads the record of its owner.

See docs/decisions/cookie-store.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from .._ids import owner_key, split_cookie_value
from .._session.changes import ABSENT, Changes, Edit
from .._session.serialization import StoredSession
from ..errors import SessionTooLarge, StoreUnavailable
from ._owner_record import CLOCK_DIFFERENCE, OwnerRecord, name_of_record
from ._spilled import room_in_cookie
from ._with_server import StoreWithServer
from .base import OF_A_RECORD, AnySession, CommitResult, Data, Owner, SessionStore

__all__ = ["RevocableStore"]

# What browsers keep a cookie for at most. A record outlives each cookie that it is about.
_LONGEST_LIFETIME: Final = 400 * 86400.0

# The record is no session, and the absolute timeout of sessions does not end it.
_CENTURY: Final = 100 * 365 * 86400.0

# Attempts to write a record, while other requests make it.
_TRIES: Final = 100


class RevocableStore(StoreWithServer):
    """Keeps sessions in cookies, and on the server whose sessions were ended.

    ``destroy_all`` ends the sessions of an owner. A session that belongs to somebody is refused
    after a logout, and after it was given another id, whoever has copied its cookie.

    No session lives for more than 400 days without being used, unless ``store`` says so.

    Args:
        store: the store of the cookies; an ``OverflowStore`` too.
        server: where the records are kept.
        limit: how many bytes of the cookie are for the session; see ``room_in_cookie``.

    Raises:
        ConfigError: sessions in ``store`` are not in cookies, or ``server`` is not atomic.

    Example:
        >>> import tempfile
        >>> from glimr_session import CookieStore, DiskStore
        >>> store = RevocableStore(CookieStore(), DiskStore(tempfile.mkdtemp()))
        >>> store.destroy_all(7)
        0
    """

    ends_owners = True

    def __init__(
        self,
        store: SessionStore,
        server: SessionStore,
        *,
        limit: int = room_in_cookie("glimr_session"),
    ) -> None:
        super().__init__("cookie_revocations", store, server)
        self._limit = limit
        self.finds_by_id = store.finds_by_id  # type: ignore[misc]
        self._longest = max(_LONGEST_LIFETIME, self.lifetime)

    def open(self, cookie_value: str) -> StoredSession | None:
        found = self._store.open(cookie_value)
        if found is None or found.owner is None:
            return found
        return self._judged(found, found.owner, self._record(found.owner.key))

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        plan = _plan(changes, {key: self._record(key) for key in _owners_in(changes)})
        if plan is None:
            return CommitResult.GONE
        result = self._store.commit(self._capped(plan.changes), wait=wait)
        if result.outcome in ("stored", "empty") and plan.ended is not None:
            size = len(result.cookie_value)
            if size > self._limit:  # the response will be refused, and must not have ended anything
                raise SessionTooLarge(
                    f"the session takes {size} bytes, and its cookie or token has room for "
                    f"{self._limit}; store less, or set cookie_overflow",
                    size=size,
                    limit=self._limit,
                )
            self._end(*plan.ended)
        return result

    def touch(self, cookie_value: str) -> bool:
        return self.open(cookie_value) is not None and self._store.touch(cookie_value)

    def has_moved(self, cookie_value: str) -> bool:
        if self._store.has_moved(cookie_value):
            return True
        found = self._store.open(cookie_value)
        if found is None or found.owner is None:
            return False
        moved_at = self._record(found.owner.key).moved_at(found.id)
        return abs(time.time() - moved_at) < self.overlap

    def destroy_all(self, owner: str | int, *, except_: AnySession | None = None) -> int:
        """End all sessions of an owner but one; return 0, for nobody has counted them.

        A login that commits after this is another session.
        """
        kept = set[str]() if except_ is None else self._ids_of(except_)
        self._write(owner_key(owner), lambda record: record.ending_all(kept))
        return 0

    def destroy(self, session_id: str) -> None:
        found = self._store.open(session_id)
        if found is not None and found.owner is not None:
            self._end(found, found.owner, 0.0)
        self._store.destroy(session_id)

    def leave(self, stored: StoredSession) -> StoredSession | None:
        unchanged = Changes(stored, stored.id)
        plan = _plan(unchanged, {key: self._record(key) for key in _owners_in(unchanged)})
        return None if plan is None else stored

    def forget_left(self, stored: StoredSession) -> None:
        self._store.forget_left(stored)

    def save(self, session_id: str, data: Data, flash: Data) -> None:
        self._store.save(session_id, data, flash)

    def cookie_value(self, session_id: str, data: Data, flash: Data) -> str:
        return self._store.cookie_value(session_id, data, flash)

    async def aopen(self, cookie_value: str) -> StoredSession | None:
        found = await self._store.aopen(cookie_value)
        if found is None or found.owner is None:
            return found
        return self._judged(found, found.owner, await self._arecord(found.owner.key))

    async def acommit(self, changes: Changes) -> CommitResult:
        records = {key: await self._arecord(key) for key in _owners_in(changes)}
        plan = _plan(changes, records)
        if plan is None:
            return CommitResult.GONE
        if plan.ended is None:
            return await self._store.acommit(self._capped(plan.changes))
        return await super().acommit(changes)

    def _record(self, key: str) -> OwnerRecord:
        return OwnerRecord(self._server.open(name_of_record(key)))

    async def _arecord(self, key: str) -> OwnerRecord:
        return OwnerRecord(await self._server.aopen(name_of_record(key)))

    def _judged(
        self, found: StoredSession, owner: Owner, record: OwnerRecord
    ) -> StoredSession | None:
        too_old = time.time() >= found.last_used_at + self._longest
        if too_old or record.refuses({found.id}, owner.since):
            return None
        read = _Read(owner.key, owner.since, owner.noted)
        return found._replace(owner=read, marks=_Opened(found.marks, owner.key))

    def _capped(self, changes: Changes) -> Changes:
        if changes.lifetime is None or changes.lifetime <= self._longest:
            return changes
        return changes._replace(lifetime=self._longest)

    def _until(self, lifetime: float) -> float:
        """Return when the last copy of a cookie has expired that is used no more."""
        return time.time() + max(lifetime, self.lifetime) + CLOCK_DIFFERENCE

    def _ids_of(self, session: AnySession) -> set[str]:
        if isinstance(session, str):
            found = self._store.open(session)
            return {split_cookie_value(session)[0] if found is None else found.id}
        any_session: Any = session
        state = getattr(any_session, "session", any_session).state()
        base: StoredSession | None = state.changes.base
        return {state.id} if base is None else {state.id, base.id}

    def _end(self, ended: StoredSession, owner: Owner, moved_at: float) -> None:
        until = self._until(ended.lifetime)
        self._write(owner.key, lambda record: record.ending(ended, owner, until, moved_at))

    def _write(self, key: str, edits_of: Callable[[OwnerRecord], dict[str, Edit]]) -> None:
        """Change a record; edits of other requests at the same time are merged."""
        lifetime = self._longest + CLOCK_DIFFERENCE
        for _ in range(_TRIES):
            stored = self._server.open(name_of_record(key))
            edits = edits_of(OwnerRecord(stored))
            if stored is None:
                now = time.time()
                record = StoredSession(
                    id=name_of_record(key),
                    data={name: edit for name, edit in edits.items() if edit is not ABSENT},
                    created_at=now + _CENTURY,
                    last_used_at=now,
                    lifetime=lifetime,
                    owner=OF_A_RECORD,
                )
                if self._server.adopt(record):
                    return
            else:
                changes = Changes(stored, stored.id, edits=edits, lifetime=lifetime)
                if self._server.commit(changes).outcome == "stored":
                    return
        raise StoreUnavailable("a revocation could not be written: other requests never paused")


class _Read(Owner, frozen=True):
    """The owner of a session as it was read, and not given to it by this request.

    A commit that was cancelled is made again without the marks, and with this.
    """


@dataclass
class _Opened:
    """The marks of a session that was read with the record of its owner.

    Attributes:
        marks: those of the store of the cookies.
        owner: the key of whom it belonged to then.
        since: when it was given to that owner, as a later commit of this request has it.
    """

    marks: Any
    owner: str
    since: float = 0.0


class _Plan(NamedTuple):
    """A commit, and what it ends: the session, its owner, and when it moved to another id."""

    changes: Changes
    ended: tuple[StoredSession, Owner, float] | None = None


def _owners_in(changes: Changes) -> set[str]:
    """Return the keys of the owners whose records a commit depends on."""
    base = changes.base
    owners = (changes.owner, None if base is None else base.owner)
    return {owner.key for owner in owners if owner is not None and owner.key}


def _plan(changes: Changes, records: Mapping[str, OwnerRecord]) -> _Plan | None:
    """Return what is to be committed, or None if the session has ended."""
    base, given = changes.base, changes.owner
    opened = None
    if base is not None and isinstance(base.marks, _Opened):
        opened = base.marks
        changes = changes._replace(base=base._replace(marks=opened.marks))
    before = None if base is None else base.owner
    ids = {changes.id} if base is None or changes.invalidated else {changes.id, base.id}
    if base is not None and before is not None and not changes.invalidated:
        if isinstance(before, _Read):
            since = max(before.since, 0.0 if opened is None else opened.since)
            ended = records[before.key].refuses(ids, since)
        else:  # it was given to its owner by an earlier commit of this request
            ended = records[before.key].refuses_login(ids, before.since)
        if ended:
            return None
    if given is not None and given.key and records[given.key].refuses_login(ids, given.since):
        return None
    after = changes.owner_on(base)
    if after is not None and after.since < records[after.key].floor(ids):
        after = after._replace(since=records[after.key].floor(ids))
        changes = changes._replace(owner=after)
        if opened is not None and opened.owner == after.key:
            opened.since = after.since
    if base is None or before is None:
        return _Plan(changes)
    other_owner = after is None or after.key != before.key
    if not (changes.invalidated or changes.id_changed or other_owner):
        return _Plan(changes)
    goes_on = not changes.invalidated or changes.edits or changes.flash
    return _Plan(changes, (base, before, time.time() if goes_on else 0.0))
