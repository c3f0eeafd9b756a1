"""A guest book with Bottle: log in, write, log out.

    python examples/bottle_app.py

Sessions end with this process, unless the environment has keys and a store for them:
GLIMR_SESSION_SECRET_KEYS, GLIMR_SESSION_STORE=disk.
"""

from __future__ import annotations

import os
import secrets
import socket
from html import escape
from typing import Any

import waitress
from bottle import Bottle, redirect, request

from glimr_session import Session, SessionConfig, SessionMiddleware, SessionStore

entries: list[str] = []  # of all visitors; they end with this process, too

FORM = '<form method="post" action="/{0}"><button>{0}</button> {1}</form>'
FIELD = '<input name="text" aria-label="{0}">'


def book(action: str = "") -> str:
    """Show the book; a POST writes, logs in or logs out, and leads back to it."""
    session: Session = request.environ["glimr.session"]
    forms: Any = request.forms
    if action == "write":
        entries.append(f"{session.get('name', 'Somebody')}: {forms.getunicode('text', '')}")
        session.flash("notice", f"Entry {session.increment('written')} of yours is in the book.")
    elif action == "login":
        session.regenerate()  # whoever knew the id before knows it no more
        session["name"] = forms.getunicode("text", "")
    elif action == "logout":
        session.invalidate()
    if action:
        redirect("/", 303)  # raises
    greeting = f"Hello, {session.get('name', 'stranger')}! {session.get_flash('notice')}"
    shown = "".join(f"<li>{escape(entry)}</li>" for entry in entries)
    fields = {"write": FIELD.format("Entry"), "login": FIELD.format("Name"), "logout": ""}
    menu = "".join(FORM.format(name, field) for name, field in fields.items())
    return f"<!doctype html><title>Guest book</title>{escape(greeting)}{menu}<ul>{shown}</ul>"


def make_app(store: SessionStore | None = None) -> SessionMiddleware:
    """Return the guest book, with sessions in this store or in the configured one."""
    app = Bottle()
    app.config["catchall"] = False  # errors reach the middleware, which answers an outage with 503
    app.route("/", "GET", book)
    app.route("/<action:re:write|login|logout>", "POST", book)
    defaults = {"store": "cookie", "secret_keys": [secrets.token_hex()]}
    config = SessionConfig.from_mapping(defaults, os.environ)
    return SessionMiddleware(app, config, store=store)


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "8000")))) as listening:
        print(f"Guest book: http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
        waitress.serve(make_app(), sockets=[listening])
