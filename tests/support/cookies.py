"""The cookie that a configuration makes."""

from __future__ import annotations

from glimr_session import SessionConfig, SessionStore
from glimr_session._request.cookie import SessionCookie
from glimr_session._request.manager import SessionManager

__all__ = ["make_cookie", "tampered"]


def make_cookie(config: SessionConfig, store: SessionStore) -> SessionCookie:
    """Return the cookie of an application with this configuration and store."""
    binding = SessionManager.from_config(config, store)._binding
    assert binding is not None
    assert isinstance(binding.cookie, SessionCookie)
    return binding.cookie


def tampered(value: str) -> str:
    """Return a signed value with another signature.

    The first character of the signature changes: some bits of the last one mean nothing.
    """
    payload, dot, signature = value.rpartition(".")
    return f"{payload}{dot}{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
