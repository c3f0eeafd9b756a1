"""What a run has told, as plots: each from the results that are there, or left out."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

from . import style
from .case import Result
from .measure import Spread
from .report import Report, Told

__all__ = ["draw"]

_OURS: Final = "glimr_session"


def draw(report: Report, directory: Path) -> list[str]:
    """Draw all plots that there are results for; give their names."""
    drawn = []
    for name, plot in _PLOTS.items():
        results = [told for told in report.results if told.module == name]
        if results and (file := plot(results, directory)):
            drawn.append(file)
    return drawn


def _at(results: Sequence[Told], module_place: str, start: str) -> list[Result]:
    return [
        told.result
        for told in results
        if told.place == module_place and told.result.name.startswith(start)
    ]


def _on_disk(results: Sequence[Told]) -> str:
    """Give the place to show: a disk, or a tmpfs if there was no other."""
    return "disk" if any(told.place == "disk" for told in results) else "tmpfs"


# One request, with everybody.


def _one_request(results: Sequence[Told], directory: Path) -> str:
    place = _on_disk(results)
    panels = [
        (title, cases[0])
        for title, cases in (
            ("Session in a signed cookie", _at(results, "memory", "read and write")),
            (f"Session on the server, {place}", _at(results, place, "read and write")),
        )
        if cases
    ]
    if not panels:
        return ""
    rows = [len(case.sides) for _, case in panels]
    height = 1.3 + 0.29 * sum(rows) + 0.42 * len(rows)
    with style.plot(8.6, height) as figure:
        style.title(
            figure,
            "One request that reads and writes its session",
            "What the session adds to the same request without one. Median of all rounds, "
            "thin lines: quartiles.\nLess is better, and each line of the grid is ten times the "
            "one before.",
        )
        top = 1.05
        for position, (name, case) in enumerate(panels):
            box = 0.29 * rows[position]
            top += 0.4
            axes = figure.add_axes((0.27, 1 - (top + box) / height, 0.53, box / height))
            figure.text(
                0.02, 1 - (top - 0.1) / height, name, fontsize=10.5, fontweight="bold",
                color=style.MUTED,
            )  # fmt: skip
            _bars(axes, case, _decades([case for _, case in panels]))
            if position + 1 < len(panels):
                axes.tick_params(labelbottom=False)
            top += box
        return style.save(figure, directory / "one-request.svg")


def _decades(cases: Sequence[Result]) -> tuple[float, float]:
    """Give an axis that begins at a power of ten."""
    sides = [side["wall"] for case in cases for side in case.sides.values()]
    low = min(side.low for side in sides if side.low > 0)
    return 10 ** math.floor(math.log10(low)), max(side.high for side in sides) * 1.25


def _bars(axes: Axes, case: Result, limits: tuple[float, float]) -> None:
    style.log_durations(axes, "x")
    style.clean(axes)
    axes.set_xlim(*limits)
    sides = sorted(case.sides.items(), key=lambda item: item[1]["wall"].median, reverse=True)
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for position, (side, figures) in enumerate(sides):
        wall, own = figures["wall"], side == _OURS
        width = wall.median - limits[0]
        color = style.OURS if own else style.OTHER
        axes.barh(position, width, left=limits[0], height=0.66, color=color)
        axes.plot([max(wall.low, limits[0]), wall.high], [position] * 2, color=style.INK, lw=1)
        axes.text(
            1.12, position, style.duration(wall.median), transform=beside, va="center", ha="right",
            fontsize=9.5, fontweight="bold" if own else "normal",
            color=style.OURS if own else style.INK,
        )  # fmt: skip
        if not own:
            times = f"{_two_digits(1 / case.ratios[side]['wall'].median)} times ours"
            axes.text(
                1.15, position, times, transform=beside, va="center", fontsize=8.5,
                color=style.MUTED,
            )  # fmt: skip
    axes.set_yticks(range(len(sides)), [side for side, _ in sides])
    for label in axes.get_yticklabels():
        if label.get_text() == _OURS:
            label.set(color=style.OURS, fontweight="bold")


def _two_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


# The conversation, by the number of busy threads.


def _conversation(results: Sequence[Told], directory: Path) -> str:
    loads = {_busy(case): case for case in _at(results, "memory", "conversation, ")}
    if len(loads) < 2:
        return ""
    xs = range(len(loads))
    with style.plot(8.8, 4.9) as figure:
        style.title(
            figure,
            "A conversation with the actor, beside busy threads",
            "Start, two tells, four asks, stop, while other threads of the process serve pages. "
            "Line: median.\nDashed: 99th percentile. Each line of the grid is ten times the one "
            "below.",
        )
        axes = figure.add_axes((0.075, 0.115, 0.6, 0.65))
        style.log_durations(axes, "y")
        style.clean(axes, grid="y")
        last = next(reversed(loads.values()))
        for side, color in zip(last.sides, _LINES, strict=False):
            for named, dashes in (("p99", (0, (2.5, 1.5))), ("median", "-")):
                values = [case.sides[side][named] for case in loads.values()]
                ys = [value.median for value in values]
                axes.plot(xs, ys, color=color, lw=2 if named == "median" else 1.3, ls=dashes)
                axes.plot(xs, ys, "o", color=color, ms=4)
            axes.fill_between(
                xs, [value.low for value in values], [value.high for value in values],
                color=color, alpha=0.15, lw=0,
            )  # fmt: skip
            told = f"{side}: {style.duration(ys[-1])},"
            p99 = f"one in a hundred {style.duration(last.sides[side]['p99'].median)}"
            axes.text(
                len(loads) - 0.9, (ys[-1] * last.sides[side]["p99"].median) ** 0.5,
                f"{told}\n{p99}", va="center", color=color, fontsize=9,
                fontweight="bold" if side == _OURS else "normal",
            )  # fmt: skip
        axes.set_xticks(xs, ["alone" if not busy else str(busy) for busy in loads])
        axes.set_xlabel("busy threads beside it")
        axes.set_xlim(-0.15, len(loads) - 0.98)
        return style.save(figure, directory / "conversation.svg")


_LINES: Final = (style.OURS, style.LIMIT, style.MUTED)


def _busy(case: Result) -> int:
    found = re.search(r"beside (\d+)", case.name)
    return int(found[1]) if found else 0


# Growth, by the number of sessions and by their size.


def _growth(results: Sequence[Told], directory: Path) -> str:
    place = _on_disk(results)
    panels = [
        (label, cases)
        for label, start in _PANELS.items()
        if (cases := [case for case in _at(results, place, "open") if start in case.name])
    ]
    if not panels:
        return ""
    walls = [side["wall"] for _, cases in panels for c in cases for side in c.sides.values()]
    with style.plot(9.4, 4.3) as figure:
        style.title(
            figure,
            "What a session costs when there are many, or much in it",
            f"The disk store alone, on a {place}. Median of all rounds; shaded: quartiles. Gray is "
            "what SQLite alone\ntakes for one SELECT, and for one SELECT and one UPDATE, by the "
            "number of a row.",
        )
        for position, (label, cases) in enumerate(panels):
            axes = figure.add_axes((0.065 + position * 0.32, 0.135, 0.275, 0.62))
            style.log_durations(axes, "y")
            axes.set_xscale("log")
            style.clean(axes, grid="y")
            axes.set_ylim(min(wall.low for wall in walls) / 2, max(wall.high for wall in walls) * 2)
            for case in cases:
                what = case.name.partition(",")[0]
                _line(axes, _points(case, "SQLite, "), style.OTHER, "")
                _line(axes, _points(case, ""), style.OURS, what)
            xs = [x for x, _ in _points(cases[0], "")]
            axes.set_xticks(xs, [_short(x) for x in xs])
            axes.set_xlabel(label)
            axes.margins(x=0.08)
            if position:
                axes.tick_params(labelleft=False)
        return style.save(figure, directory / "growth.svg")


_PANELS: Final = {
    "sessions in the store": "of all",
    "bytes in the session": "by size",
    "keys in a session of 3 kB": "by keys",
}
"""What is on the axis, and which cases are in the panel."""


def _points(case: Result, prefix: str) -> list[tuple[float, Spread]]:
    return sorted(
        (
            (_number(side.removeprefix(prefix)), figures["wall"])
            for side, figures in case.sides.items()
            if side.startswith("SQLite, ") == bool(prefix)
        ),
        key=itemgetter(0),
    )


def _line(axes: Axes, points: Sequence[tuple[float, Spread]], color: str, name: str) -> None:
    xs = [x for x, _ in points]
    lows, highs = [y.low for _, y in points], [y.high for _, y in points]
    axes.fill_between(xs, lows, highs, color=color, alpha=0.18, lw=0)
    axes.plot(xs, [y.median for _, y in points], color=color, lw=2, marker="o", ms=4)
    if name:
        axes.annotate(
            f"{name}\n{style.duration(points[0][1].median)} to "
            f"{style.duration(points[-1][1].median)}",
            (xs[0], max(highs[:2])), (-3, 8), textcoords="offset points", fontsize=8.5,
            color=style.INK,
        )  # fmt: skip


_UNITS: Final = {"thousand": 1e3, "million": 1e6, "kB": 1e3}


def _number(name: str) -> float:
    figure, _, unit = name.partition(" ")
    return float(figure) * _UNITS.get(unit, 1)


def _short(value: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


# Servers: what of the requests per second is left.


def _servers(results: Sequence[Told], directory: Path) -> str:
    place = _on_disk(results)
    cases = _at(results, place, "")
    without = "without a session"
    rows = [case for case in cases if without in case.sides]
    if not rows:
        return ""
    height = 1.75 + 0.5 * len(rows)
    with style.plot(8.4, height) as figure:
        style.title(
            figure,
            "Through real servers: requests per second that are left",
            f"Of those without a session, with wrk on a loopback address; stores: {place}. "
            "What was promised is 90 %,\nfor a rendered page that reads and writes.",
        )
        axes = figure.add_axes((0.37, 0.42 / height, 0.59, 1 - 1.75 / height))
        style.clean(axes)
        axes.axvline(90, color=style.LIMIT, lw=1.2)
        axes.text(
            90, len(rows) - 0.35, "promised", color=style.LIMIT, fontsize=8.5, ha="center",
            va="bottom",
        )  # fmt: skip
        for position, case in enumerate(reversed(rows)):
            base = case.sides[without]["rate"].median
            shares = {
                side: 100 * figures["rate"].median / base
                for side, figures in case.sides.items()
                if side != without
            }
            axes.plot([0, 100], [position] * 2, color=style.FAINT, lw=0.8, zorder=0)
            for side, share in shares.items():
                color = _STORES.get(side, style.OTHER)
                axes.plot(share, position, "o", ms=9, color=color, mec="white", clip_on=False)
        for side, color in _STORES.items():
            axes.plot([], [], "o", ms=8, color=color, label=side)
        axes.plot([], [], "o", ms=8, color=style.OTHER, label="SQLite alone")
        figure.legend(
            loc="upper right", bbox_to_anchor=(0.975, 1 - 0.88 / height), ncols=3, frameon=False,
            fontsize=9, handletextpad=0.2, columnspacing=1.2, labelcolor=style.INK,
        )  # fmt: skip
        axes.set_yticks(
            range(len(rows)), [case.name.replace(": ", "\n") for case in reversed(rows)]
        )
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlim(0, 108)
        axes.set_xticks(range(0, 101, 20), [f"{share} %" for share in range(0, 101, 20)])
        return style.save(figure, directory / "servers.svg")


_STORES: Final = {"disk store": style.OURS, "cookie store": style.OURS_TOO}


# Collecting: the 99th percentile of requests, with and without.


def _collecting(results: Sequence[Told], directory: Path) -> str:
    rows = [told for told in results if len(told.result.sides) == 2]
    if not rows:
        return ""
    height = 1.55 + 0.62 * len(rows)
    with style.plot(8.4, height) as figure:
        style.title(
            figure,
            "Requests while expired sessions are collected",
            "99th percentile of four threads at work, with a collector and without one; thin "
            "lines: quartiles of the turns.",
        )
        axes = figure.add_axes((0.3, 0.4 / height, 0.66, 1 - 1.45 / height))
        style.clean(axes)
        for position, told in enumerate(reversed(rows)):
            sides = list(told.result.sides.items())
            for offset, (side, figures), color in zip(
                (0.18, -0.18), sides, (style.OURS, style.OTHER), strict=True
            ):
                p99 = figures["p99"]
                axes.barh(position + offset, p99.median, height=0.32, color=color)
                axes.plot([p99.low, p99.high], [position + offset] * 2, color=style.INK, lw=1)
                axes.annotate(
                    f"{style.duration(p99.median)} {side}", (p99.high, position + offset), (5, 0),
                    textcoords="offset points", va="center", fontsize=8.5, color=style.INK,
                )  # fmt: skip
        axes.set_yticks(
            range(len(rows)),
            [f"{told.result.name.replace(', ', chr(10))}, {told.place}" for told in reversed(rows)],
        )
        axes.set_xlim(
            0, 1.4 * max(side["p99"].high for told in rows for side in told.result.sides.values())
        )
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g} ms" if value else "0")
        return style.save(figure, directory / "collecting.svg")


_PLOTS: Final[Mapping[str, Callable[[Sequence[Told], Path], str]]] = {
    "requests": _one_request,
    "conversation": _conversation,
    "growth": _growth,
    "servers": _servers,
    "collecting": _collecting,
}
