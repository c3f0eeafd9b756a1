"""What can go wrong, and what to do about it.

SessionError
├── ConfigError (ValueError)      a setting is wrong: fix it, the message says how
├── StoreUnavailable              the store is down: answer 503, or try again later
├── SessionTooLarge (ValueError)  the cookie would not fit: store less, or on the server
└── SessionClosed (RuntimeError)  the session was used after its response had left

Absence (an unknown id, a forged cookie, a missing key) is no error. An outage of the store
always is: nothing falls back to an empty session.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "SessionClosed",
    "SessionError",
    "SessionTooLarge",
    "StoreUnavailable",
]


class SessionError(Exception):
    """Base of all errors of this package."""


class ConfigError(SessionError, ValueError):
    """A setting is unknown, of a wrong type, out of range or contradicts another one."""


class StoreUnavailable(SessionError):
    """The store could not be read or written; its own error is the ``__cause__``.

    What was being written was made once or not at all.
    """


class SessionTooLarge(SessionError, ValueError):
    """A session does not fit into its cookie.

    Attributes:
        size: bytes it takes.
        limit: bytes a cookie can have.
    """

    def __init__(self, message: str, *, size: int, limit: int) -> None:
        super().__init__(message)
        self.size = size
        self.limit = limit


class SessionClosed(SessionError, RuntimeError):
    """The session was used after its response had left."""
