"""Session keys: how Django names a session, in at most 40 characters of [a-z0-9]."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from typing import Final

from .._ids import join_cookie_value, key_and_number, split_cookie_value

__all__ = [
    "cookie_value_of",
    "id_of_former",
    "key_of",
    "key_sent",
    "moved_key",
    "name_of",
    "new_id",
]

_ID_BYTES: Final = 15  # 120 bits: OWASP asks for 64
_ID: Final = 24  # characters of base32
_KEY: Final = re.compile("([2-7a-z]{24})([0-9a-f]{16})", re.ASCII)


def new_id() -> str:
    """Return a new session id of 24 characters, from the system's random source.

    Example:
        >>> len(key_of(new_id()))
        40
    """
    return _as_id(secrets.token_bytes(_ID_BYTES))


def id_of_former(name: str) -> str:
    """Return the id of a session that comes from another engine: always the same one."""
    return _as_id(hashlib.sha256(name.encode()).digest()[:_ID_BYTES])


def key_of(cookie_value: str) -> str:
    """Return the session key for the cookie value that a store returned.

    It has the session's number in any case, so that a session that has moved is found.
    """
    session_id, number = split_cookie_value(cookie_value)
    return f"{session_id}{number or key_and_number(session_id)[1]:016x}"


def cookie_value_of(session_key: str) -> str:
    """Return the cookie value for a session key; "" if the key is not one of ours.

    Example:
        >>> cookie_value_of(key_of("id" * 12))
        'idididididididididididid'
    """
    found = _KEY.fullmatch(session_key)
    number = int(found[2], 16) if found else 0
    return join_cookie_value(session_key[:_ID], number) if 0 < number < 2**63 else ""


def name_of(session_key: str) -> str:
    """Return what a store knows a session by; "~" marks the key of a former engine."""
    return cookie_value_of(session_key) or f"~{session_key}"


def key_sent(cookie_value: str) -> str:
    """Return the session key for the value of a verified cookie; the reverse of ``name_of``."""
    return cookie_value[1:] if cookie_value.startswith("~") else key_of(cookie_value)


def moved_key(session_key: str, session_id: str) -> str:
    """Return the key that a stored session has after it was given another id."""
    return session_id + session_key[_ID:]


def _as_id(random: bytes) -> str:
    return base64.b32encode(random).decode("ascii").lower()
