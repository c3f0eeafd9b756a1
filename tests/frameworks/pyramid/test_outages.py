"""Stores that are down, and sessions that do not fit: answered by exception views."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pyramid.config import Configurator
from pyramid.response import Response
from webtest import TestApp

from glimr_session import (
    CookieStore,
    DiskStore,
    SessionTooLarge,
    StoreUnavailable,
)
from glimr_session.pyramid import session_factory
from tests.support.wsgi_apps import CONFIG, LIFETIME, Recorded

from .sites import browser, changing, putting


def errors_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def streaming(change: Callable[[Any], object]) -> Callable[[Any], object]:
    """Return a view that changes its session and answers with a body that is not yet made."""

    def chunks() -> Iterator[bytes]:
        yield b"answer"

    def view(request: Any) -> object:
        change(request.session)
        return Response(app_iter=chunks())

    return view


def test_a_read_in_an_outage_is_answered_with_503(caplog: pytest.LogCaptureFixture) -> None:
    """An outage is no anonymous visitor: the default view answers, logs once, and sets nothing."""
    recorded = Recorded()
    site = browser(recorded.store, put=putting("a", 1))
    site.get("/put")
    recorded.down = True
    answer = site.get("/all", status=503)
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in answer.headers
    assert errors_in(caplog) == ["A session could not be read or committed: the store is down"]
    recorded.down = False
    assert site.get("/all").json == {"a": 1}


@pytest.mark.parametrize("shape", [changing, streaming], ids=["list", "generator"])
def test_a_commit_that_fails_sends_nothing_of_the_view(
    shape: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A commit that cannot get the write lock is a 503 alone, logged once, and keeps nothing."""
    with (
        closing(DiskStore(tmp_path / "held", lifetime=LIFETIME, timeout=0.02)) as store,
        closing(sqlite3.connect(store.directory / "cache.db")) as other,
    ):
        site = browser(store, put=putting("a", 1), fall=shape(lambda session: session.update(a=2)))
        site.get("/put")
        other.execute("BEGIN IMMEDIATE")
        answer = site.get("/fall", status=503)
        other.rollback()
        assert answer.content_type == "text/plain"
        assert answer.content_length == len(answer.body)
        assert "Set-Cookie" not in answer.headers
        assert b"answer" not in answer.body
        assert len(errors_in(caplog)) == 1
        assert site.get("/all").json == {"a": 1}


def test_the_body_of_a_response_that_is_not_sent_is_closed() -> None:
    """When the commit fails, nobody else gets to see the view's body."""
    recorded, closed = Recorded(), list[bool]()

    def chunks() -> Iterator[bytes]:
        try:
            yield b"answer"
        finally:
            closed.append(True)

    body = chunks()

    def fall(request: Any) -> object:
        request.session["a"] = 1
        recorded.down = True
        next(body)  # as one that has opened a file
        return Response(app_iter=body)

    assert browser(recorded.store, fall=fall).get("/fall", status=503)
    assert closed == [True]


def own_view(config: Any) -> None:
    config.add_exception_view(
        lambda error, request: Response(f"own: {error}", status=503, headers={"Retry-After": "5"}),
        context=StoreUnavailable,
    )


def included_view(config: Any) -> None:
    config.include(own_view)


@pytest.mark.parametrize("configure", [own_view, included_view], ids=["direct", "included"])
@pytest.mark.parametrize("path", ["/all", "/fall"], ids=["read", "commit"])
def test_the_application_s_own_view_wins(
    path: str, configure: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A view for StoreUnavailable is used, also if it is configured in another include."""
    recorded = Recorded()

    def fall(session: Any) -> None:
        session["a"] = 2
        recorded.down = True

    site = browser(recorded.store, configure, put=putting("a", 1), fall=changing(fall))
    site.get("/put")
    recorded.down = path == "/all"
    answer = site.get(path, status=503)
    assert (answer.text, answer.headers["Retry-After"]) == ("own: the store is down", "5")
    assert "Set-Cookie" not in answer.headers
    assert errors_in(caplog) == []


def test_without_any_view_the_error_is_raised() -> None:
    """A session factory alone registers no view: the server gets the error."""
    recorded = Recorded()
    with Configurator() as config:
        config.set_session_factory(session_factory(CONFIG, store=recorded.store))
        config.add_route("put", "/put")
        config.add_view(putting("a", 1), route_name="put", renderer="json")
    recorded.down = True
    with pytest.raises(StoreUnavailable):
        TestApp(config.make_wsgi_app()).get("/put")


def test_what_does_not_fit_into_a_cookie() -> None:
    """SessionTooLarge reaches the exception views; nothing is kept, and the old session stays."""

    def views(config: Any) -> None:
        config.add_exception_view(
            lambda error, request: Response(f"{error.limit}", status=500), context=SessionTooLarge
        )

    site = browser(CookieStore(), views, put=putting("a", 1), big=putting("a", "x" * 5000))
    site.get("/put")
    answer = site.get("/big", status=500)
    assert "Set-Cookie" not in answer.headers
    assert int(answer.text) > 3000
    assert site.get("/all").json == {"a": 1}
