"""Sessions of websockets: committed when they are accepted, and at their end."""

from __future__ import annotations

import pytest

from glimr_session import SessionStore
from glimr_session.asgi import ASGIApp, AsgiSession, Receive, Scope, Send
from tests.support.asgi_client import Browser
from tests.support.wsgi_apps import Exploded, explode, warnings_in

from .apps import Change, browser_with, chatting, data_of, nothing, put, run, wrap


def test_a_websocket_begins_a_session_when_it_is_accepted(store: SessionStore) -> None:
    """The cookie is in the headers of the answer."""

    async def work() -> None:
        browser = Browser()
        websocket = await browser.websocket(wrap(chatting(put("a", 1)), store), ["hello"]).run()
        assert websocket.set_cookie is not None
        assert websocket.texts == ["{'a': 1}"]
        assert await data_of(browser, store) == {"a": 1}

    run(work())


@pytest.mark.parametrize("change", [nothing, dict], ids=["untouched", "read"])
def test_a_websocket_that_changes_nothing_sets_no_cookie(
    change: Change, store: SessionStore
) -> None:
    """Whether it reads its session or not."""

    async def work() -> None:
        browser = await browser_with(store, a=1)
        websocket = await browser.websocket(wrap(chatting(change), store)).run()
        assert (websocket.status, websocket.set_cookie) == (101, None)

    run(work())


def count(session: AsgiSession) -> None:
    session.increment("n")


@pytest.mark.parametrize("known", [True, False], ids=["known", "begun by it"])
def test_what_changes_later_is_kept_at_the_end(
    known: bool, server_store: SessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the browser has a cookie of the session."""

    async def work() -> None:
        browser = await browser_with(server_store, n=0) if known else Browser()
        app = chatting(nothing if known else put("n", 0), count)
        websocket = await browser.websocket(wrap(app, server_store), ["one", "two"]).run()
        assert websocket.texts == ["{'n': 1}", "{'n': 2}"]
        assert await data_of(browser, server_store) == {"n": 2}

    run(work())
    assert warnings_in(caplog) == []


def test_what_changes_later_in_a_new_session_is_lost(
    server_store: SessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody has a cookie for it; one warning says so."""

    async def work() -> None:
        browser = Browser()
        await browser.websocket(wrap(chatting(each=count), server_store), ["one", "two"]).run()
        assert browser.cookies.header() == ""

    run(work())
    assert ["no cookie for it" in warning for warning in warnings_in(caplog)] == [True]


def test_a_long_websocket_may_save(server_store: SessionStore) -> None:
    """Other requests find what it has saved while it goes on."""
    found: list[object] = []

    async def work() -> None:
        browser = await browser_with(server_store, a=1)

        async def each(session: AsgiSession) -> None:
            session.increment("n")
            await session.save()
            found.append(await data_of(browser.twin(), server_store))

        app = wrap(chatting(each=each), server_store)
        await browser.websocket(app, ["one", "two"]).run()

    run(work())
    assert found == [{"a": 1, "n": 1}, {"a": 1, "n": 2}]


def test_a_websocket_that_fails_keeps_what_was_committed(server_store: SessionStore) -> None:
    """The error reaches the server."""

    def fail(session: AsgiSession) -> None:
        session["late"] = True
        explode()

    async def work() -> None:
        browser = await browser_with(server_store, a=1)
        app = wrap(chatting(put("early", True), fail), server_store)
        with pytest.raises(Exploded):
            await browser.websocket(app, ["hello"]).run()
        assert await data_of(browser, server_store) == {"a": 1, "early": True}

    run(work())


def closing() -> ASGIApp:
    """Return an application that lets nobody in."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        scope["session"]["b"] = 2
        await send({"type": "websocket.close", "code": 1008})

    return app


def test_a_websocket_that_is_closed_at_once_keeps_nothing(store: SessionStore) -> None:
    """It has no response that could have told the browser."""

    async def work() -> None:
        browser = await browser_with(store, a=1)
        websocket = await browser.websocket(wrap(closing(), store)).run()
        assert websocket.sent == [{"type": "websocket.close", "code": 1008}]
        assert await data_of(browser, store) == {"a": 1}

    run(work())


@pytest.mark.parametrize(("status", "kept"), [(403, True), (500, False)])
def test_a_response_that_denies_a_websocket_is_a_response(
    status: int, kept: bool, store: SessionStore
) -> None:
    """The extension ``websocket.http.response``: committed below 500."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        scope["session"].flash("notice", "Log in first.")
        await send({"type": "websocket.http.response.start", "status": status, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"no"})

    async def work() -> None:
        browser = Browser()
        websocket = await browser.websocket(wrap(app, store)).run()
        assert (websocket.status, websocket.body) == (status, b"no")
        assert (websocket.set_cookie is not None) is kept

    run(work())


def test_a_login_in_a_websocket_comes_before_it_is_accepted(server_store: SessionStore) -> None:
    """Then the browser gets the new id."""

    async def work() -> None:
        browser = await browser_with(server_store, a=1)
        copied = browser.twin()
        app = chatting(lambda session: session.regenerate())
        assert (await browser.websocket(wrap(app, server_store)).run()).set_cookie is not None
        assert await data_of(browser, server_store) == {"a": 1}
        assert await data_of(copied, server_store) == {}

    run(work())
