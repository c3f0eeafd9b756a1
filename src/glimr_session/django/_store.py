"""SessionStore: Django's session, on a RequestSession."""

from __future__ import annotations

import math
import re
import threading
from typing import Any, Final

from django.contrib.auth import SESSION_KEY as LOGIN_KEY
from django.contrib.sessions.backends.base import CreateError, UpdateError

from .._request.live_session import SessionVerbs, owner_keys
from .._request.request_session import RequestSession
from .._request.token import Transport
from .._validation import Duration, to_seconds
from ..errors import StoreUnavailable
from ..session import Session
from ..stores.base import CommitResult
from ._async import AsyncSessionBase
from ._keys import cookie_value_of, key_of, key_sent, moved_key, name_of
from ._live import EXPIRY, DjangoLiveSession, seconds_left
from ._setup import current

__all__ = ["SessionStore"]

# The value of a cookie of our middleware, as Django's test client gives it to an engine.
_SIGNED: Final = re.compile(r"[0-9a-z]{24}(~[0-9a-f]+)?\.[0-9a-f]+\.[\w-]{43}", re.ASCII)


class SessionStore(SessionVerbs, AsyncSessionBase):
    """A session, as Django's views, middleware and tests use it.

    Besides Django's methods it has those of :class:`~glimr_session.Session` for flash, forms and
    expiry, and ``increment``.

    Args:
        session_key: the key that the browser has sent; None begins a new session.

    Raises:
        ImproperlyConfigured: the settings cannot work.

    Example:
        In a view::

            request.session["cart"] = ["book"]
            request.session.flash("notice", "Saved.")
    """

    _unread = ""  # a header in which nobody has looked for the session key yet

    outage: StoreUnavailable | None = None
    """Why the session could not be read."""

    own: RequestSession | None = None
    """The session of the request, where our middleware commits it; None elsewhere."""

    def __init__(self, session_key: str | None = None) -> None:
        setup = current()
        self._lock = threading.RLock()
        self._login_keys = {LOGIN_KEY, setup.config.login_key or LOGIN_KEY}
        self._binding = setup.binding
        if session_key and _SIGNED.fullmatch(session_key):
            cookie = setup.cookie_binding.cookie
            session_key = _first_key(cookie, f"{cookie.name}={session_key}")
        super().__init__(session_key)

    def begin(self, header: str) -> RequestSession:
        """Begin the session of a request whose response our middleware is to send.

        Args:
            header: the Cookie header of the request, or its token.
        """
        self._binding, self._header = current().cookie_binding, header
        self._unread = header
        self.own = RequestSession(self._binding, header)
        return self.own

    def sent(self, header: str) -> None:
        """Take the session key from the cookies, or from the token."""
        self._session_key = _first_key(self._binding.cookie, header)

    def _key(self) -> str | None:
        if self._unread:
            self.sent(self._unread)
        key: str | None = self._get_session_key()
        return key

    def _set_key(self, key: str | None) -> None:
        self._unread = ""
        self._set_session_key(key)

    session_key = property(_key)
    _session_key = property(_key, _set_key)

    @property
    def keeper(self) -> DjangoLiveSession | RequestSession:
        """What our middleware commits: the data, if it was used, and else the bare session."""
        found: DjangoLiveSession | RequestSession = vars(self).get("_session_cache", self.own)
        return found

    # Reading.

    def exists(self, session_key: str | None) -> bool:
        return bool(session_key and self._binding.store.open(name_of(session_key)))

    def load(self) -> DjangoLiveSession:
        """Return the data, read anew.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        if self.own is not None:
            return self._live(RequestSession(current().binding, self.session_key or ""))
        return self._load()

    def _load(self) -> DjangoLiveSession:
        request = self.own or RequestSession(self._binding, self.session_key or "")
        found = request.fetch()
        if self.own is not None and found is not None:
            self._session_key = key_sent(request.cookie_value)
        key, store = self.session_key, self._binding.store
        expiry = None if found is None else found.data.get(EXPIRY)
        if key and expiry and seconds_left(expiry) <= 0:
            store.destroy(name_of(key))
            found = None
            if self.own is None:
                request = RequestSession(self._binding, "")
            else:
                request = self.own = RequestSession(self._binding, self._header)
        if found is not None:
            if key and not cookie_value_of(key):  # of a former engine: let it move
                self.modified = True
        elif not (key and store.has_moved(name_of(key))):  # else the browser has a newer cookie
            self._session_key = None
        return self._live(request)

    def _live(self, request: RequestSession) -> DjangoLiveSession:
        config = current().config
        live = DjangoLiveSession(
            request,
            self._login_keys,
            owner_keys(config, LOGIN_KEY),
            on_close=config.expire_on_close,
        )
        live.read()
        return live

    def _get_session(self, no_load: bool = False) -> DjangoLiveSession:
        self.accessed = True
        if "_session_cache" not in vars(self):
            with self._lock:
                if "_session_cache" not in vars(self):
                    try:
                        self._session_cache: DjangoLiveSession = self._load()
                    except StoreUnavailable as error:
                        self.outage = error.with_traceback(None)
                        raise
        return self._session_cache

    _session = property(_get_session)

    @property
    def session(self) -> Session:  # type: ignore[override]
        """The session with the verbs of the package; its data is told to it at the commit."""
        found: Session = self._session.session
        return found

    @property
    def modified(self) -> bool:
        """Whether the session has to be saved."""
        live: DjangoLiveSession | None = vars(self).get("_session_cache")
        if live is None or not (self._modified or live.dirty):
            return self._modified
        # A request from before a login: Django's middleware must not set its old cookie again.
        return self.own is not None or not live.request.behind

    @modified.setter
    def modified(self, flag: bool) -> None:
        self._modified = flag

    def is_empty(self) -> bool:
        live: DjangoLiveSession | None = vars(self).get("_session_cache")
        return bool(super().is_empty()) and not (live is not None and live.leaves_flash)

    def get_session_cookie_age(self) -> int:
        return round(current().binding.lifetime)

    def get_expire_at_browser_close(self) -> bool:
        expiry = self.get(EXPIRY)
        return current().config.expire_on_close if expiry is None else expiry == 0

    # Writing.

    def clear(self) -> None:
        self._session.clear()
        self.modified = True

    def setdefault(self, key: str, value: Any) -> Any:
        if key not in self._session:
            self.modified = True
        return self._session.setdefault(key, value)

    def increment(self, key: str, by: int | float = 1) -> int | float:
        """Add to a number and return the sum; increments of concurrent requests add up."""
        total: int | float = self._session.increment(key, by)
        return total

    def expire_after(self, duration: Duration | None) -> None:
        """Set this session's own idle timeout, as ``set_expiry`` does with a number of seconds."""
        seconds = None if duration is None else math.ceil(to_seconds("duration", duration))
        self.set_expiry(seconds)

    def expire_on_close(self, flag: bool = True) -> None:
        """Let the cookie end with the browser, or not, as ``set_expiry`` does."""
        if flag != self.get_expire_at_browser_close():
            self.set_expiry(0 if flag else self.get_session_cookie_age())

    def save(self, must_create: bool = False) -> None:
        """Commit what has changed.

        Raises:
            TypeError, ValueError: JSON does not have a value; the message names its key.
            UpdateError: the session has ended. Without our middleware also if it has another key
                by now: the change was merged, but the browser must keep its newer cookie.
            CreateError: it was to be created, and has a key.
            StoreUnavailable: it was not saved.
        """
        live = self._session
        if self.session_key is None:
            live.create()
        elif must_create:
            raise CreateError
        result = self._commit()
        if result is CommitResult.GONE or (result is CommitResult.MOVED and self.own is None):
            raise UpdateError("the session has ended, or has another key by now")

    def create(self) -> None:
        """Begin a new session with the data of this object, which ends the one that it had."""
        data = dict(vars(self).get("_session_cache", {}))
        live = self._session
        if self.session_key is not None:
            self._login_keys.clear()
            live.invalidate()
            live.update(data)
            self._session_key = None
        self.save(must_create=True)
        self.modified = True

    def cycle_key(self) -> None:
        """Go on under a new key and keep the data: Django's ``login`` calls it.

        With our middleware the old key is dead with the response, unless that fails; else at
        once, and so where somebody is logged in already, as after a change of the password.
        """
        live = self._session
        former = self.session_key
        stored = live.request.fetch() if former else None
        logged_in = not self._login_keys.isdisjoint(live)
        self._login_keys.clear()
        live.regenerate()
        self.modified = True
        if stored is None:
            live.create()
        if self.own is None or logged_in:
            # Another request was faster. If that was a login beside this one, both succeed; else
            # the browser must keep what that request has sent.
            if self._commit() is CommitResult.GONE and not logged_in:
                self._session_key = None
                self._session_cache = self._live(RequestSession(self._binding, ""))
                self.save()
        elif stored is None:
            self._session_key = key_of(live.id)
        else:
            known = former if former and cookie_value_of(former) else key_of(stored.id)
            self._session_key = moved_key(known, live.id)

    def flush(self) -> None:
        """End the session and forget its data: Django's ``logout`` calls it.

        With our middleware it ends with the response, unless that fails; else at once.
        """
        live = self._session
        self._login_keys.clear()
        live.invalidate()
        self.modified = True
        if self.own is None:
            live.request.commit()
        self._session_key = None

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key:
            self._binding.store.destroy(name_of(key))

    def _commit(self) -> CommitResult | None:
        live = self._session
        live.write()
        result: CommitResult | None = live.request.commit()
        key = self.session_key
        if result is None and self.own is None and key is not None:  # it is as it was saved here
            touched = self._binding.store.touch(name_of(key))
            return CommitResult.stored(key) if touched else CommitResult.GONE
        if result is not None and result.outcome == "stored":
            self._session_key = key_of(result.cookie_value)
        return result

    @classmethod
    def clear_expired(cls) -> None:
        current().binding.store.gc()


def _first_key(cookie: Transport, header: str) -> str | None:
    """Return the session key of the first cookie that verifies."""
    received = cookie.read(header).verified
    return key_sent(received[0].value) if received else None
