"""Stores that are down, or that cannot keep a session."""

from __future__ import annotations

import logging

import pytest

from glimr_session import CookieStore, SessionTooLarge, StoreUnavailable
from glimr_session.asgi import ASGIApp, AsgiSession, Receive, Scope, Send
from tests.support.asgi_client import Browser
from tests.support.wsgi_apps import Recorded

from .apps import (
    LIFETIME,
    Change,
    answering,
    browser_with,
    chatting,
    data_of,
    put,
    run,
    streaming,
    wrap,
)


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def errors_in(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("change", [dict, put("b", 2)], ids=["read", "put"])
def test_an_outage_is_a_plain_page(
    change: Change, recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    """503, without a cookie and not to be cached; the log has the cause, and the session lives."""

    async def work() -> None:
        browser = await browser_with(recorded.store, a=1)
        recorded.down = True
        response = await browser.get(wrap(answering(change), recorded.store))
        recorded.down = False
        assert (response.status, response.set_cookie) == (503, None)
        assert response.body.startswith(b"503 Service Unavailable")
        assert response.values("Content-Length") == [str(len(response.body))]
        assert response.values("Cache-Control") == ["no-store"]
        assert await data_of(browser, recorded.store) == {"a": 1}

    run(work())
    (record,) = errors_in(caplog)
    assert record.exc_info is not None
    assert record.exc_info[0] is StoreUnavailable


def going_down(recorded: Recorded) -> Change:
    """Return a change after which the store cannot be reached."""

    def change(session: AsgiSession) -> None:
        session["b"] = 2
        recorded.down = True

    return change


@pytest.mark.parametrize("known", [True, False], ids=["known", "new"])
def test_a_commit_that_fails_sends_nothing_of_the_application(
    known: bool, recorded: Recorded
) -> None:
    """The page takes the place of its response, whose body is never asked for."""

    async def work() -> None:
        browser = await browser_with(recorded.store, a=1) if known else Browser()
        response = await browser.get(wrap(streaming(going_down(recorded)), recorded.store))
        recorded.down = False
        assert (response.status, response.set_cookie) == (503, None)
        assert b"first" not in response.body
        assert await data_of(browser, recorded.store) == ({"a": 1} if known else {})

    run(work())


def handling(app: ASGIApp, status: int = 503) -> ASGIApp:
    """Return an application with a page of its own for outages."""

    async def handled(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except StoreUnavailable:
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b"our own page"})

    return handled


def test_the_application_may_answer_for_a_commit_that_failed(recorded: Recorded) -> None:
    """As the exception handlers of frameworks do; nothing is logged as an error."""

    async def work() -> None:
        browser = await browser_with(recorded.store, a=1)
        app = handling(answering(going_down(recorded)))
        response = await browser.get(wrap(app, recorded.store))
        recorded.down = False
        assert (response.status, response.body) == (503, b"our own page")
        assert response.headers == [("vary", "Cookie")]
        assert await data_of(browser, recorded.store) == {"a": 1}

    run(work())


def test_a_page_that_is_no_error_tries_to_commit_again(recorded: Recorded) -> None:
    """It may not say that all is well while the changes are lost: the plain page it is."""

    async def work() -> None:
        browser = await browser_with(recorded.store, a=1)
        app = handling(answering(going_down(recorded)), status=200)
        assert (await browser.get(wrap(app, recorded.store))).status == 503

    run(work())


def test_an_outage_after_the_response_reaches_the_server(recorded: Recorded) -> None:
    """The response stays as it is; the error is the server's to log."""

    async def work() -> None:
        request = Browser().request(
            wrap(streaming(put("a", 1), going_down(recorded)), recorded.store)
        )
        with pytest.raises(StoreUnavailable):
            await request.run()
        assert (request.status, request.body) == (200, b"firstsecond")
        recorded.down = False

    run(work())


def test_a_session_too_large_for_its_cookie_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    """The log has its size, and the old session is left."""
    store = CookieStore(lifetime=LIFETIME)

    async def work() -> None:
        browser = await browser_with(store, a=1)
        response = await browser.get(wrap(answering(put("b", "x" * 4096)), store))
        assert (response.status, response.set_cookie) == (500, None)
        assert response.body.startswith(b"500 Internal Server Error")
        assert await data_of(browser, store) == {"a": 1}

    run(work())
    (record,) = errors_in(caplog)
    assert record.exc_info is not None
    assert record.exc_info[0] is SessionTooLarge


@pytest.mark.parametrize("moment", ["reading", "committing"])
def test_a_websocket_is_closed_in_an_outage(moment: str, recorded: Recorded) -> None:
    """With the code 1013, "try again later", before it is accepted."""

    async def work() -> None:
        browser = await browser_with(recorded.store, a=1)
        recorded.down = moment == "reading"
        websocket = browser.websocket(wrap(chatting(going_down(recorded)), recorded.store))
        await websocket.run()
        assert websocket.sent == [{"type": "websocket.close", "code": 1013}]

    run(work())


def test_a_websocket_that_is_open_tells_its_server_of_an_outage(recorded: Recorded) -> None:
    """What changed after it was accepted could not be kept; its server logs that."""

    async def work() -> None:
        browser = await browser_with(recorded.store, a=1)
        websocket = browser.websocket(
            wrap(chatting(late=going_down(recorded)), recorded.store), ["hello"]
        )
        with pytest.raises(StoreUnavailable):
            await websocket.run()
        assert websocket.texts == ["{'a': 1}"]

    run(work())


def test_without_a_cookie_an_outage_is_noticed_at_the_commit(recorded: Recorded) -> None:
    """A page for somebody who has no session is served without the store."""

    async def work() -> None:
        recorded.down = True
        assert (await Browser().get(wrap(answering(dict), recorded.store))).status == 200
        assert (await Browser().get(wrap(answering(put("a", 1)), recorded.store))).status == 503

    run(work())
