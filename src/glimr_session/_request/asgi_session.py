"""AsgiSession: the session of a request as a dict, for event loops."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from enum import Enum
from typing import Any, Protocol, TypeVar

from .._loops import Event, new_event, to_the_end
from ..errors import StoreUnavailable
from ..stores.base import CommitResult
from .cache_headers import Headers
from .live_session import LiveSession
from .origin import Origin

__all__ = ["AsgiSession", "session_of"]

R = TypeVar("R")


class AsgiSession(LiveSession):
    """``scope["session"]``: a dict whose values may be changed in place, and has our verbs."""

    _filled = False  # with what is stored; it is unread all the same
    _committing = False  # a task is in the middle of a commit
    _committed: Event | None = None  # what others wait for meanwhile

    async def save(self) -> bool:
        """Commit what has changed so far: for websockets and long responses.

        A session that begins after the response has started has no cookie: one warning says that
        it is lost. If the task is cancelled meanwhile, the changes were made once or not at all.

        Returns:
            False if the changes are lost: the session has ended meanwhile, by a logout in another
            tab say; or the response has started, and is a failure, or the session is in the
            cookie or has none.

        Raises:
            TypeError, ValueError: JSON does not have a value; nothing was committed.
            StoreUnavailable, SessionTooLarge: nothing was committed, and the next commit tries
                again.

        Example:
            In a websocket of Starlette's::

                async for _ in websocket.iter_text():
                    session.increment("messages")
                    if not await session.save():
                        break
        """
        return await self._commit(self._save)

    async def _save(self) -> bool:
        if self.request.failed:
            return False
        if self.request.sealed:
            return await self.request.aflush()
        return await self.request.acommit() is not CommitResult.GONE

    def mark_accessed(self) -> None:
        """Have the response vary with the cookie; Starlette calls it for ``request.session``.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        self.request.used = True
        self.fill()

    def mark_modified(self) -> None:
        """Set ``modified``, and nothing more: changes are found without it, nested ones too."""
        self.modified = True

    def fill(self) -> None:
        """Hold what is stored, for C code that looks into a dict without calling its methods.

        That is no use of the session.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        with self._lock:
            if self._found is None and not self._filled:
                stored = self.request.fetch()
                dict.clear(self)
                if stored is not None:
                    dict.update(self, self.decode({**stored.data}))
                self._filled = True

    def clear(self) -> None:
        """Log out: forget everything, destroy what is stored and go on under a new id."""
        self.invalidate()

    def replace(self, values: object) -> None:
        """Hold these values instead of all others; log out for None, and for Litestar's Empty.

        Raises:
            TypeError: they are no mapping; nothing was changed.
        """
        if not (values is None or isinstance(values, (Mapping, Enum))):
            raise TypeError(
                f"a session is set to a dict, and not to {type(values).__name__}; for a dataclass "
                "pass dataclasses.asdict(value)"
            )
        if isinstance(values, Mapping):
            super().clear()
            self.update(values)
        else:
            self.clear()

    async def aresponse_headers(
        self, status: int, headers: Headers, *, origin: Callable[[], Origin]
    ) -> Headers:
        """As ``response_headers``, without blocking the event loop."""
        return await self._commit(
            lambda: self.request.aresponse_headers(status, headers, origin=origin)
        )

    async def aflush(self) -> None:
        """As ``flush``, without blocking the event loop."""
        await self._commit(lambda: self.request.aflush(last=True))

    async def _commit(self, commit: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Write and commit, one task at a time: two would commit the same changes.

        A commit that has begun is not cancelled: its result says which cookie the browser needs.
        """
        while self._committing:
            self._committed = self._committed or new_event()
            await self._committed.wait()
        self._committing = True
        try:
            if not self.request.failed:
                self.write()
            if self.request.commits_at_once:
                return await commit()
            return await to_the_end(commit)
        finally:
            self._committing = False
            if self._committed is not None:
                self._committed.set()
                self._committed = None


class _HasScope(Protocol):
    """A request or a websocket of a framework."""

    @property
    def scope(self) -> Mapping[str, Any]: ...


def session_of(connection: Mapping[str, Any] | _HasScope) -> AsgiSession:
    """Return the session of a scope, or of a request or websocket of a framework.

    It is ``scope["session"]``, with its verbs for type checkers.

    Raises:
        TypeError: there is no session of ours.

    Example:
        In a handler::

            visits = session_of(request).increment("visits")
    """
    scope: Any = getattr(connection, "scope", connection)
    session = scope.get("session")
    if isinstance(session, AsgiSession):
        with suppress(StoreUnavailable):  # the first use raises it
            session.mark_accessed()
        return session
    raise TypeError(
        "there is no session of ours in this connection; wrap the application in "
        "glimr_session.asgi.SessionMiddleware, and in no other middleware for sessions"
    )
