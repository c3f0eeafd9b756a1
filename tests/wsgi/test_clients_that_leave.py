"""Clients that close the connection before the response is complete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from glimr_session import DiskStore, Session
from tests.support.actors import living_session_actors
from tests.support.wsgi_apps import (
    TEXT,
    Closing,
    Wrap,
    browser_with,
    closing_app,
    data_of,
    leave,
    nothing,
    put,
    rows,
    visit,
    warnings_in,
)
from tests.support.wsgi_client import Browser

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


@pytest.mark.parametrize("chunks", [0, 1])
def test_a_client_that_leaves_keeps_its_session(chunks: int, wrap: Wrap, disk: DiskStore) -> None:
    """The middleware commits a known session when the body closes, however little was sent."""
    browser = browser_with(disk, name="Ada")
    bodies: list[Closing] = []
    leave(wrap(closing_app(put("early", 1), put("closed", 2), bodies), disk), browser, chunks)
    assert bodies[0].closed == 1
    assert living_session_actors() == []
    assert data_of(browser, disk) == {"name": "Ada", "early": 1, "closed": 2}


@pytest.mark.parametrize("chunks", [0, 1])
def test_a_client_that_leaves_ends_a_generator(chunks: int, wrap: Wrap, disk: DiskStore) -> None:
    """A generator that is closed early can write to the session in its finally."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        try:
            yield b"first"
            yield b"second"
        finally:
            visit(environ)

    browser = browser_with(disk, visits=1)
    leave(wrap(app, disk), browser, chunks)
    # One that has never begun has no finally to run.
    assert data_of(browser, disk) == {"visits": 1 + chunks}


def test_a_client_that_leaves_before_its_cookie_gets_no_session(
    wrap: Wrap, disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The middleware keeps no session that the browser has no cookie for, and warns."""
    leave(wrap(closing_app(put("early", 1), nothing, []), disk), Browser(), 0)
    assert rows(disk) == 0
    assert len(warnings_in(caplog)) == 1


def test_a_client_that_leaves_is_logged_out_all_the_same(wrap: Wrap, disk: DiskStore) -> None:
    """invalidate() destroys the stored session even if the client has left."""
    browser = browser_with(disk, user="ada")
    leave(wrap(closing_app(lambda session: session.invalidate(), nothing, []), disk), browser, 0)
    assert rows(disk) == 0


def test_a_client_that_leaves_before_its_new_id_is_not_logged_in_with_the_old(
    wrap: Wrap, disk: DiskStore
) -> None:
    """A login that breaks off leaves nothing of it under the id from before it."""

    def log_in(session: Session) -> None:
        session.regenerate()
        session["user"] = "ada"

    browser = browser_with(disk, basket=1)
    leave(wrap(closing_app(log_in, nothing, []), disk), browser, 0)
    assert "user" not in data_of(browser, disk)
