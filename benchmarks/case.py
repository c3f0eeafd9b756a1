"""A case: sides that do the same work, what it cost them, and what was promised of that.

A module of cases, in ``benchmarks/cases/``, has

``PLACES``
    ``("tmpfs", "disk")``, or ``("memory",)`` if it puts nothing on a disk: then it runs once.
``SECONDS``
    about how long a full run of it takes at one place. The progress bar goes by it.
``cases(place)``
    yields its cases one by one, each set up before its yield and cleaned up after it. It is
    called in a fresh process of its own, with an empty directory for its stores.
    ``place.quick`` asks for the small version of everything.

A case is a ``Timed``, or anything with a ``name``, a ``group``, ``targets`` and a ``run`` of
its own that measures its sides in rounds and gives ``Result.of(self, rounds)``, where
``rounds`` has for each side, ours first, the figures of each round by their name: one of
``UNITS``. The figure named first is the one that counts where none is named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeAlias

from .measure import BATCH, Arm, Effort, Spread, rounds_of, spread

__all__ = [
    "UNITS",
    "Case",
    "Place",
    "Result",
    "Rounds",
    "Side",
    "Target",
    "Timed",
    "Verdict",
    "require_equal",
]

Rounds: TypeAlias = Mapping[str, Mapping[str, Sequence[float]]]
"""Side, figure, and its value in each round."""

UNITS: Final[Mapping[str, str]] = {
    "wall": "us",
    "cpu": "us",  # of the processor: what others do on the machine is not in it
    "median": "us",  # of single calls; "wall" is the mean of a batch of them
    "p99": "us",
    "rate": "/s",
    "memory": "bytes",
    "threads": "threads",
}
"""The figures there are."""

_LEAST: Final = 15  # rounds, were they to take longer than the seconds of the case
_LEAST_QUICK: Final = 4
_QUICK: Final = 0.08  # of the seconds


class Place(NamedTuple):
    """Where the stores of a module's cases are put, and how much is to be done there."""

    name: str
    """``tmpfs``, ``disk`` or ``memory``."""

    directory: Path
    """Fresh, empty, and removed after the last case."""

    quick: bool = False
    """Whether this is a short run that shows that everything works: smaller, fewer."""


class Side(NamedTuple):
    """An arm; its cost is counted ``minus`` that of the same work without a session.

    ``per`` is how many of what is counted one call does.
    """

    arm: Arm
    minus: Arm | None = None
    per: float = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """What was promised of a side, most often of ours against another one."""

    text: str
    """The promise in words."""

    yardstick: str
    """The name of the other side, or "" if the figure is promised by itself."""

    limit: float
    ours: str = ""
    """The name of the side it is about; "" is the first."""

    unit: str = "times"
    """``times`` (ours / yardstick), ``x faster`` (yardstick / ours) or ``more`` (ours -
    yardstick, in the unit of the figure)."""

    at_least: bool = False
    figure: str = ""
    """One of ``UNITS``; "" is the first that the case has."""

    known_miss: str = ""
    """Why it is known to be missed, if it is. Then it does not fail the run."""

    def met(self, value: float) -> bool:
        """Tell whether a figure keeps it."""
        return value >= self.limit if self.at_least else value <= self.limit

    def value(self, ours: float, yardstick: float) -> float:
        """Give what is held against the limit; not a number where there is nothing to divide by."""
        if not self.yardstick:
            return ours
        if self.unit == "more":
            return ours - yardstick
        if self.unit == "times":
            return ours / yardstick if yardstick else math.nan
        if self.unit == "x faster":
            return yardstick / ours if ours else math.nan
        raise ValueError(f"there is no comparison {self.unit!r}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a target."""

    target: Target
    figure: str
    value: Spread
    met: bool

    @property
    def failed(self) -> bool:
        """Whether it was missed without anybody having said so before."""
        return not self.met and not self.target.known_miss

    @property
    def bound(self) -> str:
        """The limit, as "at most 8,192 bytes"."""
        target, unit = self.target, UNITS[self.figure]
        words = {"more": f"{unit} more"}.get(target.unit, target.unit) if target.yardstick else unit
        return f"at {'least' if target.at_least else 'most'} {target.limit:,g} {words}"


class Case(Protocol):
    """What the program runs."""

    @property
    def name(self) -> str: ...

    @property
    def group(self) -> str: ...

    @property
    def targets(self) -> Sequence[Target]: ...

    def run(self, *, quick: bool) -> Result: ...


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came out of a case.

    ``ratios`` has for each side but the first, and for each figure, how many times as
    large ours was, round by round.
    """

    name: str
    group: str
    sides: Mapping[str, Mapping[str, Spread]]
    ratios: Mapping[str, Mapping[str, Spread]]
    verdicts: Sequence[Verdict]
    rounds: int
    notes: str = ""

    @classmethod
    def of(cls, case: Case, rounds: Rounds, *, notes: str = "") -> Result:
        """Give the medians, the quartiles, the ratios and what became of the targets."""
        ours = next(iter(rounds.values()))
        return cls(
            name=case.name,
            group=case.group,
            sides={
                side: {figure: spread(values) for figure, values in figures.items()}
                for side, figures in rounds.items()
            },
            ratios={
                side: _ratios(ours, figures)
                for side, figures in rounds.items()
                if figures is not ours
            },
            verdicts=[_verdict(target, rounds) for target in case.targets],
            rounds=max(len(values) for values in ours.values()),
            notes=notes,
        )


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A case of time: what one call of each side takes, all arms in turns, round by round.

    ``batch`` is in milliseconds. ``seconds`` is what a full run of the case may take; a
    quick one takes a fraction of it.
    """

    name: str
    group: str
    sides: Mapping[str, Side]
    targets: Sequence[Target] = ()
    batch: float = BATCH
    seconds: float = 6.0
    notes: str = ""

    def run(self, *, quick: bool) -> Result:
        """Time all sides."""
        arms = list(
            dict.fromkeys(
                arm for side in self.sides.values() for arm in (side.arm, side.minus) if arm
            )
        )  # one that two sides use runs once
        rounds: dict[str, dict[str, list[float]]] = {
            name: {"wall": [], "cpu": []} for name in self.sides
        }
        effort = (
            Effort(self.seconds * _QUICK, _LEAST_QUICK) if quick else Effort(self.seconds, _LEAST)
        )
        for times in rounds_of(arms, effort, batch=self.batch):
            taken = dict(zip(arms, times, strict=True))
            for name, (arm, minus, per) in self.sides.items():
                wall, cpu = taken[arm]
                less = taken[minus] if minus else (0.0, 0.0)
                rounds[name]["wall"].append((wall - less[0]) / per)
                rounds[name]["cpu"].append((cpu - less[1]) / per)
        return Result.of(self, rounds, notes=self.notes)


_RATIO: Final = Target("", yardstick="the other", limit=0)


def _ratios(
    ours: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[float]]
) -> dict[str, Spread]:
    compared = {
        figure: _compared(_RATIO, ours[figure], values)
        for figure, values in theirs.items()
        if figure in ours
    }
    return {figure: spread(values) for figure, values in compared.items() if values}


def _verdict(target: Target, rounds: Rounds) -> Verdict:
    side = target.ours or next(iter(rounds))
    figure = target.figure or next(iter(rounds[side]))
    yardstick = rounds[target.yardstick or side]
    values = _compared(target, rounds[side][figure], yardstick[figure])
    if not values:
        raise ValueError(f"there is nothing to compare with: {target.text}")
    value = spread(values)
    return Verdict(target, figure, value, target.met(value.median))


def _compared(target: Target, ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Give what is compared in each round, but for those with nothing to divide by."""
    values = (target.value(*both) for both in zip(ours, theirs, strict=True))
    return [value for value in values if not math.isnan(value)]


def require_equal(what: str, **answers: object) -> None:
    """Refuse to time arms that do not give the same answers."""
    first, *others = answers.values()
    if any(other != first for other in others):
        told = "; ".join(f"{name}: {answer!r}" for name, answer in answers.items())
        raise RuntimeError(f"{what}: the arms do different work. {told}")
