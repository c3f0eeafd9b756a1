"""What is kept of a request that fails, and what its error handlers see."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Form, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field

from glimr_session import SessionStore, StoreUnavailable
from glimr_session.fastapi import SessionDep, session_of
from tests.support.wsgi_apps import Recorded

from .sites import ask, make_app


class SignUp(BaseModel):
    email: Annotated[str, Field(pattern="@")]
    password: str


class OutOfStockError(Exception):
    """An error of the application."""


def changing_and_raising(app: FastAPI, error: Exception) -> TestClient:
    """Return a client that has a session, and whose ``/fail`` changes it and raises."""

    @app.get("/begin")
    async def begin(session: SessionDep) -> None:
        session["begun"] = True
        session.flash("notice", "Saved.")

    @app.get("/fail")
    async def fail(session: SessionDep) -> None:
        session["changed"] = session.get_flash("notice")
        raise error

    @app.get("/flash")
    async def flash(session: SessionDep) -> Any:
        return session.get_flash("notice")

    client = TestClient(app, raise_server_exceptions=False)
    ask(client, "/begin")
    return client


def test_an_http_error_below_500_commits(store: SessionStore) -> None:
    """A 403 is an answer like any other: what was changed is kept, and the flash was shown."""
    client = changing_and_raising(make_app(store), HTTPException(403))
    assert client.get("/fail").status_code == 403
    assert ask(client, "/flash") == ""
    assert ask(client) == {"begun": True, "changed": "Saved."}


@pytest.mark.parametrize(
    "error", [HTTPException(503), ZeroDivisionError()], ids=["HTTPException", "unhandled"]
)
def test_an_error_of_500_and_above_keeps_nothing(store: SessionStore, error: Exception) -> None:
    """Neither a change nor a cookie, and the flash is there for the next request."""
    client = changing_and_raising(make_app(store), error)
    answer = client.get("/fail")
    assert answer.status_code >= 500
    assert "set-cookie" not in answer.headers
    assert ask(client, "/flash") == "Saved."
    assert ask(client) == {"begun": True}


def test_an_exception_handler_can_change_it(store: SessionStore) -> None:
    """A handler that answers below 500 commits what it does, and what was done before."""
    app = make_app(store)

    @app.exception_handler(OutOfStockError)
    async def apologize(request: Request, error: OutOfStockError) -> Response:
        session_of(request)["apologized"] = True
        return JSONResponse("sold", 409)

    client = changing_and_raising(app, OutOfStockError())
    assert client.get("/fail").status_code == 409
    assert ask(client) == {"begun": True, "changed": "Saved.", "apologized": True}


def test_the_handler_of_all_errors_can_read_it(store: SessionStore) -> None:
    """A page for unhandled errors shows who is logged in, if the session was used before."""
    app = make_app(store)

    @app.exception_handler(Exception)
    async def show(request: Request, error: Exception) -> Response:
        return JSONResponse(session_of(request)["begun"], 500)

    client = changing_and_raising(app, ZeroDivisionError())
    answer = client.get("/fail")
    assert (answer.status_code, answer.json()) == (500, True)


def test_a_request_that_is_not_valid_does_not_use_it(store: SessionStore) -> None:
    """A 422 comes before the handler: no cookie is set, and the flash stays."""
    app = make_app(store)
    client = changing_and_raising(app, HTTPException(403))

    @app.get("/item/{number}")
    async def item(number: int, session: SessionDep) -> None:
        session.get_flash("notice")

    answer = client.get("/item/one")
    assert answer.status_code == 422
    assert "set-cookie" not in answer.headers
    assert ask(client, "/flash") == "Saved."


def test_a_form_comes_back_with_its_errors(store: SessionStore) -> None:
    """The handler of validation errors leaves them, and what was typed, for one request."""
    app = make_app(store)

    @app.exception_handler(RequestValidationError)
    async def show_again(request: Request, error: RequestValidationError) -> Response:
        session = session_of(request)
        session.flash_errors({mistake["loc"][-1]: mistake["msg"] for mistake in error.errors()})
        session.flash_old(await request.form())
        return RedirectResponse("/form", 303)

    @app.post("/form")
    async def sign_up(form: Annotated[SignUp, Form()]) -> None:
        pass

    @app.get("/form")
    async def show(session: SessionDep) -> Any:
        return [session.error("email"), session.old("email"), session.old("password")]

    client = TestClient(app)
    answer = client.post("/form", data={"email": "ada", "password": "secret"})
    assert answer.json() == ["String should match pattern '@'", "ada", ""]
    assert ask(client, "/form") == ["", "", ""]


def test_an_outage_is_answered_with_a_plain_page() -> None:
    """503 and no cookie, and the session is there when the store is."""
    recorded = Recorded()
    client = changing_and_raising(make_app(recorded.store), HTTPException(403))
    recorded.down = True
    answer = client.get("/session")
    assert answer.status_code == 503
    assert "try again" in answer.text
    assert "set-cookie" not in answer.headers
    recorded.down = False
    assert ask(client) == {"begun": True}


def test_the_application_has_its_own_page_for_an_outage() -> None:
    """Its handler of StoreUnavailable answers where the session cannot be read."""
    recorded = Recorded()
    client = changing_and_raising(with_own_page(recorded), HTTPException(403))
    recorded.down = True
    answer = client.get("/session")
    assert (answer.status_code, answer.json()) == (503, "soon")
    assert "set-cookie" not in answer.headers


def test_an_own_page_is_too_late_for_a_commit() -> None:
    """Where it cannot be committed, Starlette takes the response for begun: the plain page."""
    recorded = Recorded()
    client = changing_and_raising(with_own_page(recorded), HTTPException(403))
    answer = client.get("/put")
    assert answer.status_code == 503
    assert "try again" in answer.text
    assert "set-cookie" not in answer.headers


def with_own_page(recorded: Recorded) -> FastAPI:
    """Return an application with a page for outages, and one that brings an outage about."""
    app = make_app(recorded.store)

    @app.exception_handler(StoreUnavailable)
    async def apologize(request: Request, error: StoreUnavailable) -> Response:
        return JSONResponse("soon", 503)

    @app.get("/put")
    async def put(session: SessionDep) -> None:
        session["n"] = 1
        recorded.down = True

    return app
