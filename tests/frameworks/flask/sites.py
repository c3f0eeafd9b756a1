"""Flask applications for the tests, and browsers that ask them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final, cast

from flask import Flask, session
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from glimr_session import SessionStore
from glimr_session.flask import FlaskSession, GlimrSession

__all__ = ["KEY", "LIFETIME", "do", "make_app", "ours", "set_cookies", "twin"]

KEY = "a key for tests that is long enough"

LIFETIME = 1000.0

ours = cast(FlaskSession, session)
"""``flask.session``, as a type checker is to see it."""


def make_app(store: SessionStore | None, **settings: Any) -> Flask:
    """Return an application with our sessions and no view, as its tests would have it."""
    app = Flask("shop")
    app.config.update(
        {
            "SECRET_KEY": KEY,
            "TESTING": True,
            "PERMANENT_SESSION_LIFETIME": LIFETIME,
            "GLIMR_SESSION": {"gc": "never"},
        }
    )
    app.config.update(settings)
    GlimrSession(app, store=store)
    return app


_NUMBERS: Final = itertools.count()


def do(app: Flask, work: Callable[[], Any], client: FlaskClient | None = None) -> TestResponse:
    """Make a request whose view does this, and answers with its result if there is one."""
    name = f"do{next(_NUMBERS)}"  # threads add views at the same time
    # As it would have been before the first request: Flask refuses later ones.
    app._got_first_request = False

    def view() -> Any:
        result = work()
        if result is None or isinstance(result, int):
            return f"done: {result}"
        return result

    app.add_url_rule(f"/{name}", name, view)
    return (client or app.test_client()).get(f"/{name}")


def twin(client: FlaskClient, name: str = "session") -> FlaskClient:
    """Return another client with the cookie that this one has now: a copy of the browser."""
    other = client.application.test_client()
    cookie = client.get_cookie(name)
    if cookie is not None:
        other.set_cookie(name, cookie.value)
    return other


def set_cookies(response: TestResponse) -> list[str]:
    """Return the Set-Cookie headers of a response."""
    return response.headers.getlist("Set-Cookie")
