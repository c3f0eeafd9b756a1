"""Two sessions in one request, and the same middleware twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from glimr_session import DiskStore, Json, Session, SessionConfig, SessionMiddleware, SessionStore
from tests.support.actors import living_session_actors
from tests.support.wsgi_apps import (
    CONFIG,
    KEY,
    TEXT,
    Change,
    answering,
    bare,
    browser_with,
    data_of,
    put,
    rows,
    session_of,
    streaming,
)
from tests.support.wsgi_client import Browser

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


ADMIN = SessionConfig(secret_keys=[KEY], gc="never", key="shop.admin", cookie="admin")


def in_both(site: Change, admin: Change) -> WSGIApplication:
    """Return an application that uses both of its sessions."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        site(session_of(environ))
        admin(environ["shop.admin"])
        start_response("200 OK", [TEXT])
        return [b"answer"]

    return app


@pytest.mark.parametrize("admin_outside", [True, False])
def test_a_second_session_stands_beside_the_first(
    admin_outside: bool, store: SessionStore, tmp_path: Path
) -> None:
    """With another key and cookie, each session has its own data, and its own logout."""
    with closing(DiskStore(tmp_path / "admin")) as admin_store:

        def both(app: WSGIApplication) -> WSGIApplication:
            if admin_outside:
                return SessionMiddleware(bare(app, store), ADMIN, store=admin_store)
            return bare(SessionMiddleware(app, ADMIN, store=admin_store), store)

        browser = Browser()
        browser.get(both(in_both(put("who", "ada"), put("who", "root"))))
        assert sorted(pair.partition("=")[0] for pair in browser.cookies.header().split("; ")) == [
            "admin",
            CONFIG.cookie,
        ]
        found: list[Json] = []

        def look(session: Session) -> None:
            found.append(session.get("who"))

        browser.get(both(in_both(look, look)))
        assert found == ["ada", "root"]
        browser.get(both(in_both(look, Session.invalidate)))
        assert CONFIG.cookie in browser.cookies.header()
        assert "admin" not in browser.cookies.header()
        browser.get(both(in_both(look, look)))
        assert found == ["ada", "root", "ada", "ada", None]
        assert rows(admin_store) == 0


def test_two_sessions_in_one_store_do_not_mix(disk: DiskStore) -> None:
    """The cookie of one session means nothing under the name of the other."""
    app = SessionMiddleware(
        bare(in_both(put("who", "ada"), put("who", "root")), disk), ADMIN, store=disk
    )
    browser = Browser()
    browser.get(app)
    pairs = dict(pair.split("=", 1) for pair in browser.cookies.header().split("; "))
    swapped = f"{CONFIG.cookie}={pairs['admin']}; admin={pairs[CONFIG.cookie]}"
    found: list[Json] = []
    look = in_both(
        lambda session: found.append(session.get("who")),
        lambda session: found.append(session.get("who")),
    )
    request = Browser().request(
        SessionMiddleware(bare(look, disk), ADMIN, store=disk), extra={"HTTP_COOKIE": swapped}
    )
    request.begin().finish()
    assert found == [None, None]


@pytest.mark.parametrize("shape", [answering, streaming], ids=lambda make: make.__name__)
def test_the_same_middleware_twice_is_one_session(
    shape: Callable[[Change], WSGIApplication], disk: DiskStore
) -> None:
    """The inner one of two passes the request through: one session, one cookie, one commit."""
    seen: list[Session] = []

    def change(session: Session) -> None:
        seen.append(session)
        session.increment("n")

    inner = bare(shape(change), disk)

    def between(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        seen.append(session_of(environ))
        session_of(environ).increment("n")
        return inner(environ, start_response)

    browser = Browser()
    for n in (2, 4):
        seen.clear()
        response = browser.get(bare(between, disk))
        assert len(response.values("Set-Cookie")) == (n == 2)
        assert response.values("Vary") == ["Cookie"]
        assert seen[0] is seen[1]
        assert data_of(browser, disk) == {"n": n}
    assert rows(disk) == 1
    assert living_session_actors() == []


def test_a_second_request_in_the_same_environ_has_its_own_session(disk: DiskStore) -> None:
    """A request that is made again after its response has ended gets a session of its own."""
    browser = browser_with(disk, n=1)
    app = bare(answering(lambda session: session.increment("n")), disk)

    def again(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        list(app(environ, lambda status, headers, exc_info=None, /: lambda data: None))
        first = session_of(environ)
        body = app(environ, start_response)
        assert session_of(environ) is not first
        return body

    browser.get(again)
    assert data_of(browser, disk) == {"n": 3}
