"""Results as text: a block of lines for a terminal, and tables in Markdown."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from .case import UNITS, Result, Verdict
from .measure import Spread
from .report import Report, Told

__all__ = ["block", "markdown", "summary"]

_FIGURES: Final = {
    "wall": "us",
    "cpu": "CPU us",
    "median": "median us",
    "p99": "p99 us",
    "rate": "requests/s",
    "memory": "bytes",
    "threads": "threads",
}
"""What stands over a column of each figure."""

_MARKS: Final = {"met": "met", "known": "missed, as known", "missed": "MISSED"}


def block(told: Told) -> str:
    """Give some lines about a case: one for each side, then its targets."""
    result = told.result
    names = list(dict.fromkeys(figure for side in result.sides.values() for figure in side))
    lines = [
        f"{told.module}, {told.place}: {result.name}",
        f"  {f'{result.rounds} rounds':<46}"
        + "".join(f"{_FIGURES[name]:>12}" for name in names)
        + "    ours / it",
    ]
    for side, figures in result.sides.items():
        cells = (_number(figures[name].median) if name in figures else "" for name in names)
        ratios = [_ratio(values) for values in result.ratios.get(side, {}).values()]
        lines.append(
            f"  {side:<46}{''.join(f'{cell:>12}' for cell in cells)}    {''.join(ratios[:1])}"
        )
    lines += [f"  {_told(verdict)}" for verdict in result.verdicts]
    if result.notes:
        lines.append(f"  {result.notes}")
    return "\n".join(line.rstrip() for line in lines)


def _told(verdict: Verdict) -> str:
    outcome = _outcome(verdict)
    why = f" ({verdict.target.known_miss})" if outcome == "known" else ""
    return f"{_MARKS[outcome]}: {verdict.target.text}: {_value(verdict)}{why}"


def _outcome(verdict: Verdict) -> str:
    if verdict.met:
        return "met"
    return "missed" if verdict.failed else "known"


def _value(verdict: Verdict) -> str:
    value = verdict.value
    return (
        f"{_number(value.median)} ({_number(value.low)} to {_number(value.high)}), {verdict.bound}"
    )


def summary(report: Report) -> str:
    """Give what became of all targets, and what failed."""
    outcomes: dict[str, list[str]] = {outcome: [] for outcome in _MARKS}
    for told, verdict in report.verdicts:
        where = f"{told.module}, {told.place}, {told.result.name}"
        outcomes[_outcome(verdict)].append(f"  {where}\n      {_told(verdict)}")
    lines = ["Targets"]
    lines += [line for of_outcome in outcomes.values() for line in of_outcome]
    lines += [
        f"  {failure.module}, {failure.place}\n      FAILED: {failure.trace.splitlines()[-1]}"
        for failure in report.failures
    ]
    counts = [f"{len(outcomes[outcome])} {mark}" for outcome, mark in _MARKS.items()]
    lines.append(f"{', '.join(counts)}, {len(report.failures)} failed")
    return "\n".join(lines)


def markdown(report: Report, texts: Mapping[str, str]) -> str:
    """Give the whole report. ``texts`` has what there is to say of each module."""
    return "\n".join(_document(report, texts))


def _document(report: Report, texts: Mapping[str, str]) -> Iterator[str]:
    yield "# Results\n"
    if report.quick:
        yield "**A quick run: smaller, with fewer rounds, and less to rely on.**\n"
    yield f"Measured on {report.machine}. The run took {report.seconds / 60:.1f} minutes.\n"
    versions = (f"{name} {version}" for name, version in report.machine.versions.items())
    yield f"{', '.join(versions)}.\n"
    yield inspect.cleandoc(_READING)
    yield "\n## Targets\n"
    yield "| case | place | promised | came out | |\n|---|---|---|---|---|"
    for told, verdict in report.verdicts:
        cells = (told.result.name, told.place, verdict.target.text, _value(verdict))
        yield f"| {' | '.join(cells)} | {_cell_of(verdict)} |"
    for failure in report.failures:
        yield f"\n**{failure.module}, {failure.place}: failed.**\n\n```\n{failure.trace}```"
    for module, of_module in groupby(report.results, lambda told: told.module):
        yield f"\n## {module.capitalize()}\n"
        yield texts.get(module, "")
        by_group: dict[str, list[Told]] = {}
        for told in of_module:
            by_group.setdefault(told.result.group, []).append(told)
        for results in by_group.values():
            yield from _table(results)


_READING: Final = """
    Every figure is the median of all rounds, with the quartiles in brackets. In a round each
    side has one short batch, so that whatever else the machine did hit all of them. *ours / it*
    is the median of the ratios of the rounds: the first side of a case divided by this one.
    CPU is the processor time of all threads. Sides are counted minus the same work without a
    session where the text says so.
"""


def _cell_of(verdict: Verdict) -> str:
    outcome = _outcome(verdict)
    if outcome == "known":
        return f"missed, as known: {verdict.target.known_miss}"
    return "met" if outcome == "met" else "**missed**"


def _table(results: Sequence[Told]) -> Iterator[str]:
    figures = [
        figure
        for figure in UNITS
        if any(figure in side for told in results for side in told.result.sides.values())
    ]
    names = ["case", "place", "side", *(_FIGURES[figure] for figure in figures), "ours / it"]
    yield f"\n| {' | '.join(names)} |"
    yield f"|---|---|---|{'---:|' * (len(figures) + 1)}"
    for told in results:
        yield from _rows(told, figures)
    notes = {f"{told.result.name}: {told.result.notes}" for told in results if told.result.notes}
    for note in sorted(notes):
        yield f"\n{note}"


def _rows(told: Told, figures: Sequence[str]) -> Iterator[str]:
    result: Result = told.result
    first = True
    for side, values in result.sides.items():
        cells = [result.name, told.place] if first else ["", ""]
        cells.append(f"**{side}**" if first else side)
        cells += [_cell(values[figure]) if figure in values else "" for figure in figures]
        ratios = list(result.ratios.get(side, {}).values())
        cells.append(_ratio(ratios[0]) if ratios else "")
        yield f"| {' | '.join(cells)} |"
        first = False


def _cell(values: Spread) -> str:
    if values.low == values.high:
        return _number(values.median)
    return f"{_number(values.median)} ({_number(values.low)} to {_number(values.high)})"


def _ratio(values: Spread) -> str:
    return f"{values.median:.3g} ({values.low:.3g} to {values.high:.3g})"


def _number(value: float) -> str:
    """Give three digits, or all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
