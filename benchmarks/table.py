"""The table, line by line as the cases come in, and where it was measured."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Final

from .case import Case, Result

__all__ = ["filesystem", "heading", "line", "machine"]

_LINE: Final = "{:<32} {:<21} {:>11} {:>11} {:>9} {:>16}  {:<20} {}"


def heading() -> str:
    """Give the names of the columns, underlined."""
    names = _LINE.format(
        "case", "yardstick", "ours", "yardstick", "compared", "middle half", "bound", "met"
    )
    return f"{names}\n{'-' * len(names)}"


def line(case: Case, result: Result) -> str:
    """Give what came out of a case: the median, and the quartiles around it."""
    low, median, high = (f"{value:.3g}" for value in result.compared)
    return _LINE.format(
        case.name,
        case.yardstick_name,
        f"{_number(result.ours.median)} {result.unit}",
        f"{_number(result.yardstick.median)} {result.unit}",
        median,
        f"{low} .. {high}",
        str(case.bound),
        "yes" if case.bound.met(result.compared.median) else "NO",
    )


def _number(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def machine(directory: Path) -> str:
    """Say where this runs and where the stores are."""
    kind = filesystem(directory)
    where = f"{kind}, which is memory and not a disk" if kind == "tmpfs" else kind
    return (
        f"Python {platform.python_version()}, {os.cpu_count()} processors, load average "
        f"{os.getloadavg()[0]:.1f}; stores in {directory} on {where}"
    )


def filesystem(directory: Path) -> str:
    """Give the type of file system a directory is on, where Linux tells."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
    except OSError:
        return "an unknown file system"
    best, kind = -1, "an unknown file system"
    for mount in mounts:
        # Of two mounts on one point, the later one is what is seen (proc(5)).
        before, _, after = mount.partition(" - ")
        point = before.split(" ")[4]
        if directory.resolve().is_relative_to(point) and len(point) >= best:
            best, kind = len(point), after.split(" ")[0]
    return kind
