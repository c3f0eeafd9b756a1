"""The Redis store, where servers, networks and processes fail: each commit is made once or told."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import pytest
import redis as redis_py

from glimr_session import CommitResult, StoreUnavailable
from glimr_session._ids import generate_id
from glimr_session._session.state import SessionState
from glimr_session.stores import redis as redis_package
from glimr_session.stores.redis import RedisStore
from glimr_session.stores.redis.connections import Connections
from glimr_session.testing.contract import (
    Request,
    begin,
    changed,
    content,
    flash,
    increment,
    invalidate,
    put,
    regenerate,
)
from tests.faults.test_store_interrupted import interrupt
from tests.support import forks, services
from tests.support.proxy import Proxy
from tests.support.services import PATIENCE, RedisCluster, RedisServer

TIMEOUT: Final = 0.4
"""Seconds that stores wait here, where the server says nothing."""

AT_ONCE: Final = 5.0
"""Seconds that an operation takes at most, on a busy machine."""


@pytest.fixture
def proxy(redis: RedisServer) -> Iterator[Proxy]:
    """A proxy in front of the server, whose keys are removed."""
    redis.ask("FLUSHALL")
    with Proxy(redis.port, record=True) as proxy:
        yield proxy


@pytest.fixture
def store(proxy: Proxy) -> Iterator[RedisStore]:
    """A store behind the proxy."""
    store = RedisStore(f"redis://127.0.0.1:{proxy.port}/0", timeout=TIMEOUT)
    yield store
    store.close()


def opened(store: RedisStore, cookie_value: str) -> SessionState:
    """Return the state of a request that has opened a session."""
    found = store.open(cookie_value)
    assert found is not None
    return SessionState.opened(found)


def data(store: RedisStore, cookie_value: str) -> Any:
    """Return the data of a session, or None."""
    found = content(store, cookie_value)
    return None if found is None else found[0]


def is_write(chunk: bytes) -> bool:
    """Whether a client has sent a script or a write."""
    return b"EVAL" in chunk


def in_loop(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


# Round trips.


def test_a_request_that_writes_takes_two_round_trips_and_one_that_reads_one(
    proxy: Proxy, store: RedisStore
) -> None:
    """One to open and one to commit, to touch, to log in, to log out; over one connection."""
    cookie_value = begin(store)
    store.open(cookie_value)
    proxy.reset()
    state = opened(store, cookie_value)
    assert (proxy.round_trips, proxy.chunks) == (1, 1)
    store.commit(changed(state, increment("n")))
    assert (proxy.round_trips, proxy.chunks) == (2, 2)
    moved = Request(store, cookie_value).commit(regenerate)
    assert (proxy.round_trips, proxy.chunks) == (4, 4)
    store.touch(moved)
    assert (proxy.round_trips, proxy.chunks) == (6, 6)
    Request(store, moved).commit(invalidate)
    assert (proxy.round_trips, proxy.chunks) == (8, 8)
    assert proxy.connections == 0


def test_a_new_process_connects_and_asks_no_more_than_that(proxy: Proxy, store: RedisStore) -> None:
    """Its first request sends what names the client, then its own two commands."""
    cookie_value = begin(store)
    store.close()
    proxy.reset()
    Request(store, cookie_value).commit(increment("n"))
    sent = b"".join(proxy.sent)
    commands = [word for word in (b"GET", b"EVALSHA", b"EVAL", b"SCRIPT", b"PING") if word in sent]
    assert commands == [b"GET", b"EVALSHA", b"EVAL"]  # the last one is in the one before
    assert b"HELLO" not in sent
    assert proxy.connections == 1
    assert proxy.round_trips - sent.count(b"SETINFO") == 2


def test_event_loops_take_as_many(proxy: Proxy, store: RedisStore) -> None:
    """A commit over redis-py's asyncio client is two round trips too."""
    cookie_value = begin(store)

    async def work() -> None:
        assert await store.aopen(cookie_value)
        proxy.reset()
        found = await store.aopen(cookie_value)
        assert found is not None
        await store.acommit(changed(SessionState.opened(found), increment("n")))

    in_loop(work())
    assert (proxy.round_trips, proxy.connections) == (2, 0)


# Scripts.


@pytest.mark.parametrize("forget", ["flush", "restart"])
@pytest.mark.parametrize("loop", [False, True], ids=["thread", "loop"])
def test_a_server_that_has_forgotten_the_scripts_is_sent_them(
    redis: RedisServer, store: RedisStore, forget: str, loop: bool
) -> None:
    """The commit after SCRIPT FLUSH or a restart works, and the next one is short again."""
    cookie_value = begin(store)
    state = opened(store, cookie_value)
    if forget == "flush":
        redis.ask("SCRIPT", "FLUSH")
    else:
        redis.restart()
        cookie_value = begin(store)
        state = opened(store, cookie_value)
        redis.ask("SCRIPT", "FLUSH")
    changes = changed(state, increment("n"))
    answer = in_loop(store.acommit(changes)) if loop else store.commit(changes)
    assert answer.outcome == "stored"
    assert data(store, cookie_value) == {"a": 1, "n": 1}


# Lost answers.


@pytest.mark.parametrize("loop", [False, True], ids=["thread", "loop"])
def test_a_commit_whose_answer_is_lost_is_made_once(
    proxy: Proxy, store: RedisStore, loop: bool
) -> None:
    """It is sent again, once, and finds its own mark."""
    cookie_value = begin(store, put("n", 1))
    changes = changed(opened(store, cookie_value), increment("n"))
    proxy.reset()
    proxy.lose_answer(is_write)
    answer = in_loop(store.acommit(changes)) if loop else store.commit(changes)
    assert answer.outcome == "stored"
    assert proxy.lost == 1
    assert b"".join(proxy.sent).count(b"EVALSHA") == 2
    assert data(store, cookie_value) == {"n": 2}


@pytest.mark.parametrize("loop", [False, True], ids=["thread", "loop"])
def test_a_session_whose_beginning_is_not_answered_is_begun_once(
    redis: RedisServer, proxy: Proxy, store: RedisStore, loop: bool
) -> None:
    """There is one session, and its cookie value is the one that was to be."""
    state = SessionState.new(generate_id())
    changes = changed(state, put("a", 1))
    proxy.lose_answer(is_write)
    answer = in_loop(store.acommit(changes)) if loop else store.commit(changes)
    assert answer == CommitResult.stored(state.id)
    assert len(redis.ask("KEYS", "*")) == proxy.lost == 1


@pytest.mark.parametrize("loop", [False, True], ids=["thread", "loop"])
def test_a_logout_whose_answer_is_lost_is_one(
    redis: RedisServer, proxy: Proxy, store: RedisStore, loop: bool
) -> None:
    """The session is gone, and the answer says that none is left."""
    changes = changed(opened(store, begin(store)), invalidate)
    proxy.lose_answer(is_write)
    answer = in_loop(store.acommit(changes)) if loop else store.commit(changes)
    assert answer is CommitResult.EMPTY
    assert redis.ask("KEYS", "*") == []


@pytest.mark.parametrize("lost", [1, 2], ids=["first", "second"])
def test_a_logout_that_leaves_a_flash_loses_either_answer(
    redis: RedisServer, proxy: Proxy, store: RedisStore, lost: int
) -> None:
    """Its two writes are made once each."""
    cookie_value = begin(store)
    state = opened(store, cookie_value)
    invalidate(state)
    flash("bye", 1)(state)
    changes = state.changes
    writes = iter(range(1, 10))
    proxy.lose_answer(lambda chunk: is_write(chunk) and next(writes) == lost)
    answer = store.commit(changes)
    assert answer.outcome == "stored"
    assert proxy.lost == 1
    assert store.open(cookie_value) is None
    assert content(store, answer.cookie_value) == ({}, {"bye": 1})
    assert len(redis.ask("KEYS", "*")) == 2  # the other one remembers the login for a minute


@pytest.mark.parametrize("loop", [False, True], ids=["thread", "loop"])
def test_a_touch_whose_answer_is_lost_is_one(proxy: Proxy, store: RedisStore, loop: bool) -> None:
    """It says that the session is there."""
    cookie_value = begin(store)
    proxy.lose_answer(is_write)
    assert (in_loop(store.atouch(cookie_value)) if loop else store.touch(cookie_value)) is True
    assert proxy.lost == 1


def test_two_lost_answers_are_an_outage(proxy: Proxy, store: RedisStore) -> None:
    """Nobody tries a third time; the commit was made at most once, and tried again is made once."""
    cookie_value = begin(store, put("n", 1))
    changes = changed(opened(store, cookie_value), increment("n"))
    proxy.reset()

    def lose(chunk: bytes) -> bool:
        if not is_write(chunk):
            return False
        threading.Thread(target=proxy.lose_answer, args=(is_write,)).start()
        return True

    proxy.lose_answer(lose)
    with pytest.raises(StoreUnavailable):
        store.commit(changes)
    assert b"".join(proxy.sent).count(b"EVALSHA") == proxy.lost == 2
    assert data(store, cookie_value) == {"n": 2}


# No answer.


@pytest.mark.parametrize("loop", [False, True], ids=["thread", "loop"])
def test_an_answer_that_never_comes_is_not_waited_for(
    proxy: Proxy, store: RedisStore, loop: bool
) -> None:
    """The timeout is the end, nothing is sent twice, and no later command reads the answer."""
    one, other = begin(store, put("name", "one")), begin(store, put("name", "other"))

    async def both() -> None:
        assert await store.aopen(one)
        proxy.reset()
        proxy.stall()
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await store.aopen(one)
        assert time.monotonic() - started < AT_ONCE
        proxy.resume()
        found = await store.aopen(other)
        assert found is not None
        assert found.data == {"name": "other"}

    if loop:
        in_loop(both())
    else:
        store.open(one)
        proxy.reset()
        proxy.stall()
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.open(one)
        assert time.monotonic() - started < AT_ONCE
        proxy.resume()
        assert data(store, other) == {"name": "other"}
    assert b"".join(proxy.sent).count(b"GET\r\n") == 2  # one for each


def test_a_server_that_is_stopped_answers_after_it_goes_on(
    redis: RedisServer, store: RedisStore
) -> None:
    """In between each operation ends within its timeout."""
    cookie_value = begin(store, put("n", 1))
    changes = changed(opened(store, cookie_value), increment("n"))
    redis.pause()
    started = time.monotonic()
    for operation in (
        lambda: store.open(cookie_value),
        lambda: store.commit(changes),
        lambda: store.touch(cookie_value),
        store.gc,
    ):
        with pytest.raises(StoreUnavailable):
            operation()
    assert time.monotonic() - started < 4 * TIMEOUT + AT_ONCE
    redis.resume()
    store.commit(changed(opened(store, cookie_value), put("m", 1)))
    assert data(store, cookie_value) in ({"n": 1, "m": 1}, {"n": 2, "m": 1})


def test_a_refused_connection_is_an_outage(proxy: Proxy, store: RedisStore) -> None:
    """At once, and gc() does not hide it; when it is accepted again, the store goes on."""
    cookie_value = begin(store)
    proxy.refuse()
    proxy.cut()
    for operation in (lambda: store.open(cookie_value), store.gc):
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:\d+ could not answer"):
            operation()
    proxy.accept()
    assert store.open(cookie_value)
    assert store.gc() == 0


# Servers that end.


class Load:
    """Threads that each count in a session of their own, and remember what was acknowledged."""

    def __init__(self, store: RedisStore, threads: int = 6) -> None:
        self.store = store
        self.errors: list[BaseException] = []
        self.acknowledged: dict[str, list[int]] = {}
        self._done = threading.Event()
        self._threads = [
            threading.Thread(target=self._count, args=(begin(store, put("n", 0)),))
            for _ in range(threads)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.wait(2)
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a thread hangs"

    def wait(self, number: int) -> None:
        """Wait until each thread has so many more commits acknowledged."""
        goals = {name: len(found) + number for name, found in self.acknowledged.items()}
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            enough = all(len(self.acknowledged[name]) >= goal for name, goal in goals.items())
            if enough and len(self.acknowledged) == len(self._threads):
                return
            time.sleep(0.01)
        raise AssertionError(f"no more commits: {self.errors[-1:]!r}")

    def _count(self, cookie_value: str) -> None:
        acknowledged = self.acknowledged.setdefault(cookie_value, [])
        number = 0
        while not self._done.is_set():
            number += 1
            try:
                found = self.store.open(cookie_value)
                if found is None:  # the server has lost it
                    state = SessionState.new(cookie_value)
                    answer = self.store.commit(changed(state, put("n", number)))
                else:
                    answer = self.store.commit(
                        changed(SessionState.opened(found), put("n", number))
                    )
                if answer.outcome == "stored":
                    acknowledged.append(number)
            except StoreUnavailable as error:
                self.errors.append(error)
                time.sleep(0.01)
            except BaseException as error:
                self.errors.append(error)
                raise

    def check(self) -> None:
        """What was acknowledged last is there, or what was written after it and not answered."""
        assert all(type(error) is StoreUnavailable for error in self.errors)
        for cookie_value, acknowledged in self.acknowledged.items():
            assert data(self.store, cookie_value)["n"] >= acknowledged[-1]


def test_a_server_killed_under_load_is_an_outage_and_no_more(
    redis: RedisServer, store: RedisStore
) -> None:
    """Errors in between are StoreUnavailable; all threads go on, and lose nothing after it."""
    with Load(store) as load:
        redis.kill()
        redis.restart()
        load.wait(5)
    load.check()


def test_what_was_acknowledged_is_there_after_a_kill_if_the_server_syncs(tmp_path: Path) -> None:
    """With appendonly and appendfsync always, kill -9 loses nothing, and no session."""
    settings = ["appendonly yes", "appendfsync always"]
    with services.redis_server(tmp_path, settings=settings) as server:
        store = RedisStore(server.url, timeout=TIMEOUT)
        with Load(store, threads=4) as load:
            for _ in range(2):
                load.wait(5)
                server.kill()
                before = {name: found[-1] for name, found in load.acknowledged.items()}
                server.restart()
                load.wait(1)
                for name, number in before.items():
                    assert data(store, name)["n"] >= number
        load.check()
        store.close()


# Full.


@pytest.fixture
def full(redis: RedisServer) -> Iterator[Callable[[], None]]:
    """Lets the server have no memory left."""
    yield lambda: redis.ask("CONFIG", "SET", "maxmemory", 1)
    redis.ask("CONFIG", "SET", "maxmemory", 0)


def test_a_full_server_reads_touches_and_ends_sessions(
    redis: RedisServer, store: RedisStore, full: Callable[[], None]
) -> None:
    """A session that is read does not expire, and a logout is one; the scripts may be unknown."""
    one, other = begin(store), begin(store)
    state = opened(store, one)
    redis.ask("SCRIPT", "FLUSH")
    full()
    redis.ask("PEXPIRE", redis.ask("KEYS", "*")[0], 1000)
    redis.ask("PEXPIRE", redis.ask("KEYS", "*")[1], 1000)
    before = store.open(one)
    assert before is not None
    assert store.touch(one) is True
    assert all(
        redis.ask("PTTL", key) > 1000
        for key in redis.ask("KEYS", "*")
        if str(key).endswith(one[:2])
    )
    after = store.open(one)
    assert after is not None
    assert after.last_used_at > before.last_used_at
    assert store.commit(changed(state, invalidate)) is CommitResult.EMPTY
    assert store.open(one) is None
    store.destroy(other)
    assert redis.ask("KEYS", "*") == []


def test_a_full_server_refuses_to_begin_and_to_commit(
    redis: RedisServer, store: RedisStore, full: Callable[[], None]
) -> None:
    """The error says that it is full, and nothing is half written; later it works."""
    cookie_value = begin(store)
    full()
    writes: list[Callable[[], object]] = [
        lambda: Request(store, cookie_value).commit(put("b", 2)),
        lambda: Request(store, cookie_value).commit(regenerate),
        lambda: begin(store),
    ]
    for write in writes:
        with pytest.raises(StoreUnavailable, match="it is full"):
            write()
    assert content(store, cookie_value) == ({"a": 1}, {})
    assert len(redis.ask("KEYS", "*")) == 1
    redis.ask("CONFIG", "SET", "maxmemory", 0)
    assert begin(store)


def test_a_logout_that_leaves_a_flash_ends_the_session_on_a_full_server(
    redis: RedisServer, store: RedisStore, full: Callable[[], None]
) -> None:
    """The old session is gone, although the new one cannot be begun and the request fails."""
    cookie_value = begin(store)
    state = opened(store, cookie_value)
    invalidate(state)
    flash("bye", 1)(state)
    full()
    with pytest.raises(StoreUnavailable, match="it is full"):
        store.commit(state.changes)
    assert redis.ask("KEYS", "*") == []


def test_a_store_starts_on_a_full_server(
    redis: RedisServer, full: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    """A deployment must not fail for that; a warning says so."""
    full()
    RedisStore(redis.url).close()
    assert "it is full" in caplog.text


# Limits.


def test_the_servers_limit_of_connections_is_an_outage(tmp_path: Path) -> None:
    """Only for as long as there is no room."""
    with services.redis_server(tmp_path) as server:
        store = RedisStore(server.url, timeout=TIMEOUT)
        cookie_value = begin(store)
        store.close()
        server.ask("CONFIG", "SET", "maxclients", 1)
        with socket.create_connection(("127.0.0.1", server.port)) as other:
            other.sendall(b"PING\r\n")
            assert other.recv(100) == b"+PONG\r\n"
            with pytest.raises(StoreUnavailable):
                store.open(cookie_value)
            with pytest.raises(StoreUnavailable):
                in_loop(store.aopen(cookie_value))
        server.until(lambda: store.open(cookie_value) is not None)
        store.close()


@pytest.mark.parametrize("loop", [False, True], ids=["thread", "loop"])
def test_our_own_limit_names_its_setting(proxy: Proxy, loop: bool) -> None:
    """Who waits too long for a connection is told which number to raise; then there is one."""
    url = f"redis://127.0.0.1:{proxy.port}/0"
    store = RedisStore(url, timeout=TIMEOUT, max_connections=2)
    patient = RedisStore(url, timeout=TIMEOUT * 4, max_connections=2)
    cookie_value = begin(store)
    if loop:

        async def work() -> list[Any]:
            await patient.aopen(cookie_value)
            connections = await patient._loops.get()
            connections._timeout = TIMEOUT / 4
            proxy.stall()
            tasks = [asyncio.ensure_future(patient.aopen(cookie_value)) for _ in range(3)]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            proxy.resume()
            return [*done, *await asyncio.gather(*tasks, return_exceptions=True)]

        found = in_loop(work())
        error = found[0].exception()
        assert sum(isinstance(one, StoreUnavailable) for one in found[1:]) == 1
    else:
        assert isinstance(patient._connections, Connections)
        patient._connections._places._timeout = TIMEOUT / 4
        patient.open(cookie_value)
        proxy.stall()
        with ThreadPoolExecutor(3) as pool:
            futures = [pool.submit(patient.open, cookie_value) for _ in range(3)]
            while not any(future.done() for future in futures):
                time.sleep(0.01)
            proxy.resume()
        errors = [future.exception() for future in futures]
        error = next(one for one in errors if one is not None)
        assert sum(one is not None for one in errors) == 1
    assert isinstance(error, StoreUnavailable)
    assert "max_connections" in str(error)
    assert patient.open(cookie_value)
    store.close()
    patient.close()


# Threads.


def test_sixteen_threads_on_one_session_lose_nothing_and_seldom_meet(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is at most one conflict per commit, and nobody sleeps to avoid another."""
    redis.ask("FLUSHALL")
    store = RedisStore(redis.url, timeout=5)
    cookie_value = begin(store, put("n", 0))
    redis.ask("CONFIG", "RESETSTAT")
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it sleeps"))

    def work() -> None:
        for _ in range(15):
            assert Request(store, cookie_value).commit(increment("n"))

    with ThreadPoolExecutor(16) as pool:
        for future in [pool.submit(work) for _ in range(16)]:
            future.result()
    assert data(store, cookie_value) == {"n": 240}
    swaps = redis.ask("INFO", "commandstats")["cmdstat_evalsha"]["calls"]
    assert swaps <= 2 * 240
    store.close()


def test_sixteen_tasks_on_one_session_lose_nothing(redis: RedisServer) -> None:
    """Increments of all are there, in one event loop."""
    redis.ask("FLUSHALL")
    store = RedisStore(redis.url, timeout=5)
    cookie_value = begin(store, put("n", 0))
    redis.ask("CONFIG", "RESETSTAT")

    async def work() -> None:
        for _ in range(8):
            found = await store.aopen(cookie_value)
            assert found is not None
            await store.acommit(changed(SessionState.opened(found), increment("n")))

    async def all_() -> None:
        await asyncio.gather(*(work() for _ in range(16)))

    in_loop(all_())
    assert data(store, cookie_value) == {"n": 128}
    assert redis.ask("INFO", "commandstats")["cmdstat_evalsha"]["calls"] <= 2 * 128
    store.close()


def test_close_while_other_threads_use_it_disturbs_nobody(redis: RedisServer) -> None:
    """What is in use stays open, and what is not is opened again."""
    store = RedisStore(redis.url)
    with Load(store, threads=4) as load:
        for _ in range(200):
            store.close()
    assert load.errors == []
    load.check()
    store.close()


# Interruptions.


SOURCES: Final = (
    str(Path(redis_package.__file__).parent),
    str(Path(redis_py.__file__).with_name("connection.py")),
    str(Path(redis_py.__file__).with_name("_parsers")),
)
"""The modules that are interrupted."""


def test_an_exception_at_any_instruction_loses_no_connection_and_no_answer(
    valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each, all connections can be used at once, and every answer is that of its command."""
    # Redis 7.0 refuses CLIENT SETINFO, and an exception that a trace function raises while redis-py
    # handles that would leave Python believing that it still does.
    valkey.ask("FLUSHALL")
    # pytest keeps the exceptions of finalizers, and with them the frames that were interrupted.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    store = RedisStore(valkey.url, timeout=TIMEOUT, max_connections=2)
    one, other = begin(store, put("name", "one")), begin(store, put("name", "other"))
    connections = store._connections
    assert isinstance(connections, Connections)

    def read() -> None:
        with suppress(UnboundLocalError):  # redis-py 5.2 makes that of an exception somewhere
            store.open(one)

    at = 0
    while place := interrupt(read, at := at + 1, SOURCES):
        stack = connections._places._own_stack()
        if len(stack.every) > len(stack.free):
            gc.collect()  # an exception in redis-py may hold its own frames
        assert len(stack.every) == len(stack.free), place
        stack.free.extend([connections._places.take() for _ in range(2)])
        assert data(store, other) == {"name": "other"}
        assert data(store, one) == {"name": "one"}
        if at % 3 == 0:
            store.close()  # so that it connects
    assert at > 100
    store.close()


def test_a_cancelled_task_leaves_no_answer_to_another(redis: RedisServer) -> None:
    """Cancelled at any step, its connection is not used for another command."""
    redis.ask("FLUSHALL")
    store = RedisStore(redis.url, timeout=5, max_connections=2)
    one, other = begin(store, put("name", "one")), begin(store, put("name", "other"))

    async def work() -> None:
        for steps in range(30):
            task = asyncio.ensure_future(store.aopen(one))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            for cookie_value, name in ((other, "other"), (one, "one")):
                found = await store.aopen(cookie_value)
                assert found is not None
                assert found.data == {"name": name}

    in_loop(work())
    store.close()


# Event loops.


def use_loops(store: RedisStore) -> None:
    """Use event loops one after the other; no connection of theirs stays open."""
    cookie_value = begin(store)
    store.close()
    before = len(list(Path("/proc/self/fd").iterdir()))

    async def work(number: int) -> None:
        found = await store.aopen(cookie_value)
        assert found is not None
        await store.acommit(changed(SessionState.opened(found), put("n", number)))
        assert await store.atouch(cookie_value)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(3):
            in_loop(work(number))
        gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert data(store, cookie_value) == {"a": 1, "n": 2}
    store.close()


def test_event_loops_one_after_the_other_leave_nothing_open(redis: RedisServer) -> None:
    """Each closes its connections when it ends, and no warning is given."""
    use_loops(RedisStore(redis.url))


def test_event_loops_leave_nothing_open_to_a_cluster(cluster: RedisCluster) -> None:
    """Nor to any of its servers."""
    use_loops(RedisStore(cluster.urls[0].replace("redis://", "redis+cluster://")))


# Forks.


def several_children(directory: Path) -> None:
    """Fork a process with a used store, also while threads of the parent use it."""
    store = RedisStore((directory / "url").read_text(), max_connections=3, timeout=5)
    shared = begin(store, put("n", 0))
    rounds = 20

    def work() -> None:
        own = begin(store, put("pid", os.getpid()))
        for _ in range(rounds):
            assert data(store, own) == {"pid": os.getpid()}
            Request(store, shared).commit(increment("n"))

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(work) for _ in range(3)]
        children = [forks.fork(work) for _ in range(4)]
        for future in futures:
            future.result()
    work()
    forks.reap(children)
    assert data(store, shared) == {"n": rounds * 8}


def test_children_of_a_process_that_uses_the_store_read_their_own_answers(
    redis: RedisServer, tmp_path: Path
) -> None:
    """Several write at once, beside threads of their parent; nothing is lost."""
    redis.ask("FLUSHALL")
    (tmp_path / "url").write_text(redis.url)
    forks.run(several_children, tmp_path)


# Failover.


def test_a_master_that_becomes_a_replica_is_an_outage(redis: RedisServer) -> None:
    """Its writes fail by name; when it is a master again the store goes on."""
    store = RedisStore(redis.url, timeout=TIMEOUT)
    cookie_value = begin(store)
    state = opened(store, cookie_value)
    redis.ask("REPLICAOF", "127.0.0.1", 1)
    try:
        with pytest.raises(StoreUnavailable, match="it is a replica"):
            store.commit(changed(state, put("b", 2)))
        with pytest.raises(StoreUnavailable, match="it is a replica"):
            in_loop(store.acommit(changed(state, put("b", 2))))
    finally:
        redis.ask("REPLICAOF", "NO", "ONE")
    assert begin(store)
    store.close()


def test_the_store_follows_the_sentinels_to_the_new_master(tmp_path: Path) -> None:
    """After the master was killed, commits are acknowledged again, and are on the new one."""
    with services.redis_sentinel(tmp_path) as group:
        url = f"redis+sentinel://{','.join(f'{h}:{p}' for h, p in group.addresses)}/{group.service}"
        store = RedisStore(url, timeout=TIMEOUT)
        use_loops(store)
        group.master.ask("FLUSHALL")
        cookie_value = begin(store)
        wait_for_replica(group.master)
        with Load(store, threads=4) as load:
            group.master.kill()
            group.sentinels[0].kill()
            load.wait(3)
        load.check()
        assert load.errors
        assert data(store, cookie_value) == {"a": 1}
        new = group.replica.ask("KEYS", "*")
        assert len(new) == 5

        async def in_a_loop() -> None:
            found = await store.aopen(cookie_value)
            assert found is not None
            await store.acommit(changed(SessionState.opened(found), put("b", 2)))

        in_loop(in_a_loop())
        assert data(store, cookie_value) == {"a": 1, "b": 2}
        store.close()


def wait_for_replica(master: RedisServer) -> None:
    """Wait until a replica has all."""
    assert master.ask("WAIT", 1, 5000) == 1


@pytest.fixture(scope="module")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """A cluster of three, with a replica of each."""
    with services.redis_cluster(tmp_path_factory.mktemp("replicated"), replicas=1) as cluster:
        yield cluster


# redis-py leaves the connections of an event loop to a node that has gone to Python's collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_store_follows_a_cluster_to_its_new_master(replicated: RedisCluster) -> None:
    """After a master was killed, its keys are on its replica; the gap is told, in loops too."""
    url = replicated.urls[0].replace("redis://", "redis+cluster://")
    store = RedisStore(url, timeout=TIMEOUT)
    cookie_values = [begin(store, put("n", number)) for number in range(20)]
    for node in replicated.nodes[:3]:
        wait_for_replica(node)
    done = threading.Event()
    errors: list[Exception] = []
    seen: list[int] = []

    async def loop() -> None:
        while not done.is_set():
            try:
                for cookie_value in cookie_values:
                    assert await store.aopen(cookie_value)
            except StoreUnavailable as error:
                errors.append(error)
                await asyncio.sleep(0.05)
            else:
                seen.append(len(errors))

    with ThreadPoolExecutor(1) as pool, Load(store, threads=4) as load:
        future = pool.submit(in_loop, loop())
        try:
            replicated.nodes[0].kill()
            deadline = time.monotonic() + PATIENCE
            while not (seen and seen[-1]):
                assert time.monotonic() < deadline, errors[-1]
                time.sleep(0.05)
            load.wait(3)
        finally:
            done.set()
        future.result()
    load.check()
    assert errors
    assert [data(store, one)["n"] for one in cookie_values] == list(range(20))
    store.close()


def test_a_session_is_found_while_its_slot_moves(cluster: RedisCluster) -> None:
    """A node that has given it away says where it is now."""
    for node in cluster.nodes:
        node.ask("FLUSHALL")
    store = RedisStore(cluster.urls[0].replace("redis://", "redis+cluster://"), timeout=TIMEOUT)
    cookie_value = begin(store)
    source = next(node for node in cluster.nodes if node.ask("KEYS", "*"))
    target = next(node for node in cluster.nodes if node is not source)
    (key,) = source.ask("KEYS", "*")
    slot = source.ask("CLUSTER", "KEYSLOT", key)
    names = [node.ask("CLUSTER", "MYID") for node in (source, target)]
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])
    source.ask("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
    Request(store, cookie_value).commit(put("moving", 1))
    assert data(store, cookie_value) == {"a": 1, "moving": 1}
    for node in (target, source):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", names[1])
    Request(store, cookie_value).commit(put("moved", 1))
    assert data(store, cookie_value) == {"a": 1, "moving": 1, "moved": 1}
    for other in cluster.nodes:
        if other not in (source, target):
            other.ask("CLUSTER", "SETSLOT", slot, "NODE", names[1])
    store.close()
