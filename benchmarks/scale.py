"""Requests per second, bytes and machines for many live sessions, from costs measured here.

    python -m benchmarks.scale            # two minutes; prints what docs/scale.md has
    python -m benchmarks.scale --quick    # does it run?

The first table is measured, the others are computed from it.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from .costs import Cost, measure
from .queueing import Load, constant, exponential, simulate
from .results import table

LIVE: Final = (1_000_000, 100_000_000)

# A visitor requests ten pages in ten minutes, and the session lives for two hours after that.
_PAGES: Final = 10
_LIFE: Final = 600 + 7_200  # seconds

# A machine has these; it is to be busy for no more than this share of the time, and no more
# than this share of its memory is for sessions.
_CORES: Final = 8
_MEMORY: Final = 32e9
_BUSY: Final = 0.6
_FOR_SESSIONS: Final = 0.6

# A web machine of the simulation, and the network: a fiftieth of a second for a page, as much
# again for other databases.
_THREADS: Final = 32
_RATE: Final = 200.0  # requests per second: 4 of 8 cores, at 20 ms of processor time each
_PAGE: Final = 0.040
_NETWORK: Final = 0.000_1  # one way
_WEB_MACHINES: Final = (1, 10, 50, 100, 120, 140, 160)
_CHANNELS: Final = {"Redis": 1, "PostgreSQL": _CORES}
_FULL: Final = 0.98  # of a server: beyond, the queue has no end

_MICRO: Final = 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, compute, and print all tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small stores, short simulations")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="scale-") as directory:
        found = [*measure(Path(directory), quick=options.quick)]
    costs = [cost for cost in found if isinstance(cost, Cost)]
    for reason in found:
        if isinstance(reason, str):
            print(f"NOT MEASURED: {reason}\n")
    print("## Measured\n")
    print(table(_MEASURED, [*_measured(costs)]))
    print(f"\n## Computed: one server, {_BUSY:.0%} busy\n")
    print(table(_LIMITS, [*_limits(costs)]))
    for live in LIVE:
        print(f"\n## Computed: {live:,} live sessions, {rate(live):,.0f} requests per second\n")
        print(table(_NEEDED, [*_needed(costs, live)]))
    for cost in costs:
        if cost.store in _CHANNELS:
            print(f"\n## Simulated: web machines on one {cost.store}\n")
            print(table(_SIMULATED, [*_simulated(cost, 2_000 if options.quick else 40_000)]))
    return 0


def rate(live: int) -> float:
    """Return the requests per second of so many live sessions."""
    return live * _PAGES / _LIFE


def machines(cost: Cost, live: int) -> int:
    """Return the number of server machines for processor and memory; 0 if there are none."""
    busy = rate(live) * cost.server / _MICRO
    if not busy:
        return 0
    in_memory = cost.size * live / (_MEMORY * _FOR_SESSIONS) if cost.store == "Redis" else 0
    return max(math.ceil(busy / (_CORES * _BUSY)), math.ceil(in_memory))


def limits(cost: Cost) -> tuple[float, float, float]:
    """Return where one server stops.

    Returns:
        Requests per second, the live sessions that make as many, and the live sessions that its
        memory has room for, which does not matter where they are on a disk.
    """
    most = _CHANNELS[cost.store] * _BUSY / cost.server * _MICRO
    room = _MEMORY * _FOR_SESSIONS / cost.size if cost.store == "Redis" else math.inf
    return most, most / rate(1), room


def load(cost: Cost, web_machines: int) -> Load:
    """Return the load of so many web machines on one server; a request makes two calls."""
    call = cost.server / 2 / _MICRO
    return Load(
        machines=web_machines,
        threads=_THREADS,
        rate=_RATE,
        # Redis does one thing at a time and nothing else; the processes of PostgreSQL interrupt
        # each other.
        service=constant(call) if cost.store == "Redis" else exponential(call),
        channels=_CHANNELS[cost.store],
        page=exponential(_PAGE),
        network=_NETWORK,
    )


_MEASURED: Final = (
    *("store", "web machine, us", "read only", "server, us", "read only", "alone"),
    *("bytes of a session", "log of a commit", "of the first after a checkpoint"),
)
_LIMITS: Final = ("store", "requests/s", "live sessions, by requests", "by memory")
_NEEDED: Final = (
    *("store", "sessions, GB", "log, MB/s", "web machines' cores", "server cores"),
    "server machines",
)
_SIMULATED: Final = (
    *("web machines", "requests/s", "server busy", "wait, mean us", "p99 us"),
    *("session, ms of a request", "wait for a thread, ms"),
)


def _measured(costs: Sequence[Cost]) -> Iterator[tuple[str, ...]]:
    for cost in costs:
        yield (cost.store, *(f"{figure:,.0f}" if figure else "" for figure in cost[1:]))


def _limits(costs: Sequence[Cost]) -> Iterator[tuple[str, ...]]:
    for cost in costs:
        if cost.store in _CHANNELS:
            requests, by_requests, by_memory = limits(cost)
            memory = "" if math.isinf(by_memory) else f"{by_memory:,.0f}"
            yield cost.store, f"{requests:,.0f}", f"{by_requests:,.0f}", memory


def _needed(costs: Sequence[Cost], live: int) -> Iterator[tuple[str, ...]]:
    for cost in costs:
        logged = [rate(live) * size / 1e6 for size in (cost.log, cost.log_first)]
        yield (
            cost.store,
            f"{cost.size * live / 1e9:,.1f}" if cost.store != "cookie" else "",
            f"{logged[0]:,.1f} to {logged[1]:,.1f}" if cost.log else "",
            f"{rate(live) * cost.web / _MICRO:,.1f}",
            f"{rate(live) * cost.server / _MICRO:,.1f}" if cost.server else "",
            str(machines(cost, live) or ""),
        )


def _simulated(cost: Cost, requests: int) -> Iterator[tuple[str, ...]]:
    for web_machines in _WEB_MACHINES:
        offered = web_machines * _RATE
        shown = (f"{web_machines}", f"{offered:,.0f}")
        busy = offered * cost.server / _MICRO / _CHANNELS[cost.store]
        if busy >= _FULL:
            yield (*shown, f"{busy:.0%}", "the queue grows without end", "", "", "")
            return
        outcome = simulate(load(cost, web_machines), requests=requests)
        yield (
            *shown,
            f"{outcome.utilisation:.0%}",
            f"{outcome.wait * _MICRO:,.0f}",
            f"{outcome.wait_p99 * _MICRO:,.0f}",
            f"{outcome.session * 1_000:.2f}",
            f"{outcome.thread_wait * 1_000:.2f}",
        )


if __name__ == "__main__":
    sys.exit(main())
