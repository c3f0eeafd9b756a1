"""Django's sessions: in signed cookies, in files, in its database, and in a cache before it.

A session is signed with HMAC-SHA-256 wherever it is, and compressed where that makes it
shorter; the serializer is JSON. It is loaded when it is used and saved if it was changed,
and lasts for so long since the last change. An id in a cookie is not signed. A login is
``cycle_key()``, as in Django's own ``login()``: it saves an empty session under a new id
and removes the old one, and in the end the session is saved again.

Files: one for each session, replaced as a whole, by a rename. Database: SQLite with a
write-ahead log and synchronous NORMAL, as ours, mapped into memory, which ours is not; and
a connection that stays open, where Django's default opens one in each request. Cached:
the same behind LocMemCache, which has room for all here, and in which a process does not
see what another one wrote. Of two requests at the same time one loses its changes, in any.

There is no middleware but the one for sessions; and without sessions, none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test.utils import override_settings
from django.urls import path as route

from ..asking import Ask, wsgi
from ..ours import SECRET
from ..pages import Page, Verbs, pages_with
from ..sample import SAMPLE
from ..site import BARE_PAGES, LIFETIME, VISITORS, Rival

__all__ = ["in_cookies", "on_server"]

_PRAGMAS: Final = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    PRAGMA cache_size = 8192;
    PRAGMA mmap_size = 67108864;
"""


@contextmanager
def in_cookies() -> Iterator[list[Rival]]:
    """Give its signed cookies."""
    _configure()
    name = "Django (signed cookies)"
    yield [_rival(name, "signed_cookies", _ask(), forgets=False)]


@contextmanager
def on_server(directory: Path) -> Iterator[list[Rival]]:
    """Give its files, its database, and that with a cache before it."""
    _configure()
    files = directory / "django"
    files.mkdir()
    connection.settings_dict["NAME"] = str(directory / "django.db")
    with override_settings(SESSION_FILE_PATH=str(files)):
        try:
            _begin_database()
            bare = _ask()
            yield [
                _rival("Django (files)", "file", bare),
                _rival("Django (db, WAL)", "db", bare),
                _rival("Django (cached_db)", "cached_db", bare),
            ]
        finally:
            connection.close()
            _forget_path()


def _configure() -> None:
    """Give this process its settings. Django takes them once."""
    if settings.configured:
        return
    settings.configure(
        SECRET_KEY=SECRET,
        ALLOWED_HOSTS=["example.org"],
        ROOT_URLCONF=tuple(route(path[1:], _view(path)) for path in BARE_PAGES),
        INSTALLED_APPS=["django.contrib.sessions"],
        USE_I18N=False,
        LOGGING_CONFIG=None,
        SESSION_COOKIE_AGE=LIFETIME,
        SESSION_COOKIE_SECURE=True,
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": ":memory:",
                "CONN_MAX_AGE": None,  # for ever
                "OPTIONS": {"init_command": _PRAGMAS, "transaction_mode": "IMMEDIATE"},
            }
        },
        CACHES={
            "default": {
                "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
                # With the default of 300, a third is thrown away over and over.
                "OPTIONS": {"MAX_ENTRIES": 10 * VISITORS},
            }
        },
    )
    django.setup()


_SHARED: Final = dict(SAMPLE)


def _regenerate(session: Any) -> None:
    session.cycle_key()


_PAGES: Final[Mapping[str, Page]] = pages_with(Verbs(_regenerate))


def _view(path: str) -> Callable[[HttpRequest], HttpResponse]:
    """Make a view; without a session, the page gets one dict, for all requests."""
    page, bare_page = _PAGES[path], BARE_PAGES[path]

    def view(request: HttpRequest) -> HttpResponse:
        session = getattr(request, "session", None)
        body = bare_page(_SHARED) if session is None else page(session)
        return HttpResponse(body.encode(), content_type="text/plain; charset=utf-8")

    return view


def _rival(name: str, engine: str, bare: Ask, *, forgets: bool = True) -> Rival:
    middleware = "django.contrib.sessions.middleware.SessionMiddleware"
    ask = _ask([middleware], f"django.contrib.sessions.backends.{engine}")
    return Rival(name=name, ask=ask, ask_bare=bare, forgets=forgets)


def _ask(middleware: list[str] | None = None, engine: str = "") -> Ask:
    """Make a handler: it reads these settings when it is made, and not again."""
    with override_settings(MIDDLEWARE=middleware or [], SESSION_ENGINE=engine):
        handler: Any = WSGIHandler()
    return wsgi(handler)


def _begin_database() -> None:
    from django.contrib.sessions.models import Session  # there are models once it is set up

    with connection.schema_editor() as editor:
        editor.create_model(Session)


def _forget_path() -> None:
    """Let the next use have a directory of its own: the class keeps the first it is told."""
    from django.contrib.sessions.backends.file import SessionStore

    if hasattr(SessionStore, "_storage_path"):
        del SessionStore._storage_path
