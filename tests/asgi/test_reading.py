"""When the store is read, and what the response tells caches of it."""

from __future__ import annotations

import pytest

from glimr_session import CookieStore, DiskStore, SessionStore, StoredSession, StoreUnavailable
from glimr_session.asgi import ASGIApp, AsgiSession, Message, Receive, Scope, Send
from tests.support.asgi_client import Browser
from tests.support.cookies import tampered
from tests.support.wsgi_apps import Recorded, warnings_in

from .apps import (
    LIFETIME,
    Change,
    answering,
    browser_with,
    data_of,
    nothing,
    noting,
    put,
    run,
    wrap,
)


@pytest.mark.parametrize("change", [nothing, dict, put("a", 1)], ids=["-", "read", "put"])
@pytest.mark.parametrize("kind", ["none", "of others", "forged"])
def test_nothing_is_read_where_no_cookie_verifies(kind: str, change: Change) -> None:
    """The store is not asked before it is written."""
    recorded = Recorded()

    async def work() -> None:
        browser = await browser_with(recorded.store, a=0)
        name, _, value = browser.cookies.header().partition("=")
        headers = {"none": "", "of others": "theme=dark", "forged": f"{name}={tampered(value)}"}
        recorded.calls.clear()
        await Browser(headers[kind]).get(wrap(answering(change), recorded.store))

    run(work())
    assert set(recorded.calls) == ({"save"} if change not in (nothing, dict) else set())


def test_a_store_that_may_wait_is_read_once_before_the_handler() -> None:
    """The first use, and all later ones, find what was read."""
    recorded = Recorded()
    seen: list[list[str]] = []

    def look(session: AsgiSession) -> None:
        seen.append([*recorded.calls])
        session.get("a")
        session.session.all()
        seen.append([*recorded.calls])

    async def work() -> None:
        browser = await browser_with(recorded.store, a=1)
        recorded.calls.clear()
        await browser.get(wrap(answering(look), recorded.store))

    run(work())
    assert seen == [["load"], ["load"]]


def test_a_store_that_opens_at_once_is_read_once() -> None:
    """However often its session is used."""
    opened: list[str] = []

    class Noting(CookieStore):
        def open(self, cookie_value: str) -> StoredSession | None:
            opened.append(cookie_value)
            return super().open(cookie_value)

    async def work() -> None:
        store = Noting(lifetime=LIFETIME)
        browser = await browser_with(store, a=1)
        opened.clear()
        app = answering(lambda session: (session.get("a"), session.session.all(), dict(session)))
        await browser.get(wrap(app, store))
        assert len(opened) == 1

    run(work())


def test_an_image_eats_no_flash(store: SessionStore) -> None:
    """To be read ahead is no use: the page after it finds the flash."""
    found: list[object] = []

    async def work() -> None:
        browser = Browser()
        await browser.get(wrap(answering(lambda session: session.flash("notice", "Saved.")), store))
        await browser.get(wrap(answering(), store))
        await browser.get(
            wrap(answering(noting(found, lambda session: session.get_flash("notice"))), store)
        )

    run(work())
    assert found == ["Saved."]


def test_an_untouched_response_is_left_as_it_is(store: SessionStore) -> None:
    """No Vary, no cookie, no header more than the application has given it."""

    async def work() -> None:
        browser = await browser_with(store, a=1)
        response = await browser.get(wrap(answering(headers=[(b"vary", b"Accept")]), store))
        assert response.headers == [("vary", "Accept")]

    run(work())


@pytest.mark.parametrize(
    ("own", "sent"),
    [
        ([], ["Cookie"]),
        ([b"Accept"], ["Accept, Cookie"]),
        ([b"Accept", b"Origin"], ["Accept", "Origin, Cookie"]),
        ([b"cookie"], ["cookie"]),
        ([b"*"], ["*"]),
    ],
    ids=str,
)
def test_a_response_that_used_its_session_varies_by_cookie(
    own: list[bytes], sent: list[str], store: SessionStore
) -> None:
    """Cookie is in its Vary headers once, beside what the application has there."""
    headers = [(b"vary", value) for value in own]
    for use in (dict, put("a", 2)):
        response = run(Browser().get(wrap(answering(use, headers=headers), store)))
        assert response.values("Vary") == sent


def test_a_response_with_a_cookie_is_not_cached(store: SessionStore) -> None:
    """Unless the application says how; one that only reads stays as it is."""

    async def work() -> None:
        browser = Browser()
        assert (await browser.get(wrap(answering(dict), store))).values("Cache-Control") == []
        response = await browser.get(wrap(answering(put("a", 1)), store))
        assert response.values("Cache-Control") == ["no-store"]
        app = answering(put("b", 2), headers=[(b"cache-control", b"max-age=60")])
        response = await Browser().get(wrap(app, store))
        assert response.values("Cache-Control") == ['max-age=60, no-cache="Set-Cookie"']

    run(work())


def broken(change: Change) -> tuple[int, list[tuple[str, str]]]:
    """Return status and headers of a request whose store cannot be read."""
    recorded = Recorded()

    async def work() -> tuple[int, list[tuple[str, str]]]:
        browser = await browser_with(recorded.store, a=1)
        recorded.down = True
        response = await browser.get(wrap(answering(change), recorded.store))
        recorded.down = False
        assert await data_of(browser, recorded.store) == {"a": 1}
        return response.status, response.headers

    return run(work())


def test_an_outage_while_reading_ahead_is_no_matter_to_whom_it_does_not_concern() -> None:
    """A request that does not use its session is answered."""
    assert broken(nothing) == (200, [])


def test_an_outage_is_raised_at_each_use() -> None:
    """By the dict and by the Session; the page that the application makes then varies."""
    uses: list[Change] = [
        dict,
        lambda session: session["a"],
        lambda session: session.put("a", 1),
        lambda session: session.increment("a"),
        lambda session: session.session.get("a"),
    ]

    def try_all(session: AsgiSession) -> None:
        for use in uses:
            with pytest.raises(StoreUnavailable, match="the store is down"):
                use(session)

    status, headers = broken(try_all)
    assert (status, headers) == (200, [("vary", "Cookie")])


@pytest.mark.parametrize("split", [False, True], ids=["one header", "HTTP/2"])
def test_cookies_in_several_headers_are_all_read(split: bool, store: SessionStore) -> None:
    """RFC 9113, section 8.2.3: HTTP/2 may send each cookie in a header of its own."""
    found: list[dict[str, object]] = []

    async def work() -> None:
        browser = await browser_with(store, a=1)
        ours = browser.cookies.header()
        pairs = ["theme=dark", ours, "lang=la"]
        values = pairs if split else ["; ".join(pairs)]
        headers = [(b"cookie", value.encode()) for value in values]
        await Browser().get(wrap(answering(noting(found, dict)), store), "/", headers)

    run(work())
    assert found == [{"a": 1}]


def test_cookies_of_two_sessions_in_two_headers_are_ambiguous(
    disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The request is anonymous, with one warning."""
    found: list[dict[str, object]] = []

    async def work() -> None:
        browsers = [await browser_with(disk, a=number) for number in (1, 2)]
        headers = [(b"cookie", browser.cookies.header().encode()) for browser in browsers]
        await Browser().get(wrap(answering(noting(found, dict)), disk), "/", headers)

    run(work())
    assert found == [{}]
    assert len(warnings_in(caplog)) == 1


def test_a_scope_needs_no_headers(store: SessionStore) -> None:
    """Nor a server, a scheme or a root path: other programs leave them out."""
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("nobody has asked for the body")

    async def send(message: Message) -> None:
        sent.append(message)

    run(wrap(answering(put("a", 1)), store)({"type": "http", "path": "/"}, receive, send))
    names = [name for name, _ in sent[0]["headers"]]
    assert names == [b"vary", b"cache-control", b"set-cookie"]


def test_the_start_of_a_response_needs_no_headers(store: SessionStore) -> None:
    """The application may leave them out, whether its session was used or not."""

    def saying(change: Change) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            change(scope["session"])
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})

        return app

    for change, has_cookie in ((nothing, False), (put("a", 1), True)):
        response = run(Browser().get(wrap(saying(change), store)))
        assert (response.status, response.set_cookie is not None) == (204, has_cookie)


def test_the_application_keeps_its_own_message(store: SessionStore) -> None:
    """It is not changed in place: it may be a constant that is sent again."""
    start = {"type": "http.response.start", "status": 200, "headers": []}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"]["a"] = 1
        await send(start)
        await send({"type": "http.response.body"})

    assert run(Browser().get(wrap(app, store))).set_cookie is not None
    assert start == {"type": "http.response.start", "status": 200, "headers": []}
