"""What the middleware passes through, and where it is used twice."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import glimr_session
from glimr_session import ConfigError, DiskStore, SessionConfig, SessionStore
from glimr_session.asgi import (
    ASGIApp,
    AsgiSession,
    Message,
    Receive,
    Scope,
    Send,
    SessionMiddleware,
)
from tests.support.asgi_client import Browser
from tests.support.wsgi_apps import Recorded, warnings_in

from .apps import (
    CONFIG,
    KEY,
    answering,
    browser_with,
    chatting,
    config,
    data_of,
    put,
    run,
    streaming,
    wrap,
)

ADMIN = config(key="shop.admin", cookie="admin")


@pytest.mark.parametrize("kind", ["lifespan", "of the future"])
def test_other_connections_are_passed_through_untouched(kind: str) -> None:
    """The application gets the same scope, receive and send."""
    recorded = Recorded()
    given: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        given.extend([scope, receive, send])

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    scope = {"type": kind}
    run(wrap(app, recorded.store)(scope, receive, send))
    assert given[0] is scope
    assert given[1:] == [receive, send]
    assert scope == {"type": kind}


def mounted_at(prefix: str, app: ASGIApp) -> ASGIApp:
    """Return an application that hands on a copy of the scope, as routers do."""

    async def router(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "root_path": prefix, "app": object()}, receive, send)

    return router


def test_a_mounted_application_has_the_session_of_the_site(store: SessionStore) -> None:
    """The same dict: what it changes is committed by the middleware outside."""

    async def work() -> None:
        browser = await browser_with(store, a=1)
        site = wrap(mounted_at("/shop", answering(put("b", 2))), store)
        response = await browser.get(site, "/shop/cart")
        assert response.values("Vary") == ["Cookie"]
        assert await data_of(browser, store) == {"a": 1, "b": 2}

    run(work())


def in_both(site: Any, admin: Any) -> ASGIApp:
    """Return an application that uses both of its sessions."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        site(scope["glimr.session"])
        admin(scope["shop.admin"])
        await answering()(scope, receive, send)

    return app


@pytest.mark.parametrize("outside", ["site", "admin"])
def test_a_second_session_stands_beside_the_first(
    outside: str, store: SessionStore, tmp_path: Path
) -> None:
    """With another key and cookie, each session has its own data, and its own logout."""
    found: list[Any] = []

    def look(session: Any) -> None:
        found.append(session.get("who"))

    async def work(admins: DiskStore) -> None:
        def both(app: ASGIApp) -> ASGIApp:
            if outside == "site":
                return wrap(SessionMiddleware(app, ADMIN, store=admins), store)
            return SessionMiddleware(wrap(app, store), ADMIN, store=admins)

        browser = Browser()
        await browser.get(both(in_both(put("who", "ada"), put("who", "root"))))
        await browser.get(both(in_both(look, look)))
        await browser.get(both(in_both(look, lambda session: session.invalidate())))
        assert browser.cookies.header().startswith(CONFIG.cookie)
        assert "admin" not in browser.cookies.header()
        await browser.get(both(in_both(look, look)))

    with closing(DiskStore(tmp_path / "admin")) as admins:
        run(work(admins))
    assert found == ["ada", "root", "ada", "ada", None]


def test_the_outer_session_is_the_dict(store: SessionStore, tmp_path: Path) -> None:
    """scope["session"] is that of the outer middleware, and the others are in their keys."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["session"].session is scope["glimr.session"]
        assert scope["shop.admin"] is not scope["glimr.session"]
        await answering()(scope, receive, send)

    with closing(DiskStore(tmp_path / "admin")) as admins:
        run(Browser().get(wrap(SessionMiddleware(app, ADMIN, store=admins), store)))


@pytest.mark.parametrize("shape", [answering, streaming], ids=lambda make: make.__name__)
def test_the_same_middleware_twice_is_one_session(shape: Any, disk: DiskStore) -> None:
    """The inner one of two passes the request through: one session, one cookie, one commit."""
    seen: list[AsgiSession] = []

    def change(session: AsgiSession) -> None:
        seen.append(session)
        session.increment("n")

    inner = wrap(shape(change), disk)

    async def between(scope: Scope, receive: Receive, send: Send) -> None:
        change(scope["session"])
        await inner(scope, receive, send)

    async def work() -> None:
        browser = Browser()
        for n in (2, 4):
            response = await browser.get(wrap(between, disk))
            assert (response.set_cookie is not None) == (n == 2)
            assert response.values("Vary") == ["Cookie"]
            assert await data_of(browser, disk) == {"n": n}
        assert seen[0] is seen[1]

    run(work())


def test_a_second_request_in_the_same_scope_has_its_own_session(store: SessionStore) -> None:
    """By the dict and by the key: the first one ended with its response."""
    inner = wrap(answering(lambda session: session.increment("n")), store)
    sessions: list[AsgiSession] = []

    async def again(scope: Scope, receive: Receive, send: Send) -> None:
        async def nowhere(message: Message) -> None:
            """Drop the first response."""

        for sends in (nowhere, send):
            await inner(scope, receive, sends)
            sessions.append(scope["session"])
            assert scope["session"].session is scope["glimr.session"]

    async def work() -> None:
        browser = await browser_with(store, n=1)
        await browser.get(again)
        assert sessions[0] is not sessions[1]
        assert await data_of(browser, store) == {"n": 3 if store.server_side else 2}

    run(work())


def test_a_session_of_others_makes_way(store: SessionStore) -> None:
    """A middleware outside may have put a dict there, as Starlette's own."""

    async def outside(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"] = {"theirs": 1}
        await wrap(answering(put("ours", 1)), store)(scope, receive, send)

    async def work() -> None:
        browser = Browser()
        await browser.get(outside)
        assert await data_of(browser, store) == {"ours": 1}

    run(work())


# Litestar's set_session() and clear_session() put something else into scope["session"].


@pytest.mark.parametrize(("value", "kept"), [({"b": 2}, {"b": 2}), ({}, {}), (None, {})], ids=str)
def test_under_litestar_a_session_may_be_replaced(
    value: object, kept: dict[str, Any], store: SessionStore
) -> None:
    """The session then holds that instead; nothing, where it is no mapping."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = scope["litestar_app"] = object()
        scope["session"] = value
        session = scope["glimr.session"]
        session.get("a")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    async def work() -> None:
        browser = await browser_with(store, a=1)
        response = await browser.get(wrap(app, store))
        assert response.values("Vary") == ["Cookie"]
        assert await data_of(browser, store) == kept

    run(work())


def test_under_litestar_two_sessions_do_not_mix(disk: DiskStore, tmp_path: Path) -> None:
    """What replaces scope["session"] is for the session that was there, and for no other one."""

    def litestar(replace: bool) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope["app"] = scope["litestar_app"] = object()
            if replace:
                scope["session"] = {"who": "grace"}
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body"})

        return app

    async def work(admins: DiskStore) -> None:
        def both(app: ASGIApp) -> ASGIApp:
            return wrap(SessionMiddleware(app, ADMIN, store=admins), disk)

        browser = Browser()
        await browser.get(both(in_both(put("who", "ada"), put("who", "root"))))
        for replace, who in ((False, "ada"), (True, "grace")):
            await browser.get(both(litestar(replace)))
            found: list[Any] = []

            def look(session: Any, found: list[Any] = found) -> None:
                found.append(session.get("who"))

            await browser.get(both(in_both(look, look)))
            assert found == [who, "root"]

    with closing(DiskStore(tmp_path / "admin")) as admins:
        run(work(admins))


# Which store it is.


def test_setup_at_boot_is_the_store(disk: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it is called after the middleware was made."""
    monkeypatch.setenv("GLIMR_SESSION_SECRET_KEYS", KEY)
    monkeypatch.setenv("GLIMR_SESSION_GC", "never")
    monkeypatch.setenv("GLIMR_SESSION_LIFETIME", str(CONFIG.lifetime))
    app = SessionMiddleware(answering(put("a", 1)))
    glimr_session.setup(disk)
    browser = Browser()
    run(browser.get(app))
    assert run(data_of(browser, disk)) == {"a": 1}


def test_without_a_store_sessions_are_forgotten(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The application still serves, and one warning says so; websockets too."""
    monkeypatch.delenv("GLIMR_SESSION_SECRET_KEYS", raising=False)
    browser = Browser()
    for _ in range(2):
        response = run(browser.get(SessionMiddleware(answering(put("a", 1)))))
        assert (response.status, response.set_cookie) == (200, None)
    assert run(browser.websocket(SessionMiddleware(chatting(put("a", 1)))).run()).status == 101
    assert ["setup()" in warning for warning in warnings_in(caplog)] == [True]


def test_a_configuration_without_keys_is_refused_at_once(disk: DiskStore) -> None:
    """When the middleware is made, and not at the first request."""
    with pytest.raises(ConfigError, match="secret_keys"):
        SessionMiddleware(answering(), SessionConfig(), store=disk)
