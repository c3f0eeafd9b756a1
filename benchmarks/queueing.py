"""A simulation of web machines that share one server of sessions.

Requests reach each machine at random moments (a Poisson process). A request waits for a thread of
its machine, asks the server for its session, makes its page, and asks the server to commit. The
server answers ``channels`` calls at once; the others wait in one queue (M/G/k).
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from statistics import fmean
from typing import Final, NamedTuple, TypeAlias

from .measure import p99

Times: TypeAlias = Callable[[random.Random], float]
"""Draws a number of seconds."""

_WARM_UP: Final = 0.1  # of the requests, which find the queues too short


def constant(mean: float) -> Times:
    """Return what always takes as long."""
    return lambda _random: mean


def exponential(mean: float) -> Times:
    """Return what takes long now and then, as a server does that is sometimes interrupted."""
    return lambda source: source.expovariate(1 / mean)


class Load(NamedTuple):
    """Web machines and a server; all times are in seconds.

    Attributes:
        machines: number of web machines.
        threads: of each machine.
        rate: requests per second to each machine.
        service: what the server works on one call.
        channels: calls that the server works on at once.
        page: what a request takes between its calls.
        calls: of a request; the page is made after the first.
        network: one way.
    """

    machines: int
    threads: int
    rate: float
    service: Times
    channels: int = 1
    page: Times = constant(0)
    calls: int = 2
    network: float = 0.0


class Outcome(NamedTuple):
    """What came out.

    Attributes:
        utilisation: of the server.
        wait: seconds that a call waits at the server, the mean.
        wait_p99: likewise, the 99th percentile.
        thread_wait: seconds that a request waits for a thread, the mean.
        session: seconds that a request waits for the server, answers included, the mean.
    """

    utilisation: float
    wait: float
    wait_p99: float
    thread_wait: float
    session: float


class _Request:
    """A request at a machine."""

    __slots__ = ("arrived", "calls", "machine", "sent", "session")

    def __init__(self, machine: int, arrived: float, calls: int) -> None:
        self.machine = machine
        self.arrived = arrived
        self.calls = calls  # that are left
        self.sent = 0.0  # when the last call reached the server
        self.session = 0.0


class _Simulation:
    """The clock, the queues, and what was seen."""

    def __init__(self, load: Load, seed: int) -> None:
        self.load = load
        self.random = random.Random(seed)
        self.now = 0.0
        self.arrivals = 0
        self.done = 0
        self.busy = 0.0  # seconds of all channels
        self.waits: list[float] = []
        self.thread_waits: list[float] = []
        self.sessions: list[float] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._threads = [load.threads] * load.machines  # that are free
        self._lines: list[deque[_Request]] = [deque() for _ in range(load.machines)]
        self._channels = load.channels  # that are free
        self._queue: deque[_Request] = deque()

    def run(self, requests: int) -> None:
        for machine in range(self.load.machines):
            self._expect(machine)
        while self.done < requests:
            self.now, _, happen = heapq.heappop(self._events)
            happen()

    def _after(self, seconds: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), happen))

    def _expect(self, machine: int) -> None:
        self._after(self.random.expovariate(self.load.rate), partial(self._arrive, machine))

    def _arrive(self, machine: int) -> None:
        self._expect(machine)
        request = _Request(machine, self.now, self.load.calls)
        if self._threads[machine]:
            self._threads[machine] -= 1
            self._begin(request)
        else:
            self._lines[machine].append(request)

    def _begin(self, request: _Request) -> None:
        self.thread_waits.append(self.now - request.arrived)
        self._call(request)

    def _call(self, request: _Request) -> None:
        self._after(self.load.network, partial(self._reach, request))

    def _reach(self, request: _Request) -> None:
        request.sent = self.now
        if self._channels:
            self._channels -= 1
            self._serve(request)
        else:
            self._queue.append(request)

    def _serve(self, request: _Request) -> None:
        self.waits.append(self.now - request.sent)
        taken = self.load.service(self.random)
        self.busy += taken
        self._after(taken, partial(self._answer, request))

    def _answer(self, request: _Request) -> None:
        if self._queue:
            self._serve(self._queue.popleft())
        else:
            self._channels += 1
        request.session += self.now - request.sent + 2 * self.load.network
        self._after(self.load.network, partial(self._go_on, request))

    def _go_on(self, request: _Request) -> None:
        first = request.calls == self.load.calls
        request.calls -= 1
        page = self.load.page(self.random) if first else 0.0
        self._after(page, partial(self._call if request.calls else self._finish, request))

    def _finish(self, request: _Request) -> None:
        self.done += 1
        self.sessions.append(request.session)
        line = self._lines[request.machine]
        if line:
            self._begin(line.popleft())
        else:
            self._threads[request.machine] += 1


def simulate(load: Load, *, requests: int = 20_000, seed: int = 1) -> Outcome:
    """Return what comes out of so many requests; the same for the same seed."""
    simulation = _Simulation(load, seed)
    simulation.run(requests)

    def late(figures: list[float]) -> list[float]:
        return figures[int(len(figures) * _WARM_UP) :]

    waits = late(simulation.waits)
    return Outcome(
        utilisation=simulation.busy / load.channels / simulation.now,
        wait=fmean(waits),
        wait_p99=p99(waits),
        thread_wait=fmean(late(simulation.thread_waits)),
        session=fmean(late(simulation.sessions)),
    )
