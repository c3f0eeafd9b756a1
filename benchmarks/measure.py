"""Time several arms side by side, in short batches that take turns."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from time import perf_counter, perf_counter_ns, process_time_ns
from typing import Final, NamedTuple, TypeAlias

__all__ = ["BATCH", "Arm", "Effort", "Spread", "Times", "p99", "rounds_of", "spread", "time_calls"]

Arm: TypeAlias = Callable[[], object]
"""One way to do the work, once."""

# Milliseconds: long enough for the clock, the loop and the cold caches that the collector
# and the arm before leave behind not to show, short enough for a disturbance to hit the
# arms of a round alike, or one round of many.
BATCH: Final = 10.0

_WARM_UP: Final = 2  # rounds


class Times(NamedTuple):
    """Microseconds: what has passed, and what this process was at work, all its threads."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some figures, and the quartiles below and above it."""

    low: float
    median: float
    high: float


class Effort(NamedTuple):
    """How long to go on: for so many seconds, but for so many rounds at least."""

    seconds: float
    least: int


def spread(figures: Sequence[float]) -> Spread:
    """Give median and quartiles."""
    if len(figures) == 1:
        return Spread(figures[0], figures[0], figures[0])
    return Spread(*statistics.quantiles(figures, n=4, method="inclusive"))


def p99(figures: Sequence[float]) -> float:
    """Give what one figure in a hundred is above."""
    return statistics.quantiles(figures, n=100, method="inclusive")[-1]


def rounds_of(
    arms: Sequence[Arm], effort: Effort, *, batch: float = BATCH
) -> Iterator[tuple[Times, ...]]:
    """Give, for each round, what one call of each arm took.

    ``batch`` is how long a batch should take, in milliseconds. Every second round goes
    through the arms backwards, so that none of them always comes after the same one.

    The garbage collector stays on, for the cycles that a request leaves behind are part
    of its cost. It is run between the batches, and what was there before the first is
    kept out of it, so that each batch pays for its own garbage.
    """
    sizes = [_batch_size(arm, batch * 1000) for arm in arms]
    order = list(range(len(arms)))
    taken = [Times(0.0, 0.0)] * len(arms)
    gc.collect()
    gc.freeze()
    try:
        end = perf_counter() + effort.seconds
        number = -_WARM_UP
        while number < effort.least or perf_counter() < end:
            for position in order:
                gc.collect()
                taken[position] = time_calls(arms[position], sizes[position])
            order.reverse()
            if number >= 0:
                yield tuple(taken)
            number += 1
    finally:
        gc.unfreeze()


def time_calls(arm: Arm, calls: int) -> Times:
    """Give what one of so many calls took."""
    cpu = process_time_ns()
    wall = perf_counter_ns()
    for _ in repeat(None, calls):
        arm()
    wall = perf_counter_ns() - wall
    cpu = process_time_ns() - cpu
    return Times(wall / calls / 1000, cpu / calls / 1000)


def _batch_size(arm: Arm, batch: float) -> int:
    """Give the number of calls that take so many microseconds, going by the best of three."""
    calls = 1
    while time_calls(arm, calls).wall * calls < batch / 4:
        calls *= 2
    return max(1, round(batch / min(time_calls(arm, calls).wall for _ in range(3))))
