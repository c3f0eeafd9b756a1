"""The actor by itself: no request, no cookie, no store.

What these cases do not show: other threads that use the session at the same time, and
threads of other requests that want the processor. Both make Pykka's thread per actor
dearer, for every ``ask`` to it waits for a switch of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pykka

from glimr_session import Json, Session, StoredSession, generate_id
from glimr_session.actor import SessionActor
from glimr_session.messages import Get, GetState, Put
from glimr_session.session import ASK_TIMEOUT
from glimr_session.state import SessionState

from .case import Bound, Case, Side, Timed, difference, require_equal, times_faster
from .measure import Clock
from .sample import SAMPLE

__all__ = ["cases"]

_ID: Final = generate_id()


class _ThreadedSessionActor(pykka.ThreadingActor):
    """The same state and the same transitions on Pykka's own kind of actor."""

    def __init__(self, initial: SessionState) -> None:
        super().__init__()
        self._state = initial

    def on_receive(self, message: Any) -> Any:
        self._state, reply = message.step(self._state)
        return reply


class _LockedDict:
    """The plainest thing that many threads may share."""

    def __init__(self, data: Mapping[str, Json]) -> None:
        self._data = dict(data)
        self._lock = threading.Lock()

    def get(self, key: str, default: Json = None) -> Json:
        with self._lock:
            return self._data.get(key, default)


def cases(_directory: Path) -> Iterator[Case]:
    """Yield the conversation, then the two ways to ask for one value."""
    require_equal("a conversation", session=_converse(), threaded=_converse_threaded())
    yield Timed(
        name="actor: a whole conversation",
        ours=Side(_converse),
        yardstick_name="Pykka ThreadingActor",
        yardstick=Side(_converse_threaded),
        compare=times_faster,
        bound=Bound(25, "x faster", at_least=True),
        # The system runs a thread and its asker on one processor for a while and on two
        # for another, at a fourfold cost: short batches would be one or the other.
        batch=20.0,
    )
    yield from _asking()


def _converse() -> tuple[object, ...]:
    """Start, two tells, three asks, state, stop: on the handle that handlers hold."""
    session = Session.start(_ID, SAMPLE)
    session.put("visits", 100_001)
    session.put("theme", "dark")
    answers = (session.get("visits"), session.get("theme"), session.get("missing"))
    state = session.state()
    session.stop()
    return answers, state


def _converse_threaded() -> tuple[object, ...]:
    """The same messages; the copies and checks that ``Session`` makes are spared it."""
    stored = StoredSession(id=_ID, data=dict(SAMPLE))
    ref = _ThreadedSessionActor.start(SessionState.opened(stored))
    ref.tell(Put("visits", 100_001))
    ref.tell(Put("theme", "dark"))
    answers = (
        ref.ask(Get("visits", None), timeout=ASK_TIMEOUT),
        ref.ask(Get("theme", None), timeout=ASK_TIMEOUT),
        ref.ask(Get("missing", None), timeout=ASK_TIMEOUT),
    )
    state = ref.ask(GetState(), timeout=ASK_TIMEOUT)
    ref.stop()
    return answers, state


def _asking() -> Iterator[Case]:
    """Yield one value asked of a running actor, by its ref and by the handle.

    The difference to a method that takes a lock is what it costs that this is an actor.
    """
    session = Session.start(_ID, SAMPLE)
    ref = SessionActor.start(SessionState.opened(StoredSession(id=_ID, data=dict(SAMPLE))))
    locked = _LockedDict(SAMPLE)

    def ask() -> object:
        return ref.ask(Get("visits", None), timeout=ASK_TIMEOUT)

    def get() -> object:
        return session.get("visits")

    def get_locked() -> object:
        return locked.get("visits")

    require_equal("one value", ask=ask(), get=get(), locked=get_locked())
    try:
        for name, arm in (("actor: ask(Get)", ask), ("actor: session.get", get)):
            yield Timed(
                name=name,
                ours=Side(arm),
                yardstick_name="dict under a lock",
                yardstick=Side(get_locked),
                compare=difference,
                bound=Bound(2, "us more"),
                clock=Clock.PROCESSOR,
            )
    finally:
        session.stop()
        ref.stop()
