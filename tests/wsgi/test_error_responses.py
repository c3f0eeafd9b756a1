"""Responses that are failures: of the application, and of the session itself."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING
from wsgiref.validate import validator

import pytest

from glimr_session import (
    CookieStore,
    DiskStore,
    SessionConfig,
    SessionError,
    SessionMiddleware,
    SessionStore,
    SessionTooLarge,
    StoreUnavailable,
)
from tests.support.actors import living_session_actors
from tests.support.wsgi_apps import (
    CONFIG,
    KEY,
    TEXT,
    Closing,
    Exploded,
    Recorded,
    Wrap,
    a_generator,
    a_list,
    answering,
    bare,
    browser_with,
    closing_app,
    data_of,
    explode,
    nothing,
    put,
    rows,
    session_of,
    streaming,
    visit,
    warnings_in,
    write,
)
from tests.support.wsgi_client import Browser

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


# Responses of 500 and above.


def failing(shape: str, status: str = "500 Internal Server Error") -> WSGIApplication:
    """Return an application that writes to its session and answers with a failure."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        session = session_of(environ)
        session.get_flash("notice")
        send = start_response(status, [TEXT])
        session["failed"] = True
        if shape == "write":
            send(b"sorry")
            return []
        return (chunk for chunk in [b"sorry"]) if shape == "generator" else [b"sorry"]

    return app


@pytest.mark.parametrize("shape", ["list", "generator", "write"])
@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Busy", "599 Odd"])
def test_a_failed_response_keeps_nothing(
    status: str, shape: str, wrap: Wrap, store: SessionStore
) -> None:
    """A response of 500 and above keeps no change and no flash as shown, and sets no cookie."""
    browser = Browser()
    browser.get(bare(answering(lambda session: session.flash("notice", "Saved.")), store))
    response = browser.get(wrap(failing(shape, status), store))
    assert (response.status, response.body) == (status, b"sorry")
    assert response.set_cookie is None
    assert response.values("Vary") == ["Cookie"]
    seen: list[object] = []
    browser.get(bare(answering(lambda session: seen.append(session.get_flash("notice"))), store))
    assert seen == ["Saved."]
    assert data_of(browser, store) == {}


@pytest.mark.parametrize("shape", ["list", "generator", "write"])
def test_a_failed_response_begins_no_session(shape: str, wrap: Wrap, disk: DiskStore) -> None:
    """A response of 500 and above leaves nothing in the store."""
    assert Browser().get(wrap(failing(shape), disk)).set_cookie is None
    assert rows(disk) == 0


def test_a_response_that_becomes_a_failure_keeps_nothing(wrap: Wrap, store: SessionStore) -> None:
    """An application that replaces its headers by a failure keeps nothing of the request."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        visit(environ)
        start_response("200 OK", [TEXT])
        try:
            explode()
        except Exploded:
            start_response("500 Internal Server Error", [TEXT], sys.exc_info())
        return [b"sorry"]

    browser = browser_with(store, visits=7)
    assert browser.get(wrap(app, store)).set_cookie is None
    assert data_of(browser, store) == {"visits": 7}


@pytest.mark.parametrize("shape", ["list", "generator"])
def test_a_client_that_leaves_a_failure_keeps_nothing(
    shape: str, wrap: Wrap, disk: DiskStore
) -> None:
    """A failure whose body is closed before its first chunk keeps nothing either."""
    browser = browser_with(disk, a=1)
    response = browser.begin(wrap(failing(shape), disk))
    response.close()
    assert data_of(browser, disk) == {"a": 1}


def test_failures_are_kept_where_that_is_asked_for(store: SessionStore) -> None:
    """With commit_on_error a response of 500 and above commits as any other."""
    config = SessionConfig(secret_keys=[KEY], gc="never", commit_on_error=True)
    browser = Browser()
    for shape in ("list", "generator", "write"):
        app = SessionMiddleware(failing(shape), config, store=store)
        assert browser.get(app).status == "500 Internal Server Error"
        assert data_of(browser, store) == {"failed": True}


# Sessions that cannot be read or committed.


def too_large(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    session_of(environ)["a"] = "x" * 5_000
    start_response("200 OK", [TEXT, ("X-Own", "1")])
    return [b"one"]


PAGES = {
    "503 Service Unavailable": StoreUnavailable,
    "500 Internal Server Error": SessionTooLarge,
}


@pytest.mark.parametrize(
    ("app", "status"),
    [
        (a_list, "503 Service Unavailable"),
        (a_generator, "503 Service Unavailable"),
        (write, "503 Service Unavailable"),
        (streaming(put("a", 1)), "503 Service Unavailable"),
        (too_large, "500 Internal Server Error"),
        (streaming(put("a", "x" * 5_000)), "500 Internal Server Error"),
    ],
    ids=["list", "generator", "write", "stream", "large list", "large stream"],
)
def test_a_session_that_fails_is_a_plain_page_and_a_line_in_the_log(
    app: WSGIApplication, status: str, wrap: Wrap, caplog: pytest.LogCaptureFixture
) -> None:
    """StoreUnavailable is answered with 503, SessionTooLarge with 500; both are logged once."""
    recorded = Recorded()
    recorded.down = True
    store: SessionStore = recorded.store if status.startswith("503") else CookieStore()
    browser = Browser()
    response = browser.get(wrap(app, store))
    assert (response.status, response.started) == (status, 1)
    assert response.body.startswith(status.encode())
    assert b"one" not in response.body
    assert dict(response.headers) == {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(response.body)),
        "Cache-Control": "no-store",
    }
    assert living_session_actors() == []
    (record,) = [record for record in caplog.records if record.name == "glimr_session"]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[0] is PAGES[status]
    assert str(record.exc_info[1]) in record.getMessage()


def test_an_outage_that_the_application_answers_is_its_own(
    wrap: Wrap, caplog: pytest.LogCaptureFixture
) -> None:
    """An application that catches StoreUnavailable answers as it likes, and nothing is logged."""
    recorded = Recorded()
    browser = browser_with(recorded.store, a=1)
    recorded.down = True

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            visit(environ)
        except StoreUnavailable:
            start_response("200 OK", [TEXT])
        return [b"without a session"]

    response = browser.get(wrap(app, recorded.store))
    assert (response.status, response.body) == ("200 OK", b"without a session")
    assert warnings_in(caplog) == []


def with_on_error(
    app: WSGIApplication, on_error: Callable[..., Iterable[bytes]], store: SessionStore
) -> WSGIApplication:
    return validator(SessionMiddleware(validator(app), CONFIG, store=store, on_error=on_error))


@pytest.mark.parametrize(
    "app",
    [a_list, a_generator, write, streaming(put("a", 1)), closing_app(put("a", 1), nothing, [])],
    ids=["list", "generator", "write", "stream", "closing"],
)
@pytest.mark.parametrize("lazily", [False, True], ids=["list", "generator"])
def test_the_page_can_be_shaped(
    lazily: bool, app: WSGIApplication, caplog: pytest.LogCaptureFixture
) -> None:
    """on_error answers with the request and the error at hand, and its body is closed once."""
    recorded = Recorded()
    recorded.down = True
    seen: list[tuple[str, SessionError]] = []
    bodies: list[Closing] = []

    def page(
        environ: WSGIEnvironment, start_response: StartResponse, error: SessionError
    ) -> Iterable[bytes]:
        seen.append((environ["PATH_INFO"], error))
        start_response("503 Back Soon", [TEXT, ("Retry-After", "5")])
        bodies.append(Closing())
        return bodies[-1] if lazily else [b"first", b"second"]

    request = Browser().request(
        with_on_error(app, page, recorded.store), extra={"SCRIPT_NAME": "", "PATH_INFO": "/a"}
    )
    response = request.begin().finish()
    assert (response.status, response.body) == ("503 Back Soon", b"firstsecond")
    assert response.values("Retry-After") == ["5"]
    ((path, error),) = seen
    assert path == "/a"
    assert isinstance(error, StoreUnavailable)
    assert [body.closed for body in bodies] == [int(lazily)]
    assert len(warnings_in(caplog)) == 1
    assert living_session_actors() == []


@pytest.mark.parametrize("app", [a_list, a_generator, write], ids=lambda app: app.__name__)
def test_the_error_can_be_handed_on(app: WSGIApplication) -> None:
    """An on_error that raises leaves the error to the server, and to middleware around it."""
    recorded = Recorded()
    recorded.down = True

    def hand_on(
        environ: WSGIEnvironment, start_response: StartResponse, error: SessionError
    ) -> Iterable[bytes]:
        raise error

    request = Browser().request(with_on_error(app, hand_on, recorded.store))
    with pytest.raises(StoreUnavailable):
        request.begin().finish()
    assert request.started == 0
    assert living_session_actors() == []


@pytest.mark.parametrize("fails", ["at once", "in its body"])
def test_an_error_page_that_fails_is_not_asked_for_again(fails: str) -> None:
    """An on_error that fails as the session did is called once; the server gets its error."""
    recorded = Recorded()
    recorded.down = True
    calls: list[str] = []

    def page(
        environ: WSGIEnvironment, start_response: StartResponse, error: SessionError
    ) -> Iterable[bytes]:
        calls.append("called")
        if fails == "at once":
            raise StoreUnavailable("the page needs the store too")
        start_response("503 Back Soon", [TEXT])
        return broken()

    def broken() -> Iterator[bytes]:
        yield b"first"
        raise StoreUnavailable("the page needs the store too")

    app = SessionMiddleware(a_generator, CONFIG, store=recorded.store, on_error=page)
    response = Browser().begin(app)
    with pytest.raises(StoreUnavailable, match="the page"):
        response.finish()
    assert calls == ["called"]
    assert living_session_actors() == []


def test_other_errors_are_not_answered(caplog: pytest.LogCaptureFixture) -> None:
    """Errors of the application reach the server as they are, and on_error is not asked."""
    calls: list[object] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        visit(environ)
        raise ValueError("of the application")

    def page(*arguments: object) -> Iterable[bytes]:
        calls.append(arguments)
        return []

    served = SessionMiddleware(app, CONFIG, store=CookieStore(), on_error=page)
    with pytest.raises(ValueError, match="of the application"):
        Browser().begin(served)
    assert calls == []
    assert warnings_in(caplog) == []


@pytest.mark.parametrize("shape", ["stream", "write"])
def test_an_outage_after_the_headers_is_raised(shape: str, wrap: Wrap) -> None:
    """Once the headers have left no page can be sent: the server gets the error."""
    recorded = Recorded()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        send = start_response("200 OK", [TEXT])
        visit(environ)
        if shape == "write":
            send(b"first")
            recorded.down = True
            visit(environ)
            return []
        return later(environ)

    def later(environ: WSGIEnvironment) -> Iterator[bytes]:
        yield b"first"
        recorded.down = True
        visit(environ)

    browser = Browser()
    request = browser.request(wrap(app, recorded.store))
    with pytest.raises(StoreUnavailable):
        request.begin().finish()
    assert (request.status, request.started, request.body) == ("200 OK", 1, b"first")
    assert living_session_actors() == []


def test_a_file_whose_headers_cannot_leave_is_replaced() -> None:
    """The server gets the page in place of a file, which is closed."""
    recorded = Recorded()
    recorded.down = True
    file = io.BytesIO(b"answer")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        visit(environ)
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](file)
        return wrapped

    response = Browser().get(bare(app, recorded.store))
    assert response.body.startswith(b"503 ")
    assert file.closed
