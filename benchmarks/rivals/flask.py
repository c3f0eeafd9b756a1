"""Flask with its own sessions in a signed cookie, and with Flask-Session's in files.

Flask signs with HMAC-SHA-1 and compresses where that makes the cookie shorter. The cookie is
verified and decoded in every request, whether the session is used or not. There is no session
id, so a login is a write like any other.

Flask-Session has one pickle for each session, which is read in every request and replaced as a
whole: of two requests at the same time one loses its changes. As is its default, it writes in
every request too. The cache has no threshold, or it would throw most of the sessions away. Its
backend for cachelib is used; the one for the file system is deprecated and does the same.
"""

from collections.abc import MutableMapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import flask
import flask_session
from cachelib import FileSystemCache

from ..sites import BARE, LIFETIME, Site
from ..worker import PATHS, SAMPLE, SECRET, Client, Verbs, respond, wsgi_client


def cookies() -> Site:
    """Return the site with Flask's own sessions."""
    application = _application()
    application.secret_key = SECRET
    return Site("Flask", _client(application, flask.session, BARE), _bare_client())


def files(directory: Path) -> Site:
    """Return the site with Flask-Session."""
    application = _application()
    application.config.update(
        SESSION_TYPE="cachelib",
        SESSION_CACHELIB=FileSystemCache(str(directory / "flask_session"), threshold=0),
    )
    flask_session.Session(application)
    interface: Any = application.session_interface
    client = _client(application, flask.session, Verbs(interface.regenerate))
    return Site("Flask-Session (files)", client, _bare_client(), forgets=True)


@cache
def _bare_client() -> Client:
    return _client(_application(), dict(SAMPLE), BARE)


def _application() -> flask.Flask:
    application = flask.Flask("benchmarks", static_folder=None)
    application.config.update(
        PERMANENT_SESSION_LIFETIME=timedelta(seconds=LIFETIME),
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_SAMESITE="Lax",
    )
    return application


def _client(application: flask.Flask, session: MutableMapping[str, Any], verbs: Verbs) -> Client:
    """Add all pages, and return a client."""

    def view(path: str) -> str:
        return respond(path, session, verbs)

    for path in PATHS:
        application.add_url_rule(path, path, view, defaults={"path": path})
    return wsgi_client(application)
