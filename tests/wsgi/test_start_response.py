"""start_response and write(): when the headers leave, and what replaces them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import pytest

from glimr_session import CookieStore, DiskStore, SessionStore
from tests.support.wsgi_apps import (
    TEXT,
    Change,
    Exploded,
    Wrap,
    a_generator,
    bare,
    browser_with,
    data_of,
    explode,
    nothing,
    put,
    rows,
    session_of,
    visit,
)
from tests.support.wsgi_client import Browser, Headers

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def test_headers_wait_for_the_first_chunk(store: SessionStore) -> None:
    """The middleware calls the server's start_response once, when the first chunk is there."""
    response = Browser().begin(bare(a_generator, store))
    assert response.started == 0
    assert response.read_chunk() == b"one"
    assert response.started == 1
    assert response.set_cookie is not None
    assert response.finish().body == b"onetwo"
    assert response.started == 1


def test_headers_wait_for_write(store: SessionStore) -> None:
    """The first write() calls the server's start_response."""
    started: list[int] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        send = start_response("200 OK", [TEXT])
        visit(environ)
        started.append(request.started)
        send(b"one")
        started.append(request.started)
        assert request.body == b"one"
        assert request.set_cookie is not None
        return []

    request = Browser().request(bare(app, store))
    request.begin().finish()
    assert started == [0, 1]


def test_a_stream_is_not_held_up(wrap: Wrap, disk: DiskStore) -> None:
    """Each chunk reaches the server before the application makes the next one."""
    events: list[str] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        visit(environ)
        for chunk in (b"one", b"two"):
            events.append(f"made {chunk.decode()}")
            yield chunk

    response = Browser().begin(wrap(app, disk))
    while (chunk := response.read_chunk()) is not None:
        events.append(f"sent {chunk.decode()}")
    response.close()
    assert events == ["made one", "sent one", "made two", "sent two"]


@pytest.mark.parametrize("change", [nothing, put("a", 1)], ids=["untouched", "changed"])
@pytest.mark.parametrize("lazily", [False, True], ids=["list", "generator"])
def test_the_header_list_of_the_application_stays_as_it_is(lazily: bool, change: Change) -> None:
    """The middleware sends a new header list and leaves the application's own unchanged."""
    kept: Headers = [TEXT, ("Vary", "Accept"), ("Cache-Control", "public")]
    before = list(kept)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", kept)
        change(session_of(environ))
        return (chunk for chunk in [b"answer"]) if lazily else [b"answer"]

    response = Browser().get(bare(app, CookieStore()))
    assert kept == before
    assert response.headers is not kept
    assert response.values("Content-Type") == ["text/plain"]


def test_start_response_twice_fails(wrap: Wrap, disk: DiskStore) -> None:
    """A second start_response without exc_info is an error of the application."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        visit(environ)
        start_response("200 OK", [TEXT])
        start_response("204 No Content", [])
        return []

    request = Browser().request(wrap(app, disk))
    with pytest.raises(AssertionError, match="exc_info"):
        request.begin()
    assert request.started == 0
    assert rows(disk) == 0


@pytest.mark.parametrize("lazily", [False, True], ids=["list", "generator"])
def test_a_response_that_never_begins_changes_nothing(
    lazily: bool, wrap: Wrap, disk: DiskStore
) -> None:
    """A response that never begins leaves the session as it was."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        session_of(environ)["basket"] = 2
        return (chunk for chunk in [b"answer"]) if lazily else [b"answer"]

    browser = browser_with(disk, basket=1)
    with pytest.raises(AssertionError, match="start_response"):
        browser.request(wrap(app, disk)).begin().finish()
    assert data_of(browser, disk) == {"basket": 1}


@pytest.mark.parametrize("lazily", [False, True], ids=["list", "generator"])
def test_exc_info_replaces_headers_that_have_not_left(
    lazily: bool, wrap: Wrap, store: SessionStore
) -> None:
    """An application can replace its headers with exc_info and still keep its session."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT, ("X-First", "1")])
        visit(environ)
        try:
            explode()
        except Exploded:
            start_response("404 Not Found", [TEXT, ("X-Second", "2")], sys.exc_info())
        return (chunk for chunk in [b"sorry"]) if lazily else [b"sorry"]

    browser = Browser()
    response = browser.get(wrap(app, store))
    assert (response.status, response.body) == ("404 Not Found", b"sorry")
    assert (response.values("X-First"), response.values("X-Second")) == ([], ["2"])
    assert response.started == 1
    assert data_of(browser, store) == {"visits": 1}


def test_exc_info_after_the_headers_ends_the_response(wrap: Wrap, disk: DiskStore) -> None:
    """The server raises an error again after the headers, and later changes are dropped."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        visit(environ)
        yield b"first"
        visit(environ)
        try:
            explode()
        except Exploded:
            start_response("500 Error", [TEXT], sys.exc_info())
        yield b"never"

    browser = Browser()
    response = browser.begin(wrap(app, disk))
    with pytest.raises(Exploded):
        response.finish()
    assert (response.status, response.body) == ("200 OK", b"first")
    assert data_of(browser, disk) == {"visits": 1}


@pytest.mark.parametrize("lazily", [False, True], ids=["list", "generator"])
def test_without_start_response_the_server_complains(
    lazily: bool, wrap: Wrap, disk: DiskStore
) -> None:
    """An application that never calls start_response begins no session."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        visit(environ)
        return (chunk for chunk in [b"answer"]) if lazily else [b"answer"]

    request = Browser().request(wrap(app, disk))
    with pytest.raises(AssertionError, match="start_response"):
        request.begin().finish()
    assert request.started == 0
    assert rows(disk) == 0
