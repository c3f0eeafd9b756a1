"""One request on an event loop, with our sessions, Starlette's, and those of starsessions.

The application is the same, has no framework, and is given the same data. In this process a bare
driver calls it, and each side is counted minus the application without sessions; with one worker
of uvicorn, over connections that stay open, whole requests are counted. Both are microseconds of
the processor of who calls the application: another process on the machine lengthens the time on
the clock, and most of all that of the side that takes longer. The time on the clock of the client,
which includes all waits, is told beside it.

Beside them is the worst lag of the loop while another process holds the write lock of the disk
store half of the time: our way, which commits at once where nobody holds the lock and in a thread
otherwise; beside a commit that waits in line, and beside a thread for every call of the store.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from time import clock_gettime, perf_counter, process_time_ns
from typing import Final

from .. import lag
from ..connections import Connections
from ..databases import redis_server, started
from ..measure import Arm, in_turn, minus, time_arms
from ..results import Place, Result, Target
from ..rivals.asgi import APPLICATIONS, BATCH, COUNT, PLACE, WITHOUT, AsgiClient, Run, prefix
from ..serving import running
from ..sites import IN_A_ROW, Site, begin, prove_same
from ..worker import VISITORS

_COOKIE: Final = ("glimr_session (cookie)", "Starlette", "starsessions (cookie)")
_DISK: Final = ("glimr_session (disk)", "starsessions (memory)")
_REDIS: Final = ("glimr_session (Redis)", "starsessions (Redis)")

_FORGET: Final = ("glimr_session (disk)", "glimr_session (Redis)")
"""Those whose old cookie is worth nothing after a login."""

_UVICORN: Final = (
    "uvicorn --factory benchmarks.rivals.asgi:application --port={port} --log-level=warning "
    "--no-access-log --lifespan=off"
)
_PROCESSOR: Final = "us of the processor"
_AT_ONCE: Final = 20

_ANONYMOUS: Final = "untouched, no cookie"
_USED: Final = ("read and write", "read only")
_PATHS: Final = {
    _ANONYMOUS: "/ignore",
    "untouched": "/ignore",
    "read only": "/read",
    "read and write": "/visit",
    "log in": "/login",
}

_COPIES: Final = (
    "ours goes through an actor, and compares each value with what it was; theirs replaces the "
    "whole session, and loses what a request beside it has done"
)
_DISK_AND_MEMORY: Final = f"theirs is in the memory of its own process, and {_COPIES}"
_AROUND: Final = (
    f"both send two commands, which cost the same; what is around them is longer, since {_COPIES}"
)
_OBJECTS: Final = "each request is given two objects, and its response is watched"

_UNTOUCHED: Final = {
    page: [Target(limit=5, known_miss=_OBJECTS)] for page in (_ANONYMOUS, "untouched")
}
_STARLETTE: Final = [Target(against="Starlette", limit=1, known_miss=_COPIES)]
_STARSESSIONS: Final = [Target(against="starsessions (Redis)", limit=0.8, known_miss=_AROUND)]

_IN_PROCESS: Final[Mapping[str, Mapping[str, Sequence[Target]]]] = {
    "cookie": {**_UNTOUCHED, **dict.fromkeys(_USED, _STARLETTE)},
    "disk": _UNTOUCHED,
    "Redis": dict.fromkeys(_USED, _STARSESSIONS),
}
_THROUGH_UVICORN: Final = {
    "cookie": _STARLETTE,
    "disk": [Target(against="starsessions (memory)", limit=1.2, known_miss=_DISK_AND_MEMORY)],
    "Redis": _STARSESSIONS,
}
"""Of a page that uses its session."""


def run(place: Place) -> Iterator[Result]:
    """Yield requests in this process and through uvicorn, and the lag of the loop; Redis last."""
    with asyncio.Runner() as runner:
        on_loop = runner.get_loop().run_until_complete
        for name, sides in (("cookie", _COOKIE), ("disk", _DISK)):
            clients = _clients((*sides, WITHOUT), str(place.directory / name), on_loop)
            yield from _in_process(name, clients, place)
            yield from _through_uvicorn(name, sides, place)
        yield from lag.measure(on_loop, place)
        with started(redis_server(place.directory / "redis")) as server:
            clients = _clients((*_REDIS, WITHOUT), server.url, on_loop)
            yield from _in_process("Redis", clients, place)
            yield from _at_once({side: clients[side] for side in _REDIS}, on_loop, place)
            yield from _through_uvicorn("Redis", _REDIS, place, server.url)


def _clients(sides: Iterable[str], where: str, on_loop: Run) -> dict[str, AsgiClient]:
    return {side: AsgiClient(APPLICATIONS[side](where), on_loop) for side in sides}


def _in_process(name: str, clients: Mapping[str, AsgiClient], place: Place) -> Iterator[Result]:
    """Yield what a session adds to each page; the last client has none."""
    *sides, without = clients
    bare = clients[without]
    prove_same([Site(side, clients[side], bare, side in _FORGET) for side in sides])
    in_a_row = 1 if name == "cookie" else IN_A_ROW
    visitors, seconds = (VISITORS // 20, 0.1) if place.quick else (VISITORS, 4)
    cookies = {side: begin(clients[side], visitors=visitors) for side in sides}
    for page in (_ANONYMOUS, "read and write") if place.quick else _PATHS:
        path = _PATHS[page]
        sent = {side: [""] if page == _ANONYMOUS else cookies[side] for side in sides}
        # The bare application gets the same cookies, which it has to hand on.
        arms: dict[tuple[str, str], Arm] = {}
        for side in sides:
            arms[side, side] = clients[side].browse(path, sent[side], in_a_row)
            arms[side, without] = bare.browse(path, [*sent[side]], in_a_row)
        taken = {
            arm: [figure / BATCH for figure in figures]
            for arm, figures in time_arms(arms, seconds, process_time_ns).items()
        }
        yield Result(
            case=f"event loop, {name}: {page}",
            unit=_PROCESSOR,
            rounds={side: minus(taken[side, side], taken[side, without]) for side in sides},
            targets=_IN_PROCESS[name].get(page, ()),
        )


def _at_once(clients: Mapping[str, AsgiClient], on_loop: Run, place: Place) -> Iterator[Result]:
    """Yield the time and the outcome of many requests of one session that increment a number."""
    turns = {side: _Crowd(client, on_loop) for side, client in clients.items()}
    case = f"event loop, Redis: {_AT_ONCE} requests of one session at once"
    rounds, seconds = (1, 0) if place.quick else (20, 4)
    taken = in_turn(
        {name: turn.take for name, turn in turns.items()}, rounds=rounds, seconds=seconds
    )
    yield Result(case=case, unit="ms", rounds=taken)
    yield Result(
        case=f"{case}, increments that were kept",
        unit="increments",
        rounds={name: turn.kept[1:] for name, turn in turns.items()},
        targets=[Target(limit=_AT_ONCE, at_least=True)],
    )


class _Crowd:
    """Requests of one session at once.

    Attributes:
        kept: how many of their increments were kept, in each turn.
    """

    def __init__(self, client: AsgiClient, on_loop: Run) -> None:
        self._client = client
        self._on_loop = on_loop
        (self._cookie,) = begin(client, visitors=1)
        self.kept: list[float] = []

    def take(self) -> float:
        """Return the milliseconds that they took."""
        before = int(self._client("/read", self._cookie).body)
        start = perf_counter()
        self._on_loop(self._gathered())
        taken = perf_counter() - start
        self.kept.append(int(self._client("/read", self._cookie).body) - before)
        return taken * 1000

    async def _gathered(self) -> None:
        requests = [self._client.get(COUNT, self._cookie) for _ in range(_AT_ONCE)]
        for answer in await asyncio.gather(*requests):
            if answer.status != "200 OK":
                raise RuntimeError(f"a request was answered with {answer}")


def _through_uvicorn(
    name: str, sides: Sequence[str], place: Place, url: str = ""
) -> Iterator[Result]:
    """Yield what whole requests take of a server that has all sides."""
    rounds, seconds, requests = (1, 0, 40) if place.quick else (8, 8, 200)
    visitors = VISITORS // 20 if place.quick else VISITORS // 5
    directory = place.directory / f"uvicorn-{name}"
    where = url or str(directory / "sessions")
    with (
        running(_UVICORN, directory, {PLACE: where}) as server,
        Connections.to(server.address) as client,
    ):
        sites = {side: _OnUvicorn(server.pid, client, side, visitors) for side in (*sides, WITHOUT)}
        for page in _USED[:1] if place.quick else (*_USED, "untouched"):
            turns = {
                side: partial(site.take, _PATHS[page], requests) for side, site in sites.items()
            }
            case = f"uvicorn, {name}: {page}"
            taken = in_turn(turns, rounds=rounds, seconds=seconds)
            targets = _THROUGH_UVICORN[name] if page in _USED else ()
            yield Result(case=case, unit=_PROCESSOR, rounds=taken, targets=targets)
            waited = {side: site.waited[-len(taken[side]) :] for side, site in sites.items()}
            yield Result(case=f"{case}, on the clock", unit="us", rounds=waited)


class _OnUvicorn:
    """A site on uvicorn, and its visitors.

    Attributes:
        waited: the microseconds of a request on the clock of the client, in each turn.
    """

    def __init__(self, pid: int, client: Connections, side: str, visitors: int) -> None:
        self._clock = ~pid << 3 | 2  # as clock_getcpuclockid() of Linux returns it
        self._client = client
        self._prefix = prefix(side)
        self._cookies = begin(client, f"{self._prefix}/fill", visitors)
        self.waited: list[float] = []

    def take(self, path: str, requests: int) -> float:
        """Return the microseconds of the server's processor for one of so many requests."""
        start, used = perf_counter(), clock_gettime(self._clock)
        self._client.send(f"{self._prefix}{path}", self._cookies, requests)
        self.waited.append((perf_counter() - start) / requests * 1e6)
        return (clock_gettime(self._clock) - used) / requests * 1e6
