"""A commit while others write: what a process waits when eight more loop on the store.

Beside each store run eight processes that read and write sessions of their own without
a pause. This process commits to its own at a modest pace, and what counts is the 99th
percentile of the time that took. The yardstick is the same read and write in a bare
``diskcache.Cache.transact()`` with the settings of the store, under the same load.

The two sides take turns of 0.7 s, and the writers of one stand still during the turn
of the other. Each turn gives one percentile. The slower side commits less often in it, so
that its rare long waits are found less surely: what is told of it is rather too good.

What this does not show: what the writers themselves achieve, which short pauses between
attempts make less, and writers that are threads of one process. Where there are fewer
processors than writers, a good part of the wait is for one that holds the lock and has no
processor, so the figures grow with whatever else the machine does.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, TypeAlias

import diskcache

from glimr_session import DiskStore, StoredSession, generate_id
from glimr_session.ids import storage_key
from glimr_session.payload import decode_stored, encode_stored
from glimr_session.state import Changes

from .case import Bound, Case, Result, ratio, require_equal
from .measure import spread
from .sample import SAMPLE

__all__ = ["cases"]

_WRITERS: Final = 8
_TURN: Final = 0.7  # seconds
_PAUSE: Final = 0.002  # seconds between two commits
_ROUNDS: Final = 12  # of a case with short batches, in the time that one turn of each takes

Visit: TypeAlias = Callable[[], int]
"""Read a session, write it with one more visit, and give the number there was before."""

Side: TypeAlias = Callable[[Path], Visit]
"""Open the store in a directory and begin a session there."""


def cases(directory: Path) -> Iterator[Case]:
    """Yield the commit of a process that is not one of the writers."""
    yield _Contended(
        name="disk store: p99 of 8+1 writers",
        ours=(_ours, directory / "contended"),
        yardstick_name="bare transaction",
        yardstick=(_bare, directory / "contended-bare"),
        bound=Bound(0.25, "times"),
    )


def _ours(directory: Path) -> Visit:
    store = DiskStore(directory)
    session_id = generate_id()
    store.save(session_id, dict(SAMPLE), {})

    def visit() -> int:
        base = store.open(session_id)
        assert base is not None
        visits: int = base.data["visits"]
        kept = store.commit(Changes(base, session_id, edits={"visits": visits + 1}))
        assert kept == session_id
        return visits

    return visit


def _bare(directory: Path) -> Visit:
    cache = diskcache.Cache(str(directory), timeout=5, eviction_policy="none", cull_limit=0)
    key = storage_key(generate_id())
    first = encode_stored(StoredSession(data=SAMPLE, revision=1))
    cache.set(key, first, retry=True)

    def visit() -> int:
        with cache.transact(retry=True):
            value = cache.get(key)
            assert isinstance(value, bytes)
            stored = decode_stored(value)
            assert stored is not None
            visits: int = stored.data["visits"]
            stored.data["visits"] = visits + 1
            cache.set(key, encode_stored(stored))
        return visits

    return visit


class _Writers:
    """Processes that write while they are let, and stand still otherwise."""

    def __init__(self, pipes: list[Connection]) -> None:
        self._pipes = pipes

    @classmethod
    @contextmanager
    def on(cls, side: Side, directory: Path) -> Iterator[_Writers]:
        """Start them on a store; they end with the block, or when this process does."""
        spawn = multiprocessing.get_context("spawn")
        with ExitStack() as ending:
            pipes = []
            for _ in range(_WRITERS):
                pipe, theirs = spawn.Pipe()
                process = spawn.Process(target=_write, args=(side, directory, theirs), daemon=True)
                process.start()
                ending.callback(process.join)
                ending.callback(process.kill)
                ending.callback(pipe.close)
                theirs.close()
                pipes.append(pipe)
            for pipe in pipes:
                pipe.recv()
            yield cls(pipes)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let them write, all of them, for the length of the block."""
        self._tell_all()
        yield
        self._tell_all()

    def _tell_all(self) -> None:
        for pipe in self._pipes:
            pipe.send(None)
        for pipe in self._pipes:
            pipe.recv()


def _write(side: Side, directory: Path, pipe: Connection) -> None:
    """Be a writer: each message is answered, the first lets it write, the next stops it."""
    visit = side(directory)
    try:
        pipe.send(None)
        while True:
            pipe.recv()
            visit()
            pipe.send(None)
            while not pipe.poll():
                visit()
            pipe.recv()
            pipe.send(None)
    except (EOFError, OSError):
        return  # the benchmark has ended


@dataclass(frozen=True, kw_only=True)
class _Contended:
    """A case of the 99th percentile of a visit, in milliseconds, while others write."""

    name: str
    ours: tuple[Side, Path]
    yardstick_name: str
    yardstick: tuple[Side, Path]
    bound: Bound

    def run(self, rounds: int) -> Result:
        """Time both sides, turn by turn."""
        mine, theirs = (side(directory) for side, directory in (self.ours, self.yardstick))
        require_equal(
            "three visits",
            expected=[100_000, 100_001, 100_002],
            ours=[mine() for _ in range(3)],
            bare=[theirs() for _ in range(3)],
        )
        ours, yardstick = [], []
        with _Writers.on(*self.ours) as my_writers, _Writers.on(*self.yardstick) as their_writers:
            for _ in range(max(3, rounds // _ROUNDS)):
                ours.append(_turn(mine, my_writers))
                yardstick.append(_turn(theirs, their_writers))
        compared = [ratio(*both) for both in zip(ours, yardstick, strict=True)]
        return Result(spread(ours), spread(yardstick), "ms", spread(compared))


def _turn(visit: Visit, writers: _Writers) -> float:
    """Give the 99th percentile of what a visit took, in milliseconds."""
    taken: list[float] = []
    with writers.writing():
        end = time.perf_counter() + _TURN
        while len(taken) < 2 or time.perf_counter() < end:
            time.sleep(_PAUSE)
            start = time.perf_counter_ns()
            visit()
            taken.append((time.perf_counter_ns() - start) / 1e6)
    return statistics.quantiles(taken, n=100, method="inclusive")[-1]
