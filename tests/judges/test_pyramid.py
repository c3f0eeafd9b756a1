"""Pyramid's own tests."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from .sources import source
from .suites import judge, run_pytest

# Those that use sessions.
MODULES: Final = (
    "tests/test_session.py",
    "tests/test_csrf.py",
    "tests/test_authentication.py",
    "tests/test_testing.py",
    "tests/test_config/test_factories.py",
)

_PRIVATE: Final = "asks for a private attribute of Pyramid's cookie sessions"
_EVERY_STORE: Final = {
    **{
        f"tests/test_session.py::TestGlimrSession::{name}": _PRIVATE
        for name in (
            "test__set_cookie_cookieval_too_long",
            "test__set_cookie_on_exception",
            "test__set_cookie_on_exception_no_request_exception",
            "test__set_cookie_options",
            "test__set_cookie_real_webob_response",
            "test_changed",
            "test_reissue_triggered",
        )
    },
    "tests/test_session.py::TestGlimrSession::test_no_set_cookie_with_exception": (
        "whether a failed request is kept is told by the status of its response, here 200, and "
        "not by request.exception"
    ),
    "tests/test_testing.py::TestDummyRequest::test_defaults": (
        "asks for the class of the session, and we have a function in its place"
    ),
}

# By the sessions: ours in each store. Add "own": {}, for Pyramid's, to find out whose fault a
# failure is.
EXCLUDED: Final[dict[str, dict[str, str]]] = {
    "cookie": _EVERY_STORE,
    "disk": _EVERY_STORE,
}


@pytest.mark.parametrize("sessions", EXCLUDED)
def test_pyramid_s_own_tests_pass(sessions: str, tmp_path: Path) -> None:
    """Every test of Pyramid's passes that is not excluded above, and no excluded one."""
    door = [] if sessions == "own" else ["-p", "pyramid_door"]
    outcome = run_pytest(
        source("pyramid", "pyramid"), *door, *MODULES, store=sessions, tmp_path=tmp_path
    )
    judge(outcome, EXCLUDED[sessions], at_least=395)
