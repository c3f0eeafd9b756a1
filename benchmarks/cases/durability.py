"""A session that outlives a loss of power: what the wait for the disk costs.

With ``durability="power"`` a commit is acknowledged when its bytes are on the disk. The
yardstick is the read and write of a row in a bare ``diskcache.Cache`` that waits for the
disk as well. Both wait once for a commit, and that is nearly all there is.

What this does not show: a disk that says it has written what it has not, and many
requests that wait at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Final

from glimr_session import DiskStore

from ..barerows import PAGE, BareRows
from ..case import Case, Place, Side, Target, Timed, require_equal
from ..ours import glimr_site
from ..site import bare_site, fill, prove, visiting

__all__ = ["PLACES", "SECONDS", "cases"]

PLACES: Final = ("disk",)  # in memory there is nothing to wait for
SECONDS: Final = 6

_BARE: Final = "diskcache: get and set in a transaction, FULL"

_BATCH: Final = 20.0  # milliseconds: some ten waits for the disk
_FULL: Final = 2  # SQLite's number for it


def cases(place: Place) -> Iterator[Case]:
    """Yield a request that reads and writes."""
    directory, bare = place.directory / "ours", bare_site()
    with closing(DiskStore(directory)) as store:
        cookies = fill(glimr_site(store))  # no wait for each of thousands
    with (
        closing(DiskStore(directory, durability="power")) as store,
        closing(BareRows(place.directory / "diskcache", synchronous=_FULL)) as rows,
    ):
        ours = glimr_site(store)
        prove(glimr=ours, bare=bare)
        require_equal("one row", written=rows.value, transacted=rows.transact())
        yield Timed(
            name="a request that reads and writes, durability power",
            group="durability",
            sides={
                "glimr_session": Side(
                    visiting(ours, "/visit", cookies, PAGE), visiting(bare, "/visit", cookies, PAGE)
                ),
                _BARE: Side(rows.transact),
            },
            targets=[
                Target(
                    "durability power: at most 2 times a bare transaction that waits for the disk",
                    yardstick=_BARE,
                    limit=2,
                )
            ],
            batch=_BATCH,
            seconds=5.0,
        )
