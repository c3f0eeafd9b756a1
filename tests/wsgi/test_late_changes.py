"""Changes of a session after the headers of its response have left."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import pytest

from glimr_session import CookieStore, DiskStore, Session, SessionClosed, SessionStore
from tests.support.actors import living_session_actors
from tests.support.wsgi_apps import (
    TEXT,
    Change,
    Wrap,
    answering,
    bare,
    browser_with,
    closing_app,
    data_of,
    leave,
    nothing,
    put,
    rows,
    session_of,
    streaming,
    visit,
    warnings_in,
)
from tests.support.wsgi_client import Browser

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


@pytest.mark.parametrize("known", [False, True], ids=["begun by this request", "known"])
def test_a_late_change_is_saved_where_it_can_be(known: bool, wrap: Wrap, disk: DiskStore) -> None:
    """The middleware commits what changes while the body streams when the body closes."""
    browser = browser_with(disk, early=True) if known else Browser()
    browser.get(wrap(streaming(put("early", True), put("late", True)), disk))
    assert data_of(browser, disk) == {"early": True, "late": True}


def test_a_late_change_after_write_is_saved(wrap: Wrap, disk: DiskStore) -> None:
    """The middleware saves what changes after write() has sent the headers."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        send = start_response("200 OK", [TEXT])
        visit(environ)
        send(b"one")
        visit(environ)
        return [b"two"]

    browser = Browser()
    browser.get(wrap(app, disk))
    assert data_of(browser, disk) == {"visits": 2}


def test_a_session_first_touched_late_is_saved_if_it_is_known(wrap: Wrap, disk: DiskStore) -> None:
    """A known session can be opened while the body streams."""
    browser = browser_with(disk, early=True)
    browser.get(wrap(streaming(late=put("late", True)), disk))
    assert data_of(browser, disk) == {"early": True, "late": True}


def begin_and_forget(session: Session) -> None:
    session["draft"] = 1
    session.forget("draft")


@pytest.mark.parametrize(
    "early",
    [nothing, lambda session: session.get("a"), begin_and_forget],
    ids=["untouched", "read", "begun and emptied"],
)
def test_a_late_change_never_creates_a_session(
    early: Change, wrap: Wrap, disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A late change of a session that the browser has no cookie for is lost with a warning."""
    browser = Browser()
    response = browser.get(wrap(streaming(early, put("late", True)), disk))
    assert response.set_cookie is None
    assert rows(disk) == 0
    assert len(warnings_in(caplog)) == 1
    assert "lost" in warnings_in(caplog)[0]


def test_a_late_change_after_a_logout_is_lost(
    wrap: Wrap, disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A late change after a logout is lost with a warning."""
    browser = browser_with(disk, user="ada")
    app = wrap(streaming(lambda session: session.invalidate(), put("late", True)), disk)
    browser.get(app)
    assert browser.cookies.header() == ""
    assert rows(disk) == 0
    assert len(warnings_in(caplog)) == 1


def test_a_late_change_of_the_cookie_is_lost(wrap: Wrap, caplog: pytest.LogCaptureFixture) -> None:
    """The cookie store loses what changes after the headers, and a warning says so."""
    store = CookieStore()
    browser = Browser()
    browser.get(wrap(streaming(put("early", True), put("late", True)), store))
    assert len(warnings_in(caplog)) == 1
    assert "lost" in warnings_in(caplog)[0]
    assert data_of(browser, store) == {"early": True}


def test_a_late_logout_destroys_the_session(wrap: Wrap, disk: DiskStore) -> None:
    """invalidate() while the body streams destroys the session and begins no other."""

    def log_out(session: Session) -> None:
        session.invalidate()
        session["after"] = 1

    browser = browser_with(disk, user="ada")
    browser.get(wrap(streaming(put("seen", 1), log_out), disk))
    assert rows(disk) == 0


def regenerating_after_write(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    send = start_response("200 OK", [TEXT])
    visit(environ)
    send(b"one")
    session_of(environ).regenerate()
    return []


@pytest.mark.parametrize("early", [nothing, put("a", 1)], ids=["untouched", "changed"])
@pytest.mark.parametrize(
    "late",
    [
        lambda early: streaming(early, lambda session: session.regenerate()),
        lambda early: closing_app(early, lambda session: session.regenerate(), []),
        lambda early: regenerating_after_write,
    ],
    ids=["in the body", "in close", "after write"],
)
def test_a_late_regenerate_is_refused(
    late: Callable[[Change], WSGIApplication], early: Change, wrap: Wrap, store: SessionStore
) -> None:
    """regenerate() raises SessionClosed after the headers have left."""
    browser = browser_with(store, a=1)
    with pytest.raises(SessionClosed, match="regenerate"):
        browser.get(wrap(late(early), store))
    assert data_of(browser, store)["a"] == 1


def test_regenerate_in_close_is_refused_though_nothing_was_sent(
    wrap: Wrap, disk: DiskStore
) -> None:
    """regenerate() raises SessionClosed in close() even if the client left before the headers."""
    app = wrap(closing_app(nothing, lambda session: session.regenerate(), []), disk)
    with pytest.raises(SessionClosed, match="regenerate"):
        leave(app, browser_with(disk, a=1), 0)


USES: dict[str, Change] = {
    "get": lambda session: session.get("a"),
    "put": lambda session: session.put("a", 1),
    "in": lambda session: "a" in session,
    "increment": lambda session: session.increment("a"),
    "all": lambda session: session.all(),
    "id": lambda session: session.id,
    "flash": lambda session: session.flash("a", 1),
    "invalidate": lambda session: session.invalidate(),
    "regenerate": lambda session: session.regenerate(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("early", [nothing, put("a", 1)], ids=["untouched", "used"])
def test_a_session_is_closed_after_its_response(
    early: Change, use: Change, disk: DiskStore
) -> None:
    """A session that is used after its response raises SessionClosed."""
    for app in (answering(early), streaming(early)):
        response = Browser().get(bare(app, disk))
        with pytest.raises(SessionClosed):
            use(session_of(response.environ))


def test_a_session_is_closed_when_its_list_is_handed_on(disk: DiskStore) -> None:
    """The session of a response with a list ends before the server sends the list."""
    response = Browser().begin(bare(answering(put("a", 1)), disk))
    assert living_session_actors() == []
    with pytest.raises(SessionClosed):
        session_of(response.environ).get("a")
