"""Adds a class to Pyramid's tests: what it demands of its own sessions, demanded of ours.

The requests of its tests of CSRF tokens and of authentication get sessions of ours, too, in place
of a dict and of its DummySession.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Final
from unittest import TestCase, mock

from pyramid.request import Request

from glimr_session import SessionConfig, SessionMiddleware
from glimr_session.pyramid import session_factory
from glimr_session.testing import seed_session

_SECRET: Final = "a key for the tests of Pyramid, of 32 characters and more"
_NEVER: Final = 100 * 365 * 24 * 3600

# What Pyramid's factory calls a setting, and ours.
_NAMES: Final = {
    "cookie_name": "cookie",
    "path": "cookie_path",
    "domain": "cookie_domain",
    "secure": "cookie_secure",
    "timeout": "lifetime",
    "set_on_exception": "commit_on_error",
}


def make_config(**settings: Any) -> SessionConfig:
    """Return the settings of Pyramid's factory as a configuration of ours."""
    settings.pop("httponly", True)  # ours always are
    timeout = settings.get("timeout", 1200)
    settings["timeout"] = _NEVER if timeout is None else int(timeout)
    settings = {"cookie_name": "session", "set_on_exception": True, **settings}
    return SessionConfig(
        store=os.environ["JUDGES_STORE"],
        disk_directory=os.environ["JUDGES_DIRECTORY"],
        secret_keys=[_SECRET],
        **{_NAMES[name]: value for name, value in settings.items()},
    )


def make_session(data: Mapping[str, Any] | None = None) -> Any:
    """Return a session of ours that a request begins with this data."""
    session: Any = session_factory(make_config())(Request.blank("/"))
    session.update(data or {})
    return session


def seed(renewed: float, data: Mapping[str, Any]) -> str:
    """Return the cookie of a session that was used last at this time."""
    app = SessionMiddleware(lambda environ, start_response: [], make_config())
    with mock.patch("time.time", return_value=renewed):
        return seed_session(app, data).value


def make_test_case(shared: type) -> type[TestCase]:
    """Return Pyramid's tests of what all its cookie sessions have in common, on ours."""

    class TestGlimrSession(shared, TestCase):  # type: ignore[misc]  # a class of Pyramid's tests
        def _makeOne(self, request: Any, **settings: Any) -> Any:  # noqa: N802  # Pyramid's name
            cookies = (f"{name}={value}" for name, value in request.cookies.items())
            request.environ["HTTP_COOKIE"] = "; ".join(cookies)  # the dummy has no headers
            return session_factory(make_config(**settings))(request)

        def _serialize(self, value: Any) -> str:
            return value if isinstance(value, str) else seed(value[0], value[2])

    TestGlimrSession.__module__ = shared.__module__
    return TestGlimrSession


def give_sessions(module: ModuleType) -> None:
    """Let the DummyRequest of a module of tests have a session of ours where it has a dict."""

    class DummyRequest(module.DummyRequest):  # type: ignore[misc, name-defined]  # not typed
        session: Any

        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            if type(self.session) is dict:
                self.session = make_session(self.session)

    mock.patch.object(module, "DummyRequest", DummyRequest).start()


def pytest_configure() -> None:
    """Put ours in the place of Pyramid's."""
    mock.patch("pyramid.testing.DummySession", make_session).start()
    sessions = import_module("tests.test_session")
    case = make_test_case(sessions.SharedCookieSessionTests)
    mock.patch.object(sessions, "TestGlimrSession", case, create=True).start()
    give_sessions(import_module("tests.test_csrf"))
    give_sessions(import_module("tests.test_authentication"))
