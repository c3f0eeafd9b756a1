"""Flask-Login's own tests."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from .sources import source
from .suites import judge, run_pytest

# By the sessions: ours in each store. Add "own": {}, for Flask's, to find out whose fault a
# failure is.
EXCLUDED: Final[dict[str, dict[str, str]]] = {
    "cookie": {},
    "disk": {},
}


@pytest.mark.parametrize("sessions", EXCLUDED)
def test_flask_login_s_own_tests_pass(sessions: str, tmp_path: Path) -> None:
    """Every test of Flask-Login's passes that is not excluded above, and no excluded one."""
    door = [] if sessions == "own" else ["-p", "flask_door"]
    outcome = run_pytest(
        source("flask-login", "flask_login"), *door, store=sessions, tmp_path=tmp_path
    )
    judge(outcome, EXCLUDED[sessions], at_least=110)
