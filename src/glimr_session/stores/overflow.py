"""OverflowStore: a session that does not fit into its cookie is kept on the server.

A cookie holds one of three things:

- a session;
- ``spilled:<id>``: the session is on the server;
- ``returning:<id>:<version>``: it is on the server, and fits again. When the browser has sent this,
  and nobody has committed since, the session is put into the next cookie that it gets. If that
  one is lost, this one still names the session as it left the server.

See docs/decisions/cookie-store.md.
"""

from __future__ import annotations

import time
from typing import Final

from .._ids import join_cookie_value
from .._session.changes import Changes
from .._session.serialization import StoredSession
from ..errors import SessionTooLarge
from ._spilled import (
    RETURNING,
    SPILLED,
    Spilled,
    name_of,
    opened,
    place_of,
    room_in_cookie,
    spilled_result,
)
from ._with_server import StoreWithServer
from .base import CommitResult, Data, Owner, SessionStore

__all__ = ["OverflowStore"]

# A session comes back when it takes no more than this part of the cookie, so that one that is
# about as large as a cookie does not come and go at each request.
_RETURNS_AT: Final = 0.75

# Attempts to put a session on the server, while other requests put it there or end it.
_TRIES: Final = 10


class OverflowStore(StoreWithServer):
    """Keeps sessions in cookies, and those that do not fit on the server until they do.

    What holds for a session in a cookie, and for one on the server, holds for as long as it is
    there. Cookies from before stay valid.

    Args:
        store: the store of the cookies.
        server: where sessions are kept that do not fit.
        limit: how many bytes of the cookie are for the session; see ``room_in_cookie``.

    Raises:
        ConfigError: sessions in ``store`` are not in cookies, or ``server`` is not atomic.

    Example:
        >>> import tempfile
        >>> from glimr_session import CookieStore, DiskStore
        >>> store = OverflowStore(CookieStore(), DiskStore(tempfile.mkdtemp()))
        >>> store.save("0" * 64, {"text": "long" * 1000}, {})
        >>> store.cookie_value("0" * 64, {"text": "long" * 1000}, {})[:12]
        'spilled:0000'
    """

    def __init__(
        self,
        store: SessionStore,
        server: SessionStore,
        *,
        limit: int = room_in_cookie("glimr_session"),
    ) -> None:
        super().__init__("cookie_overflow", store, server)
        self.max_cookie_size = None  # type: ignore[misc]
        self.finds_by_id = server.finds_by_id  # type: ignore[misc]
        self._limit = limit

    def open(self, cookie_value: str) -> StoredSession | None:
        place = place_of(cookie_value)
        if place is None:
            return self._store.open(cookie_value)
        found = self._server.open(place.name)
        if found is None and place.version:
            found, left = self._server.find(place.name)
            return opened(found, place, left) if left else None
        return opened(found, place)

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        base = changes.base
        if base is None or not isinstance(base.marks, Spilled):
            return self._commit_from_cookie(changes, wait)
        if not base.marks.returned:
            return self._commit_on_server(base, base.marks, changes, wait)
        if self._find_left(base, base.marks) is None:  # a logout, since then
            return CommitResult.GONE
        result = self._commit_from_cookie(changes, wait)
        if result.cookie_value.startswith(SPILLED):
            base.marks.marks, base.marks.returned = None, False
        return result

    def touch(self, cookie_value: str) -> bool:
        place = place_of(cookie_value)
        return self._store.touch(cookie_value) if place is None else self._server.touch(place.name)

    def has_moved(self, cookie_value: str) -> bool:
        """Whether a login has moved the session, or it has returned to its cookie."""
        place = place_of(cookie_value)
        if place is None:
            return self._store.has_moved(cookie_value)
        if self._server.has_moved(place.name):
            return True
        found, left = self._server.find(place.name)
        return left and (found is None or time.time() - found.last_used_at < self.overlap)

    def destroy(self, session_id: str) -> None:
        place = place_of(session_id)
        if place is not None:
            self._server.destroy(place.name)
            if not self.finds_by_id and place.name != name_of(place.id):
                self._server.destroy(name_of(place.id))
            return
        found = self._store.open(session_id)
        if found is not None:
            self._forget_on_server(found)

    def forget_left(self, stored: StoredSession) -> None:
        """Do nothing: a late request names the session by its old cookie, as without overflow."""

    def save(self, session_id: str, data: Data, flash: Data) -> None:
        place = place_of(session_id)
        name = name_of(session_id) if place is None else place.name
        if self._value_for(session_id, data, flash) is None:
            self._server.save(name, data, flash)
        elif self._server.open(name) is not None:
            self._server.destroy(name)

    def cookie_value(self, session_id: str, data: Data, flash: Data) -> str:
        value = self._value_for(session_id, data, flash)
        return f"{SPILLED}{session_id}" if value is None else value

    async def aopen(self, cookie_value: str) -> StoredSession | None:
        place = place_of(cookie_value)
        if place is None:
            return await self._store.aopen(cookie_value)
        if place.version:
            return await super().aopen(cookie_value)
        return opened(await self._server.aopen(place.name), place)

    async def acommit(self, changes: Changes) -> CommitResult:
        base = changes.base
        if (base is None or base.marks is None) and not changes.invalidated:
            result = self._in_cookie(changes)
            if result is not None:
                return result
        return await super().acommit(changes)

    # What fits into the cookie.

    def _in_cookie(self, changes: Changes) -> CommitResult | None:
        """Return the result of a commit in the cookie, or None if it does not fit."""
        try:
            result = self._store.commit(changes)
        except SessionTooLarge:
            return None
        return result if len(result.cookie_value) <= self._limit else None

    def _value_for(self, session_id: str, data: Data, flash: Data) -> str | None:
        try:
            value = self._store.cookie_value(session_id, data, flash)
        except SessionTooLarge:
            return None
        return value if len(value) <= self._limit else None

    # Out of a cookie: as in every cookie, of two requests the later one wins whole.

    def _commit_from_cookie(self, changes: Changes, wait: bool) -> CommitResult:
        base = changes.base
        if changes.invalidated and base is not None:
            self._forget_on_server(base)
        result = self._in_cookie(changes)
        if result is not None:
            return result
        if base is None or changes.invalidated:
            begun = changes._replace(base=None, invalidated=False, id=name_of(changes.id))
            return spilled_result(changes.id, self._server.commit(begun, wait=wait))
        return self._spill(base, changes) if wait else CommitResult.BUSY

    def _spill(self, base: StoredSession, changes: Changes) -> CommitResult:
        """Put a session on the server, in place of what it was there before."""
        now = time.time()
        data, flash = changes.replay(base.data, base.flash)
        content = StoredSession(
            id=name_of(changes.id),
            data=data,
            flash=flash,
            created_at=now if changes.id_changed else base.created_at or now,
            last_used_at=now,
            lifetime=changes.lifetime_on(base),
            expire_on_close=changes.expire_on_close_on(base),
            owner=changes.owner_on(base),
        )
        for _ in range(_TRIES):
            if self._server.adopt(content):
                return CommitResult.stored(f"{SPILLED}{changes.id}")
            present = self._server.open(content.id)
            if present is None:  # it has ended, or has just returned
                continue
            replaced = Changes(
                present,
                present.id,
                cleared=True,
                edits=data,
                flash=flash,
                consumed=present.flash,
                lifetime=content.lifetime,
                expire_on_close=content.expire_on_close,
                owner=content.owner or Owner(""),
            )
            result = self._server.commit(replaced)
            if result.outcome == "stored":
                return spilled_result(changes.id, result)
        return CommitResult.GONE

    def _forget_on_server(self, ended: StoredSession) -> None:
        """Destroy what another cookie of the session names."""
        name = name_of(ended.id)
        numbered = name
        if isinstance(ended.marks, Spilled):  # first: see _under_own_number
            numbered = join_cookie_value(name, _number(ended.marks))
        for one in {numbered: None, name: None}:
            found, left = self._server.find(one)
            if left and found is not None:
                self._server.forget_left(found)
            elif found is not None:
                self._server.destroy(one)

    # On the server.

    def _commit_on_server(
        self, base: StoredSession, marks: Spilled, changes: Changes, wait: bool
    ) -> CommitResult:
        there = base._replace(id=name_of(base.id), marks=marks.marks)
        result = self._server.commit(
            changes._replace(base=there, id=name_of(changes.id)), wait=wait
        )
        if result is CommitResult.GONE:
            return self._commit_after_return(base, marks, changes, wait)
        if result.outcome != "stored":
            return result
        spilled = spilled_result(changes.id, result)
        marks.commits += 1
        if wait and self._in_cookie(changes) is not None:
            return self._returned(result.cookie_value, marks, changes.id) or spilled
        return spilled

    def _returned(self, name: str, marks: Spilled, session_id: str) -> CommitResult | None:
        """Return the result for a session that fits again, or None.

        If another request has committed too, the session stays where it is: the browser may be
        given the cookie of that request after this one's.
        """
        stored = self._server.open(name)
        if stored is None or not marks.is_ours(stored):
            return None
        result = self._in_cookie(Changes(stored._replace(id=session_id), session_id))
        if result is None:
            return None
        if not marks.returning:
            if len(result.cookie_value) > _RETURNS_AT * self._limit:
                return None
            number = name.removeprefix(name_of(session_id))
            version = f"{stored.marks.revision:x}"
            return CommitResult.stored(f"{RETURNING}{session_id}{number}:{version}")
        left = self._server.leave(stored)
        if left is not None and not self._server.finds_by_id:
            left = self._under_own_number(left, name)
        if left is None:
            return None
        marks.marks, marks.returned = left.marks, True
        return result

    def _under_own_number(self, left: StoredSession, name: str) -> StoredSession | None:
        """Put a session that has left where its id alone names it, for a later logout.

        Its cookie has its id, and not the number that it was given with its first id.
        """
        if name == left.id or not self._server.adopt(left._replace(marks=None)):
            return left
        there = self._server.open(left.id)
        moved = None if there is None else self._server.leave(there)
        # A logout meanwhile has either ended what is here before this look, or finds the other.
        if moved is not None and self._server.find(name)[0] is None:
            self._server.forget_left(moved)
            moved = None
        self._server.destroy(name)
        return moved

    def _commit_after_return(
        self, base: StoredSession, marks: Spilled, changes: Changes, wait: bool
    ) -> CommitResult:
        """Commit what a login or a logout has written, where the session has returned."""
        left = None
        if changes.id_changed or changes.invalidated:
            left = self._find_left(base, marks)
        if left is None:
            return CommitResult.GONE
        if changes.invalidated:
            self._forget_on_server(base)
        own = changes._replace(base=None, invalidated=False, consumed={})
        result = self._commit_from_cookie(own, wait)
        if result is CommitResult.EMPTY and not changes.invalidated:
            return CommitResult.GONE
        return result

    def _find_left(self, base: StoredSession, marks: Spilled) -> StoredSession | None:
        """Return a session as it left the server; None if it has not, or has ended since."""
        name = join_cookie_value(name_of(base.id), _number(marks))
        found, left = self._server.find(name)
        return found if left else None


def _number(marks: Spilled) -> int:
    number: int = getattr(marks.marks, "number", 0)
    return number
