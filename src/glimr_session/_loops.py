"""Event loops: asyncio, or another one through anyio."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

__all__ = ["Event", "in_thread", "new_event", "on_asyncio", "sleep", "to_the_end"]

P = ParamSpec("P")
R = TypeVar("R")


def on_asyncio() -> bool:
    """Whether the caller runs in an event loop of asyncio."""
    asyncio = sys.modules.get("asyncio")  # 30 ms to import; its loops have it already
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Return what a function returns that would block the event loop: in a thread.

    Raises:
        ModuleNotFoundError: the event loop is not asyncio's, and anyio is not installed.
    """
    if on_asyncio():
        from asyncio import to_thread

        return await to_thread(function, *args, **kwargs)
    from anyio.to_thread import run_sync

    return await run_sync(partial(function, *args, **kwargs))


async def to_the_end(function: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """Return what a function returns; a cancellation meanwhile is raised when it is done.

    Raises:
        ModuleNotFoundError: as ``in_thread``.
    """
    if not on_asyncio():
        from anyio import CancelScope
        from anyio.lowlevel import checkpoint_if_cancelled

        await checkpoint_if_cancelled()
        with CancelScope(shield=True):
            return await function()
    from asyncio import CancelledError, ensure_future, wait

    task = ensure_future(function())
    cancelled: CancelledError | None = None
    while not task.done():
        try:
            await wait([task])
        except CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception()  # or it would be logged that nobody has asked for it
        raise cancelled
    return task.result()


async def sleep(seconds: float) -> None:
    """Let other tasks run for a while; raises as ``in_thread``."""
    if on_asyncio():
        from asyncio import sleep as asyncio_sleep

        await asyncio_sleep(seconds)
    else:
        from anyio import sleep as anyio_sleep

        await anyio_sleep(seconds)


class Event(Protocol):
    """What tasks wait for."""

    def set(self) -> Any: ...

    async def wait(self) -> Any: ...


def new_event() -> Event:
    """Return an event for the tasks of one event loop; raises as ``in_thread``."""
    if on_asyncio():
        from asyncio import Event as AsyncioEvent

        return AsyncioEvent()
    from anyio import Event as AnyioEvent

    return AnyioEvent()
