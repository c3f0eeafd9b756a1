"""AsgiSession: the session of a request as a dict, for event loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from .._loops import new_lock
from .cache_headers import Headers
from .live_session import LiveSession
from .origin import Origin

__all__ = ["AsgiSession"]


class AsgiSession(LiveSession):
    """``scope["session"]``: a dict whose values may be changed in place, and has our verbs."""

    _turn: AbstractAsyncContextManager[Any] | None = None

    async def save(self) -> None:
        """Commit what has changed so far: for websockets and long responses.

        A session that begins after the response has started has no cookie: one warning says that
        it is lost. If the task is cancelled meanwhile, the changes were made once or not at all.

        Raises:
            TypeError, ValueError: JSON does not have a value; nothing was committed.
            StoreUnavailable, SessionTooLarge: nothing was committed, and the next commit tries
                again.

        Example:
            In a websocket of Starlette's::

                async for _ in websocket.iter_text():
                    session.increment("messages")
                    await session.save()
        """
        async with self._my_turn():
            self.write()
            if self.request.sealed:
                await self.request.aflush()
            else:
                await self.request.acommit()

    def mark_accessed(self) -> None:
        """Have the response vary with the cookie; Starlette calls it for ``request.session``."""
        self.request.used = True

    def mark_modified(self) -> None:
        """Set ``modified``, and nothing more: changes are found without it, nested ones too."""
        self.modified = True

    def replace(self, values: object) -> None:
        """Hold these values instead of all others; nothing if they are no mapping."""
        self.clear()
        if isinstance(values, Mapping):
            self.update(values)

    async def aresponse_headers(
        self, status: int, headers: Headers, *, origin: Callable[[], Origin]
    ) -> Headers:
        """As ``response_headers``, without blocking the event loop."""
        async with self._my_turn():
            if not self.request.failed:
                self.write()
            return await self.request.aresponse_headers(status, headers, origin=origin)

    async def aflush(self) -> None:
        """As ``flush``, without blocking the event loop."""
        async with self._my_turn():
            if not self.request.failed:
                self.write()
            await self.request.aflush(last=True)

    def _my_turn(self) -> AbstractAsyncContextManager[Any]:
        """Let one task at a time commit: two would commit the same changes."""
        if self._turn is None:
            self._turn = new_lock()
        return self._turn
