"""Changes after the start of a response, and clients that leave."""

from __future__ import annotations

import pytest

from glimr_session import CookieStore, DiskStore, SessionClosed, SessionStore
from glimr_session.asgi import ASGIApp, AsgiSession, Message, Receive, Scope, Send
from tests.support.asgi_client import Browser
from tests.support.wsgi_apps import rows, warnings_in

from .apps import (
    LIFETIME,
    Change,
    answering,
    browser_with,
    data_of,
    nothing,
    put,
    run,
    streaming,
    wrap,
)

VARY = [(b"vary", b"Cookie")]


@pytest.mark.parametrize("known", [False, True], ids=["begun by this request", "known"])
def test_a_late_change_is_kept_where_the_browser_has_a_cookie(
    known: bool, server_store: SessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    """What changes while the body is sent is committed when the application returns."""

    async def work() -> None:
        browser = await browser_with(server_store, early=True) if known else Browser()
        await browser.get(wrap(streaming(put("early", True), put("late", True)), server_store))
        assert await data_of(browser, server_store) == {"early": True, "late": True}

    run(work())
    assert warnings_in(caplog) == []


def test_a_known_session_may_be_used_late_for_the_first_time(
    server_store: SessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    """What it changes is kept; a warning names Vary, unless the response has it."""

    async def work() -> None:
        browser = await browser_with(server_store, early=True)
        app = streaming(late=lambda session: session.increment("n"), headers=VARY)
        await browser.get(wrap(app, server_store))
        assert warnings_in(caplog) == []
        app = streaming(late=lambda session: session.increment("n"))
        await browser.get(wrap(app, server_store))
        assert await data_of(browser, server_store) == {"early": True, "n": 2}

    run(work())
    assert ["Vary" in warning for warning in warnings_in(caplog)] == [True]


def test_work_after_the_response_may_use_the_session(server_store: SessionStore) -> None:
    """As background tasks do; what they change is kept too."""
    found: list[object] = []

    def after(session: AsgiSession) -> None:
        found.append(dict(session))
        session["after"] = True

    async def work() -> None:
        browser = Browser()
        await browser.get(wrap(streaming(put("early", 1), after=after), server_store))
        assert await data_of(browser, server_store) == {"early": 1, "after": True}

    run(work())
    assert found == [{"early": 1}]


@pytest.mark.parametrize("early", [nothing, dict], ids=["untouched", "read"])
def test_a_late_change_never_begins_a_session(
    early: Change, disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The browser would have no cookie for it: it is lost, with one warning."""

    async def work() -> None:
        app = streaming(early, put("late", True), put("after", True), headers=VARY)
        assert (await Browser().get(wrap(app, disk))).set_cookie is None

    run(work())
    assert rows(disk) == 0
    assert ["the change is lost" in warning for warning in warnings_in(caplog)] == [True]


def test_a_late_change_of_the_cookie_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    """The cookie has left; one warning says so."""
    store = CookieStore(lifetime=LIFETIME)

    async def work() -> None:
        browser = Browser()
        await browser.get(wrap(streaming(put("early", True), put("late", True)), store))
        assert await data_of(browser, store) == {"early": True}

    run(work())
    assert ["it lives in the cookie" in warning for warning in warnings_in(caplog)] == [True]


def test_a_late_logout_destroys_the_session(disk: DiskStore) -> None:
    """And begins no other one."""

    async def work() -> None:
        browser = await browser_with(disk, user="ada")
        await browser.get(wrap(streaming(dict, lambda session: session.invalidate()), disk))

    run(work())
    assert rows(disk) == 0


def test_a_late_login_is_refused(store: SessionStore) -> None:
    """The new id could not reach the browser."""

    async def work() -> None:
        browser = await browser_with(store, a=1)
        with pytest.raises(SessionClosed, match="regenerate"):
            await browser.get(wrap(streaming(dict, lambda session: session.regenerate()), store))
        assert await data_of(browser, store) == {"a": 1}

    run(work())


@pytest.mark.parametrize("use", [dict, put("a", 2)], ids=["read", "put"])
def test_a_session_ends_when_the_application_returns(use: Change, store: SessionStore) -> None:
    """Whoever uses it later is told."""

    async def work() -> None:
        response = await Browser().get(wrap(answering(), store))
        with pytest.raises(SessionClosed):
            use(response.scope["session"])

    run(work())


def until_it_leaves(late: Change) -> ASGIApp:
    """Return an application that streams until its client has left."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.request"
        scope["session"]["early"] = True
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"event", "more_body": True})
        late(scope["session"])
        assert (await receive())["type"] == "http.disconnect"

    return app


def test_a_response_that_was_broken_off_keeps_what_was_committed(
    server_store: SessionStore,
) -> None:
    """The client has left, and the application returns without the end of the body."""

    async def work() -> None:
        browser = Browser()

        async def leave(message: Message) -> None:
            if message["type"] == "http.response.body":
                request.leave()

        app = wrap(until_it_leaves(put("late", True)), server_store)
        request = browser.request(app, on_send=leave)
        await request.run()
        assert not request.complete
        assert await data_of(browser, server_store) == {"early": True}

    run(work())


@pytest.mark.parametrize("kind", ["http.response.start", "http.response.body"])
def test_a_server_that_cannot_send_raises(kind: str, server_store: SessionStore) -> None:
    """An OSError reaches the application; what changes afterwards is not kept."""

    async def broken(message: Message) -> None:
        if message["type"] == kind:
            raise OSError("the client has left")

    async def work() -> None:
        browser = await browser_with(server_store, a=1)
        app = wrap(streaming(put("early", True), put("late", True)), server_store)
        with pytest.raises(OSError, match="the client has left"):
            await browser.request(app, on_send=broken).run()
        assert await data_of(browser, server_store) == {"a": 1, "early": True}

    run(work())


def test_an_application_may_go_on_after_an_error_of_send(server_store: SessionStore) -> None:
    """It has noticed that the client is gone, and returns: the response was broken off."""

    async def broken(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise OSError

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"]["early"] = True
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await send({"type": "http.response.body", "body": b"all"})
        except OSError:
            scope["session"]["late"] = True

    async def work() -> None:
        browser = await browser_with(server_store, a=1)
        await browser.request(wrap(app, server_store), on_send=broken).run()
        assert await data_of(browser, server_store) == {"a": 1, "early": True}

    run(work())
