"""``encrypt = true`` in Django's settings, with Django's own keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test.utils import override_settings

import glimr_session
from glimr_session import DiskStore
from glimr_session._session.sealing import SEALED
from glimr_session.django import SessionStore
from tests.support.disk import query

OLD = "the old key of this test, long enough"


@pytest.mark.parametrize("made", ["by the settings", "by hand"])
def test_sessions_are_encrypted_with_djangos_keys(
    glimr: dict[str, Any], tmp_path: Path, made: str
) -> None:
    """Without a key of ours, whoever made the store; SECRET_KEY_FALLBACKS still open."""
    directory = tmp_path / "sessions"
    with override_settings(SECRET_KEY=OLD, GLIMR_SESSION={**glimr, "encrypt": True}):
        if made == "by hand":
            glimr_session.setup(DiskStore(directory))
        session = SessionStore()
        session["n"] = 1
        session.save()
        ((value,),) = query(directory, "SELECT value FROM Cache")
        assert value.startswith(SEALED)
        glimr_session.reset()
    with override_settings(SECRET_KEY_FALLBACKS=[OLD]):  # and encryption is off again
        assert SessionStore(session.session_key)["n"] == 1


def test_a_weak_key_does_not_encrypt(glimr: dict[str, Any]) -> None:
    """It is good enough for Django's own middleware, which signs nothing."""
    with override_settings(SECRET_KEY="weak", GLIMR_SESSION=glimr):
        SessionStore().create()
    with (
        override_settings(SECRET_KEY="weak", GLIMR_SESSION={**glimr, "encrypt": True}),
        pytest.raises(ImproperlyConfigured, match="encrypt = true needs secret_keys"),
    ):
        SessionStore().create()
