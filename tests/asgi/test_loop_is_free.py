"""The event loop goes on while a store works: what is done in line, and what in a thread."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from glimr_session import CookieStore, DiskStore, SessionStore
from tests.conftest import Clock
from tests.support.actors import stop_cleanup_worker
from tests.support.asgi_client import Browser
from tests.support.executors import Threads, turns
from tests.support.wsgi_apps import Recorded

from .apps import (
    LIFETIME,
    Change,
    answering,
    browser_with,
    data_of,
    put,
    run,
    streaming,
    wrap,
)

REQUESTS: dict[str, Change] = {
    "read": dict,
    "put": put("b", 2),
    "login": lambda session: session.regenerate(),
    "logout": lambda session: session.invalidate(),
}


@pytest.fixture
def locked(disk: DiskStore) -> Iterator[sqlite3.Connection]:
    """Another connection to the store; ``BEGIN IMMEDIATE`` takes the write lock."""
    with closing(sqlite3.connect(disk.directory / "cache.db", isolation_level=None)) as other:
        yield other


@pytest.mark.parametrize("kind", ["cookie", "disk"])
def test_what_takes_microseconds_is_done_in_line(kind: str, disk: DiskStore) -> None:
    """Reading, writing, a login and a logout, and what changes while the body streams."""
    store: SessionStore = disk if kind == "disk" else CookieStore(lifetime=LIFETIME)

    async def work() -> None:
        browser = await browser_with(store, a=1)
        threads = Threads()
        for change in REQUESTS.values():
            assert (await browser.get(wrap(answering(change), store))).status == 200
        await browser.get(wrap(streaming(put("a", 1), put("late", 1)), store))
        assert threads.calls == []

    run(work())


def test_a_renewal_is_done_in_line(disk: DiskStore, clock: Clock) -> None:
    """A session that is only read is touched now and then."""

    async def work() -> None:
        browser = await browser_with(disk, a=1)
        threads = Threads()
        clock.advance(LIFETIME / 2)
        assert (await browser.get(wrap(answering(dict), disk))).set_cookie is not None
        assert threads.calls == []
        clock.advance(LIFETIME * 0.9)
        assert await data_of(browser, disk) == {"a": 1}

    run(work())


def test_a_disk_store_with_nothing_open_is_opened_in_a_thread(disk: DiskStore) -> None:
    """That takes milliseconds; from then on it is read and written in line."""

    async def work() -> None:
        browser = await browser_with(disk, a=1)
        disk.close()
        threads = Threads()
        await browser.get(wrap(answering(put("b", 2)), disk))
        assert threads.calls == ["open"]
        disk.close()
        await Browser().get(wrap(answering(put("b", 2)), disk))
        assert threads.calls == ["open", "commit"]

    run(work())


@pytest.mark.parametrize("change", [*REQUESTS.values()][1:], ids=[*REQUESTS][1:])
def test_while_a_commit_waits_for_a_lock_the_loop_goes_on(
    change: Change, disk: DiskStore, locked: sqlite3.Connection
) -> None:
    """Another request is served meanwhile, and then the first one, which has lost nothing."""

    async def work() -> None:
        browser, other = await browser_with(disk, a=1), await browser_with(disk, a=2)
        threads = Threads()
        locked.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(browser.get(wrap(answering(change), disk)))
        await turns()
        assert await data_of(other, disk) == {"a": 2}
        assert not waiting.done()
        locked.execute("ROLLBACK")
        assert (await waiting).status == 200
        assert threads.calls == []
        found = await data_of(browser, disk)
        assert found == {"put": {"a": 1, "b": 2}, "login": {"a": 1}, "logout": {}}[name_of(change)]

    run(work())


def name_of(change: Change) -> str:
    return next(name for name, found in REQUESTS.items() if found is change)


def test_while_a_renewal_waits_for_a_lock_the_loop_goes_on(
    disk: DiskStore, locked: sqlite3.Connection, clock: Clock
) -> None:
    """A read is answered when the session was touched."""

    async def work() -> None:
        browser = await browser_with(disk, a=1)
        clock.advance(LIFETIME / 2)
        threads = Threads()
        locked.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(browser.get(wrap(answering(dict), disk)))
        await turns()
        assert not waiting.done()
        locked.execute("ROLLBACK")
        assert (await waiting).set_cookie is not None
        assert threads.calls == []

    run(work())


def test_a_checkpoint_is_made_in_a_thread(disk: DiskStore) -> None:
    """The one commit that is due for it takes milliseconds more, and no other request waits."""

    async def work() -> None:
        browser = await browser_with(disk, a=1)
        threads = Threads()
        for number in range(6):  # a thousand pages of 4 kB
            await browser.get(wrap(answering(put("b", f"{number}" * 1_000_000)), disk))
        assert threads.calls == ["checkpoint"]

    run(work())


def test_where_each_commit_waits_for_the_disk_it_is_made_in_a_thread(tmp_path: Path) -> None:
    """``durability="power"``; what is only read is read in line all the same."""

    async def work(store: DiskStore) -> None:
        browser = await browser_with(store, a=1)
        threads = Threads()
        await browser.get(wrap(answering(dict), store))
        assert threads.calls == []
        await browser.get(wrap(answering(put("b", 2)), store))
        assert threads.calls == ["commit"]

    with closing(DiskStore(tmp_path / "power", lifetime=LIFETIME, durability="power")) as store:
        run(work(store))


def test_the_store_is_asked_in_a_thread_whether_to_collect(disk: DiskStore) -> None:
    """At the first committed request of an interval; the others have no thread."""

    async def work() -> None:
        app = wrap(answering(lambda session: session.increment("n")), disk, gc="interval")
        browser = await browser_with(disk, a=1)
        threads = Threads()
        for _ in range(3):
            await browser.get(app)
        assert threads.calls.count("maybe_collect") == 1

    run(work())
    stop_cleanup_worker()


def test_a_store_of_five_functions_works_in_threads() -> None:
    """Each call that may wait: the read before the handler, and the commit."""
    recorded = Recorded()

    async def work() -> None:
        browser = await browser_with(recorded.store, a=1)
        threads = Threads()
        await browser.get(wrap(answering(put("b", 2)), recorded.store))
        assert threads.calls == ["open", "commit"]

    run(work())


def test_while_a_store_is_read_the_loop_goes_on() -> None:
    """The store answers only after another coroutine has run."""
    recorded = Recorded()
    gate = threading.Event()
    answers: list[bool] = []

    async def work() -> None:
        browser = await browser_with(recorded.store, a=1)
        threads = Threads()
        recorded.while_loading = lambda: answers.append(gate.wait(20))
        reading = asyncio.create_task(data_of(browser, recorded.store))
        await threads.called.wait()
        gate.set()
        assert await reading == {"a": 1}

    run(work())
    assert answers == [True]
