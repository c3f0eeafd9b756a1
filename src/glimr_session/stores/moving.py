"""MovingStore: from one store to another while requests come, and nobody is logged out.

A session is in one store at a time. It moves when it is next written: in its old store it is
marked as leaving, which only one request can do, and nobody commits to it there any more; the
new store adopts it; the old one forgets it. Whoever finds a session that is leaving finishes
its move, so that a process that is killed in between loses nothing.

See docs/decisions/moving.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, ClassVar, Final

from .._session.changes import Changes
from .._session.serialization import StoredSession
from .._session.values import JsonInput, validate_items
from .._validation import Duration, to_seconds
from ..errors import ConfigError, StoreUnavailable
from .base import CommitResult, SessionStore

__all__ = ["ForeignSessions", "MovingStore"]

_DECLARED: Final = ("kind", "server_side", "atomic", "finds_by_id", "max_cookie_size", "overlap")

# Attempts to move a session that other requests commit to meanwhile.
_TRIES: Final = 100

# Seconds for which the end of a session is remembered, so that a request that was moving it
# meanwhile does not bring it back.
_REMEMBERED: Final = 600.0

_FOREIGN: Final = "~"  # no id and no payload begins with it


class MovingStore(SessionStore):
    """Keeps sessions in one store, and takes those that it does not have out of another.

    Each session moves when it is first written, or renewed, and keeps its id, its content and
    its times. Until no session is left in the old store, a request whose session is in neither
    asks both. Two processes may move in opposite directions, as while a setting is changed
    process by process.

    Args:
        store: where sessions are from now on, on the server.
        former: where they were; a cookie store or ``ForeignSessions`` too.

    Raises:
        ConfigError: nothing can be moved to this store.

    Example:
        >>> from glimr_session import new, CookieStore
        >>> from glimr_session.stores.base import NullStore
        >>> MovingStore(NullStore(), CookieStore()).former_kinds
        ('cookie',)
    """

    def __init__(self, store: SessionStore, former: SessionStore) -> None:
        if not store.server_side:
            raise ConfigError("move_from: sessions can only be moved to a store on the server")
        self._new, self._old = store, former
        for name in _DECLARED:
            setattr(self, name, getattr(store, name))
        self.expires_by_itself = store.expires_by_itself and (  # type: ignore[misc]
            former.expires_by_itself or not former.server_side
        )
        self.lifetime = store.lifetime
        self.absolute_lifetime = store.absolute_lifetime
        kinds = dict.fromkeys((former.kind, *former.former_kinds))
        self.former_kinds = tuple(kind for kind in kinds if kind != store.kind)
        self.former_cookie = former.former_cookie

    def open(self, cookie_value: str) -> StoredSession | None:
        if not cookie_value.startswith(_FOREIGN):
            stored = self._new.open(cookie_value)
            if stored is not None:
                return stored
        return self._elsewhere(cookie_value)

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        base = changes.base
        if base is None:
            return self._new.commit(changes, wait=wait)
        if isinstance(base.marks, _Coming):
            base = self._take(base, base.marks)
            if base is None:
                return CommitResult.GONE
        if changes.invalidated:  # first, so that a request that moves it now sees it
            self._remember_end(base.id)
        result = self._new.commit(changes._replace(base=base), wait=wait)
        if result is CommitResult.GONE:
            result = self._follow(changes, base, wait)
        if changes.invalidated and result is not CommitResult.BUSY:
            self._old.destroy(base.id)
        return result

    def gc(self) -> int:
        return sum(store.gc() for store in self._collected())

    def claim_gc(self, interval: float) -> float:
        return self._collected()[0].claim_gc(interval)

    def stop_gc(self) -> None:
        for store in self._collected():
            store.stop_gc()

    def touch(self, cookie_value: str) -> bool:
        if self._new.touch(cookie_value):
            return True
        stored = self._elsewhere(cookie_value)
        return stored is not None and self.commit(Changes(stored, stored.id)).outcome == "stored"

    def has_moved(self, cookie_value: str) -> bool:
        return self._new.has_moved(cookie_value) or self._old.has_moved(cookie_value)

    def destroy(self, session_id: str) -> None:
        found = self.open(session_id)
        if found is not None:
            self._remember_end(found.id)
        self._new.destroy(session_id)
        self._old.destroy(session_id)

    def close(self) -> None:
        self._new.close()
        self._old.close()

    async def aopen(self, cookie_value: str) -> StoredSession | None:
        stored = await self._new.aopen(cookie_value)
        return stored if stored is not None else await super().aopen(cookie_value)

    async def acommit(self, changes: Changes) -> CommitResult:
        base = changes.base
        if base is not None and (changes.invalidated or isinstance(base.marks, _Coming)):
            return await super().acommit(changes)
        result = await self._new.acommit(changes)
        return await super().acommit(changes) if result is CommitResult.GONE else result

    async def atouch(self, cookie_value: str) -> bool:
        return await self._new.atouch(cookie_value) or await super().atouch(cookie_value)

    def _collected(self) -> list[SessionStore]:
        return [
            store
            for store in (self._new, self._old)
            if store.server_side and not store.expires_by_itself
        ] or [self._new]

    def _elsewhere(self, cookie_value: str) -> StoredSession | None:
        """Return a session that is in the old store, or on its way; nothing is written."""
        for store in (self._old, self._new):  # again the new one: it may have come meanwhile
            found, leaving = store.find(cookie_value)
            if found is None:
                continue
            if store is self._new and not leaving:
                return found
            if not self._old.server_side:  # whose cookies come again and again
                taken = self._new.open(found.id)
                if taken is not None or self._has_ended(found.id):
                    return taken
            return found._replace(marks=_Coming(store, cookie_value, found, leaving))
        return None

    def _take(self, base: StoredSession, coming: _Coming) -> StoredSession | None:
        """Move a session to the new store; return it as it is there, None if it has ended.

        Args:
            base: the session as the request has it.
            coming: where it was found.
        """
        if coming.taken is not None:  # by an earlier commit of this request
            return base._replace(marks=coming.taken.marks)
        session_id = coming.stored.id
        for _ in range(_TRIES):
            is_over = False
            if coming.source is self._new:
                self._finish(coming)
            else:
                is_over = not self._try(coming)
            present = self._new.open(session_id)
            if present is not None or is_over:
                coming.taken = present
                return present
            found, leaving = self._old.find(coming.cookie_value)
            if found is None:
                return None
            coming.source, coming.stored, coming.leaving = self._old, found, leaving
        raise StoreUnavailable("a session could not be moved: other requests never paused")

    def _try(self, coming: _Coming) -> bool:
        """Move a session unless it changes meanwhile; return whether it can still be there."""
        left = coming.stored if coming.leaving else self._old.leave(coming.stored)
        if left is None:
            return True
        if not self._old.server_side and self._has_ended(left.id):
            return False
        kept = self._new.adopt(left)
        if kept and self._has_ended(left.id):  # while it was on its way
            self._new.destroy(left.id)
            self._old.forget_left(left)
            return False
        if kept and not self._old.server_side:  # a copy of the cookie does not move again
            self._remember_end(left.id)
        self._old.forget_left(left)
        return True

    def _finish(self, coming: _Coming) -> None:
        """Finish the move of a session that another process was taking to the old store."""
        if self._old.adopt(coming.stored) and self._has_ended(coming.stored.id):
            self._old.destroy(coming.stored.id)
        self._new.forget_left(coming.stored)

    def _follow(self, changes: Changes, base: StoredSession, wait: bool) -> CommitResult:
        """Commit to a session that another process has taken to the old store meanwhile."""
        found, leaving = self._old.find(base.id)
        if found is None:
            return CommitResult.GONE
        present = self._take(base, _Coming(self._old, base.id, found, leaving))
        if present is None:
            return CommitResult.GONE
        return self._new.commit(changes._replace(base=present), wait=wait)

    # The ends of sessions: a session each, under a name that is no id.

    def _remember_end(self, session_id: str) -> None:
        lifetime = _REMEMBERED
        if not self._old.server_side:  # for as long as a copy of its cookie could be used
            lifetime = max(lifetime, self._old.lifetime)
        mark = Changes(None, f"ended {session_id}", edits={"ended": True}, lifetime=lifetime)
        self._new.commit(mark)

    def _has_ended(self, session_id: str) -> bool:
        return self._new.open(f"ended {session_id}") is not None


class _Coming:
    """The marks of a session that is still to be moved."""

    def __init__(
        self, source: SessionStore, cookie_value: str, stored: StoredSession, leaving: bool
    ) -> None:
        self.source = source
        self.cookie_value = cookie_value
        self.stored = stored
        self.leaving = leaving
        self.taken: StoredSession | None = None  # as it is in the new store


class ForeignSessions(SessionStore):
    """The sessions of a framework, to be moved: named by a cookie of its own.

    Set ``move_from = "package.module:factory"`` to a function that returns this. The
    framework's cookie ends when its session has been moved.

    Args:
        cookie: the name of the cookie.
        load: returns the data of the session behind a cookie's value, None if there is none.
            It verifies the value; it raises OSError in an outage.
        destroy: removes it, where the framework keeps it on the server.
        lifetime: for how long the framework takes a cookie, in seconds or as a ``timedelta``;
            for so long nobody moves it a second time.

    Example:
        >>> sessions = ForeignSessions("session", {"signed": {"user": 7}}.get)
        >>> sessions.open("~signed").data
        {'user': 7}
    """

    kind = "foreign"
    server_side: ClassVar[bool] = False

    def __init__(
        self,
        cookie: str,
        load: Callable[[str], Mapping[str, JsonInput] | None],
        destroy: Callable[[str], object] | None = None,
        *,
        lifetime: Duration = timedelta(days=31),
    ) -> None:
        self.former_cookie = cookie
        self.lifetime = to_seconds("lifetime", lifetime)
        self._load = load
        self._destroy = destroy

    def open(self, cookie_value: str) -> StoredSession | None:
        value = cookie_value.removeprefix(_FOREIGN)
        if value == cookie_value:
            return None
        try:
            data = self._load(value)
        except OSError as error:
            raise StoreUnavailable(f"the former sessions cannot be read: {error}") from error
        if not data:
            return None
        # All requests that come with this cookie move it to the same place.
        session_id = hashlib.sha256(f"{self.former_cookie}={value}".encode()).hexdigest()
        return StoredSession(id=session_id, data=validate_items(data), marks=value)

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        """Write nothing: sessions only leave."""
        return CommitResult.GONE

    def gc(self) -> int:
        return 0

    def forget_left(self, stored: StoredSession) -> None:
        if self._destroy is None:
            return
        value: Any = stored.marks
        try:
            self._destroy(value)
        except OSError as error:
            raise StoreUnavailable(f"a former session cannot be removed: {error}") from error

    def destroy(self, session_id: str) -> None:
        """Do nothing: a session that is moved is destroyed then."""
