"""Applications that fail, and bodies that are closed."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from wsgiref.util import FileWrapper

import pytest

from glimr_session import DiskStore, Session
from tests.support.actors import living_session_actors
from tests.support.wsgi_apps import (
    TEXT,
    Closing,
    Exploded,
    Recorded,
    Wrap,
    bare,
    browser_with,
    closing_app,
    data_of,
    explode,
    nothing,
    put,
    rows,
    streaming,
    visit,
)
from tests.support.wsgi_client import Browser

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def raising_before(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    visit(environ)
    explode()


def raising_after(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    visit(environ)
    start_response("200 OK", [TEXT])
    explode()


def raising_in_the_first_chunk(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    start_response("200 OK", [TEXT])
    visit(environ)
    yield explode()


@pytest.mark.parametrize(
    "app", [raising_before, raising_after, raising_in_the_first_chunk], ids=lambda app: app.__name__
)
def test_an_error_commits_nothing(app: WSGIApplication, wrap: Wrap, disk: DiskStore) -> None:
    """A request that fails before its headers writes nothing and sends nothing."""
    for browser, data in ((Browser(), {}), (browser_with(disk, visits=7), {"visits": 7})):
        before = rows(disk)
        request = browser.request(wrap(app, disk))
        with pytest.raises(Exploded):
            request.begin().finish()
        assert request.started == 0
        assert rows(disk) == before
        assert data_of(browser, disk) == data


def test_an_error_in_the_middle_drops_later_changes(wrap: Wrap, disk: DiskStore) -> None:
    """An error in the body keeps what was committed before and drops later changes."""

    def write_and_explode(session: Session) -> None:
        session["late"] = True
        explode()

    browser = Browser()
    response = browser.begin(wrap(streaming(put("early", True), write_and_explode), disk))
    with pytest.raises(Exploded):
        response.finish()
    assert response.body == b"first"
    assert data_of(browser, disk) == {"early": True}


def test_close_may_write_to_the_session(wrap: Wrap, disk: DiskStore) -> None:
    """The middleware calls the body's close() once, and commits what it writes."""
    bodies: list[Closing] = []
    app = wrap(closing_app(put("early", 1), put("closed", 2), bodies), disk)
    browser = Browser()
    browser.get(app)
    assert bodies[0].closed == 1
    assert data_of(browser, disk) == {"early": 1, "closed": 2}


def test_an_error_in_close_drops_later_changes(wrap: Wrap, disk: DiskStore) -> None:
    """An error of close() reaches the server, and the session still ends."""

    def write_and_explode(session: Session) -> None:
        session["late"] = True
        explode()

    browser = Browser()
    response = browser.begin(wrap(closing_app(put("early", True), write_and_explode, []), disk))
    with pytest.raises(Exploded):
        response.finish()
    assert response.body == b"firstsecond"
    assert living_session_actors() == []
    assert data_of(browser, disk) == {"early": True}


def test_close_is_called_after_an_error_too(wrap: Wrap) -> None:
    """The middleware calls the body's close() after a failed commit, too."""
    recorded = Recorded()
    bodies: list[Closing] = []
    recorded.down = True
    response = Browser().get(wrap(closing_app(put("a", 1), nothing, bodies), recorded.store))
    assert response.status == "503 Service Unavailable"
    assert bodies[0].closed == 1


def test_a_file_is_closed_when_its_headers_cannot_leave() -> None:
    """The middleware closes a file that the server never gets."""
    recorded = Recorded()
    recorded.down = True
    file = io.BytesIO(b"answer")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        visit(environ)
        return FileWrapper(file)

    response = Browser().begin(bare(app, recorded.store))
    assert response.status == "503 Service Unavailable"
    assert file.closed
