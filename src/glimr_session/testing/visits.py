"""The requests of one browser, step by step."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from ..cookies import SessionCookie, Signatures
from ..janitor import never
from ..lifecycle import Exchange, Sessions
from ..session import Session
from ..store import DEFAULT_LIFETIME, SessionStore

__all__ = ["Visit", "Visitor"]

_KEY: Final = "signs the cookies of tests, and of nothing else"


class Visitor:
    """A browser with its one cookie; no server, no application, but all that is between.

    ``cookie`` is a Cookie header to begin with: ``Visitor(store, other.cookie)`` is
    somebody who has copied the cookie of another visitor. Leaving the ``with`` block
    breaks off what has not responded.
    """

    def __init__(self, store: SessionStore, cookie: str = "") -> None:
        self.cookie = cookie
        """What it would send as Cookie header now, "" for none."""
        self._sessions = Sessions(
            store,
            SessionCookie(Signatures([_KEY], store.kind)),
            lifetime=store.lifetime or DEFAULT_LIFETIME.total_seconds(),
            policy=never,
        )
        self._visits: list[Visit] = []

    def request(self) -> Visit:
        """Begin a request, with the cookie as it is now."""
        visit = Visit(self, Exchange(self._sessions, self.cookie))
        self._visits.append(visit)
        return visit

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for visit in self._visits:
            visit.break_off()


class Visit:
    """One request and its response. ``session`` is what a handler would get."""

    def __init__(self, visitor: Visitor, exchange: Exchange) -> None:
        self._visitor = visitor
        self._exchange = exchange

    @property
    def session(self) -> Session:
        """The session of this request; its first use opens it."""
        return self._exchange.session

    def open(self) -> Self:
        """Open the session, as its first use would."""
        self.session.state()
        return self

    def respond(self, *, received: bool = True) -> str | None:
        """Finish the request: commit, send the headers and the body.

        Gives the value of the Set-Cookie header, or None without one. ``received`` says
        whether the browser gets the response.
        """
        set_cookie = self.send_headers(received=received)
        self.close()
        return set_cookie

    def send_headers(self, *, received: bool = True) -> str | None:
        """Commit and send the headers; the body can still be made. As ``respond``."""
        set_cookie = None
        self.session.seal()
        if self.session.is_open:
            set_cookie = self._exchange.commit(secure=lambda: True)
        if set_cookie is not None and received:
            cookie, _, attributes = set_cookie.partition("; ")
            self._visitor.cookie = "" if "Max-Age=0" in attributes else cookie
        return set_cookie

    def close(self) -> None:
        """End the body: commit what came after the headers, where that can be."""
        self._exchange.close()

    def break_off(self) -> None:
        """End the request as one whose handler raised: nothing more is committed."""
        self._exchange.abandon()
