"""A sign-up site with FastAPI: a form that comes back, a counter on a websocket, a streamed page.

There is no database: who signs up is kept in the session alone, and forgotten with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, FastAPI, Form, HTTPException, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as AnyHTTPException

from glimr_session import SessionConfig
from glimr_session.fastapi import AsgiSession, SessionDep, SessionMiddleware, session_of

HERE: Final = Path(__file__).resolve().parent
EXAMPLES: Final = HERE.parent
VAR: Final = EXAMPLES.parent / "var" / "signup_fastapi"
LEAST_PASSWORD: Final = 12  # characters
LARGEST_FORM: Final = 1_000  # bytes: what was typed has to fit into a cookie
MOST_VISITS: Final = 10
PAUSE: Final = 0.2  # seconds between two rows of the dashboard

HEADERS: Final = {
    "Cache-Control": "no-store",  # after a logout, the Back button shows nothing
    "Content-Security-Policy": "default-src 'self'; form-action 'self'; frame-ancestors 'none'",
}
ERRORS: Final = {
    "name": "Tell us what to call you.",
    "email": "Write an e-mail address, as in ada@example.org.",
    "password": f"Use at least {LEAST_PASSWORD} characters.",
}

site = APIRouter()


def create_app() -> FastAPI:
    """Return the site: ``uvicorn --factory asgi:create_app``."""
    store = {"GLIMR_SESSION_STORE": os.environ.get("STORE", "")}  # an empty one is not set
    key = {"GLIMR_SESSION_SECRET_KEYS": secret_key()}
    config = SessionConfig.from_toml(HERE / "session.toml", {**os.environ, **store, **key})
    app = FastAPI(
        title="Sign up",
        exception_handlers={
            RequestValidationError: show_form_again,
            AnyHTTPException: show_problem,  # of Starlette: those of unknown paths too
        },
    )
    app.add_middleware(SessionMiddleware, config=config)
    app.include_router(site)
    app.mount("/static", StaticFiles(directory=EXAMPLES / "signup" / "static"))  # the first demo's
    app.mount("/own", StaticFiles(directory=HERE / "static"))
    return app


class SignUp(BaseModel):
    name: Annotated[str, Field(pattern=r"\S")]
    # Only a mail to it can tell whether it is somebody's.
    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")]
    password: Annotated[str, Field(min_length=LEAST_PASSWORD)]


async def note_visit(request: Request, session: SessionDep) -> None:
    visits = session.setdefault("visits", [])
    visits.append([f"{datetime.now(UTC):%H:%M:%S}", request.url.path])
    del visits[:-MOST_VISITS]


async def check_form(request: Request, session: SessionDep) -> None:
    """Refuse a form that another site has made: it cannot know the session's token."""
    if int(request.headers.get("Content-Length", 0)) > LARGEST_FORM:
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "This is too much for a form.")
    expected = str(session.get("csrf_token", ""))
    sent = str((await request.form()).get("csrf_token", ""))
    if not expected or not hmac.compare_digest(expected.encode(), sent.encode()):
        raise HTTPException(HTTPStatus.FORBIDDEN, "This form has expired. Please open it again.")


async def signed_in(session: SessionDep) -> dict[str, str]:
    """Return the user; somebody who is not signed in is sent to the form."""
    if "user" not in session:
        raise HTTPException(HTTPStatus.SEE_OTHER, headers={"Location": "/signup"})
    user: dict[str, str] = session["user"]
    return user


@site.get("/", dependencies=[Depends(note_visit)])
async def home(request: Request) -> HTMLResponse:
    return page(request, "home.html")


@site.get("/signup", dependencies=[Depends(note_visit)])
async def show_form(request: Request, session: SessionDep) -> Response:
    if "user" in session:
        return redirect("/")
    wrong = [field for field in ERRORS if session.has_error(field)]
    return page(request, "signup.html", wrong=wrong)


@site.post("/signup", dependencies=[Depends(check_form)])
async def sign_up(session: SessionDep, form: Annotated[SignUp, Form()]) -> RedirectResponse:
    session.regenerate()  # an id that somebody else knew is worth nothing from here on
    session.forget("csrf_token")  # and so is a token
    session["user"] = {"name": form.name, "email": form.email}
    session.flash("message", f"Welcome, {form.name}!")
    return redirect("/")


async def show_form_again(request: Request, error: RequestValidationError) -> RedirectResponse:
    session = session_of(request)
    fields = [str(mistake["loc"][-1]) for mistake in error.errors()]
    session.flash_errors({field: ERRORS[field] for field in fields if field in ERRORS})
    session.flash_old(await request.form(), except_=["csrf_token"])  # nor the password
    return redirect("/signup")  # so that a reload does not send the form again


@site.post("/logout", dependencies=[Depends(check_form)])
async def log_out(session: SessionDep) -> RedirectResponse:
    session.invalidate()
    session.flash("message", "You are signed out.")
    return redirect("/")


@site.websocket("/counter")
async def count(websocket: WebSocket, session: SessionDep) -> None:
    origin = urlsplit(websocket.headers.get("Origin", "")).netloc
    if origin != websocket.headers.get("Host"):  # a page of another site has opened it
        await websocket.close()
        return
    await websocket.accept()
    async for _ in websocket.iter_text():
        session.increment("clicks")
        saved = await session.save()  # adds up with what the other tabs have saved
        await websocket.send_text("saved" if saved else "lost")


@site.get("/clicks")
async def clicks(session: SessionDep, response: Response) -> int:
    """Return the sum of all tabs; a websocket knows the session as it was when it began."""
    response.headers.update(HEADERS)
    return int(session.get("clicks", 0))


@site.get("/dashboard", dependencies=[Depends(note_visit)])
async def dashboard(
    request: Request, session: SessionDep, user: Annotated[dict[str, str], Depends(signed_in)]
) -> StreamingResponse:
    template = streamed.get_template("dashboard.html")
    visits = one_by_one(session["visits"])
    body = template.generate_async(request=request, user=user, visits=visits)
    return StreamingResponse(body, media_type="text/html", headers=HEADERS)


async def one_by_one(visits: list[list[str]]) -> AsyncIterator[list[str]]:
    for visit in reversed(visits):
        yield visit
        await asyncio.sleep(PAUSE)  # as a slow source would


async def show_problem(request: Request, error: AnyHTTPException) -> HTMLResponse:
    found = {"title": HTTPStatus(error.status_code).phrase, "text": error.detail}
    response = page(request, "problem.html", error.status_code, **found)
    response.headers.update(error.headers or {})
    return response


def page(request: Request, name: str, status: int = 200, **values: object) -> HTMLResponse:
    return templates.TemplateResponse(request, name, values, status_code=status, headers=HEADERS)


def redirect(path: str) -> RedirectResponse:
    return RedirectResponse(path, HTTPStatus.SEE_OTHER)


def csrf_token(session: AsgiSession) -> str:
    return str(session.setdefault("csrf_token", secrets.token_urlsafe()))


def secret_key() -> str:
    """Return the key that signs the cookies; the first start makes one."""
    if given := os.environ.get("GLIMR_SESSION_SECRET_KEYS"):
        return given
    VAR.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = VAR / "secret_key"
    if not file.exists():
        made = VAR / f"secret_key.{os.getpid()}"
        made.touch(mode=0o600)  # who reads the key can forge cookies
        made.write_text(secrets.token_hex(), "ascii")
        with contextlib.suppress(FileExistsError):  # several workers start at once
            file.hardlink_to(made)
        made.unlink()
    return file.read_text("ascii")


def _session(request: Request) -> dict[str, Any]:
    return {"session": session_of(request)}


templates = Jinja2Templates(
    env=Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ),
    context_processors=[_session],
)
templates.env.globals.update(csrf_token=csrf_token, least_password=LEAST_PASSWORD)
streamed = templates.env.overlay(enable_async=True)
