"""SessionBase's methods for event loops: each does what its sister does, in a thread."""

from __future__ import annotations

from typing import Any

from django.contrib.sessions.backends.base import SessionBase

from ._setup import in_thread

__all__ = ["AsyncSessionBase"]


class AsyncSessionBase(SessionBase):  # type: ignore[misc]  # Django is not typed
    """A session that is read and written without blocking the event loop.

    Django's own methods for event loops, such as ``aget``, read the session with these.
    """

    async def _aget_session(self, no_load: bool = False) -> Any:
        if "_session_cache" in vars(self):
            return self._get_session()
        return await in_thread(self._get_session)

    async def aget_expire_at_browser_close(self) -> bool:
        await self._aget_session()
        return bool(self.get_expire_at_browser_close())

    async def asetdefault(self, key: str, value: Any) -> Any:
        await self._aget_session()
        return self.setdefault(key, value)

    async def aexists(self, session_key: str | None) -> bool:
        return bool(await in_thread(self.exists, session_key))

    async def aload(self) -> Any:
        return await in_thread(self.load)

    async def asave(self, must_create: bool = False) -> None:
        await in_thread(self.save, must_create)

    async def acreate(self) -> None:
        await in_thread(self.create)

    async def acycle_key(self) -> None:
        await in_thread(self.cycle_key)

    async def aflush(self) -> None:
        await in_thread(self.flush)

    async def adelete(self, session_key: str | None = None) -> None:
        await in_thread(self.delete, session_key)

    @classmethod
    async def aclear_expired(cls) -> None:
        await in_thread(cls.clear_expired)
