"""Which store there is, and what of Django's settings it takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test.utils import override_settings

import glimr_session
from glimr_session import DiskStore
from glimr_session.django import SessionStore
from glimr_session.django._setup import current


def test_the_store_of_setup_beats_the_settings(tmp_path: Path) -> None:
    """As at every door; it may be set later than the first session."""
    session = SessionStore()
    store = DiskStore(tmp_path / "other")
    glimr_session.setup(store)
    session = SessionStore()
    session["n"] = 1
    session.save()
    assert current().binding.store is store
    glimr_session.reset()
    assert not SessionStore().exists(session.session_key)


def test_a_relative_directory_is_in_the_project(tmp_path: Path) -> None:
    """In BASE_DIR, so that a server and a cron job find the same sessions."""
    with override_settings(BASE_DIR=tmp_path, GLIMR_SESSION={"disk": {"directory": "kept"}}):
        SessionStore().create()
    assert (tmp_path / "kept").is_dir()


def test_without_settings_of_ours_sessions_are_on_the_disk(tmp_path: Path) -> None:
    """SESSION_ENGINE alone will do."""
    with override_settings(BASE_DIR=str(tmp_path)):
        from django.conf import settings

        del settings.GLIMR_SESSION
        SessionStore().create()
    assert (tmp_path / "var" / "sessions").is_dir()


def test_the_environment_beats_the_settings(
    glimr: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """That is how one machine becomes many."""
    monkeypatch.setenv("GLIMR_SESSION_DISK_DIRECTORY", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GLIMR_SESSION_LIFETIME", "10")
    with override_settings(GLIMR_SESSION={**glimr, "lifetime": 20}):
        session = SessionStore()
        assert session.get_expiry_age() == 600
    assert (tmp_path / "elsewhere").is_dir()


def test_ours_beat_django_s(glimr: dict[str, Any]) -> None:
    """Lifetime and the end with the browser."""
    with override_settings(GLIMR_SESSION={**glimr, "lifetime": 10, "expire_on_close": True}):
        session = SessionStore()
        assert session.get_expiry_age() == 600
        assert session.get_expire_at_browser_close()


@pytest.mark.parametrize("wrong", [{"stoer": "disk"}, {"store": "disc"}, {"lifetime": "long"}])
def test_a_wrong_setting_is_improperly_configured(wrong: dict[str, Any]) -> None:
    """The error names it."""
    told = pytest.raises(ImproperlyConfigured, match=f"GLIMR_SESSION: {next(iter(wrong))}")
    with override_settings(GLIMR_SESSION=wrong), told:
        SessionStore()


def test_the_key_that_names_the_user_is_a_setting(glimr: dict[str, Any]) -> None:
    """Beside Django's own, for those who log people in by themselves."""
    with override_settings(GLIMR_SESSION={**glimr, "login_key": "member"}):
        session = SessionStore()
        session.create()
        for key in ("member", "_auth_user_id"):
            former = session.session_key
            session["cart"] = key
            session.save()
            assert session.session_key == former
            session[key] = 1
            session.save()
            assert session.session_key != former


def test_the_package_loads_no_django() -> None:
    """Only glimr_session.django does."""
    program = "import sys, glimr_session; print('django' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_a_session_that_has_moved_is_found_in_a_database_too(tmp_path: Path) -> None:
    """Its key has its number, which no login changes."""
    pytest.importorskip("sqlalchemy")
    url = f"sqlite:///{tmp_path}/sessions.sqlite"
    glimr_session.SqlStore.create_table(url)
    store = glimr_session.SqlStore(url)
    glimr_session.setup(store)
    session = SessionStore()
    session["n"] = 1
    session.create()
    former = session.session_key
    for _ in range(2):
        session.cycle_key()
    assert SessionStore(session.session_key).load() == {"n": 1}
    assert not session.exists(former)
    session.flush()
    store.close()
