"""A conversation with the actor of a session: start, two tells, four asks, stop.

The actor of glimr_session handles a message in the thread of the sender. Beside it is a
``pykka.ThreadingActor`` with the same messages and the same states. Both are measured alone
(the mean) and beside busy threads (the median), each of which renders a page of about a
millisecond, waits a millisecond as for its client, and begins again. Python runs one thread at
a time and switches after 5 ms: an actor with a thread of its own has to wait for its turn at
every ask.
"""

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import pykka

from ..internals import Get, GetState, Put, SessionActor, ThreadedSessionActor, opened
from ..measure import Arm, in_turn
from ..results import OURS, Place, Result, Target
from ..serving import render
from ..worker import SAMPLE

_THREAD: Final = "Pykka ThreadingActor"
_TARGETS: Final = {0: 1 / 40, 8: 1 / 100}
_CLIENT: Final = 0.001  # seconds that a busy thread waits before its next page
_TIMEOUT: Final = 60.0


def run(place: Place) -> Iterator[Result]:
    """Yield the conversation alone, and beside some numbers of busy threads."""
    arms = {OURS: _conversation(SessionActor), _THREAD: _conversation(ThreadedSessionActor)}
    expected = ([100_001, "dark", None], {**SAMPLE, "visits": 100_001, "theme": "dark"})
    for name, arm in arms.items():
        if (answers := arm()) != expected:
            raise RuntimeError(f"{name} answers {answers}, not {expected}")
    for busy in (0, 8) if place.quick else (0, 2, 8):
        limit = _TARGETS.get(busy)
        seconds = 0.3 if busy and not place.quick else 0.06
        average = statistics.median if busy else statistics.mean
        batches = {name: partial(_batch, arm, seconds, average) for name, arm in arms.items()}
        with _busy_threads(busy):
            rounds = in_turn(batches, rounds=4, seconds=0.5 if place.quick else 8)
        yield Result(
            case=f"conversation, beside {busy} busy threads",
            unit="us",
            rounds=rounds,
            targets=[Target(against=_THREAD, limit=limit)] if limit else [],
        )


def _conversation(actor: type[pykka.Actor]) -> Arm:
    def converse() -> object:
        ref: Any = actor.start(opened(SAMPLE))
        ref.tell(Put("visits", 100_001))
        ref.tell(Put("theme", "dark"))
        keys = ("visits", "theme", "missing")
        answers = [ref.ask(Get(key, None), timeout=_TIMEOUT) for key in keys]
        state = ref.ask(GetState(), timeout=_TIMEOUT)
        ref.stop()
        return answers, state.data

    return converse


def _batch(arm: Arm, seconds: float, average: Callable[[Sequence[float]], float]) -> float:
    """Return the average of the microseconds of each conversation."""
    taken: list[int] = []
    stop = time.perf_counter_ns()
    end = stop + seconds * 1e9
    while len(taken) < 2 or stop < end:
        start = time.perf_counter_ns()
        arm()
        stop = time.perf_counter_ns()
        taken.append(stop - start)
    return average(taken) / 1000


@contextmanager
def _busy_threads(number: int) -> Iterator[None]:
    """Let so many threads serve pages during the block."""
    ended = threading.Event()
    with ThreadPoolExecutor(max(1, number)) as pool:
        for _ in range(number):
            pool.submit(_serve, ended)
        try:
            yield
        finally:
            ended.set()


def _serve(ended: threading.Event) -> None:
    while not ended.is_set():
        render("a visitor")
        time.sleep(_CLIENT)
