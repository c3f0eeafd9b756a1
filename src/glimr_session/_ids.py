"""Session ids, the keys and numbers derived from them, and how a cookie names a session."""

from __future__ import annotations

import functools
import hashlib
import re
import secrets
from typing import Final

__all__ = [
    "fingerprint",
    "generate_id",
    "handle_of",
    "join_cookie_value",
    "key_and_number",
    "number_for",
    "number_of",
    "owner_key",
    "split_cookie_value",
    "storage_key",
]

# OWASP's session management cheat sheet asks for 64 bits of entropy; ids are made
# rarely, so there is no reason to stay near the minimum.
_ID_BYTES: Final = 32

# A door whose framework has another form of ids makes shorter ones; numbers have 63 bits.
_NUMBERED: Final = re.compile("([0-9a-z]{20,64})~([0-7]?[0-9a-f]{1,15})", re.ASCII)

_HANDLE: Final = re.compile("session-([0-7][0-9a-f]{15})", re.ASCII)


def generate_id() -> str:
    """Return a new session id: 64 hex digits, 256 bits from the system's random source.

    Example:
        >>> len(generate_id())
        64
    """
    return secrets.token_hex(_ID_BYTES)


def storage_key(session_id: str) -> bytes:
    """Return the 32 bytes a session is stored under: the SHA-256 of its id.

    Someone who reads the store finds no id to put into a cookie. Ids are random, so a
    plain hash is as good as a slow one.
    """
    try:
        encoded = session_id.encode()
    except UnicodeEncodeError:  # not an id of ours, and so of no session
        encoded = session_id.encode("utf-8", "surrogatepass")
    return hashlib.sha256(encoded).digest()


def fingerprint(session_id: str) -> str:
    """Return 8 hex digits that identify a session in logs and do not reveal its id."""
    return storage_key(session_id).hex()[:8]


def number_for(key: bytes) -> int:
    """Return the number a session begun under this key gets: 1 to 2**63 - 1.

    A session keeps its number for life, whatever its id. The number follows from the first
    id, so that the request that began the session finds it again even if a login has moved
    it while the body of the response was being sent.
    """
    return int.from_bytes(key[:8]) >> 1 or 1


@functools.lru_cache(1024)  # a request asks three times, and the requests of a page again
def key_and_number(session_id: str) -> tuple[bytes, int]:
    """Return the storage key of an id, and its number unless the session has moved."""
    key = storage_key(session_id)
    return key, number_for(key)


def join_cookie_value(session_id: str, number: int) -> str:
    """Return the cookie value for a session: its id, and its number if that does not follow.

    Example:
        >>> join_cookie_value("0" * 64, 255)[64:]
        '~ff'
    """
    if number == key_and_number(session_id)[1]:
        return session_id
    value = f"{session_id}~{number:x}"
    return value if _NUMBERED.fullmatch(value) else session_id  # an id from elsewhere


def split_cookie_value(cookie_value: str) -> tuple[str, int]:
    """Return the id and the number in a cookie value; the number is 0 if there is none."""
    if "~" in cookie_value:
        numbered = _NUMBERED.fullmatch(cookie_value)
        if numbered:
            return numbered[1], int(numbered[2], 16)
    return cookie_value, 0


def owner_key(owner: str | int) -> str:
    """Return what stands for an owner where sessions are kept: 64 hex digits.

    Raises:
        TypeError, ValueError: it is neither a str with something in it nor an int.

    Example:
        >>> owner_key("7")[:8]
        '5db40916'
    """
    if type(owner) is not int and not isinstance(owner, str):
        kind = type(owner).__name__
        raise TypeError(f"an owner is the id of a user, a str or an int, not a {kind}: use str()")
    if owner == "":
        raise ValueError("an owner is the id of a user, and not empty; None is nobody")
    # Not by format(), which enums of str override.
    text = "glimr_session owner " + (str.__str__(owner) if isinstance(owner, str) else str(owner))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def handle_of(number: int) -> str:
    """Return the handle of a session: it names the session in a list, and opens nothing.

    Example:
        >>> handle_of(255)
        'session-00000000000000ff'
    """
    return f"session-{number:016x}"


def number_of(handle: str) -> int | None:
    """Return the number in a handle, or None if it is something else."""
    found = _HANDLE.fullmatch(handle)
    return None if found is None else int(found[1], 16)
