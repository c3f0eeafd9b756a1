"""The lag of an event loop beside a process that holds the write lock of the disk store."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Final

from glimr_session import DiskStore, StoredSession
from glimr_session.stores.base import CommitResult

from .internals import Changes
from .measure import in_turn, time_arms
from .results import OURS, Place, Result, Target
from .rivals.asgi import BATCH, AsgiClient, Run, ours
from .sites import begin

__all__ = ["measure", "worst_lag"]

_IN_LINE: Final = "waiting in line"
_THREADS: Final = "in threads"

_HELD: Final = 0.05
"""Seconds that the lock is held, and then is not."""
_TURN: Final = 0.3
"""Seconds: short, for the longer it is, the more of what else the machine does is in its worst."""
_BROWSERS: Final = 8
_PAUSE: Final = 0.005  # seconds between two requests of a browser
_TICK: Final = 0.001
_PATIENCE: Final = 60.0  # seconds for the process to start


class _InLine(DiskStore):
    """Commits as a thread does: the event loop waits with it for another writer."""

    async def acommit(self, changes: Changes) -> CommitResult:
        return self.commit(changes)


class _InThreads(DiskStore):
    """Reads and commits in threads, as stores do that know no better."""

    @property
    def opens_at_once(self) -> bool:
        return False

    async def aopen(self, cookie_value: str) -> StoredSession | None:
        return await asyncio.to_thread(self.open, cookie_value)

    async def acommit(self, changes: Changes) -> CommitResult:
        return await asyncio.to_thread(self.commit, changes)


def measure(on_loop: Run, place: Place) -> Iterator[Result]:
    """Yield what a request that reads and writes takes alone, and the worst lag beside the lock."""
    kinds = {OURS: DiskStore, _IN_LINE: _InLine, _THREADS: _InThreads}
    directories = {name: place.directory / kind.__name__ for name, kind in kinds.items()}
    clients = {
        name: AsgiClient(ours(kind(directories[name])), on_loop) for name, kind in kinds.items()
    }
    cookies = {name: begin(client, visitors=_BROWSERS) for name, client in clients.items()}
    arms = {name: client.browse("/visit", cookies[name]) for name, client in clients.items()}
    taken = time_arms(arms, 0.1 if place.quick else 5)
    yield Result(
        case="event loop, disk: a request that reads and writes, alone",
        unit="us",
        rounds={name: [figure / BATCH for figure in figures] for name, figures in taken.items()},
        targets=[Target(against=_THREADS, limit=0.6)],
    )
    rounds, seconds = (1, 0.1) if place.quick else (24, _TURN)
    with ExitStack() as stack:
        turns = {}
        for name, client in clients.items():
            holding = stack.enter_context(_lock_holder(directories[name]))
            turns[name] = partial(_turn, client, cookies[name], on_loop, holding, seconds)
        yield Result(
            case="event loop, disk: worst lag while the lock is held half of the time",
            unit="ms",
            rounds=in_turn(turns, rounds=rounds),
            targets=[Target(against=_IN_LINE, limit=0.5)],
        )


def _turn(
    client: AsgiClient, cookies: Sequence[str], on_loop: Run, holding: Event, seconds: float
) -> float:
    """Return the worst lag in milliseconds."""
    holding.set()
    lag: float = on_loop(worst_lag(client, cookies, seconds))
    holding.clear()
    time.sleep(2 * _HELD)  # until it has let go
    return lag


async def worst_lag(client: AsgiClient, cookies: Sequence[str], seconds: float) -> float:
    """Return the most milliseconds that a task was woken too late, while browsers send requests.

    Args:
        client: sends them.
        cookies: one for each browser.
        seconds: how long.

    Raises:
        RuntimeError: a request failed.
    """
    end = time.perf_counter() + seconds

    async def browse(cookie: str) -> None:
        while time.perf_counter() < end:
            answer = await client.get("/visit", cookie)
            if answer.status != "200 OK":
                raise RuntimeError(f"a request was answered with {answer}")
            await asyncio.sleep(_PAUSE)

    async def tick() -> float:
        worst = 0.0
        while (start := time.perf_counter()) < end:
            await asyncio.sleep(_TICK)
            worst = max(worst, time.perf_counter() - start - _TICK)
        return worst * 1000

    browsing = asyncio.gather(*map(browse, cookies))
    worst = await tick()
    await browsing
    return worst


@contextmanager
def _lock_holder(directory: Path) -> Iterator[Event]:
    """Start a process that holds a store's write lock half of the time, while an event is set."""
    context = multiprocessing.get_context("spawn")
    holding, ready = context.Event(), context.Event()
    process = context.Process(
        target=_hold, args=(str(directory / "cache.db"), holding, ready), daemon=True
    )
    process.start()
    try:
        if not ready.wait(_PATIENCE):
            raise RuntimeError("the process that is to hold the lock has not started")
        yield holding
    finally:
        process.terminate()
        process.join(_PATIENCE)


def _hold(database: str, holding: Event, ready: Event) -> None:
    connection = sqlite3.connect(database, isolation_level=None, timeout=_PATIENCE)
    ready.set()
    while holding.wait():
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(_HELD)
        connection.execute("ROLLBACK")
        time.sleep(_HELD)
