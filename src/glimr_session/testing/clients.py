"""The requests of one browser, step by step."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from .._request.manager import SessionManager
from .._request.origin import Origin
from .._request.request_session import RequestSession
from ..config import SessionConfig
from ..session import Session
from ..stores.base import SessionStore

__all__ = ["Visit", "Visitor"]

_ORIGIN: Final = Origin(https=True, host="testserver")

_KEY: Final = "signs the cookies of tests, and of nothing else"


class Visitor:
    """A browser with one cookie, and everything between it and the application.

    There is no server and no application: the test is the handler. Leaving the ``with``
    block aborts the requests that have not responded. It has a cookie whatever ``transport`` the
    application is set to: to a store both are the same.

    Args:
        store: where the sessions are kept.
        cookie: a Cookie header to begin with. ``Visitor(store, other.cookie)`` is somebody
            who has copied the cookie of another visitor.
    """

    def __init__(self, store: SessionStore, cookie: str = "") -> None:
        self.cookie = cookie
        """The Cookie header it would send now, "" for none."""
        self._manager = SessionManager.from_config(
            SessionConfig(secret_keys=[_KEY], gc="never"), store
        )
        self._visits: list[Visit] = []

    def request(self) -> Visit:
        """Begin a request, with the cookie as it is now."""
        visit = Visit(self, self._manager.begin(self.cookie))
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
    """One request and its response, step by step."""

    def __init__(self, visitor: Visitor, request: RequestSession) -> None:
        self._visitor = visitor
        self._request = request

    @property
    def session(self) -> Session:
        """The session a handler would get; its first use opens it."""
        return self._request.session

    def open(self) -> Self:
        """Open the session, as its first use would."""
        self.session.state()
        return self

    def respond(self, *, received: bool = True) -> str | None:
        """Finish the request: commit, send the headers and the body.

        Args:
            received: whether the browser gets the response.

        Returns:
            The value of the Set-Cookie header, or None without one.
        """
        set_cookie = self.send_headers(received=received)
        self.close()
        return set_cookie

    def send_headers(self, *, received: bool = True) -> str | None:
        """Commit and send the headers; the body can still be made. As ``respond``."""
        headers = self._request.response_headers(200, [], origin=lambda: _ORIGIN)
        # The last one is ours; others end cookies that other settings have left.
        set_cookie = next((value for name, value in headers[::-1] if name == "Set-Cookie"), None)
        if set_cookie is not None and received:
            cookie, _, attributes = set_cookie.partition("; ")
            self._visitor.cookie = "" if "Max-Age=0" in attributes else cookie
        return set_cookie

    def close(self) -> None:
        """End the body: commit what came after the headers, where that is possible."""
        self._request.close()

    def break_off(self) -> None:
        """Abort the request, as if its handler had raised: nothing more is committed."""
        self._request.abandon()
