"""Session: the handle that handlers hold."""

from __future__ import annotations

import math
import threading
from collections.abc import (
    Callable,
    ItemsView,
    Iterator,
    Mapping,
    MutableMapping,
    ValuesView,
)
from typing import Any, Final, NoReturn, Protocol, TypeVar, overload

from .actor import SessionActor
from .errors import SessionClosed
from .ids import generate_id
from .mailbox import ActorDeadError
from .messages import (
    Clear,
    Finish,
    Flash,
    Forget,
    Get,
    GetAll,
    GetFlash,
    GetId,
    GetState,
    Has,
    HasFlash,
    Increment,
    Invalidate,
    Keep,
    Now,
    Pull,
    Put,
    Reflash,
    Regenerate,
    SetDefault,
    TakeChanges,
    Update,
)
from .payload import Json, StoredSession, checked, checked_items, checked_key, copied
from .state import SessionState

__all__ = ["ASK_TIMEOUT", "Session", "empty"]

T = TypeVar("T")

ASK_TIMEOUT: Final = 5.0
"""Seconds an ``ask`` waits for another thread of the request, as in the reference."""

_MISSING: Final = object()

# Messages without fields are made once.
_CLEAR: Final = Clear()
_FINISH: Final = Finish()
_GET_ALL: Final = GetAll()
_GET_ID: Final = GetId()
_GET_STATE: Final = GetState()
_REFLASH: Final = Reflash()
_TAKE_CHANGES: Final = TakeChanges()


class Session(MutableMapping[str, Json]):
    """The session of one request: a mapping, and the verbs of the reference.

    Any thread of the request may use it. Writes are told to the session's actor and
    reads asked of it, one at a time and in order. Values are copied in and out:
    changing a list that ``get`` gave changes nothing in here.

    Values are what JSON gives back as it was put: str, int, float, bool, None, and
    lists and str-keyed dicts of them; tuples become lists. Others are refused at once
    with a TypeError or ValueError that names the key. Names of keys and of fields are
    str.

    Every method but ``stop`` raises :class:`~glimr_session.SessionClosed` once the
    response has left. The first one used opens the session, and so may raise
    :class:`~glimr_session.StoreUnavailable`.
    """

    __slots__ = ("_address", "_lock", "_opener", "_sealed", "_used")

    def __init__(self, opener: Callable[[], SessionState]) -> None:
        """Make a handle that opens the session when it is first used, and once."""
        self._opener = opener
        self._address: _Address | None = None
        self._lock = threading.Lock()
        self._sealed = False
        self._used = False

    @classmethod
    def start(
        cls,
        id: str,  # noqa: A002  # the name is fixed
        data: Mapping[str, Json] | None = None,
        flash: Mapping[str, Json] | None = None,
    ) -> Session:
        """Open a session with this content, as if a store had given it.

        For middlewares and tests; ``stop()`` it in the end.
        """
        stored = StoredSession(
            id=id, data=checked_items(data or {}), flash=checked_items(flash or {})
        )
        session = cls(lambda: SessionState.opened(stored))
        session._open()
        return session

    # Reads.

    @overload
    def get(self, key: str, default: None = None) -> Json: ...
    @overload
    def get(self, key: str, default: Json | T) -> Json | T: ...
    def get(self, key: str, default: Any = None) -> Any:
        """Give the value of a key, or the default."""
        return copied(self._ask(Get(key, default)))

    def has(self, key: str) -> bool:
        """Tell whether a key is there. An empty string is."""
        reply: bool = self._ask(Has(key))
        return reply

    def all(self) -> dict[str, Json]:
        """Give a snapshot of all data; changing it changes nothing."""
        data: Mapping[str, Json] = self._ask(_GET_ALL)
        return {key: copied(value) for key, value in data.items()}

    @property
    def id(self) -> str:
        """The id: 64 hex digits, or "" of an empty handle. Log its hash, never itself."""
        reply: str = self._ask(_GET_ID)
        return reply

    # Writes.

    def put(self, key: str, value: Json) -> None:
        """Set a key."""
        self._tell(Put(checked_key(key), checked(key, value)))

    def forget(self, key: str) -> None:
        """Remove a key. One that is not there is fine."""
        self._tell(Forget(checked_key(key)))

    def clear(self) -> None:
        """Remove all data; the id and the flash stay."""
        self._tell(_CLEAR)

    def increment(self, key: str, by: int | float = 1) -> int | float:
        """Add to a number and give the new one; a missing key counts as 0.

        Additions of requests that run at the same time add up. Raises TypeError if the
        session holds something else there.
        """
        if type(by) is not int and (type(by) is not float or not math.isfinite(by)):
            raise TypeError(f"increment({key!r}) adds a finite int or float, not {by!r}")
        reply: int | float = self._ask(Increment(checked_key(key), by))
        return reply

    @overload
    def pull(self, key: str, default: None = None) -> Json: ...
    @overload
    def pull(self, key: str, default: Json | T) -> Json | T: ...
    def pull(self, key: str, default: Any = None) -> Any:
        """Give the value of a key, or the default, and forget it."""
        return copied(self._ask(Pull(key, default)))

    # Flash: for the next request that uses its session.

    def flash(self, key: str, value: Json) -> None:
        """Leave a value that only the next request can read."""
        self._tell(Flash(checked_key(key), checked(key, value)))

    def get_flash(self, key: str) -> Json:
        """Give what the request before has left, or ""."""
        return self.get_flash_or(key, "")

    @overload
    def get_flash_or(self, key: str, default: None = None) -> Json: ...
    @overload
    def get_flash_or(self, key: str, default: Json | T) -> Json | T: ...
    def get_flash_or(self, key: str, default: Any = None) -> Any:
        """Give what the request before has left, or the default: tells none from ""."""
        return copied(self._ask(GetFlash(key, default)))

    def has_flash(self, key: str) -> bool:
        """Tell whether the request before has left this."""
        reply: bool = self._ask(HasFlash(key))
        return reply

    def error(self, field: str) -> Json:
        """Give the error of a form's field, or ""; see ``flash_errors``."""
        return self.get_flash(f"errors.{field}")

    def has_error(self, field: str) -> bool:
        """Tell whether a form's field has an error."""
        return self.has_flash(f"errors.{field}")

    def old(self, field: str) -> Json:
        """Give what was typed into a form's field, or ""; see ``flash_old``."""
        return self.get_flash(f"old.{field}")

    def now(self, key: str, value: Json) -> None:
        """Show a value as flash in this request, and not in the next."""
        self._tell(Now(checked_key(key), checked(key, value)))

    def keep(self, *keys: str) -> None:
        """Leave these of the flash that this request was shown for one more request."""
        self._tell(Keep(tuple(map(checked_key, keys))))

    def reflash(self) -> None:
        """Leave all flash that this request was shown for one more request."""
        self._tell(_REFLASH)

    # Whose session it is.

    def regenerate(self) -> None:
        """Go on under a new id, the data kept; the old id is destroyed.

        Call it whenever somebody logs in: an id that was known before is worth nothing
        after (session fixation). Raises SessionClosed once the headers have left, for
        the new id could not reach the browser any more.
        """
        if self._sealed:
            raise SessionClosed(
                "regenerate() came after the headers had left, so the new id cannot reach the "
                "browser; call it before the first chunk of the body"
            )
        self._tell(Regenerate(generate_id()))

    def invalidate(self) -> None:
        """Forget everything, destroy what is stored and go on under a new id: a logout."""
        self._tell(Invalidate(generate_id()))

    # The mapping. What it inherits is made of these, or would not be one step.

    def __getitem__(self, key: str) -> Json:
        value = self._ask(Get(key, _MISSING))
        if value is _MISSING:
            raise KeyError(key)
        reply: Json = copied(value)
        return reply

    def __setitem__(self, key: str, value: Json) -> None:
        self.put(key, value)

    def __delitem__(self, key: str) -> None:
        if self._ask(Pull(key, _MISSING)) is _MISSING:
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return type(key) is str and self.has(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ask(_GET_ALL))

    def __len__(self) -> int:
        return len(self._ask(_GET_ALL))

    def items(self) -> ItemsView[str, Json]:
        """Give the items of a snapshot."""
        return self.all().items()

    def values(self) -> ValuesView[Json]:
        """Give the values of a snapshot."""
        return self.all().values()

    def pop(self, key: str, default: Any = _MISSING) -> Any:
        """Give the value of a key and forget it; KeyError without one and a default."""
        value = self.pull(key, default)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def popitem(self) -> tuple[str, Json]:
        """Give the youngest item and forget it; KeyError if there is none."""
        for key in reversed(self.all()):
            value: Any = self.pull(key, _MISSING)
            if value is not _MISSING:  # else another thread was faster
                return key, value
        raise KeyError("the session is empty")

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Give the value of a key, which is set to the default first if it is missing."""
        message = SetDefault(checked_key(key), checked(key, default))
        return copied(self._ask(message))

    def update(self, other: Any = (), /, **more: Json) -> None:
        """Set several keys at once, or none of them if one is refused."""
        self._tell(Update(checked_items({**dict(other), **more})))

    def __repr__(self) -> str:
        """Say what kind of handle it is: opening nothing, giving away nothing."""
        address = self._address
        if address is None:
            return "<Session: not opened>"
        if address is _CLOSED:
            return "<Session: closed>"
        return "<Session: empty>" if address is _EMPTY else "<Session: open>"

    # For middlewares and tests.

    @property
    def was_used(self) -> bool:
        """Whether anything was asked of it, were it in vain: the response depends on it."""
        return self._used

    @property
    def is_open(self) -> bool:
        """Whether it has been opened and not yet closed; asking does not open it."""
        address = self._address
        return address is not None and address is not _EMPTY and address is not _CLOSED

    def state(self) -> SessionState:
        """Give everything as it is now: id, data, flash, and the changes made."""
        reply: SessionState = self._ask(_GET_STATE)
        return reply

    def take_changes(self) -> SessionState:
        """Give the state to be committed; from here on, changes are counted anew."""
        reply: SessionState = self._ask(_TAKE_CHANGES)
        return reply

    def finish(self) -> SessionState:
        """Stop, and give the state to be committed: nothing can come after it."""
        state: SessionState = self._ask(_FINISH)
        # No lock: it was open, and so nobody is opening it.
        self._address, self._opener = _CLOSED, _refuse
        return state

    def seal(self) -> None:
        """Refuse ``regenerate`` from now on: the headers are leaving."""
        self._sealed = True

    def stop(self) -> None:
        """Stop the actor. Whatever is asked afterwards raises SessionClosed."""
        if self._address is not _CLOSED:
            address = self._close()
            if address is not None:
                address.stop()

    def _close(self) -> _Address | None:
        with self._lock:
            address, self._address = self._address, _CLOSED
            self._opener = _refuse  # who opens us has us: end the cycle, or gc must find it
        return address

    def _open(self) -> _Address:
        with self._lock:
            if self._address is None:
                self._used = True
                self._address = SessionActor.start(self._opener())
            return self._address

    def _ask(self, message: Any) -> Any:
        try:
            return (self._address or self._open()).ask(message, timeout=ASK_TIMEOUT)
        except ActorDeadError:
            raise _too_late() from None

    def _tell(self, message: Any) -> None:
        try:
            (self._address or self._open()).tell(message)
        except ActorDeadError:
            raise _too_late() from None


def empty() -> Session:
    """Give a handle for boot time: reads give nothing, writes are ignored."""
    session = Session(lambda: _EMPTY.state)
    session._address = _EMPTY
    return session


def _refuse() -> NoReturn:
    raise _too_late()


def _too_late() -> SessionClosed:
    return SessionClosed(
        "the session was used after its response had left; read what you need before, "
        "and hand that to threads and callbacks that outlive the request"
    )


class _Address(Protocol):
    """Where a handle sends its messages: an actor's ref, or nowhere."""

    def ask(self, message: Any, *, timeout: float | None) -> Any: ...

    def tell(self, message: Any) -> None: ...

    def stop(self) -> object: ...


class _Empty:
    """Answers as a session would that has just begun, and keeps nothing."""

    state: Final = SessionState.new("")

    def ask(self, message: Any, *, timeout: float | None) -> Any:
        return message.step(self.state)[1]

    def tell(self, message: Any) -> None:
        pass

    def stop(self) -> None:
        pass


class _Closed:
    """Refuses every message."""

    def ask(self, message: Any, *, timeout: float | None) -> NoReturn:
        raise ActorDeadError

    def tell(self, message: Any) -> NoReturn:
        raise ActorDeadError

    def stop(self) -> None:
        pass


_EMPTY: Final = _Empty()
_CLOSED: Final = _Closed()
