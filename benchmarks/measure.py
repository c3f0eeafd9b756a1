"""Time several arms side by side, in short batches that take turns."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from itertools import repeat
from time import perf_counter_ns, process_time_ns
from typing import Final, NamedTuple, TypeAlias

__all__ = ["BATCH", "Arm", "Clock", "Spread", "rounds_of", "spread"]

Arm: TypeAlias = Callable[[], object]
"""One way to do the work, once."""


class Clock(Enum):
    """What is counted. The values are functions that give nanoseconds, and their names.

    ``WALL`` is what passes. ``PROCESSOR`` is what this process was at work, all threads
    together: for arms that wait for nothing it is the same on an idle machine, and on a
    busy one it does not count other programs.
    """

    WALL = (perf_counter_ns, "us")
    PROCESSOR = (process_time_ns, "us cpu")

    @property
    def now(self) -> Callable[[], int]:
        return self.value[0]

    @property
    def unit(self) -> str:
        return self.value[1]


# Milliseconds: long enough for the clock, the loop and the cold caches that the collector
# and the arm before leave behind not to show, short enough for a disturbance to hit the
# arms of a round alike, or one round of many.
BATCH: Final = 10.0

_WARM_UP: Final = 3  # rounds


class Spread(NamedTuple):
    """The median of some figures, and the quartiles below and above it."""

    low: float
    median: float
    high: float


def spread(figures: Sequence[float]) -> Spread:
    """Give median and quartiles."""
    return Spread(*statistics.quantiles(figures, n=4, method="inclusive"))


def rounds_of(
    arms: Sequence[Arm], rounds: int, *, clock: Clock = Clock.WALL, batch: float = BATCH
) -> Iterator[tuple[float, ...]]:
    """Give, for each round, what one call of each arm took, in microseconds.

    ``batch`` is how long a batch should take, in milliseconds. Every second round goes
    through the arms backwards, so that none of them always comes after the same one.

    The garbage collector stays on, for the cycles that a request leaves behind are part
    of its cost. It is run between the batches, and what was there before the first is
    kept out of it, so that each batch pays for its own garbage.
    """
    now = clock.now
    sizes = [_batch_size(arm, now, batch * 1e6) for arm in arms]
    order = list(range(len(arms)))
    taken = [0.0] * len(arms)
    gc.collect()
    gc.freeze()
    try:
        for number in range(-_WARM_UP, rounds):
            for position in order:
                gc.collect()
                size = sizes[position]
                taken[position] = _time(arms[position], now, size) / size / 1000
            order.reverse()
            if number >= 0:
                yield tuple(taken)
    finally:
        gc.unfreeze()


def _time(arm: Arm, now: Callable[[], int], calls: int) -> int:
    """Give the nanoseconds that so many calls take."""
    start = now()
    for _ in repeat(None, calls):
        arm()
    return now() - start


def _batch_size(arm: Arm, now: Callable[[], int], batch: float) -> int:
    """Give the number of calls that take so many nanoseconds, going by the best of three."""
    calls = 1
    while _time(arm, now, calls) < batch / 4:
        calls *= 2
    return max(1, round(calls * batch / min(_time(arm, now, calls) for _ in range(3))))
