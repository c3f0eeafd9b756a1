"""Flask-Session on the file system: sessions for Flask that are kept on the server.

It is its backend for the caches of cachelib; the one that is named after the file system is
deprecated, and does the same. There is one pickle for each session, read in every request,
used or not, and replaced as a whole, by a rename: of two requests at the same time one
loses its changes. The id in the cookie is not signed. ``regenerate`` removes the old file.

As it comes, it writes in every request, too, so that the lifetime counts from the last
one. Without ``SESSION_REFRESH_EACH_REQUEST`` it writes what was changed, and the lifetime
counts from the last change. Both are here. The cache has no threshold, which is how it is
fastest: with one it keeps a count in a file, and the default of 500 entries would throw
most of the sessions away.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flask
import flask_session
from cachelib import FileSystemCache

from ..asking import wsgi
from ..pages import Verbs, pages_with
from ..site import Rival
from .flask import application, ask_bare, serve

__all__ = ["on_server"]


@contextmanager
def on_server(directory: Path) -> Iterator[list[Rival]]:
    """Give it as it comes, and without the refreshing."""
    yield [
        _rival("Flask-Session (files)", directory / "flask_session"),
        _rival("Flask-Session (files, no refresh)", directory / "no_refresh", refresh=False),
    ]


def _rival(name: str, directory: Path, *, refresh: bool = True) -> Rival:
    made = application()
    made.config.update(
        SESSION_TYPE="cachelib",
        SESSION_CACHELIB=FileSystemCache(str(directory), threshold=0),
        SESSION_REFRESH_EACH_REQUEST=refresh,
    )
    flask_session.Session(made)
    interface: Any = made.session_interface
    serve(made, pages_with(Verbs(regenerate=interface.regenerate)), flask.session)
    return Rival(name=name, ask=wsgi(made), ask_bare=ask_bare(), forgets=True)
