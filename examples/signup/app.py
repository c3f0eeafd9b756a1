"""A sign-up site: a form that comes back as it was sent, a list of devices, a logout.

A plain WSGI application (PEP 3333) and the session around it. There is no database: who
signs up is kept in the session alone, and forgotten with it; so are passwords with the process.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
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

# What a User-Agent has in it, by the name that its user knows; the first that is there counts.
BROWSERS = {"Edg/": "Edge", "Firefox/": "Firefox", "Chrome/": "Chrome", "Safari/": "Safari"}
SYSTEMS = {
    "Android": "Android", "iPhone": "iPhone", "iPad": "iPad", "Windows": "Windows",
    "Mac OS": "Mac", "Linux": "Linux",
}  # fmt: skip

passwords: dict[str, bytes] = {}  # salted and hashed, by e-mail address


Form: TypeAlias = dict[str, str]


class Request(NamedTuple):
    """What a handler is given."""

    session: Session
    form: Form
    environ: WSGIEnvironment


class Response(NamedTuple):
    """What a handler returns."""

    status: HTTPStatus
    headers: list[tuple[str, str]]
    body: bytes = b""


Handler: TypeAlias = Callable[[Request], Response]


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
        return handler(Request(session, {}, environ))
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > LARGEST_FORM:
        return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "This is too much for a form.")
    body = environ["wsgi.input"].read(length).decode("utf-8", "replace")
    form = dict(parse_qsl(body, keep_blank_values=True))
    expected, sent = str(session.get("csrf_token", "")), form.get("csrf_token", "")
    if not expected or not hmac.compare_digest(expected.encode(), sent.encode()):
        return problem(HTTPStatus.FORBIDDEN, "This form has expired. Please open it again.")
    return handler(Request(session, form, environ))


def home(request: Request) -> Response:
    return page("home.html", session=request.session)


def show_form(request: Request) -> Response:
    if "user" in request.session:
        return redirect("/")
    return page("signup.html", session=request.session)


def sign_up(request: Request) -> Response:
    session, form, environ = request
    typed = {field: form.get(field, "") for field in ("name", "email", "password")}
    if errors := mistakes(typed):
        flash_errors(session, errors)
        flash_old(session, typed)  # not the password, which is never sent back
        return redirect("/signup")  # so that a reload does not send the form again
    passwords[typed["email"]] = hashed(typed["password"])
    session.regenerate()  # an id that somebody else knew is worth nothing from here on
    session.forget("csrf_token")  # and so is a token
    session["user"] = {"name": typed["name"], "email": typed["email"]}
    place = environ.get("REMOTE_ADDR") or "unknown"
    session.belongs_to(typed["email"], device=device(environ), place=place)
    session.flash("message", f"Welcome, {typed['name']}!")
    return redirect("/")


def log_out(request: Request) -> Response:
    request.session.invalidate()
    request.session.flash("message", "You are signed out.")
    return redirect("/")


def show_devices(request: Request) -> Response:
    session, store = request.session, request.session.store
    if "user" not in session:
        return redirect("/signup")
    devices = None  # where the sessions are in cookies, nobody has a list of them
    if store.lists_sessions:
        this_one = store.handle_of(session)
        devices = [
            {
                "handle": "" if info.handle == this_one else info.handle,
                "name": info.noted.get("device", "Unknown device"),
                "place": info.noted.get("place", "unknown"),
                "seen": ago(time.time() - info.last_used_at),
            }
            for info in store.sessions(session["user"]["email"])
        ]
        devices.sort(key=lambda device: bool(device["handle"]))  # this one first
    return page("devices.html", session=session, devices=devices)


def end_device(request: Request) -> Response:
    session, store = request.session, request.session.store
    if "user" in session and store.lists_sessions:
        own = {info.handle for info in store.sessions(session["user"]["email"])}
        if (handle := request.form.get("handle", "")) in own:  # and not somebody else's
            store.destroy(handle)
            session.flash("message", "That device is logged out.")
    return redirect("/devices")


def end_others(request: Request) -> Response:
    session, store = request.session, request.session.store
    if "user" in session and store.ends_owners:
        ended = store.destroy_all(session["user"]["email"], except_=session)
        session.flash("message", f"Logged out everywhere else: {ended}.")
    return redirect("/devices")


def change_password(request: Request) -> Response:
    session, form, _ = request
    if "user" not in session:
        return redirect("/signup")
    email = session["user"]["email"]
    errors = {}
    if not fits(email, form.get("current", "")):
        errors["current"] = "This is not your password."
    if len(form.get("password", "")) < LEAST_PASSWORD:
        errors["password"] = f"Use at least {LEAST_PASSWORD} characters."
    if errors:
        flash_errors(session, errors)
        return redirect("/devices")
    passwords[email] = hashed(form["password"])  # first: nobody logs in with the old one
    session.regenerate()
    session.forget("csrf_token")
    message = "Your password is changed."
    if session.store.ends_owners:
        session.store.destroy_all(email, except_=session)
        message = "Your password is changed, and all other devices are logged out."
    session.flash("message", message)
    return redirect("/devices")


def mistakes(typed: Form) -> dict[str, str]:
    """Return the fields that cannot stay as they are, each with what to do about it."""
    errors = {}
    if not typed["name"].strip():
        errors["name"] = "Tell us what to call you."
    if not EMAIL.fullmatch(typed["email"]):
        errors["email"] = "Write an e-mail address, as in ada@example.org."
    if len(typed["password"]) < LEAST_PASSWORD:
        errors["password"] = f"Use at least {LEAST_PASSWORD} characters."
    elif not fits(typed["email"], typed["password"]):
        errors["password"] = "This address has another password."  # noqa: S105  # a text
    return errors


def hashed(password: str, salt: bytes = b"") -> bytes:
    salt = salt or secrets.token_bytes(16)
    return salt + hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)


def fits(email: str, password: str) -> bool:
    """Whether this is the password of an address, or nobody has the address."""
    known = passwords.get(email, b"")
    return not known or hmac.compare_digest(hashed(password, known[:16]), known)


def device(environ: WSGIEnvironment) -> str:
    """Return what a user calls the device that a request comes from."""
    agent = environ.get("HTTP_USER_AGENT", "")
    browser = next((name for part, name in BROWSERS.items() if part in agent), "Unknown browser")
    system = next((f" on {name}" for part, name in SYSTEMS.items() if part in agent), "")
    return browser + system


def ago(seconds: float) -> str:
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if number := int(seconds // length):
            return f"{number} {unit}{'s' if number > 1 else ''} ago"
    return "just now"


def csrf_token(session: Session) -> str:
    """Return the session's token: another site cannot read it, and so cannot send our forms."""
    return str(session.setdefault("csrf_token", secrets.token_urlsafe()))


def static(name: str, kind: str) -> Handler:
    """Serve a file. The session is never touched: no cookie is set, no flash is eaten."""
    body = (HERE / "static" / name).read_bytes()
    return lambda _request: Response(HTTPStatus.OK, [("Content-Type", kind)], body)


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
    ("GET", "/devices"): show_devices,
    ("POST", "/devices/end"): end_device,
    ("POST", "/devices/end-others"): end_others,
    ("POST", "/password"): change_password,
    ("GET", "/style.css"): static("style.css", "text/css; charset=utf-8"),
    ("GET", "/icon.svg"): static("icon.svg", "image/svg+xml"),
}
