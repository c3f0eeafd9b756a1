"""SessionStore: what a place for sessions promises, whatever it is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Final, ParamSpec, TypeAlias, TypeVar

from .errors import ConfigError, StoreUnavailable
from .payload import Json, StoredSession

if TYPE_CHECKING:
    from .state import Changes

__all__ = [
    "DEFAULT_LIFETIME",
    "MOVED",
    "Data",
    "Duration",
    "Moved",
    "NoStore",
    "SessionStore",
    "check_durability",
    "new",
    "seconds",
]

P = ParamSpec("P")
R = TypeVar("R")

Data: TypeAlias = dict[str, Json]
Duration: TypeAlias = timedelta | float
"""A ``datetime.timedelta`` or a number of seconds."""

DEFAULT_LIFETIME: Final = timedelta(minutes=120)


class Moved(Enum):
    """The one answer of ``commit`` that is neither a cookie value nor nothing."""

    MOVED = "moved"


MOVED: Final = Moved.MOVED
"""The changes were made in a session that goes by another id by now.

That id is not for the browser of this request: it may be a stranger's, who knew the id
from before a login.
"""


class SessionStore(ABC):
    """A place where sessions are kept between requests.

    Absence is a value here and an outage an error: every operation that cannot reach
    the store raises :class:`~glimr_session.StoreUnavailable`, and none answers for it.

    A store is shared by all threads of a process and outlives a fork. What it cannot
    promise it declares in ``server_side`` and ``atomic``.
    """

    kind: ClassVar[str] = "custom"
    """Part of the salt of the cookie: cookies for one kind mean nothing to another."""

    server_side: ClassVar[bool] = True
    """Whether the data stays on the server. If it travels in the cookie, ``destroy``
    cannot recall a copy, and nothing can be committed once the headers have left."""

    atomic: ClassVar[bool] = False
    """Whether ``commit`` is one step, so that concurrent requests lose nothing: what it
    promises holds beside any other commit, and it finds a session again that has moved.

    ``StoredSession`` has fields for what that takes: ``row`` stays when the id changes,
    ``revision`` counts commits, and ``flashed`` tells in which of them a flash was set,
    which is what ``Changes.replay`` wants to know as ``newer``."""

    largest: ClassVar[int | None] = None
    """The most bytes a ``cookie_value`` can have here, or None where it is but an id."""

    lifetime: float = 0.0
    """Seconds from the last use to the end; 0: the store does not say, and the cookie's
    age is the configuration's."""

    absolute_lifetime: float = 0.0
    """Seconds from the making of the id to the end; 0: no such end."""

    @abstractmethod
    def load(self, session_id: str) -> tuple[Data, Data]:
        """Give data and flash of a session; both empty when there is none."""

    @abstractmethod
    def save(self, session_id: str, data: Data, flash: Data) -> None:
        """Keep data and flash under this id, whatever was there; it is in use now."""

    @abstractmethod
    def destroy(self, session_id: str) -> None:
        """Remove a session at once. One that is not there is fine."""

    @abstractmethod
    def gc(self) -> int:
        """Remove what has expired, and only that, in bounded steps; give the number."""

    @abstractmethod
    def cookie_value(self, session_id: str, data: Data, flash: Data) -> str:
        """Give what goes over the wire, to be signed: an id, or everything."""

    def open(self, cookie_value: str) -> StoredSession | None:
        """Give the session behind a verified cookie.

        None if it is unknown, expired, destroyed or unreadable. Writes nothing.
        """
        data, flash = self.load(cookie_value)
        if not data and not flash:
            return None
        return StoredSession(id=cookie_value, data=data, flash=flash)

    def commit(self, changes: Changes) -> str | Moved | None:
        """Replay the changes onto what is stored; give the new cookie value.

        In one atomic step: create (``changes.base`` is None), replay (it is known),
        move to the new id, or destroy and perhaps create (invalidated). Three answers
        are no cookie value: "" when no session is left; MOVED when another request has
        given it another id, and the changes were made there; and None when the base is
        gone. Then nothing has been written: what was destroyed is not brought back. It
        is also gone for a request that would move it when another one already has.

        This plain form is not atomic, and finds gone what has another id: it is for
        stores that have nothing better.
        """
        base = changes.base
        data: Data = {}
        flash: Data = {}
        if base is not None:
            data, flash = self.load(base.id)
            if not data and not flash:
                return None
        data, flash = changes.replay(data, flash)
        if base is not None and (changes.moved or changes.invalidated):
            self.destroy(base.id)
        if (base is None or changes.invalidated) and not data and not flash:
            return ""
        self.save(changes.id, data, flash)
        return self.cookie_value(changes.id, data, flash)

    def touch(self, session_id: str) -> bool:
        """Push the idle expiry on, never past the absolute one; give whether it is there.

        This plain form saves the session again, which a store with an expiry of its
        own takes as use.
        """
        data, flash = self.load(session_id)
        if not data and not flash:
            return False
        self.save(session_id, data, flash)
        return True

    def close(self) -> None:  # noqa: B027  # most have nothing to give back
        """Give back what is open and not in use; the next use opens it again."""


class _FunctionStore(SessionStore):
    """A store from five functions."""

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

    def load(self, session_id: str) -> tuple[Data, Data]:
        return _reached(self._load, session_id)

    def save(self, session_id: str, data: Data, flash: Data) -> None:
        _reached(self._save, session_id, data, flash)

    def destroy(self, session_id: str) -> None:
        _reached(self._destroy, session_id)

    def gc(self) -> int:
        return _reached(self._gc) or 0

    def cookie_value(self, session_id: str, data: Data, flash: Data) -> str:
        return self._cookie_value(session_id, data, flash)


def _reached(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function of the store; its OSError is an outage (and ConnectionError is one)."""
    try:
        return function(*args, **kwargs)
    except OSError as error:
        raise StoreUnavailable(f"the session store could not be reached: {error}") from error


def new(
    *,
    load: Callable[[str], tuple[Data, Data]],
    save: Callable[[str, Data, Data], None],
    destroy: Callable[[str], None],
    gc: Callable[[], int | None],
    cookie_value: Callable[[str, Data, Data], str],
) -> SessionStore:
    """Make a store from five functions; each is the method of that name.

    ``load`` must give ``({}, {})`` for what is unknown or expired, and every function
    must raise when its storage cannot be reached: StoreUnavailable, or an OSError, which
    becomes one. Commits and renewals are a load and a save, so of two requests at once
    the later may undo the earlier, a logout included; an empty session counts as none.
    Where that is not good enough, subclass SessionStore.
    """
    return _FunctionStore(load, save, destroy, gc, cookie_value)


class NoStore(SessionStore):
    """Forgets every session at the end of its request: for want of a store."""

    kind = "none"

    def load(self, session_id: str) -> tuple[Data, Data]:
        return {}, {}

    def save(self, session_id: str, data: Data, flash: Data) -> None:
        pass

    def destroy(self, session_id: str) -> None:
        pass

    def gc(self) -> int:
        return 0

    def cookie_value(self, session_id: str, data: Data, flash: Data) -> str:
        return session_id

    def commit(self, changes: Changes) -> str:
        """Give "": there is no session left to set a cookie for."""
        return ""


def seconds(setting: str, duration: Duration, *, zero: bool = False) -> float:
    """Give a duration in seconds; ConfigError unless it is positive, or 0 if allowed."""
    if isinstance(duration, timedelta):
        value = duration.total_seconds()
    elif isinstance(duration, int | float) and not isinstance(duration, bool):
        try:
            value = float(duration)
        except OverflowError:
            value = float("inf")
    else:
        raise ConfigError(
            f"{setting} is a datetime.timedelta or a number of seconds, not {shown(duration)}"
        )
    if not (0 < value < float("inf") or (zero and value == 0)):
        least = "0 (none) or more" if zero else "more than 0"
        raise ConfigError(f"{setting} must be {least} seconds, not {shown(duration)}")
    return value


def check_durability(setting: str, value: object) -> None:
    """Raise ConfigError unless this says what an acknowledged commit outlives."""
    if value not in ("process", "power"):
        raise ConfigError(f'{setting}: {shown(value)} is not "process" or "power"')


def shown(value: object) -> str:
    """Give the repr of a setting's value for an error message, whatever it is."""
    try:
        return repr(value)
    except (ValueError, RecursionError):  # over 4,300 digits, or nested too deeply
        return f"a very large {type(value).__name__}"
