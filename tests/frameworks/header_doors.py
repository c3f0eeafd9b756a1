"""A site behind every door, with ``transport = "header"``, and a client that asks it."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import bottle
import falcon.asgi
import fastapi
import flask
import httpx
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test.utils import override_settings
from django.urls import re_path
from litestar import Litestar
from litestar import Request as LitestarRequest
from litestar import get as litestar_get
from litestar.middleware import DefineMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient

import glimr_session.asgi
from glimr_session import SessionConfig, SessionMiddleware, SessionStore
from glimr_session.asgi import session_of
from glimr_session.fastapi import SessionToken
from glimr_session.flask import GlimrSession
from tests.frameworks.django import conftest as of_django

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # WebOb imports cgi
    from pyramid.config import Configurator
    from pyramid.response import Response as PyramidResponse

    from glimr_session.pyramid import session_factory

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HEADER: Final = "X-Session-Token"

KEY: Final = "a key for tests that is long enough"

LIFETIME: Final = 1000.0

# A cookie for it would have to be Secure.
SITE: Final = "http://api.example.com"

CONFIG: Final = SessionConfig(
    transport="header", secret_keys=[KEY], gc="never", lifetime=LIFETIME, cookie_secure=True
)

Client: TypeAlias = Any
"""httpx's; that of Starlette's test client is made of it, or of its successor."""

logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs each request


def act(path: str, session: Any) -> str:
    """Do what a path asks for; return the answer."""
    if path == "/count":
        return str(session.increment("n"))
    if path == "/login":
        session.cycle_key() if hasattr(session, "cycle_key") else session.regenerate()
        session["user"] = "ada"
    elif path == "/logout":
        session.flush() if hasattr(session, "cycle_key") else session.invalidate()
    elif path == "/all":
        return json.dumps(dict(session))
    return "done"


# The doors: each serves these paths, and returns a client that asks them.


def over_wsgi(app: WSGIApplication) -> Client:
    return httpx.Client(transport=httpx.WSGITransport(app), base_url=SITE)


def over_asgi(app: Any) -> Client:
    return TestClient(app, base_url=SITE)


def wsgi_site(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    answer = act(environ["PATH_INFO"], environ["glimr.session"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer.encode()]


def bare_wsgi(store: SessionStore) -> Client:
    return over_wsgi(SessionMiddleware(wsgi_site, CONFIG, store=store))


def with_bottle(store: SessionStore) -> Client:
    site = bottle.Bottle()

    def page(path: str) -> str:
        return act(f"/{path}", bottle.request.environ["glimr.session"])

    site.route("/<path>", callback=page)
    return over_wsgi(SessionMiddleware(site, CONFIG, store=store))


def falcon_page(req: Any, resp: Any, **_: Any) -> None:
    resp.text = act(req.path, req.env["glimr.session"])


async def falcon_page_on_a_loop(req: Any, resp: Any, **_: Any) -> None:
    resp.text = "done" if req.path == "/unused" else act(req.path, session_of(req.scope))


def with_falcon(store: SessionStore) -> Client:
    site = falcon.App()
    site.add_sink(falcon_page)
    return over_wsgi(SessionMiddleware(site, CONFIG, store=store))


def with_falcon_on_a_loop(store: SessionStore) -> Client:
    site = falcon.asgi.App()
    site.add_sink(falcon_page_on_a_loop)
    return over_asgi(glimr_session.asgi.SessionMiddleware(site, CONFIG, store=store))


def with_flask(store: SessionStore) -> Client:
    site = flask.Flask(__name__)
    GlimrSession(site, CONFIG, store=store)

    @site.get("/<path>")
    def page(path: str) -> str:
        return act(f"/{path}", flask.session)

    return over_wsgi(site)


def with_pyramid(store: SessionStore) -> Client:
    with Configurator() as config:
        config.include("glimr_session.pyramid")
        config.set_session_factory(session_factory(CONFIG, store=store))
        config.add_route("page", "/{path}")
        config.add_view(
            lambda request: PyramidResponse(act(request.path, request.session)), route_name="page"
        )
    return over_wsgi(config.make_wsgi_app())


async def asgi_site(scope: Any, receive: Any, send: Any) -> None:
    answer = act(scope["path"], session_of(scope)) if scope["path"] != "/unused" else "done"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": answer.encode()})


def bare_asgi(store: SessionStore) -> Client:
    return over_asgi(glimr_session.asgi.SessionMiddleware(asgi_site, CONFIG, store=store))


async def starlette_page(request: Any) -> PlainTextResponse:
    if request.url.path == "/unused":
        return PlainTextResponse("done")
    return PlainTextResponse(act(request.url.path, request.session))


async def starlette_socket(websocket: Any) -> None:
    """Count in the handshake, and answer with what the session holds."""
    count = websocket.session.increment("n")
    await websocket.accept()
    await websocket.send_text(str(count))
    await websocket.close()


def with_starlette(store: SessionStore) -> Client:
    middleware = Middleware(glimr_session.asgi.SessionMiddleware, CONFIG, store=store)
    routes = [WebSocketRoute("/socket", starlette_socket), Route("/{path}", starlette_page)]
    return over_asgi(Starlette(routes=routes, middleware=[middleware]))


def with_fastapi(store: SessionStore) -> Client:
    site = fastapi.FastAPI()
    site.add_middleware(glimr_session.asgi.SessionMiddleware, CONFIG, store=store)
    token = fastapi.Security(SessionToken())

    @site.get("/unused")
    async def unused() -> PlainTextResponse:
        return PlainTextResponse("done")

    @site.get("/{path}")
    async def page(path: str, session: Any = token) -> PlainTextResponse:
        return PlainTextResponse(act(f"/{path}", session))

    return over_asgi(site)


@litestar_get(["/unused", "/all", "/count", "/login", "/logout"], media_type="text/plain")
async def litestar_page(request: LitestarRequest[Any, Any, Any]) -> str:
    path = request.url.path
    return "done" if path == "/unused" else act(path, session_of(request))


def with_litestar(store: SessionStore) -> Client:
    middleware = DefineMiddleware(glimr_session.asgi.SessionMiddleware, config=CONFIG, store=store)
    return over_asgi(
        Litestar([litestar_page], middleware=[middleware], logging_config=None, openapi_config=None)
    )


def django_page(request: Any) -> HttpResponse:
    return HttpResponse(act(request.path, request.session).encode())


urlpatterns = [re_path("", django_page)]


@contextmanager
def django_site(directory: Path, middleware: str = "ours", **more: Any) -> Iterator[None]:
    """Give Django the settings of a site of this module."""
    settings = {
        "transport": "header", "secret_keys": [KEY], "gc": "never", "lifetime": LIFETIME / 60,
        "store": "disk", "disk": {"directory": str(directory)}, "cookie_secure": True,
    }  # fmt: skip
    with override_settings(
        ROOT_URLCONF=__name__,
        GLIMR_SESSION=settings,
        MIDDLEWARE=[of_django.MIDDLEWARE[middleware]],
        **more,
    ):
        yield


def with_django(_store: SessionStore) -> Client:
    app: Any = WSGIHandler()
    return over_wsgi(app)


DOORS: Final[Mapping[str, Callable[[SessionStore], Client]]] = {
    "wsgi": bare_wsgi,
    "bottle": with_bottle,
    "falcon": with_falcon,
    "flask": with_flask,
    "pyramid": with_pyramid,
    "django": with_django,
    "asgi": bare_asgi,
    "falcon.asgi": with_falcon_on_a_loop,
    "starlette": with_starlette,
    "fastapi": with_fastapi,
    "litestar": with_litestar,
}
