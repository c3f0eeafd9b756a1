"""The session token, for programs: X-Session-Token, in requests and in responses."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final, TypeAlias

from ..errors import SessionTooLarge
from .cache_headers import add_session_headers
from .cookie import COOKIE_OCTETS, MAX_SIZE, ReceivedCookies, SessionCookie, unfit_value
from .origin import Origin
from .signing import CookieSigner

__all__ = ["TOKEN_HEADER", "SessionToken", "Transport"]

TOKEN_HEADER: Final = "X-Session-Token"  # noqa: S105  # a name


class SessionToken:
    """What stands for the cookie if ``transport = "header"``: its value alone, in a header.

    It has no attributes, and ends when the server says so: then its header is empty.

    Args:
        signer: signs and verifies the value. Its salt is not that of a cookie.
    """

    kind: Final = "token"
    name: Final = TOKEN_HEADER
    request_header: Final = TOKEN_HEADER
    environ_key: Final = "HTTP_X_SESSION_TOKEN"
    response_header: Final = TOKEN_HEADER
    add_headers = staticmethod(
        functools.partial(
            add_session_headers, request_header=TOKEN_HEADER, response_header=TOKEN_HEADER
        )
    )

    def __init__(self, signer: CookieSigner) -> None:
        self._signer = signer

    def read(self, headers: str | Sequence[str]) -> ReceivedCookies:
        """Return the token of a request. Several do not verify, for a program has one.

        Never raises; time and memory grow with the length of the headers and no faster.
        """
        # WSGI servers join several in the same way.
        token = (headers if isinstance(headers, str) else ",".join(headers)).strip(" \t")
        if not token:
            return ReceivedCookies((), refused=False)
        verified = self._signer.unsign(token) if token.isascii() else None
        if verified is None:
            return ReceivedCookies((), True, self._signer.may_be_newer(token))
        return ReceivedCookies((verified,), refused=False)

    def set(
        self, value: str, _origin: Origin, *, lifetime: float = 0.0, on_close: bool | None = None
    ) -> str:
        """Return the token for a session.

        Args:
            value: what to sign.
            lifetime: means nothing here, nor does ``on_close``.
            on_close: as above.

        Raises:
            SessionTooLarge: it is longer than a cookie may be, and servers limit headers, too.
            ConfigError: the value holds characters that no header can.
        """
        del lifetime, on_close
        if not COOKIE_OCTETS.fullmatch(value):
            raise unfit_value()
        token = self._signer.sign(value)
        if len(token) > MAX_SIZE:
            raise SessionTooLarge(
                f"the session's token takes {len(token)} bytes, and may take {MAX_SIZE}; "
                'store less, or use store = "disk"',
                size=len(token),
                limit=MAX_SIZE,
            )
        return token

    def expire(self, _origin: Origin) -> str:
        """Return what makes a program forget its token: an empty one."""
        return ""

    def expire_former(self) -> list[str]:
        """Return nothing: no framework has tokens of its own here."""
        return []

    def expire_others(self, _origin: Origin) -> list[str]:
        """Return nothing: there are no tokens of another Path or Domain."""
        return []


Transport: TypeAlias = SessionCookie | SessionToken
"""How the session reaches the server and comes back: the setting ``transport``."""
