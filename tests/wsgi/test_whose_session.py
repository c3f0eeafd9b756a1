"""Which session a request gets, and that it is opened once."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

from glimr_session import CookieStore, DiskStore, Json, SessionConfig, SessionMiddleware
from tests.support.wsgi_apps import (
    TEXT,
    Recorded,
    Wrap,
    answering,
    browser_with,
    data_of,
    put,
    rows,
    session_of,
    visit,
    warnings_in,
)
from tests.support.wsgi_client import Browser

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


@pytest.mark.parametrize("kind", ["disk", "functions"])
def test_an_unknown_id_is_never_adopted(kind: str, wrap: Wrap, disk: DiskStore) -> None:
    """A signed cookie for an unknown session begins a session with another id."""
    store = disk if kind == "disk" else Recorded().store
    browser = browser_with(store, a=1)
    ids: list[str] = []
    remember = wrap(answering(lambda session: ids.append(session.id)), store)
    browser.get(remember)
    store.destroy(ids[0])
    browser.get(remember)
    browser.get(wrap(answering(put("b", 2)), store))
    browser.get(remember)
    assert ids[1] != ids[0] != ids[2]
    assert store.open(ids[0]) is None
    assert data_of(browser, store) == {"b": 2}


def foreign(cookie: str, kind: str) -> str:
    """Return a Cookie header that looks like ours but does not verify."""
    name, _, value = cookie.partition("=")
    if kind == "made up":
        value = "0" * 64
    elif kind == "truncated":
        value = value[:-1]
    elif kind == "changed":
        value = ("b" if value[0] == "a" else "a") + value[1:]
    elif kind == "empty":
        value = ""
    else:
        other = SessionConfig(secret_keys=["another key, which is long enough too"], gc="never")
        browser = Browser()
        browser.get(SessionMiddleware(answering(put("a", 1)), other, store=CookieStore()))
        return browser.cookies.header()
    return f"{name}={value}"


@pytest.mark.parametrize("kind", ["made up", "truncated", "changed", "empty", "another key"])
def test_a_forged_cookie_makes_an_anonymous_request(
    kind: str, wrap: Wrap, caplog: pytest.LogCaptureFixture
) -> None:
    """A forged cookie never reaches the store, and one warning does not quote it."""
    recorded = Recorded()
    cookie = browser_with(recorded.store, a=1).cookies.header()
    forged = foreign(cookie, kind)
    caplog.clear()
    recorded.calls.clear()
    found: list[dict[str, Json]] = []
    app = wrap(answering(lambda session: found.append(session.all())), recorded.store)
    response = Browser().request(app, extra={"HTTP_COOKIE": forged}).begin().finish()
    assert found == [{}]
    assert response.set_cookie is None
    assert recorded.calls == []
    assert len(recorded.sessions) == 1
    ours = [record for record in caplog.records if record.name == "glimr_session"]
    assert len(ours) == 1
    value = forged.partition("=")[2]
    assert not value or value not in ours[0].getMessage()
    assert cookie.partition("=")[2].partition(".")[0] not in ours[0].getMessage()


def test_a_cookie_of_another_store_is_forged(
    disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A cookie that was signed for another kind of store does not verify."""
    browser = browser_with(CookieStore(), a=1)
    assert data_of(browser, disk) == {}
    assert len(warnings_in(caplog)) == 1
    assert rows(disk) == 0


def test_two_threads_open_a_session_once(wrap: Wrap) -> None:
    """Threads that use the session at the same moment open it once."""
    recorded = Recorded()
    browser = browser_with(recorded.store, a=1)
    ready = threading.Barrier(2)
    both_loading = threading.Barrier(2)
    ids: list[str] = []

    def meet() -> None:
        """Wait a little for another thread that loads as well: there must be none."""
        try:
            both_loading.wait(0.05)
        except threading.BrokenBarrierError:
            return

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def touch() -> None:
            ready.wait(5)
            visit(environ)
            ids.append(session_of(environ).id)

        threads = [threading.Thread(target=touch) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        start_response("200 OK", [TEXT])
        return [b"answer"]

    recorded.calls.clear()
    recorded.while_loading = meet
    response = browser.request(wrap(app, recorded.store)).begin()
    recorded.while_loading = lambda: None
    response.finish()
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert data_of(browser, recorded.store) == {"a": 1, "visits": 2}
