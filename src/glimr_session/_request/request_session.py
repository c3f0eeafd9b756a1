"""RequestSession: the session of one request, opened when used, committed, closed.

Every door uses it in the same order::

    request = manager.begin(cookie_headers)
    ...                      # the handler uses request.session
    headers = request.response_headers(status, headers, secure=...)
    ...                      # the body is sent
    request.close()          # or request.abandon() after a failure
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, ParamSpec, TypeVar

from .._ids import fingerprint, generate_id
from .._session.actor import SessionActor
from .._session.changes import Changes
from .._session.messages import Finish, Message, TakeChanges
from .._session.serialization import StoredSession
from .._session.state import SessionState
from ..errors import StoreUnavailable
from ..mailbox import ActorDeadError
from ..session import ASK_TIMEOUT, CLOSED, Session, SessionRef, closed_error
from ..stores.base import CommitResult, SessionStore
from .cache_headers import Headers, add_session_headers
from .cleanup import Policy, maybe_collect
from .cookie import SessionCookie
from .signing import VerifiedCookie

__all__ = ["RequestSession", "StoreBinding"]

logger = logging.getLogger("glimr_session")

P = ParamSpec("P")
R = TypeVar("R")

_FINISH: Final = Finish()
_TAKE_CHANGES: Final = TakeChanges()


class StoreBinding(NamedTuple):
    """A store, and what belongs to it.

    Attributes:
        store: where the sessions are.
        cookie: the application's cookie for this store.
        renew_after: a session that is only read is renewed when its cookie is older than
            this, in seconds.
        policy: when to collect.
    """

    store: SessionStore
    cookie: SessionCookie
    renew_after: float
    policy: Policy


class RequestSession:
    """The session of one request, free of any web framework.

    Args:
        binding: the store and what belongs to it.
        cookie_headers: the Cookie header, "" if there is none, or a list of several.

    Attributes:
        ref: the session's actor; None until the session is used.
        sealed: whether the headers have left.
    """

    ref: SessionRef | None = None
    sealed = False

    _used = False
    _fetched = False
    _cookie: VerifiedCookie | None = None
    _stored: StoredSession | None = None
    _pending: Changes | None = None  # taken from the actor, not yet written
    _gone = False
    _nothing_left = False  # in the store, after the last commit
    _result: CommitResult | None = None  # of the last commit
    _answered = False
    _set_cookie: str | None = None

    def __init__(self, binding: StoreBinding, cookie_headers: str | Sequence[str]) -> None:
        self._binding = binding
        self._cookie_headers = cookie_headers
        self._lock = threading.Lock()

    @property
    def session(self) -> Session:
        """The session, for the handler."""
        return Session(self)

    def fetch(self) -> StoredSession | None:
        """Read the store without opening the session: nothing counts as used or as shown.

        A door calls it to read ahead; otherwise the first use does. None if no cookie of
        ours verifies or the store does not know the session.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        with self._lock:
            return self._fetch()

    def open(self) -> SessionRef:
        """Open the session unless it is open, and return its actor: at its first use.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        with self._lock:
            if self.ref is None:
                self._used = True
                stored = self._fetch()
                # An id that the store does not know is never adopted: it may be an
                # attacker's, who waits for somebody to log in with it.
                self.ref = SessionActor.start(
                    SessionState.new(generate_id())
                    if stored is None
                    else SessionState.opened(stored)
                )
            return self.ref

    def commit(self, *, wait: bool = True, last: bool = False) -> CommitResult | None:
        """Write what the session has changed so far.

        Args:
            last: whether the handler has finished; then the session closes with its commit,
                and no change can get lost between the two.
            wait: False answers ``CommitResult.BUSY`` where another writer would have to be
                waited for. Nothing is lost then: the next call commits the same changes,
                and what has changed since.

        Returns:
            None if there was nothing to write.

        Raises:
            StoreUnavailable: the changes were made once or not at all. The next call commits them
                again, so a store that raises after it has written counts an increment twice.
            SessionTooLarge: nothing was written, and the next call tries again. (A store from
                five functions whose ``cookie_value`` is more than an id has saved before.)
        """
        changes = self._take_changes(_FINISH if last else _TAKE_CHANGES)
        store = self._binding.store
        if self._gone and not (changes and changes.invalidated):
            self._pending = None  # it belongs to a session that has ended; only a logout counts
            return CommitResult.GONE if changes else None
        if changes:
            result = _call_store(store.commit, changes, wait=wait)
            if result is CommitResult.BUSY:
                return result
            self._gone = result is CommitResult.GONE
            self._nothing_left = result is CommitResult.EMPTY
            if not self._gone:
                maybe_collect(self._binding.policy, store)
        elif changes is not None and self._stored is not None and self._renewal_is_due():
            result = self._renew(changes, wait)
            if result is CommitResult.BUSY:
                return result
        else:
            self._pending = None
            return None
        self._pending = None
        self._result = result
        if result.outcome in ("gone", "moved"):
            logger.info(
                "Session %s %s meanwhile.",
                fingerprint(changes.id if self._stored is None else self._stored.id),
                "was given another id" if result is CommitResult.MOVED else "had ended, or moved,",
            )
        return result

    def response_headers(
        self,
        status: int | str,
        headers: Headers,
        *,
        secure: Callable[[], bool],
        last: bool = False,
    ) -> Headers:
        """Commit what is not yet committed, and return the headers to send.

        From now on the id cannot change.

        Called again, it adds to other headers what it added the first time.

        Args:
            status: the HTTP status, as 200 or as "200 OK". Every response commits, whatever its
                status.
            headers: name and value, as the application has set them.
            secure: called if a cookie is to be set; returns whether this request asks for
                Secure.
            last: whether the body is finished too, as for ``commit``.

        Raises:
            StoreUnavailable, SessionTooLarge: as ``commit``; there are no headers to send.
        """
        self.sealed = True
        if not self._answered:
            if self._used:
                self.commit(last=last)
                if self._result is not None:
                    self._set_cookie = self._cookie_for(self._result, secure)
            self._answered = True
        return add_session_headers(headers, self._set_cookie) if self._used else headers

    def close(self) -> None:
        """Write what has changed since the headers left, where that is possible, and stop.

        Raises:
            StoreUnavailable: that was not written.
        """
        try:
            changes = self._take_changes(_FINISH) if self._used else None
            self._pending = None
            if changes:
                self._commit_late(changes)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Stop and write nothing. Harmless at any time."""
        if self.ref is CLOSED:
            return
        with self._lock:
            ref, self.ref = self.ref, CLOSED
        if ref is not None:
            ref.stop()

    def _fetch(self) -> StoredSession | None:
        if not self._fetched:
            self._cookie = cookie = self._binding.cookie.read(self._cookie_headers)
            if cookie is not None:
                self._stored = _call_store(self._binding.store.open, cookie.value)
            self._fetched = True
        return self._stored

    def _take_changes(self, message: Message) -> Changes | None:
        """Return everything that is not yet written, also after a commit that failed."""
        changes = self._pending
        if self.ref is not None and self.ref is not CLOSED:
            try:
                state: SessionState = self.ref.ask(message, timeout=ASK_TIMEOUT)
            except ActorDeadError:
                raise closed_error() from None
            if message is _FINISH:
                self.ref = CLOSED
            changes = state.changes if changes is None else changes.then(state.changes)
            if self._nothing_left:  # what follows is a new session
                changes = changes._replace(base=None)
        self._pending = changes
        return changes

    def _cookie_for(self, result: CommitResult, secure: Callable[[], bool]) -> str | None:
        """Return the Set-Cookie header value after a commit, or None if none is due."""
        cookie = self._binding.cookie
        if result.outcome == "empty":
            return None if self._stored is None else cookie.expire(secure=secure())
        if result.outcome != "stored":
            # The browser may just have been given a cookie by a login or a logout beside
            # this request.
            return None
        if (
            self._stored is not None
            and self._cookie is not None
            and result.cookie_value == self._cookie.value
            and not self._renewal_is_due()
        ):
            return None
        return cookie.set(result.cookie_value, secure=secure())

    def _renewal_is_due(self) -> bool:
        cookie = self._cookie
        return cookie is not None and time.time() - cookie.issued_at >= self._binding.renew_after

    def _renew(self, changes: Changes, wait: bool) -> CommitResult:
        store, cookie = self._binding.store, self._cookie
        if not store.server_side or not wait or cookie is None:
            return _call_store(store.commit, changes, wait=wait)
        # A touch looks for the old id alone: the session may have another one by now.
        touched = _call_store(store.touch, cookie.value)
        return CommitResult.stored(cookie.value) if touched else CommitResult.GONE

    def _commit_late(self, changes: Changes) -> None:
        """Commit what changed after the headers, or warn that it is lost."""
        base, store = changes.base, self._binding.store
        if base is None:
            lost = "the browser has no cookie for it"
        elif not store.server_side:
            lost = "it lives in the cookie"
        elif changes.invalidated:
            # Without what came after it: that is another session, and has no cookie.
            ended = Changes(base, changes.id, cleared=True, invalidated=True)
            _call_store(store.commit, ended)
            return
        elif self._gone:
            lost = "it has ended"
        elif changes.id_changed:
            lost = "its new id cannot reach the browser"
        elif _call_store(store.commit, changes) is CommitResult.GONE:
            lost = "it has ended"
        else:
            return
        logger.warning(
            "A session was changed after its headers, and the change is lost: %s. "
            "Change it before the first chunk of the body.",
            lost,
        )


def _call_store(operation: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a store, and drop its frames from the traceback of an outage.

    They hold ids and cookie values, and some loggers print locals with tracebacks.
    """
    try:
        return operation(*args, **kwargs)
    except StoreUnavailable as error:
        del args, kwargs
        raise error.with_traceback(None)  # noqa: B904  # it is the same error
