"""The whole session in the signed cookie: nothing to run, nothing to clean up.

The price: some four kilobytes at most; of two requests at once the later answer wins
whole; and a logout takes the cookie from the browser, not from whoever copied it.
"""

from __future__ import annotations

import base64
import binascii
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ..errors import SessionTooLarge
from ..payload import StoredSession, checked_items, decode_stored, encode_stored
from ..store import DEFAULT_LIFETIME, Data, Duration, SessionStore, seconds

if TYPE_CHECKING:
    from ..state import Changes

__all__ = ["CookieStore", "cookie_store"]

# RFC 6265, section 6.1: what browsers keep of a cookie, its name and attributes included.
_LARGEST: Final = 4096


class CookieStore(SessionStore):
    """Keeps id, data, flash, and when they were made and last used, in the cookie.

    ``lifetime`` is the idle and ``absolute_lifetime`` the absolute timeout, in seconds
    or as a ``timedelta``; 0 is no absolute timeout. The cookie is signed, not
    encrypted: the user can read what is in it.
    """

    kind = "cookie"
    server_side = False
    largest = _LARGEST

    def __init__(
        self,
        *,
        lifetime: Duration = DEFAULT_LIFETIME,
        absolute_lifetime: Duration = timedelta(0),
    ) -> None:
        self.lifetime = seconds("lifetime", lifetime)
        self.absolute_lifetime = seconds("absolute_lifetime", absolute_lifetime, zero=True)

    def open(self, cookie_value: str) -> StoredSession | None:
        try:
            decoded = base64.urlsafe_b64decode(cookie_value + "=" * (-len(cookie_value) % 4))
        except (binascii.Error, ValueError):
            return None
        stored = decode_stored(decoded)
        if stored is None or self._ended(stored):
            return None
        return stored

    def commit(self, changes: Changes) -> str:
        """Put the session as this request leaves it into a new cookie.

        There is nothing to merge with, and so nothing that could be gone.
        """
        base = changes.base
        now = time.time()
        if base is None:
            data, flash = changes.replay({}, {})
        else:
            data, flash = changes.replay(base.data, base.flash)
        begins = base is None or changes.invalidated
        if begins and not data and not flash:
            return ""
        created = now if base is None or begins or changes.moved else base.created or now
        return _wire(
            StoredSession(id=changes.id, data=data, flash=flash, created=created, seen=now)
        )

    def load(self, session_id: str) -> tuple[Data, Data]:
        """Give data and flash of a cookie value: it is all there is to know it by."""
        stored = self.open(session_id)
        return ({}, {}) if stored is None else (stored.data, stored.flash)

    def save(self, session_id: str, data: Data, flash: Data) -> None:
        """Do nothing: ``cookie_value`` is what saves."""

    def destroy(self, session_id: str) -> None:
        """Do nothing: the cookie ends in the browser."""

    def gc(self) -> int:
        return 0

    def cookie_value(self, session_id: str, data: Data, flash: Data) -> str:
        now = time.time()
        return _wire(
            StoredSession(
                id=session_id,
                data=checked_items(data),
                flash=checked_items(flash),
                created=now,
                seen=now,
            )
        )

    def touch(self, session_id: str) -> bool:
        """Give False: there is no session here, the lifecycle commits it anew instead."""
        return False

    def _ended(self, stored: StoredSession) -> bool:
        now = time.time()
        return now >= stored.seen + self.lifetime or (
            self.absolute_lifetime > 0 and now >= stored.created + self.absolute_lifetime
        )


def _wire(stored: StoredSession) -> str:
    value = base64.urlsafe_b64encode(encode_stored(stored)).rstrip(b"=")
    if len(value) > _LARGEST:
        raise SessionTooLarge(
            f"the session takes {len(value)} bytes, and a cookie holds {_LARGEST} "
            'with its name and attributes; store less, or use store = "disk"',
            size=len(value),
            limit=_LARGEST,
        )
    return value.decode("ascii")


cookie_store = CookieStore
