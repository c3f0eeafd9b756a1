"""``await session.save()``: what has changed so far is committed now."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from typing import Any

import anyio
import pytest

from glimr_session import (
    CommitResult,
    CookieStore,
    DiskStore,
    SessionStore,
    SessionTooLarge,
    StoreUnavailable,
)
from glimr_session._session.changes import Changes
from glimr_session.asgi import AsgiSession
from tests.support.asgi_client import LOOPS, Browser
from tests.support.executors import Threads, turns
from tests.support.wsgi_apps import Recorded, warnings_in

from .apps import LIFETIME, answering, browser_with, data_of, run, streaming, wrap


async def count_and_save(session: AsgiSession) -> None:
    session.increment("n")
    await session.save()


@pytest.mark.parametrize("known", [True, False], ids=["known", "new"])
def test_what_is_saved_before_the_response_counts_once(known: bool, store: SessionStore) -> None:
    """The response sets the cookie all the same, and commits what has changed since."""

    async def change(session: AsgiSession) -> None:
        await count_and_save(session)
        await count_and_save(session)
        session["last"] = True

    async def work() -> None:
        browser = await browser_with(store, n=0) if known else Browser()
        await browser.get(wrap(answering(change), store))
        assert await data_of(browser, store) == {"n": 2, "last": True}

    run(work())


def test_what_is_saved_while_the_body_is_sent_is_there_for_others(
    server_store: SessionStore,
) -> None:
    """And is not committed again at the end."""
    found: list[dict[str, Any]] = []

    async def work() -> None:
        browser = await browser_with(server_store, n=0)

        async def late(session: AsgiSession) -> None:
            session["list"] = [1]
            await count_and_save(session)
            found.append(await data_of(browser.twin(), server_store))
            session["list"].append(2)

        await browser.get(wrap(streaming(dict, late), server_store))
        assert await data_of(browser, server_store) == {"n": 1, "list": [1, 2]}

    run(work())
    assert found == [{"n": 1, "list": [1]}]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("moment", ["early", "late"])
def test_tasks_that_save_at_once_commit_each_change_once(moment: str, loop: str) -> None:
    """The store is slow, so that each task comes while another one's commit is under way."""
    recorded = Recorded()
    browser = run(browser_with(recorded.store, n=0))

    async def change(session: AsgiSession) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(count_and_save, session)

    async def work() -> None:
        app = answering(change) if moment == "early" else streaming(dict, change)
        await browser.get(wrap(app, recorded.store))

    at_once: list[int] = []
    inside = threading.Semaphore(1)

    def be_alone() -> None:
        at_once.append(inside.acquire(blocking=False))
        inside.release()

    recorded.while_loading = be_alone
    LOOPS[loop](work)
    recorded.while_loading = lambda: None
    assert all(at_once)
    assert run(data_of(browser, recorded.store)) == {"n": 4}


def test_tasks_that_wait_for_a_lock_commit_each_change_once(disk: DiskStore) -> None:
    """Two tasks of one request, and another writer that holds the lock."""

    async def work() -> None:
        browser = await browser_with(disk, n=0)
        with closing(sqlite3.connect(disk.directory / "cache.db", isolation_level=None)) as other:

            async def change(session: AsgiSession) -> None:
                other.execute("BEGIN IMMEDIATE")
                tasks = [asyncio.create_task(count_and_save(session)) for _ in range(2)]
                await turns()
                other.execute("ROLLBACK")
                await asyncio.gather(*tasks)

            await browser.get(wrap(answering(change), disk))
        assert await data_of(browser, disk) == {"n": 2}

    run(work())


def test_a_save_that_is_cancelled_is_made_once(disk: DiskStore) -> None:
    """``wait_for`` gives up while the store waits; the request saves again, and is faster."""
    gate = threading.Event()
    slow = [True]

    class Slow(DiskStore):
        def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
            if slow:
                slow.pop()
                assert gate.wait(20)
            return super().commit(changes, wait=wait)

    async def work(store: DiskStore) -> None:
        browser = await browser_with(disk, n=0)
        assert await data_of(browser, store) == {"n": 0}  # which opens a connection
        threads = Threads()

        async def change(session: AsgiSession) -> None:
            saving = asyncio.create_task(count_and_save(session))
            await threads.called.wait()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(saving, 0)
            await count_and_save(session)

        await browser.get(wrap(answering(change), store))
        gate.set()
        threads.shutdown()
        assert await data_of(browser, disk) == {"n": 2}

    with closing(Slow(disk.directory, lifetime=LIFETIME, durability="power")) as store:
        run(work(store))


def test_what_json_does_not_have_is_not_saved(server_store: SessionStore) -> None:
    """Nothing is, until it is gone."""

    async def change(session: AsgiSession) -> None:
        session["fine"] = 1
        session["bad"] = object()
        with pytest.raises(TypeError, match="bad"):
            await session.save()
        del session["bad"]
        await session.save()

    async def work() -> None:
        browser = await browser_with(server_store, a=1)
        await browser.get(wrap(answering(change), server_store))
        assert await data_of(browser, server_store) == {"a": 1, "fine": 1}

    run(work())


def test_a_save_in_an_outage_is_tried_again() -> None:
    """By the next one, or by the response."""
    recorded = Recorded()

    async def change(session: AsgiSession) -> None:
        recorded.down = True
        with pytest.raises(StoreUnavailable):
            await count_and_save(session)
        recorded.down = False

    async def work() -> None:
        browser = await browser_with(recorded.store, n=0)
        await browser.get(wrap(answering(change), recorded.store))
        assert await data_of(browser, recorded.store) == {"n": 1}

    run(work())


def test_a_session_too_large_is_not_saved() -> None:
    """It can be made smaller."""
    store = CookieStore(lifetime=LIFETIME)

    async def change(session: AsgiSession) -> None:
        session["b"] = "x" * 5000
        with pytest.raises(SessionTooLarge):
            await session.save()
        session["b"] = "x"

    async def work() -> None:
        browser = await browser_with(store, a=1)
        await browser.get(wrap(answering(change), store))
        assert await data_of(browser, store) == {"a": 1, "b": "x"}

    run(work())


def test_saving_a_session_that_begins_late_warns_once(
    server_store: SessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    """It has no cookie: what is saved is lost."""

    async def late(session: AsgiSession) -> None:
        await count_and_save(session)
        await count_and_save(session)

    app = streaming(late=late, headers=[(b"vary", b"Cookie")])
    run(Browser().get(wrap(app, server_store)))
    assert ["no cookie for it" in warning for warning in warnings_in(caplog)] == [True]


def test_a_save_says_whether_the_changes_are_lost(disk: DiskStore) -> None:
    """As they are in a session that has ended in another tab, before the response and after it."""
    answers: list[bool] = []

    async def work() -> None:
        async def change(session: AsgiSession) -> None:
            session.increment("n")
            answers.append(await session.save())

        async def log_out(session: AsgiSession) -> None:
            session.get("n")  # it is open when the other tab logs out
            out = wrap(answering(lambda session: session.invalidate()), disk)
            await browser.twin().get(out)
            await change(session)

        browser = await browser_with(disk, n=0)
        await browser.get(wrap(streaming(change, change), disk))
        await browser.get(wrap(streaming(change, log_out), disk))
        browser = await browser_with(disk, n=0)
        await browser.get(wrap(answering(log_out), disk))

    run(work())
    assert answers == [True, True, True, False, False]


def test_a_response_that_fails_after_a_save_keeps_what_was_saved(
    server_store: SessionStore,
) -> None:
    """And nothing else."""

    async def change(session: AsgiSession) -> None:
        await count_and_save(session)
        session["late"] = True

    async def work() -> None:
        browser = await browser_with(server_store, n=0)
        await browser.get(wrap(answering(change, 500), server_store))
        assert await data_of(browser, server_store) == {"n": 1}

    run(work())


def test_nothing_to_save_asks_no_store() -> None:
    """Also where the session was never used."""
    recorded = Recorded()

    async def work() -> None:
        browser = await browser_with(recorded.store, n=0)
        recorded.calls.clear()
        await browser.get(wrap(answering(lambda session: session.save()), recorded.store))
        assert recorded.calls == ["load"]

    run(work())
