"""Flask's own sessions, in a signed cookie: what most of its applications have.

It signs with HMAC-SHA-1, compresses where that makes it shorter, and its serializer knows
some types that are not JSON. A cookie has the time it was signed at, and lasts for so long
since the last change. It is verified and decoded in every request, used or not. A view has
the session by a proxy that looks for the current request. There is no id, so a login is a
write like any other.

Without sessions it is Flask without a secret key, its own way to have none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any

import flask

from ..asking import Ask, wsgi
from ..ours import SECRET
from ..pages import Page
from ..sample import SAMPLE
from ..site import BARE_PAGES, LIFETIME, Rival

__all__ = ["application", "ask_bare", "in_cookies", "serve"]


@contextmanager
def in_cookies() -> Iterator[list[Rival]]:
    """Give Flask's own."""
    made = application()
    made.secret_key = SECRET
    serve(made, BARE_PAGES, flask.session)
    yield [Rival(name="Flask", ask=wsgi(made), ask_bare=ask_bare(), forgets=False)]


def application() -> flask.Flask:
    """Make an application without pages, and with settings like ours."""
    made = flask.Flask("benchmarks", static_folder=None)
    made.config.update(
        PERMANENT_SESSION_LIFETIME=timedelta(seconds=LIFETIME),
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_SAMESITE="Lax",
    )
    return made


@cache
def ask_bare() -> Ask:
    """Ask the site without sessions: its pages get one dict, for all requests."""
    made = application()
    serve(made, BARE_PAGES, dict(SAMPLE))
    return wsgi(made)


def serve(made: flask.Flask, pages: Mapping[str, Page], session: MutableMapping[str, Any]) -> None:
    """Give an application its pages."""

    def view(page: Page) -> str:
        return page(session)

    for path, page in pages.items():
        made.add_url_rule(path, path, view, defaults={"page": page})
