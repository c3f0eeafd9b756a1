"""Visitor: the requests of one browser, step by step."""

from __future__ import annotations

from pathlib import Path

import pytest

from glimr_session import CookieStore, DiskStore, SessionStore
from glimr_session.testing import Visitor


@pytest.fixture(params=["cookie", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SessionStore:
    return CookieStore() if request.param == "cookie" else DiskStore(tmp_path / "sessions")


@pytest.fixture
def disk(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path / "sessions")


def test_a_visitor_keeps_its_cookie(store: SessionStore) -> None:
    """A visitor goes on with its session until a logout."""
    with Visitor(store) as visitor:
        begin = visitor.request()
        begin.session["a"] = 1
        set_cookie = begin.respond()
        assert set_cookie is not None
        assert "HttpOnly" in set_cookie
        assert set_cookie.startswith(visitor.cookie)
        assert visitor.request().session.all() == {"a": 1}
        logout = visitor.request()
        logout.session.invalidate()
        logout.respond()
        assert visitor.cookie == ""
        assert visitor.request().session.all() == {}


def test_the_steps_are_in_the_order_of_the_lines(disk: DiskStore) -> None:
    """The request that opens later commits first, if the test says so."""
    with Visitor(disk) as visitor:
        begin = visitor.request()
        begin.session["n"] = 1
        begin.respond()
        slow, quick = visitor.request().open(), visitor.request().open()
        assert quick.session.increment("n") == 2
        quick.respond()
        assert slow.session.increment("n") == 2  # it does not see the other one
        slow.respond()
        assert visitor.request().session["n"] == 3


def test_a_response_can_get_lost(disk: DiskStore) -> None:
    """A lost response has changed the session, and the browser has no cookie for it."""
    with Visitor(disk) as visitor:
        begin = visitor.request()
        begin.session["a"] = 1
        set_cookie = begin.respond(received=False)
        assert visitor.cookie == ""
        assert set_cookie is not None
        with Visitor(disk, set_cookie.partition(";")[0]) as other:
            assert other.request().session["a"] == 1


def test_the_body_can_be_made_after_the_headers(disk: DiskStore) -> None:
    """A change after the headers is committed with the end of the body."""
    with Visitor(disk) as visitor:
        stream = visitor.request()
        stream.session["a"] = 1
        stream.send_headers()
        stream.session["a"] = 2
        assert visitor.request().session["a"] == 1
        stream.close()
        assert visitor.request().session["a"] == 2


def test_a_request_that_breaks_off_changes_nothing(disk: DiskStore) -> None:
    """A request that is aborted commits nothing."""
    with Visitor(disk) as visitor:
        broken = visitor.request()
        broken.session["a"] = 1
        broken.break_off()
        assert visitor.cookie == ""
        assert disk.gc() == 0


def test_whoever_has_copied_the_cookie_is_another_visitor(disk: DiskStore) -> None:
    """A thief with a copy of the cookie finds nothing with it after a login."""
    with Visitor(disk) as visitor:
        begin = visitor.request()
        begin.session["a"] = 1
        begin.respond()
        with Visitor(disk, visitor.cookie) as thief:
            assert thief.request().session.all() == {"a": 1}
            login = visitor.request()
            login.session.regenerate()
            login.respond()
            assert thief.request().session.all() == {}
        assert visitor.request().session.all() == {"a": 1}
