"""Gives every Flask application our sessions, except those that have chosen some themselves."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from flask import Flask, Request

from glimr_session.flask import FlaskSession, GlimrSession


class _LongKeys:
    """An application as our door sees it: the suites have secret keys such as "test key"."""

    def __init__(self, app: Flask) -> None:
        keys = app.config.get("SECRET_KEY_FALLBACKS")
        self._app = app
        self.secret_key = _lengthen(app.secret_key)
        self.config = {
            **app.config,
            "SECRET_KEY": self.secret_key,
            "SECRET_KEY_FALLBACKS": keys and [_lengthen(key) for key in keys],
            "GLIMR_SESSION": {
                "store": os.environ["JUDGES_STORE"],
                "disk": {"directory": os.environ["JUDGES_DIRECTORY"]},
            },
        }

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)


class _Sessions(GlimrSession):
    def open_session(self, app: Flask, request: Request) -> FlaskSession | None:
        seen: Any = _LongKeys(app)
        return super().open_session(seen, request)


def _lengthen(key: str | bytes | None) -> str | None:
    if not key:
        return None
    return hashlib.sha256(key.encode() if isinstance(key, str) else key).hexdigest()


Flask.session_interface = _Sessions()
