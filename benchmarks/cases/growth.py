"""Open and commit in a store with a thousand, a hundred thousand and a million sessions.

Who comes next is drawn at random: from all sessions, which is the worst there is, since no
cache holds what is needed; and from a thousand active ones, as on a site.
"""

from collections.abc import Iterator
from typing import Final

from glimr_session import DiskStore

from ..measure import time_arms
from ..results import Place, Result, Target
from ..stores import committing, opening, populate

_SIZES: Final = (1_000_000, 100_000, 1_000)
_QUICK_SIZES: Final = (10_000, 3_000, 1_000)

_DRAWN: Final = 20_000  # more than there are pages in the cache of a connection
_ACTIVE: Final = 1_000

_ONE_PAGE: Final = (
    "of a million that are drawn at random, the page of each is in no cache of SQLite's, and to "
    "fetch it takes a third of an open"
)


def run(place: Place) -> Iterator[Result]:
    """Yield an open, and an open and commit, of sessions drawn from all and from a few."""
    sizes = _QUICK_SIZES if place.quick else _SIZES
    stores = {size: DiskStore(place.directory / str(size)) for size in sizes}
    values = {size: populate(store, size, sample=_DRAWN) for size, store in stores.items()}
    most, *_, least = (f"{size:,} sessions" for size in sizes)
    for who, number in (("all", _DRAWN), (f"{_ACTIVE:,} active", _ACTIVE)):
        for what, begin in (("open", opening), ("open and commit", committing)):
            arms = {
                f"{size:,} sessions": begin(store, values[size][:number])
                for size, store in stores.items()
            }
            miss = _ONE_PAGE if (what, number) == ("open", _DRAWN) else ""
            yield Result(
                case=f"growth, {what}, drawn from {who}",
                unit="us",
                rounds=time_arms(arms, 0.4 if place.quick else 6),
                targets=[Target(against=least, side=most, limit=1.3, known_miss=miss)],
            )
