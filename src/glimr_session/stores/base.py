"""SessionStore: what a place for sessions promises, whatever it is made of."""

from __future__ import annotations

import base64
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import (
    ClassVar,
    Final,
    Literal,
    NoReturn,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
)

from .._ids import handle_of, split_cookie_value, storage_key
from .._log import logger
from .._loops import in_thread
from .._session.changes import Changes
from .._session.sealing import SEALED, Sealer, why_unreadable
from .._session.serialization import (
    Owner,
    Record,
    StoredSession,
    decode_payload,
    encode_payload,
)
from .._session.state import SessionState
from .._session.values import Json, validate_items
from ..errors import ConfigError, StoreUnavailable

__all__ = [
    "DEFAULT_LIFETIME",
    "OF_A_RECORD",
    "AnySession",
    "Changes",
    "CommitResult",
    "Data",
    "NullStore",
    "Owner",
    "SessionInfo",
    "SessionStore",
    "StoredSession",
    "info_of",
    "is_record",
    "named",
    "new",
    "sealer_of",
    "time_left",
]

P = ParamSpec("P")
R = TypeVar("R")

Data: TypeAlias = dict[str, Json]

DEFAULT_LIFETIME: Final = timedelta(minutes=120)

OF_A_RECORD: Final = Owner("0" * 64)
"""Who entries belong to that are no sessions, as those of revocations. No owner has this key."""


class _HasState(Protocol):
    def state(self) -> SessionState: ...


class _HasSession(Protocol):
    @property
    def session(self) -> _HasState: ...


AnySession: TypeAlias = "_HasState | _HasSession | str"
"""A session as a handler has it in any framework, or its id, its cookie value or its handle."""

# The only key of the data that the functions of a store are given, if it is encrypted.
_SEALED_KEY: Final = "glimr_session sealed"

# What the function cookie_value is given is sealed for this, and what save is given for its id.
_COOKIE: Final = b"cookie"


class CommitResult(Record, frozen=True):
    """What became of a commit.

    Attributes:
        outcome:
            - ``stored``: it was made; ``cookie_value`` is what the browser has to send.
            - ``empty``: it was made, and no session is left.
            - ``moved``: it was made in the session, which another request has given another
              id meanwhile. That id is not for the browser of this request: it may belong to
              a stranger who knew the id from before a login.
            - ``gone``: the session has ended; nothing was written.
            - ``busy``: another writer holds the lock, and ``wait`` was False; nothing was
              written, and the same commit can be tried again.
        cookie_value: what goes over the wire, to be signed; "" unless ``stored``.
    """

    outcome: Literal["stored", "empty", "moved", "gone", "busy"]
    cookie_value: str = ""

    EMPTY: ClassVar[CommitResult]
    MOVED: ClassVar[CommitResult]
    GONE: ClassVar[CommitResult]
    BUSY: ClassVar[CommitResult]

    @classmethod
    def stored(cls, cookie_value: str) -> CommitResult:
        """Return the result of a commit that left a session."""
        return cls("stored", cookie_value)


CommitResult.EMPTY = CommitResult("empty")
CommitResult.MOVED = CommitResult("moved")
CommitResult.GONE = CommitResult("gone")
CommitResult.BUSY = CommitResult("busy")


class SessionInfo(Record, frozen=True, kw_only=True):
    """A session in a list of sessions.

    Attributes:
        handle: names the session for ``SessionStore.destroy``. It is no id, opens nothing, and
            stays the same when the id changes.
        created_at: when the id was made, in seconds since the epoch.
        last_used_at: when the session was last used, likewise. It may lag behind by a tenth of
            the idle timeout.
        noted: what ``Session.belongs_to`` was given, as the device and the place.
        size: bytes that are stored of it.
        owner_key: what stands for its owner; "" if it belongs to nobody.
    """

    handle: str
    created_at: float
    last_used_at: float
    noted: Data = {}  # noqa: RUF012  # msgspec makes a new one each time
    size: int = 0
    owner_key: str = ""


class SessionStore(ABC):
    """A place where sessions are kept between requests.

    A store implements ``open``, ``commit`` and ``gc``. The rest builds on these; override
    what the store can do better.

    Absence is a value and an outage is an error: every operation that cannot reach the
    storage raises :class:`~glimr_session.StoreUnavailable`, and none answers in its place.

    A store is shared by all threads of a process and must survive a fork. What it cannot
    promise it declares in the class variables. ``glimr_session.testing.StoreContract`` has
    all promises as tests.
    """

    kind: ClassVar[str] = "custom"
    """Part of the salt of the cookie: cookies for one kind mean nothing to another, but for those
    of our own stores on the server, which are ids."""

    former_kinds: tuple[str, ...] = ()
    """Kinds whose cookies are accepted too, and replaced: those of stores that sessions are
    moved from."""

    former_cookie: str = ""
    """The cookie of a framework's own sessions that are moved here; "" if none are."""

    server_side: ClassVar[bool] = True
    """Whether the data stays on the server. If it travels in the cookie, ``destroy`` cannot
    recall a copy, and nothing can be committed after the headers have left."""

    atomic: ClassVar[bool] = False
    """Whether ``commit`` is one atomic step and follows a session that has moved. Then
    concurrent requests lose nothing. ``StoredSession.marks`` is for what that takes: a number
    that the session keeps when its id changes, and the commit in which each flash was set, for
    ``Changes.replay(flash_set_since=...)``."""

    finds_by_id: ClassVar[bool] = True
    """Whether a session that a login has moved is found by its new id alone, and not only by
    its cookie value."""

    expires_by_itself: ClassVar[bool] = False
    """Whether the storage removes expired sessions by itself. Then ``gc`` removes nothing,
    and requests never start a cleanup."""

    lists_sessions: ClassVar[bool] = False
    """Whether ``sessions``, ``all_sessions`` and ``handle_of`` work."""

    registers_owners: ClassVar[bool] = False
    """Whether the server has no index of owners, so that each session is registered under its
    own. Then the list may have sessions that belong to somebody else by now."""

    ends_owners: bool = False
    """Whether ``destroy_all`` works."""

    seals: ClassVar[bool] = False
    """Whether the store uses ``sealer``."""

    sealer: Sealer | None = None
    """Opens values that are encrypted; and encrypts them, with the setting ``encrypt``. The
    configuration sets it."""

    note: Callable[[str], object] = staticmethod(lambda event: None)  # noqa: ARG005
    """Called with what a store alone knows of: "merged" (a commit onto a version that another
    request has made), "conflict" (another commit came between reading and writing), "retry" (an
    answer was lost, and the operation was tried again). Metrics set it. It may be called while
    locks are held, and must not wait."""

    max_cookie_size: ClassVar[int | None] = None
    """The largest ``cookie_value`` in bytes, or None where it is only an id."""

    lifetime: float = 0.0
    """Idle timeout in seconds; 0: the store does not say, and the configuration's holds."""

    absolute_lifetime: float = 0.0
    """Absolute timeout in seconds, counted from the making of the id; 0: none."""

    keeps_marks: ClassVar[bool] = False
    """Whether ``adopt`` keeps the ``marks`` of a session that comes from another store of which
    this is true, so that ``commit`` takes either store's."""

    remembers_ends: bool = False
    """Whether a session that ends leaves a mark for ten minutes, so that a request that was
    moving it here meanwhile does not bring it back. MovingStore sets it."""

    overlap: ClassVar[float] = 60.0
    """How long, in seconds, a session that was moved by a login is remembered under its old
    id: requests that left the browser before the login arrive within this time."""

    @abstractmethod
    def open(self, cookie_value: str) -> StoredSession | None:
        """Return the session behind a verified cookie value or a bare id.

        None if it is unknown, expired, destroyed or unreadable. Writes nothing.

        Raises:
            StoreUnavailable: the storage cannot be read.
        """

    @abstractmethod
    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        """Replay the changes onto what is stored now, in one atomic step.

        Creates a session (``changes.base`` is None), changes it, moves it to another id
        (``changes.id_changed``), or destroys it and perhaps creates another one
        (``changes.invalidated``). What was destroyed is not brought back.

        Of two requests that would move a session, as two logins at once do, the second begins
        a new one of what it has written itself, and of nothing that it has read.

        Args:
            changes: what the request did; ``changes.base`` came from ``open``.
            wait: False answers ``CommitResult.BUSY`` at once where another writer would have
                to be waited for. Event loops do that.

        Raises:
            StoreUnavailable: with the storage's own error as its cause. The changes were made
                once or not at all; a request that goes on commits them again.
            SessionTooLarge: nothing was written.
        """

    @abstractmethod
    def gc(self) -> int:
        """Remove expired sessions, and only those, in bounded steps; return their number.

        Raises:
            StoreUnavailable: the storage cannot be written.
        """

    def claim_gc(self, interval: float) -> float:
        """Return 0.0 to one caller per interval, who is to call ``gc``.

        All others get the seconds until the next one is due. A store that was never collected
        is due at once, and one that was collected in the future too: the clock was set back.

        Here it is remembered in this object. A store whose processes are to take turns
        remembers it where the sessions are, in one atomic step. Whoever has the claim and does
        not collect has used up the interval.

        Args:
            interval: seconds, the same for all callers.

        Raises:
            StoreUnavailable: the storage cannot be read or written.
        """
        claim: _Claim = vars(self).setdefault("_gc_claim", _Claim(-math.inf))
        while True:
            mine = _Claim(time.time())
            wait = time_left(claim.time, interval, mine.time)
            if wait > 0:
                return wait
            # Of two callers at once, one has it: setdefault is one step, and no lock.
            vars(self)["_gc_claim"] = claim = vars(claim).setdefault("next", mine)
            if claim is mine:
                return 0.0

    def stop_gc(self) -> None:  # noqa: B027  # a second is enough for most
        """Have a ``gc`` that another thread is in the middle of return soon.

        Called once, at the end of the interpreter, which waits for a second. After that a main
        interpreter cuts the thread off wherever it is, and the end of a sub-interpreter aborts
        its process. So a store whose ``gc`` may take longer overrides this.
        """

    def touch(self, cookie_value: str) -> bool:
        """Push the idle timeout on, never past the absolute one; return whether it is there.

        Takes a cookie value or a bare id.
        """
        stored = self.open(cookie_value)
        return stored is not None and self.commit(Changes(stored, stored.id)).outcome == "stored"

    def has_moved(self, cookie_value: str) -> bool:
        """Whether a login has moved this session to another id less than ``overlap`` ago.

        Asked where ``open`` found nothing. True as well if the session was invalidated and
        another one begun in its place. A request that comes with such an old cookie must not
        replace the new one, so it is sent none.

        Raises:
            StoreUnavailable: the storage cannot be read.
        """
        return False

    # Owners and lists.

    def sessions(self, owner: str | int) -> list[SessionInfo]:
        """Return the living sessions of an owner, the one that was used last first.

        Args:
            owner: as for ``Session.belongs_to``.

        Raises:
            ConfigError: the store keeps no list; see ``lists_sessions``.
            StoreUnavailable: the storage cannot be read.
        """
        self._refuse("sessions()")

    def destroy_all(self, owner: str | int, *, except_: AnySession | None = None) -> int:
        """End all sessions of an owner but one; return how many were ended.

        No commit that a request is at work on brings one back. A login that commits after this
        has begun is another session: change the password first.

        Args:
            owner: as for ``Session.belongs_to``.
            except_: the session that stays: the one of this request, as the framework has it
                too, or an id, a cookie value or a handle.

        Raises:
            ConfigError: the store knows no owners; see ``ends_owners``.
            StoreUnavailable: the storage cannot be written. Some may have been ended.
        """
        self._refuse("destroy_all()")

    def all_sessions(self, *, records: bool = False) -> Iterator[SessionInfo]:
        """Yield all living sessions, in no order, read in batches.

        What begins or ends meanwhile may be in it or not. One that is leaving for another store
        is in it.

        Args:
            records: whether what is kept of sessions in cookies is in it too: whose were ended,
                and which were moved here. Who copies a store needs it.

        Raises:
            ConfigError, StoreUnavailable: as ``sessions``.
        """
        self._refuse("all_sessions()")

    def handle_of(self, session: AnySession) -> str:
        """Return the handle of a session; "" if it is not stored.

        Args:
            session: the one of this request, as the framework has it too, or an id, or a cookie
                value.

        Raises:
            ConfigError, StoreUnavailable: as ``sessions``.
        """
        self._refuse("handle_of()")

    def _refuse(self, what: str) -> NoReturn:
        raise ConfigError(
            f"{what}: the store {self.kind!r} keeps no list of sessions. Use "
            'store = "disk", "redis" or "sql"; to end sessions in cookies, set '
            '[cookie] revocations = "disk"'
        )

    # For MovingStore. A store that is atomic overrides all four: each is one atomic step there,
    # and what has left, or has ended while ``remembers_ends`` is set, is not adopted again.

    def find(self, cookie_value: str) -> tuple[StoredSession | None, bool]:
        """Return what ``open`` does, or else a session that is leaving, and whether it is.

        None and True: it has left for the other store. A handle is taken too, by a store that
        ``lists_sessions``; then the session has no id, and ``adopt`` goes by its marks.
        """
        return self.open(cookie_value), False

    def leave(self, stored: StoredSession) -> StoredSession | None:
        """Let nobody open a session, or commit to it, any more: it is leaving.

        Returns:
            The session as ``find`` gives it from now on; None if it has changed since it was
            opened, or is gone.
        """
        return stored

    def forget_left(self, stored: StoredSession) -> None:
        """Remove a session that was leaving at this version or before; no other one."""
        self.destroy(stored.id)

    def adopt(self, stored: StoredSession) -> bool:
        """Keep a session of another store under its id, unless it is here or was here since.

        Returns:
            Whether it was kept. Its times and its lifetime are kept too, where ``commit`` can.
        """
        if self.open(stored.id) is not None:
            return False
        begun = Changes(
            None,
            stored.id,
            edits=stored.data,
            flash=stored.flash,
            lifetime=stored.lifetime,
            expire_on_close=stored.expire_on_close,
        )
        return self.commit(begun).outcome == "stored"

    def close(self) -> None:  # noqa: B027  # most have nothing to give back
        """Release what is open and not in use; the next operation opens it again."""

    # For event loops.

    @property
    def opens_at_once(self) -> bool:
        """Whether ``open`` takes microseconds now and waits for nothing.

        Then an event loop calls it itself, when the session is asked for. Otherwise it awaits
        ``aopen`` before the handler runs.
        """
        return False

    @property
    def commits_at_once(self) -> bool:
        """Whether ``acommit`` is made in line: a cancellation comes before or after it.

        Otherwise a commit that has begun is awaited to its end, whoever is cancelled meanwhile.
        """
        return False

    async def aopen(self, cookie_value: str) -> StoredSession | None:
        """As ``open``, without blocking the event loop: in a thread."""
        return await in_thread(self.open, cookie_value)

    async def acommit(self, changes: Changes) -> CommitResult:
        """As ``commit``, without blocking the event loop: in a thread."""
        return await in_thread(self.commit, changes)

    async def atouch(self, cookie_value: str) -> bool:
        """As ``touch``, without blocking the event loop: in a thread."""
        return await in_thread(self.touch, cookie_value)

    async def ahas_moved(self, cookie_value: str) -> bool:
        """As ``has_moved``, without blocking the event loop: in a thread."""
        return await in_thread(self.has_moved, cookie_value)

    async def asessions(self, owner: str | int) -> list[SessionInfo]:
        """As ``sessions``, without blocking the event loop: in a thread."""
        return await in_thread(self.sessions, owner)

    async def adestroy_all(self, owner: str | int, *, except_: AnySession | None = None) -> int:
        """As ``destroy_all``, without blocking the event loop: in a thread."""
        return await in_thread(lambda: self.destroy_all(owner, except_=except_))

    async def ahandle_of(self, session: AnySession) -> str:
        """As ``handle_of``, without blocking the event loop: in a thread."""
        return await in_thread(self.handle_of, session)

    async def adestroy(self, session_id: str) -> None:
        """As ``destroy``, without blocking the event loop: in a thread."""
        await in_thread(self.destroy, session_id)

    # The reference's functions.

    def load(self, session_id: str) -> tuple[Data, Data]:
        """Return data and flash of a session, by id or cookie value; empty if there is none."""
        stored = self.open(session_id)
        return ({}, {}) if stored is None else (stored.data, stored.flash)

    def save(self, session_id: str, data: Data, flash: Data) -> None:
        """Keep data and flash under this id, whatever was there; it is in use now."""
        edits, shown = validate_items(data), validate_items(flash)
        new_id, _ = split_cookie_value(session_id)
        begun = Changes(None, new_id, edits=edits, flash=shown)
        stored = self.open(session_id)
        if stored is not None:
            replaced = Changes(
                stored, stored.id, cleared=True, edits=edits, flash=shown, consumed=stored.flash
            )
            if self.commit(replaced) is not CommitResult.GONE:
                return
        self.commit(begun)

    def destroy(self, session_id: str) -> None:
        """Remove a session at once; one that is not there is fine.

        Args:
            session_id: an id, a cookie value, or the handle in a list of sessions.
        """
        stored = self.open(session_id)
        if stored is not None:
            self.commit(Changes(stored, stored.id, cleared=True, invalidated=True))

    def cookie_value(self, session_id: str, data: Data, flash: Data) -> str:
        """Return what goes over the wire, unsigned: the id, or in a cookie store all of it."""
        return session_id

    @staticmethod
    def from_functions(
        *,
        load: Callable[[str], tuple[Data, Data]],
        save: Callable[[str, Data, Data], None],
        destroy: Callable[[str], None],
        gc: Callable[[], int | None],
        cookie_value: Callable[[str, Data, Data], str],
    ) -> SessionStore:
        """Return a store made of five functions; each is the method of that name.

        ``load`` must return ``({}, {})`` for what is unknown or expired, and every function must
        raise when its storage cannot be reached: StoreUnavailable, or an OSError, which becomes
        one. Commits and renewals are a load and a save, so of two requests at once the later may
        undo the earlier, a logout included; an empty session counts as none. Where that is not
        good enough, subclass SessionStore. They do not keep what ``expire_after`` and
        ``expire_on_close`` of a session say. With ``encrypt = true`` the functions are given data
        with one key, whose value is text, and no flash.

        Example:
            >>> kept = {}
            >>> store = SessionStore.from_functions(
            ...     load=lambda session_id: kept.get(session_id, ({}, {})),
            ...     save=lambda session_id, data, flash: kept.update({session_id: (data, flash)}),
            ...     destroy=lambda session_id: kept.pop(session_id, None),
            ...     gc=lambda: 0,
            ...     cookie_value=lambda session_id, data, flash: session_id,
            ... )
            >>> store.save("some id", {"n": 1}, {})
            >>> store.load("some id")
            ({'n': 1}, {})
        """
        return _FunctionStore(load, save, destroy, gc, cookie_value)


class _Claim:
    """When a store was claimed for collecting; and, once it is again, the next claim."""

    def __init__(self, time: float) -> None:
        self.time = time


def named(session: AnySession) -> str:
    """Return what a store finds a session by: its handle, whatever its id is by now, or its id."""
    if isinstance(session, str):
        return session
    # Not by isinstance: since Python 3.12 that does not look through Flask's proxies.
    held: _HasState = getattr(session, "session", session)  # type: ignore[arg-type]
    base = held.state().changes.base
    if base is None:
        return ""
    number = getattr(base.marks, "number", 0)
    return handle_of(number) if number else base.id


def info_of(stored: StoredSession, size: int) -> SessionInfo:
    """Return what a list says of a session; its marks have a number."""
    owner = stored.owner
    return SessionInfo(
        handle=handle_of(stored.marks.number),
        created_at=stored.created_at,
        last_used_at=stored.last_used_at,
        noted={} if owner is None else owner.noted,
        size=size,
        owner_key="" if owner is None else owner.key,
    )


def is_record(stored: StoredSession) -> bool:
    """Whether an entry is no session: whoever ends it would undo a revocation."""
    return stored.owner is not None and stored.owner.key == OF_A_RECORD.key


def sealer_of(*stores: SessionStore) -> Sealer | None:
    """Return a sealer that encrypts only if those of all stores do; None if one has none."""
    sealers = [store.sealer for store in stores]
    found = [sealer for sealer in sealers if sealer is not None]
    return min(found, key=lambda one: one.seals) if len(found) == len(stores) else None


def time_left(since: object, interval: float, now: float) -> float:
    """Return the seconds until an interval has passed since a time; 0.0 if it has.

    No time at all, or one in the future, counts as long ago.
    """
    if not isinstance(since, int | float) or not since <= now:
        return 0.0
    return max(since + interval - now, 0.0)


class _FunctionStore(SessionStore):
    """A store made of five functions: a commit is a load and a save."""

    seals = True

    def __init__(
        self,
        load: Callable[[str], tuple[Data, Data]],
        save: Callable[[str, Data, Data], None],
        destroy: Callable[[str], None],
        gc: Callable[[], int | None],
        cookie_value: Callable[[str, Data, Data], str],
    ) -> None:
        self._load = load
        self._save = save
        self._destroy = destroy
        self._gc = gc
        self._cookie_value = cookie_value

    def open(self, cookie_value: str) -> StoredSession | None:
        data, flash = self.load(cookie_value)
        if not data and not flash:
            return None
        return StoredSession(id=cookie_value, data=data, flash=flash)

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        base = changes.base
        data: Data = {}
        flash: Data = {}
        if base is not None:
            data, flash = self.load(base.id)
            if not data and not flash:
                return CommitResult.GONE
        data, flash = changes.replay(data, flash)
        if base is not None and changes.invalidated:
            self.destroy(base.id)
        if (base is None or changes.invalidated) and not data and not flash:
            return CommitResult.EMPTY
        self.save(changes.id, data, flash)
        if base is not None and changes.id_changed and not changes.invalidated:
            self.destroy(base.id)  # now that nothing can be lost
        return CommitResult.stored(self.cookie_value(changes.id, data, flash))

    def gc(self) -> int:
        return _reach(self._gc) or 0

    def load(self, session_id: str) -> tuple[Data, Data]:
        data, flash = _reach(self._load, session_id)
        if _SEALED_KEY in data:
            return self._opened(data[_SEALED_KEY], storage_key(session_id))
        return data, flash

    def save(self, session_id: str, data: Data, flash: Data) -> None:
        _reach(self._save, session_id, *self._sealed(data, flash, storage_key(session_id)))

    def destroy(self, session_id: str) -> None:
        _reach(self._destroy, session_id)

    def cookie_value(self, session_id: str, data: Data, flash: Data) -> str:
        return self._cookie_value(session_id, *self._sealed(data, flash, _COOKIE))

    def _sealed(self, data: Data, flash: Data, place: bytes) -> tuple[Data, Data]:
        if self.sealer is not None and self.sealer.seals:
            sealed = self.sealer.seal(encode_payload(data, flash).encode(), place)
            return {_SEALED_KEY: base64.b64encode(sealed).decode()}, {}
        if _SEALED_KEY in data:
            raise ValueError(
                f"no session can have the key {_SEALED_KEY!r}: it marks encrypted ones"
            )
        return data, flash

    def _opened(self, text: Json, key: bytes) -> tuple[Data, Data]:
        try:
            sealed = base64.b64decode(text) if isinstance(text, str) else b""
        except ValueError:
            sealed = b""
        if self.sealer is not None and sealed.startswith(SEALED):
            for place in (key, _COOKIE):
                value = self.sealer.open(sealed, place)
                if value is not None:
                    return decode_payload(value)
        logger.warning(
            "The stored session %s is unreadable and counts as absent.%s",
            key.hex()[:8],
            why_unreadable(sealed, self.sealer),
        )
        return {}, {}


def _reach(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function of the user's; an OSError (ConnectionError is one) is an outage."""
    try:
        return function(*args, **kwargs)
    except OSError as error:
        del args, kwargs  # ids, and some loggers print locals with tracebacks
        message = f"the session store could not be reached: {error}"
        raise StoreUnavailable(message) from error.with_traceback(None)


new: Final = SessionStore.from_functions
"""The reference's name for ``SessionStore.from_functions``."""


class NullStore(SessionStore):
    """Forgets every session at the end of its request; used when no store is configured."""

    kind = "none"

    def open(self, cookie_value: str) -> StoredSession | None:
        return None

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        return CommitResult.EMPTY

    def gc(self) -> int:
        return 0

    def save(self, session_id: str, data: Data, flash: Data) -> None:
        pass

    @property
    def opens_at_once(self) -> bool:
        return True

    @property
    def commits_at_once(self) -> bool:
        return True

    async def acommit(self, changes: Changes) -> CommitResult:
        return CommitResult.EMPTY
