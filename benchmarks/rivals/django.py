"""Django with its sessions in signed cookies, in files, in its cache and in its database.

A session is signed with HMAC-SHA-256 and compressed where that makes it shorter, except in the
cache, where it is a pickle. It is replaced as a whole: of two requests at the same time one loses
its changes. A login is ``cycle_key()``, as in Django's own ``login()``. The only middleware is the
one for sessions; without sessions there is none.
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

from ..sites import BARE, LIFETIME, Site
from ..worker import PATHS, SAMPLE, SECRET, Client, Verbs, respond, wsgi_client


def cookies_and_files(directory: Path) -> tuple[Site, Site]:
    """Return both sites. Django takes its settings once in a process."""
    files = directory / "django"
    files.mkdir()
    _set_up(SESSION_FILE_PATH=str(files))
    bare = _client()
    return (
        Site("Django (signed cookies)", _client("signed_cookies"), bare),
        Site("Django (files)", _client("file"), bare, forgets=True),
    )


def on_redis(url: str) -> Site:
    """Return the site with sessions in Django's cache on Redis, on redis-py."""
    backend = "django.core.cache.backends.redis.RedisCache"
    _set_up(CACHES={"default": {"BACKEND": backend, "LOCATION": url}})
    return Site("Django (cache on Redis)", _client("cache"), _client(), forgets=True)


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
    _set_up(DATABASES={"default": database}, INSTALLED_APPS=["django.contrib.sessions"])
    call_command("migrate", verbosity=0)
    try:
        yield Site("Django (db)", _client("db"), _client(), forgets=True)
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


def _client(engine: str = "") -> Client:
    """Return a client of a handler, which reads these settings when it is made."""
    middleware = ["django.contrib.sessions.middleware.SessionMiddleware"] if engine else []
    with override_settings(
        MIDDLEWARE=middleware, SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}"
    ):
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
