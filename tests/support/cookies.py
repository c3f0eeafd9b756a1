"""The cookie that a configuration makes."""

from __future__ import annotations

from glimr_session import SessionConfig, SessionStore
from glimr_session._request.cookie import SessionCookie
from glimr_session._request.manager import SessionManager

__all__ = ["make_cookie"]


def make_cookie(config: SessionConfig, store: SessionStore) -> SessionCookie:
    """Return the cookie of an application with this configuration and store."""
    binding = SessionManager.from_config(config, store)._binding
    assert binding is not None
    return binding.cookie
