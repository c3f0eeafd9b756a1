"""Logins, logouts, and requests beside them: the rules of a request behind this door."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from glimr_session import DiskStore, SessionStore
from glimr_session.asgi import AsgiSession
from tests.support.asgi_client import Browser, Exchange
from tests.support.cookies import tampered
from tests.support.wsgi_apps import Recorded, rows, warnings_in

from .apps import Change, answering, browser_with, data_of, put, run, wrap


def test_a_login_moves_the_session(server_store: SessionStore) -> None:
    """Its data goes along, and the id from before it is worth nothing."""

    def log_in(session: AsgiSession) -> None:
        before = session.id
        session.regenerate()
        session["user"] = "ada"
        assert session.id != before

    async def work() -> None:
        browser = await browser_with(server_store, cart=["book"])
        copied = browser.twin()
        assert (await browser.get(wrap(answering(log_in), server_store))).set_cookie is not None
        assert await data_of(browser, server_store) == {"cart": ["book"], "user": "ada"}
        assert await data_of(copied, server_store) == {}

    run(work())


@pytest.mark.parametrize(
    ("change", "moves"),
    [
        (put("user", "ada"), True),
        (lambda session: session.pop("user"), True),
        (lambda session: session.clear(), True),
        (put("user", "eve"), False),
        (put("cart", []), False),
    ],
    ids=["login", "logout", "clear", "the same again", "another key"],
)
def test_the_login_key_moves_the_session_by_itself(
    change: Change, moves: bool, disk: DiskStore
) -> None:
    """``login_key``: whoever sets ``session["user"]`` need not call regenerate()."""

    async def work() -> None:
        browser = await browser_with(disk, user="eve")
        copied = browser.twin()
        await browser.get(wrap(answering(change), disk, login_key="user"))
        assert (await data_of(copied, disk) == {}) is moves

    run(work())


async def meanwhile(
    browser: Browser,
    store: SessionStore,
    slow: Change,
    during: Callable[[], Awaitable[Any]],
) -> Exchange:
    """Make a request that has read its session when other things happen, and then changes it."""
    read, go = asyncio.Event(), asyncio.Event()

    async def change(session: AsgiSession) -> None:
        session.get("a")
        read.set()
        await go.wait()
        slow(session)

    task = asyncio.create_task(browser.get(wrap(answering(change), store)))
    await read.wait()
    await during()
    go.set()
    return await task


def test_two_requests_at_once_lose_nothing(disk: DiskStore) -> None:
    """Different keys, one list, one counter."""

    def change(name: str) -> Change:
        def change(session: AsgiSession) -> None:
            session[name] = True
            session["list"].append(name)
            session.increment("n")

        return change

    async def work() -> None:
        browser = await browser_with(disk, list=[])
        fast = browser.twin()
        await meanwhile(
            browser, disk, change("slow"), lambda: fast.get(wrap(answering(change("fast")), disk))
        )
        found = await data_of(browser, disk)
        assert found == {"list": ["fast", "slow"], "n": 2, "slow": True, "fast": True}

    run(work())


def test_a_logout_beside_a_slow_request_is_final(disk: DiskStore) -> None:
    """The slow one brings nobody back, and its browser is sent no cookie."""

    async def work() -> None:
        browser = await browser_with(disk, user="ada")
        out = browser.twin()
        app = wrap(answering(lambda session: session.invalidate()), disk)
        response = await meanwhile(browser, disk, put("late", 1), lambda: out.get(app))
        assert response.set_cookie is None
        assert out.cookies.header() == ""
        assert await data_of(browser, disk) == {}

    run(work())
    assert rows(disk) == 0


@pytest.mark.parametrize("begun", ["before the login", "after it"])
def test_a_late_request_does_not_undo_a_login(begun: str, disk: DiskStore) -> None:
    """It comes with the id from before: it may write, but is sent no cookie."""

    async def work() -> None:
        browser = await browser_with(disk, cart=["book"])
        late = browser.twin()
        login = wrap(answering(put("user", 1)), disk, login_key="user")
        if begun == "before the login":
            response = await meanwhile(late, disk, put("x", 1), lambda: browser.get(login))
        else:
            await browser.get(login)
            response = await late.get(wrap(answering(put("x", 1)), disk))
        assert response.set_cookie is None
        found = await data_of(browser, disk)
        assert found["user"] == 1
        assert found["cart"] == ["book"]

    run(work())


def test_a_logout_ends_the_sessions_of_all_cookies(disk: DiskStore) -> None:
    """A browser may have several of one name, for other paths say; two living ones are told."""

    async def work() -> None:
        browsers = [await browser_with(disk, a=number) for number in (1, 2)]
        headers = [(b"cookie", browser.cookies.header().encode()) for browser in browsers]
        app = wrap(answering(lambda session: session.invalidate()), disk)
        response = await Browser().get(app, "/", headers)
        assert all("Max-Age=0" in value for value in response.values("Set-Cookie"))

    run(work())
    assert rows(disk) == 0


@pytest.mark.parametrize("ended", [True, False], ids=["its session has ended", "it is forged"])
def test_of_several_cookies_those_that_lead_nowhere_do_not_count(
    ended: bool, disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The session of the other one is used."""
    found: list[Any] = []

    async def work() -> None:
        dead, living = await browser_with(disk, a=1), await browser_with(disk, a=2)
        value = dead.cookies.header()
        if ended:
            await dead.get(wrap(answering(lambda session: session.invalidate()), disk))
        else:
            value = tampered(value)
        header = f"{value}; {living.cookies.header()}".encode()
        app = wrap(answering(lambda session: found.append(dict(session))), disk)
        await Browser().get(app, "/", [(b"cookie", header)])

    run(work())
    assert found == [{"a": 2}]
    assert len(warnings_in(caplog)) == (not ended)


def test_a_dead_cookie_is_ended_when_its_session_is_used(server_store: SessionStore) -> None:
    """A request that does not use its session leaves the cookie alone."""

    async def work() -> None:
        browser = await browser_with(server_store, a=1)
        twin = browser.twin()
        await twin.get(wrap(answering(lambda session: session.invalidate()), server_store))
        assert (await browser.get(wrap(answering(), server_store))).set_cookie is None
        response = await browser.get(wrap(answering(dict), server_store))
        assert "Max-Age=0" in (response.set_cookie or "")
        assert browser.cookies.header() == ""

    run(work())


def test_an_unknown_id_is_never_adopted() -> None:
    """A signed cookie for a session that the store does not have begins one with another id."""
    recorded = Recorded()
    ids: list[str] = []

    def remember(session: AsgiSession) -> None:
        session["a"] = 1
        ids.append(session.id)

    async def work() -> None:
        browser = Browser()
        for _ in range(2):
            await browser.get(wrap(answering(remember), recorded.store))
            recorded.sessions.clear()

    run(work())
    assert ids[0] != ids[1]
