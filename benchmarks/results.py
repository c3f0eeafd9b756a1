"""What a case measured, what was promised of it, and both as Markdown."""

import os
import platform
import re
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

from .measure import Spread, spread

OURS: Final = "glimr_session"
"""The name of our side in every case that has other sides."""

_PACKAGES: Final = (
    *("glimr-session", "pykka", "diskcache", "itsdangerous", "msgspec", "Beaker", "Django"),
    *("Flask", "Flask-Session", "pyramid", "starlette", "waitress", "gunicorn"),
    *("redis", "hiredis", "psycopg", "SQLAlchemy", "Flask-SQLAlchemy", "starsessions", "uvicorn"),
)


class Place(NamedTuple):
    """An empty directory for the stores of a case, and whether the run is a quick one."""

    directory: Path
    quick: bool = False


@dataclass(frozen=True, kw_only=True)
class Target:
    """What was promised of a side of a case.

    The side is compared with the side ``against``, as a ratio in each round, or with nothing
    if that is "". ``side`` is "" for the first one. A target with a ``known_miss``, which says
    why it is missed, does not fail the run.
    """

    limit: float
    against: str = ""
    side: str = ""
    at_least: bool = False
    known_miss: str = ""

    def met(self, value: float) -> bool:
        """Return whether the value keeps the promise."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, kw_only=True)
class Result:
    """The figures of each side of a case, round by round. Our side comes first."""

    case: str
    unit: str
    rounds: Mapping[str, Sequence[float]]
    targets: Sequence[Target] = ()
    note: str = ""

    def ratio(self, side: str, against: str) -> Spread:
        """Return how many times as large one side is as another, over all rounds."""
        pairs = zip(self.rounds[side], self.rounds[against], strict=True)
        return spread([one / other for one, other in pairs])

    def value(self, target: Target) -> Spread:
        """Return what is held against the limit of a target."""
        side = target.side or next(iter(self.rounds))
        return self.ratio(side, target.against) if target.against else spread(self.rounds[side])

    @property
    def failed(self) -> bool:
        """Whether a target is missed that is not known to be."""
        return any(
            not target.met(self.value(target).median) and not target.known_miss
            for target in self.targets
        )

    def __str__(self) -> str:
        rows = [f"  {row[1]:36} {row[2]:>28} {row[3]:10} {row[4]}" for row in self.rows()]
        verdicts = [f"  {': '.join(verdict[1:])}" for verdict in self.verdicts()]
        return "\n".join([self.case, *rows, *verdicts])

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield case, side, figures, unit, and ratio to our side, for each side."""
        first, *_ = self.rounds
        for side, figures in self.rounds.items():
            ratio = "" if side == first else _text(self.ratio(first, side))
            yield self.case, side, _text(spread(figures)), self.unit, ratio

    def verdicts(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield case, promise, value and outcome, for each target."""
        for target in self.targets:
            value = self.value(target)
            missed = f"missed: {target.known_miss}" if target.known_miss else "**MISSED**"
            outcome = "met" if target.met(value.median) else missed
            limit = f"at {'least' if target.at_least else 'most'} {_number(target.limit)}"
            of = f"times {target.against}" if target.against else self.unit
            side = f"{target.side}: " if target.side else ""
            yield self.case, f"{side}{limit} {of}", _text(value), outcome


@dataclass(frozen=True)
class Report:
    """A whole run. ``skipped`` says what could not be measured, and why."""

    place: Place
    seconds: float
    results: Sequence[Result]
    skipped: Sequence[str] = ()
    errors: Sequence[str] = ()

    @property
    def failed(self) -> bool:
        """Whether a case failed or, in a full run, missed what it should not."""
        missed = any(result.failed for result in self.results) and not self.place.quick
        return missed or bool(self.errors)

    def markdown(self) -> str:
        """Return the report as a document."""
        verdicts = [row for result in self.results for row in result.verdicts()]
        rows = [row for result in self.results for row in result.rows()]
        notes = [f"{result.case}: {result.note}" for result in self.results if result.note]
        quick = "**A quick run: fewer rounds and smaller stores.**" if self.place.quick else ""
        parts = [
            "# Results",
            quick,
            *(f"**Not measured: {reason}**" for reason in self.skipped),
            *(f"**Failed:**\n\n```\n{error.strip()}\n```" for error in self.errors),
            f"Measured in {self.seconds / 60:.1f} minutes on {_machine(self.place.directory)}.",
            ", ".join(f"{package} {version(package)}" for package in _PACKAGES) + ".",
            _READING,
            "## Targets",
            table(("case", "promised", "measured", "outcome"), verdicts),
            "## Figures",
            table(("case", "side", "median (quartiles)", "unit", "ours / it"), rows),
            *notes,
        ]
        return "\n\n".join(part for part in parts if part) + "\n"


_READING: Final = (
    "Each figure is the median of all rounds, with the quartiles in brackets. *ours / it* is the "
    "median of the ratios of the rounds: the first side of the case divided by this one."
)


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _text(values: Spread) -> str:
    if values.low == values.high:
        return _number(values.median)
    return f"{_number(values.median)} ({_number(values.low)} to {_number(values.high)})"


def _number(value: float) -> str:
    """Return three digits, or all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"


def _machine(directory: Path) -> str:
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search("model name.*: (.*)", cpuinfo.read_text() if cpuinfo.exists() else "")
    file_system = "an unknown file system"
    with suppress(OSError, subprocess.CalledProcessError):
        df = subprocess.check_output(["df", "--output=fstype", directory.parent], text=True)
        file_system = df.split()[-1]
    return (
        f"{platform.python_implementation()} {platform.python_version()}, SQLite "
        f"{sqlite3.sqlite_version}, {platform.system()} {platform.release().partition('-')[0]}, "
        f"{os.cpu_count()} x {model[1] if model else platform.machine()}, stores on "
        f"{file_system}, {datetime.now(UTC).date()}"
    )
