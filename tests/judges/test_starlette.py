"""Starlette's own tests of sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from .sources import source
from .suites import judge, run_pytest

MODULE: Final = "tests/middleware/test_session.py"

_NO_LIFETIME: Final = "it asks for a lifetime of no seconds, which is refused here"
_EVERY_STORE: Final = {
    **{
        f"{MODULE}::{name}[{loop}]": _NO_LIFETIME
        for name in ("test_session_expires", "test_session_zero_max_age")
        for loop in ("asyncio", "trio")
    },
    f"{MODULE}::test_session_tracks_modification": (
        "a missing key that is popped leaves `modified` and `accessed` as they were; here every "
        "look into a session counts as an access, and every verb that may change it sets `modified`"
    ),
}

# By the sessions: ours in each store. Add "own": {}, for Starlette's, to find out whose fault a
# failure is.
EXCLUDED: Final = {"cookie": _EVERY_STORE, "disk": _EVERY_STORE}


@pytest.mark.parametrize("sessions", EXCLUDED)
def test_starlette_s_own_tests_of_sessions_pass(sessions: str, tmp_path: Path) -> None:
    """On asyncio and on trio each test passes that is not excluded above, and no excluded one."""
    door = [] if sessions == "own" else ["-p", "starlette_door"]
    outcome = run_pytest(
        source("starlette", "starlette"), *door, MODULE, store=sessions, tmp_path=tmp_path
    )
    judge(outcome, EXCLUDED[sessions], at_least=20)
