"""MovingStore: from one store to another while requests come, and nobody is logged out.

A session moves when it is next written, in three steps: in its old store it is marked as
leaving, and nobody opens it or commits to it there any more; the new store adopts it; in the
old one a mark is left that it has gone. A session that is leaving can only go forward: whoever
finds it finishes its move, so that a process that is killed in between loses nothing.

A session takes its number and its count of commits along. So a store that is brought a session
by a slow request can tell that it has had it since, even if it has moved on, or ended.

See docs/decisions/moving.md.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, ClassVar, Final

from .._ids import handle_of, join_cookie_value, number_of, split_cookie_value
from .._session.changes import Changes
from .._session.sealing import Sealer
from .._session.serialization import StoredSession
from .._session.values import JsonInput, validate_items
from .._validation import Duration, to_seconds
from ..errors import ConfigError, StoreUnavailable
from ._versions import REMEMBERED, Marks
from .base import (
    OF_A_RECORD,
    AnySession,
    CommitResult,
    Data,
    SessionInfo,
    SessionStore,
    named,
    sealer_of,
)

__all__ = ["ForeignSessions", "MovingStore"]

_DECLARED: Final = (
    "kind",
    "server_side",
    "atomic",
    "finds_by_id",
    "max_cookie_size",
    "overlap",
    "lists_sessions",
    "registers_owners",
    "ends_owners",
    "seals",
)

# Attempts to move a session, or to find it, while other requests move it or commit to it.
_TRIES: Final = 100

# Seconds, times the attempts so far, within which the next one begins.
_PAUSE: Final = 0.0005

# More than a session has while a request knows it, and few enough to be the same session's.
_ALL_COMMITS: Final = 2**23

_FOREIGN: Final = "~"  # no id and no payload begins with it


class MovingStore(SessionStore):
    """Keeps sessions in one store, and takes those that it does not have out of another.

    Each session moves when it is first written, or renewed, and keeps its id, its content and
    its times. A request whose session is not in the new store asks the old one too; one whose
    session has moved asks the new one alone.

    Two processes may move in opposite directions, as while a setting is changed process by
    process, if both stores are on the server and atomic. No process that knows one store alone
    may run while another process takes sessions out of that store.

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
            raise ConfigError(
                "move_from: sessions can only be moved to a store on the server, as "
                'store = "disk", "redis" or "sql"'
            )
        self._new, self._old = store, former
        for name in _DECLARED:
            setattr(self, name, getattr(store, name))
        store.remembers_ends = former.remembers_ends = True
        self.expires_by_itself = store.expires_by_itself and (  # type: ignore[misc]
            former.expires_by_itself or not former.server_side
        )
        self.lifetime = store.lifetime
        self.absolute_lifetime = store.absolute_lifetime
        kinds = dict.fromkeys((former.kind, *former.former_kinds))
        self.former_kinds = tuple(kind for kind in kinds if kind != store.kind)
        self.former_cookie = former.former_cookie

    @property
    def sealer(self) -> Sealer | None:
        return sealer_of(self._new, self._old)

    @sealer.setter
    def sealer(self, sealer: Sealer | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._new.sealer = self._old.sealer = sealer

    @property
    def note(self) -> Callable[[str], object]:
        return self._new.note

    @note.setter
    def note(self, note: Callable[[str], object]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._new.note = self._old.note = note

    def find(self, cookie_value: str) -> tuple[StoredSession | None, bool]:
        coming = self._locate(cookie_value) if self._old.server_side else None
        if coming is None:
            return self._new.find(cookie_value)
        return coming.stored, coming.leaving

    def open(self, cookie_value: str) -> StoredSession | None:
        return None if number_of(cookie_value) is not None else self._open(cookie_value)

    def _open(self, cookie_value: str) -> StoredSession | None:
        if not self._old.server_side:
            found = None if _is_foreign(cookie_value) else self._new.open(cookie_value)
            return found or self._open_cookie(cookie_value)
        coming = self._locate(cookie_value)
        if coming is None:
            return None
        if coming.source is self._new and not coming.leaving:
            return coming.stored
        return coming.stored._replace(marks=coming)

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        base = changes.base
        if base is None:
            return self._new.commit(changes, wait=wait)
        coming = base.marks if isinstance(base.marks, _Coming) else None
        here: StoredSession | None = base
        if coming is not None:
            if coming.arrived is None:
                if not wait:
                    return CommitResult.BUSY
                coming.arrived = self._fetch(base._replace(marks=coming.stored.marks), coming)
            here = coming.arrived
            if here is not None and coming.committed:  # the base is what that has left
                here = base._replace(marks=here.marks)
        name = _name(base if coming is None else base._replace(marks=coming.stored.marks))
        for tried in range(_TRIES):
            if tried > 1:  # a process takes it away as often as this one brings it
                time.sleep(random.uniform(0.0, tried * _PAUSE))  # noqa: S311  # no secret
            result = CommitResult.GONE
            if here is not None:
                result = self._new.commit(changes._replace(base=here), wait=wait)
            found = None
            if result is CommitResult.GONE and self._old.server_side:
                found = self._locate(name)  # another process may have moved it meanwhile
            if found is None:
                break
            if not wait:
                return CommitResult.BUSY
            here = self._fetch(here or base, found)
            if coming is not None:
                coming.arrived = here
        else:
            raise StoreUnavailable("a session could not be moved: other requests never paused")
        if coming is not None:
            coming.committed = result is not CommitResult.BUSY
        if changes.invalidated and here is not None and self._old.server_side:
            self._forget_in_old(here)
        return result

    def gc(self) -> int:
        return sum(store.gc() for store in self._collected())

    def claim_gc(self, interval: float) -> float:
        return self._collected()[0].claim_gc(interval)

    def stop_gc(self) -> None:
        for store in self._collected():
            store.stop_gc()

    def touch(self, cookie_value: str) -> bool:
        if not _is_foreign(cookie_value) and self._new.touch(cookie_value):
            return True
        return super().touch(cookie_value)

    def has_moved(self, cookie_value: str) -> bool:
        if not self._old.server_side:
            cookie_value = self._in_cookie(cookie_value)[0] or cookie_value
            return self._new.has_moved(cookie_value)
        return self._new.has_moved(cookie_value) or self._old.has_moved(cookie_value)

    def sessions(self, owner: str | int) -> list[SessionInfo]:
        found = {info.handle: info for store in self._listing for info in store.sessions(owner)}
        return sorted(found.values(), key=lambda info: -info.last_used_at)

    def destroy_all(self, owner: str | int, *, except_: AnySession | None = None) -> int:
        kept = ""
        ended = 0
        if self._old.ends_owners and not self._old.server_side:  # first: see _fetch_by_cookie
            ended += self._old.destroy_all(owner, except_=except_)
        found, empty = set[str](), 0
        for _ in range(_TRIES):
            listed = {info.handle for info in self.sessions(owner)}
            if except_ is not None:  # after the list: it may have come out of a cookie meanwhile
                name = named(except_)
                kept = name if number_of(name) is not None else self.handle_of(name) or kept
            others = listed - {kept}
            for handle in others:
                self.destroy(handle)
            found |= others
            empty = 0 if others else empty + 1
            if empty > 1:  # once, one may have moved to the store that had been read
                break
        else:
            raise StoreUnavailable("sessions could not be ended: new ones never ceased to come")
        # And those that have expired by a clock that may be ahead.
        ended += len(found)
        ended += sum(store.destroy_all(owner, except_=kept or None) for store in self._listing)
        return ended

    def all_sessions(self, *, records: bool = False) -> Iterator[SessionInfo]:
        for store in self._listing:
            yield from store.all_sessions(records=records)

    def handle_of(self, session: AnySession) -> str:
        name = named(session)
        handles = (store.handle_of(name) for store in reversed(self._listing))
        return next(filter(None, handles), "")

    @property
    def _listing(self) -> list[SessionStore]:
        """The stores that list sessions, the new one last."""
        return [store for store in (self._old, self._new) if store.lists_sessions]

    def destroy(self, session_id: str) -> None:
        # By a commit, which follows it: a request that is moving it would bring it back.
        stored = self._open(session_id)
        if stored is not None:
            self.commit(Changes(stored, stored.id, cleared=True, invalidated=True))
        self._new.destroy(session_id)  # what cannot be read
        self._old.destroy(session_id)

    def move(self, handle: str) -> bool:
        """Move a session now; return whether it is in the new store, and not over.

        Both stores keep marks. It may be called while requests use the session, and again after
        a process was killed in the middle of it.

        Raises:
            StoreUnavailable: one of the stores cannot be reached.
        """
        for tried in range(_TRIES):
            if tried > 1:
                time.sleep(random.uniform(0.0, tried * _PAUSE))  # noqa: S311  # no secret
            coming = self._locate(handle)
            if coming is None:
                return False
            if coming.source is self._new and not coming.leaving:
                if self._old.find(handle)[0] is not None:  # left by a process that was killed
                    self._forget_in_old(coming.stored)
                return True
            self._fetch(coming.stored, coming)
        raise StoreUnavailable("a session could not be moved: other requests never paused")

    def cookie_value(self, session_id: str, data: Data, flash: Data) -> str:
        return self._new.cookie_value(session_id, data, flash)

    def close(self) -> None:
        self._new.close()
        self._old.close()

    async def aopen(self, cookie_value: str) -> StoredSession | None:
        found = None if _is_foreign(cookie_value) else await self._new.aopen(cookie_value)
        return found or await super().aopen(cookie_value)

    async def acommit(self, changes: Changes) -> CommitResult:
        base = changes.base
        if base is not None and (changes.invalidated or isinstance(base.marks, _Coming)):
            return await super().acommit(changes)
        result = await self._new.acommit(changes)
        return await super().acommit(changes) if result is CommitResult.GONE else result

    async def atouch(self, cookie_value: str) -> bool:
        touched = not _is_foreign(cookie_value) and await self._new.atouch(cookie_value)
        return touched or await super().atouch(cookie_value)

    def _collected(self) -> list[SessionStore]:
        return [
            store
            for store in (self._new, self._old)
            if store.server_side and not store.expires_by_itself
        ] or [self._new]

    # From a store on the server.

    def _locate(self, name: str) -> _Coming | None:
        """Return where a session is, or None.

        It is nowhere if it was in neither store, as they were read one after the other, unless
        the second one says that it has left: then it had moved to the first one meanwhile. One
        that is leaving a store may have arrived in the other, if a process was killed then.
        """
        stores = (self._new, self._old)
        numbered = self._new.keeps_marks or self._old.keeps_marks
        bare = split_cookie_value(name)[0] if numbered else name
        coming: _Coming | None = None
        for reads in range(_TRIES):
            store = stores[reads % 2]
            found, leaving = store.find(name if store.keeps_marks else bare)
            if found is not None and not leaving:
                return _Coming(store, found, False)
            if coming is not None:  # and it has not arrived here yet
                return coming
            if found is not None:
                coming = _Coming(store, found, True)
            elif reads and not leaving:
                return None
        raise StoreUnavailable("a session could not be found: other requests never paused")

    def _fetch(self, base: StoredSession, coming: _Coming) -> StoredSession | None:
        """Take a session a step forward on its way.

        Returns:
            The session as the new store is to be given it for a commit, which finds out whether
            it is there by now; None if it is not there yet.
        """
        if not self._old.server_side:
            return self._fetch_by_cookie(coming)
        source = coming.source
        target = self._old if source is self._new else self._new
        left: StoredSession | None = coming.stored
        if not coming.leaving:
            if source is self._new:  # another process has brought it back
                return base if self._keeps_marks else coming.stored
            left = source.leave(coming.stored)
        if left is not None:
            target.adopt(left)
            source.forget_left(left)
        if self._keeps_marks:
            return base
        return self._new.open(base.id)

    def _forget_in_old(self, ended: StoredSession) -> None:
        """Remove what a process may have left there that was killed while it moved a session."""
        marks = ended.marks
        if not (self._keeps_marks and isinstance(marks, Marks)):
            self._old.destroy(ended.id)
            return
        later = marks._replace(revision=marks.revision + _ALL_COMMITS)  # any version of it
        self._old.forget_left(ended._replace(marks=later))

    @property
    def _keeps_marks(self) -> bool:
        return self._new.keeps_marks and self._old.keeps_marks

    # Out of cookies: each may come again and again, and nobody can mark it.

    def _open_cookie(self, cookie_value: str) -> StoredSession | None:
        session_id, stored = self._in_cookie(cookie_value)
        present = self._new.open(session_id) if session_id else None
        if stored is None:
            return present
        if present is None and self._new.open(_mark(session_id)) is not None:
            present = self._new.open(session_id)  # it may have come before the mark did
            if present is None:
                return None  # it has ended, or has another id
        return (present or stored)._replace(marks=_Coming(self._old, stored, False, present))

    def _in_cookie(self, cookie_value: str) -> tuple[str, StoredSession | None]:
        """Return the id that a cookie stands for, and the session in it."""
        stored = self._old.open(cookie_value)
        if stored is not None:
            return stored.id, stored
        if isinstance(self._old, ForeignSessions) and _is_foreign(cookie_value):
            return self._old.id_of(cookie_value), None
        return "", None

    def _fetch_by_cookie(self, coming: _Coming) -> StoredSession | None:
        stored = coming.stored
        if coming.present is None:
            self._new.adopt(stored)
        now = time.time()
        lifetime = max(REMEMBERED, self._old.lifetime, stored.lifetime)
        mark = StoredSession(
            id=_mark(stored.id),
            data={"moved": True},
            created_at=now + lifetime,  # the absolute timeout does not end it
            last_used_at=now,
            lifetime=lifetime,
            owner=OF_A_RECORD,
        )
        self._new.adopt(mark)
        if coming.present is None and self._old.leave(stored) is None:
            # Its owner has ended it since it was opened. One that is ended later is found here.
            self._new.destroy(stored.id)
            return None
        self._old.forget_left(stored)
        return coming.present or self._new.open(stored.id)


class _Coming:
    """The marks of a session that is still to be moved.

    Args:
        source: the store that it was found in.
        stored: how it was there.
        leaving: whether it was on its way already.
        present: how it is in the new store, if it is there and the cookie is to be forgotten.
    """

    def __init__(
        self,
        source: SessionStore,
        stored: StoredSession,
        leaving: bool,
        present: StoredSession | None = None,
    ) -> None:
        self.source = source
        self.stored = stored
        self.leaving = leaving
        self.present = present
        self.number: int = getattr(stored.marks, "number", 0)
        self.arrived: StoredSession | None = None  # for the next commit of this request
        self.committed = False


def _name(stored: StoredSession) -> str:
    """Return what a session is found by, wherever it is."""
    marks = stored.marks
    if not isinstance(marks, Marks):
        return stored.id
    return join_cookie_value(stored.id, marks.number) if stored.id else handle_of(marks.number)


def _mark(session_id: str) -> str:
    """Return what remembers that a session was moved out of a cookie: a session, but no id."""
    return f"moved {session_id}"


def _is_foreign(cookie_value: str) -> bool:
    return cookie_value.startswith(_FOREIGN)


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
        session_id = self.id_of(cookie_value)
        return StoredSession(id=session_id, data=validate_items(data), marks=value)

    def id_of(self, cookie_value: str) -> str:
        """Return the id here: the same for all requests that come with this cookie."""
        value = cookie_value.removeprefix(_FOREIGN)
        return hashlib.sha256(f"{self.former_cookie}={value}".encode()).hexdigest()

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
