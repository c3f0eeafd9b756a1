"""Requests while another thread collects expired sessions, and without that.

Four threads send requests that read and write, each with a short pause before the next one, to
a store of many sessions. In every second turn a thread calls ``gc``, as the janitor does; there
is more to collect than it can do in that time. Each turn gives one 99th percentile.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from glimr_session import DiskStore

from ..measure import Arm, p99, time_with_pauses
from ..results import Place, Result, Target
from ..sites import begin, browse, glimr_site
from ..stores import populate

_THREADS: Final = 4
_HOURS: Final = 48
_CALIBRATION: Final = 500  # sessions
_MARGIN: Final = 1.7


def run(place: Place) -> Iterator[Result]:
    """Yield the 99th percentile of requests, with a collection beside them and without."""
    rounds, seconds, sessions = (2, 0.3, 2_000) if place.quick else (10, 1.0, 100_000)
    store = DiskStore(place.directory / "store")
    populate(store, sessions)
    site = glimr_site(store)
    arms = [browse(site.client, ["/visit"], begin(site.client)) for _ in range(_THREADS)]
    populate(store, _CALIBRATION, hours_ago=_HOURS)
    pace = _CALIBRATION / _collect(store, _CALIBRATION)
    with ThreadPoolExecutor(_THREADS + 1) as pool:
        _turn(pool, arms, seconds)  # warms up
        taken: dict[str, list[float]] = {"collecting": [], "not collecting": []}
        for _ in range(rounds):
            expired = round(pace * seconds * _MARGIN)
            populate(store, expired, hours_ago=_HOURS)
            collection = pool.submit(_collect, store, expired)
            taken["collecting"].append(_turn(pool, arms, seconds))
            if collection.done():
                raise RuntimeError("there was too little to collect")
            collection.result()
            taken["not collecting"].append(_turn(pool, arms, seconds))
    yield Result(
        case="collecting, requests that read and write",
        unit="us, p99",
        rounds=taken,
        targets=[Target(against="not collecting", limit=1.5)],
        note=f"about {pace:,.0f} sessions are collected in a second.",
    )


def _collect(store: DiskStore, expired: int) -> float:
    """Collect all expired sessions, and return how many seconds that took."""
    start = time.perf_counter()
    if (collected := store.gc()) != expired:
        raise RuntimeError(f"{collected} sessions were collected, and {expired} had expired")
    return time.perf_counter() - start


def _turn(pool: ThreadPoolExecutor, arms: Sequence[Arm], seconds: float) -> float:
    """Return the 99th percentile of the requests of a turn, in microseconds."""
    turns = [pool.submit(time_with_pauses, arm, seconds) for arm in arms]
    return p99([taken for turn in turns for taken in turn.result()])
