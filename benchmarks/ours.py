"""Our arms: the site with this package's sessions, everything as it comes but two things.

The store is given, and nothing is collected: Flask, Beaker and a bare database collect
nothing either. The lottery would add some ten microseconds to each write here, which is
one in fifty of them waking the janitor's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from glimr_session import Json, SessionConfig, SessionMiddleware, SessionStore, generate_id
from glimr_session.wsgi import ENVIRON_KEY

from .site import site

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["SECRET", "cookie_for", "glimr_site"]

SECRET: Final = "a key that signs nothing but benchmarks"

_CONFIG: Final = SessionConfig(secret_keys=[SECRET], gc="never")


def glimr_site(store: SessionStore) -> WSGIApplication:
    """Make the site with sessions."""
    return SessionMiddleware(site(itemgetter(ENVIRON_KEY)), _CONFIG, store=store)


def cookie_for(store: SessionStore, data: Mapping[str, Json]) -> str:
    """Keep a session in a store; give the cookie that the browser would send."""
    session_id = generate_id()
    store.save(session_id, dict(data), {})
    wire = store.cookie_value(session_id, dict(data), {})
    return _CONFIG.make_cookie(store).set(wire, secure=True).partition(";")[0]
