"""Many threads that increment one counter, in one session, without a pause."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import Any, Final

import psycopg
import redis

from glimr_session import StoredSession, generate_id
from glimr_session.stores._server import ServerStore

from .internals import begun, count_conflicts, incremented
from .measure import in_turn, p99
from .results import Result, Target
from .worker import SAMPLE

THREADS: Final = 16

_KEY: Final = "benchmarks:counter"
_TABLE: Final = "benchmarks_counter"


class Counter(ABC):
    """A counter on a server.

    Attributes:
        conflicts: one item for each attempt that another thread was faster than.
    """

    def __init__(self) -> None:
        self.conflicts: list[object] = []

    @abstractmethod
    def begin(self) -> None:
        """Begin at 0."""

    @abstractmethod
    def increment(self) -> None:
        """Add one, from any thread."""

    @abstractmethod
    def value(self) -> int:
        """Return the sum."""


class InSession(Counter):
    """A key of a session in one of our stores.

    Attributes:
        commits: the milliseconds of each commit, without the open before it.
    """

    def __init__(self, store: ServerStore) -> None:
        super().__init__()
        self.commits: list[float] = []
        self._store = store
        count_conflicts(store, self.conflicts)

    def begin(self) -> None:
        new = begun(generate_id(), {**SAMPLE, "visits": 0})
        self._cookie_value = self._store.commit(new).cookie_value
        self.commits.clear()

    def increment(self) -> None:
        changes = incremented(self._opened(), "visits")
        start = perf_counter()
        result = self._store.commit(changes)
        self.commits.append((perf_counter() - start) * 1000)
        if result.outcome != "stored":
            raise RuntimeError(f"the session is not there: {result}")

    def value(self) -> int:
        found: Any = self._opened().data["visits"]
        return int(found)

    def _opened(self) -> StoredSession:
        stored = self._store.open(self._cookie_value)
        if stored is None:
            raise RuntimeError("the session is not there")
        return stored


class Watched(Counter):
    """A key of Redis: WATCH, GET, and a transaction, until nobody was faster."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._client: Any = redis.Redis.from_url(url)

    def begin(self) -> None:
        self._client.set(_KEY, 0)

    def increment(self) -> None:
        with self._client.pipeline() as pipeline:
            while True:
                try:
                    pipeline.watch(_KEY)
                    number = int(pipeline.get(_KEY))
                    pipeline.multi()
                    pipeline.set(_KEY, number + 1)
                    pipeline.execute()
                except redis.WatchError:
                    self.conflicts.append(None)
                else:
                    return

    def value(self) -> int:
        return int(self._client.get(_KEY))


class Locked(Counter):
    """A row of PostgreSQL: SELECT ... FOR UPDATE and UPDATE in a transaction."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._own = threading.local()
        self._connections: list[psycopg.Connection[Any]] = []
        self._connection().execute(f"CREATE TABLE {_TABLE} (value bigint)")

    def begin(self) -> None:
        self._connection().execute(f"DELETE FROM {_TABLE}")
        self._connection().execute(f"INSERT INTO {_TABLE} VALUES (0)")

    def increment(self) -> None:
        connection = self._connection()
        with connection.transaction():
            row = connection.execute(f"SELECT value FROM {_TABLE} FOR UPDATE").fetchone()
            if row is None:
                raise RuntimeError("the row is not there")
            connection.execute(f"UPDATE {_TABLE} SET value = %s", (row[0] + 1,))

    def value(self) -> int:
        row = self._connection().execute(f"SELECT value FROM {_TABLE}").fetchone()
        return -1 if row is None else int(row[0])

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in self._connections:
            connection.close()

    def _connection(self) -> psycopg.Connection[Any]:
        """Return the connection of this thread."""
        found: psycopg.Connection[Any] | None = getattr(self._own, "connection", None)
        if found is None:
            found = self._own.connection = psycopg.connect(self._url, autocommit=True)
            self._connections.append(found)
        return found


class Turn:
    """Increments in all threads for a while, and nothing may be lost.

    Attributes:
        attempts: per increment, in each turn.
        commits: the 99th percentile of the milliseconds of a commit, in each turn of ours.
    """

    def __init__(self, name: str, counter: Counter, pool: ThreadPoolExecutor) -> None:
        self._name = name
        self._counter = counter
        self._pool = pool
        self.attempts: list[float] = []
        self.commits: list[float] = []

    def take(self, seconds: float, threads: int = THREADS) -> float:
        """Return the 99th percentile of the milliseconds of an increment.

        Raises:
            RuntimeError: increments were lost.
        """
        counter, barrier = self._counter, threading.Barrier(threads)
        counter.begin()
        counter.conflicts.clear()
        run = partial(_increment, counter, barrier, seconds)
        runs = [self._pool.submit(run) for _ in range(threads)]
        taken = [figure for done in runs for figure in done.result()]
        if (value := counter.value()) != len(taken):
            raise RuntimeError(f"{self._name}: {len(taken) - value} of {len(taken)} were lost")
        self.attempts.append(1 + len(counter.conflicts) / len(taken))
        if isinstance(counter, InSession):
            self.commits.append(p99(counter.commits))
        return p99(taken)


def _increment(counter: Counter, barrier: threading.Barrier, seconds: float) -> list[float]:
    """Return the milliseconds of each increment."""
    counter.value()  # has this thread open its connection
    barrier.wait()
    taken: list[float] = []
    end = perf_counter() + seconds
    while not taken or perf_counter() < end:
        start = perf_counter()
        counter.increment()
        taken.append((perf_counter() - start) * 1000)
    return taken


def contend(
    server: str, counters: Mapping[str, Counter], limit: float, *, quick: bool
) -> Iterator[Result]:
    """Yield the 99th percentiles, and the attempts of a commit.

    Args:
        server: its name.
        counters: ours first.
        limit: of our commits, in milliseconds.
        quick: for a moment only.
    """
    rounds, seconds = (1, 0.2) if quick else (9, 1.0)
    with ThreadPoolExecutor(THREADS) as pool:
        turns = {name: Turn(name, counter, pool) for name, counter in counters.items()}
        taken = in_turn(
            {name: partial(turn.take, seconds) for name, turn in turns.items()}, rounds=rounds
        )
    case = f"{server}: {THREADS} threads on one session"
    ours, *others = counters
    yield Result(
        case=case,
        unit="ms, p99",
        rounds={
            f"{ours}: commit": turns[ours].commits[1:],
            f"{ours}: open and commit": taken[ours],
            **{name: taken[name] for name in others},
        },
        targets=[Target(limit=limit)],
    )
    yield Result(
        case=f"{case}, one more than the conflicts",
        unit="attempts",
        rounds={name: turn.attempts[1:] for name, turn in turns.items()},
        targets=[Target(limit=2)],
    )
