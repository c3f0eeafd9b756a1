"""A case: two sides, how they compare, and the bound the comparison has to keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .measure import BATCH, Arm, Clock, Spread, rounds_of, spread

__all__ = [
    "Bound",
    "Case",
    "Result",
    "Side",
    "Timed",
    "difference",
    "ratio",
    "require_equal",
    "times_faster",
]


class Bound(NamedTuple):
    """What was promised. ``unit`` is that of the compared figure."""

    limit: float
    unit: str
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Tell whether a figure keeps it."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g} {self.unit}"


class Result(NamedTuple):
    """What came out of a case. ``unit`` is that of the two sides."""

    ours: Spread
    yardstick: Spread
    unit: str
    compared: Spread


class Case(Protocol):
    """What the program runs and prints a line of."""

    @property
    def name(self) -> str: ...

    @property
    def yardstick_name(self) -> str: ...

    @property
    def bound(self) -> Bound: ...

    def run(self, rounds: int) -> Result: ...


class Side(NamedTuple):
    """An arm; its cost is counted ``minus`` that of the same work without a session."""

    arm: Arm
    minus: Arm | None = None


Comparison = Callable[[float, float], float]


def ratio(ours: float, yardstick: float) -> float:
    """Give how many times the yardstick's cost ours is."""
    return ours / yardstick


def times_faster(ours: float, yardstick: float) -> float:
    """Give how many times our cost the yardstick's is."""
    return yardstick / ours


def difference(ours: float, yardstick: float) -> float:
    """Give what ours costs on top of the yardstick."""
    return ours - yardstick


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A case of time: the two sides in microseconds, compared round by round.

    ``clock`` may be the processor's where neither side waits for a thread or a disk.
    ``batch`` is in milliseconds.
    """

    name: str
    ours: Side
    yardstick_name: str
    yardstick: Side
    compare: Comparison
    bound: Bound
    clock: Clock = Clock.WALL
    batch: float = BATCH

    def run(self, rounds: int) -> Result:
        """Time both sides; all the arms of both take turns."""
        sides = (self.ours, self.yardstick)
        arms = list(
            dict.fromkeys(arm for side in sides for arm in side if arm is not None)
        )  # one that both sides use runs once
        ours, yardstick, compared = [], [], []
        for times in rounds_of(arms, rounds, clock=self.clock, batch=self.batch):
            taken = dict(zip(arms, times, strict=True))
            mine, theirs = (
                taken[side.arm] - (taken[side.minus] if side.minus else 0.0) for side in sides
            )
            ours.append(mine)
            yardstick.append(theirs)
            compared.append(self.compare(mine, theirs))
        return Result(spread(ours), spread(yardstick), self.clock.unit, spread(compared))


def require_equal(what: str, **answers: object) -> None:
    """Refuse to time arms that do not give the same answers."""
    first, *others = answers.values()
    if any(other != first for other in others):
        told = "; ".join(f"{name}: {answer!r}" for name, answer in answers.items())
        raise RuntimeError(f"{what}: the arms do different work. {told}")
