"""Expired sessions are collected while requests run: what the requests notice of it.

There are a million sessions, and 200 thousand of them have expired. Four threads, as many
as a server has, do whole requests in process, each with a short pause before the next.
Turns of them with a collector at work and without one alternate, and what is compared is
the 99th percentile of the requests of a turn. The collector is a thread of the same
process, as the janitor is, or another process, as with a cron job. After each turn it is
stopped, so that in the next one it is at the same work again; in the notes is how long
it would take for all of them at its pace.

What these cases do not show: how long a thread waits for the interpreter before its
request begins, and what goes on when all processors are busy. Where a collector holds
requests up, a turn has fewer of them, so that its percentile is rather too good.
"""

from __future__ import annotations

import multiprocessing
import shutil
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from glimr_session import DiskStore

from ..case import Case, Place, Result, Target
from ..measure import Arm
from ..ours import glimr_site
from ..population import Part, cookies_of, copy, id_of, populate, require_room
from ..site import VISITORS, visiting

__all__ = ["PLACES", "SECONDS", "cases"]

PLACES: Final = ("tmpfs", "disk")
SECONDS: Final = 46

_SESSIONS: Final = 1_000_000
_SESSIONS_QUICK: Final = 50_000
_EXPIRED: Final = 0.2  # of them
_HOUR: Final = 3600.0

_THREADS: Final = 4
_PAUSE: Final = 0.002  # seconds before each request
_TURN: Final = 0.8  # seconds
_TURN_QUICK: Final = 0.3
_SETTLING: Final = 0.1  # seconds from the begin of collecting to that of a turn
_LEAST: Final = 4  # rounds
_ROUNDS_QUICK: Final = 2
_PATIENCE: Final = 20.0  # seconds for a collector to begin, and to stop


def cases(place: Place) -> Iterator[Case]:
    """Yield requests that write, and some that read, beside a thread; then beside a process."""
    sessions = _SESSIONS_QUICK if place.quick else _SESSIONS
    require_room(place.directory, 2 * sessions)
    expired = round(sessions * _EXPIRED)
    live = range(sessions - expired)
    source = place.directory / "source"
    populate(
        source,
        Part(live, oldest=60.0),
        Part(range(len(live), sessions), oldest=48 * _HOUR, newest=12 * _HOUR),
    )
    for what, page, collector, seconds in (
        ("read and write, a thread collects", "/visit", "thread", 9.0),
        ("read and write, a process collects", "/visit", "process", 8.0),
        ("read, a thread collects", "/read", "thread", 6.0),
    ):
        if place.quick and page == "/read":
            continue  # where nobody writes, so few are collected before a turn is over
        with ExitStack() as ending:
            directory = ending.enter_context(_copied(source, place.directory / "copy"))
            stop = threading.Event()
            store = ending.enter_context(closing(_Stoppable(directory, stop.is_set)))
            requests = ending.enter_context(closing(_Requests(store, page, live)))
            yield _Disturbed(
                name=f"requests that {what}",
                requests=requests,
                collector=(
                    _Thread(store, stop)
                    if collector == "thread"
                    else ending.enter_context(_Process.on(directory))
                ),
                expired=expired,
                targets=[
                    Target(
                        f"the 99th percentile of requests that {what}: at most 1.5 times as "
                        "without collecting",
                        yardstick="not collecting",
                        limit=1.5,
                    )
                ],
                seconds=seconds,
            )


@contextmanager
def _copied(source: Path, target: Path) -> Iterator[Path]:
    try:
        yield copy(source, target)
    finally:
        shutil.rmtree(target)


class _Stoppable(DiskStore):
    """A store that finds nothing more to collect when it is told to stop."""

    def __init__(self, directory: Path, stopped: Callable[[], bool]) -> None:
        super().__init__(directory)
        self._stopped = stopped
        self.begun = threading.Event()

    def _collectable(self) -> tuple[int, int, int] | None:
        self.begun.set()
        return None if self._stopped() else super()._collectable()


class _Collected(NamedTuple):
    """How many a collector has collected, and in how many seconds."""

    number: int
    seconds: float


class _Collector(Protocol):
    """Collects expired sessions from ``begin`` to ``end``, or until there are none."""

    def begin(self) -> None: ...

    def end(self) -> _Collected: ...


class _Thread:
    """Collects in a thread of this process, on the store of the requests, as the janitor."""

    def __init__(self, store: _Stoppable, stop: threading.Event) -> None:
        self._store = store
        self._stop = stop

    def begin(self) -> None:
        self._stop.clear()
        self._store.begun.clear()
        self._result: list[_Collected] = []
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()
        if not self._store.begun.wait(_PATIENCE):
            raise RuntimeError("the collector does not begin")

    def _collect(self) -> None:
        self._result.append(_collect(self._store))

    def end(self) -> _Collected:
        self._stop.set()
        self._thread.join(_PATIENCE)
        if not self._result:
            raise RuntimeError("the collector failed, or does not stop")
        return self._result[0]


class _Process:
    """Collects in a process of its own, as a cron job does."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    @classmethod
    @contextmanager
    def on(cls, directory: Path) -> Iterator[_Process]:
        """Start it; it ends with the block."""
        spawn = multiprocessing.get_context("spawn")
        pipe, theirs = spawn.Pipe()
        process = spawn.Process(target=_collect_when_told, args=(directory, theirs), daemon=True)
        process.start()
        theirs.close()
        try:
            yield cls(pipe)
        finally:
            pipe.close()
            process.kill()
            process.join()

    def begin(self) -> None:
        self._pipe.send(None)
        self._receive()

    def end(self) -> _Collected:
        self._pipe.send(None)
        collected = self._receive()
        assert isinstance(collected, _Collected)
        return collected

    def _receive(self) -> object:
        if not self._pipe.poll(_PATIENCE):
            raise RuntimeError("the collector does not answer")
        answer: object = self._pipe.recv()
        return answer


def _collect_when_told(directory: Path, pipe: Connection) -> None:
    """Be the process: the first message begins, the next one stops."""
    store = _Stoppable(directory, pipe.poll)
    try:
        while True:
            pipe.recv()
            pipe.send(None)
            collected = _collect(store)
            pipe.recv()
            pipe.send(collected)
    except EOFError:
        return  # the benchmark has ended


def _collect(store: DiskStore) -> _Collected:
    start = time.perf_counter()
    number = store.gc()
    return _Collected(number, time.perf_counter() - start)


class _Requests:
    """Threads that ask for a page, each with visitors of its own."""

    def __init__(self, store: DiskStore, page: str, live: Sequence[int]) -> None:
        site = glimr_site(store)
        visitors = live[:: len(live) // VISITORS]
        cookies = cookies_of(store, [id_of(number) for number in visitors])
        self._arms = [visiting(site, page, cookies[first::_THREADS]) for first in range(_THREADS)]
        self._pool = ThreadPoolExecutor(_THREADS)

    def turn(self, seconds: float) -> list[float]:
        """Give the microseconds that each request of a turn took."""
        end = time.perf_counter() + seconds
        turns = [self._pool.submit(_ask, arm, end) for arm in self._arms]
        return [taken for turn in turns for taken in turn.result()]

    def close(self) -> None:
        self._pool.shutdown()


def _ask(arm: Arm, end: float) -> list[float]:
    taken = []
    while time.perf_counter() < end:
        time.sleep(_PAUSE)
        start = time.perf_counter_ns()
        arm()
        taken.append((time.perf_counter_ns() - start) / 1000)
    return taken


@dataclass(frozen=True, kw_only=True)
class _Disturbed:
    """A case of the time of requests, in turns with a collector at work and without."""

    name: str
    requests: _Requests
    collector: _Collector
    expired: int
    targets: Sequence[Target]
    seconds: float
    group: str = "collecting"

    def run(self, *, quick: bool) -> Result:
        """Measure turn by turn, until the time is over or nothing is left to collect."""
        turn = _TURN_QUICK if quick else _TURN
        self.requests.turn(turn)
        rounds: list[tuple[list[float], list[float]]] = []
        work: list[_Collected] = []
        wanted = _ROUNDS_QUICK if quick else max(_LEAST, round(self.seconds / (2 * turn)))
        for number in range(wanted):
            before = self.requests.turn(turn) if number % 2 else None
            self.collector.begin()
            try:
                time.sleep(_SETTLING)
                disturbed = self.requests.turn(turn)
            finally:
                collected = self.collector.end()
            if collected.seconds < _SETTLING + turn:
                break  # it had nothing left to do before the turn was over
            rounds.append((disturbed, before or self.requests.turn(turn)))
            work.append(collected)
        if not rounds:
            raise RuntimeError("all that had expired was collected before a turn was over")
        return Result.of(
            self,
            {
                "collecting": _figures([disturbed for disturbed, _ in rounds], turn),
                "not collecting": _figures([calm for _, calm in rounds], turn),
            },
            notes=self._notes(work),
        )

    def _notes(self, work: Sequence[_Collected]) -> str:
        number = sum(collected.number for collected in work)
        if not number:
            raise RuntimeError("the collector has collected nothing")
        pace = number / sum(collected.seconds for collected in work)
        return (
            f"{number:,} were collected, {pace:,.0f} in a second: all {self.expired:,} would "
            f"take {self.expired / pace:,.0f} s."
        )


def _figures(turns: Sequence[Sequence[float]], seconds: float) -> dict[str, list[float]]:
    hundredths = [statistics.quantiles(turn, n=100, method="inclusive") for turn in turns]
    return {
        "p99": [each[98] for each in hundredths],
        "median": [each[49] for each in hundredths],
        "rate": [len(turn) / seconds for turn in turns],
    }
