"""Beaker: a WSGI middleware as ours is, for any application.

It signs with HMAC-SHA-1, and its serializer is pickle, which is faster than its JSON,
but lets whoever learns the key run code. It tells an untouched session from a used one,
and saves whatever was used, changed or not: its idle timeout is a time among the data.
``session.auto`` spares the application the call of ``save()``, and costs nothing else.

In cookies, a session that was used is signed when it is loaded and again when it is saved.
There is no id that could change: ``regenerate_id()`` fails there.

On the server there is one file for each session, and one to lock it by. A file is replaced
as a whole, by a rename. The lock is taken to read and again to write, and not held between
them, so that of two requests at the same time one loses its changes. After
``regenerate_id()`` the old file stays, and the old cookie opens it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter, methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import beaker.middleware

from ..asking import wsgi
from ..ours import SECRET
from ..pages import Page, Verbs, pages_with
from ..site import BARE_PAGES, LIFETIME, Rival, ask_bare, site

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["in_cookies", "on_server"]

_SETTINGS: Final = {
    "session.timeout": LIFETIME,
    "session.auto": True,
    "session.httponly": True,
    "session.secure": True,
}


@contextmanager
def in_cookies() -> Iterator[list[Rival]]:
    """Give Beaker's cookies."""
    settings = {"session.type": "cookie", "session.validate_key": SECRET}
    yield [_rival("Beaker (cookie)", _site(BARE_PAGES, settings))]


@contextmanager
def on_server(directory: Path) -> Iterator[list[Rival]]:
    """Give Beaker's files."""
    settings = {
        "session.type": "file",
        "session.data_dir": str(directory / "beaker"),
        "session.secret": SECRET,
    }
    pages = pages_with(Verbs(regenerate=methodcaller("regenerate_id")))
    yield [_rival("Beaker (file)", _site(pages, settings))]


def _rival(name: str, application: WSGIApplication) -> Rival:
    return Rival(name=name, ask=wsgi(application), ask_bare=ask_bare(), forgets=False)


def _site(pages: dict[str, Page], settings: dict[str, Any]) -> WSGIApplication:
    application: WSGIApplication = beaker.middleware.SessionMiddleware(
        site(itemgetter("beaker.session"), pages), {**_SETTINGS, **settings}
    )
    return application
