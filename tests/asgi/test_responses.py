"""What is committed with a response: before it starts, and not if it fails."""

from __future__ import annotations

import pytest

from glimr_session import SessionStore
from glimr_session.asgi import AsgiSession, Message, Receive, Scope, Send
from tests.support.asgi_client import Browser
from tests.support.wsgi_apps import Exploded, Recorded, explode

from .apps import Change, answering, browser_with, data_of, put, run, streaming, wrap


def test_a_session_is_committed_before_the_response_starts() -> None:
    """Whoever has the first byte can rely on it."""
    recorded = Recorded()
    seen: list[list[str]] = []

    async def look(message: Message) -> None:
        seen.append([*recorded.calls])

    async def work() -> None:
        app = wrap(answering(put("a", 1)), recorded.store)
        await Browser().request(app, on_send=look).run()

    run(work())
    assert seen == [["save"], ["save"]]


def test_a_cookie_is_set_once_and_only_when_it_changes(server_store: SessionStore) -> None:
    """For a session that begins; later changes of it are no matter of the browser's."""

    async def work() -> None:
        browser = Browser()
        app = wrap(answering(lambda session: session.increment("n")), server_store)
        assert [bool((await browser.get(app)).set_cookie) for _ in range(3)] == [True, False, False]
        assert await data_of(browser, server_store) == {"n": 3}

    run(work())


def test_the_cookie_store_sends_each_change(store: SessionStore) -> None:
    """What was only read sends no cookie, on any store."""

    async def work() -> None:
        browser = Browser()
        counting = wrap(answering(lambda session: session.increment("n")), store)
        sent = [(await browser.get(counting)).set_cookie is not None for _ in range(2)]
        assert sent == [True, not store.server_side]
        assert (await browser.get(wrap(answering(dict), store))).set_cookie is None

    run(work())


@pytest.mark.parametrize(
    ("status", "kept"),
    [(204, True), (302, True), (404, True), (499, True), (500, False), (503, False)],
)
def test_a_response_from_500_on_keeps_nothing(status: int, kept: bool, store: SessionStore) -> None:
    """No change, no cookie, and the flash waits for the next request."""

    def change(session: AsgiSession) -> None:
        session["b"] = 2
        session.get_flash("notice")

    def flash(session: AsgiSession) -> None:
        session.flash("notice", "Saved.")

    async def work() -> None:
        browser = await browser_with(store, a=1)
        await browser.get(wrap(answering(flash), store))
        response = await browser.get(wrap(answering(change, status), store))
        assert response.values("Vary") == ["Cookie"]
        assert kept or response.set_cookie is None
        found: list[object] = []
        await browser.get(
            wrap(answering(lambda s: found.extend([s.get_flash("notice"), dict(s)])), store)
        )
        assert found == (["", {"a": 1, "b": 2}] if kept else ["Saved.", {"a": 1}])

    run(work())


def test_an_error_page_leaves_whatever_the_session_holds(store: SessionStore) -> None:
    """It is sent although JSON does not have a value: nothing of it is to be kept."""

    async def work() -> None:
        browser = await browser_with(store, a=1)
        response = await browser.get(wrap(answering(put("a", object()), 500), store))
        assert (response.status, response.body) == (500, b"answer")
        assert await data_of(browser, store) == {"a": 1}

    run(work())


@pytest.mark.parametrize("status", [200, 500])
def test_errors_may_be_told_to_commit(status: int, store: SessionStore) -> None:
    """``commit_on_error``: a response of 500 keeps what it did as any other one."""

    async def work() -> None:
        browser = await browser_with(store, a=1)
        await browser.get(wrap(answering(put("b", 2), status), store, commit_on_error=True))
        assert await data_of(browser, store) == {"a": 1, "b": 2}

    run(work())


def raising(error: BaseException) -> Change:
    def change(session: AsgiSession) -> None:
        session["b"] = 2
        raise error

    return change


@pytest.mark.parametrize(
    "error",
    [ValueError("a bug"), Exploded(), SystemExit(1)],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_keeps_nothing(error: BaseException, store: SessionStore) -> None:
    """The server gets it, and nothing was sent."""

    async def work() -> None:
        browser = await browser_with(store, a=1)
        request = browser.request(wrap(answering(raising(error)), store))
        with pytest.raises(type(error)) as raised:
            await request.run()
        assert raised.value is error
        assert request.sent == []
        assert await data_of(browser, store) == {"a": 1}

    run(work())


def test_an_exception_in_the_body_drops_later_changes(server_store: SessionStore) -> None:
    """What was committed with the start stays."""

    def fail(session: AsgiSession) -> None:
        session["late"] = True
        explode()

    async def work() -> None:
        browser = Browser()
        request = browser.request(wrap(streaming(put("early", True), fail), server_store))
        with pytest.raises(Exploded):
            await request.run()
        assert (request.body, request.complete) == (b"first", False)
        assert await data_of(browser, server_store) == {"early": True}

    run(work())


def test_an_application_that_never_answers_keeps_nothing(store: SessionStore) -> None:
    """It has returned without a response: the server makes an error of it."""

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"]["b"] = 2

    async def work() -> None:
        browser = await browser_with(store, a=1)
        assert (await browser.get(wrap(silent, store))).sent == []
        assert await data_of(browser, store) == {"a": 1}

    run(work())


def test_messages_of_extensions_are_passed_on(store: SessionStore) -> None:
    """Before the start and after it; a file that the server sends itself ends the response."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"]["early"] = True
        await send({"type": "http.response.push", "path": "/style.css", "headers": []})
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        scope["session"]["late"] = True
        await send({"type": "http.response.pathsend", "path": "/file"})
        await send({"type": "http.response.trailers", "headers": [(b"x", b"y")]})

    async def work() -> None:
        browser = await browser_with(store, a=1)
        response = await browser.get(wrap(app, store))
        kinds = [message["type"].rpartition(".")[2] for message in response.sent]
        assert kinds == ["push", "start", "pathsend", "trailers"]
        assert response.sent[1]["trailers"] is True
        late = {"late": True} if store.server_side else {}
        assert await data_of(browser, store) == {"a": 1, "early": True, **late}

    run(work())
