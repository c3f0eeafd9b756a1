"""From Flask's own sessions to ours: nobody is logged out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, session
from flask.sessions import SecureCookieSessionInterface
from flask.testing import FlaskClient

from glimr_session.flask import GlimrSession
from tests.support.cookies import tampered
from tests.support.wsgi_apps import warnings_in

from .sites import KEY, LIFETIME, do, set_cookies
from .test_session import VALUES

NAMES = ("session", "mine")


def former(**data: Any) -> str:
    """Return the cookie that Flask's own sessions make of this."""
    app = Flask("shop")
    app.secret_key = KEY
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    with app.app_context():
        return str(serializer.dumps(data))


@pytest.fixture(params=NAMES)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Flask:
    """An application that moves sessions, into a cookie of Flask's name and of another one."""
    app = Flask("shop", instance_path=str(tmp_path))
    settings = {"move_from": "glimr_session.flask:signed_cookies", "gc": "never"}
    app.config.update(
        SECRET_KEY=KEY,
        TESTING=True,
        PERMANENT_SESSION_LIFETIME=LIFETIME,
        GLIMR_SESSION={**settings, "cookie": request.param},
    )
    GlimrSession(app)
    return app


def browser(app: Flask, cookie: str) -> FlaskClient:
    client = app.test_client()
    client.set_cookie("session", cookie)
    return client


def look(app: Flask, client: FlaskClient) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    do(app, lambda: found.append(dict(session)), client)
    return found[0]


def test_a_session_of_flask_s_goes_on(app: Flask) -> None:
    """With every type of its values; from the first request on it is ours."""
    client = browser(app, former(**VALUES))
    assert look(app, client) == VALUES
    name = app.config["GLIMR_SESSION"]["cookie"]
    ours = client.get_cookie(name)
    assert ours is not None
    assert len(ours.value) < 200
    do(app, lambda: session.update(after=1), client)
    assert look(app, client) == {**VALUES, "after": 1}
    assert (name == "session") == (client.get_cookie("session") is not None)


def test_a_former_cookie_that_comes_again_finds_the_session(app: Flask) -> None:
    """As from the requests of a page that left with it at the same time."""
    cookie = former(a=1)
    first, second = browser(app, cookie), browser(app, cookie)
    do(app, lambda: session.update(b=2), first)
    assert look(app, second) == {"a": 1, "b": 2}


def test_after_the_logout_the_former_cookie_is_worth_nothing(app: Flask) -> None:
    """Flask's own sessions cannot do this."""
    cookie = former(user="ada")
    client = browser(app, cookie)
    look(app, client)
    do(app, lambda: session.clear(), client)
    assert look(app, browser(app, cookie)) == {}


@pytest.mark.parametrize("permanent", [False, True])
def test_a_permanent_session_stays_one(app: Flask, permanent: bool) -> None:
    """Its cookie outlives the browser; another one's does not."""
    cookie = former(a=1, **({"_permanent": True} if permanent else {}))
    response = do(app, lambda: session.get("a"), browser(app, cookie))
    assert ("Max-Age" in set_cookies(response)[-1]) == permanent


@pytest.mark.parametrize("kind", ["forged", "tampered", "empty"])
def test_a_cookie_that_flask_would_not_take_counts_as_none(app: Flask, kind: str) -> None:
    """The request is anonymous."""
    cookie = {"forged": "forged", "tampered": tampered(former(a=1)), "empty": ""}[kind]
    assert look(app, browser(app, cookie)) == {}


def test_a_cookie_that_is_too_old_for_flask_counts_as_none(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After PERMANENT_SESSION_LIFETIME, as Flask counts it for every session."""
    now = time.time()
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: now - LIFETIME - 2)
        cookie = former(a=1)
    assert look(app, browser(app, cookie)) == {}


def test_without_move_from_a_cookie_of_flask_s_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The session begins anew, in a cookie of the same name."""
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY, GLIMR_SESSION={"store": "cookie"})
    GlimrSession(app)
    client = browser(app, former(a=1))
    do(app, lambda: session.update(b=2), client)
    assert look(app, client) == {"b": 2}
    (warning,) = warnings_in(caplog)
    assert "does not verify" in warning
