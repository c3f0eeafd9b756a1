"""A commit while others write: what a process waits when eight more loop on the store.

Beside each store run eight processes that read and write sessions of their own without
a pause. This process commits to its own at a modest pace, and what counts is the 99th
percentile of the time that took. Beside it is the same read and write in a bare
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
from collections.abc import Callable, Iterator, Mapping, Sequence
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

from ..case import Case, Place, Result, Target, require_equal
from ..measure import p99
from ..sample import SAMPLE

__all__ = ["PLACES", "SECONDS", "cases"]

PLACES: Final = ("tmpfs", "disk")
SECONDS: Final = 20

_WRITERS: Final = 8
_WRITERS_QUICK: Final = 2
_TURN: Final = 0.7  # seconds
_TURN_QUICK: Final = 0.3
_PAUSE: Final = 0.002  # seconds between two commits
_ROUNDS: Final = 4
_ROUNDS_QUICK: Final = 2

_BARE: Final = "diskcache: get and set in a transaction"

Visit: TypeAlias = Callable[[], int]
"""Read a session, write it with one more visit, and give the number there was before."""

Begin: TypeAlias = Callable[[Path], Visit]
"""Open the store in a directory and begin a session there."""


def cases(place: Place) -> Iterator[Case]:
    """Yield the commit of a process that is not one of the writers."""
    writers = _WRITERS_QUICK if place.quick else _WRITERS
    yield _Contended(
        name=f"a commit beside {writers} writing processes",
        writers=writers,
        sides={
            "glimr_session": (_ours, place.directory / "ours"),
            _BARE: (_bare, place.directory / "diskcache"),
        },
        targets=[
            Target(
                f"99th percentile beside {writers} writers: at most 1/4 of a bare transaction's",
                yardstick=_BARE,
                limit=0.25,
            )
        ],
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
        assert kept
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
    def on(cls, begin: Begin, directory: Path, number: int) -> Iterator[_Writers]:
        """Start them on a store; they end with the block, or when this process does."""
        spawn = multiprocessing.get_context("spawn")
        with ExitStack() as ending:
            pipes = []
            for _ in range(number):
                pipe, theirs = spawn.Pipe()
                process = spawn.Process(target=_write, args=(begin, directory, theirs), daemon=True)
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


def _write(begin: Begin, directory: Path, pipe: Connection) -> None:
    """Be a writer: each message is answered, the first lets it write, the next stops it."""
    visit = begin(directory)
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
    except (EOFError, OSError, KeyboardInterrupt):
        return  # the benchmark has ended


@dataclass(frozen=True, kw_only=True)
class _Contended:
    """A case of the 99th percentile of a visit, while others write."""

    name: str
    sides: Mapping[str, tuple[Begin, Path]]
    targets: Sequence[Target]
    writers: int
    group: str = "contention"

    def run(self, *, quick: bool) -> Result:
        """Time the sides turn by turn."""
        visits = {name: begin(directory) for name, (begin, directory) in self.sides.items()}
        require_equal(
            "three visits",
            expected=[100_000, 100_001, 100_002],
            **{name: [visit() for _ in range(3)] for name, visit in visits.items()},
        )
        figures: dict[str, dict[str, list[float]]] = {
            name: {"p99": [], "median": []} for name in visits
        }
        with ExitStack() as ending:
            writers = {
                name: ending.enter_context(_Writers.on(begin, directory, self.writers))
                for name, (begin, directory) in self.sides.items()
            }
            for _ in range(_ROUNDS_QUICK if quick else _ROUNDS):
                for name, visit in visits.items():
                    taken = _turn(visit, writers[name], _TURN_QUICK if quick else _TURN)
                    figures[name]["p99"].append(p99(taken))
                    figures[name]["median"].append(statistics.median(taken))
        return Result.of(self, figures)


def _turn(visit: Visit, writers: _Writers, seconds: float) -> list[float]:
    """Give the microseconds that each visit of a turn took."""
    taken: list[float] = []
    with writers.writing():
        end = time.perf_counter() + seconds
        while len(taken) < 2 or time.perf_counter() < end:
            time.sleep(_PAUSE)
            start = time.perf_counter_ns()
            visit()
            taken.append((time.perf_counter_ns() - start) / 1000)
    return taken
