"""The Redis store, on real servers: Redis, Valkey, a Cluster of three, and Sentinel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from glimr_session import SessionStore
from glimr_session.stores.redis import RedisStore
from glimr_session.testing.contract import ABSOLUTE, LIFETIME, StoreContract
from tests.support.services import RedisCluster, RedisServer


def flush(*servers: RedisServer) -> None:
    for server in servers:
        server.ask("FLUSHALL")


def shift(server: RedisServer, seconds: float) -> None:
    """Let time pass for the keys of a server: its clock cannot be told another time."""
    for key in server.ask("KEYS", "*"):
        left = round(server.ask("PTTL", key), -3) - round(seconds * 1000)  # whole seconds
        if left > 0:
            server.ask("PEXPIRE", key, left)
        else:
            server.ask("DEL", key)


class OnRedis(StoreContract):
    """The contract, where the server expires sessions by a clock of its own."""

    servers: tuple[RedisServer, ...]
    now = 0.0

    def set_server_time(self, store: SessionStore, now: float) -> None:
        passed, self.now = now - (self.now or now), now
        for server in self.servers if passed else ():
            shift(server, passed)

    @pytest.fixture
    def broken(self, store: SessionStore) -> Iterator[SessionStore]:
        for server in self.servers:
            server.kill()
        yield store
        for server in self.servers:
            server.restart()


class TestRedis(OnRedis):
    """The contract on Redis."""

    @pytest.fixture
    def store(self, redis: RedisServer) -> Iterator[SessionStore]:
        flush(redis)
        self.servers = (redis,)
        store = RedisStore(redis.url, lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)
        yield store
        store.close()


class TestValkey(OnRedis):
    """The contract on Valkey."""

    @pytest.fixture
    def store(self, valkey: RedisServer) -> Iterator[SessionStore]:
        flush(valkey)
        self.servers = (valkey,)
        store = RedisStore(valkey.url, lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)
        yield store
        store.close()


class TestCluster(OnRedis):
    """The contract on a Cluster of three."""

    @pytest.fixture
    def store(self, cluster: RedisCluster) -> Iterator[SessionStore]:
        flush(*cluster.nodes)
        self.servers = tuple(cluster.nodes)
        url = cluster.urls[0].replace("redis://", "redis+cluster://")
        store = RedisStore(url, lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)
        yield store
        store.close()
