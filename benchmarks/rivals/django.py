"""Django with its sessions in signed cookies, in files, in its cache and database, and with ours.

A session is signed with HMAC-SHA-256 and compressed where that makes it shorter, except in the
cache, where it is a pickle. It is replaced as a whole: of two requests at the same time one loses
its changes. A login is ``cycle_key()``, as in Django's own ``login()``. The only middleware is the
one for sessions; without sessions there is none.

On SQLite a transaction takes its lock at once (``transaction_mode``) and the connection stays open
between requests (``CONN_MAX_AGE``), as Django's documentation advises. Beyond that it has the log
and the syncs of our disk store (WAL, NORMAL): with SQLite's defaults each commit would wait for the
disk.
In front of the database ``cached_db`` has the cache that Django has by default, in the memory of
this process, with room for all sessions. The documentation advises Memcached or Redis there, since
other processes do not see such a cache.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test.utils import override_settings
from django.urls import path as route

from ..results import OURS
from ..sites import BARE, LIFETIME, Site
from ..worker import PATHS, SAMPLE, SECRET, VISITORS, Client, Verbs, respond, wsgi_client

_SESSIONS: Final = "django.contrib.sessions"


@contextmanager
def everywhere(directory: Path) -> Iterator[list[Site]]:
    """Yield the sites with our engine, then those with each of Django's own."""
    files = directory / "django"
    files.mkdir()
    database = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": directory / "django.db",
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL",
        },
    }
    cache = {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 100 * VISITORS},
    }
    _set_up(
        DATABASES={"default": database},
        CACHES={"default": cache},
        INSTALLED_APPS=[_SESSIONS],
        SESSION_FILE_PATH=str(files),
        GLIMR_SESSION={"disk_directory": str(directory / "ours"), "gc": "never"},
    )
    call_command("migrate", verbosity=0)
    bare, ours = _client(), "glimr_session.django"
    try:
        yield [
            Site(OURS, _client(ours), bare, forgets=True),
            Site(f"{OURS}, its middleware", _client(ours, ours), bare, forgets=True),
            Site("Django (signed cookies)", _client(_backend("signed_cookies")), bare),
            Site("Django (files)", _client(_backend("file")), bare, forgets=True),
            Site("Django (db)", _client(_backend("db")), bare, forgets=True),
            Site("Django (cached_db)", _client(_backend("cached_db")), bare, forgets=True),
        ]
    finally:
        connections.close_all()


def cookies_and_files(directory: Path) -> tuple[Site, Site]:
    """Return both sites. Django takes its settings once in a process."""
    files = directory / "django"
    files.mkdir()
    _set_up(SESSION_FILE_PATH=str(files))
    bare = _client()
    return (
        Site("Django (signed cookies)", _client(_backend("signed_cookies")), bare),
        Site("Django (files)", _client(_backend("file")), bare, forgets=True),
    )


def on_redis(url: str) -> Site:
    """Return the site with sessions in Django's cache on Redis, on redis-py."""
    backend = "django.core.cache.backends.redis.RedisCache"
    _set_up(CACHES={"default": {"BACKEND": backend, "LOCATION": url}})
    return Site("Django (cache on Redis)", _client(_backend("cache")), _client(), forgets=True)


@contextmanager
def on_postgresql(url: str) -> Iterator[Site]:
    """Return the site with sessions in a table; the connection stays open between requests."""
    parts = urlsplit(url)
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": parts.hostname,
        "PORT": parts.port,
        "USER": parts.username,
        "PASSWORD": parts.password,
        "NAME": parts.path.removeprefix("/"),
        "CONN_MAX_AGE": None,
    }
    _set_up(DATABASES={"default": database}, INSTALLED_APPS=[_SESSIONS])
    call_command("migrate", verbosity=0)
    try:
        yield Site("Django (db)", _client(_backend("db")), _client(), forgets=True)
    finally:
        connections.close_all()


def _set_up(**more: Any) -> None:
    settings.configure(
        SECRET_KEY=SECRET,
        ALLOWED_HOSTS=["example.org"],
        ROOT_URLCONF=tuple(route(path[1:], _view(path)) for path in PATHS),
        USE_I18N=False,
        LOGGING_CONFIG=None,
        SESSION_COOKIE_AGE=LIFETIME,
        SESSION_COOKIE_SECURE=True,
        **more,
    )
    django.setup()


def _backend(name: str) -> str:
    return f"{_SESSIONS}.backends.{name}"


def _client(engine: str = "", middleware: str = f"{_SESSIONS}.middleware") -> Client:
    """Return a client of a handler, which reads these settings when it is made."""
    classes = [f"{middleware}.SessionMiddleware"] if engine else []
    with override_settings(MIDDLEWARE=classes, SESSION_ENGINE=engine):
        handler: Any = WSGIHandler()
    return wsgi_client(handler)


_SHARED: Final = dict(SAMPLE)


def _view(path: str) -> Callable[[HttpRequest], HttpResponse]:
    """Return a view; without a session, the page gets one dict in all requests."""
    verbs = Verbs(lambda session: session.cycle_key())

    def view(request: HttpRequest) -> HttpResponse:
        session = getattr(request, "session", None)
        body = respond(path, _SHARED, BARE) if session is None else respond(path, session, verbs)
        return HttpResponse(body.encode(), content_type="text/plain")

    return view
