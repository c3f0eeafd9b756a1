"""A request that never touches its session, though it brings the cookie of one.

What these cases do not show: how the cookie's header gets from the server into the
environ, which is the same without sessions. It is there before anything is measured.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from glimr_session import CookieStore, DiskStore, SessionStore

from .case import Bound, Case, Result, Side, Timed, difference
from .measure import Arm, Clock, spread
from .ours import cookie_for, glimr_site
from .sample import SAMPLE, of_size
from .site import bare_site, prove, visiting

__all__ = ["cases"]

_NO_MORE: Final = Bound(0, "bytes more")


def cases(directory: Path) -> Iterator[Case]:
    """Yield the time of such a request, and what it allocates for a large session."""
    store = DiskStore(directory / "untouched")
    ours, bare = glimr_site(store), bare_site()
    prove(glimr=ours, bare=bare)
    cookies = [cookie_for(store, SAMPLE)]
    yield Timed(
        name="untouched: time",
        ours=Side(visiting(ours, "/ignore", cookies)),
        yardstick_name="bare application",
        yardstick=Side(visiting(bare, "/ignore", cookies)),
        compare=difference,
        bound=Bound(3, "us more"),
        clock=Clock.PROCESSOR,
    )
    yield _allocations("disk", store, 30_000)
    # Signed and encoded, three quarters of a cookie's four kilobytes are left.
    yield _allocations("cookie", CookieStore(), 2_700)
    store.close()


def _allocations(name: str, store: SessionStore, size: int) -> Case:
    application = glimr_site(store)
    small, large = (
        visiting(application, "/ignore", [cookie_for(store, data)])
        for data in (SAMPLE, of_size(size))
    )
    return _Allocated(
        name=f"untouched: memory, {name} {size / 1000:g} kB", large=large, small=small
    )


@dataclass(frozen=True, kw_only=True)
class _Allocated:
    """A case of memory: the most bytes at a time that an arm had allocated.

    tracemalloc sees what goes through Python's allocators; that is all there is here.
    """

    name: str
    large: Arm
    small: Arm
    yardstick_name: str = "session of 0.3 kB"
    bound: Bound = _NO_MORE

    def run(self, rounds: int) -> Result:
        """Trace both arms in turns."""
        tracemalloc.start()
        try:
            peaks = [(_peak(self.large), _peak(self.small)) for _ in range(rounds)]
        finally:
            tracemalloc.stop()
        larges, smalls = zip(*peaks, strict=True)
        compared = spread([large - small for large, small in peaks])
        return Result(spread(larges), spread(smalls), "bytes", compared)


def _peak(arm: Arm) -> float:
    arm()  # CPython keeps some freed objects for the next of their type: here they are kept
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    arm()
    return tracemalloc.get_traced_memory()[1] - before
