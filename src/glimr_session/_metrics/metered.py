"""MeteredStore: a store whose operations are counted, timed and traced."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter
from typing import Any, Final, ParamSpec, Self, TypeVar

from .._log import warn
from .._session.changes import Changes
from .._session.sealing import Sealer
from .._session.serialization import StoredSession
from ..errors import SessionTooLarge, StoreUnavailable
from ..stores.base import AnySession, CommitResult, Data, SessionInfo, SessionStore
from .base import SessionMetrics

__all__ = ["DECLARED", "MeteredStore"]

P = ParamSpec("P")
R = TypeVar("R")

DECLARED: Final = (
    "kind",
    "former_kinds",
    "former_cookie",
    "server_side",
    "atomic",
    "finds_by_id",
    "expires_by_itself",
    "lists_sessions",
    "registers_owners",
    "ends_owners",
    "seals",
    "max_cookie_size",
    "lifetime",
    "absolute_lifetime",
    "keeps_marks",
    "overlap",
)
"""What a store declares and does not change."""

_COUNTED: Final = {
    "found": "opened",
    "stored": "committed",
    "empty": "committed",
    "moved": "moved",
    "gone": "gone",
    "outage": "outage",
    "too_large": "too_large",
}
"""The event that is counted of an outcome."""

_MOST_NOTES: Final = 10_000  # of a store whose operations are not measured any more


class MeteredStore(SessionStore):
    """Counts, times and traces what another store does; that store does everything.

    The setting ``metrics`` puts it around the store of an application. Operations that fail are
    timed too.

    Args:
        store: the store; ``inner`` is it again.
        metrics: receives the counts and the times.

    Example:
        >>> from glimr_session import CookieStore
        >>> from glimr_session.metrics import PrometheusMetrics
        >>> store = MeteredStore(CookieStore(lifetime=600), PrometheusMetrics())
        >>> store.kind, store.lifetime, type(store.inner).__name__
        ('cookie', 600.0, 'CookieStore')
    """

    def __init__(self, store: SessionStore, metrics: SessionMetrics) -> None:
        self.inner = store
        self._metrics = metrics
        for name in DECLARED:
            setattr(self, name, getattr(store, name))
        # A store calls ``note`` while it holds locks, so its notes are put into a queue, which
        # is shared by all that measure this store.
        queue = getattr(store.note, "__self__", None)
        self._notes: _Notes = queue if isinstance(queue, _Notes) else _Notes(maxlen=_MOST_NOTES)
        store.note = self._notes.append

    def __reduce__(self) -> tuple[Callable[..., MeteredStore], tuple[SessionStore, SessionMetrics]]:
        return type(self), (self.inner, self._metrics)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"

    @property
    def sealer(self) -> Sealer | None:
        return self.inner.sealer

    @sealer.setter
    def sealer(self, sealer: Sealer | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self.inner.sealer = sealer

    @property
    def remembers_ends(self) -> bool:
        return self.inner.remembers_ends

    @remembers_ends.setter
    def remembers_ends(self, remembers: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self.inner.remembers_ends = remembers

    @property
    def opens_at_once(self) -> bool:
        return self.inner.opens_at_once

    @property
    def commits_at_once(self) -> bool:
        return self.inner.commits_at_once

    def open(self, cookie_value: str) -> StoredSession | None:
        return self._measure("open", self.inner.open, cookie_value)

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        return self._measure("commit", self.inner.commit, changes, wait=wait)

    def gc(self) -> int:
        removed = self._measure("gc", self.inner.gc)
        if removed:
            self._count("collected", removed)
        return removed

    def claim_gc(self, interval: float) -> float:
        return self._measure("claim_gc", self.inner.claim_gc, interval)

    def stop_gc(self) -> None:
        self.inner.stop_gc()

    def touch(self, cookie_value: str) -> bool:
        return self._measure("touch", self.inner.touch, cookie_value)

    def has_moved(self, cookie_value: str) -> bool:
        return self._measure("has_moved", self.inner.has_moved, cookie_value)

    def sessions(self, owner: str | int) -> list[SessionInfo]:
        return self._measure("sessions", self.inner.sessions, owner)

    def destroy_all(self, owner: str | int, *, except_: AnySession | None = None) -> int:
        return self._measure("destroy_all", self.inner.destroy_all, owner, except_=except_)

    def all_sessions(self, *, records: bool = False) -> Iterator[SessionInfo]:
        return self.inner.all_sessions(records=records)

    def handle_of(self, session: AnySession) -> str:
        return self._measure("handle_of", self.inner.handle_of, session)

    def find(self, cookie_value: str) -> tuple[StoredSession | None, bool]:
        return self._measure("find", self.inner.find, cookie_value)

    def leave(self, stored: StoredSession) -> StoredSession | None:
        return self._measure("leave", self.inner.leave, stored)

    def forget_left(self, stored: StoredSession) -> None:
        self._measure("forget_left", self.inner.forget_left, stored)

    def adopt(self, stored: StoredSession) -> bool:
        return self._measure("adopt", self.inner.adopt, stored)

    def close(self) -> None:
        self.inner.close()

    async def aopen(self, cookie_value: str) -> StoredSession | None:
        return await self._ameasure("open", self.inner.aopen, cookie_value)

    async def acommit(self, changes: Changes) -> CommitResult:
        return await self._ameasure("commit", self.inner.acommit, changes)

    async def atouch(self, cookie_value: str) -> bool:
        return await self._ameasure("touch", self.inner.atouch, cookie_value)

    async def ahas_moved(self, cookie_value: str) -> bool:
        return await self._ameasure("has_moved", self.inner.ahas_moved, cookie_value)

    async def asessions(self, owner: str | int) -> list[SessionInfo]:
        return await self._ameasure("sessions", self.inner.asessions, owner)

    async def adestroy_all(self, owner: str | int, *, except_: AnySession | None = None) -> int:
        destroy_all = self.inner.adestroy_all
        return await self._ameasure("destroy_all", destroy_all, owner, except_=except_)

    async def ahandle_of(self, session: AnySession) -> str:
        return await self._ameasure("handle_of", self.inner.ahandle_of, session)

    async def adestroy(self, session_id: str) -> None:
        await self._ameasure("destroy", self.inner.adestroy, session_id)

    def load(self, session_id: str) -> tuple[Data, Data]:
        return self._measure("load", self.inner.load, session_id)

    def save(self, session_id: str, data: Data, flash: Data) -> None:
        self._measure("save", self.inner.save, session_id, data, flash)

    def destroy(self, session_id: str) -> None:
        self._measure("destroy", self.inner.destroy, session_id)

    def cookie_value(self, session_id: str, data: Data, flash: Data) -> str:
        return self.inner.cookie_value(session_id, data, flash)

    # Measuring.

    def _measure(
        self, operation: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        with _Measurement(self, operation) as measurement:
            result = function(*args, **kwargs)
            measurement.outcome = _outcome_of(operation, result)
        return result

    async def _ameasure(
        self, operation: str, function: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        with _Measurement(self, operation) as measurement:
            result = await function(*args, **kwargs)
            measurement.outcome = _outcome_of(operation, result)
        return result

    def _begin(self, operation: str) -> Callable[[str], object]:
        try:
            return self._metrics.trace(operation, self.kind)
        except Exception as error:  # noqa: BLE001  # the request goes on
            _warn(error)
            return _ignored

    def _end(
        self, operation: str, outcome: str, seconds: float, end_span: Callable[[str], object]
    ) -> None:
        try:
            end_span(outcome)
            self._metrics.time(operation, self.kind, seconds)
        except Exception as error:  # noqa: BLE001  # the request goes on: its commit may be made
            _warn(error)
        if outcome in _COUNTED:
            self._count(_COUNTED[outcome])
        for event in self._notes.take():
            self._count(event)

    def _count(self, event: str, amount: int = 1) -> None:
        try:
            self._metrics.count(event, self.kind, amount)
        except Exception as error:  # noqa: BLE001  # as above
            _warn(error)


class _Notes(deque[str]):
    """What a store has noted, and what is still to be counted."""

    def take(self) -> Iterator[str]:
        """Yield the notes and remove them."""
        while self:
            try:
                yield self.popleft()
            except IndexError:  # another thread has taken the last one
                return


class _Measurement:
    """One operation of a store, from its begin to its end."""

    __slots__ = ("_end_span", "_operation", "_started", "_store", "outcome")

    def __init__(self, store: MeteredStore, operation: str) -> None:
        self._store = store
        self._operation = operation
        self.outcome = "failed"

    def __enter__(self) -> Self:
        self._end_span = self._store._begin(self._operation)
        self._started = perf_counter()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        seconds = perf_counter() - self._started
        if isinstance(error, StoreUnavailable):
            self.outcome = "outage"
        elif isinstance(error, SessionTooLarge):
            self.outcome = "too_large"
        self._store._end(self._operation, self.outcome, seconds, self._end_span)


def _outcome_of(operation: str, result: Any) -> str:
    if operation == "open":
        return "absent" if result is None else "found"
    return result.outcome if isinstance(result, CommitResult) else "done"


def _ignored(outcome: str) -> None:
    """Do nothing: the span could not begin."""


def _warn(error: Exception) -> None:
    warn("A metric could not be recorded: %s.", type(error).__name__)
