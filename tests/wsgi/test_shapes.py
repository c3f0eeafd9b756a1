"""Every shape a WSGI application can have, and what the server gets of it."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING
from wsgiref.handlers import SimpleHandler
from wsgiref.util import FileWrapper

import pytest

from glimr_session import CookieStore, DiskStore, SessionStore
from tests.support.wsgi_apps import (
    TEXT,
    AnIterator,
    Wrap,
    a_file,
    a_generator,
    a_late_generator,
    a_list,
    a_list_of_its_own_kind,
    a_tuple,
    an_empty_first_chunk,
    an_empty_generator,
    an_empty_list,
    answering,
    bare,
    data_of,
    put,
    visit,
    write,
    write_and_a_generator,
    write_and_a_list,
)
from tests.support.wsgi_client import Browser

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


SHAPES = (
    a_list,
    a_tuple,
    an_empty_list,
    a_list_of_its_own_kind,
    a_generator,
    a_late_generator,
    an_empty_generator,
    an_empty_first_chunk,
    AnIterator,
    write,
    write_and_a_list,
    write_and_a_generator,
    a_file,
)


EMPTY = (an_empty_list, an_empty_generator)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_every_shape_keeps_its_session(
    shape: WSGIApplication, wrap: Wrap, store: SessionStore
) -> None:
    """Every shape of application saves its session, sends its cookie and keeps its body."""
    browser = Browser()
    app = wrap(shape, store)
    for visits in (1, 2, 3):
        response = browser.get(app)
        assert (response.status, response.started, response.sent) == ("200 OK", 1, True)
        assert response.values("Content-Type") == ["text/plain"]
        assert response.body == (b"" if shape in EMPTY else b"onetwo")
        assert data_of(browser, store) == {"visits": visits}


def test_head_is_answered_as_get_without_a_body(wrap: Wrap, store: SessionStore) -> None:
    """A HEAD request has its session, and gets the headers that GET would get."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        visit(environ)
        start_response("200 OK", [TEXT, ("Content-Length", "6")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"answer"]

    browser = Browser()
    head = browser.get(wrap(app, store), "HEAD")
    assert (head.body, head.values("Content-Length")) == (b"", ["6"])
    assert head.set_cookie is not None
    assert data_of(browser, store) == {"visits": 1}
    get = Browser().get(wrap(app, store))
    assert [name for name, _ in head.headers] == [name for name, _ in get.headers]


@pytest.mark.parametrize(
    "body", [[b"one"], (b"one",), FileWrapper(io.BytesIO(b"one"))], ids=["list", "tuple", "file"]
)
def test_list_tuple_and_file_are_handed_on(body: Iterable[bytes], store: SessionStore) -> None:
    """The server gets the application's own list, tuple or file after the headers were sent."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        visit(environ)
        return body

    response = Browser().begin(bare(app, store))
    assert response.iterable is body
    assert response.started == 1
    assert response.set_cookie is not None


def test_the_server_can_tell_the_length_of_a_list(disk: DiskStore) -> None:
    """A server that derives Content-Length from the body still does so."""
    environ = Browser().request(a_list).environ
    sent = io.BytesIO()
    handler = SimpleHandler(io.BytesIO(), sent, io.StringIO(), environ)
    handler.run(bare(answering(put("a", 1)), disk))
    head, _, body = sent.getvalue().partition(b"\r\n\r\n")
    assert b"Content-Length: 6" in head.split(b"\r\n")
    assert body == b"answer"


@pytest.mark.parametrize("offered", [FileWrapper, None], ids=["offered", "not offered"])
def test_the_file_wrapper_is_left_alone(offered: type[FileWrapper] | None) -> None:
    """The application finds the server's own wsgi.file_wrapper, or none."""
    found: list[object] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        found.append(environ.get("wsgi.file_wrapper"))
        start_response("200 OK", [TEXT])
        return [b"answer"]

    request = Browser().request(bare(app, CookieStore()))
    del request.environ["wsgi.file_wrapper"]
    if offered is not None:
        request.environ["wsgi.file_wrapper"] = offered
    request.begin().finish()
    assert found == [offered]


def test_a_file_is_closed_once(disk: DiskStore) -> None:
    """The server closes a wrapped file once, after the response."""
    closed: list[str] = []

    class File(io.BytesIO):
        def close(self) -> None:
            if not self.closed:
                closed.append("closed")
            super().close()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        return FileWrapper(File(b"answer"))

    response = Browser().begin(bare(app, disk))
    assert closed == []
    response.finish()
    assert closed == ["closed"]
