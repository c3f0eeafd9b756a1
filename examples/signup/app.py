"""A sign-up site: a form that comes back as it was sent, a welcome, a logout.

A plain WSGI application (PEP 3333) and the session around it. There is no database: who
signs up is kept in the session alone, and forgotten with it.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple, TypeAlias
from urllib.parse import parse_qsl
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from glimr_session import Session, SessionConfig, SessionMiddleware
from glimr_session.forms import flash_errors, flash_old

HERE = Path(__file__).parent
EMAIL = re.compile(r"[^@\s]+@[^@\s]+")  # only a mail to it can tell whether it is somebody's
LEAST_PASSWORD = 12  # characters
LARGEST_FORM = 1_000  # bytes: what was typed has to fit into a cookie


class Response(NamedTuple):
    """What a handler returns."""

    status: HTTPStatus
    headers: list[tuple[str, str]]
    body: bytes = b""


Form: TypeAlias = dict[str, str]
Handler: TypeAlias = Callable[[Session, Form], Response]


def make_app(config: SessionConfig) -> WSGIApplication:
    """Return the site with the session around it."""
    return SessionMiddleware(site, config)


def site(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Serve one request."""
    status, headers, body = answer(environ)
    headers = [*headers, ("Content-Length", str(len(body)))]
    start_response(f"{status.value} {status.phrase}", headers)
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


def answer(environ: WSGIEnvironment) -> Response:
    """Find the handler of a request and call it."""
    session: Session = environ["glimr.session"]
    method = environ["REQUEST_METHOD"].replace("HEAD", "GET")
    handler = ROUTES.get((method, environ.get("PATH_INFO") or "/"))
    if handler is None:
        return problem(HTTPStatus.NOT_FOUND, "There is no such page here.")
    if method == "GET":
        return handler(session, {})
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > LARGEST_FORM:
        return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "This is too much for a form.")
    body = environ["wsgi.input"].read(length).decode("utf-8", "replace")
    form = dict(parse_qsl(body, keep_blank_values=True))
    expected, sent = str(session.get("csrf_token", "")), form.get("csrf_token", "")
    if not expected or not hmac.compare_digest(expected.encode(), sent.encode()):
        return problem(HTTPStatus.FORBIDDEN, "This form has expired. Please open it again.")
    return handler(session, form)


def home(session: Session, _form: Form) -> Response:
    return page("home.html", session=session)


def show_form(session: Session, _form: Form) -> Response:
    return redirect("/") if "user" in session else page("signup.html", session=session)


def sign_up(session: Session, form: Form) -> Response:
    typed = {field: form.get(field, "") for field in ("name", "email", "password")}
    if errors := mistakes(typed):
        flash_errors(session, errors)
        flash_old(session, typed)  # not the password, which is never sent back
        return redirect("/signup")  # so that a reload does not send the form again
    session.regenerate()  # an id that somebody else knew is worth nothing from here on
    session.forget("csrf_token")  # and so is a token
    session["user"] = {"name": typed["name"], "email": typed["email"]}
    session.flash("message", f"Welcome, {typed['name']}!")
    return redirect("/")


def log_out(session: Session, _form: Form) -> Response:
    session.invalidate()
    session.flash("message", "You are signed out.")
    return redirect("/")


def mistakes(typed: Form) -> dict[str, str]:
    """Return the fields that cannot stay as they are, each with what to do about it."""
    errors = {}
    if not typed["name"].strip():
        errors["name"] = "Tell us what to call you."
    if not EMAIL.fullmatch(typed["email"]):
        errors["email"] = "Write an e-mail address, as in ada@example.org."
    if len(typed["password"]) < LEAST_PASSWORD:
        errors["password"] = f"Use at least {LEAST_PASSWORD} characters."
    return errors


def csrf_token(session: Session) -> str:
    """Return the session's token: another site cannot read it, and so cannot send our forms."""
    return str(session.setdefault("csrf_token", secrets.token_urlsafe()))


def static(name: str, kind: str) -> Handler:
    """Serve a file. The session is never touched: no cookie is set, no flash is eaten."""
    body = (HERE / "static" / name).read_bytes()
    return lambda _session, _form: Response(HTTPStatus.OK, [("Content-Type", kind)], body)


def redirect(path: str) -> Response:
    return Response(HTTPStatus.SEE_OTHER, [("Location", path)])


def problem(status: HTTPStatus, text: str) -> Response:
    return page("problem.html", status, title=status.phrase, text=text)


def page(template: str, status: HTTPStatus = HTTPStatus.OK, **values: object) -> Response:
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", "no-store"),  # after a logout, the Back button shows nothing
        (
            "Content-Security-Policy",
            "default-src 'self'; form-action 'self'; frame-ancestors 'none'",
        ),
    ]
    return Response(status, headers, templates.get_template(template).render(values).encode())


templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
templates.globals.update(csrf_token=csrf_token, least_password=LEAST_PASSWORD)

ROUTES: dict[tuple[str, str], Handler] = {
    ("GET", "/"): home,
    ("GET", "/signup"): show_form,
    ("POST", "/signup"): sign_up,
    ("POST", "/logout"): log_out,
    ("GET", "/style.css"): static("style.css", "text/css; charset=utf-8"),
    ("GET", "/icon.svg"): static("icon.svg", "image/svg+xml"),
}
