"""One request: the session is opened when it is used, committed if it changed, closed.

Nothing in here knows a web framework; ``wsgi.py`` and its siblings carry headers in and
out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from . import janitor
from .cookies import SessionCookie
from .ids import fingerprint, generate_id
from .payload import StoredSession
from .session import Session
from .state import Changes, SessionState
from .store import MOVED, Moved, SessionStore

__all__ = ["Exchange", "Sessions"]

logger = logging.getLogger("glimr_session")

# A session that is only read is pushed on once in a tenth of its lifetime: a tenth is
# what its expiry may lag behind its last use, and what its readers' writes are saved by.
_RENEWALS: Final = 10


class Sessions:
    """What the requests of one application have in common.

    ``lifetime`` is the idle timeout in seconds.
    """

    __slots__ = ("cookie", "policy", "renewal", "store")

    def __init__(
        self,
        store: SessionStore,
        cookie: SessionCookie,
        *,
        lifetime: float,
        policy: janitor.Policy,
    ) -> None:
        self.store = store
        self.cookie = cookie
        self.renewal = lifetime / _RENEWALS
        self.policy = policy


class Exchange:
    """One request and its response.

    The request's ``session`` opens itself when it is used. If it is open when the
    headers are about to leave, ``commit`` it; if not, ``seal`` it. ``close`` when the
    body has left; after a failure call ``abandon``, which is harmless at any time.

    ``cookie_header`` is the value of the Cookie header, "" if there is none.
    """

    __slots__ = ("_base", "_cookie_header", "_gone", "_issued", "_sessions", "_wire", "session")

    def __init__(self, sessions: Sessions, cookie_header: str) -> None:
        self._sessions = sessions
        self._cookie_header = cookie_header
        self.session = Session(self._open)

    def _open(self) -> SessionState:
        sessions = self._sessions
        received = sessions.cookie.read(self._cookie_header)
        self._base: StoredSession | None = None
        self._gone = False
        if received is not None:
            self._wire, self._issued = received
            self._base = sessions.store.open(self._wire)
        if self._base is None:
            # An id that the store does not know is never adopted: it may be an
            # attacker's, who waits for somebody to log in with it.
            return SessionState.new(generate_id())
        return SessionState.opened(self._base)

    def commit(self, *, secure: Callable[[], bool], last: bool = False) -> str | None:
        """Write what has changed; give the Set-Cookie header value if one is due.

        ``secure`` tells whether the cookie may only travel encrypted; it is asked if
        there is one to set. ``last`` says that the application has finished, so that the
        session closes with its commit. Raises StoreUnavailable or SessionTooLarge, and
        then nothing has been written (but for a store from five functions whose
        ``cookie_value`` is more than an id: it has saved before it is too large).
        """
        session = self.session
        state = session.finish() if last else session.take_changes()
        sessions, base = self._sessions, self._base
        if state.changes:
            wire = sessions.store.commit(state.changes)
            if wire is not None:
                janitor.consider(sessions.policy, sessions.store)
        elif base is not None and self._renewal_due():
            wire = self._renew(state)
        else:
            return None
        if wire is None or wire is MOVED:
            # No cookie: the browser may just have been given one by a login or logout
            # beside this request.
            # (A touch looks for the old id alone: the session may go by another one.)
            self._gone = wire is None and bool(state.changes)
            logger.info(
                "Session %s %s meanwhile.",
                fingerprint(state.id if base is None else base.id),
                "had ended, or moved," if wire is None else "was given another id",
            )
            return None
        if not wire:
            return None if base is None else sessions.cookie.end(secure=secure())
        if base is not None and wire == self._wire and not self._renewal_due():
            return None
        return sessions.cookie.set(wire, secure=secure())

    def close(self) -> None:
        """Write what has changed since the headers left, where that can be, and stop."""
        session = self.session
        try:
            if session.is_open:
                self._commit_late(session.take_changes())
        finally:
            session.stop()

    def abandon(self) -> None:
        """Stop, and write nothing."""
        self.session.stop()

    def _renewal_due(self) -> bool:
        return time.time() - self._issued >= self._sessions.renewal

    def _renew(self, state: SessionState) -> str | Moved | None:
        store = self._sessions.store
        if not store.server_side:
            return store.commit(state.changes)
        return self._wire if store.touch(state.id) else None

    def _commit_late(self, state: SessionState) -> None:
        changes = state.changes
        if not changes:
            return
        base = changes.base
        store = self._sessions.store
        if base is None:
            lost = "the browser has no cookie for it"
        elif not store.server_side:
            lost = "it lives in the cookie"
        elif changes.invalidated:
            # Without what came after it, which is another session's, without a cookie.
            store.commit(Changes(base, changes.id, cleared=True, invalidated=True))
            return
        elif self._gone:
            lost = "it has ended"
        elif changes.moved:
            lost = "its new id cannot reach the browser"
        elif store.commit(changes) is None:
            lost = "it has ended"
        else:
            return
        logger.warning(
            "A session was changed after its headers, and the change is lost: %s. "
            "Change it before the first chunk of the body.",
            lost,
        )
