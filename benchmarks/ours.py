"""Our arms: the site with this package's sessions, everything as it comes but two things.

The store is given, and nothing is collected: a bare database collects nothing either, nor
does anybody whom we are measured against. The lottery would add some ten microseconds to
each write here, which is one in fifty of them waking the janitor's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from glimr_session import (
    Json,
    Session,
    SessionConfig,
    SessionMiddleware,
    SessionStore,
    flash_errors,
    flash_old,
    generate_id,
)
from glimr_session.wsgi import ENVIRON_KEY

from .asking import wsgi
from .pages import Field, Verbs, pages_with
from .site import Rival, ask_bare, site

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["SECRET", "cookie_for", "glimr_site", "ours"]

SECRET: Final = "a key that signs nothing but benchmarks"

_CONFIG: Final = SessionConfig(secret_keys=[SECRET], gc="never")


def _leave(session: Session, errors: Mapping[str, str], old: Mapping[str, str]) -> None:
    flash_errors(session, errors)
    flash_old(session, old)


def _shown(session: Session) -> Field:
    return lambda field: (str(session.old(field)), str(session.error(field)))


_PAGES: Final = pages_with(Verbs(Session.regenerate, _leave, _shown))


def glimr_site(store: SessionStore) -> WSGIApplication:
    """Make the site with sessions."""
    return SessionMiddleware(site(itemgetter(ENVIRON_KEY), _PAGES), _CONFIG, store=store)


def ours(store: SessionStore) -> Rival:
    """Give the site with sessions, and without."""
    return Rival(
        name="glimr_session",
        ask=wsgi(glimr_site(store)),
        ask_bare=ask_bare(),
        forgets=store.server_side,
    )


def cookie_for(store: SessionStore, data: Mapping[str, Json]) -> str:
    """Keep a session in a store; give the cookie that the browser would send."""
    session_id = generate_id()
    store.save(session_id, dict(data), {})
    wire = store.cookie_value(session_id, dict(data), {})
    return _CONFIG.make_cookie(store).set(wire, secure=True).partition(";")[0]
