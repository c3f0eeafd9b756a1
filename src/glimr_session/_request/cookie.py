"""The session cookie: found in the Cookie headers, and written as Set-Cookie."""

from __future__ import annotations

import functools
import logging
import math
import re
from collections.abc import Iterable, Sequence
from typing import Final

from .._validation import check_cookie_attributes, why_secure
from ..errors import ConfigError, SessionTooLarge
from .signing import CookieSigner, VerifiedCookie

__all__ = ["SessionCookie"]

logger = logging.getLogger("glimr_session")

# RFC 6265, section 4.1.1: a value is made of cookie-octets.
_VALUE: Final = re.compile(r"[!#-+\--:<-\[\]-~]*", re.ASCII)

# RFC 6265, section 6.1: name, value and attributes together, in bytes.
_MAX_SIZE: Final = 4096


class SessionCookie:
    """The cookie of one application; its attributes are checked and formatted once.

    Args:
        signer: signs and verifies the value.
        name: the cookie's name.
        path: Path.
        domain: Domain; "" is this host alone.
        samesite: "Lax", "Strict" or "None".
        secure: whether Secure is set; None decides by the request.
        partitioned: whether Partitioned is set.
        max_age: seconds, or None for a cookie that ends with the browser.

    Raises:
        ConfigError: an attribute is malformed, or browsers reject the combination.
    """

    def __init__(
        self,
        signer: CookieSigner,
        *,
        name: str = "glimr_session",
        path: str = "/",
        domain: str = "",
        samesite: str = "Lax",
        secure: bool | None = None,
        partitioned: bool = False,
        max_age: float | None = None,
    ) -> None:
        check_cookie_attributes(
            name=name,
            path=path,
            domain=domain,
            samesite=samesite,
            secure=secure,
            partitioned=partitioned,
        )
        self.name = name
        self._start = f"{name}="
        self._signer = signer
        self._secure = True if why_secure(name, samesite, partitioned) else secure
        attributes = functools.partial(
            _attributes, path=path, domain=domain, samesite=samesite, partitioned=partitioned
        )
        age = None if max_age is None else math.ceil(max_age)  # 0 would end it at once
        self._set = {secure: attributes(secure=secure, max_age=age) for secure in (True, False)}
        self._expire = {secure: attributes(secure=secure, max_age=0) for secure in (True, False)}

    def read(self, headers: str | Sequence[str]) -> VerifiedCookie | None:
        """Return our cookie from the Cookie header, or from several of them.

        None if no cookie of ours verifies, or several that say different things: one of
        those was planted, and nothing tells which. Never raises; time and memory grow with
        the length of the headers and no faster.
        """
        header = headers if isinstance(headers, str) else "; ".join(headers)
        found: VerifiedCookie | None = None
        refused = False
        for candidate in self._candidates(header):
            verified = self._signer.unsign(candidate) if candidate.isascii() else None
            if verified is None:
                refused = True
            elif found is None or verified.value == found.value:
                found = verified if found is None else max(found, verified)
            else:
                logger.warning(
                    "Two different cookies %s verify; the request is anonymous.", self.name
                )
                return None
        if refused:
            logger.warning("A cookie %s does not verify and counts as absent.", self.name)
        return found

    def set(self, value: str, *, secure: bool) -> str:
        """Return the Set-Cookie header value for a session.

        Args:
            value: what to sign.
            secure: whether this request asks for Secure.

        Raises:
            SessionTooLarge: browsers would drop the cookie.
            ConfigError: the value holds characters that no cookie can.
        """
        if not _VALUE.fullmatch(value):
            raise ConfigError(
                "the store's cookie_value() returned characters that a cookie cannot hold; "
                "encode the value, for example with base64.urlsafe_b64encode"
            )
        attributes = self._set[secure if self._secure is None else self._secure]
        header = f"{self.name}={self._signer.sign(value)}{attributes}"
        if len(header) > _MAX_SIZE:
            raise SessionTooLarge(
                f"the session's cookie takes {len(header)} bytes, and browsers keep {_MAX_SIZE}; "
                'store less, or use store = "disk"',
                size=len(header),
                limit=_MAX_SIZE,
            )
        return header

    def expire(self, *, secure: bool) -> str:
        """Return the Set-Cookie header value that makes the browser forget the session."""
        return f"{self.name}={self._expire[secure if self._secure is None else self._secure]}"

    def _candidates(self, header: str) -> Iterable[str]:
        """Return every value under our name, whatever else is in the header."""
        start = self._start
        before, ours, after = header.partition(start)
        if not ours:
            return ()
        if start in after:
            cookies = {part.strip(" \t") for part in header.split(";")}
            return [cookie[len(start) :] for cookie in cookies if cookie.startswith(start)]
        if before and before.rstrip(" \t")[-1:] not in ("", ";"):
            return ()  # it is the end of another cookie's name, or a value
        return (after.partition(";")[0].rstrip(" \t"),)


def _attributes(
    *, path: str, domain: str, samesite: str, partitioned: bool, secure: bool, max_age: int | None
) -> str:
    from http.cookies import Morsel  # used once for each application

    morsel: Morsel[str] = Morsel()
    morsel.set("n", "", "")
    morsel["path"], morsel["domain"], morsel["samesite"] = path, domain, samesite
    morsel["httponly"], morsel["secure"] = True, secure
    morsel["max-age"] = "" if max_age is None else max_age
    # The standard library knows Partitioned since Python 3.14 only.
    return morsel.OutputString().removeprefix("n=") + ("; Partitioned" if partitioned else "")
