"""Session ids, and the key a session is stored under."""

from __future__ import annotations

import hashlib
import secrets

__all__ = ["fingerprint", "generate_id", "storage_key"]

# OWASP's session management cheat sheet asks for 64 bits of entropy; ids are made
# rarely, so there is no reason to stay near the minimum.
_ID_BYTES = 32


def generate_id() -> str:
    """Make a session id: 64 hex digits, 256 bits from the system's random source."""
    return secrets.token_hex(_ID_BYTES)


def storage_key(session_id: str) -> bytes:
    """Give the 32 bytes a session is stored under: SHA-256 of its id.

    Whoever reads the store finds no id to put into a cookie. Ids are random, so a
    plain hash is as good as a slow one.
    """
    try:
        encoded = session_id.encode()
    except UnicodeEncodeError:  # no id of ours, and so of no session
        encoded = session_id.encode("utf-8", "surrogatepass")
    return hashlib.sha256(encoded).digest()


def fingerprint(session_id: str) -> str:
    """Give 8 hex digits that name a session in logs and cannot be turned back."""
    return storage_key(session_id).hex()[:8]
