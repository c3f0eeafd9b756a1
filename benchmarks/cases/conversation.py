"""One conversation with a session's actor: start, two tells, three asks, state, stop.

Ours is an actor that handles a message in the thread of whoever sends it. Beside it is
Pykka's own kind, a thread with a queue, with the same messages and the same transitions;
and the plainest thing that threads may share, a dict under a lock. First they are spoken
to directly, then by way of ``Session``, the handle that handlers hold.

A web server has other requests to serve meanwhile. So the same is done beside 2, 8 and 32
threads that are as busy as its workers are: each renders a page of a hundred rows, about a
millisecond of Python, waits a millisecond as for its client, and begins again. Python lets
one thread run at a time and changes over after 5 ms, or when it waits. An actor with a
thread of its own has to be waited for at each ask, and every wait puts the request
at the end of that line; ours waits for nobody. That, and not the price of a thread, is
what the ratio under load is about.

Each conversation is timed by itself, one directly after the other, so that it may be hit
by the end of its thread's 5 ms as often as in life. ``p99`` is that of a quarter of all
rounds together.

What these cases do not show: an application that hardly computes, where a thread is woken
at once as in the case "alone"; and two threads that use one session at the same time.
"""

from __future__ import annotations

import gc
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import pykka

from glimr_session import Json, Session, StoredSession, generate_id
from glimr_session.actor import SessionActor
from glimr_session.messages import Get, GetState, Put
from glimr_session.session import ASK_TIMEOUT
from glimr_session.state import SessionState

from ..case import Case, Place, Result, Target, require_equal
from ..measure import Arm, p99
from ..sample import SAMPLE
from ..serving import table_page
from ..threaded import ThreadedSessionActor

__all__ = ["PLACES", "SECONDS", "cases"]

PLACES: Final = ("memory",)
SECONDS: Final = 31

_OURS: Final = "glimr_session"
_THREAD: Final = "Pykka ThreadingActor"
_LOCK: Final = "dict under a lock"

_CLIENT: Final = 0.001  # seconds that a busy thread waits before its next page
_CALLS: Final = 2_000  # of a batch, if they do not take longer than
_BATCH: Final = 0.3  # seconds
_BATCH_ALONE: Final = 0.06

_SECONDS: Final = 4.8  # of a case
_SECONDS_ALONE: Final = 3.5

_PARTS: Final = 4  # of all rounds: each gives one 99th percentile
_LEAST: Final = _PARTS  # rounds

_ID: Final = generate_id()


class _LockedDict:
    """The plainest thing that many threads may share."""

    def __init__(self, data: Mapping[str, Json]) -> None:
        self._data = dict(data)
        self._lock = threading.Lock()

    def put(self, key: str, value: Json) -> None:
        with self._lock:
            self._data[key] = value

    def get(self, key: str, default: Json = None) -> Json:
        with self._lock:
            return self._data.get(key, default)

    def all(self) -> dict[str, Json]:
        with self._lock:
            return dict(self._data)


def cases(place: Place) -> Iterator[Case]:
    """Yield the conversation alone and in company, directly and with the handle."""
    direct = {_OURS: _with(SessionActor), _THREAD: _with(ThreadedSessionActor), _LOCK: _with_dict}
    by_handle = {
        _OURS: _by_handle(SessionActor),
        _THREAD: _by_handle(ThreadedSessionActor),
        _LOCK: _with_dict,
    }
    require_equal(
        "a conversation",
        expected=([100_001, "dark", None], {**SAMPLE, "visits": 100_001, "theme": "dark"}),
        **{name: arm() for name, arm in direct.items()},
        **{f"handle, {name}": arm() for name, arm in by_handle.items()},
    )
    for name, arms, loads in (
        ("conversation", direct, (0, 8) if place.quick else (0, 2, 8, 32)),
        ("conversation by the handle", by_handle, (0,) if place.quick else (0, 8)),
    ):
        for busy in loads:
            yield _Conversation(
                name=f"{name}, {f'beside {busy} busy threads' if busy else 'alone'}",
                arms=arms,
                busy=busy,
                targets=_TARGETS.get(busy, ()) if arms is direct else (),
            )


_TARGETS: Final = {
    0: [
        Target(
            "40 times faster than a ThreadingActor, alone",
            yardstick=_THREAD,
            limit=40,
            unit="x faster",
            at_least=True,
        )
    ],
    8: [
        Target(
            "100 times faster than a ThreadingActor at the median, beside 8 busy threads",
            yardstick=_THREAD,
            limit=100,
            unit="x faster",
            at_least=True,
            figure="median",
        )
    ],
}


def _with(actor: type[pykka.Actor]) -> Arm:
    """Make a conversation with a kind of actor, by its ref."""
    start = actor.start

    def converse() -> object:
        ref: Any = start(_opened())
        ref.tell(Put("visits", 100_001))
        ref.tell(Put("theme", "dark"))
        answers = [
            ref.ask(Get("visits", None), timeout=ASK_TIMEOUT),
            ref.ask(Get("theme", None), timeout=ASK_TIMEOUT),
            ref.ask(Get("missing", None), timeout=ASK_TIMEOUT),
        ]
        state = ref.ask(GetState(), timeout=ASK_TIMEOUT)
        ref.stop()
        return answers, state.data

    return converse


def _by_handle(actor: type[pykka.Actor]) -> Arm:
    """Make a conversation with a kind of actor, by the handle with all that it checks."""
    start = actor.start

    def converse() -> object:
        session = Session(_opened)
        session._address = start(_opened())
        session.put("visits", 100_001)
        session.put("theme", "dark")
        answers = [session.get("visits"), session.get("theme"), session.get("missing")]
        state = session.state()
        session.stop()
        return answers, state.data

    return converse


def _with_dict() -> object:
    """Say the same to a dict: what a session is beside it is not in there."""
    shared = _LockedDict(SAMPLE)
    shared.put("visits", 100_001)
    shared.put("theme", "dark")
    answers = [shared.get("visits"), shared.get("theme"), shared.get("missing")]
    return answers, shared.all()


def _opened() -> SessionState:
    return SessionState.opened(StoredSession(id=_ID, data=dict(SAMPLE)))


@dataclass(frozen=True, kw_only=True)
class _Conversation:
    """A case of what single conversations take, beside so many busy threads."""

    name: str
    arms: Mapping[str, Arm]
    busy: int
    targets: tuple[Target, ...] | list[Target]
    group: str = "conversation"

    def run(self, *, quick: bool) -> Result:
        """Have a batch of conversations with each in turns."""
        seconds = (_SECONDS if self.busy else _SECONDS_ALONE) * (0.05 if quick else 1)
        batch = _BATCH if self.busy and not quick else _BATCH_ALONE
        told: dict[str, list[list[float]]] = {name: [] for name in self.arms}
        cpu: dict[str, list[float]] = {name: [] for name in self.arms}
        order = list(self.arms.items())
        for arm in self.arms.values():
            _converse(arm, batch)  # to warm up
        gc.collect()
        gc.freeze()
        try:
            with _busy_threads(self.busy):
                end = time.perf_counter() + seconds
                while len(told[_OURS]) < _LEAST or time.perf_counter() < end:
                    for name, arm in order:
                        gc.collect()
                        before = time.process_time_ns()
                        told[name].append(_converse(arm, batch))
                        used = time.process_time_ns() - before
                        cpu[name].append(used / len(told[name][-1]) / 1000)
                    order.reverse()
        finally:
            gc.unfreeze()
        number = ", ".join(f"{sum(map(len, all_)):,} {name}" for name, all_ in told.items())
        return Result.of(
            self,
            {
                name: {
                    "wall": [statistics.mean(taken) for taken in batches],
                    "median": [statistics.median(taken) for taken in batches],
                    # Beside others it would be theirs too.
                    **({} if self.busy else {"cpu": cpu[name]}),
                    "p99": [p99(part) for part in _in_parts(batches)],
                }
                for name, batches in told.items()
            },
            notes=f"conversations: {number}",
        )


def _converse(arm: Arm, batch: float) -> list[float]:
    """Give the microseconds that each conversation of a batch took."""
    taken: list[float] = []
    now = time.perf_counter_ns
    end = now() + batch * 1e9
    while True:
        start = now()
        arm()
        stop = now()
        taken.append((stop - start) / 1000)
        if (stop > end and len(taken) > 1) or len(taken) == _CALLS:
            return taken


def _in_parts(batches: list[list[float]]) -> Iterator[list[float]]:
    size = len(batches) / _PARTS
    for part in range(_PARTS):
        of_part = batches[round(part * size) : round((part + 1) * size)]
        yield [taken for batch in of_part for taken in batch]


@contextmanager
def _busy_threads(number: int) -> Iterator[None]:
    """Have so many threads serve pages for the length of the block."""
    ended = threading.Event()
    threads = [threading.Thread(target=_serve, args=(ended.is_set,)) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _serve(ended: Callable[[], bool]) -> None:
    while not ended():
        table_page("a visitor")
        time.sleep(_CLIENT)
