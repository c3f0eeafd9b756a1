"""The disk store on event loops: what it does in line, and what in a thread."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from glimr_session import CommitResult, DiskStore, StoreUnavailable
from glimr_session._session.changes import Changes
from glimr_session.testing.contract import Request, begin, content, put, regenerate
from tests.support.disk import query
from tests.support.executors import Threads, turns

OPERATIONS: dict[str, Callable[[DiskStore, str], Coroutine[Any, Any, Any]]] = {
    "open": lambda store, cookie_value: store.aopen(cookie_value),
    "commit": lambda store, cookie_value: store.acommit(change(store, cookie_value)),
    "touch": lambda store, cookie_value: store.atouch(cookie_value),
    "has_moved": lambda store, cookie_value: store.ahas_moved(cookie_value),
    "destroy": lambda store, cookie_value: store.adestroy(cookie_value),
}


def change(store: DiskStore, cookie_value: str) -> Changes:
    """Return the changes of a request that puts a key."""
    request = Request(store, cookie_value)
    put("b", 2)(request.state)
    return request.state.changes


@pytest.fixture
def store(directory: Path) -> Iterator[DiskStore]:
    with closing(DiskStore(directory)) as store:
        yield store


@pytest.fixture
def other(store: DiskStore) -> Iterator[sqlite3.Connection]:
    """Another writer."""
    path = store.directory / "cache.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        yield other


def calls_in_threads(work: Callable[[Threads], Coroutine[Any, Any, Any]]) -> list[str]:
    """Return what an event loop gives to threads while it does some work."""

    async def run() -> list[str]:
        threads = Threads()
        await work(threads)
        return threads.calls

    return asyncio.run(run())


def test_it_opens_at_once_while_a_connection_is_open(store: DiskStore) -> None:
    """Not before its first use, nor after it was closed."""
    assert store.opens_at_once is False
    cookie_value = begin(store)
    assert store.opens_at_once is True
    store.close()
    assert store.opens_at_once is False
    store.open(cookie_value)
    assert store.opens_at_once is True


@pytest.mark.parametrize("name", ["open", "commit", "touch", "has_moved"])
def test_with_a_connection_it_works_in_line(name: str, store: DiskStore) -> None:
    """That takes microseconds."""
    cookie_value = begin(store)
    assert calls_in_threads(lambda _: OPERATIONS[name](store, cookie_value)) == []


@pytest.mark.parametrize("name", OPERATIONS)
def test_without_a_connection_it_works_in_a_thread(name: str, store: DiskStore) -> None:
    """Which opens one: milliseconds."""
    cookie_value = begin(store)
    changes = change(store, cookie_value)
    store.close()

    async def work(_: Threads) -> None:
        if name == "commit":
            await store.acommit(changes)
        else:
            await OPERATIONS[name](store, cookie_value)

    assert calls_in_threads(work) == [name]


@pytest.mark.parametrize("name", ["commit", "touch", "destroy"])
def test_a_writer_waits_for_another_one(
    name: str, store: DiskStore, other: sqlite3.Connection
) -> None:
    """The loop goes on, and the write is made when the lock is free; a thread destroys."""
    cookie_value = begin(store)
    results: list[Any] = []

    async def work(_: Threads) -> None:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(OPERATIONS[name](store, cookie_value))
        await turns()
        assert not waiting.done()
        other.execute("ROLLBACK")
        results.append(await waiting)

    assert calls_in_threads(work) == (["destroy"] if name == "destroy" else [])
    if name == "commit":
        assert results[0].outcome == "stored"
        assert content(store, cookie_value) == ({"a": 1, "b": 2}, {})
    elif name == "touch":
        assert results == [True]
    else:
        assert content(store, cookie_value) is None


@pytest.mark.parametrize("name", ["open", "has_moved"])
def test_a_reader_waits_for_nobody(name: str, store: DiskStore, other: sqlite3.Connection) -> None:
    """It reads in line beside a writer that holds the lock."""
    cookie_value = begin(store)
    other.execute("BEGIN IMMEDIATE")
    assert calls_in_threads(lambda _: OPERATIONS[name](store, cookie_value)) == []


def test_a_writer_that_has_waited_for_too_long_is_an_outage(directory: Path) -> None:
    """The same error as in a thread, and nothing is written."""
    with (
        closing(DiskStore(directory, timeout=0.05)) as store,
        closing(sqlite3.connect(directory / "cache.db", isolation_level=None)) as other,
    ):
        cookie_value = begin(store)
        changes = change(store, cookie_value)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match=r"0\.05 s"):
            asyncio.run(store.acommit(changes))
        with pytest.raises(StoreUnavailable, match=r"0\.05 s"):
            asyncio.run(store.atouch(cookie_value))
        other.execute("ROLLBACK")
        assert content(store, cookie_value) == ({"a": 1}, {})


@pytest.mark.parametrize("name", ["commit", "touch"])
def test_what_waits_for_the_disk_does_so_in_a_thread(name: str, directory: Path) -> None:
    """durability="power": each write is synced, and each read is in line."""
    with closing(DiskStore(directory, durability="power")) as store:
        cookie_value = begin(store)

        async def work(_: Threads) -> None:
            await store.aopen(cookie_value)
            await store.ahas_moved(cookie_value)
            await OPERATIONS[name](store, cookie_value)

        assert calls_in_threads(work) == [name]


@pytest.mark.parametrize("name", ["commit", "touch"])
def test_a_checkpoint_follows_in_a_thread(name: str, store: DiskStore) -> None:
    """After the write that makes it due: the one that comes to a thousand pages of the log."""
    cookie_value = begin(store)
    Request(store, cookie_value).answer(put("b", "x" * 4_050_000), wait=False)

    async def work(threads: Threads) -> None:
        for _ in range(100):
            if not threads.calls:
                await OPERATIONS[name](store, cookie_value)

    assert calls_in_threads(work) == ["checkpoint"]


def test_a_commit_is_made_even_if_its_checkpoint_fails(
    store: DiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is moved by a later one."""
    cookie_value = begin(store)
    changes = change(store, cookie_value)

    def fail() -> None:
        raise StoreUnavailable("no room")

    monkeypatch.setattr(store._database, "checkpoint", fail)
    monkeypatch.setattr(store._database, "_logged", 10_000)
    assert asyncio.run(store.acommit(changes)).outcome == "stored"
    assert content(store, cookie_value) == ({"a": 1, "b": 2}, {})


def test_an_id_that_has_moved_is_known_in_line(store: DiskStore) -> None:
    """ahas_moved() says what has_moved() does."""
    cookie_value = begin(store)
    moved = Request(store, cookie_value).commit(regenerate)
    assert asyncio.run(store.ahas_moved(cookie_value)) is True
    assert asyncio.run(store.ahas_moved(moved)) is False


def test_a_damaged_row_counts_as_absent(store: DiskStore, caplog: pytest.LogCaptureFixture) -> None:
    """And is told, as in threads."""
    cookie_value = begin(store)
    query(store.directory, "UPDATE Cache SET value = x'00'")
    assert asyncio.run(store.aopen(cookie_value)) is None
    assert asyncio.run(store.atouch(cookie_value)) is False
    changes = Changes(None, "x" * 64, edits={"a": 1})
    assert asyncio.run(store.acommit(changes)) == CommitResult.stored("x" * 64)
    assert "unreadable" in caplog.text
