"""Which responses of Litestar keep what their request has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Response, get
from litestar.background_tasks import BackgroundTask
from litestar.exceptions import HTTPException
from litestar.response import File, ServerSentEvent, Stream
from litestar.testing import TestClient

from glimr_session import CookieStore, DiskStore, SessionStore, StoreUnavailable
from glimr_session.asgi import AsgiSession, session_of
from tests.support.wsgi_apps import Recorded, warnings_in

from .sites import AnyRequest, client_of, make_app, values

both_ways = pytest.mark.parametrize(
    "wrapped", [False, True], ids=["in its middleware", "around it"]
)


@both_ways
@pytest.mark.parametrize(("status", "kept"), [(403, True), (503, False)])
def test_an_http_exception_is_a_response(
    store: SessionStore, status: int, kept: bool, wrapped: bool
) -> None:
    """Below 500 it keeps what was changed, and from there on nothing."""

    @get("/refuse")
    async def refuse(request: AnyRequest) -> None:
        request.session["tries"] = 1
        raise HTTPException(status_code=status)

    with client_of(store, refuse, wrapped=wrapped) as client:
        assert client.get("/refuse").status_code == status
        assert values(client) == ({"tries": 1} if kept else {})


@both_ways
def test_an_unhandled_error_keeps_nothing(store: SessionStore, wrapped: bool) -> None:
    """No cookie comes with Litestar's answer to it."""

    @get("/fail")
    async def fail(request: AnyRequest) -> None:
        request.session["a"] = 1
        raise LookupError

    with client_of(store, fail, wrapped=wrapped) as client:
        answer = client.get("/fail")
        assert (answer.status_code, answer.headers.get("set-cookie")) == (500, None)
        assert values(client) == {}


def test_clear_session_and_an_error_keep_what_was_there(store: SessionStore) -> None:
    """A logout that has failed is none."""

    @get("/fail")
    async def fail(request: AnyRequest) -> None:
        request.clear_session()
        raise LookupError

    with client_of(store, fail) as client:
        client.get("/put?a=1")
        client.get("/fail")
        assert values(client) == {"a": "1"}


def test_the_hooks_of_a_request_use_the_session(disk: DiskStore) -> None:
    """Before it, after it, and once the response has left."""

    async def before(request: AnyRequest) -> None:
        session_of(request).increment("before")

    async def after(response: Response[Any]) -> Response[Any]:
        return response

    async def left(request: AnyRequest) -> None:
        session_of(request).increment("left")

    @get("/page", before_request=before, after_request=after, after_response=left)
    async def page(request: AnyRequest) -> None:
        request.session["page"] = request.session["before"]

    with client_of(disk, page) as client:
        client.get("/page")
        assert values(client) == {"before": 1, "page": 1, "left": 1}


async def chunks(session: AsgiSession) -> AsyncIterator[str]:
    yield "one"
    session.increment("late")
    yield "two"


def test_what_changes_during_a_stream_is_committed_at_its_end(disk: DiskStore) -> None:
    """Also in a session that begins with this response."""

    @get("/stream")
    async def stream(request: AnyRequest) -> Stream:
        request.session["early"] = 1
        return Stream(chunks(session_of(request)))

    with client_of(disk, stream) as client:
        assert client.get("/stream").text == "onetwo"
        assert values(client) == {"early": 1, "late": 1}


def test_on_the_cookie_store_a_late_change_is_lost_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The cookie has left with the headers; the log says so."""

    @get("/stream")
    async def stream(request: AnyRequest) -> Stream:
        request.session["early"] = 1
        return Stream(chunks(session_of(request)))

    with client_of(CookieStore(), stream) as client:
        assert client.get("/stream").text == "onetwo"
        assert values(client) == {"early": 1}
    (warning,) = warnings_in(caplog)
    assert "lives in the cookie" in warning


def test_server_sent_events_are_committed_one_by_one(disk: DiskStore) -> None:
    """What ``save()`` has committed stays when the stream fails later."""

    @get("/events")
    async def events(request: AnyRequest) -> ServerSentEvent:
        session = session_of(request)
        session["events"] = 0

        async def produce() -> AsyncIterator[str]:
            for number in range(3):
                session.increment("events")
                await session.save()
                yield str(number)
            session.increment("events", 100)
            raise LookupError("in the stream")

        return ServerSentEvent(produce())

    with client_of(disk, events, raising=False) as client:
        client.get("/put?a=1")
        client.get("/events")
        assert values(client) == {"a": "1", "events": 3}


def test_a_file_keeps_what_was_changed(store: SessionStore, tmp_path: Path) -> None:
    """It begins its response as any other."""
    (tmp_path / "file.txt").write_text("in the file")

    @get("/download")
    async def download(request: AnyRequest) -> File:
        session_of(request).increment("downloads")
        return File(tmp_path / "file.txt")

    with client_of(store, download) as client:
        assert client.get("/download").text == "in the file"
        assert values(client) == {"downloads": 1}


def test_a_background_task_reads_and_writes(disk: DiskStore) -> None:
    """It is committed when the task has ended; a replaced session, too."""

    async def later(request: AnyRequest) -> None:
        request.set_session({"task": request.session["a"] + 1})

    @get("/start")
    async def start(request: AnyRequest) -> Response[None]:
        request.session["a"] = 1
        return Response(None, background=BackgroundTask(later, request))

    with client_of(disk, start) as client:
        client.get("/start")
        assert values(client) == {"task": 2}


@both_ways
def test_an_outage_while_reading_is_litestar_s_to_answer(wrapped: bool) -> None:
    """With a 500, or as the exception handler for StoreUnavailable likes; nothing is lost."""

    def sorry(request: AnyRequest, error: StoreUnavailable) -> Response[str]:
        return Response("sorry", status_code=503)

    handled: Any = {"exception_handlers": {StoreUnavailable: sorry}}
    for arguments, status in (({}, 500), (handled, 503)):
        recorded = Recorded()
        with client_of(recorded.store, wrapped=wrapped, **arguments) as client:
            client.get("/put?a=1")
            recorded.down = True
            answer = client.get("/show")
            assert (answer.status_code, answer.headers.get("set-cookie")) == (status, None)
            recorded.down = False
            assert values(client) == {"a": "1"}


@both_ways
def test_an_outage_while_committing_is_a_503(
    wrapped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Litestar has begun its response then, and raises an error of its own around it."""
    recorded = Recorded()

    @get("/lose")
    async def lose(request: AnyRequest) -> str:
        request.session["a"] = 1
        recorded.down = True
        return "done"

    with client_of(recorded.store, lose, wrapped=wrapped) as client:
        answer = client.get("/lose")
        assert (answer.status_code, "done" in answer.text) == (503, False)
        recorded.down = False
        assert values(client) == {}
    assert "could not be read or committed" in caplog.text


def test_the_lifespan_goes_through(store: SessionStore) -> None:
    """What Litestar does at its start and at its end is done, with ours around it."""
    seen: list[str] = []
    app: Any = make_app(
        store,
        wrapped=True,
        on_startup=[lambda: seen.append("start")],
        on_shutdown=[lambda: seen.append("end")],
    )
    with TestClient(app) as client:
        client.get("/put?a=1")
    assert seen == ["start", "end"]
