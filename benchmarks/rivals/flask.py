"""Flask with its own sessions in a signed cookie, with Flask-Session's elsewhere, and with ours.

Flask signs with HMAC-SHA-1 and compresses where that makes the cookie shorter. The cookie is
verified and decoded in every request, whether the session is used or not. There is no session
id, so a login is a write like any other.

Flask-Session has one value for each session, which is read in every request and replaced as a
whole: of two requests at the same time one loses its changes. As is its default, it writes in
every request too. It is MessagePack on Redis and PostgreSQL, and a pickle in a file. The cache of
files has no threshold, or it would throw most of the sessions away. Its backend for
cachelib is used; the one for the file system is deprecated and does the same.

Ours take Flask's own settings, as those of everybody else here: the cookie ends with the browser.
"""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from operator import methodcaller
from pathlib import Path
from typing import Any

import flask
import flask_session
import redis
from cachelib import FileSystemCache
from flask_sqlalchemy import SQLAlchemy

from glimr_session import SessionStore
from glimr_session.flask import GlimrSession

from ..results import OURS
from ..sites import BARE, LIFETIME, Site
from ..worker import PATHS, SAMPLE, SECRET, Client, Verbs, respond, wsgi_client


def glimr(store: SessionStore) -> Site:
    """Return the site with glimr_session in place of Flask's own sessions."""
    application = _application()
    application.config.update(SECRET_KEY=SECRET, GLIMR_SESSION={"gc": "never"})
    GlimrSession(application, store=store)
    client = _client(application, flask.session, Verbs(methodcaller("regenerate")))
    return Site(OURS, client, _bare_client(), forgets=store.server_side)


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
    return _extended("Flask-Session (files)", application)


def on_redis(url: str) -> Site:
    """Return the site with Flask-Session on Redis, on redis-py."""
    application = _application()
    application.config.update(SESSION_TYPE="redis", SESSION_REDIS=redis.Redis.from_url(url))
    return _extended("Flask-Session (Redis)", application)


@contextmanager
def on_postgresql(url: str) -> Iterator[Site]:
    """Return the site with Flask-Session in a table, on Flask-SQLAlchemy and psycopg."""
    application = _application()
    application.config["SQLALCHEMY_DATABASE_URI"] = url.replace("://", "+psycopg://", 1)
    database = SQLAlchemy(application)
    application.config.update(SESSION_TYPE="sqlalchemy", SESSION_SQLALCHEMY=database)
    site = _extended("Flask-Session (SQLAlchemy)", application)
    with application.app_context():
        engine = database.engine
    try:
        yield site
    finally:
        engine.dispose()


def _extended(name: str, application: flask.Flask) -> Site:
    """Return the site with the Flask-Session that an application's settings describe."""
    flask_session.Session(application)
    interface: Any = application.session_interface
    client = _client(application, flask.session, Verbs(interface.regenerate))
    return Site(name, client, _bare_client(), forgets=True)


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
