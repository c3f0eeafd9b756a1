"""What commands print: tables, times, sizes, and progress."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

__all__ = ["ago", "at", "count", "print_labelled", "print_table", "size", "with_progress"]

T = TypeVar("T")

_WIDE: Final = 1000  # columns, where no terminal could be too narrow

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"))
_KILO: Final = 1000


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows below the names of their columns; the first column is never cut."""
    table = Table(box=None, pad_edge=False, show_header=any(columns), header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    _console().print(table)


def print_labelled(lines: Iterable[tuple[str, str, str]]) -> None:
    """Print lines, each with a label in a style before its text."""
    console = _console()
    for label, style, text in lines:
        console.print(Text.assemble((f"{label}: ", style), text))


def with_progress(what: str, items: Sequence[T]) -> Iterator[T]:
    """Yield the items; on a terminal a bar shows on standard error how many are done."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from items
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield from progress.track(items, description=what)


def count(number: int, what: str) -> str:
    """Return a number and a noun.

    Example:
        >>> count(1200, "session")
        '1,200 sessions'
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def size(number: float) -> str:
    """Return a number of bytes.

    Example:
        >>> size(12_345)
        '12.3 kB'
    """
    for unit in ("B", "kB", "MB"):
        if number < _KILO:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= _KILO
    return f"{number:.1f} GB"


def at(moment: float) -> str:
    """Return a time in seconds since the epoch, in the time zone of the machine."""
    return f"{datetime.fromtimestamp(moment).astimezone():%Y-%m-%d %H:%M}"


def ago(moment: float) -> str:
    """Return how long ago a time is.

    Example:
        >>> ago(time.time() - 7300)
        '2 h ago'
    """
    passed = time.time() - moment
    for seconds, unit in _UNITS:
        if passed >= seconds:
            return f"{passed / seconds:.0f} {unit} ago"
    return "just now"


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDE
    return console
