"""Session: what a handler holds, a mapping with verbs."""

from __future__ import annotations

import math
import time
from collections.abc import ItemsView, Iterator, Mapping, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, Self, SupportsIndex

from ._ids import generate_id, owner_key
from ._session.actor import ASK_TIMEOUT, SessionActor
from ._session.messages import (
    BelongTo,
    Clear,
    ExpireAfter,
    ExpireOnClose,
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
    Message,
    Now,
    Pull,
    Put,
    Reflash,
    Regenerate,
    SetDefault,
    Update,
)
from ._session.serialization import Owner, StoredSession
from ._session.state import SessionState
from ._session.values import JsonInput, copy_value, validate_items, validate_key, validate_value
from ._validation import Duration, to_seconds
from .errors import ConfigError, SessionClosed
from .mailbox import ActorDeadError

if TYPE_CHECKING:
    from .stores.base import SessionStore

__all__ = [
    "CLOSED",
    "OPENING",
    "ReadOnly",
    "Session",
    "SessionOwner",
    "SessionRef",
    "closed_error",
    "empty",
]

_MISSING: Final = object()

# Messages without fields are made once.
_CLEAR: Final = Clear()
_GET_ALL: Final = GetAll()
_GET_ID: Final = GetId()
_GET_STATE: Final = GetState()
_REFLASH: Final = Reflash()


class SessionRef(Protocol):
    """Where a session sends its messages: the ref of its actor."""

    def ask(self, message: Message, *, timeout: float | None) -> Any: ...

    def tell(self, message: Message) -> None: ...

    def stop(self, *, block: bool) -> object: ...


class SessionOwner(Protocol):
    """The request a session belongs to; it opens the session when it is first used.

    Attributes:
        ref: the session's actor; None until it is opened.
        sealed: whether the headers of the response have left.
        finished: whether the last commit was made; reads may still be possible.
        store: where the session is kept.
    """

    @property
    def store(self) -> SessionStore: ...

    ref: SessionRef | None
    sealed: bool
    finished: bool

    def open(self) -> SessionRef:
        """Open the session unless it is open, and return its actor."""
        ...

    def new_id(self) -> str:
        """Return an id that no session has."""
        ...

    def abandon(self) -> None:
        """Stop the actor and write nothing."""
        ...


class Session(MutableMapping[str, Any]):
    """The session of one request: a mapping with verbs, such as ``flash`` and ``regenerate``.

    Any thread of the request may use it. Writes are told to the session's actor and reads
    are asked of it, one at a time and in order. Values are copied in and out: changing a
    list that ``get`` returned changes nothing in the session.

    A session holds what JSON gives back exactly as it was put: str, int, float, bool, None,
    and lists and str-keyed dicts of them. Tuples become lists. Other values are refused at
    once, with a TypeError or ValueError that names the key. Keys are str.

    A write after the last commit raises :class:`~glimr_session.SessionClosed`, and so does a
    read after the response has left. The first method used opens the session, and so may
    raise :class:`~glimr_session.StoreUnavailable`.

    As any mapping, a session is false when it is empty: test for a session with ``is not
    None``. It cannot be copied or pickled, for it belongs to its request; ``copy()`` returns a
    dict.

    Example:
        >>> session = Session.start(generate_id(), {"visits": 1})
        >>> session.increment("visits")
        2
        >>> session["cart"] = ("book", "pen")
        >>> session["cart"]
        ['book', 'pen']
        >>> session.stop()
    """

    __slots__ = ("_owner",)

    def __init__(self, owner: SessionOwner) -> None:
        self._owner = owner

    @classmethod
    def start(
        cls,
        id: str,  # noqa: A002  # the name is fixed
        data: Mapping[str, JsonInput] | None = None,
        flash: Mapping[str, JsonInput] | None = None,
    ) -> Session:
        """Return an open session with this content, as if a store had given it: for tests.

        Call ``stop()`` in the end.

        Args:
            id: the session's id; ``generate_id()`` makes one.
            data: the values, by key.
            flash: what the request before has left, by key.
        """
        stored = StoredSession(
            id=id, data=validate_items(data or {}), flash=validate_items(flash or {})
        )
        return cls(_Standalone(SessionActor.start(SessionState.opened(stored))))

    # Reads.

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or the default.

        Example:
            >>> empty().get("cart", [])
            []
        """
        return copy_value(self._ask(Get(key, default)))

    def has(self, key: str) -> bool:
        """Whether a key is there, whatever its value."""
        return self._ask(Has(key))  # type: ignore[no-any-return]

    def all(self) -> dict[str, Any]:
        """Return a snapshot of all data; changing it changes nothing in the session."""
        data: Mapping[str, Any] = self._ask(_GET_ALL)
        return {key: copy_value(value) for key, value in data.items()}

    @property
    def id(self) -> str:
        """The id: 64 hex digits, or "" for ``empty()``. It is a secret: never log it."""
        return self._ask(_GET_ID)  # type: ignore[no-any-return]

    # Writes.

    def put(self, key: str, value: JsonInput) -> None:
        """Set a key.

        Raises:
            TypeError, ValueError: JSON does not have the value; nothing was set.
        """
        self._tell(Put(validate_key(key), validate_value(key, value)))

    def forget(self, key: str) -> None:
        """Remove a key, whether it is there or not."""
        self._tell(Forget(validate_key(key)))

    def clear(self) -> None:
        """Remove all data; the id and the flash stay."""
        self._tell(_CLEAR)

    def increment(self, key: str, by: int | float = 1) -> int | float:
        """Add to a number and return the sum; a missing key counts as 0.

        Increments of requests that run at the same time add up.

        Raises:
            TypeError: the session holds something else there, or ``by`` is not a number.

        Example:
            >>> session = Session.start(generate_id())
            >>> session.increment("visits"), session.increment("visits", 2)
            (1, 3)
            >>> session.stop()
        """
        if type(by) is not int and (type(by) is not float or not math.isfinite(by)):
            raise TypeError(f"increment({key!r}) adds a finite int or float, not {by!r}")
        return self._ask(Increment(validate_key(key), by))  # type: ignore[no-any-return]

    def pull(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or the default, and remove the key.

        A value that another request puts there meanwhile stays: nobody has seen it.
        """
        return copy_value(self._ask(Pull(key, default)))

    # Flash: for the next request that uses its session.

    def flash(self, key: str, value: JsonInput, *, add: bool = False) -> None:
        """Leave a value that only the next request can read.

        Args:
            key: a new value replaces an earlier one under the same key.
            value: anything that a session can hold.
            add: True leaves a list instead, and adds to it, in order. Those of requests that
                run at the same time are all in it.

        Example:
            In the request that saves, then in the one that the browser is redirected to::

                session.flash("notice", "Saved.")
                session.get_flash("notice")  # "Saved.", and "" in the request after it
        """
        self._tell(Flash(validate_key(key), validate_value(key, value), add))

    def get_flash(self, key: str) -> Any:
        """Return what the request before has left, or ""."""
        return self.get_flash_or(key, "")

    def get_flash_or(self, key: str, default: Any = None) -> Any:
        """Return what the request before has left, or the default."""
        return copy_value(self._ask(GetFlash(key, default)))

    def has_flash(self, key: str) -> bool:
        """Whether the request before has left this."""
        return self._ask(HasFlash(key))  # type: ignore[no-any-return]

    def error(self, field: str) -> Any:
        """Return the error of a form's field, or ""; see ``flash_errors``."""
        return self.get_flash(f"errors.{field}")

    def has_error(self, field: str) -> bool:
        """Whether a form's field has an error."""
        return self.has_flash(f"errors.{field}")

    def old(self, field: str) -> Any:
        """Return what was typed into a form's field, or ""; see ``flash_old``."""
        return self.get_flash(f"old.{field}")

    def now(self, key: str, value: JsonInput) -> None:
        """Show a value as flash in this request, and not in the next one."""
        self._tell(Now(validate_key(key), validate_value(key, value)))

    def keep(self, *keys: str) -> None:
        """Leave these keys of the flash shown to this request for one more request.

        A new value under the same key wins, whichever request leaves it.
        """
        self._tell(Keep(tuple(map(validate_key, keys))))

    def reflash(self) -> None:
        """Leave all flash shown to this request for one more request; see ``keep``."""
        self._tell(_REFLASH)

    # Login and logout.

    def regenerate(self) -> None:
        """Go on under a new id and keep the data; the old id becomes worthless.

        Call it at every login, so that an id planted in the browser before is of no use
        after (session fixation).

        Raises:
            SessionClosed: the headers have left, and the new id cannot reach the browser.
        """
        if self._owner.sealed:
            raise SessionClosed(
                "regenerate() came after the headers had left, so the new id cannot reach the "
                "browser; call it before the first chunk of the body"
            )
        self._tell(Regenerate(self._owner.new_id()))

    def invalidate(self) -> None:
        """Forget everything, destroy what is stored and go on under a new id: a logout.

        It ends every session whose cookie this request came with, and the cookie, unless
        something is put afterwards: that is a new session.
        """
        self._tell(Invalidate(self._owner.new_id()))

    def belongs_to(self, owner: str | int | None, **noted: JsonInput) -> None:
        """Record whose session this is, at a login: ``store.sessions(owner)`` lists it then.

        ``store.destroy_all(owner)`` ends it with all others of the owner. What is stored is a
        hash of the owner, and what was noted. After ``invalidate()`` the session belongs to
        nobody.

        Args:
            owner: the id of a user: 7 and "7" are the same one. None: nobody.
            noted: what a list of the owner's sessions is to show, as the device and the place.

        Raises:
            TypeError, ValueError: it is no id, or JSON does not have what is noted.

        Example:
            >>> session = Session.start(generate_id())
            >>> session.belongs_to(7, device="Firefox on Linux")
            >>> session.stop()
        """
        key = "" if owner is None else owner_key(owner)
        self._tell(BelongTo(Owner(key, time.time(), validate_items(noted))))

    @property
    def store(self) -> SessionStore:
        """Where the session is kept: to list and to end the sessions of its owner.

        Raises:
            ConfigError: the session belongs to no request, as one of ``Session.start``.

        Example:
            After a change of the password::

                session.store.destroy_all(user.id, except_=session)
        """
        return self._owner.store

    # How long it lives.

    def expire_after(self, duration: Duration | None) -> None:
        """Set this session's own idle timeout, as for "remember me".

        The cookie gets the same age, unless it ends with the browser: see
        ``expire_on_close``. The absolute timeout still holds. After ``invalidate()`` it has to be
        called again, for that begins another session.

        Args:
            duration: a ``timedelta`` or seconds; None goes back to the configured lifetime.

        Raises:
            ConfigError: it is not a duration above 0.

        Example:
            >>> from datetime import timedelta
            >>> session = Session.start(generate_id())
            >>> session.expire_after(timedelta(days=30))
            >>> session.state().lifetime
            2592000.0
            >>> session.stop()
        """
        self._tell(ExpireAfter(0.0 if duration is None else to_seconds("duration", duration)))

    def expire_on_close(self, flag: bool = True) -> None:
        """Let the cookie end with the browser, or not, whatever the configuration says.

        Raises:
            TypeError: it is not a bool.
        """
        if type(flag) is not bool:
            raise TypeError(f"expire_on_close() takes True or False, not {flag!r}")
        self._tell(ExpireOnClose(flag))

    # Mapping protocol. Methods not overridden here build on these; those that must be
    # atomic are overridden.

    def __getitem__(self, key: str) -> Any:
        value = self._ask(Get(key, _MISSING))
        if value is _MISSING:
            raise KeyError(key)
        return copy_value(value)

    def __setitem__(self, key: str, value: JsonInput) -> None:
        self.put(key, value)

    def __delitem__(self, key: str) -> None:
        if self._ask(Pull(key, _MISSING)) is _MISSING:
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.has(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ask(_GET_ALL))

    def __len__(self) -> int:
        return len(self._ask(_GET_ALL))

    def items(self) -> ItemsView[str, Any]:
        """Return the items of a snapshot."""
        return self.all().items()

    def values(self) -> ValuesView[Any]:
        """Return the values of a snapshot."""
        return self.all().values()

    def pop(self, key: str, default: Any = _MISSING) -> Any:
        """Return the value of a key and remove it; KeyError without it and a default."""
        value = self.pull(key, default)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def popitem(self) -> tuple[str, Any]:
        """Return the youngest item and remove it; KeyError if there is none."""
        for key in reversed(self.all()):
            value: Any = self.pull(key, _MISSING)
            if value is not _MISSING:  # else another thread has removed it
                return key, value
        raise KeyError("the session is empty")

    def setdefault(self, key: str, default: JsonInput = None) -> Any:
        """Return the value of a key, which is set to the default first if it is missing."""
        return copy_value(self._ask(SetDefault(validate_key(key), validate_value(key, default))))

    def update(self, other: Any = (), /, **more: JsonInput) -> None:
        """Set several keys at once, or none of them if one is refused."""
        self._tell(Update(validate_items({**dict(other), **more})))

    def copy(self) -> dict[str, Any]:
        """Return a snapshot of all data, as ``all()`` does."""
        return self.all()

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return self.all() | dict(other)

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return dict(other) | self.all()

    def __ior__(self, other: Mapping[str, Any]) -> Self:
        self.update(other)
        return self

    def __reduce_ex__(self, _protocol: SupportsIndex) -> NoReturn:
        """Refuse what the modules copy and pickle ask for."""
        raise TypeError(
            "a session cannot be copied or pickled: it belongs to its request. "
            "Use session.all(), which returns a dict"
        )

    def __repr__(self) -> str:
        """Describe the session's status without opening it or revealing its contents."""
        ref = self._owner.ref
        if ref is None:
            return "<Session: not opened>"
        if ref is _EMPTY:
            return "<Session: empty>"
        return "<Session: closed>" if ref is CLOSED else "<Session: open>"

    @property
    def is_open(self) -> bool:
        """Whether the request goes on, so that the session can be changed."""
        return not self._owner.finished

    # For tests.

    def state(self) -> SessionState:
        """Return a snapshot of everything: id, data, flash, and the changes made."""
        return self._ask(_GET_STATE)  # type: ignore[no-any-return]

    def stop(self) -> None:
        """Stop a session of ``start()`` and write nothing; later uses raise SessionClosed."""
        self._owner.abandon()

    def _ask(self, message: Message) -> Any:
        owner = self._owner
        try:
            return (owner.ref or owner.open()).ask(message, timeout=ASK_TIMEOUT)
        except ActorDeadError:
            raise closed_error() from None

    def _tell(self, message: Message) -> None:
        owner = self._owner
        try:
            (owner.ref or owner.open()).tell(message)
        except ActorDeadError:
            raise closed_error() from None


def empty() -> Session:
    """Return a session for boot time: reads return nothing, writes are ignored.

    Example:
        >>> session = empty()
        >>> session["a"] = 1
        >>> "a" in session
        False
    """
    return Session(_Standalone(_EMPTY))


def closed_error() -> SessionClosed:
    """Return the error of a session that is used too late."""
    return SessionClosed(
        "the session was used after its response had left; read what you need before, "
        "and hand that to threads and callbacks that outlive the request"
    )


class _Standalone:
    """The owner of a session without a request."""

    sealed = False
    finished = False

    def __init__(self, ref: SessionRef) -> None:
        self.ref: SessionRef | None = ref

    @property
    def store(self) -> NoReturn:
        raise ConfigError("this session belongs to no request, and so it is kept in no store")

    def open(self) -> SessionRef:
        return self.ref or CLOSED

    def new_id(self) -> str:
        return generate_id()

    def abandon(self) -> None:
        ref, self.ref, self.finished = self.ref, CLOSED, True
        if ref is not None:
            ref.stop(block=False)


class _Empty:
    """Answers as a session would that has just begun, and keeps nothing."""

    def ask(self, message: Message, *, timeout: float | None) -> Any:
        return message.apply(SessionState.new(""))

    def tell(self, message: Message) -> None:
        pass

    def stop(self, *, block: bool) -> None:
        pass


class ReadOnly:
    """Answers for a session whose last commit was made, and refuses to write."""

    def __init__(self, state: SessionState) -> None:
        self._state = state

    def ask(self, message: Message, *, timeout: float | None) -> Any:
        if message.writes:
            raise ActorDeadError
        return message.apply(self._state)

    def tell(self, message: Message) -> NoReturn:
        raise ActorDeadError

    def stop(self, *, block: bool) -> None:
        pass


class _Closed:
    """Refuses every message."""

    def ask(self, message: Message, *, timeout: float | None) -> NoReturn:
        raise ActorDeadError

    def tell(self, message: Message) -> NoReturn:
        raise ActorDeadError

    def stop(self, *, block: bool) -> None:
        pass


_EMPTY: Final = _Empty()

OPENING: Final = _Empty()
"""Answers a log filter that uses the session while the session is being opened."""

CLOSED: Final = _Closed()
"""Where the messages of a closed session go."""
