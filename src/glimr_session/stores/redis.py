"""RedisStore: sessions on Redis or Valkey, one server, Sentinel or Cluster.

A session is one string, ``{prefix}{number:016x}``: a header of fixed length, and JSON. The
server's own expiry is the idle timeout. Needs Redis 6.2 or later, or Valkey.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
import weakref
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar, Final, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from .._log import warn
from .._validation import Duration
from ..errors import ConfigError, StoreUnavailable
from ._server import (
    MADE,
    NONCE_SIZE,
    Command,
    Entry,
    Extend,
    Find,
    Insert,
    Lock,
    PerLoop,
    Read,
    ServerStore,
    Swap,
    missing_extra,
)
from .base import DEFAULT_LIFETIME

try:
    import redis
    import redis.asyncio
    from redis.backoff import NoBackoff
    from redis.cluster import RedisCluster
    from redis.retry import Retry
    from redis.sentinel import Sentinel
except ImportError as error:
    raise missing_extra("redis", error) from error

__all__ = ["RedisStore", "redis_store"]

Client: TypeAlias = "redis.Redis | RedisCluster"

_NONCES: Final = 6 * NONCE_SIZE

# Format and revision, which a swap compares; when the id was made and the session last used;
# the key; the marks of the last commits.
_FORMAT: Final = b"g1"
_HEADER: Final = struct.Struct(f">2sQdd32s{_NONCES}s")
_EXPECTED: Final = struct.Struct(">2sQ")
_USED: Final = struct.Struct(">d")
_USED_AT: Final = _EXPECTED.size + _USED.size
_KEY_AT: Final = _USED_AT + _USED.size

# Returns 1 if it was made, else what is there. "" expects that nothing is, or removes it.
_SWAP: Final = f"""
if redis.call('GETRANGE', KEYS[1], 0, {_EXPECTED.size - 1}) ~= ARGV[1] then
  return redis.call('GET', KEYS[1])
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
"""
# A server that is full refuses SETRANGE, and a session that is read must not expire for that.
_EXTEND: Final = f"""
if redis.call('GETRANGE', KEYS[1], {_KEY_AT}, {_KEY_AT + 31}) ~= ARGV[1] then
  return 0
end
redis.pcall('SETRANGE', KEYS[1], {_USED_AT}, ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""


def _sha(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()  # Redis names it so


_SHA: Final = {script: _sha(script) for script in (_SWAP, _EXTEND)}

_PAUSE: Final = 0.001  # seconds between two looks for a connection that is free

_LEAST_VERSION: Final = (6, 2)

_PLAIN: Final = ("redis", "rediss", "unix")
_EXAMPLES: Final = (
    'write it as "redis://user:password@host:6379/0", "rediss://..." for TLS, "unix:///path", '
    '"redis+cluster://host:6379" or "redis+sentinel://host:26379,host:26379/service"'
)


class RedisStore(ServerStore):
    """Keeps sessions on Redis or Valkey, for any number of machines.

    A request that reads and writes takes two round trips, one that reads takes one. What an
    acknowledged commit survives is the server's to say: see docs/stores.md.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://`` as redis-py has it; with ``+cluster``
            behind the scheme for a Cluster, with ``+sentinel`` for the sentinels of a service:
            ``redis+sentinel://host:26379,host:26379/service?db=0``.
        client: a ``redis.Redis`` or ``RedisCluster`` of your own instead, whose timeouts and
            credentials hold. Event loops use it in threads.
        prefix: of the keys.
        lifetime: the idle timeout, in seconds or as a ``timedelta``.
        absolute_lifetime: the absolute timeout, likewise; 0 is none.
        timeout: how long to wait for the server, and for a free connection, likewise.
        max_connections: of this process, at most; each thread uses one at a time.

    Raises:
        ConfigError: the URL or the server's settings are wrong, or redis-py is missing.
        StoreUnavailable: the server cannot be reached.

    Example:
        >>> store = RedisStore("redis://127.0.0.1:6379/0", lifetime=600)  # doctest: +SKIP
    """

    kind = "redis"
    asks_own_clock: ClassVar[bool] = False
    expires_by_itself: ClassVar[bool] = True
    finds_by_id: ClassVar[bool] = False

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
        super().__init__(lifetime, absolute_lifetime, timeout)
        if (client is None) == (not url):
            raise ConfigError(f"redis_url: name one, or pass a client; {_EXAMPLES}")
        if not isinstance(prefix, str):
            raise ConfigError(f"redis_prefix: {prefix!r} is no string")
        if not isinstance(max_connections, int) or max_connections < 1:
            raise ConfigError(f"redis_max_connections: {max_connections!r} is no number above 0")
        self._prefix = prefix
        self._server = _Server(url, client, self._timeout)
        self._slots = _Slots(self._server, max_connections, self._timeout)
        self._executing = _Commands(self._slots.call, prefix)
        self._loops = PerLoop(self._server.async_client, redis.asyncio.Redis.aclose)
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
        try:
            _check(self._slots.call, prefix)
        finally:
            self.close()

    def __reduce__(self) -> tuple[Callable[[], RedisStore], tuple[()]]:
        return self._pickled, ()

    def gc(self) -> int:
        """Return 0: the server removes what has expired."""
        self._slots.call("PING")
        return 0

    def close(self) -> None:
        self._slots.close()

    def _executor(self) -> _Commands:
        return self._executing

    def _async_executor(self) -> _AsyncCommands | None:
        return _AsyncCommands(self._loops, self._prefix) if self._server.url else None


class _Server:
    """How a server is reached: connections of redis-py's, or its client for a Cluster."""

    def __init__(self, url: str, client: Client | None, timeout: float) -> None:
        self.url = url
        self._options = {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "retry": Retry(NoBackoff(), 0),  # each command is tried twice, see _Slots
        }
        self.is_cluster = False
        self._connect: Callable[[], Any]
        if client is None:
            client = self._client(redis)
        self.client = client
        ...


redis_store = RedisStore
