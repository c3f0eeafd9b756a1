"""Bodies that nobody closes, first chunks that are none, and responses that never begin."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
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
    data_of,
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


# Bodies that nobody closes.


def test_an_exhausted_body_commits_late_changes(disk: DiskStore) -> None:
    """A change of the last chunk is committed at the end of the body, before any close()."""
    browser = browser_with(disk, a=1)
    response = browser.begin(bare(streaming(late=put("late", 2)), disk))
    while response.read_chunk() is not None:
        pass
    assert data_of(browser, disk) == {"a": 1, "late": 2}
    response.close()
    assert data_of(browser, disk) == {"a": 1, "late": 2}


@pytest.mark.parametrize("chunks", [0, 1, 2, 3])
def test_a_dropped_body_commits_late_changes(chunks: int, disk: DiskStore) -> None:
    """A body that the server drops without close() commits what was changed until then."""
    browser = browser_with(disk, n=0)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        session_of(environ).increment("n")
        return later(session_of(environ))

    def later(session: Session) -> Iterator[bytes]:
        for _ in range(2):
            yield b"chunk"
            session.increment("n")

    response = browser.begin(bare(app, disk))
    for _ in range(chunks):
        response.read_chunk()
    del response.iterable, response._chunks
    assert living_session_actors() == []
    assert data_of(browser, disk) == {"n": max(chunks, 1)}


def test_a_dropped_body_is_closed(disk: DiskStore) -> None:
    """The application's own close() is called when the server drops the body."""
    closed: list[int] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"one", b"two"])

        def close(self) -> None:
            closed.append(1)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        visit(environ)
        return Body()

    response = Browser().begin(bare(app, disk))
    response.read_chunk()
    del response.iterable, response._chunks
    gc.collect()
    assert closed == [1]
    assert living_session_actors() == []


def test_after_an_exhausted_body_nothing_more_is_lost(disk: DiskStore) -> None:
    """What close() changes after the end of the body is committed too, once each."""

    class Body:
        def __init__(self, session: Session) -> None:
            self.session = session

        def __iter__(self) -> Iterator[bytes]:
            yield b"one"
            self.session.increment("n")

        def close(self) -> None:
            self.session.increment("n")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        session_of(environ).increment("n")
        return Body(session_of(environ))

    browser = Browser()
    browser.get(bare(app, disk))
    assert data_of(browser, disk) == {"n": 3}


# First chunks that are none.


def with_empty_chunks(*changes: Change) -> WSGIApplication:
    """Return an application that changes its session after each of some empty chunks."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        for change in changes:
            yield b""
            change(session_of(environ))
        yield b"first"
        yield b""
        yield b"second"

    return app


def test_empty_chunks_do_not_send_the_headers(wrap: Wrap, store: SessionStore) -> None:
    """What changes between empty chunks is in the cookie, which leaves with the first full one."""
    response = Browser().begin(wrap(with_empty_chunks(put("a", 1), put("b", 2)), store))
    assert response.read_chunk() == b"first"
    assert response.started == 1
    browser = Browser((response.set_cookie or "").partition(";")[0])
    assert response.finish().body == b"firstsecond"
    assert data_of(browser, store) == {"a": 1, "b": 2}


def test_a_login_after_an_empty_chunk_is_no_late_one(
    wrap: Wrap, store: SessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    """regenerate() after an empty chunk changes the id, without a warning."""
    browser = browser_with(store, a=1)
    before = browser.cookies.header()
    response = browser.get(wrap(with_empty_chunks(lambda session: session.regenerate()), store))
    assert response.body == b"firstsecond"
    assert browser.cookies.header() != before
    assert data_of(browser, store) == {"a": 1}
    assert warnings_in(caplog) == []


def test_a_body_of_empty_chunks_is_answered(wrap: Wrap, store: SessionStore) -> None:
    """A body of empty chunks alone sends its headers at its end."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("204 No Content", [])
        yield b""
        visit(environ)
        yield b""

    browser = Browser()
    response = browser.get(bare(app, store))
    assert (response.status, response.started, response.body) == ("204 No Content", 1, b"")
    assert data_of(browser, store) == {"visits": 1}


# Middleware around this one.


def test_an_outer_middleware_can_read_the_session_of_a_list(store: SessionStore) -> None:
    """A middleware around this one can log the user of a response; it cannot write any more."""
    inner = bare(answering(put("user", "ada")), store)
    seen: list[object] = []

    def outer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = inner(environ, start_response)
        session = session_of(environ)
        seen.extend([session["user"], "user" in session, session.all(), len(session.id)])
        with pytest.raises(SessionClosed):
            session["late"] = 1
        return body

    browser = Browser()
    browser.get(outer)
    assert seen == ["ada", True, {"user": "ada"}, 64]
    assert data_of(browser, store) == {"user": "ada"}


# Responses that never begin.


def without_a_response(change: Change, lazily: bool) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        change(session_of(environ))
        return iter([]) if lazily else []

    return app


@pytest.mark.parametrize("lazily", [False, True], ids=["list", "generator"])
@pytest.mark.parametrize("change", [put("a", 2), lambda session: session.get("a")], ids=["w", "r"])
def test_a_response_that_never_begins_is_told_of(
    change: Change, lazily: bool, disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that is taken over commits nothing, and one warning says so."""
    browser = browser_with(disk, a=1)
    for _ in range(3):
        response = browser.begin(bare(without_a_response(change, lazily), disk))
        list(response.iterable)
        response.close()
    (message,) = warnings_in(caplog)
    assert "never began" in message
    assert living_session_actors() == []
    assert data_of(browser, disk) == {"a": 1}
    assert rows(disk) == 1


@pytest.mark.parametrize("lazily", [False, True], ids=["list", "generator"])
def test_a_response_that_never_begins_without_a_session_is_nobody_s_business(
    lazily: bool, disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that is taken over and does not use its session is no warning."""
    response = Browser().begin(bare(without_a_response(nothing, lazily), disk))
    list(response.iterable)
    response.close()
    assert warnings_in(caplog) == []


# Sessions that are first used late.


def late_in_a_generator(change: Change, headers: Iterable[tuple[str, str]] = ()) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [TEXT, *headers])
        yield b"first"
        change(session_of(environ))
        yield b"second"

    return app


def late_after_write(change: Change, headers: Iterable[tuple[str, str]] = ()) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        send = start_response("200 OK", [TEXT, *headers])
        send(b"first")
        change(session_of(environ))
        return [b"second"]

    return app


LATE = [late_in_a_generator, late_after_write]


def read(session: Session) -> None:
    session.get("a")


@pytest.mark.parametrize("make", LATE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("use", [read, put("a", 2)], ids=["read", "write"])
def test_a_session_that_is_first_used_late_is_told_of(
    use: Change,
    make: Callable[[Change], WSGIApplication],
    wrap: Wrap,
    disk: DiskStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A session first used after the headers, if only to read, warns of caches once a minute."""
    browser = browser_with(disk, a=1)
    for _ in range(3):
        assert browser.get(wrap(make(use), disk)).values("Vary") == []
    (message,) = warnings_in(caplog)
    assert "Vary" in message
    assert data_of(browser, disk) == {"a": 1 if use is read else 2}


@pytest.mark.parametrize("vary", ["Cookie", "Accept, cookie", "*"])
@pytest.mark.parametrize("make", LATE, ids=lambda make: make.__name__)
def test_an_application_that_varies_by_cookie_itself_is_not_warned(
    make: Callable[..., WSGIApplication],
    vary: str,
    disk: DiskStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A session first used late is no warning where caches know of it."""
    browser = browser_with(disk, a=1)
    browser.get(bare(make(read, [("Vary", vary)]), disk))
    assert warnings_in(caplog) == []


def test_a_session_that_was_used_early_is_not_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A session that is used before the headers and after them is no warning."""
    Browser().get(bare(streaming(read, read), CookieStore()))
    assert warnings_in(caplog) == []
