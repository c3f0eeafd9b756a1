"""Event loops: asyncio, or another one through anyio."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, ParamSpec, TypeVar

__all__ = ["in_thread", "new_lock", "on_asyncio"]

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


def new_lock() -> AbstractAsyncContextManager[Any]:
    """Return a lock for the tasks of one event loop; raises as ``in_thread``."""
    if on_asyncio():
        from asyncio import Lock

        return Lock()
    from anyio import Lock as AnyLock

    return AnyLock()
