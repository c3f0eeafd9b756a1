"""How the plots look: one palette, one kind of axes, one way to save."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

__all__ = [
    "FAINT",
    "INK",
    "LIMIT",
    "MUTED",
    "OTHER",
    "OURS",
    "OURS_TOO",
    "clean",
    "duration",
    "log_durations",
    "plot",
    "save",
    "title",
]

INK: Final = "#1f2933"
MUTED: Final = "#66727f"
FAINT: Final = "#e4e7eb"
OURS: Final = "#d9480f"
OURS_TOO: Final = "#f4a261"
OTHER: Final = "#b8c1cc"
LIMIT: Final = "#3b6ea5"

_SETTINGS: Final[Any] = {
    "svg.fonttype": "none",  # text stays text: it can be read out, searched, and is drawn sharp
    "svg.hashsalt": "glimr_session",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that the layout is the same anywhere
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9.5,
    "axes.axisbelow": True,
    "figure.facecolor": "white",  # for readers in dark mode too
}

# Whoever looks at it has something better than the font that it was laid out with, and
# narrower, so that nothing grows out of its place.
_FONTS: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@contextmanager
def plot(width: float, height: float) -> Iterator[Figure]:
    """Give a figure of so many inches, in this style for the length of the block."""
    with mpl.rc_context(_SETTINGS):
        yield Figure(figsize=(width, height))


def save(figure: Figure, file: Path) -> str:
    """Write an SVG that is the same whenever it is drawn of the same; give its name."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    drawn = re.sub(r"'DejaVu Sans'(, sans-serif)?", _FONTS, text.getvalue())
    file.write_text("\n".join(line.rstrip() for line in drawn.splitlines()) + "\n", "utf-8")
    return file.name


def title(figure: Figure, text: str, below: str) -> None:
    """Say what there is to see, and under it how it was measured."""
    inch = 1 / figure.get_figheight()
    figure.text(0.02, 1 - 0.2 * inch, text, fontsize=13, fontweight="bold", va="top")
    figure.text(0.02, 1 - 0.5 * inch, below, fontsize=9.5, color=MUTED, va="top", linespacing=1.4)


def clean(axes: Axes, *, grid: str = "x") -> None:
    """Leave nothing but what carries the figures."""
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(NullLocator())
    axes.grid(axis="x" if grid == "x" else "y", color=FAINT, linewidth=0.8)


def log_durations(axes: Axes, axis: str) -> None:
    """Make an axis one of microseconds, in powers of ten."""
    axes.set(**{f"{axis}scale": "log"})
    one: Axis = axes.xaxis if axis == "x" else axes.yaxis
    one.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
    one.set_minor_formatter(NullFormatter())


def duration(microseconds: float) -> str:
    """Give microseconds as people say it, with two or three digits."""
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{_digits(microseconds / size)} {unit}"
    return f"{_digits(microseconds)} µs"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
