"""What sessions take of memory and of threads while they are in use.

Ten thousand sessions are open at once, each as a middleware opens one: by a handle that
opens it when it is first used, then one read and one write. Each has data of its own, as
a store decodes it, which is also counted by itself. Of Pykka's actors with a thread each
there are a hundred, for ten thousand threads are more than most systems have.

And a request that does not touch its session allocates no more because it is a large one.

What these cases do not show: what is not allocated by way of Python, such as the stack of
a thread. tracemalloc sees nothing of that.
"""

from __future__ import annotations

import gc
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from glimr_session import (
    CookieStore,
    DiskStore,
    Session,
    SessionStore,
    StoredSession,
    generate_id,
)
from glimr_session.messages import Get, Put
from glimr_session.payload import decode_stored, encode_stored
from glimr_session.state import SessionState

from ..case import Case, Place, Result, Target, require_equal
from ..measure import Arm
from ..ours import cookie_for, glimr_site
from ..sample import SAMPLE, of_size
from ..site import bare_site, prove, visiting
from ..threaded import ThreadedSessionActor

__all__ = ["PLACES", "SECONDS", "cases"]

PLACES: Final = ("memory",)
SECONDS: Final = 6

_SESSIONS: Final = 10_000
_FEW: Final = 100

_ROUNDS: Final = 3
_ROUNDS_QUICK: Final = 1
_REQUESTS: Final = 60

_OURS: Final = "glimr_session"
_THREAD: Final = f"Pykka ThreadingActor, {_FEW} open"


def cases(place: Place) -> Iterator[Case]:
    """Yield the sessions that are open at once, then requests that touch none."""
    many = f"{_OURS}, {_SESSIONS:,} open"
    sides = {
        many: _Kind(_SESSIONS, _open, Session.stop),
        f"{_OURS}, {_FEW} open": _Kind(_FEW, _open, Session.stop),
        _THREAD: _Kind(_FEW, _open_threaded, lambda ref: ref.stop()),
    }
    for kind in sides.values():
        _prove(kind)
    yield _Taken(
        name="a session that is open",
        sides={**sides, "its data alone": _Kind(_SESSIONS, _data, lambda _data: None)},
        targets=[
            Target("10 thousand at once: at most 8 kB each", yardstick="", limit=8_192),
            Target("10 thousand at once: no thread", yardstick="", limit=0, figure="threads"),
        ],
    )
    yield _Stopped(
        name="the stop of a session",
        sides=sides,
        notes="the mean of stopping all of them, one after the other",
    )
    with closing(DiskStore(place.directory / "untouched")) as disk:
        yield _untouched("disk store", disk, 30_000)
    # Signed and encoded, three quarters of a cookie's four kilobytes are left.
    yield _untouched("cookie store", CookieStore(), 2_700)


class _Kind(NamedTuple):
    """How many sessions of a kind there are, how one is opened and how it is stopped."""

    number: int
    open: Callable[[], Any]
    stop: Callable[[Any], object]


def _open() -> Session:
    session = Session(_state)
    session["visits"] = session["visits"] + 1  # type: ignore[operator]
    return session


def _open_threaded() -> Any:
    ref = ThreadedSessionActor.start(_state())
    visits: Any = ref.ask(Get("visits", None))
    ref.tell(Put("visits", visits + 1))
    return ref


_ENCODED: Final = encode_stored(StoredSession(data=SAMPLE, revision=1))


def _state() -> SessionState:
    return SessionState.opened(StoredSession(id=generate_id(), data=_data()))


def _data() -> dict[str, Any]:
    stored = decode_stored(_ENCODED)
    assert stored is not None
    return dict(stored.data)


@dataclass(frozen=True, kw_only=True)
class _Taken:
    """A case of the bytes and the threads of each of many sessions, open at once."""

    name: str
    sides: Mapping[str, _Kind]
    targets: Sequence[Target]
    group: str = "memory"

    def run(self, *, quick: bool) -> Result:
        """Open all of them, look, and stop them."""
        figures: dict[str, dict[str, list[float]]] = {
            name: {"memory": [], "threads": []} for name in self.sides
        }
        for _ in range(_ROUNDS_QUICK if quick else _ROUNDS):
            for name, kind in self.sides.items():
                gc.collect()
                threads = threading.active_count()
                tracemalloc.start()
                try:
                    sessions = [kind.open() for _ in range(kind.number)]
                    gc.collect()
                    taken, _peak = tracemalloc.get_traced_memory()
                finally:
                    tracemalloc.stop()
                threads = threading.active_count() - threads
                for session in sessions:
                    kind.stop(session)
                figures[name]["memory"].append(taken / kind.number)
                figures[name]["threads"].append(threads / kind.number)
        return Result.of(self, figures)


@dataclass(frozen=True, kw_only=True)
class _Stopped:
    """A case of what the end of a session takes while others are open."""

    name: str
    sides: Mapping[str, _Kind]
    notes: str
    targets: Sequence[Target] = ()
    group: str = "memory"

    def run(self, *, quick: bool) -> Result:
        """Open all of them, and time how they are stopped."""
        figures: dict[str, dict[str, list[float]]] = {name: {"wall": []} for name in self.sides}
        for _ in range(_ROUNDS_QUICK if quick else _ROUNDS):
            for name, kind in self.sides.items():
                sessions = [kind.open() for _ in range(kind.number)]
                gc.collect()
                start = time.perf_counter_ns()
                for session in sessions:
                    kind.stop(session)
                taken = time.perf_counter_ns() - start
                figures[name]["wall"].append(taken / kind.number / 1000)
        return Result.of(self, figures, notes=self.notes)


def _prove(kind: _Kind) -> None:
    """See that a session holds what was read and written, and nothing once it has stopped."""
    session = kind.open()
    require_equal("one session", expected=100_001, kept=_visits(session))
    kind.stop(session)
    try:
        left = _visits(session)
    except Exception as error:  # noqa: BLE001  # each says it in its own way
        left = type(error).__name__
    if left not in ("SessionClosed", "ActorDeadError"):
        raise RuntimeError(f"a session that was stopped answers {left!r}")


def _visits(session: Any) -> object:
    if isinstance(session, Session):
        return session["visits"]
    answer: object = session.ask(Get("visits", None))
    return answer


def _untouched(name: str, store: SessionStore, size: int) -> Case:
    application = glimr_site(store)
    prove(glimr=application, bare=bare_site())
    large, small = (
        visiting(application, "/ignore", [cookie_for(store, data)])
        for data in (of_size(size), SAMPLE)
    )
    small_name = "session of 0.3 kB"
    return _Allocated(
        name=f"a request that ignores its session, {name}",
        sides={f"session of {size / 1000:g} kB": large, small_name: small},
        targets=[
            Target(
                f"untouched, {name}: no more memory for a session of {size / 1000:g} kB",
                yardstick=small_name,
                limit=0,
                unit="more",
            )
        ],
    )


@dataclass(frozen=True, kw_only=True)
class _Allocated:
    """A case of memory: the most bytes at a time that an arm had allocated.

    tracemalloc sees what goes through Python's allocators; that is all there is here.
    """

    name: str
    sides: Mapping[str, Arm]
    targets: Sequence[Target]
    group: str = "memory"

    def run(self, *, quick: bool) -> Result:
        """Trace the arms in turns."""
        figures: dict[str, dict[str, list[float]]] = {name: {"memory": []} for name in self.sides}
        tracemalloc.start()
        try:
            for _ in range(_REQUESTS):
                for name, arm in self.sides.items():
                    figures[name]["memory"].append(_peak(arm))
        finally:
            tracemalloc.stop()
        return Result.of(self, figures)


def _peak(arm: Arm) -> float:
    arm()  # CPython keeps some freed objects for the next of their type: here they are kept
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    arm()
    return tracemalloc.get_traced_memory()[1] - before
