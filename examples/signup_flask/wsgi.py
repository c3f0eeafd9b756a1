"""A sign-up site with Flask and WTForms: a form that comes back as it was sent, a basket, a logout.

There is no database: who signs up is kept in the session alone, and forgotten with it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from flask import Blueprint, Flask, Response, flash, redirect, render_template, request
from flask import url_for as url
from flask_wtf import CSRFProtect, FlaskForm
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse
from wtforms import EmailField, PasswordField, StringField
from wtforms.validators import DataRequired, Length, Regexp

from glimr_session.flask import GlimrSession, session

EXAMPLES = Path(__file__).resolve().parents[1]
VAR = EXAMPLES.parent / "var" / "signup_flask"
LEAST_PASSWORD = 12  # characters

site = Blueprint("site", __name__)


def create_app() -> Flask:
    """Return the site: ``gunicorn "wsgi:create_app()"``."""
    style = EXAMPLES / "signup" / "static"  # that of the first demo
    app = Flask(__name__, static_folder=style, static_url_path="/static")
    app.config.update(SECRET_KEY=secret_key(), MAX_CONTENT_LENGTH=10_000)
    app.config["GLIMR_SESSION"] = {"store": "disk", "disk": {"directory": str(VAR / "sessions")}}
    GlimrSession(app)
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    CSRFProtect(app)
    app.register_blueprint(site)
    app.register_error_handler(HTTPException, show_problem)
    app.after_request(add_headers)
    return app


class SignUp(FlaskForm):
    name = StringField(
        "Name",
        [DataRequired("Tell us what to call you."), Length(max=100)],
        render_kw={"autocomplete": "name"},
    )
    email = EmailField(
        "E-mail",
        # Only a mail to it can tell whether it is somebody's.
        [Regexp(r"[^@\s]+@[^@\s]+$", message="Write an e-mail address, as in ada@example.org.")],
        render_kw={"autocomplete": "email", "required": True},
    )
    password = PasswordField(
        "Password",
        [Length(LEAST_PASSWORD, message="Use at least %(min)d characters.")],
        description=f"At least {LEAST_PASSWORD} characters.",
        render_kw={"autocomplete": "new-password", "required": True},
    )


@site.get("/")
def home() -> str:
    return render_template("home.html")


@site.post("/basket")
def take_ticket() -> BaseResponse:
    session.increment("tickets")  # requests at the same time add up
    return redirect(url(".home"))


@site.get("/signup")
def show_form() -> BaseResponse | str:
    if "user" in session:
        return redirect(url(".home"))
    form = SignUp(name=session.old("name"), email=session.old("email"))
    faulty = next((field for field in form if session.has_error(field.name)), None)
    return render_template("signup.html", form=form, faulty=faulty)


@site.post("/signup")
def sign_up() -> BaseResponse:
    form = SignUp()
    if not form.validate():
        session.flash_errors(form.errors)
        session.flash_old(request.form)  # not the password, which is never sent back
        return redirect(url(".show_form"))  # so that a reload does not send the form again
    session.regenerate()  # an id that somebody else knew is worth nothing from here on
    session.forget("csrf_token")  # and so is a token
    session["user"] = {"name": form.name.data, "email": form.email.data}
    flash(f"Welcome, {form.name.data}!")
    return redirect(url(".home"))


@site.post("/logout")
def log_out() -> BaseResponse:
    session.clear()
    flash("You are signed out.")
    return redirect(url(".home"))


def show_problem(error: HTTPException) -> tuple[str, int]:
    return render_template("problem.html", error=error), error.code or 500


def add_headers(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = (
        "default-src 'self'; form-action 'self'; frame-ancestors 'none'"
    )
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"  # after a logout, Back shows nothing
    return response


def secret_key() -> str:
    """Return the key that signs the cookies; the first start makes one."""
    if given := os.environ.get("SECRET_KEY"):
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
