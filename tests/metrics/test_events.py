"""Each event is counted where it is sent to: Prometheus, and OpenTelemetry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from opentelemetry.trace import StatusCode, get_current_span

from glimr_session import CookieStore, DiskStore, SessionStore, SessionTooLarge, StoreUnavailable
from glimr_session._metrics.base import EVENTS
from glimr_session.metrics import MeteredStore
from glimr_session.stores.base import NullStore
from glimr_session.testing.contract import COLLECTED, LIFETIME, Clock, Request, begin
from glimr_session.testing.requests import increment, invalidate, put, regenerate
from tests.metrics.readers import BACKENDS, Backend, Counting, OpenTelemetry
from tests.stores.test_server import DictStore


@pytest.fixture(params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Backend:
    """Prometheus and OpenTelemetry."""
    return BACKENDS[request.param]()


def disk(path: Path) -> SessionStore:
    return DiskStore(path / "sessions", lifetime=LIFETIME)


def server(path: Path) -> SessionStore:
    return DictStore()


# A story, and what is counted of it beside what begins it: a commit.
Story = Callable[[SessionStore, str, Clock], object]


def nothing(store: SessionStore, cookie_value: str, clock: Clock) -> None:
    store.open("unknown")
    store.touch(cookie_value)
    store.gc()


def reads(store: SessionStore, cookie_value: str, clock: Clock) -> None:
    store.open(cookie_value)
    store.open(cookie_value)


def writes(store: SessionStore, cookie_value: str, clock: Clock) -> None:
    Request(store, cookie_value).commit(put("b", 2))


def logs_out(store: SessionStore, cookie_value: str, clock: Clock) -> None:
    assert Request(store, cookie_value).commit(invalidate) == ""


def two_write_at_once(store: SessionStore, cookie_value: str, clock: Clock) -> None:
    one, other = Request(store, cookie_value), Request(store, cookie_value)
    one.commit(increment("n"))
    other.commit(increment("n"))


def writes_while_another_logs_in(store: SessionStore, cookie_value: str, clock: Clock) -> None:
    one, other = Request(store, cookie_value), Request(store, cookie_value)
    one.commit(regenerate)
    assert other.answer(increment("n")).outcome == "moved"


def writes_while_another_logs_out(store: SessionStore, cookie_value: str, clock: Clock) -> None:
    one, other = Request(store, cookie_value), Request(store, cookie_value)
    one.commit(invalidate)
    assert other.answer(increment("n")).outcome == "gone"


def is_collected(store: SessionStore, cookie_value: str, clock: Clock) -> None:
    clock.advance(COLLECTED + 1)
    assert store.gc() == 1


STORIES: Final[dict[Story, dict[str, int]]] = {
    nothing: {},
    reads: {"opened": 2},
    writes: {"opened": 1, "committed": 1},
    logs_out: {"opened": 1, "committed": 1},
    two_write_at_once: {"opened": 2, "committed": 2, "conflict": 1, "merged": 1},
    writes_while_another_logs_in: {
        "opened": 2, "committed": 1, "moved": 1, "conflict": 1, "merged": 1,
    },
    writes_while_another_logs_out: {"opened": 2, "committed": 1, "gone": 1},
    is_collected: {"collected": 1},
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
@pytest.mark.parametrize("make", [disk, server], ids=["disk", "server"])
def test_what_happens_is_counted(
    make: Callable[[Path], SessionStore],
    story: Story,
    backend: Backend,
    clock: Clock,
    tmp_path: Path,
) -> None:
    """Each event of a story, and no other."""
    store = MeteredStore(make(tmp_path), backend.metrics)
    story(store, begin(store), clock)
    expected = dict(STORIES[story])
    expected["committed"] = expected.get("committed", 0) + 1
    assert backend.events(store.kind) == expected


def test_an_outage_is_counted(backend: Backend) -> None:
    """Of each operation that fails; it is timed too."""
    inner = DictStore()
    store = MeteredStore(inner, backend.metrics)
    inner.server.down = True
    for operation in (lambda: store.open("x"), lambda: begin(store), lambda: store.touch("x")):
        with pytest.raises(StoreUnavailable):
            operation()
    assert backend.events("dict") == {"outage": 3}
    assert backend.timed("open", "dict") == backend.timed("commit", "dict") == 1


def test_a_session_that_is_too_large_is_counted(backend: Backend) -> None:
    """It is no outage, and no commit."""
    store = MeteredStore(CookieStore(), backend.metrics)
    with pytest.raises(SessionTooLarge):
        begin(store, put("a", "x" * 5000))
    assert backend.events("cookie") == {"too_large": 1}


def test_a_retry_is_counted(backend: Backend) -> None:
    """Of which the store's executor notes that it was made."""
    inner = DictStore()
    store = MeteredStore(inner, backend.metrics)
    inner.note("retry")
    store.open("x")
    assert backend.events("dict") == {"retry": 1}


def test_each_event_has_a_test() -> None:
    """The stories above and the tests below them are of all events there are."""
    counted = {event for expected in STORIES.values() for event in expected}
    assert counted | {"outage", "too_large", "retry"} == set(EVENTS)


@pytest.mark.parametrize("operation", ["open", "commit"])
def test_opens_and_commits_are_timed(operation: str, backend: Backend, tmp_path: Path) -> None:
    """In seconds, by operation."""
    store = MeteredStore(disk(tmp_path), backend.metrics)
    Request(store, begin(store)).commit(put("b", 2))
    assert backend.timed(operation, "disk") == {"open": 1, "commit": 2}[operation]


def test_a_conflict_in_an_event_loop_is_counted() -> None:
    """As in a thread, and where no thread is: a commit of a task is merged onto another's."""
    counting = Counting()
    store = MeteredStore(DictStore(), counting)
    cookie_value = begin(store)
    one, other = Request(store, cookie_value), Request(store, cookie_value)
    for request in (one, other):
        increment("n")(request.state)

    async def work() -> None:
        await store.acommit(one.state.changes)
        await store.acommit(other.state.changes)

    asyncio.run(work())
    assert (counting.events["conflict"], counting.events["merged"]) == (1, 1)


# Traces.


def test_an_operation_is_a_span_with_its_store_and_its_outcome(tmp_path: Path) -> None:
    """Named for the operation."""
    backend = OpenTelemetry()
    store = MeteredStore(disk(tmp_path), backend.metrics)
    cookie_value = begin(store)
    store.open(cookie_value)
    store.open("unknown")
    store.touch(cookie_value)
    assert [(span.name, dict(span.attributes or {})) for span in backend.spans] == [
        (
            f"glimr_session.{operation}",
            {"glimr_session.store": "disk", "glimr_session.outcome": outcome},
        )
        for operation, outcome in [
            ("commit", "stored"), ("open", "found"), ("open", "absent"), ("touch", "done"),
        ]
    ]  # fmt: skip


def test_an_outage_is_the_error_of_its_span() -> None:
    """The status says so; no message does, which may say more than it should."""
    backend = OpenTelemetry()
    inner = DictStore()
    store = MeteredStore(inner, backend.metrics)
    inner.server.down = True
    with pytest.raises(StoreUnavailable):
        store.open("x")
    (span,) = backend.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "StoreUnavailable"
    assert span.status.description is None
    assert not span.events


class Inquisitive(NullStore):
    """Looks which span it is called in."""

    def open(self, cookie_value: str) -> None:
        self.seen = get_current_span()

    async def aopen(self, cookie_value: str) -> None:
        await asyncio.sleep(0)
        self.seen = get_current_span()


@pytest.mark.parametrize("loop", [False, True], ids=["thread", "loop"])
def test_spans_are_within_each_other(loop: bool) -> None:
    """The request's around the store's, and that around what the store itself traces."""
    backend = OpenTelemetry()
    inner = Inquisitive()
    store = MeteredStore(inner, backend.metrics)
    with backend.tracers.get_tracer("site").start_as_current_span("GET /") as request:
        if loop:
            asyncio.run(store.aopen("x"))
        else:
            store.open("x")
        assert get_current_span() is request
    (span, _) = backend.spans
    assert span.parent is not None
    assert span.parent.span_id == request.get_span_context().span_id
    assert span.context is not None
    assert inner.seen.get_span_context().span_id == span.context.span_id


def test_a_task_that_is_cancelled_ends_its_span() -> None:
    """The outcome is that it failed, and that is no error of the store."""
    backend = OpenTelemetry()

    class Slow(NullStore):
        async def aopen(self, cookie_value: str) -> None:
            await asyncio.sleep(60)

    async def work() -> None:
        task = asyncio.ensure_future(MeteredStore(Slow(), backend.metrics).aopen("x"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    (span,) = backend.spans
    assert (span.attributes or {})["glimr_session.outcome"] == "failed"
    assert span.status.status_code is StatusCode.UNSET
    assert backend.events("none") == {}
