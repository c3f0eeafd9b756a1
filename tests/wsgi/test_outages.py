"""Stores that are down, locked or full."""

from __future__ import annotations

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
    write,
)
from tests.support.wsgi_client import Browser

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def test_an_outage_is_not_absence(wrap: Wrap) -> None:
    """A store that cannot be read raises StoreUnavailable, and the session survives."""
    recorded = Recorded()
    browser = browser_with(recorded.store, a=1)
    recorded.down = True
    request = browser.request(wrap(answering(put("b", 2)), recorded.store))
    with pytest.raises(StoreUnavailable):
        request.begin()
    assert request.started == 0
    recorded.down = False
    assert data_of(browser, recorded.store) == {"a": 1}


@pytest.mark.parametrize(
    "shape", [a_list, a_generator, write, a_file], ids=lambda app: app.__name__
)
def test_a_failed_commit_sends_nothing(shape: WSGIApplication, wrap: Wrap, tmp_path: Path) -> None:
    """A commit that cannot get the write lock sends no header and overwrites nothing."""
    with (
        closing(DiskStore(tmp_path / "held", lifetime=LIFETIME, timeout=0.02)) as store,
        closing(sqlite3.connect(store.directory / "cache.db")) as other,
    ):
        browser = browser_with(store, visits=7)
        other.execute("BEGIN IMMEDIATE")
        request = browser.request(wrap(shape, store))
        with pytest.raises(StoreUnavailable, match=r"0\.02 s"):
            request.begin().finish()
        other.rollback()
        assert request.started == 0
        assert request.body == b""
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
    shape: Callable[[Change], WSGIApplication], wrap: Wrap
) -> None:
    """A session that is too large raises SessionTooLarge before the headers and is not sent."""
    store = CookieStore()
    browser = browser_with(store, a=1)
    request = browser.request(wrap(shape(put("b", "x" * 4096)), store))
    with pytest.raises(SessionTooLarge):
        request.begin().finish()
    assert request.started == 0
    assert data_of(browser, store) == {"a": 1}
