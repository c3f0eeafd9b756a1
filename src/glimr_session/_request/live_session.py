"""LiveSession: a session whose values can be changed in place, for web frameworks."""

from __future__ import annotations

import functools
import marshal
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NoReturn, Self, SupportsIndex, TypeVar

from .._ids import owner_key
from .._session.changes import ABSENT, Absent, CompareAndSet, Edit, Merged, same
from .._session.messages import ChangeKeys, GetAll
from .._session.serialization import Owner
from .._session.values import Json, JsonInput, validate_key, validate_value
from .._validation import Duration
from ..config import SessionConfig
from ..forms import flash_errors, flash_old
from ..session import Session, closed_error
from ..stores.base import SessionStore
from .cache_headers import Headers
from .origin import Origin
from .request_session import RequestSession

__all__ = ["LiveSession", "SessionVerbs", "owner_keys"]

R = TypeVar("R")

_MISSING: Final = object()
_CHANGEABLE: Final = (list, dict)
_GET_ALL: Final = GetAll()

_UNREAD: Final[dict[str, Any]] = {"": None}
"""What a LiveSession holds until it is read. Python's json module looks at the size of a dict
before it calls ``items()``, and takes one of size 0 for empty."""


class SessionVerbs:
    """The verbs of :class:`~glimr_session.Session` that do not touch its data.

    Attributes:
        session: the session of the request.
    """

    session: Session

    def flash(self, key: str, value: JsonInput, *, add: bool = False) -> None:
        """Leave a value that only the next request can read; see ``Session.flash``."""
        self.session.flash(key, value, add=add)

    def get_flash(self, key: str) -> Any:
        """Return what the request before has left, or ""."""
        return self.session.get_flash(key)

    def get_flash_or(self, key: str, default: Any = None) -> Any:
        """Return what the request before has left, or the default."""
        return self.session.get_flash_or(key, default)

    def has_flash(self, key: str) -> bool:
        """Whether the request before has left this."""
        return self.session.has_flash(key)

    def now(self, key: str, value: JsonInput) -> None:
        """Show a value as flash in this request, and not in the next one."""
        self.session.now(key, value)

    def keep(self, *keys: str) -> None:
        """Leave these keys of the flash shown to this request for one more request."""
        self.session.keep(*keys)

    def reflash(self) -> None:
        """Leave all flash shown to this request for one more request."""
        self.session.reflash()

    def flash_errors(self, errors: Mapping[str, object] | Mapping[str | None, object]) -> None:
        """Leave each field's first error for the next request: ``error(field)``."""
        flash_errors(self.session, errors)

    def flash_old(self, form: Mapping[str, Any], except_: Collection[str] = ()) -> None:
        """Leave what was typed for the next request, passwords excepted: ``old(field)``."""
        flash_old(self.session, form, except_)

    def error(self, field: str) -> Any:
        """Return the error of a form's field, or ""."""
        return self.session.error(field)

    def has_error(self, field: str) -> bool:
        """Whether a form's field has an error."""
        return self.session.has_error(field)

    def old(self, field: str) -> Any:
        """Return what was typed into a form's field, or ""."""
        return self.session.old(field)

    def belongs_to(self, owner: str | int | None, **noted: JsonInput) -> None:
        """Record whose session this is, at a login; see ``Session.belongs_to``."""
        self.session.belongs_to(owner, **noted)

    @property
    def store(self) -> SessionStore:
        """Where the session is kept: to list and to end the sessions of its owner."""
        return self.session.store

    def expire_after(self, duration: Duration | None) -> None:
        """Set this session's own idle timeout, as for "remember me"; None: the configured one."""
        self.session.expire_after(duration)

    def expire_on_close(self, flag: bool = True) -> None:
        """Let the cookie end with the browser, or not, whatever the configuration says."""
        self.session.expire_on_close(flag)


class LiveSession(SessionVerbs, dict[str, Any]):
    """The session of a request as a dict, whose values may be changed in place.

    It is read when it is first used. ``write`` compares what it holds with what it held then,
    and tells the session what has changed: a key that was given another object is put; a list or
    dict that was changed in place is merged, so that two requests that append to one list, or
    set different keys of one dict, both survive; a key that was removed is forgotten.
    Any thread of the request may use it.

    A door calls ``write`` before each commit. What JSON does not give back is refused there.

    Args:
        request: the session of the request.
        login_keys: when the value of one of these keys is replaced or removed, somebody has
            logged in or out, and the session gets a new id.
        owner_keys: the value of the first of these keys that has one says who the session
            belongs to, unless the application does.

    Attributes:
        request: as above.
        modified: whether a key was set or removed; settable.

    Example:
        >>> from glimr_session._request.manager import SessionManager
        >>> from glimr_session import SessionConfig
        >>> manager = SessionManager.from_config(SessionConfig.from_mapping({
        ...     "store": "cookie", "secret_keys": ["oUv7 - 32 characters, made at random"],
        ... }))
        >>> live = LiveSession(manager.begin(""))
        >>> live.setdefault("cart", []).append("book")
        >>> live.write()
        >>> live.session.all()
        {'cart': ['book']}
        >>> live.request.abandon()
    """

    _found: Mapping[str, Json] | None = None  # what the session holds; None: it is unread
    # From then on:
    _lent: dict[str, Any]  # the objects that stand for it
    _print: bytes | None = None  # of all of them
    _begun: set[str]  # the keys whose values began as a default
    _put: set[str]  # the keys that were given other objects

    _told: str | None = None  # which owner the session was told of here

    def __init__(
        self,
        request: RequestSession,
        login_keys: Collection[str] = (),
        owner_keys: Sequence[str] = (),
    ) -> None:
        super().__init__(_UNREAD)
        self.request = request
        self.session = request.session
        self.modified = False
        self._login_keys = login_keys
        self._owner_keys = owner_keys
        self._lock = threading.RLock()  # any thread of the request may use it

    # What a framework's values are made of; the door of Flask has more than JSON has.

    def encode(self, key: str, value: Any) -> Json:
        """Return a value as JSON; raises TypeError or ValueError that names the key."""
        return validate_value(key, value)

    def decode(self, values: dict[str, Json]) -> dict[str, Any]:
        """Return values as they are handed out, sharing no list and no dict with the JSON."""
        copy: dict[str, Any] = marshal.loads(marshal.dumps(values))  # noqa: S302  # ours, in C
        return copy

    # Between the session and the dict.

    @property
    def accessed(self) -> bool:
        """Whether the session was used: the response then depends on the cookie."""
        return self.request.used

    def read(self) -> None:
        """Read the session, unless that was done.

        Raises:
            StoreUnavailable: the store cannot be read.
            SessionClosed: the response has left.
        """
        if self._found is None:
            with self._lock:
                if self._found is None:
                    found = self.session._ask(_GET_ALL)
                    super().clear()
                    self._lent = {}
                    self._take(found)

    def write(self) -> None:
        """Tell the session what has changed.

        Raises:
            TypeError, ValueError: JSON does not have a value; the message names its key, and
                nothing was told.
            SessionClosed: the last commit was made, or somebody has logged in after the headers.
        """
        with self._lock:
            if self._found is not None:
                if self._owner_keys and not (self.request.sealed or self.request.finished):
                    stored, store = self.request.fetch(), self.request.store
                    values = {type(dict.get(self, key)) for key in self._owner_keys}
                    if (
                        stored
                        and stored.owner is None
                        and store.ends_owners
                        and values.isdisjoint(_CHANGEABLE)
                    ):
                        self._tell_owner()  # of a session from before the setting
                self._write(self._found)

    def _write(self, found: Mapping[str, Json]) -> None:
        if self._print is not None and self._print == _fingerprint(dict(super().items())):
            return
        now: dict[str, Json] = {}
        edits: dict[str, Edit] = {}
        for key, value in super().items():
            if key in found and (
                value is found[key]
                or (type(value) in _CHANGEABLE and _fingerprint(value) == _fingerprint(found[key]))
            ):
                now[key] = found[key]
                continue
            now[key] = self.encode(validate_key(key), value)
            before = found.get(key, ABSENT)
            if not same(before, now[key]):
                edits[key] = self._edit(key, before, now[key])
        for key in found.keys() - now.keys():
            edits[key] = Merged(found[key], ABSENT)
        if any(_replaces(edits[key]) for key in self._owner_keys if key in edits):
            self._tell_owner()
        if any(_replaces(edits.get(key, ABSENT)) for key in self._login_keys if key in edits):
            self.session.regenerate()
            # All that a login has put goes into a session that begins, if this one has ended.
            edits |= {key: now[key] for key in self._put if key in now}
        if edits:
            self.session._tell(ChangeKeys(edits))
        self._hold(now)

    def _tell_owner(self) -> None:
        """Record whose session it is, before the login is: a commit in between leaves no gap.

        What the application has told in this request stays, and so does what it has noted of the
        same owner.

        Raises:
            TypeError: the value is a list or a dict, and the application has not told.
        """
        values = ((key, dict.get(self, key)) for key in self._owner_keys)
        named = (
            (key, value)
            for key, value in values
            if value is not None and value != "" and type(value) is not bool
        )
        name, value = next(named, ("", None))
        user = None if value is None else str(value)
        key = "" if user is None else owner_key(user)
        stored, changes = self.request.fetch(), self.session.state().changes
        found = "" if stored is None else _key_of(stored.owner)
        known = _key_of(changes.owner_on(changes.base))
        # A commit of this request may have been made since.
        by_application = changes.owner is not None or known not in ("", found)
        if key != known and (known == self._told or not by_application):
            if type(value) in _CHANGEABLE:
                raise TypeError(
                    f"session[{name!r}] is a {type(value).__name__}, and owner_from_login takes it "
                    "for the id of a user; keep the id there, or call belongs_to()"
                )
            self.session.belongs_to(user)
            self._told = key

    def _edit(self, key: str, before: Json | Absent, after: Json) -> Edit:
        if key in self._put:
            return after
        if before is ABSENT and type(after) not in _CHANGEABLE:
            return CompareAndSet(ABSENT, after)  # setdefault()
        return Merged(before, after, anew=key in self._begun)

    def response_headers(
        self, status: int | str, headers: Headers, *, origin: Callable[[], Origin], last: bool
    ) -> Headers:
        """Write, unless the response has failed, and do what ``RequestSession`` does.

        Raises:
            TypeError, ValueError: as ``write``.
            StoreUnavailable, SessionTooLarge: there are no headers to send.
        """
        self.request.begin_response(status)
        if not self.request.failed:
            self.write()
        return self.request.response_headers(status, headers, origin=origin, last=last)

    def flush(self, *, last: bool = True, wait: bool = True) -> None:
        """Write what has changed since the headers left, unless the response has failed.

        Raises:
            TypeError, ValueError: as ``write``.
            StoreUnavailable: it was not committed.
        """
        if not (self.request.failed or self.request.closed):
            self.write()
        self.request.flush(last=last, wait=wait)

    def _take(self, found: Mapping[str, Json]) -> None:
        """Hold what the session holds now; objects that are up to date stay as they are."""
        before: Mapping[str, Any] = self._found or {}
        for key in super().keys() - found.keys():
            super().__delitem__(key)
        changed = [key for key in found if not same(before.get(key, ABSENT), found[key])]
        if changed:
            super().update(self.decode({key: found[key] for key in changed}))
        self._hold(found)

    def _hold(self, found: Mapping[str, Json]) -> None:
        """Remember what the session holds, and by which objects."""
        self._print = _fingerprint(dict(super().items()))
        self._found, self._put, self._begun = found, set(), set()
        self._lent.update(super().items())  # defaults that were handed out stay known

    def _in_session(self, verb: Callable[..., R], *args: Any) -> R:
        """Call a verb of the session on what this dict holds, and hold what it leaves."""
        with self._lock:
            self.read()
            self.write()
            result = verb(*args)
            self._take(self.session._ask(_GET_ALL))
            return result

    def _begin_change(self) -> None:
        if self.request.finished:
            raise closed_error()
        self.read()
        self.modified = True

    def _emptied(self) -> None:
        self.modified = True
        super().clear()
        self._found, self._lent, self._print = {}, {}, None
        self._put, self._begun = set(), set()

    # The dict.

    def get(self, key: str, default: Any = None) -> Any:
        self.read()
        value = super().get(key, _MISSING)
        return self._lend(key, default) if value is _MISSING else value

    def _lend(self, key: str, default: Any) -> Any:
        """Return a default; if it is changed and put, that is a change in place."""
        if type(default) in _CHANGEABLE:
            self._lent[key] = default
            self._begun.add(key)
        return default

    def __setitem__(self, key: str, value: Any) -> None:
        with self._lock:
            self._begin_change()
            if type(value) in _CHANGEABLE and value is self._lent.get(key):
                self._put.discard(key)
            else:
                self._put.add(key)
            super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        with self._lock:
            self._begin_change()
            super().__delitem__(key)

    def setdefault(self, key: str, default: Any = None) -> Any:
        with self._lock:
            self._begin_change()
            if not super().__contains__(key):
                self._put.discard(key)
                self._lend(key, default)
            return super().setdefault(key, default)

    def pop(self, key: str, default: Any = _MISSING) -> Any:
        with self._lock:
            self._begin_change()
            if default is _MISSING or super().__contains__(key):
                return super().pop(key)
            return self._lend(key, default)

    def popitem(self) -> tuple[str, Any]:
        with self._lock:
            self._begin_change()
            return super().popitem()

    def update(self, /, *others: Any, **more: Any) -> None:
        for key, value in dict(*others, **more).items():
            self[key] = value

    def __ior__(self, other: Any) -> Self:  # type: ignore[override, misc]  # of dict's overloads
        self.update(other)
        return self

    def clear(self) -> None:
        """Remove all data; the flash stays, and the id unless somebody was logged in."""
        with self._lock:
            if any(key in self for key in self._login_keys):
                self.session.regenerate()
            if any(key in self for key in self._owner_keys):
                self.session.belongs_to(None)
                self._told = ""
            self.session.clear()
            self._emptied()

    def __del__(self) -> None:
        if "request" in vars(self):  # else it was never made
            self.request.abandon()  # an actor and its ref refer to each other

    def __reduce_ex__(self, _protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a session cannot be pickled: it belongs to its request. Use dict(session)")

    # The verbs that touch its data, or its id.

    @property
    def id(self) -> str:
        """The id: a secret, never to be logged."""
        return self.session.id

    def all(self) -> dict[str, Any]:
        """Return a copy of all data."""
        return self.copy()

    def has(self, key: str) -> bool:
        """Whether a key is there, whatever its value."""
        return key in self

    def put(self, key: str, value: Any) -> None:
        """Set a key."""
        self[key] = value

    def forget(self, key: str) -> None:
        """Remove a key, whether it is there or not."""
        self.pop(key, None)

    def pull(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or the default, and remove the key."""
        return self.pop(key, default)

    def increment(self, key: str, by: int | float = 1) -> int | float:
        """Add to a number and return the sum; increments of concurrent requests add up."""
        self.modified = True
        return self._in_session(self.session.increment, key, by)

    def regenerate(self) -> None:
        """Go on under a new id and keep the data: call it at every login."""
        self.modified = True
        self.session.regenerate()

    def invalidate(self) -> None:
        """Forget everything, destroy what is stored and go on under a new id: a logout."""
        with self._lock:
            self.session.invalidate()
            self._emptied()


def owner_keys(config: SessionConfig, own: str = "") -> tuple[str, ...]:
    """Return the keys that name the owner of a session; none without ``owner_from_login``.

    Args:
        config: the settings.
        own: the key of the framework, which comes before ``login_key``.
    """
    return tuple(filter(None, (own, config.login_key))) if config.owner_from_login else ()


def _key_of(owner: Owner | None) -> str:
    return "" if owner is None else owner.key


def _replaces(edit: Edit) -> bool:
    """Whether an edit gives or takes a value, and does not only change it in place."""
    return type(edit) is not Merged or ABSENT in (edit.found, edit.result)


def _fingerprint(value: Any) -> bytes | None:
    """Return bytes that only the same value of the same types has; None if there are none."""
    try:
        return marshal.dumps(value, 2)  # from version 3 on it tells two objects from one twice
    except ValueError:
        return None


def _reading(method: Callable[..., R]) -> Callable[..., R]:
    """Return a method of dict that reads the session first."""

    @functools.wraps(method)
    def reading(self: LiveSession, *args: Any) -> R:
        self.read()
        return method(self, *args)

    return reading


for _name in (
    "__contains__", "__eq__", "__getitem__", "__iter__", "__len__", "__ne__", "__or__", "__repr__",
    "__reversed__", "__ror__", "copy", "items", "keys", "values",
):  # fmt: skip
    setattr(LiveSession, _name, _reading(getattr(dict, _name)))
