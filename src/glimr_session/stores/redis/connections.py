"""Connections to Redis, and the two attempts at a command."""

from __future__ import annotations

import os
import time
import weakref
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from functools import partial
from typing import Any, Final

import redis

from .codec import SCRIPTS

__all__ = ["Connections", "attempts"]

_PAUSE: Final = 0.001  # seconds between two looks for a connection that is free

# The connection was lost, perhaps with the answer; and errors of that kind that say otherwise.
_LOST: Final = redis.ConnectionError
_HOPELESS: Final = (
    redis.AuthenticationError,
    redis.exceptions.BusyLoadingError,
    redis.exceptions.MaxConnectionsError,
)


class Connections:
    """Connections of redis-py's, for all threads of a process: the last one used comes first.

    redis-py's own pools take a third of the time of a command.

    Args:
        pool: says how to connect.
        limit: connections at most.
        timeout: seconds to wait for one that is free.
    """

    def __init__(self, pool: redis.ConnectionPool, limit: int, timeout: float) -> None:
        self.connect: Final = partial(pool.connection_class, **pool.connection_kwargs)
        self._limit = limit
        self._timeout = timeout
        self.free: Final[deque[_Slot]] = deque()
        self.free.extend(_Slot(self) for _ in range(limit))

    def call(self, *words: Any) -> Any:
        """Return the answer to a command.

        Raises:
            redis.RedisError, OSError: there is none, or it is an error.
        """
        slot = self._take()
        try:
            return slot.call(words)
        except (redis.ConnectionError, redis.ReadOnlyError):
            slot.close()
            self.close()  # the server is another one, or was restarted
            raise
        finally:
            self.free.append(slot)

    def close(self) -> None:
        """Close the connections that are not in use."""
        taken: list[_Slot] = []
        with suppress(IndexError):
            while True:
                taken.append(self.free.pop())
        for slot in taken:
            slot.close()
        self.free.extend(taken)

    def _take(self) -> _Slot:
        try:
            return self.free.pop()
        except IndexError:
            deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            time.sleep(_PAUSE)
            with suppress(IndexError):
                return self.free.pop()
        raise redis.exceptions.MaxConnectionsError(
            f"all {self._limit} connections of this process were in use for {self._timeout:g} s; "
            "set [redis] max_connections to the number of its threads"
        )


class _Slot:
    """A place for a connection. If an exception loses it, another one comes in its place."""

    __slots__ = ("_connect", "_connection", "_owner", "_pid")

    def __init__(self, owner: Connections) -> None:
        self._owner = weakref.ref(owner)
        self._connect = owner.connect
        self._connection: redis.Connection | None = None
        self._pid = 0

    def call(self, words: tuple[Any, ...]) -> Any:
        """Send a command, and return its answer."""
        pid = os.getpid()
        connection = self._connection if self._pid == pid else None
        if connection is None:  # a child leaves those of its parent alone
            self._pid = pid
            connection = self._connection = self._connect()
        try:
            connection.send_command(*words, check_health=False)
            return connection.read_response(disable_decoding=True)
        except redis.ResponseError:
            raise  # an answer like others
        except BaseException:
            self.close()  # its answer may still come
            raise

    def close(self) -> None:
        """Close the connection, if it is open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()  # type: ignore[no-untyped-call]

    def __del__(self) -> None:
        owner = self._owner()
        if owner is not None:
            owner.free.append(_Slot(owner))


def attempts(words: tuple[Any, ...]) -> Generator[tuple[Any, ...], Any, tuple[Any, bool]]:
    """Yield what to send; be sent the answer, or thrown the error. Tries twice at most.

    Returns:
        The answer, and whether an earlier one was lost.
    """
    again = False
    while True:
        try:
            return (yield words), again
        except redis.exceptions.NoScriptError:  # the server was restarted since
            words = "EVAL", SCRIPTS[words[1]], *words[2:]
        except _LOST as error:
            if again or isinstance(error, _HOPELESS):
                raise
            again = True
