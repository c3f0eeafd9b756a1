"""Responses of Starlette that go on after their headers: streams, files, background tasks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from glimr_session import CookieStore, DiskStore, SessionStore
from glimr_session.asgi import session_of
from tests.support.asgi_client import Browser
from tests.support.wsgi_apps import warnings_in

from .sites import client_of, make_app, values


def of_threads(session: Any) -> Iterator[str]:
    yield "one"
    session["late"] = session["a"] + 1
    yield "two"


async def of_the_loop(session: Any) -> AsyncIterator[str]:
    yield "one"
    session["late"] = session["a"] + 1
    yield "two"


@pytest.mark.parametrize("chunks", [of_threads, of_the_loop], ids=["threads", "the loop"])
def test_what_changes_during_a_stream_is_committed_at_its_end(disk: DiskStore, chunks: Any) -> None:
    """By a generator of either kind; also in a session that begins with this response."""

    async def stream(request: Request) -> Response:
        request.session["a"] = 1
        return StreamingResponse(chunks(request.session))

    client = client_of(disk, stream)
    assert client.get("/stream").text == "onetwo"
    assert values(client) == {"a": 1, "late": 2}


@pytest.mark.parametrize("chunks", [of_threads, of_the_loop], ids=["threads", "the loop"])
def test_on_the_cookie_store_a_late_change_is_lost_with_a_warning(
    chunks: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The cookie has left with the headers; the log says so."""

    async def stream(request: Request) -> Response:
        request.session["a"] = 1
        return StreamingResponse(chunks(request.session))

    client = client_of(CookieStore(), stream)
    assert client.get("/stream").text == "onetwo"
    assert values(client) == {"a": 1}
    (warning,) = warnings_in(caplog)
    assert "lives in the cookie" in warning


def test_a_file_keeps_what_was_changed(store: SessionStore, tmp_path: Path) -> None:
    """FileResponse begins its response as any other."""
    (tmp_path / "file.txt").write_text("in the file")

    async def download(request: Request) -> Response:
        session_of(request).increment("downloads")
        return FileResponse(tmp_path / "file.txt")

    client = client_of(store, download)
    assert client.get("/download").text == "in the file"
    client.get("/download")
    assert values(client) == {"downloads": 2}


def test_server_sent_events_are_committed_one_by_one(disk: DiskStore) -> None:
    """What ``save()`` has committed is there for other requests while the stream goes on."""
    seen: list[Any] = []

    async def events(request: Request) -> Response:
        session = session_of(request)
        session["events"] = 0
        twin = httpx.AsyncClient(
            transport=httpx.ASGITransport(request.app), base_url="http://localhost"
        )

        async def produce() -> AsyncIterator[str]:
            async with twin:
                for number in range(3):
                    session.increment("events")
                    await session.save()
                    cookie = {"cookie": request.headers.get("cookie", "")}
                    seen.append((await twin.get("/show", headers=cookie)).json()["events"])
                    yield f"data: {number}\n\n"

        return StreamingResponse(produce(), media_type="text/event-stream")

    client = client_of(disk, events)
    client.get("/put?a=1")
    assert client.get("/events").text.count("data: ") == 3
    assert seen == [1, 2, 3]
    assert values(client) == {"a": "1", "events": 3}


@pytest.mark.parametrize("in_a_thread", [True, False])
def test_a_background_task_reads_and_writes(disk: DiskStore, in_a_thread: bool) -> None:
    """After the response, in a thread or on the loop; it is committed when the task has ended."""

    async def later(session: Any) -> None:
        session["task"] = session["a"] + 1

    def in_thread(session: Any) -> None:
        session["task"] = session["a"] + 1

    async def start(request: Request) -> Response:
        request.session["a"] = 1
        work = in_thread if in_a_thread else later
        return JSONResponse(None, background=BackgroundTask(work, request.session))

    client = client_of(disk, start)
    client.get("/start")
    assert values(client) == {"a": 1, "task": 2}


def test_a_background_task_that_fails_commits_nothing_more(disk: DiskStore) -> None:
    """What the response has committed stays."""

    async def later(session: Any) -> None:
        session["task"] = 1
        raise LookupError("in the task")

    async def start(request: Request) -> Response:
        request.session["a"] = 1
        return JSONResponse(None, background=BackgroundTask(later, request.session))

    client = client_of(disk, start)
    client.get("/put?before=1")
    with pytest.raises(LookupError, match="in the task"):
        client.get("/start")
    assert values(client) == {"before": "1", "a": 1}


@pytest.mark.parametrize("spec_version", ["2.0", "2.5"])
def test_a_client_that_leaves_commits_nothing_more(disk: DiskStore, spec_version: str) -> None:
    """Starlette cancels the stream, or a send raises, as the server has it; no actor is left."""
    left = asyncio.Event()

    async def stream(request: Request) -> Response:
        request.session["early"] = 1

        async def chunks() -> AsyncIterator[str]:
            yield "one"
            request.session["late"] = 1
            if spec_version == "2.0":
                exchange.leave()
                await asyncio.Event().wait()
            left.set()
            yield "two"

        return StreamingResponse(chunks())

    async def break_off(message: Any) -> None:
        if left.is_set():
            raise OSError("the client has left")

    browser = Browser()
    asgi = {"asgi": {"version": "3.0", "spec_version": spec_version}}
    app = make_app(disk, stream)
    exchange = browser.request(app, "/stream", extra=asgi, on_send=break_off)

    async def ask() -> None:
        if spec_version == "2.0":
            await exchange.run()
        else:
            with pytest.raises((ClientDisconnect, ExceptionGroup)):  # the latter in old ones
                await exchange.run()

    asyncio.run(ask())
    assert exchange.body == b"one"
    shown = asyncio.run(browser.get(app, "/show"))
    assert shown.body == b'{"early":1}'


def test_an_error_in_a_stream_commits_nothing_more(
    disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The headers have left with what was committed before."""
    caplog.set_level(logging.WARNING)

    async def stream(request: Request) -> Response:
        request.session["early"] = 1

        async def chunks() -> AsyncIterator[str]:
            yield "one"
            request.session["late"] = 1
            raise LookupError("in the stream")

        return StreamingResponse(chunks())

    client = client_of(disk, stream)
    client.get("/put?a=1")
    with pytest.raises((LookupError, ExceptionGroup)):  # the latter in old versions of Starlette
        client.get("/stream")
    assert values(client) == {"a": "1", "early": 1}
