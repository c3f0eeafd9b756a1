"""How a Redis server is reached, and whether sessions can be kept there."""

from __future__ import annotations

import re
import secrets
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import SplitResult, urlsplit

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.cluster
import redis.connection
import redis.sentinel
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..._log import warn
from ...errors import ConfigError, StoreUnavailable
from .._commands import Entry, Extend, Insert, Owned, Read, Register, Swap
from .codec import ERRORS, SCRIPTS, Codec, bare
from .connections import AsyncClient, Caller, connector, sentinels_of

__all__ = ["EXAMPLES", "Client", "Server", "Url", "check_server", "place_of", "pools", "starting"]

Client: TypeAlias = redis.Redis | redis.RedisCluster

_SCHEMES: Final = ("redis", "rediss", "unix")

_KINDS: Final = ("", "cluster", "sentinel")

_PORTS: Final = {"cluster": 6379, "sentinel": 26379}

_LEAST_VERSION: Final = (6, 2)

EXAMPLES: Final = (
    'write it as "redis://user:password@host:6379/0", "rediss://..." for TLS, '
    '"unix:///path/to/socket", "redis+cluster://host:6379,host:6379" or '
    '"redis+sentinel://host:26379,host:26379/service"'
)

UNVERIFIED: Final = (
    "redis_url: the server's certificate is always verified. Remove ssl_cert_reqs and "
    "ssl_check_hostname, and name the file of your own authority in ssl_ca_certs."
)


_RIGHTS: Final = (
    "+ping +info +get +set +del +getrange +setrange +pexpire +eval +evalsha +select "
    "+zadd +zrange +zremrangebyscore +time +scan +command +cluster|slots"
)


class Url(str):
    """A URL that does not show its password: some log the variables of a traceback."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Url(...)"


class Server:
    """How the server that a URL names is reached.

    Args:
        url: as ``RedisStore`` takes it; "" if a client was passed in.
        timeout: seconds to wait for an answer, and for a connection.

    Raises:
        ConfigError: the URL is wrong, or asks for less than safe connections.
    """

    def __init__(self, url: Url, timeout: float) -> None:
        self.url = url
        self.place = ""
        self.user = "default"
        self._kwargs: Any = {}
        self._options: dict[str, Any] = {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            # With version 3 a server may send what was not asked for, and redis-py asks a new
            # connection about that.
            "protocol": 2,
        }
        wrong = self._read() if url else ""
        if wrong:  # raised here: the variables of the functions below have the password
            raise ConfigError(wrong if wrong is UNVERIFIED else f"redis_url: {wrong}; {EXAMPLES}")

    def _read(self) -> str:
        """Read the URL; return what is wrong with it, without quoting it."""
        try:
            parts = urlsplit(self.url)
            scheme, _, self._kind = parts.scheme.partition("+")
            wrong = _mistake(parts, scheme, self._kind)
            if wrong:
                return wrong
            credentials, at, hosts = parts.netloc.rpartition("@")
            path = parts.path.strip("/")
            self.place = hosts or path or "localhost"
            if self._kind:
                self._service = path
                self._addresses = [_address(item, self._kind) for item in hosts.split(",")]
                hosts = path = ""
            if scheme == "rediss":
                self._options["ssl_check_hostname"] = True
            rest = (parts.path if path else "") + f"?{parts.query}"
            self._plain_url = f"{scheme}://{credentials}{at}{hosts}{rest}"
            pool = redis.ConnectionPool.from_url(self._plain_url, **self._options)
            named = redis.connection.parse_url(self._plain_url)  # type: ignore[no-untyped-call]
            self._kwargs = {**self._options, **named}
        except ValueError as error:
            about_option = str(error).startswith("Invalid value for")
            return str(error).rstrip(".") if about_option else "it cannot be read"
        return self._take_options(pool, is_tls=scheme == "rediss")

    def _take_options(self, pool: redis.ConnectionPool, *, is_tls: bool) -> str:
        """Take what the URL says about connections; return what is wrong with it."""
        kwargs = pool.connection_kwargs
        names = [name for name in kwargs if name.startswith("sentinel_")]
        about_sentinels = {name.removeprefix("sentinel_"): kwargs.pop(name) for name in names}
        if names and self._kind != "sentinel":
            return f"{names[0]} is for sentinels"
        if "max_connections" in self._kwargs:
            return "max_connections is a setting of its own"
        self.user = kwargs.get("username") or "default"
        for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
            if kwargs.get(name) and not Path(kwargs[name]).is_file():
                return f"{name} names no file"
        try:
            connection = connector(pool)()
        except TypeError as error:
            unknown = re.search(r"argument '(\w+)'", str(error))
            return f"redis-py knows no option {unknown[1] if unknown else 'of this kind'}"
        except redis.RedisError as error:
            return str(error)
        weaker = {"ssl_cert_reqs", "ssl_check_hostname"} & {*about_sentinels}
        if weaker or not is_verified(connection):
            return UNVERIFIED
        alike = ("socket_", "ssl", "protocol")
        tls = {"ssl": True} if is_tls else {}
        leave = ("connection_class", *names)
        self._kwargs = {key: self._kwargs[key] for key in self._kwargs if key not in leave} | tls
        shared = {key: self._kwargs[key] for key in self._kwargs if key.startswith(alike)}
        self._sentinel_kwargs = {**shared, **about_sentinels}
        return ""

    def client(self) -> Client:
        """Return a client for threads; it is asked at the start, and makes connections."""
        retry = Retry(NoBackoff(), 0)  # see Codec.next_attempt
        if self._kind == "cluster":
            node: Any = redis.cluster.ClusterNode
            nodes = [node(*address) for address in self._addresses]
            return redis.RedisCluster(startup_nodes=nodes, retry=retry, **self._kwargs)
        if self._kind == "sentinel":
            return self._master_of(redis.sentinel.Sentinel, retry)  # type: ignore[no-any-return]
        return redis.Redis.from_url(self._plain_url, retry=retry, **self._options)

    def async_client(self, known: Client, limit: int) -> AsyncClient:
        """Return a client for the running event loop.

        Args:
            known: the one for threads.
            limit: connections at most.
        """
        retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
        if isinstance(known, redis.RedisCluster):  # the nodes that the URL names may be gone
            found = known.get_nodes()  # type: ignore[no-untyped-call]
            nodes = [redis.asyncio.cluster.ClusterNode(node.host, node.port) for node in found]
            return redis.asyncio.RedisCluster(startup_nodes=nodes, retry=retry, **self._kwargs)
        if self._kind == "sentinel":
            sentinel = redis.asyncio.sentinel.Sentinel
            return self._master_of(sentinel, retry, max_connections=limit)  # type: ignore[no-any-return]
        return redis.asyncio.Redis.from_url(
            self._plain_url, retry=retry, max_connections=limit, **self._options
        )

    def _master_of(self, sentinel: Callable[..., Any], retry: Any, **options: Any) -> Any:
        """Return a client for the master of the service, whichever that is by then."""
        kwargs = {**self._sentinel_kwargs, "retry": retry}
        found = sentinel(self._addresses, sentinel_kwargs=kwargs)
        return found.master_for(self._service, **self._kwargs, **options, retry=retry)


def _mistake(parts: SplitResult, scheme: str, kind: str) -> str:
    """Return what is wrong with a URL, or ""; it is not quoted, for it may have a password."""
    path = parts.path.strip("/")
    if (
        scheme not in ("redis", "rediss", "unix")
        or kind not in _KINDS
        or (scheme == "unix" and kind)
    ):
        return "it begins with an unknown scheme"
    if parts.fragment or "@" in path + parts.query:
        return "in user and password, write / as %2F, ? as %3F, # as %23 and @ as %40"
    if scheme == "unix":
        return "" if path else "it names no socket"
    if kind == "sentinel":
        return "" if path else "it names no service"
    if kind == "cluster" and path not in ("", "0"):
        return "a Cluster has no databases, and so the URL no path"
    return "" if not path or path.isdecimal() else "its path is no number of a database"


def _address(item: str, kind: str) -> tuple[str, int]:
    """Return host and port; ValueError if there is no host."""
    parts = urlsplit(f"//{item}")
    if not parts.hostname:
        raise ValueError("no host")
    return parts.hostname, parts.port or _PORTS[kind]


def is_verified(connection: Any) -> bool:
    """Whether a connection verifies the server's certificate, or uses none."""
    if not isinstance(connection, redis.SSLConnection):
        return True
    return connection.cert_reqs == ssl.CERT_REQUIRED and bool(connection.check_hostname)


def place_of(client: Client | None) -> str:
    """Return where the server of a client is, as messages name it."""
    if client is None:
        return ""
    if isinstance(client, redis.RedisCluster):
        node: Any = client.get_default_node()  # type: ignore[no-untyped-call]
        return f"{node.host}:{node.port}"
    pool = client.connection_pool
    kwargs = pool.connection_kwargs
    place = f"{kwargs.get('host', 'localhost')}:{kwargs.get('port', 6379)}"
    return str(getattr(pool, "service_name", "") or kwargs.get("path") or place)


def pools(client: Client) -> list[redis.ConnectionPool]:
    """Return the pools of redis-py's that a client has, and its sentinels."""
    if isinstance(client, redis.RedisCluster):
        nodes = [node.redis_connection for node in client.get_nodes()]  # type: ignore[no-untyped-call]
        return [node.connection_pool for node in nodes if node is not None]
    sentinels = [found.connection_pool for found in sentinels_of(client)]
    return [client.connection_pool, *sentinels]


@contextmanager
def starting(place: str, user: str, prefix: str) -> Iterator[None]:
    """Raise ConfigError or StoreUnavailable, which say what to do, for the errors of redis-py."""
    try:
        yield
    except redis.AuthenticationError as error:
        raise ConfigError(
            f"redis_url: {place} refuses user and password ({_said(error)}). Correct them in the "
            "URL (percent-encoded), or set them on the server with ACL SETUSER."
        ) from bare(error)
    except exceptions.NoPermissionError as error:
        raise ConfigError(
            f"redis_url: the user may not do what sessions need ({_said(error)}). Run on {place}: "
            f"ACL SETUSER {user} {f'~{prefix}*' if 'key' in str(error) else _RIGHTS}"
        ) from bare(error)
    except exceptions.RedisClusterException as error:
        if "Cluster mode is not enabled" not in str(error):
            raise _unusable(place, error) from bare(error)
        raise ConfigError(f"redis_url: {place} is no node of a Cluster; {EXAMPLES}") from bare(
            error
        )
    except ERRORS as error:
        if "DB index is out of range" in str(error):
            raise ConfigError(f"redis_url: {place} has no database of this number") from bare(error)
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise ConfigError(
                f"redis_url: the certificate of {place} is not accepted ({_said(error)}). Use the "
                "name that is in it, and name the file of your own authority in ssl_ca_certs"
            ) from bare(error)
        raise _unusable(place, error) from bare(error)


def _unusable(place: str, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"{place} cannot be used: {_said(error)}. Start the server, or correct [redis] url"
    )


def _said(error: Exception) -> str:
    if isinstance(error, redis.sentinel.MasterNotFoundError):
        return "no sentinel answers, or none knows the service"  # redis-py lists all options
    return str(error).rstrip(".")


def check_server(client: Client, connections: Caller, codec: Codec) -> None:
    """Check that sessions can be kept there, and will stay.

    Raises:
        ConfigError, redis.RedisError, OSError: they cannot.
    """
    if not all(is_verified(connector(pool)()) for pool in pools(client)):
        raise ConfigError(UNVERIFIED)
    if isinstance(client, redis.RedisCluster) and (
        client.read_from_replicas or getattr(client, "load_balancing_strategy", None)
    ):
        raise ConfigError("the client reads from replicas, which may not have a session yet")
    for found in _infos(client):
        _check_info(found, client, codec.place)
    _try_out(connections, codec)


def _infos(client: Client) -> list[dict[str, Any]]:
    """Return what each server says of itself; nothing if the user may not ask."""
    try:
        if isinstance(client, redis.RedisCluster):
            found = client.info(target_nodes=redis.RedisCluster.PRIMARIES)
            return [found] if "redis_version" in found else [*found.values()]
        return [client.info()]
    except exceptions.NoPermissionError:
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


def _try_out(connections: Caller, codec: Codec) -> None:
    """Do what a commit does, with a key of our own that nothing is left of."""
    entry = Entry(secrets.randbits(63), bytes(32), 0.0, 0.0, 1, time.time() + 10, b"", b"")
    commands = (
        Insert(entry),
        Read(entry.number),
        Extend(entry.number, entry.key, 0.0, entry.purge_after),
        Swap(entry.number, entry.revision, None),
        Register(entry.key, entry.number, 0.0),  # which leaves nothing
        Owned(entry.key),
    )
    known: set[str] = set()
    for command in commands:
        words = codec.words(command)
        if words[0] == "EVALSHA" and words[1] not in known:
            known.add(words[1])  # from now on the server knows the script
            words = ("EVAL", SCRIPTS[words[1]], *words[2:])
        try:
            answer = connections.call(*words)
        except redis.OutOfMemoryError as error:
            warn("%s", codec.outage(error), once=True)
            return
        except redis.ReadOnlyError as error:
            raise ConfigError(f"redis_url: {codec.place} only reads: {error}") from bare(error)
        codec.result(command, answer, again=False)
