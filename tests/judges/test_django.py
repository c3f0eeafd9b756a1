"""Django's own tests of sessions, and of what is built on them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from .sources import source
from .suites import judge, run_django

# Each takes half of the time.
GROUPS: Final = (
    ("admin_views", "flatpages_tests"),
    (
        "django_engine",
        "sessions_tests",
        "messages_tests",
        "auth_tests",
        "csrf_tests",
        "test_client",
        "test_client_regress",
    ),
)

# By the sessions: ours in each store that Django may have. "own", for Django's in the database,
# takes a minute more, and is for finding out whose fault a failure is.
EXCLUDED: Final[dict[str, dict[str, str]]] = {
    "disk": {
        "sessions_tests.tests.SessionMiddlewareTests.test_empty_session_saved": (
            "looks for the session in the table of Django's own engine"
        ),
        **dict.fromkeys(
            (
                "admin_views.tests.AdminCustomQuerysetTest.test_changelist_view_count_queries",
                "admin_views.tests.AdminSearchTest.test_no_total_count",
                "admin_views.tests.AdminSearchTest.test_reset_link",
                "admin_views.tests.GroupAdminTest.test_group_permission_performance",
                "admin_views.tests.UserAdminTest.test_user_permission_performance",
            ),
            "counts the page's queries, and Django's own engine makes one more for the session",
        ),
    },
}


@pytest.mark.timeout(630)
@pytest.mark.parametrize("sessions", EXCLUDED)
def test_django_s_own_tests_pass(sessions: str, tmp_path: Path) -> None:
    """Every test of Django's passes that is not excluded above, and no excluded one."""
    outcome = run_django(source("django", "django"), *GROUPS, store=sessions, tmp_path=tmp_path)
    judge(outcome, EXCLUDED[sessions], at_least=2440)
