"""Time several ways to do the same work, which take turns."""

import gc
import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from itertools import repeat
from time import perf_counter, perf_counter_ns, sleep
from typing import Final, NamedTuple, TypeAlias, TypeVar

Arm: TypeAlias = Callable[[], object]
"""Does the work once."""

Clock: TypeAlias = Callable[[], int]
"""Returns nanoseconds: those of the clock on the wall, or those of the processor."""

Name = TypeVar("Name", bound=Hashable)

BATCH: Final = 10_000
"""Microseconds. A batch is short enough for a disturbance to reach all arms of a round alike."""

_PAUSE: Final = 0.002  # seconds


class Spread(NamedTuple):
    """The median of some figures, with the quartiles below and above it."""

    low: float
    median: float
    high: float


def spread(figures: Sequence[float]) -> Spread:
    """Return the median and the quartiles."""
    if len(figures) == 1:
        return Spread(figures[0], figures[0], figures[0])
    return Spread(*statistics.quantiles(figures, n=4, method="inclusive"))


def p99(figures: Sequence[float]) -> float:
    """Return the 99th percentile."""
    return statistics.quantiles(figures, n=100, method="inclusive")[-1]


def minus(figures: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return the differences, round by round."""
    return [figure - other for figure, other in zip(figures, others, strict=True)]


def in_turn(
    measurements: Mapping[Name, Callable[[], float]], *, rounds: int, seconds: float = 0
) -> dict[Name, list[float]]:
    """Return what each measurement returned, round by round.

    In each round every measurement is taken once; the next round goes through them backwards.
    The garbage collector runs before each of them and stays on: what a request leaves behind
    is part of its cost.

    Args:
        measurements: What is to be measured.
        rounds: How many rounds there are at least, after one that does not count.
        seconds: How long to go on, if the rounds take less.
    """
    taken: dict[Name, list[float]] = {name: [] for name in measurements}
    order = list(measurements)
    gc.collect()
    gc.freeze()
    try:
        end = perf_counter() + seconds
        number = -1
        while number < rounds or perf_counter() < end:
            for name in order:
                gc.collect()
                value = measurements[name]()
                if number >= 0:
                    taken[name].append(value)
            order.reverse()
            number += 1
    finally:
        gc.unfreeze()
    return taken


def time_arms(
    arms: Mapping[Name, Arm], seconds: float, clock: Clock = perf_counter_ns
) -> dict[Name, list[float]]:
    """Return the microseconds that one call of each arm took, in batches that take turns."""
    batches = {
        name: partial(_time, arm, _batch_size(arm), clock=clock) for name, arm in arms.items()
    }
    return in_turn(batches, rounds=3, seconds=seconds)


def time_with_pauses(arm: Arm, seconds: float) -> list[float]:
    """Return the microseconds of each call, with a pause of two milliseconds before each."""
    taken: list[float] = []
    end = perf_counter() + seconds
    while len(taken) < 2 or perf_counter() < end:
        sleep(_PAUSE)
        taken.append(_time(arm, 1))
    return taken


def _time(arm: Arm, calls: int, clock: Clock = perf_counter_ns) -> float:
    """Return the microseconds of one of so many calls."""
    start = clock()
    for _ in repeat(None, calls):
        arm()
    return (clock() - start) / calls / 1000


def _batch_size(arm: Arm) -> int:
    """Return the number of calls that take as long as a batch."""
    calls = 1
    while _time(arm, calls) * calls < BATCH / 4:
        calls *= 2
    return max(1, round(BATCH / min(_time(arm, calls) for _ in range(3))))
