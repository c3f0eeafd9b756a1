"""Pyramid with its own sessions, and with ours.

Pyramid signs JSON in base64 with HMAC-SHA-512. As is its default, each request that uses the
session is sent a new cookie. There is no session id, so a login is a write like any other.
"""

from collections.abc import Callable
from functools import cache
from operator import attrgetter, methodcaller
from typing import Any, Final

from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.response import Response
from pyramid.session import SignedCookieSessionFactory

from ..results import OURS
from ..sites import BARE, LIFETIME, Site
from ..worker import PATHS, SAMPLE, SECRET, Client, Verbs, respond, wsgi_client

_SHARED: Final = dict(SAMPLE)


def glimr() -> Site:
    """Return the site with glimr_session in the cookie."""
    settings = {
        "glimr_session.store": "cookie",
        "glimr_session.secret_keys": [SECRET],
        "glimr_session.gc": "never",
    }
    config = Configurator(settings=settings)
    config.include("glimr_session.pyramid")
    client = _client(config, attrgetter("session"), Verbs(methodcaller("regenerate")))
    return Site(OURS, client, _bare_client())


def cookies() -> Site:
    """Return the site with Pyramid's own sessions."""
    factory = SignedCookieSessionFactory(SECRET, secure=True, httponly=True, timeout=LIFETIME)
    client = _client(Configurator(session_factory=factory), attrgetter("session"), BARE)
    return Site("Pyramid", client, _bare_client())


@cache
def _bare_client() -> Client:
    return _client(Configurator(), lambda _request: _SHARED, BARE)


def _client(config: Configurator, find: Callable[[Request], Any], verbs: Verbs) -> Client:
    """Add all pages, and return a client."""
    for path in PATHS:
        config.add_route(path, path)
        config.add_view(_view(path, find, verbs), route_name=path)
    return wsgi_client(config.make_wsgi_app())


def _view(path: str, find: Callable[[Request], Any], verbs: Verbs) -> Callable[[Request], Response]:
    uses_it = path != "/ignore"  # Pyramid makes the session when it is first asked for

    def view(request: Request) -> Response:
        body = respond(path, find(request) if uses_it else None, verbs)
        return Response(body.encode(), content_type="text/plain")

    return view
