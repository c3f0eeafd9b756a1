"""Places: how many connections a process may have, and the idle ones; and one for each loop."""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar
from weakref import WeakKeyDictionary

__all__ = ["PerLoop", "Place", "Places"]

T = TypeVar("T")

_PAUSE: Final = 0.001  # seconds between two looks for a place that is free


class Place(Generic[T]):
    """A place for a connection."""

    __slots__ = ("__weakref__", "connection", "pid")

    def __init__(self) -> None:
        self.connection: T | None = None
        self.pid: Final = os.getpid()


class Places(Generic[T]):
    """The places of a process, for all its threads: the last one used comes first.

    A place that is in use belongs to nobody else. It is free again when it is put back, or when
    nobody references it: no exception, of a signal handler either, can lose one.

    Args:
        limit: how many there are at most.
        timeout: seconds to wait for one that is free.
        exhausted: makes the error for a wait that was too long.
    """

    def __init__(self, limit: int, timeout: float, exhausted: Callable[[], Exception]) -> None:
        self._limit = limit
        self._timeout = timeout
        self._exhausted = exhausted
        self._stack = _Stack[T]()
        self._inherited: list[object] = []

    def take(self) -> Place[T]:
        """Return a free place; its connection is None if it has none."""
        stack = self._own_stack()
        deadline: float | None = None
        while True:
            try:
                return stack.free.pop()
            except IndexError:
                place = stack.new()
                if len(stack.every) <= self._limit:
                    return place
            del place
            now = time.monotonic()
            if deadline is None:
                deadline = now + self._timeout
            if now >= deadline:
                raise self._exhausted()
            time.sleep(_PAUSE)

    def put(self, place: Place[T]) -> None:
        """Put a place back."""
        stack = self._stack
        (stack.free if place.pid == stack.pid else self._inherited).append(place)

    def empty(self) -> list[T]:
        """Return the connections in free places, and have these without one."""
        free, found = self._own_stack().free, []
        with suppress(IndexError):
            while True:
                connection = free.pop().connection
                if connection is not None:
                    found.append(connection)
        return found

    def _own_stack(self) -> _Stack[T]:
        """Return the stack of this process: a child leaves the connections of its parent alone.

        By the process id, for uWSGI forks without Python's hooks.
        """
        stack = self._stack
        if stack.pid != os.getpid():
            self._inherited.append(stack)  # to free its connections could end the parent's
            stack = self._stack = _Stack[T]()
        return stack


class _Stack(Generic[T]):
    """The places of one process."""

    def __init__(self) -> None:
        self.pid: Final = os.getpid()
        self.free: Final[deque[Place[T]]] = deque()
        # Each reference removes itself when its place is gone, in one step.
        self.every: Final[set[weakref.ref[Place[T]]]] = set()

    def new(self) -> Place[T]:
        place = Place[T]()
        self.every.add(weakref.ref(place, self.every.discard))
        return place


class PerLoop(Generic[T]):
    """An object for each event loop, closed when the loop ends.

    Args:
        make: makes it, in the loop.
        close: closes it, in the loop.
    """

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
        self._close = close
        self._made: WeakKeyDictionary[
            asyncio.AbstractEventLoop, tuple[T, AsyncGenerator[None, None]]
        ]
        self._made = WeakKeyDictionary()

    async def get(self) -> T:
        """Return that of the running event loop."""
        loop = asyncio.get_running_loop()
        found = self._made.get(loop)
        if found is None:
            made = self._make()
            # A loop that ends closes its asynchronous generators, and there is no other hook.
            watch = self._until_the_end(made)
            found = self._made[loop] = made, watch
            await anext(watch)
        return found[0]

    async def _until_the_end(self, made: T) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self._close(made)
