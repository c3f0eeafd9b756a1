"""Run the cases and print a table; the exit status is 1 if a bound is missed."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from . import actors, contention, cookie, disk, hostile, untouched
from .case import Case
from .table import heading, line, machine

_CASES: Final[tuple[Callable[[Path], Iterator[Case]], ...]] = (
    actors.cases,
    untouched.cases,
    cookie.cases,
    disk.cases,
    contention.cases,
    hostile.cases,
)

_ROUNDS: Final = 150
_QUICK_ROUNDS: Final = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Give the exit status."""
    options = _options(arguments)
    rounds = _QUICK_ROUNDS if options.quick else _ROUNDS
    names: list[str] = []
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=options.directory) as name:
        directory = Path(name)
        print(machine(directory))
        print(f"{rounds} rounds; medians, and what the middle half of the rounds compared to.")
        print('"us cpu" is processor time, for cases in which neither side waits.\n')
        print(heading(), flush=True)
        for case in (case for cases in _CASES for case in cases(directory)):
            if options.only not in case.name:
                continue
            names.append(case.name)
            result = case.run(rounds)
            print(line(case, result), flush=True)
            if not case.bound.met(result.compared.median):
                missed.append(f"{case.name} ({case.yardstick_name})")
    if not names:
        print(f"No case has {options.only!r} in its name.")
        return 2
    if missed:
        print(f"\nMissed: {', '.join(missed)}")
    return 1 if missed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: less to rely on")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="run the cases with this in their name"
    )
    parser.add_argument(
        "--directory",
        type=Path,
        help="where to put the stores for the time of the run (default: where the system "
        "puts temporary files); name one on a disk if that is in memory",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
