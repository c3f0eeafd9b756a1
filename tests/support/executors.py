"""What an event loop of asyncio gives to threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

__all__ = ["Threads", "turns"]


async def turns() -> None:
    """Let the other tasks of the loop go on until they wait for something that takes time."""
    for _ in range(100):
        await asyncio.sleep(0)


class Threads(ThreadPoolExecutor):
    """The threads of the running event loop of asyncio; made in it.

    Attributes:
        calls: the names of the functions that ran in them, or will.
        called: set when there is one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.called = asyncio.Event()
        asyncio.get_running_loop().set_default_executor(self)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        function = getattr(fn, "args", (fn,))[0]  # to_thread() runs it in the task's context
        self.calls.append(function.__name__)
        self.called.set()
        return super().submit(fn, *args, **kwargs)
