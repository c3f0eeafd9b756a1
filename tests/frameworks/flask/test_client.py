"""Flask's test client, and request contexts of its own, on our sessions."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, current_app, session
from flask.globals import request_ctx

from glimr_session import SessionStore, StoreUnavailable
from tests.support.actors import living_session_actors
from tests.support.wsgi_apps import Recorded

from .sites import do, make_app, ours


@pytest.fixture
def app(store: SessionStore) -> Flask:
    return make_app(store)


def test_a_session_transaction_changes_the_session_of_the_client(app: Flask) -> None:
    """Before its first request, and between two, nested values too."""
    client = app.test_client()
    with client.session_transaction() as changed:
        assert len(changed) == 0
        changed["cart"] = [(1, "book")]
        changed.permanent = True
    with client.session_transaction() as changed:
        assert changed["cart"] == [(1, "book")]
        changed["cart"].append((2, "pen"))
    response = do(app, lambda: f"{session['cart']} {session.permanent}", client)
    assert response.text == "[(1, 'book'), (2, 'pen')] True"


def test_a_session_transaction_knows_the_request_it_was_given(app: Flask) -> None:
    """The arguments are those of a request: here the URL makes the cookie Secure."""
    client = app.test_client()
    with client.session_transaction(base_url="https://shop.test") as changed:
        changed["a"] = 1
    cookie = client.get_cookie("session", domain="shop.test")
    assert cookie is not None
    assert cookie.secure


def test_a_session_transaction_that_raises_keeps_nothing(app: Flask) -> None:
    """The test's own error comes out, and the session is as it was."""
    client = app.test_client()
    with client.session_transaction() as changed:
        changed["a"] = 1
    with pytest.raises(ZeroDivisionError), client.session_transaction() as changed:
        changed["a"] = 1 / 0
    with client.session_transaction() as changed:
        assert changed == {"a": 1}


def test_a_session_transaction_raises_where_the_store_is_down() -> None:
    """No error page can hide it: nobody would look at it."""
    recorded = Recorded()
    client = make_app(recorded.store, TESTING=False).test_client()
    recorded.down = True
    with pytest.raises(StoreUnavailable), client.session_transaction() as changed:
        changed["a"] = 1
    recorded.down = False
    transaction = client.session_transaction()
    transaction.__enter__()["a"] = 1
    recorded.down = True
    with pytest.raises(StoreUnavailable):
        transaction.__exit__(None, None, None)


def test_a_with_block_reads_the_session_after_the_response(app: Flask) -> None:
    """What the view has read, and what it has not, and a change that was committed."""
    client = app.test_client()
    do(app, lambda: session.update(a=1, t=(1, 2)), client)
    with client:
        do(app, lambda: session.update(b=2), client)
        assert session["t"] == (1, 2)
        assert dict(session) == {"a": 1, "t": (1, 2), "b": 2}
        assert len(ours.id) == 64
        do(app, lambda: None, client)  # it does not use the session
        assert session["a"] == 1


def test_a_change_after_the_response_is_an_error(app: Flask) -> None:
    """It would be lost, and so it is refused."""
    from glimr_session import SessionClosed

    client = app.test_client()
    with client:
        do(app, lambda: session.update(b=2), client)
        with pytest.raises(SessionClosed):
            session["c"] = 3


def test_a_client_without_cookies_begins_anew_each_time(app: Flask) -> None:
    """``use_cookies=False``."""
    client = app.test_client(use_cookies=False)
    for _ in range(2):
        response = do(app, lambda: f"{ours.increment('n')} {session.new}", client)
        assert response.text == "1 True"


def test_a_request_context_of_a_test_has_a_session_and_keeps_nothing(app: Flask) -> None:
    """``test_request_context``, alone and inside an application context, and nested."""
    with app.app_context(), app.test_request_context():
        session["a"] = 1
        with app.test_request_context():
            assert dict(session) == {}
        with app.app_context():
            assert current_app
            assert session["a"] == 1
        assert dict(session) == {"a": 1}


@pytest.mark.usefixtures("store")
def test_another_application_s_context_does_not_change_whose_session_it_is(app: Flask) -> None:
    """A request to a second application, from within a view of the first one."""
    other = make_app(Recorded().store)
    client = app.test_client()

    def ask_the_other() -> str:
        session["a"] = 1
        do(other, lambda: session.update(b=2))
        return str(dict(session))

    assert do(app, ask_the_other, client).text == "{'a': 1}"
    assert do(app, lambda: str(dict(session)), client).text == "{'a': 1}"


def test_the_session_is_the_same_in_a_thread_of_the_request(app: Flask) -> None:
    """``copy_current_request_context`` takes it along."""
    from flask import copy_current_request_context

    client = app.test_client()

    def work() -> None:
        session["before"] = 1

        @copy_current_request_context
        def put() -> None:
            session["in the thread"] = session["before"] + 1

        thread = threading.Thread(target=put)
        thread.start()
        thread.join()

    do(app, work, client)
    response = do(app, lambda: str(session["in the thread"]), client)
    assert response.text == "2"


def test_an_async_view_has_the_session(app: Flask) -> None:
    """It runs in another thread; ``flask[async]``."""
    pytest.importorskip("asgiref")

    async def put() -> str:
        session["a"] = (1,)
        return "done"

    app.add_url_rule("/async", "async", put)
    client = app.test_client()
    client.get("/async")
    assert do(app, lambda: str(session["a"]), client).text == "(1,)"


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Python's garbage collector is off, so that reference counts alone free anything."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_that_is_never_closed_leaves_no_actor(app: Flask, streamed: bool) -> None:
    """Nobody holds the session any more, so Python frees it at once."""
    sessions: list[weakref.ref[Any]] = []

    def work() -> Any:
        session["a"] = 1
        found: Any = session._get_current_object()  # type: ignore[attr-defined]
        sessions.append(weakref.ref(found))
        return (text for text in ("one", "two")) if streamed else "done"

    app.add_url_rule("/work", "work", work)
    response = app.test_client().get("/work")  # not read, not closed
    assert streamed or sessions[0]() is None
    del response
    assert sessions[0]() is None
    assert living_session_actors() == []


@pytest.mark.usefixtures("no_collector")
def test_a_request_context_that_keeps_nothing_leaves_no_actor(app: Flask) -> None:
    """As the one above: the session goes with the context."""
    app.add_url_rule("/", "home", lambda: "home")  # Flask keeps a 404 in a cycle with its context
    with app.test_request_context():
        session["a"] = 1
        assert len(living_session_actors()) == 1
    assert living_session_actors() == []


def test_the_error_page_ends_the_session_of_a_failed_save(app: Flask) -> None:
    """The traceback that was logged may be kept for long; the actor has ended all the same."""
    app.config.update(TESTING=False)
    kept: list[Any] = []

    def fail() -> None:
        session["broken"] = object()
        kept.append(session._get_current_object())  # type: ignore[attr-defined]

    assert do(app, fail).status_code == 500
    assert living_session_actors() == []


def test_an_exception_propagates_with_the_session_still_readable(app: Flask) -> None:
    """In a ``with`` block, for a test that looks at it."""
    client = app.test_client()
    with client:
        with pytest.raises(ZeroDivisionError):
            do(app, lambda: [session.update(a=1), 1 / 0], client)
        if request_ctx:  # Flask keeps the context
            assert session["a"] == 1
