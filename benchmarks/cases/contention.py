"""A commit while eight other processes write to the same store without a pause.

Beside it is the same read and write in a bare ``diskcache.Cache.transact()``, with the settings
of the store and under the same load. The sides take turns; the writers of one stand still
during the turn of the other. Each turn gives one 99th percentile.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Final, TypeAlias

from glimr_session import DiskStore

from ..measure import Arm, in_turn, p99, time_with_pauses
from ..results import OURS, Place, Result, Target
from ..stores import BARE_TRANSACTION, bare_rows, committing, populate

_PATIENCE: Final = 60.0  # seconds for the writers to start

_Begin: TypeAlias = Callable[[Path], Arm]
"""Opens the store in a directory, and returns an arm that reads and writes one session."""


def run(place: Place) -> Iterator[Result]:
    """Yield the 99th percentile of a commit beside the writers."""
    writers, rounds, seconds = (2, 2, 0.3) if place.quick else (8, 8, 1.0)
    turns = {}
    with ExitStack() as stack:
        for name, begin in ((OURS, _ours), (BARE_TRANSACTION, _bare)):
            directory = place.directory / begin.__name__
            arm = begin(directory)
            running = stack.enter_context(_writers(begin, directory, writers))
            turns[name] = partial(_turn, arm, running, seconds)
        taken = in_turn(turns, rounds=rounds)
    yield Result(
        case=f"contention, a commit beside {writers} writing processes",
        unit="ms, p99",
        rounds=taken,
        targets=[Target(against=BARE_TRANSACTION, limit=0.25)],
    )


def _ours(directory: Path) -> Arm:
    store = DiskStore(directory)
    return committing(store, populate(store, 1, sample=1))


def _bare(directory: Path) -> Arm:
    return bare_rows(directory)[1]


def _turn(arm: Arm, running: Event, seconds: float) -> float:
    running.set()
    taken = time_with_pauses(arm, seconds)
    running.clear()
    time.sleep(0.2)  # the writers stop
    return p99(taken) / 1000


@contextmanager
def _writers(begin: _Begin, directory: Path, number: int) -> Iterator[Event]:
    """Start processes that write during the block, while the event is set."""
    spawn = multiprocessing.get_context("spawn")
    running, ready = spawn.Event(), spawn.Barrier(number + 1)
    arguments = (begin, directory, running, ready, os.getpid())
    processes = [spawn.Process(target=_write, args=arguments, daemon=True) for _ in range(number)]
    for process in processes:
        process.start()
    try:
        ready.wait(_PATIENCE)
        yield running
    finally:
        for process in processes:
            process.kill()
            process.join()


def _write(begin: _Begin, directory: Path, running: Event, ready: Barrier, parent: int) -> None:
    arm = begin(directory)
    ready.wait(_PATIENCE)
    while os.getppid() == parent:
        if running.wait(1.0):
            arm()
