"""Whole sites through real servers, with a session and without one: requests per second.

waitress and gunicorn serve a site on a loopback address, and wrk asks for its pages over
eight connections that stay open. The servers of all sides are up at the same time and
take turns of half a second. What is compared is the requests per second of a round; the
processor time is that of a server's processes together, for each request.

There are two kinds of page. One is rendered: a table of a hundred rows made from a list,
16 kB, about a millisecond of work, as a small page of a site is. It is what the target is
about. The other one answers with six digits, so that nothing is left but the server and
the session. Beside it is the least that keeps a number on a disk, in the same server:
SQLite's SELECT and UPDATE of one row by its number, no session around them. (Each call
of SQLite lets another thread have the interpreter, and waits until it is given back.
With four threads that is most of what it costs.)

Nothing is set but the store: expired sessions are collected by lottery, as is the default.

What these cases do not show: a network; TLS, and the proxy that speaks it; browsers that
ask for several pages at the same time; and whoever else wants the processors, for wrk has
most of one and a server has what is left. The reply's cookie is not followed, so a cookie
store is always sent the session as it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from glimr_session import CookieStore, DiskStore

from ..case import Case, Place, Result, Target, require_equal
from ..ours import glimr_site
from ..serverprocess import SERVERS, Server, home, serving
from ..serving import TABLE, limit_cookies, table_page
from ..site import VISITORS, fill
from ..wrk import Wrk, found

__all__ = ["PLACES", "SECONDS", "cases"]

PLACES: Final = ("tmpfs", "disk")
SECONDS: Final = 62

_TURN: Final = 0.4  # seconds
_TURN_QUICK: Final = 0.12
_OVERHEAD: Final = 0.1  # for wrk to begin, and to notice that it shall end
_WARM_UP: Final = 0.3
_WARM_UP_QUICK: Final = 0.05

_WITHOUT: Final = "without a session"
_LEAST: Final = "SQLite alone"
_SITES: Final = {
    "disk store": "disk",
    "cookie store": "cookie",
    _WITHOUT: "nothing",
    _LEAST: "statements",
}
"""The sides, and what the pages of each find their session in."""


def _targets(kind: str) -> list[Target]:
    return [
        Target(
            f"a rendered page through {kind}, read and written in the {side}: at least 0.9 of "
            "the requests per second without a session",
            yardstick=_WITHOUT,
            limit=0.9,
            ours=side,
            at_least=True,
            known_miss=_LOCK if side == "disk store" else "",
        )
        for side in ("disk store", "cookie store")
    ]


_LOCK: Final = (
    "each call of SQLite gives up the interpreter lock and has to wait for it again: one SELECT "
    "and one UPDATE, and no session, keep 0.88 to 0.92 of the requests in the same server"
)


def cases(place: Place) -> Iterator[Case]:
    """Yield for each server the rendered page, then the few digits, written and read."""
    if not found():
        raise RuntimeError(
            "wrk is not installed, and without it nothing is told of servers: "
            "apt-get install wrk (Debian), brew install wrk (macOS)"
        )
    for number, kind in enumerate(list(SERVERS)[: 1 if place.quick else None]):
        directory = place.directory / str(number)
        with serving(kind, _SITES, directory) as servers:
            _prove(servers)
            cookies = _cookies(directory)
            for (name, path), seconds in _PAGES.items():
                rendered = path.startswith(TABLE)
                if place.quick and path.endswith("read"):
                    continue
                if place.name == "tmpfs" and path.endswith("read"):
                    continue  # where a disk is not waited for, it is no other figure
                yield _Served(
                    name=f"{kind}: {name}",
                    loads={
                        side: (
                            server,
                            Wrk(server.url(path), cookies[side], directory / f"{side} {path[1:]}"),
                        )
                        for side, server in servers.items()
                        if not (side == _LEAST and path.endswith(f"{TABLE}/read"))
                    },
                    targets=_targets(kind) if rendered and path.endswith("visit") else (),
                    seconds=seconds,
                    notes=f"The page takes {_rendering():.0f} us." if rendered else "",
                )


_PAGES: Final = {
    ("a rendered page that reads and writes", f"{TABLE}/visit"): 9.0,
    ("an empty answer that reads and writes", "/visit"): 5.0,
    ("a rendered page that reads", f"{TABLE}/read"): 4.0,
    ("an empty answer that reads", "/read"): 4.0,
}
"""What they are called, and how many seconds each gets."""


def _prove(servers: Mapping[str, Server]) -> None:
    """See that all sides tell the same story, and that the rendered pages have it in them."""
    for prefix, page in (("", str), (TABLE, table_page)):
        paths = tuple(f"{prefix}/{page}" for page in ("fill", "read", "visit", "visit", "read"))
        said = ("filled", "100000", "100000", "100001", "100002")
        require_equal(
            f"the story of a session, {prefix or 'empty'}",
            expected=[(200, page(word)) for word in said],
            **{side: server.story(paths) for side, server in servers.items()},
        )


def _cookies(directory: Path) -> dict[str, Sequence[str]]:
    """Begin a session for each visitor, with each side; give the cookies."""
    sessions = {side: home(directory, side) / "sessions" for side in _SITES}
    store = DiskStore(sessions["disk store"])
    try:
        on_disk = fill(glimr_site(store))
    finally:
        store.close()
    return {
        "disk store": on_disk,
        "cookie store": fill(glimr_site(CookieStore())),
        _WITHOUT: [""],
        _LEAST: limit_cookies(sessions[_LEAST], VISITORS),
    }


def _rendering() -> float:
    """Give the microseconds that the rendered page takes by itself: the best of some."""
    best = float("inf")
    for _ in range(50):
        start = time.perf_counter_ns()
        table_page("100000")
        best = min(best, (time.perf_counter_ns() - start) / 1000)
    return best


@dataclass(frozen=True, kw_only=True)
class _Served:
    """A case of requests per second: the sides take turns under load, all servers up."""

    name: str
    loads: Mapping[str, tuple[Server, Wrk]]
    targets: Sequence[Target]
    seconds: float
    notes: str
    group: str = "servers"

    def run(self, *, quick: bool) -> Result:
        """Load one side after the other, in every second round backwards."""
        figures: dict[str, dict[str, list[float]]] = {
            side: {"rate": [], "cpu": [], "p99": []} for side in self.loads
        }
        for _, load in self.loads.values():
            load.run(_WARM_UP_QUICK if quick else _WARM_UP)
        turn = _TURN_QUICK if quick else _TURN
        rounds = 2 if quick else max(3, round(self.seconds / (turn + _OVERHEAD) / len(self.loads)))
        order = list(self.loads)
        for _ in range(rounds):
            for side in order:
                server, load = self.loads[side]
                before = server.cpu_seconds()
                batch = load.run(turn)
                cpu = (server.cpu_seconds() - before) / batch.requests
                kept = figures[side]
                kept["rate"].append(batch.per_second)
                kept["cpu"].append(cpu * 1e6)
                kept["p99"].append(batch.p99)
            order.reverse()
        return Result.of(self, figures, notes=self.notes)
