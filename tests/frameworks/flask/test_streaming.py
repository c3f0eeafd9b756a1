"""Responses whose body is made while it is sent."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Response, session, stream_with_context
from flask.testing import FlaskClient

from glimr_session import CookieStore, DiskStore, SessionStore, StoreUnavailable
from tests.support.actors import living_session_actors
from tests.support.wsgi_apps import Recorded, warnings_in

from .sites import LIFETIME, do, make_app


def stream(app: Flask, chunks: Any, client: FlaskClient) -> Any:
    """Make a request whose view reads the session and streams these chunks."""

    def view() -> Response:
        session.get("a")
        return Response(stream_with_context(chunks()))

    return do(app, view, client)


def read(response: Any) -> None:
    """Read the whole body, and close it."""
    with response:
        assert response.text


def values(app: Flask, client: FlaskClient) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    do(app, lambda: found.append(dict(session)), client)
    return found[0]


def test_what_changes_while_the_body_is_sent_is_committed_at_its_end(disk: DiskStore) -> None:
    """A key, and a value that is changed in place; the disk store can still take them."""
    app = make_app(disk)
    client = app.test_client()
    do(app, lambda: session.update(a=1, seen=[]), client)

    def chunks() -> Iterator[str]:
        session["a"] += 1
        yield "one"
        session["seen"].append("two")
        yield "two"

    with stream(app, chunks, client) as response:
        assert response.text == "onetwo"
    assert values(app, client) == {"a": 2, "seen": ["two"]}


def test_a_value_of_flask_s_types_is_committed_at_the_end(disk: DiskStore) -> None:
    """Where no application context is pushed any more."""
    app = make_app(disk)
    client = app.test_client()
    do(app, lambda: session.update(a=1), client)

    def chunks() -> Iterator[str]:
        yield "one"
        session["tuple"] = (1, b"x")

    read(stream(app, chunks, client))
    assert values(app, client)["tuple"] == (1, b"x")


def test_on_the_cookie_store_a_late_change_is_lost_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The cookie has left with the headers; the log says so."""
    app = make_app(CookieStore(lifetime=LIFETIME))
    client = app.test_client()
    do(app, lambda: session.update(a=1), client)

    def chunks() -> Iterator[str]:
        yield str(session["a"])
        session["a"] = 2

    read(stream(app, chunks, client))
    assert values(app, client) == {"a": 1}
    (warning,) = warnings_in(caplog)
    assert "lives in the cookie" in warning


def test_the_session_is_in_the_headers_of_a_streamed_response(store: SessionStore) -> None:
    """What the view has put is committed before them."""
    app = make_app(store)
    client = app.test_client()

    def view() -> Response:
        session["a"] = 1
        return Response(iter(["one", "two"]))

    with do(app, view, client) as response:
        assert "Set-Cookie" in response.headers
    assert values(app, client) == {"a": 1}


def test_a_client_that_leaves_keeps_what_was_done_before(disk: DiskStore) -> None:
    """The generator is closed, its ``finally`` runs, and the changes until then are committed."""
    app = make_app(disk)
    client = app.test_client()
    do(app, lambda: session.update(a=1), client)

    def chunks() -> Iterator[str]:
        try:
            yield "one"
            session["never"] = True
            yield "two"
        finally:
            session["left"] = True

    response = stream(app, chunks, client)
    assert next(response.iter_encoded()) == b"one"
    response.close()
    assert values(app, client) == {"a": 1, "left": True}


def test_the_session_can_be_read_after_a_streamed_response(store: SessionStore) -> None:
    """In a ``with`` block, after the body, even if nobody has used it before."""
    app = make_app(store)
    client = app.test_client()
    do(app, lambda: session.update(a=1), client)

    def chunks() -> Iterator[str]:
        yield "one"

    with client:
        read(do(app, lambda: Response(chunks()), client))
        assert session["a"] == 1


def test_a_failed_commit_at_the_end_of_the_body_raises_there() -> None:
    """The status has left; the server logs it, and no actor stays."""
    recorded = Recorded()
    app = make_app(recorded.store)
    client = app.test_client()
    do(app, lambda: session.update(a=1), client)

    def chunks() -> Iterator[str]:
        session["a"] += 1
        yield "one"
        recorded.down = True

    response = stream(app, chunks, client)
    assert response.text == "one"
    with pytest.raises(StoreUnavailable):
        response.close()
    assert living_session_actors() == []


def test_a_streamed_error_keeps_nothing(disk: DiskStore, caplog: pytest.LogCaptureFixture) -> None:
    """A response of 500 whose body is streamed: neither before nor after its headers."""
    app = make_app(disk)
    client = app.test_client()
    do(app, lambda: session.update(a=1), client)

    def chunks() -> Iterator[str]:
        yield "one"
        session["a"] = 3

    def view() -> Response:
        session["a"] = 2
        return Response(stream_with_context(chunks()), status=500)

    read(do(app, view, client))
    assert values(app, client) == {"a": 1}
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
