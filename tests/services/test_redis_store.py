"""The Redis store, on real servers: Redis, Valkey, a Cluster of three, and Sentinel."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import redis as redis_py
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from glimr_session import SessionStore
from glimr_session.stores.redis import RedisStore
from glimr_session.stores.redis.codec import _HEADER
from glimr_session.testing.contract import ABSOLUTE, LIFETIME, StoreContract
from tests.support.services import RedisCluster, RedisServer
from tests.support.wsgi_client import Browser
from tests.testing.test_any_order import Interleavings
from tests.testing.test_interleavings import Answers


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
        self.until_ready()

    def until_ready(self) -> None:
        """Wait for servers that were restarted: one by itself is ready when it answers."""


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
        self.until_ready = cluster.until_ready  # type: ignore[method-assign]
        url = cluster.urls[0].replace("redis://", "redis+cluster://")
        store = RedisStore(url, lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)
        yield store
        store.close()


# A site.


class Keys:
    """What the machine asks of a database, asked of Redis."""

    def __init__(self, port: int) -> None:
        self.client = redis_py.Redis(port=port)

    def execute(self, statement: str) -> Keys:
        if statement.startswith("DELETE"):
            self.client.flushall()
        return self

    def fetchall(self) -> list[tuple[int]]:
        """Return the number of sessions; what remembers a login has a header alone."""
        sizes: list[Any] = [self.client.strlen(key) for key in self.client.scan_iter()]
        return [(sum(size > _HEADER.size for size in sizes),)]


def test_any_order_of_steps_is_as_one_request_after_the_other(redis: RedisServer) -> None:
    """What is found after any order of steps is what whole requests, one after the other, make."""

    class OnRedis(Interleavings):
        store: Any = RedisStore(redis.url)
        database: Any = Keys(redis.port)

    run_state_machine_as_test(OnRedis, settings=settings(stateful_step_count=30, max_examples=25))
    OnRedis.store.close()
    OnRedis.database.client.close()


@pytest.fixture(params=["redis", "valkey", "cluster"])
def answers(request: pytest.FixtureRequest) -> Iterator[Answers]:
    """A site whose sessions are on a server, and a browser."""
    server = request.getfixturevalue(request.param)
    if isinstance(server, RedisCluster):
        flush(*server.nodes)
        store = RedisStore(server.urls[0].replace("redis://", "redis+cluster://"))
    else:
        flush(server)
        store = RedisStore(server.url)
    yield Answers(store)
    store.close()


@pytest.mark.parametrize("first", ["one", "other"])
def test_requests_of_a_site_at_once_are_merged(answers: Answers, first: str) -> None:
    """Both counted, whoever commits first."""
    second = "other" if first == "one" else "one"
    count = {name: lambda: answers.get("/count") for name in ("one", "other")}
    answers.steps.run(f"one opens, other opens, {first} commits, {second} commits", **count)
    assert answers.get("/session") == {"count": 3}


def test_a_request_beside_a_login_is_merged_and_keeps_its_cookie(answers: Answers) -> None:
    """The browser goes on with the cookie of the login, whoever answers last."""
    answers.steps.run(
        "count opens, login opens, login commits, count commits",
        count=lambda: answers.get("/count"),
        login=lambda: answers.get("/login"),
    )
    assert answers.get("/session") == {"count": 2, "user": "ada"}


def test_a_request_beside_a_logout_does_not_bring_the_session_back(answers: Answers) -> None:
    """What was opened before it and is committed after it is gone."""
    answers.steps.run(
        "count opens, logout opens, logout commits, count commits",
        count=lambda: answers.get("/count"),
        logout=lambda: answers.get("/logout"),
    )
    assert answers.get("/session") == {}


def test_a_logout_beside_a_login_ends_the_session(answers: Answers) -> None:
    """Under its new id too."""
    answers.steps.run(
        "logout opens, login opens, login commits, logout commits",
        logout=lambda: answers.get("/logout"),
        login=lambda: answers.get("/login"),
    )
    assert answers.get("/session") == {}


def test_all_sessions_of_an_owner_end_before_or_after_a_request(answers: Answers) -> None:
    """One that was the owner's is gone, whoever was first; a login that comes later stays."""
    end = partial(answers.steps.destroy_all, "ada")
    for path in ("/count", "/login", "/logout"):
        for order in ("end ends, request commits", "request commits, end ends"):
            answers.browser = Browser()
            answers.get("/own")
            answers.steps.run(
                f"request opens, {order}", request=partial(answers.get, path), end=end
            )
            assert answers.get("/session") == {}, (path, order)
            assert answers.steps.sessions("ada") == []
    answers.browser = Browser()
    answers.get("/count")
    login = partial(answers.get, "/own")
    answers.steps.run("login opens, end ends, login commits", login=login, end=end)
    assert answers.get("/session") == {"count": 1, "owned": True}
    assert answers.steps.destroy_all("ada") == 1
