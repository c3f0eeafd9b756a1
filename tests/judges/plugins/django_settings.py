"""Settings for Django's runtests.py: those of its test_sqlite, and the sessions to judge."""

from __future__ import annotations

import os

from test_sqlite import *  # type: ignore[import-not-found]  # noqa: F403  # Django's

TEST_RUNNER = "django_report.ReportingRunner"

# The door: in place of Django's sessions in the database, which runtests.py has without these.
if (store := os.environ["JUDGES_STORE"]) != "own":
    SESSION_ENGINE = "glimr_session.django"
    GLIMR_SESSION = {
        "store": store,
        "disk": {"directory": os.environ["JUDGES_DIRECTORY"]},
        "secret_keys": ["a key for the tests of Django, of 32 characters and more"],
    }
