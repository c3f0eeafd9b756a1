"""Errors: of the view, of the store, and who answers them."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, abort, got_request_exception, make_response, session
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from glimr_session import (
    CookieStore,
    DiskStore,
    SessionError,
    SessionStore,
    SessionTooLarge,
    StoreUnavailable,
)
from glimr_session.flask import GlimrSession
from tests.support.actors import living_session_actors
from tests.support.wsgi_apps import Recorded

from .sites import KEY, LIFETIME, do, make_app, set_cookies


def values(app: Flask, client: FlaskClient) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    do(app, lambda: found.append(dict(session)), client)
    return found[0]


def logged_errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


# Errors of the view.


def put_and_fail() -> None:
    session["a"] = 2
    session["seen"].append(1)
    raise ZeroDivisionError


def put_and_abort() -> None:
    session["a"] = 2
    session["seen"].append(1)
    abort(503)


def put_and_answer_500() -> tuple[str, int]:
    session["a"] = 2
    session["seen"].append(1)
    return "failed", 500


@pytest.mark.parametrize("view", [put_and_fail, put_and_abort, put_and_answer_500])
@pytest.mark.parametrize("commit_on_error", [False, True])
def test_a_failure_keeps_nothing_unless_it_is_told_to(
    store: SessionStore, view: Callable[[], Any], commit_on_error: bool
) -> None:
    """No change and no cookie, however the response came to be 500 and above."""
    app = make_app(
        store, TESTING=False, GLIMR_SESSION={"commit_on_error": commit_on_error, "gc": "never"}
    )
    client = app.test_client()
    do(app, lambda: session.update(a=1, seen=[]), client)
    response = do(app, view, client)
    with response:
        assert response.status_code >= 500
    expected = {"a": 2, "seen": [1]} if commit_on_error else {"a": 1, "seen": []}
    assert values(app, client) == expected
    assert response.headers["Vary"] == "Cookie"
    if not commit_on_error:
        assert set_cookies(response) == []


def test_a_bad_value_in_a_response_that_keeps_nothing_does_no_harm(store: SessionStore) -> None:
    """The page of 500 that the view has made is sent, for the value was not to be kept."""
    app = make_app(store)
    response = do(app, lambda: [session.update(broken=object()), ("our page", 500)][1])
    assert (response.status_code, response.text) == (500, "our page")


def test_a_client_error_is_kept(store: SessionStore) -> None:
    """A 404 is an answer like any other."""
    app = make_app(store)
    client = app.test_client()
    do(app, lambda: [session.update(a=1), abort(404)], client)
    assert values(app, client) == {"a": 1}


def test_an_exception_that_the_application_answers_is_kept(store: SessionStore) -> None:
    """By an error handler of its own, with a status below 500."""
    app = make_app(store)
    app.register_error_handler(ZeroDivisionError, lambda error: ("no", 400))
    client = app.test_client()
    do(app, lambda: [session.update(a=1), 1 / 0], client)
    assert values(app, client) == {"a": 1}


def test_an_error_after_the_commit_still_sends_the_cookie(store: SessionStore) -> None:
    """A function of ``request_finished`` that fails makes a 500 of a committed response."""
    from flask import request_finished

    app = make_app(store, TESTING=False)
    client = app.test_client()

    def fail(*_: object, response: Response, **__: object) -> None:
        if response.status_code == 200:
            raise ZeroDivisionError

    with request_finished.connected_to(fail, app):
        assert do(app, lambda: session.update(a=1), client).status_code == 500
    assert values(app, client) == {"a": 1}


def test_a_bad_value_is_one_error_and_a_500(
    store: SessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where errors commit: the page of 500 is sent, and the log has the key."""
    app = make_app(store, TESTING=False, GLIMR_SESSION={"commit_on_error": True, "gc": "never"})
    client = app.test_client()
    response = do(app, lambda: session.update(broken=object()), client)
    assert response.status_code == 500
    assert response.headers["Vary"] == "Cookie"
    (record,) = logged_errors(caplog)
    assert record.exc_info is not None
    assert "'broken'" in str(record.exc_info[1])


# The store is down.


class Outage:
    """An application whose store goes down, when it is read or when it is committed to."""

    def __init__(self, when: str, **settings: Any) -> None:
        self.recorded = Recorded()
        self.when = when
        self.app = make_app(self.recorded.store, **{"TESTING": False, **settings})
        self.client = self.app.test_client()

    def ask(self) -> TestResponse:
        do(self.app, lambda: session.update(a=1), self.client)
        self.recorded.down = self.when == "read"

        def view() -> Response:
            session["a"] = 2
            self.recorded.down = True
            response = make_response("secret page")
            response.headers["X-Page"] = "of the view"
            response.set_cookie("theme", "dark")
            return response

        response = do(self.app, view, self.client)
        self.recorded.down = False
        assert living_session_actors() == []
        assert values(self.app, self.client) == {"a": 1}
        return response


@pytest.fixture(params=["read", "commit"])
def when(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def test_a_store_that_is_down_is_503(when: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of the view's response is sent, one error is logged, and the session survives."""
    response = Outage(when).ask()
    assert response.status_code == 503
    assert "secret page" not in response.text
    assert "X-Page" not in response.headers
    assert set_cookies(response) == []
    assert response.headers["Vary"] == "Cookie"
    (record,) = logged_errors(caplog)
    assert record.name == "shop"
    assert record.exc_info is not None
    assert record.exc_info[0] is StoreUnavailable


def test_a_disk_store_that_is_locked_is_503(tmp_path: Path) -> None:
    """A real outage: another process holds the write lock."""
    with (
        closing(DiskStore(tmp_path / "held", lifetime=LIFETIME, timeout=0.02)) as store,
        closing(sqlite3.connect(store.directory / "cache.db")) as other,
    ):
        app = make_app(store, TESTING=False)
        client = app.test_client()
        do(app, lambda: session.update(a=1), client)
        other.execute("BEGIN IMMEDIATE")
        assert do(app, lambda: session.update(a=2), client).status_code == 503
        other.rollback()
        assert values(app, client) == {"a": 1}


@pytest.mark.parametrize("handled", [503, StoreUnavailable, SessionError, HTTPException, Exception])
@pytest.mark.parametrize("before", [False, True])
def test_the_application_s_own_error_handler_answers(when: str, handled: Any, before: bool) -> None:
    """Whatever it is registered for, and whether that was before init_app."""
    outage = Outage(when)
    app = outage.app
    if before:
        app = outage.app = Flask("shop")
        app.config.update(SECRET_KEY=KEY, GLIMR_SESSION={"gc": "never"})
    app.register_error_handler(handled, lambda error: ("our page", 503))
    if before:
        GlimrSession(app, store=outage.recorded.store)
        outage.client = app.test_client()
    response = outage.ask()
    assert (response.status_code, response.text) == (503, "our page")


def test_the_error_handler_of_a_blueprint_answers(when: str) -> None:
    """For the views of that blueprint."""
    outage = Outage(when)
    blueprint = Blueprint("part", __name__)
    blueprint.register_error_handler(StoreUnavailable, lambda error: ("the part's page", 503))

    @blueprint.get("/part")
    def part() -> str:
        session["a"] = 2
        outage.recorded.down = True
        return "part"

    outage.app.register_blueprint(blueprint)
    outage.recorded.down = when == "read"
    assert outage.client.get("/part").text == "the part's page"


def test_what_runs_after_each_request_runs_for_the_error_page(when: str) -> None:
    """``after_request`` sets headers there too, as those for security."""
    outage = Outage(when)

    @outage.app.after_request
    def _(response: Response) -> Response:
        response.headers["X-Frame-Options"] = "DENY"
        return response

    assert outage.ask().headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("setting", ["TESTING", "DEBUG", "PROPAGATE_EXCEPTIONS"])
def test_the_error_propagates_where_flask_s_errors_do(when: str, setting: str) -> None:
    """In a test, a debugger, or where it is asked for; not if the application has a handler."""
    with pytest.raises(StoreUnavailable):
        Outage(when, **{setting: True}).ask()
    outage = Outage(when, **{setting: True})
    outage.app.register_error_handler(503, lambda error: ("our page", 503))
    assert outage.ask().text == "our page"


def test_whoever_listens_for_exceptions_is_told(when: str) -> None:
    """``got_request_exception``, which error trackers listen for."""
    outage = Outage(when)
    found: list[Exception] = []

    def note(*_: object, exception: Exception, **__: object) -> None:
        found.append(exception)

    with got_request_exception.connected_to(note, outage.app):
        outage.ask()
    assert [type(error) for error in found] == [StoreUnavailable]


@pytest.mark.parametrize("commit_on_error", [False, True])
def test_a_handler_that_uses_the_session_is_given_it(commit_on_error: bool) -> None:
    """What it puts is lost, for the store is down."""
    settings = {"commit_on_error": commit_on_error, "gc": "never"}
    outage = Outage("commit", GLIMR_SESSION=settings)

    @outage.app.errorhandler(StoreUnavailable)
    def _(error: StoreUnavailable) -> tuple[str, int]:
        return f"you have {session['a']}", 503

    assert outage.ask().text == "you have 2"


def test_a_session_too_large_is_a_500_or_what_the_application_makes_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On the cookie store; the error is logged once, and a handler can answer it."""
    app = make_app(CookieStore(lifetime=LIFETIME), TESTING=False)
    client = app.test_client()
    do(app, lambda: session.update(a=1), client)
    response = do(app, lambda: session.update(text="x" * 5000), client)
    assert response.status_code == 500
    assert set_cookies(response) == []
    (record,) = logged_errors(caplog)
    assert record.exc_info is not None
    assert record.exc_info[0] is SessionTooLarge
    app._got_first_request = False
    app.register_error_handler(SessionTooLarge, lambda error: ("too much", 413))
    response = do(app, lambda: session.update(text="x" * 5000), client)
    assert (response.status_code, response.text) == (413, "too much")
    assert values(app, client) == {"a": 1}
