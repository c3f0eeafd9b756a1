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
    warnings = warnings_in(caplog)
    assert ["lost" in warning for warning in warnings] == (
        [False, True] if early is nothing else [True]
    )
    assert early is not nothing or "Vary" in warnings[0]


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


READS: dict[str, Change] = {
    "get": lambda session: session.get("a"),
    "in": lambda session: "a" in session,
    "all": lambda session: session.all(),
    "id": lambda session: session.id,
    "get_flash": lambda session: session.get_flash("a"),
    "len": len,
    "iter": list,
    "state": lambda session: session.state(),
}


WRITES: dict[str, Change] = {
    "put": lambda session: session.put("a", 1),
    "forget": lambda session: session.forget("a"),
    "pull": lambda session: session.pull("a"),
    "setdefault": lambda session: session.setdefault("a", 1),
    "update": lambda session: session.update(a=1),
    "clear": lambda session: session.clear(),
    "now": lambda session: session.now("a", 1),
    "keep": lambda session: session.keep("a"),
    "reflash": lambda session: session.reflash(),
    "expire_after": lambda session: session.expire_after(60),
    "expire_on_close": lambda session: session.expire_on_close(),
    "increment": lambda session: session.increment("a"),
    "flash": lambda session: session.flash("a", 1),
    "invalidate": lambda session: session.invalidate(),
    "regenerate": lambda session: session.regenerate(),
}


@pytest.mark.parametrize("use", [*READS.values(), *WRITES.values()], ids=[*READS, *WRITES])
@pytest.mark.parametrize("early", [nothing, put("a", 1)], ids=["untouched", "used"])
def test_a_session_is_closed_after_its_response(
    early: Change, use: Change, disk: DiskStore
) -> None:
    """A session that is used after its streamed response raises SessionClosed."""
    response = Browser().get(bare(streaming(early), disk))
    with pytest.raises(SessionClosed):
        use(session_of(response.environ))


@pytest.mark.parametrize("use", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("early", [nothing, put("a", 1)], ids=["untouched", "used"])
def test_a_session_cannot_be_written_when_its_list_is_handed_on(
    early: Change, use: Change, disk: DiskStore
) -> None:
    """A write to a session whose response is a list raises SessionClosed, and changes nothing."""
    browser = browser_with(disk, a=0, b=0)
    response = browser.begin(bare(answering(early), disk))
    for _ in range(2):
        with pytest.raises(SessionClosed):
            use(session_of(response.environ))
    assert session_of(response.environ).all() == {"a": 0 if early is nothing else 1, "b": 0}
    response.finish()
    assert living_session_actors() == []
    assert data_of(browser, disk) == {"a": 0 if early is nothing else 1, "b": 0}


@pytest.mark.parametrize("known", [True, False], ids=["known", "new"])
@pytest.mark.parametrize("use", READS.values(), ids=READS)
@pytest.mark.parametrize("early", [nothing, put("a", 1)], ids=["untouched", "used"])
def test_a_session_can_be_read_when_its_list_is_handed_on(
    early: Change, use: Callable[[Session], object], known: bool, disk: DiskStore
) -> None:
    """A session whose response is a list reads as it was committed, without an actor."""
    browser = browser_with(disk, a=0) if known else Browser()
    seen: list[object] = []

    def app(session: Session) -> None:
        early(session)
        if early is not nothing:
            seen.append(use(session))

    response = browser.begin(bare(answering(app), disk))
    assert living_session_actors() == []
    seen.append(use(session_of(response.environ)))
    assert living_session_actors() == []
    if early is not nothing and use is not READS["state"]:
        assert seen[0] == seen[1]
    session = session_of(response.environ)
    assert session.get("a") == (1 if early is not nothing else 0 if known else None)
    assert session.is_open is False
    response.finish()


def test_reading_a_list_s_session_late_consumes_no_flash(disk: DiskStore) -> None:
    """A session that is first used after its list was handed on leaves its flash to the next."""
    browser = Browser()
    browser.get(bare(answering(lambda session: session.flash("notice", "Saved.")), disk))
    response = browser.begin(bare(answering(nothing), disk))
    assert session_of(response.environ).get_flash("notice") == "Saved."
    response.finish()
    response = browser.begin(bare(answering(nothing), disk))
    assert session_of(response.environ).get_flash("notice") == "Saved."
    response.finish()
