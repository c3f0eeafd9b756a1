"""RequestSession: the session of one request, opened when used, committed, closed.

Every door uses it in the same order::

    request = manager.begin(headers)  # of manager.request_header
    ...                      # the handler uses request.session
    headers = request.response_headers(status, headers, origin=...)
    ...                      # the body is sent
    request.close()          # or request.abandon() after a failure

A door for event loops awaits the methods of the same names with an "a" in front; what calls
the store is written once, as steps.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

from .._ids import fingerprint, generate_id
from .._log import logger, warn
from .._session.actor import ASK_TIMEOUT, SessionActor
from .._session.changes import Changes
from .._session.messages import Finish, TakeChanges
from .._session.serialization import StoredSession
from .._session.state import SessionState
from ..errors import StoreUnavailable
from ..mailbox import ActorDeadError
from ..session import CLOSED, OPENING, ReadOnly, Session, SessionRef, closed_error
from ..stores.base import CommitResult, SessionStore
from .cache_headers import Headers, directives_of
from .cleanup import Policy
from .lookup import Lookup, look_up
from .origin import Origin
from .steps import Steps, arun, run
from .token import Transport

__all__ = ["RequestSession", "StoreBinding"]

# A session that is only read is renewed once per tenth of its lifetime: that saves a write
# on most reads, and the session may expire up to 10 % early.
_RENEWALS_PER_LIFETIME: Final = 10

R = TypeVar("R")

_FINISH: Final = Finish()
_TAKE_CHANGES: Final = TakeChanges()


class StoreBinding(NamedTuple):
    """A store, and what belongs to it.

    Attributes:
        store: where the sessions are.
        cookie: the application's cookie for this store, or its token.
        lifetime: the configured idle timeout in seconds.
        policy: when to collect.
        flash_until_read: whether a flash stays until it is read.
        commit_on_error: whether a response of 500 and above commits.
        new_id: returns an id that no session has.
        given: the store without the metrics around it, if the manager is to look for another one.
    """

    store: SessionStore
    cookie: Transport
    lifetime: float
    policy: Policy
    flash_until_read: bool = False
    commit_on_error: bool = False
    new_id: Callable[[], str] = generate_id
    given: SessionStore | None = None


class RequestSession:
    """The session of one request, free of any web framework.

    There is no lock: threads that open the session at once read the store twice, and one of
    them gives the request its actor.

    Args:
        binding: the store and what belongs to it.
        headers: the Cookie header, or X-Session-Token; "" if there is none, or a list of several.

    Attributes:
        ref: the session's actor; None until the session is used.
        sealed: whether the headers have left.
        used: whether the session was used, even in vain.
        finished: whether the last commit was made; the session is read only from then on.
        failed: whether the response is an error, and nothing is kept.
    """

    ref: SessionRef | None = None
    sealed = False
    finished = False

    used = False
    failed = False

    _fetched: Lookup | None = None
    _outage: StoreUnavailable | None = None  # of reading ahead
    _unsure = False  # a commit was cancelled, and may still be made
    _begun = False  # the response has a status
    _pending: Changes | None = None  # taken from the actor, not yet written
    _gone = False  # it has ended, or is not here, so that only a login or a logout counts
    _nothing_left = False  # in the store, after the last commit
    _logged_out = False
    _lifetime = 0.0  # the session's own, after the last commit
    _expire_on_close: bool | None = None
    _expiry_changed = False
    _result: CommitResult | None = None  # of the last commit
    _set_cookies: list[str] | None = None  # once they were computed
    _headers: Headers | None = None  # that have left before the session was used

    def __init__(self, binding: StoreBinding, headers: str | Sequence[str]) -> None:
        self._binding = binding
        self._received_headers = headers
        self._opening: set[int] = set()  # threads

    @property
    def session(self) -> Session:
        """The session, for the handler."""
        return Session(self)

    @property
    def store(self) -> SessionStore:
        """Where the session is kept."""
        return self._binding.store

    @property
    def closed(self) -> bool:
        """Whether the response has left."""
        return self.ref is CLOSED

    def fetch(self) -> StoredSession | None:
        """Read the store without opening the session: nothing counts as used or as shown.

        A door calls it to read ahead; otherwise the first use does. None if no cookie of
        ours verifies or the store does not know the session.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        return self._fetch().stored

    async def read_ahead(self) -> bool:
        """Read the store before the handler runs, if its first use would block an event loop.

        That is no use: nothing counts as shown. An outage is raised by the first use, since a
        request that does not use its session can do without.

        Returns:
            Whether it was read.
        """
        if self._binding.store.opens_at_once:
            return False
        try:
            self._keep(await self._arun(self._looking_up()))
        except StoreUnavailable as error:
            self._outage = error
        return self._outage is None

    @property
    def cookie_value(self) -> str:
        """What the store knows the session by that the cookies lead to; "" if there is none.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        cookie = self._fetch().cookie
        return "" if cookie is None else cookie.value

    @property
    def behind(self) -> bool:
        """Whether the browser may have a newer cookie by now, so that this one opens nothing.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        return self._fetch().behind

    def new_id(self) -> str:
        """Return an id for a session that begins, or moves, in this request."""
        return self._binding.new_id()

    def open(self) -> SessionRef:
        """Open the session unless it is open, and return its actor: at its first use.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        thread = threading.get_ident()
        if thread in self._opening:
            return OPENING
        self.used = True
        try:
            self._opening.add(thread)
            fetched = self._fetch()
        finally:
            self._opening.discard(thread)
        state = (
            SessionState.new(fetched.new_id)
            if fetched.stored is None
            else SessionState.opened(
                fetched.stored, flash_until_read=self._binding.flash_until_read
            )
        )
        opened = SessionActor.start(state)
        ref: SessionRef = self.__dict__.setdefault("ref", opened)  # of two threads one wins
        if ref is opened:
            if self.finished:  # nobody would commit what is written
                ref = self.ref = ReadOnly(opened.ask(_FINISH, timeout=ASK_TIMEOUT))
            if fetched.ambiguous or fetched.received.refused or self.sealed:
                self._warn(fetched)
        else:
            opened.stop(block=False)
        return ref

    def commit(self, *, wait: bool = True, last: bool = False) -> CommitResult | None:
        """Write what the session has changed so far.

        Args:
            last: whether the handler has finished; then the session can only be read any
                more, and no change can get lost between the two.
            wait: False answers ``CommitResult.BUSY`` where another writer would have to be
                waited for. Nothing is lost then: the next call commits the same changes,
                and what has changed since.

        Returns:
            None if there was nothing to write, or nothing is to be kept.

        Raises:
            StoreUnavailable: the changes were made once or not at all. The next call commits them
                again, so a store that raises after it has written counts an increment twice.
            SessionTooLarge: nothing was written, and the next call tries again. (A store from
                five functions whose ``cookie_value`` is more than an id has saved before.)
        """
        return self._run(self._committing(last=last, wait=wait), wait=wait)

    async def acommit(self, *, last: bool = False) -> CommitResult | None:
        """As ``commit``, without blocking the event loop."""
        return await self._arun(self._committing(last=last))

    def _committing(self, *, last: bool = False, wait: bool = True) -> Steps[CommitResult | None]:
        changes = self._take_changes(last=last)
        result: CommitResult
        if self.failed:
            self._pending = None
            return None
        if self._gone and not (changes and self._begins_anew(changes)):
            self._pending = None
            return CommitResult.GONE if changes else None
        if changes:
            yield from self._destroying_others(changes)
            result = yield "commit", changes
            if result is CommitResult.BUSY:
                return result
            self._gone = result is CommitResult.GONE
            self._nothing_left = result is CommitResult.EMPTY
            self._logged_out |= changes.invalidated
            if changes.lifetime is not None or changes.expire_on_close is not None:
                self._expiry_changed = True
            if not self._gone:
                yield "collect", None
        elif changes is not None and changes.base is not None and self._renewal_is_due():
            result = yield from self._renewing(changes, wait)
            if result is CommitResult.BUSY:
                return result
        else:
            self._pending = None
            return None
        self._pending = None
        self._result = result
        self._lifetime = changes.lifetime_on(changes.base)
        self._expire_on_close = changes.expire_on_close_on(changes.base)
        if result.outcome in ("gone", "moved"):
            logger.info(
                "Session %s %s meanwhile.",
                fingerprint(changes.id if changes.base is None else changes.base.id),
                "was given another id" if result is CommitResult.MOVED else "had ended, or moved,",
            )
        return result

    @property
    def commits_at_once(self) -> bool:
        """Whether a commit on an event loop is made in line."""
        return self._binding.store.commits_at_once

    @property
    def cookie_name(self) -> str:
        """The name of the session's cookie, or of its header."""
        return self._binding.cookie.name

    def begin_response(self, status: int | str) -> None:
        """Take the status as soon as the application has one; headers may never be asked for.

        A response of 500 and above keeps nothing of its request, unless ``commit_on_error``
        is set.

        Args:
            status: the HTTP status, as 200 or as "200 OK".
        """
        self._begun = True
        self.failed = str(status) >= "5" and not self._binding.commit_on_error

    def response_headers(
        self,
        status: int | str,
        headers: Headers,
        *,
        origin: Callable[[], Origin],
        last: bool = False,
    ) -> Headers:
        """Commit what is not yet committed, and return the headers to send.

        From now on the id cannot change.

        Called again, it adds to other headers what it added the first time.

        Args:
            status: as for ``begin_response``.
            headers: name and value, as the application has set them.
            origin: called if a cookie is to be set; returns where the request came to.
            last: whether the body is finished too, as for ``commit``.

        Raises:
            StoreUnavailable, SessionTooLarge: as ``commit``; there are no headers to send.
        """
        self._seal(status, headers, last=last)
        if self._set_cookies is None:
            self._run(self._committing(last=last))
            self._set_cookies = self._cookies_for(origin)
        return (
            self._binding.cookie.add_headers(headers, self._set_cookies) if self.used else headers
        )

    async def aresponse_headers(
        self, status: int | str, headers: Headers, *, origin: Callable[[], Origin]
    ) -> Headers:
        """As ``response_headers``, without blocking the event loop."""
        self._seal(status, headers)
        if self._set_cookies is None:
            try:
                await self._arun(self._committing())
            except Exception:
                self.sealed = False  # the application may answer otherwise, and commit again
                raise
            self._set_cookies = self._cookies_for(origin)
        return (
            self._binding.cookie.add_headers(headers, self._set_cookies) if self.used else headers
        )

    def vary(self, headers: Headers) -> Headers:
        """Return the headers of a response that depends on the session, and says so."""
        return self._binding.cookie.add_headers(headers, ())

    def _seal(self, status: int | str, headers: Headers, *, last: bool = False) -> None:
        """Note that the headers leave; if the session was not used, they stay as they are."""
        if not self._begun:
            self.begin_response(status)
        self.sealed = True
        if self._set_cookies is None:
            self.finished = last
            if not self.used:
                self._headers, self._set_cookies = headers, []

    def flush(self, *, last: bool = False, wait: bool = True) -> None:
        """Write what has changed since the headers left, where that is possible.

        Nothing is kept of a request whose response never began.

        Args:
            last: as for ``commit``.
            wait: False warns that the changes are lost where another writer would have to be
                waited for.

        Raises:
            StoreUnavailable: it was not written.
        """
        changes = self._take_late_changes(last=last)
        if changes and not self.failed:
            self._run(self._committing_late(changes), wait=wait)

    async def aflush(self, *, last: bool = False) -> bool:
        """As ``flush``, without blocking the event loop; return whether nothing was lost."""
        changes = self._take_late_changes(last=last)
        if self.failed:
            return not changes
        return not changes or await self._arun(self._committing_late(changes))

    def _take_late_changes(self, *, last: bool) -> Changes | None:
        if not self.used or self.closed or (self.finished and self._pending is None):
            self.finished |= last
            return None
        changes = self._take_changes(last=last)
        if not self._begun:
            warn(
                "A response never began, and nothing that its request did to the session is "
                "kept. A connection that is taken over, as for a websocket, commits nothing."
            )
            return None
        return changes

    def close(self, *, wait: bool = True) -> None:
        """Flush, and end the session: the response has left.

        Args:
            wait: as for ``flush``.

        Raises:
            StoreUnavailable: what has changed since the headers was not written.
        """
        try:
            self.flush(last=True, wait=wait)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """End the session and write nothing. Harmless at any time."""
        self.finished = True
        ref, self.ref = self.ref, CLOSED
        if ref is not None:
            ref.stop(block=False)

    def _run(self, steps: Steps[R], *, wait: bool = True) -> R:
        return run(steps, self._binding.store, self._binding.policy, wait=wait)

    async def _arun(self, steps: Steps[R]) -> R:
        try:
            return await arun(steps, self._binding.store, self._binding.policy)
        except Exception:
            raise
        except BaseException:  # it was cancelled, and may have been committed all the same
            self._pending, self._unsure = None, True
            raise

    def _fetch(self) -> Lookup:
        if self._outage is not None:
            raise self._outage.with_traceback(None)
        return self._fetched or self._keep(self._run(self._looking_up()))

    def _looking_up(self) -> Steps[Lookup]:
        return look_up(self._binding.cookie.read(self._received_headers), self.new_id)

    def _keep(self, found: Lookup) -> Lookup:
        fetched: Lookup = self.__dict__.setdefault("_fetched", found)  # of two threads one wins
        if fetched is found:
            self._gone = found.behind
        return fetched

    def _warn(self, fetched: Lookup) -> None:
        cookie = self._binding.cookie
        kind, name, header = cookie.kind, cookie.name, cookie.request_header
        if fetched.ambiguous:
            warn("Cookies %s of different sessions came; the request is anonymous.", name)
        if fetched.behind and fetched.received.newer:
            warn(
                "A %s %s does not verify, but it is as recent as one of a new key: the request "
                "is anonymous, and the %s stays. Put the new key behind the old one in "
                "secret_keys everywhere, before any worker has it in front.",
                kind,
                name,
                kind,
            )
        elif fetched.received.refused:
            warn("A %s %s does not verify and counts as absent.", kind, name)
        if self._headers is not None and not {header.lower(), "*"}.intersection(
            directives_of(self._headers, "vary")
        ):
            warn(
                "A session was first used after the headers had left without Vary: %s, so a "
                "shared cache may give the response to others. Use the session before the first "
                "chunk of the body, or set that header.",
                header,
            )

    def _take_changes(self, *, last: bool) -> Changes | None:
        """Return everything that is not yet written, also after a commit that failed."""
        self.finished |= last  # before the look at ref: see open()
        changes = self._pending
        if self.ref is not None:
            try:
                if last:
                    state: SessionState = self.ref.ask(_FINISH, timeout=ASK_TIMEOUT)
                    self.ref = ReadOnly(state)
                    taken = state.take_changes()
                else:
                    taken = self.ref.ask(_TAKE_CHANGES, timeout=ASK_TIMEOUT)
            except ActorDeadError:
                raise closed_error() from None
            changes = taken if changes is None else changes.then(taken)
            if self._nothing_left:  # what follows is a new session
                changes = changes._replace(base=None)
            elif self._unsure and changes.base is not None:  # the store may hold something else
                changes = changes._replace(base=changes.base._replace(marks=None))
        self._pending = changes
        return changes

    def _begins_anew(self, changes: Changes) -> bool:
        """Whether a request whose session has ended, or is not here, logs in or out by itself."""
        fetched = self._fetched
        login = fetched is not None and fetched.behind and changes.id != fetched.new_id
        return changes.invalidated or login

    def _destroying_others(self, changes: Changes) -> Steps[None]:
        """Destroy, at a logout, the sessions of all other cookies of this request."""
        if changes.invalidated and self._fetched is not None:
            for cookie in self._fetched.received.verified:
                if cookie is not self._fetched.cookie:
                    yield "destroy", cookie.value

    def _cookies_for(self, origin: Callable[[], Origin]) -> list[str]:
        """Return the values of Set-Cookie in the response, or of the token's header."""
        fetched, result, cookie = self._fetched, self._result, self._binding.cookie
        if fetched is None or (result is None and (self.failed or fetched.stored is not None)):
            return []  # most requests only read
        several = len(fetched.received.verified) > 1
        if result is not None and result.outcome == "stored":
            used = fetched.cookie
            if (
                used is not None
                and result.cookie_value == used.value
                and not self._expiry_changed
                and not self._renewal_is_due()
            ):
                return []
            longest = self._binding.store.absolute_lifetime
            set_cookie = cookie.set(
                result.cookie_value,
                origin(),
                lifetime=min(self._lifetime, longest or self._lifetime),
                on_close=self._expire_on_close,
            )
            # Ours comes last: browsers that do not know Partitioned take the others for it.
            others = cookie.expire_others(origin()) if several else []
            if used is not None and used.foreign:
                others = cookie.expire_former()
            return [*others, set_cookie]
        if result is CommitResult.GONE or result is CommitResult.MOVED or self._gone:
            # The browser may just have been given a cookie by a login or a logout beside
            # this request.
            return []
        received = fetched.received
        if received.verified and received.verified[0].foreign:
            if not self._logged_out:
                return []
            return cookie.expire_former() or [cookie.expire(origin())]
        dead = received.verified and not (fetched.stored or fetched.ambiguous or fetched.behind)
        if not dead and not (self._logged_out and (received.verified or received.refused)):
            return []
        return [
            *(cookie.expire_others(origin()) if several else ()),
            cookie.expire(origin()),
        ]

    def _renewal_is_due(self) -> bool:
        if self._fetched is None or self._fetched.cookie is None:
            return False
        cookie, stored = self._fetched.cookie, self._fetched.stored
        if cookie.former:
            return True
        # The shorter one: the cookie may have the configured age although the session has more,
        # for the response that would have changed it was lost.
        lifetime = self._binding.lifetime
        if stored is not None and stored.lifetime:
            lifetime = min(lifetime, stored.lifetime)
        return time.time() - cookie.issued_at >= lifetime / _RENEWALS_PER_LIFETIME

    def _renewing(self, changes: Changes, wait: bool) -> Steps[CommitResult]:
        server_side = self._binding.store.server_side
        cookie = self._fetched.cookie if self._fetched else None
        again = self._result is not None  # it may have another id since the last commit
        result: CommitResult
        if again or not server_side or not wait or cookie is None or cookie.former:
            result = yield "commit", changes
            return result
        # A touch looks for the old id alone: the session may have another one by now.
        touched = yield "touch", cookie.value
        return CommitResult.stored(cookie.value) if touched else CommitResult.GONE

    def _committing_late(self, changes: Changes) -> Steps[bool]:
        """Commit what changed after the headers, or warn that it is lost."""
        base, store, kind = changes.base, self._binding.store, self._binding.cookie.kind
        lost = ""
        if changes.invalidated and store.server_side:
            yield from self._destroying_others(changes)
            if base is not None:
                ended = Changes(base, changes.id, cleared=True, invalidated=True)
                result = yield "commit", ended
                if result is CommitResult.BUSY:
                    lost = "another writer has the store"
            if changes.edits or changes.flash:  # of another session, which has no cookie
                lost = f"the browser has no {kind} for it"
        elif base is None:
            lost = f"the browser has no {kind} for it"
            self._nothing_left = True
        elif not store.server_side:
            lost = f"it lives in the {kind}"
        elif self._gone:
            lost = "it has ended"
        elif changes.id_changed:
            lost = "its new id cannot reach the browser"
        else:
            result = yield "commit", changes
            if result is CommitResult.GONE:
                lost = "it has ended"
            elif result is CommitResult.BUSY:
                lost = "another writer has the store"
        self._pending = None
        if lost:
            warn(
                f"A session was changed after its headers, and the change is lost: {lost}. "
                "Change it before the first chunk of the body."
            )
        return not lost
