"""How a Redis server is reached, and whether sessions can be kept there."""

from __future__ import annotations

import secrets
import ssl
import time
from collections.abc import Callable
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.sentinel
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..._log import warn
from ...errors import ConfigError, StoreUnavailable
from .._server import Entry, Extend, Insert, Read, Swap
from .codec import ERRORS, SCRIPTS, Codec

__all__ = ["EXAMPLES", "AsyncClient", "Client", "Server", "check_server", "ping", "pools"]

Client: TypeAlias = redis.Redis | redis.RedisCluster
AsyncClient: TypeAlias = redis.asyncio.Redis | redis.asyncio.RedisCluster

_KINDS: Final = ("", "cluster", "sentinel")

_LEAST_VERSION: Final = (6, 2)

EXAMPLES: Final = (
    'write it as "redis://user:password@host:6379/0", "rediss://..." for TLS, '
    '"unix:///path/to/socket", "redis+cluster://host:6379" or '
    '"redis+sentinel://host:26379,host:26379/service"'
)

_UNVERIFIED: Final = (
    "redis_url: the server's certificate is always verified. Remove ssl_cert_reqs and "
    "ssl_check_hostname, and name the file of your own authority in ssl_ca_certs."
)


class Server:
    """How the server that a URL names is reached.

    Args:
        url: as ``RedisStore`` takes it; "" if a client was passed in.
        timeout: seconds to wait for an answer, and for a connection.
        max_connections: at most.

    Raises:
        ConfigError: the URL is wrong, or asks for less than safe connections.
    """

    def __init__(self, url: str, timeout: float, max_connections: int) -> None:
        self.url = url
        self.place = ""
        if not url:
            return
        self._timeout, self._max_connections = timeout, max_connections
        try:
            self._read(url)
        except ValueError as error:
            raise ConfigError(f"redis_url is wrong: {error}; {EXAMPLES}") from None

    def _read(self, url: str) -> None:
        parts = urlsplit(url)
        scheme, _, self._kind = parts.scheme.partition("+")
        if scheme not in ("redis", "rediss", "unix") or self._kind not in _KINDS:
            raise ValueError(f"it begins with {parts.scheme!r}")
        credentials, at, host = parts.netloc.rpartition("@")
        path = parts.path
        self.place = host or path
        if self._kind == "sentinel":
            self._service, path = path.strip("/"), ""
            if not self._service:
                raise ValueError("it names no service")
            self._sentinels = [_address(item) for item in host.split(",")]
            host = host.partition(",")[0]
        self._plain_url = urlunsplit((scheme, f"{credentials}{at}{host}", path, parts.query, ""))
        self._has_tls = scheme == "rediss"
        self._options: dict[str, Any] = {
            "socket_timeout": self._timeout,
            "socket_connect_timeout": self._timeout,
            **({"ssl_check_hostname": True} if self._has_tls else {}),
        }
        pool = redis.ConnectionPool.from_url(self._plain_url, **self._options)
        self._kwargs = pool.connection_kwargs

    def client(self) -> Client:
        """Return a client for threads."""
        retry = Retry(NoBackoff(), 0)  # see connections.attempts
        if self._kind == "cluster":
            return redis.RedisCluster.from_url(
                self._plain_url, max_connections=self._max_connections, retry=retry, **self._options
            )
        if self._kind == "sentinel":
            return self._master_of(redis.sentinel.Sentinel, retry)  # type: ignore[no-any-return]
        return redis.Redis.from_url(self._plain_url, retry=retry, **self._options)

    def async_client(self) -> AsyncClient:
        """Return a client for the running event loop."""
        retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
        if self._kind == "cluster":
            return redis.asyncio.RedisCluster.from_url(
                self._plain_url, max_connections=self._max_connections, retry=retry, **self._options
            )
        if self._kind == "sentinel":
            return self._master_of(redis.asyncio.sentinel.Sentinel, retry)  # type: ignore[no-any-return]
        return redis.asyncio.Redis.from_pool(
            redis.asyncio.BlockingConnectionPool.from_url(
                self._plain_url,
                max_connections=self._max_connections,
                timeout=self._timeout,
                retry=retry,
                **self._options,
            )
        )

    def _master_of(self, sentinel: Callable[..., Any], retry: Any) -> Any:
        """Return a client for the master of the service, whichever that is by then."""
        kwargs = {**self._kwargs, "retry": retry}
        for name in ("host", "port"):
            kwargs.pop(name, None)
        tls = {"ssl": True} if self._has_tls else {}
        about_sentinels = {
            name.removeprefix("sentinel_"): kwargs.pop(name)
            for name in tuple(kwargs)
            if name.startswith("sentinel_")
        }
        ours = {name: kwargs[name] for name in kwargs if name.startswith(("socket_", "ssl_"))}
        found = sentinel(self._sentinels, sentinel_kwargs={**ours, **tls, **about_sentinels})
        return found.master_for(self._service, **kwargs, **tls)


def _address(item: str) -> tuple[str, int]:
    host, _, port = item.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"{item!r} is no host:port of a sentinel")
    return host.strip("[]"), int(port)


def ping(client: Client) -> None:
    """Ask every server that sessions are on for an answer."""
    if isinstance(client, redis.RedisCluster):
        client.ping(target_nodes=redis.RedisCluster.PRIMARIES)
    else:
        client.ping()


def pools(client: Client) -> list[redis.ConnectionPool]:
    """Return the pools of redis-py's that a client has."""
    if isinstance(client, redis.RedisCluster):
        nodes = [node.redis_connection for node in client.get_nodes()]
        return [node.connection_pool for node in nodes if node is not None]
    return [client.connection_pool]


def check_server(client: Client, codec: Codec) -> None:
    """Check that sessions can be kept there, and will stay.

    Raises:
        ConfigError, StoreUnavailable: as ``RedisStore``.
    """
    try:
        _check_client(client)
        for found in _infos(client):
            _check_info(found, client, codec.place)
        _try_out(client, codec)
    except redis.AuthenticationError as error:
        raise ConfigError(
            f"redis_url: {codec.place} refuses user and password: {error}. Correct them in the "
            "URL (percent-encoded), or set them on the server with ACL SETUSER."
        ) from error.with_traceback(None)
    except redis.exceptions.NoPermissionError as error:
        raise ConfigError(
            f"redis_url: the user may not do what sessions need: {error}. Run on {codec.place}: "
            f"ACL SETUSER <name> '~{codec.prefix}*' +ping +info +get +set +del +getrange +setrange "
            "+pexpire +eval +evalsha"
        ) from error.with_traceback(None)
    except ERRORS as error:
        raise StoreUnavailable(
            f"{codec.place} cannot be used: {error}. Start the server, or correct [redis] url."
        ) from error.with_traceback(None)


def _check_client(client: Client) -> None:
    kwargs = (
        client.get_connection_kwargs()  # type: ignore[no-untyped-call]
        if isinstance(client, redis.RedisCluster)
        else client.connection_pool.connection_kwargs
    )
    if kwargs.get("ssl_cert_reqs", "required") not in ("required", ssl.CERT_REQUIRED) or not (
        kwargs.get("ssl_check_hostname", True)
    ):
        raise ConfigError(_UNVERIFIED)
    if isinstance(client, redis.RedisCluster) and (
        client.read_from_replicas or client.load_balancing_strategy
    ):
        raise ConfigError("the client reads from replicas, which may not have a session yet")


def _infos(client: Client) -> list[dict[str, Any]]:
    """Return what each server says of itself; nothing if the user may not ask."""
    try:
        if isinstance(client, redis.RedisCluster):
            found = client.info(target_nodes=redis.RedisCluster.PRIMARIES)
            return [found] if "redis_version" in found else [*found.values()]
        return [client.info()]
    except redis.exceptions.NoPermissionError:
        return []


def _check_info(found: dict[str, Any], client: Client, place: str) -> None:
    version = str(found["redis_version"])
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < _LEAST_VERSION:
        raise ConfigError(f"{place} runs Redis {version}; sessions need 6.2 or later")
    if found.get("role") == "slave":
        raise ConfigError(
            f"redis_url: {place} is a replica, and only reads. Name its master, "
            f"{found.get('master_host')}:{found.get('master_port')}, or the sentinels: {EXAMPLES}"
        )
    if found.get("cluster_enabled") and not isinstance(client, redis.RedisCluster):
        raise ConfigError(f"redis_url: {place} is a node of a Cluster; {EXAMPLES}")
    policy = found.get("maxmemory_policy", "noeviction")
    if found.get("maxmemory") and policy != "noeviction":
        warn(
            "%s removes sessions that are in use when its memory is full (maxmemory-policy %s). "
            "Set maxmemory-policy noeviction there.",
            place,
            policy,
            once=True,
        )


def _try_out(client: Client, codec: Codec) -> None:
    """Do what a commit does, with a key of our own that nothing is left of."""
    call: Callable[..., Any] = client.execute_command
    entry = Entry(secrets.randbits(63), bytes(32), 0.0, 0.0, 1, time.time() + 10, b"", b"")
    commands = (
        Insert(entry),
        Read(entry.number),
        Extend(entry.number, entry.key, 0.0, entry.purge_after),
        Swap(entry.number, entry.revision, None),
    )
    for command in commands:
        words = codec.words(command)
        if words[0] == "EVALSHA":
            words = ("EVAL", SCRIPTS[words[1]], *words[2:])
        try:
            answer = call(*words)
        except redis.OutOfMemoryError as error:
            warn("%s", codec.outage(error), once=True)
            return
        except redis.ReadOnlyError as error:
            raise ConfigError(f"redis_url: {codec.place} only reads: {error}") from error
        codec.result(command, answer, again=False)
