"""The whole session in the signed cookie: nothing to run, nothing to clean up.

The price: four kilobytes at most; of two requests at once the later response wins whole;
and a logout takes the cookie from the browser, not from someone who has copied it.
"""

from __future__ import annotations

import base64
import binascii
import time
from datetime import timedelta
from typing import Final

import msgspec

from .._log import warn
from .._session.changes import Changes
from .._session.sealing import SEALED, why_unreadable
from .._session.serialization import PayloadDecoder, SessionPayload, StoredSession, encode
from .._session.values import validate_items
from .._validation import Duration, to_seconds
from ..errors import SessionTooLarge
from .base import DEFAULT_LIFETIME, CommitResult, Data, SessionStore

__all__ = ["CookieStore", "cookie_store"]

# RFC 6265, section 6.1: what browsers keep of a cookie, its name and attributes included.
_MAX_SIZE: Final = 4096

# Where a payload is sealed for. Whose it is, is in it, and the cookie is signed.
_PLACE: Final = b"cookie"


class _Content(SessionPayload, omit_defaults=True, kw_only=True):
    """What is in the cookie. Times are seconds since the epoch.

    The names on the wire stay as they are: browsers have cookies with them.
    """

    id: str = ""
    created_at: float = msgspec.field(default=0.0, name="created")
    last_used_at: float = msgspec.field(default=0.0, name="seen")


_decode = PayloadDecoder(_Content)


class CookieStore(SessionStore):
    """Keeps id, data, flash, and the times of creation and last use in the cookie.

    The cookie is signed. Its user can read the session in it, unless ``encrypt`` is set.

    Args:
        lifetime: the idle timeout, in seconds or as a ``timedelta``.
        absolute_lifetime: the absolute timeout, likewise; 0 is none.

    Example:
        >>> store = CookieStore(lifetime=600)
        >>> value = store.cookie_value("an id", {"n": 1}, {})
        >>> store.load(value)
        ({'n': 1}, {})
    """

    kind = "cookie"
    server_side = False
    expires_by_itself = True
    max_cookie_size = _MAX_SIZE
    seals = True

    def __init__(
        self,
        *,
        lifetime: Duration = DEFAULT_LIFETIME,
        absolute_lifetime: Duration = timedelta(0),
    ) -> None:
        self.lifetime = to_seconds("lifetime", lifetime)
        self.absolute_lifetime = to_seconds("absolute_lifetime", absolute_lifetime, allow_zero=True)

    def open(self, cookie_value: str) -> StoredSession | None:
        try:
            decoded = base64.urlsafe_b64decode(cookie_value + "=" * (-len(cookie_value) % 4))
        except (binascii.Error, ValueError):
            return None
        content = self._unsealed(decoded) if decoded[:2] == SEALED else _decode(decoded)
        if content is None or self._has_expired(content):
            return None
        return StoredSession(
            id=content.id,
            data=content.data,
            flash=content.flash,
            created_at=content.created_at,
            last_used_at=content.last_used_at,
            lifetime=content.lifetime or 0.0,
            expire_on_close=content.expire_on_close,
            owner=content.owner,
        )

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        """Return a cookie with the session as this request leaves it.

        Nothing is stored elsewhere, so there is nothing to merge with and nothing can be
        gone.
        """
        base = changes.base
        now = time.time()
        if base is None:
            data, flash = changes.replay({}, {})
        else:
            data, flash = changes.replay(base.data, base.flash)
        begins = base is None or changes.invalidated
        if begins and not data and not flash:
            return CommitResult.EMPTY
        created_at = now if base is None or begins or changes.id_changed else base.created_at
        content = _Content(
            data=data,
            flash=flash,
            id=changes.id,
            created_at=created_at or now,
            last_used_at=now,
            lifetime=changes.lifetime_on(base) or None,
            expire_on_close=changes.expire_on_close_on(base),
            owner=changes.owner_on(base),
        )
        return CommitResult.stored(self._encoded(content))

    def gc(self) -> int:
        return 0

    def touch(self, cookie_value: str) -> bool:
        """Return False: the request sends a new cookie instead."""
        return False

    def save(self, session_id: str, data: Data, flash: Data) -> None:
        """Do nothing: ``cookie_value`` holds what is to be saved."""

    def cookie_value(self, session_id: str, data: Data, flash: Data) -> str:
        now = time.time()
        return self._encoded(
            _Content(
                data=validate_items(data),
                flash=validate_items(flash),
                id=session_id,
                created_at=now,
                last_used_at=now,
            )
        )

    @property
    def opens_at_once(self) -> bool:
        return True

    @property
    def commits_at_once(self) -> bool:
        return True

    async def aopen(self, cookie_value: str) -> StoredSession | None:
        return self.open(cookie_value)

    async def acommit(self, changes: Changes) -> CommitResult:
        return self.commit(changes)

    async def atouch(self, cookie_value: str) -> bool:
        return self.touch(cookie_value)

    async def ahas_moved(self, cookie_value: str) -> bool:
        return self.has_moved(cookie_value)

    async def adestroy(self, session_id: str) -> None:
        self.destroy(session_id)

    def _has_expired(self, content: _Content) -> bool:
        now = time.time()
        return now >= content.last_used_at + (content.lifetime or self.lifetime) or (
            self.absolute_lifetime > 0 and now >= content.created_at + self.absolute_lifetime
        )

    def _encoded(self, content: _Content) -> str:
        payload = encode(content)
        if self.sealer is not None and self.sealer.seals:
            payload = self.sealer.seal(payload, _PLACE)
        value = base64.urlsafe_b64encode(payload).rstrip(b"=")
        if len(value) > _MAX_SIZE:
            raise SessionTooLarge(
                f"the session takes {len(value)} bytes, and a cookie holds {_MAX_SIZE} "
                'with its name and attributes; store less, or use store = "disk"',
                size=len(value),
                limit=_MAX_SIZE,
            )
        return value.decode("ascii")

    def _unsealed(self, value: bytes) -> _Content | None:
        opened = None if self.sealer is None else self.sealer.open(value, _PLACE)
        if opened is not None:
            return _decode(opened)
        warn("A session in a cookie counts as absent.%s", why_unreadable(value, self.sealer))
        return None


cookie_store = CookieStore
