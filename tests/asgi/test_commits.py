"""Commits that are cancelled, fail, or come before a failure; and sessions beside each other."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from glimr_session import CommitResult, ConfigError, DiskStore, SessionStore, StoreUnavailable
from glimr_session._session.changes import Changes
from glimr_session.asgi import AsgiSession, Receive, Scope, Send, SessionMiddleware, session_of
from tests.support.asgi_client import Browser
from tests.support.executors import Threads
from tests.support.wsgi_apps import Recorded, warnings_in

from .apps import LIFETIME, answering, browser_with, config, data_of, nothing, put, run, wrap


class Slow(DiskStore):
    """Makes its first commit after a while: each one in a thread, for it is to be on the disk."""

    gate: threading.Event | None = None

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        gate, self.gate = self.gate, None
        assert gate is None or gate.wait(20)
        return super().commit(changes, wait=wait)


async def cancelled(session: AsgiSession, store: Slow) -> None:
    """Save, and be cancelled in the middle of it."""
    store.gate = gate = threading.Event()
    threads = Threads()
    saving = asyncio.create_task(session.save())
    await threads.called.wait()
    saving.cancel()
    await asyncio.sleep(0)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await saving


@pytest.mark.parametrize("change", [put("v", "old"), lambda session: session.regenerate()])
def test_a_commit_that_was_cancelled_is_not_made_after_a_later_one(
    change: object, tmp_path: Path
) -> None:
    """Its thread ends first; and the browser gets the cookie of what it has made."""

    async def work(store: Slow) -> None:
        browser = await browser_with(store, v="first", cart=1)

        async def handler(session: AsgiSession) -> None:
            assert callable(change)
            change(session)
            await cancelled(session, store)
            session["v"] = "new"

        await browser.get(wrap(answering(handler), store))
        assert await data_of(browser, store) == {"v": "new", "cart": 1}

    with closing(Slow(tmp_path / "slow", lifetime=LIFETIME, durability="power")) as store:
        run(work(store))


def test_a_login_that_was_saved_gets_its_cookie_from_an_error_page(disk: DiskStore) -> None:
    """The old id is dead: without the new one the user would be logged out."""

    async def handler(session: AsgiSession) -> None:
        session.regenerate()
        session["user"] = "ada"
        await session.save()
        session["later"] = True

    async def work() -> None:
        browser = await browser_with(disk, cart=1)
        await browser.get(wrap(answering(handler, 500), disk))
        assert await data_of(browser, disk) == {"cart": 1, "user": "ada"}

    run(work())


def test_after_a_commit_that_failed_the_application_can_answer_otherwise() -> None:
    """The login that could not be committed is, by the next start."""
    recorded = Recorded()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        session = session_of(scope)
        session["user"] = "ada"
        start = {"type": "http.response.start", "status": 200, "headers": []}
        recorded.down = True
        with pytest.raises(StoreUnavailable):
            await send(start)
        recorded.down = False
        session.regenerate()
        await send(start)
        await send({"type": "http.response.body"})

    async def work() -> None:
        browser = await browser_with(recorded.store, cart=1)
        assert (await browser.get(wrap(app, recorded.store))).status == 200
        assert await data_of(browser, recorded.store) == {"cart": 1, "user": "ada"}

    run(work())


def test_what_is_saved_after_a_failed_start_is_lost_and_said_to_be(disk: DiskStore) -> None:
    """A response of 500 keeps nothing, and save() returns False."""
    answers: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        session_of(scope).get("n")
        await send({"type": "http.response.start", "status": 500, "headers": []})
        session_of(scope)["n"] = 2
        answers.append(await session_of(scope).save())
        await send({"type": "http.response.body"})

    async def work() -> None:
        browser = await browser_with(disk, n=1)
        await browser.get(wrap(app, disk))
        assert await data_of(browser, disk) == {"n": 1}

    run(work())
    assert answers == [False]


def test_a_rejected_websocket_that_has_changed_its_session_warns(
    disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """No header can leave, and nothing is kept; one that was only read says nothing."""

    def rejecting(session_change: str) -> SessionMiddleware:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            session = session_of(scope)
            session.get("n")
            if session_change:
                session[session_change] = True
            await send({"type": "websocket.close", "code": 1008})

        return wrap(app, disk)

    async def work() -> None:
        browser = await browser_with(disk, n=1)
        await browser.websocket(rejecting("")).run()
        assert warnings_in(caplog) == []
        await browser.websocket(rejecting("late")).run()

    run(work())
    (warning,) = warnings_in(caplog)
    assert "never began" in warning


def test_c_code_sees_what_a_verb_has_changed(store: SessionStore) -> None:
    """It looks into the dict, and calls no method."""
    seen: list[bytes] = []

    def handler(session: AsgiSession) -> None:
        session.mark_accessed()
        seen.append(msgspec.json.encode(session))
        session.increment("n")
        seen.append(msgspec.json.encode(session))

    async def work() -> None:
        await (await browser_with(store, n=1)).get(wrap(answering(handler), store))

    run(work())
    assert [json.loads(found) for found in seen] == [{"n": 1}, {"n": 2}]


def test_what_is_asked_for_varies_with_the_cookie(store: SessionStore) -> None:
    """C code may have written it into the response."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = msgspec.json.encode(session_of(scope))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def work() -> None:
        response = await (await browser_with(store, n=1)).get(wrap(app, store))
        assert response.values("Vary") == ["Cookie"]

    run(work())


def test_a_mounted_application_may_have_sessions_of_its_own(
    disk: DiskStore, tmp_path: Path
) -> None:
    """With a cookie of another name; neither sees the other's."""

    async def work(own: DiskStore) -> None:
        admin = SessionMiddleware(answering(put("who", "root")), config(cookie="admin"), store=own)

        async def site(scope: Scope, receive: Receive, send: Send) -> None:
            scope["session"]["cart"] = 1
            await admin(scope, receive, send)
            assert dict(scope["session"]) == {"cart": 1}

        browser = Browser()
        await browser.get(wrap(site, disk))
        assert await data_of(browser, disk) == {"cart": 1}
        found: dict[str, object] = {}
        look = SessionMiddleware(answering(found.update), config(cookie="admin"), store=own)
        await browser.get(look)
        assert found == {"who": "root"}

    with closing(DiskStore(tmp_path / "own", lifetime=LIFETIME)) as own:
        run(work(own))


def test_only_a_store_is_a_store() -> None:
    """Its name belongs into the configuration."""
    with pytest.raises(ConfigError, match=r'in config: \{"store": "disk"\}'):
        SessionMiddleware(answering(nothing), config(), store="disk")  # type: ignore[arg-type]
