"""Stores that are down, locked or full."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from glimr_session import CookieStore, DiskStore, Session, SessionTooLarge, StoreUnavailable
from tests.support.actors import living_session_actors
from tests.support.wsgi_apps import (
    LIFETIME,
    Change,
    Recorded,
    Wrap,
    a_file,
    a_generator,
    a_list,
    answering,
    browser_with,
    data_of,
    put,
    streaming,
    warnings_in,
    write,
)
from tests.support.wsgi_client import Browser

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def test_an_outage_is_not_absence(wrap: Wrap) -> None:
    """A store that cannot be read is a 503 and no anonymous request, and the session survives."""
    recorded = Recorded()
    browser = browser_with(recorded.store, a=1)
    recorded.down = True
    response = browser.get(wrap(answering(put("b", 2)), recorded.store))
    assert (response.status, response.started) == ("503 Service Unavailable", 1)
    assert response.set_cookie is None
    recorded.down = False
    assert data_of(browser, recorded.store) == {"a": 1}


@pytest.mark.parametrize(
    "shape", [a_list, a_generator, write, a_file], ids=lambda app: app.__name__
)
def test_a_failed_commit_sends_nothing_of_the_application(
    shape: WSGIApplication, wrap: Wrap, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A commit that cannot get the write lock is a 503 alone, and overwrites nothing."""
    with (
        closing(DiskStore(tmp_path / "held", lifetime=LIFETIME, timeout=0.02)) as store,
        closing(sqlite3.connect(store.directory / "cache.db")) as other,
    ):
        browser = browser_with(store, visits=7)
        other.execute("BEGIN IMMEDIATE")
        response = browser.get(wrap(shape, store))
        other.rollback()
        assert (response.status, response.started) == ("503 Service Unavailable", 1)
        assert b"one" not in response.body
        assert response.set_cookie is None
        (message,) = warnings_in(caplog)
        assert "0.02 s" in message
        assert data_of(browser, store) == {"visits": 7}


def test_an_outage_at_the_end_ends_the_session_too(wrap: Wrap) -> None:
    """A late commit that fails raises in close() and leaves no actor."""
    recorded = Recorded()

    def pull_the_plug(session: Session) -> None:
        session["late"] = True
        recorded.down = True

    response = Browser().begin(wrap(streaming(put("a", 1), pull_the_plug), recorded.store))
    with pytest.raises(StoreUnavailable):
        response.finish()
    assert response.body == b"firstsecond"
    assert living_session_actors() == []


@pytest.mark.parametrize("shape", [answering, streaming], ids=lambda make: make.__name__)
def test_a_session_too_large_for_its_cookie_is_refused_before_the_headers(
    shape: Callable[[Change], WSGIApplication], wrap: Wrap, caplog: pytest.LogCaptureFixture
) -> None:
    """A session that is too large is a 500 page instead, says so in the log, and is not sent."""
    store = CookieStore()
    browser = browser_with(store, a=1)
    response = browser.get(wrap(shape(put("b", "x" * 4096)), store))
    assert (response.status, response.started) == ("500 Internal Server Error", 1)
    assert response.set_cookie is None
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[0] is SessionTooLarge
    assert data_of(browser, store) == {"a": 1}
