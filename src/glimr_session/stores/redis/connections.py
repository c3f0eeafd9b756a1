"""Connections to Redis, for threads and for event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

import redis
import redis.asyncio
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from .._places import Place, Places
from .codec import ERRORS, LOST

__all__ = [
    "AsyncConnections",
    "Caller",
    "ClusterConnections",
    "Connections",
    "connections_of",
    "connector",
    "sentinels_of",
]

_MAX_REDIRECTIONS: Final = 5  # of one command, in a Cluster that is changing


class Caller(Protocol):
    """What sends commands, from any thread."""

    def call(self, *words: Any) -> Any:
        """Return the answer to a command, as bytes.

        Raises:
            redis.RedisError, OSError: there is none, or it is an error.
        """

    def ping(self) -> None:
        """Ask every server that sessions are on for an answer."""

    def close(self) -> None:
        """Close the connections that are not in use."""


class Connections:
    """Connections to one server, for all threads of a process: the last one used comes first.

    redis-py's own pools take a third of the time of a command, and a signal handler that raises
    can lose their connections.

    Args:
        connect: makes a connection, which is not open yet.
        limit: connections at most.
        timeout: seconds to wait for one that is free.
    """

    def __init__(self, connect: Callable[[], Any], limit: int, timeout: float) -> None:
        self._connect = connect
        self._places = Places[Any](limit, timeout, lambda: exhausted(limit, timeout))

    def call(self, *words: Any, asking: bool = False) -> Any:
        place = self._places.take()
        try:
            return self._ask(place, words, asking)
        except LOST:
            self.close()  # the server was restarted, or another one has its place
            raise
        finally:
            self._places.put(place)

    def ping(self) -> None:
        self.call("PING")

    def close(self) -> None:
        for connection in self._places.empty():
            connection.disconnect()

    def _ask(self, place: Place[Any], words: tuple[Any, ...], asking: bool) -> Any:
        # The place is without its connection until the whole answer is there. After any exception
        # the next command gets another connection, where no old answer can come.
        connection, place.connection = place.connection, None
        if connection is None:
            connection = self._connect()
            connection.connect()  # asks the sentinels, which send_command does not
        try:
            if asking:
                connection.send_command("ASKING", check_health=False)
                connection.read_response()
            connection.send_command(*words, check_health=False)
            answer = connection.read_response(disable_decoding=True)
        except redis.ResponseError:
            place.connection = connection  # an answer like others
            raise
        place.connection = connection
        return answer


class ClusterConnections:
    """Connections to the servers of a Cluster; redis-py's client knows which has a key.

    Args:
        client: the client.
        limit: connections at most, to each server.
        timeout: seconds to wait for one that is free.
    """

    def __init__(self, client: redis.RedisCluster, limit: int, timeout: float) -> None:
        self._client: Any = client  # its types differ from version to version
        self._limit = limit
        self._timeout = timeout
        self._servers: dict[tuple[str, int], Connections] = {}

    def call(self, *words: Any) -> Any:
        key = words[1] if words[0] in ("GET", "ZRANGE") else words[3]
        try:
            return self._call(key, words)
        except (redis.ConnectionError, redis.TimeoutError, exceptions.ClusterDownError):
            self._refresh()
            raise

    def ping(self) -> None:
        try:
            for node in self._client.get_primaries():
                self._at(node.host, node.port).ping()
        except ERRORS:
            self._refresh()
            raise

    def close(self) -> None:
        for connections in [*self._servers.values()]:
            connections.close()

    def _call(self, key: str, words: tuple[Any, ...]) -> Any:
        node = self._client.get_node_from_key(key)
        server, asking = self._at(node.host, node.port), False
        for _ in range(_MAX_REDIRECTIONS):
            try:
                return server.call(*words, asking=asking)
            except exceptions.AskError as error:  # or MovedError, which is one
                asking = not isinstance(error, exceptions.MovedError)
                server = self._at(
                    *self._client.nodes_manager.remap_host_port(error.host, error.port)
                )
            if not asking:
                self._refresh()
        raise exceptions.ClusterDownError("the Cluster does not say which server has a key")

    def _at(self, host: str, port: int) -> Connections:
        found = self._servers.get((host, port))
        if found is None:
            node = self._client.get_default_node()
            pool = self._client.get_redis_connection(node).connection_pool
            connect = connector(pool, host=host, port=port)
            made = Connections(connect, self._limit, self._timeout)
            found = self._servers.setdefault((host, port), made)
        return found

    def _refresh(self) -> None:
        """Ask which server has which keys now."""
        with suppress(*ERRORS):
            self._client.nodes_manager.initialize()


class AsyncConnections:
    """A client of redis-py's for one event loop, with a limit that waits for a while."""

    def __init__(self, client: AsyncClient, limit: int, timeout: float) -> None:
        self._client = client
        self._limit = limit
        self._timeout = timeout
        self._free = asyncio.Semaphore(limit)

    async def call(self, *words: Any) -> Any:
        """As ``Caller.call``."""
        if self._free.locked():
            try:
                await asyncio.wait_for(self._free.acquire(), self._timeout)
            except TimeoutError:
                raise exhausted(self._limit, self._timeout) from None
        else:
            await self._free.acquire()
        try:
            return await self._client.execute_command(*words, NEVER_DECODE=True)
        finally:
            self._free.release()

    async def close(self) -> None:
        """Close the client, and those of its sentinels."""
        await self._client.aclose()
        for sentinel in sentinels_of(self._client):
            await sentinel.aclose()


AsyncClient: TypeAlias = redis.asyncio.Redis | redis.asyncio.RedisCluster


def sentinels_of(client: Any) -> list[Any]:
    """Return the clients that ask the sentinels, if a client has such."""
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return [] if manager is None else [*manager.sentinels]


def connections_of(
    client: redis.Redis | redis.RedisCluster, limit: int, timeout: float
) -> Connections | ClusterConnections:
    """Return connections to where a client's are."""
    if isinstance(client, redis.RedisCluster):
        return ClusterConnections(client, limit, timeout)
    return Connections(connector(client.connection_pool), limit, timeout)


def connector(pool: redis.ConnectionPool, **options: Any) -> Callable[[], Any]:
    """Return what makes a connection as a pool of redis-py's does, and never tries again."""
    kwargs = {**pool.connection_kwargs, **options, "retry": Retry(NoBackoff(), 0)}
    return partial(pool.connection_class, **kwargs)


def exhausted(limit: int, timeout: float) -> redis.ConnectionError:
    """Return the error for a process whose connections are all in use."""
    return exceptions.MaxConnectionsError(
        f"all {limit} connections of this process were in use for {timeout:g} s; "
        "set [redis] max_connections to the number of its threads"
    )
