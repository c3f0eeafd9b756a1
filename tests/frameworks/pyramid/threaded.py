"""An application for a real server: five requests at once, of which each adds to the session."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # WebOb imports cgi, and Pyramid 2.0 pkg_resources
    from pyramid.config import Configurator

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def begin(request: Any) -> object:
    request.session["seen"] = {}
    return {"pid": os.getpid()}


def see(request: Any) -> object:
    """Note a page in a nested dict, and flash it."""
    name = request.matchdict["name"]
    request.session["seen"][name] = True
    request.session.increment("count")
    request.session.flash(name)
    return {"pid": os.getpid()}


def found(request: Any) -> object:
    return dict(request.session)


def application() -> WSGIApplication:
    with Configurator() as config:
        config.include("glimr_session.pyramid")
        for view, path in ((begin, "/begin"), (see, "/see/{name}"), (found, "/found")):
            config.add_route(view.__name__, path)
            config.add_view(view, route_name=view.__name__, renderer="json")
    made: WSGIApplication = config.make_wsgi_app()
    return made
