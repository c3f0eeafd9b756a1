"""Which responses of Starlette keep what their request has changed."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from glimr_session import CookieStore, SessionStore, StoreUnavailable
from glimr_session.asgi import session_of
from tests.support.wsgi_apps import Recorded

from .sites import client_of, values


@pytest.mark.parametrize(("status", "kept"), [(404, True), (403, True), (500, False), (503, False)])
def test_an_http_exception_is_a_response(store: SessionStore, status: int, kept: bool) -> None:
    """Below 500 it keeps what was changed, and from there on nothing, no flash used up either."""

    async def refuse(request: Request) -> Response:
        request.session["tries"] = session_of(request).get_flash("before")
        raise HTTPException(status)

    async def flash(request: Request) -> Response:
        session_of(request).flash("before", "hello")
        return JSONResponse(None)

    async def shown(request: Request) -> Response:
        return JSONResponse(session_of(request).get_flash("before"))

    client = client_of(store, refuse, flash, shown)
    client.get("/flash")
    assert client.get("/refuse").status_code == status
    assert client.get("/shown").json() == ("" if kept else "hello")
    assert values(client) == ({"tries": "hello"} if kept else {})


@pytest.mark.parametrize(("status", "kept"), [(409, True), (502, False)])
def test_an_exception_handler_decides_by_its_status(
    store: SessionStore, status: int, kept: bool
) -> None:
    """It reads and changes the session itself, too."""

    async def handle(request: Request, error: Exception) -> Response:
        request.session["handled"] = request.session["a"] + 1
        return JSONResponse(None, status)

    async def fail(request: Request) -> Response:
        request.session["a"] = 1
        raise LookupError

    client = client_of(store, fail, exception_handlers={LookupError: handle})
    assert client.get("/fail").status_code == status
    assert values(client) == ({"a": 1, "handled": 2} if kept else {})


@pytest.mark.parametrize("debug", [True, False])
def test_an_unhandled_error_keeps_nothing(store: SessionStore, debug: bool) -> None:
    """Starlette's page for it is sent as it is, and no cookie."""

    async def fail(request: Request) -> Response:
        request.session["a"] = 1
        raise LookupError("in the page")

    client = client_of(store, fail, raising=False, debug=debug)
    answer = client.get("/fail")
    assert answer.status_code == 500
    assert ("in the page" in answer.text) == debug
    assert "set-cookie" not in answer.headers
    assert values(client) == {}


def test_the_handler_of_unhandled_errors_sees_the_session_closed(store: SessionStore) -> None:
    """It is around ours: it may look at what was read, and nothing that it changes is kept."""
    seen: list[Any] = []

    async def handle(request: Request, error: Exception) -> Response:
        seen.append(request.session.get("a"))
        return JSONResponse("sorry", 500)

    async def fail(request: Request) -> Response:
        assert request.session["a"] == "1"
        raise LookupError

    client = client_of(store, fail, raising=False, exception_handlers={Exception: handle})
    client.get("/put?a=1")
    assert client.get("/fail").json() == "sorry"
    assert seen == ["1"]
    assert values(client) == {"a": "1"}


def test_an_outage_is_a_503_where_the_session_is_used(caplog: pytest.LogCaptureFixture) -> None:
    """A page that does not use it is served, and after the outage everybody is still there."""
    recorded = Recorded()

    async def health(request: Request) -> Response:
        return JSONResponse("well")

    client = client_of(recorded.store, health)
    client.get("/put?a=1")
    recorded.down = True
    answer = client.get("/show")
    assert (answer.status_code, answer.headers.get("set-cookie")) == (503, None)
    assert client.get("/health").json() == "well"
    recorded.down = False
    assert values(client) == {"a": "1"}
    assert "could not be read or committed" in caplog.text


def test_an_outage_while_reading_reaches_the_exception_handler() -> None:
    """One for StoreUnavailable answers as it likes."""

    async def sorry(request: Request, error: Exception) -> Response:
        return JSONResponse("sorry", 503, {"retry-after": "5"})

    recorded = Recorded()
    client = client_of(recorded.store, exception_handlers={StoreUnavailable: sorry})
    client.get("/put?a=1")
    recorded.down = True
    answer = client.get("/show")
    assert (answer.status_code, answer.json()) == (503, "sorry")
    assert answer.headers["retry-after"] == "5"


def test_an_outage_while_committing_is_a_503(caplog: pytest.LogCaptureFixture) -> None:
    """The page's own response is not sent, for it would say what did not happen."""
    recorded = Recorded()

    async def lose(request: Request) -> Response:
        request.session["a"] = 1
        recorded.down = True
        return JSONResponse("done")

    client = client_of(recorded.store, lose)
    answer = client.get("/lose")
    assert (answer.status_code, "done" in answer.text) == (503, False)
    recorded.down = False
    assert values(client) == {}


def test_a_session_too_large_for_its_cookie_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    """With a plain page, and nothing is kept."""

    async def fill(request: Request) -> Response:
        request.session["a"] = "a" * 5000
        return JSONResponse("done")

    client = client_of(CookieStore(), fill)
    assert client.get("/fill").status_code == 500
    assert values(client) == {}
