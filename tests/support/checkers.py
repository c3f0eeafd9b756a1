"""Checkers: compare what many requests were told with what is there in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable
from typing import NamedTuple

__all__ = ["Visit", "complaints", "flash_complaints"]


def complaints(
    acknowledged: Iterable[Hashable], unacknowledged: Iterable[Hashable], found: Iterable[Hashable]
) -> list[str]:
    """Compare changes with what is found: each of them once, or, unacknowledged, at most once."""
    sure, found_of = Counter(acknowledged), Counter(found)
    possible = sure + Counter(unacknowledged)
    result = []
    for change in possible.keys() | found_of.keys():
        least, most, number = sure[change], possible[change], found_of[change]
        if not most:
            result.append(f"invented: {change}")
        elif number < least:
            result.append(f"lost: {change}, {number} of {least}")
        elif number > most:
            result.append(f"doubled: {change}, {number} of {most}")
    return result


class Visit(NamedTuple):
    """A request that was answered: when it was sent, when it was answered, what it showed."""

    began: float
    ended: float
    shown: Collection[str]


def flash_complaints(flashed: Iterable[str], visits: Iterable[Visit]) -> list[str]:
    """Check what became of flash: all is shown to somebody, and to nobody who came after.

    Those who came before the first one had their answer may have been shown it too. A
    visit at the end shows what was still waiting.
    """
    visits = list(visits)
    over: dict[str, float] = {}
    for visit in visits:
        for message in visit.shown:
            over[message] = min(visit.ended, over.get(message, visit.ended))
    late = {
        message for visit in visits for message in visit.shown if visit.began > over.get(message, 0)
    }
    return complaints(flashed, (), [*over]) + [f"shown again: {message}" for message in late]
