"""RedisStore: sessions on Redis or Valkey."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

from ..._validation import Duration, safe_repr
from ...errors import ConfigError
from .._commands import Command, Entry, Read
from .._places import PerLoop
from .._server import ServerStore, told_at_start
from ..base import DEFAULT_LIFETIME
from .codec import ERRORS, Codec, bare
from .connections import AsyncConnections, Caller, connections_of
from .server import EXAMPLES, Client, Server, Url, check_server, place_of, pools, starting

__all__ = ["RedisStore", "redis_store"]


class RedisStore(ServerStore):
    """Keeps sessions on Redis or Valkey, for any number of machines.

    A request that reads and writes takes two round trips, one that only reads takes one. Which
    failures an acknowledged commit survives is a setting of the server: see docs/redis.md.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, as redis-py has them. For a Cluster,
            ``redis+cluster://host:6379,host:6379``; for the sentinels of a service,
            ``redis+sentinel://host:26379,host:26379/service?db=0``; ``rediss+`` with TLS.
        client: a ``redis.Redis`` or ``RedisCluster`` instead, whose own timeouts and
            credentials hold. Event loops use it in threads.
        prefix: what the keys begin with.
        lifetime: the idle timeout, in seconds or as a ``timedelta``.
        absolute_lifetime: the absolute timeout, likewise; 0 is none.
        timeout: how long to wait for the server, and for a free connection, likewise.
        max_connections: how many connections a process opens at most, to each server of a
            Cluster; each thread uses one at a time, and event loops have as many each.

    Raises:
        ConfigError: the URL or a setting of the server is wrong, or redis-py is not installed.
        StoreUnavailable: no node of a Cluster can be reached.

    Another server that cannot be reached is no error here: it is logged, and each use tries again.

    Example:
        >>> RedisStore("redis://127.0.0.1:6379/0", lifetime=600)  # doctest: +SKIP
        RedisStore(127.0.0.1:6379)
    """

    kind = "redis"
    asks_own_clock: ClassVar[bool] = False
    expires_by_itself: ClassVar[bool] = True
    finds_by_id: ClassVar[bool] = False
    registers_owners: ClassVar[bool] = True

    _place = ""

    def __init__(
        self,
        url: str = "",
        *,
        client: Client | None = None,
        prefix: str = "glimr_session:",
        lifetime: Duration = DEFAULT_LIFETIME,
        absolute_lifetime: Duration = timedelta(0),
        timeout: Duration = 2.0,
        max_connections: int = 50,
    ) -> None:
        url = Url(url)
        super().__init__(lifetime, absolute_lifetime, timeout)
        if (client is None) == (not url):
            raise ConfigError(f"redis_url: name one, or pass a client; {EXAMPLES}")
        if type(max_connections) is not int or max_connections < 1:
            raise ConfigError(
                f"redis_max_connections: {safe_repr(max_connections)} is no number above 0"
            )
        self._pickled = partial(
            type(self),
            url,
            client=client,
            prefix=prefix,
            lifetime=lifetime,
            absolute_lifetime=absolute_lifetime,
            timeout=timeout,
            max_connections=max_connections,
        )
        self._server = Server(url, self._timeout)
        self._place = self._server.place or place_of(client)
        self._codec = Codec(prefix, self._place)
        with starting(self._place, self._server.user, prefix):
            self._client = client or self._server.client()
            self._connections = connections_of(self._client, max_connections, self._timeout)
        with told_at_start(), starting(self._place, self._server.user, prefix):
            check_server(self._client, self._connections, self._codec)
        self._loops = PerLoop(
            lambda: AsyncConnections(
                self._server.async_client(self._client, max_connections),
                max_connections,
                self._timeout,
            ),
            AsyncConnections.close,
        )
        self.close()  # the process may fork now

    def __reduce__(self) -> tuple[Callable[[], RedisStore], tuple[()]]:
        return self._pickled, ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._place})"

    def gc(self) -> int:
        """Return 0: the server removes what has expired."""
        try:
            self._connections.ping()
        except ERRORS as error:
            raise self._codec.outage(error) from bare(error)
        return 0

    def close(self) -> None:
        self._connections.close()
        if self._server.url:  # else it is somebody else's client
            for pool in pools(self._client):
                pool.disconnect(inuse_connections=False)

    def _scan(self) -> Iterator[list[Entry]]:
        executor = self._executor()
        seen: set[int] = set()  # Redis may name a key twice
        try:
            for key in self._client.scan_iter(match=f"{_escaped(self._codec.prefix)}*", count=500):
                number = self._codec.number(key)
                if number is not None and number not in seen:
                    seen.add(number)
                    entry = executor.execute(Read(number))
                    if entry is not None:
                        yield [entry]
        except ERRORS as error:
            raise self._codec.outage(error) from bare(error)

    @property
    def note(self) -> Callable[[str], object]:
        return self._codec.note

    @note.setter
    def note(self, note: Callable[[str], object]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._codec.note = note

    def _executor(self) -> _Executor:
        return _Executor(self._codec, self._connections)

    def _async_executor(self) -> _AsyncExecutor | None:
        return _AsyncExecutor(self._codec, self._loops) if self._server.url else None


class _Executor:
    """Runs the commands of one operation."""

    def __init__(self, codec: Codec, connections: Caller) -> None:
        self._codec = codec
        self._connections = connections

    def execute(self, command: Command) -> Any:
        words, again = self._codec.words(command), False
        while True:
            try:
                answer = self._connections.call(*words)
            except ERRORS as error:
                words, again = self._codec.next_attempt(words, error, again=again)
            else:
                return self._codec.result(command, answer, again=again)

    def close(self) -> None:
        """Do nothing: each command used a connection of its own."""


class _AsyncExecutor:
    """Runs the commands of one operation in an event loop, over redis-py's asyncio client."""

    def __init__(self, codec: Codec, loops: PerLoop[AsyncConnections]) -> None:
        self._codec = codec
        self._loops = loops

    async def execute(self, command: Command) -> Any:
        connections = await self._loops.get()
        words, again = self._codec.words(command), False
        while True:
            try:
                answer = await connections.call(*words)
            except ERRORS as error:
                words, again = self._codec.next_attempt(words, error, again=again)
            else:
                return self._codec.result(command, answer, again=again)

    async def close(self) -> None:
        """Do nothing: each command used a connection of its own."""


def _escaped(text: str) -> str:
    """Return a pattern of Redis that matches this text alone."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", text)


redis_store = RedisStore
