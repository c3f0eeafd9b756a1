"""Pyramid applications for the tests: a view for each path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from pyramid.config import Configurator
from webtest import TestApp

from glimr_session import SessionConfig, SessionStore
from glimr_session.pyramid import session_factory
from tests.support.wsgi_apps import CONFIG, KEY

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

SETTINGS: Final = {
    "glimr_session.store": "cookie",
    "glimr_session.secret_keys": KEY.replace(" ", "-"),
}

View = Callable[[Any], object]


def everything(request: Any) -> dict[str, Any]:
    """Answer with all that the session holds."""
    return dict(request.session)


def configure(
    settings: Mapping[str, Any], views: Mapping[str, View], more: Callable[[Any], object]
) -> WSGIApplication:
    """Return an application that includes the door, and answers what its views return."""
    with Configurator(settings=settings) as config:
        config.include("glimr_session.pyramid")
        for name, view in {"all": everything, **views}.items():
            config.add_route(name, f"/{name}")
            config.add_view(view, route_name=name, renderer="json")
        more(config)
    app: WSGIApplication = config.make_wsgi_app()
    return app


def browser(
    store: SessionStore,
    more: Callable[[Any], object] = lambda _: None,
    /,
    *,
    settings: SessionConfig = CONFIG,
    **views: View,
) -> TestApp:
    """Return a browser of an application with this store.

    Args:
        store: where its sessions are.
        more: what else to configure.
        settings: for its sessions.
        views: by path, what to answer.
    """

    def complete(config: Any) -> None:
        config.set_session_factory(session_factory(settings, store=store))
        more(config)

    return TestApp(configure(SETTINGS, views, complete))


def twin(browser: TestApp) -> TestApp:
    """Return a browser with a copy of the cookies that another one has now."""
    copied = TestApp(browser.app)
    for cookie in browser.cookiejar:
        copied.cookiejar.set_cookie(cookie)
    return copied


def changing(change: Callable[[Any], object]) -> View:
    """Return a view that does something to its session."""

    def view(request: Any) -> object:
        change(request.session)
        return {}

    return view


def putting(key: str, value: object) -> View:
    return changing(lambda session: session.update({key: value}))
