"""Flask's own tests."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from .sources import source
from .suites import judge, run_pytest

_WERKZEUG: Final = {
    "tests/test_reqctx.py::test_bad_environ_raises_bad_request": (
        "Werkzeug 3.1.9 answers 404 where the one of Flask 3.1.3 answered 400"
    ),
}

_OURS: Final = {
    **_WERKZEUG,
    "tests/test_basic.py::test_session_expiration": (
        "it looks for Expires; our cookie says the same with Max-Age"
    ),
    "tests/test_basic.py::test_session_using_samesite_attribute": (
        "where nothing is set it expects no SameSite; ours is Lax then"
    ),
    "tests/test_basic.py::test_session_using_session_settings": (
        "it sets SESSION_COOKIE_HTTPONLY = False, which is refused here"
    ),
    "tests/test_basic.py::test_session_cookie_setting": (
        "it expects the cookie of a permanent session in each response; ours comes again once "
        "per tenth of its lifetime"
    ),
    "tests/test_basic.py::test_session_refresh_vary": (
        "as above, in the response of a view that does not use its session: ours does not read it"
    ),
}

# By the sessions: ours in each store. Add "own": {}, for Flask's, to find out whose fault a
# failure is.
EXCLUDED: Final = {
    "cookie": _OURS,
    "disk": _OURS,
}


@pytest.mark.parametrize("sessions", EXCLUDED)
def test_flask_s_own_tests_pass(sessions: str, tmp_path: Path) -> None:
    """Every test of Flask's passes that is not excluded above, and no excluded one."""
    door = [] if sessions == "own" else ["-p", "flask_door"]
    outcome = run_pytest(
        source("flask", "flask"), *door, "-p", "old_pytest", store=sessions, tmp_path=tmp_path
    )
    judge(outcome, EXCLUDED[sessions], at_least=480)
