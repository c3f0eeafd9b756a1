"""``encrypt = true`` in Flask's settings, with Flask's own keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import session

from glimr_session import ConfigError, DiskStore
from glimr_session._session.sealing import SEALED
from tests.support.disk import query

from .sites import do, make_app


def test_sessions_are_encrypted_with_flasks_keys(disk: DiskStore) -> None:
    """Without a key of ours, as the cookie is signed; SECRET_KEY_FALLBACKS still open."""
    settings: dict[str, Any] = {"GLIMR_SESSION": {"gc": "never", "encrypt": True}}
    app = make_app(disk, **settings)
    client = app.test_client()
    do(app, lambda: session.update(n=1), client)
    ((value,),) = query(disk.directory, "SELECT value FROM Cache")
    assert value.startswith(SEALED)
    assert do(app, lambda: str(session["n"]), client).text == "1"


def test_encryption_without_any_key_is_refused(tmp_path: Path) -> None:
    """Flask's own sessions would be null; those that are to be encrypted are not."""
    with pytest.raises(ConfigError, match="encrypt = true needs secret_keys"):
        make_app(DiskStore(tmp_path), SECRET_KEY=None, GLIMR_SESSION={"encrypt": True})
