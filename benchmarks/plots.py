"""The plots of a run: a panel of bars for each case, and a bar for each side."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

from .results import OURS, Result

_SETTINGS: Final[Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": OURS,  # the same results give the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}
_FIRST, _OTHER = "#d9480f", "#b8c1cc"


class _Plot(NamedTuple):
    """The pattern of the names of its cases, a title, and what the figures are."""

    cases: str
    title: str
    label: str
    log: bool = False


_US: Final = "microseconds, less is better"
_PLOTS: Final = {
    "one-request.svg": _Plot(
        "((?:cookie|disk): read and write)", "What a session adds to a request", _US, log=True
    ),
    "databases.svg": _Plot(
        "((?:Redis|PostgreSQL): read and write)",
        "The same with sessions on a server",
        _US,
        log=True,
    ),
    "conversation.svg": _Plot("conversation, (.*)", "A conversation with an actor", _US, log=True),
    "growth.svg": _Plot("growth, (.*)", "Opening and committing a session of many", _US),
    "servers.svg": _Plot("servers, (.*)", "A page through real servers", "requests per second"),
    "collecting.svg": _Plot(
        "collecting, (.*)", "The 99th percentile beside a collection of expired sessions", _US
    ),
}


def draw(results: Sequence[Result], directory: Path) -> list[str]:
    """Draw each plot that there are results for, and return the names of the files."""
    drawn = []
    with mpl.rc_context(_SETTINGS):
        for name, plot in _PLOTS.items():
            matches = [(re.match(plot.cases, result.case), result) for result in results]
            cases = {match[1]: result for match, result in matches if match}
            if cases:
                metadata = {"Date": None, "Creator": None}
                _bars(plot, cases).savefig(directory / name, format="svg", metadata=metadata)
                drawn.append(name)
    return drawn


def _bars(plot: _Plot, cases: Mapping[str, Result]) -> Figure:
    bars = sum(len(result.rounds) for result in cases.values())
    figure = Figure(figsize=(8.4, 1.2 + 0.3 * bars + 0.4 * len(cases)), layout="constrained")
    figure.suptitle(plot.title)
    panels = figure.subplots(len(cases), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (case, result) in zip(panels, cases.items(), strict=True):
        medians = [median(figures) for figures in result.rounds.values()]
        colors = [_FIRST, *[_OTHER] * (len(medians) - 1)]
        drawn = axes.barh(list(result.rounds), medians, color=colors)
        axes.bar_label(drawn, fmt="{:,.0f}", padding=3)
        axes.set_title(case, loc="left", fontsize=10)
        axes.invert_yaxis()
        axes.margins(x=0.1)
    if plot.log:  # for all panels, since they share their axis
        all_rounds = (figures for case in cases.values() for figures in case.rounds.values())
        panels[-1].set_xscale("log")
        panels[-1].set_xlim(10, 2 * max(map(median, all_rounds)))
    panels[-1].set_xlabel(plot.label)
    return figure
