"""The session cookie: found in the Cookie headers, and written as Set-Cookie."""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from .._log import warn
from .._validation import check_cookie_attributes, why_secure
from ..errors import ConfigError, SessionTooLarge
from .cache_headers import add_session_headers
from .origin import Origin
from .signing import CookieSigner, VerifiedCookie

__all__ = ["COOKIE_OCTETS", "MAX_SIZE", "ReceivedCookies", "SessionCookie", "unfit_value"]

# RFC 6265, section 4.1.1: a value is made of cookie-octets.
COOKIE_OCTETS: Final = re.compile(r"[!#-+\--:<-\[\]-~]*", re.ASCII)

# RFC 6265, section 6.1: name, value and attributes together, in bytes.
MAX_SIZE: Final = 4096


class ReceivedCookies(NamedTuple):
    """The cookies under our name in a request.

    A browser sends several if their Domain, Path or Partitioned differ.

    Attributes:
        verified: those whose signature is right, one for each value.
        refused: whether there are others.
        newer: whether a newer key may have signed one of these.
    """

    verified: tuple[VerifiedCookie, ...]
    refused: bool
    newer: bool = False


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
        lifetime: the age of the cookie in seconds.
        on_close: whether it ends with the browser instead.
        former_name: the name of a framework's own cookie, which is read where there is none
            of ours; "" reads none.

    Raises:
        ConfigError: an attribute is malformed, or browsers reject the combination.
    """

    kind: Final = "cookie"
    request_header: Final = "Cookie"
    environ_key: Final = "HTTP_COOKIE"
    response_header: Final = "Set-Cookie"
    add_headers = staticmethod(add_session_headers)

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
        lifetime: float = 0.0,
        on_close: bool = False,
        former_name: str = "",
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
        self._path, self._domain = path, domain
        self._start = f"{name}="
        self._former_start = f"{former_name}="
        self._signer = signer
        self._secure = True if why_secure(name, samesite, partitioned) else secure
        self._lifetime, self._on_close = lifetime, on_close
        self._attributes = functools.partial(_attributes, samesite=samesite)
        ours = functools.partial(
            self._attributes, path=path, domain=domain, partitioned=partitioned
        )
        age = None if on_close or not lifetime else lifetime
        self._set = {secure: ours(secure=secure, max_age=age) for secure in (True, False)}
        self._expire = {secure: ours(secure=secure, max_age=0) for secure in (True, False)}
        self._ours = ours

    def read(self, headers: str | Sequence[str]) -> ReceivedCookies:
        """Return our cookies from the Cookie header, or from several of them.

        Never raises; time and memory grow with the length of the headers and no faster.
        """
        header = headers if isinstance(headers, str) else "; ".join(headers)
        found: list[VerifiedCookie] = []
        refused = newer = False
        for candidate in _candidates(header, self._start):
            value = _unquoted(candidate)
            verified = self._signer.unsign(value) if value.isascii() else None
            if verified is None:
                refused = True
                newer = newer or self._signer.may_be_newer(value)
            else:
                found.append(verified)
        if len(found) > 1:  # the newest one for each value
            newest: dict[str, VerifiedCookie] = {}
            for cookie in found:
                newest[cookie.value] = max(cookie, newest.get(cookie.value, cookie))
            found = [*newest.values()]
        if not found and len(self._former_start) > 1:
            found = [
                VerifiedCookie(f"~{_unquoted(value)}", 0.0, former=True, foreign=True)
                for value in _candidates(header, self._former_start)
            ]
            if self._former_start == self._start:  # these are all that there are
                refused = False
        return ReceivedCookies(tuple(found), refused, newer)

    def set(
        self, value: str, origin: Origin, *, lifetime: float = 0.0, on_close: bool | None = None
    ) -> str:
        """Return the Set-Cookie header value for a session.

        Args:
            value: what to sign.
            origin: where the request came to.
            lifetime: the session's own idle timeout in seconds, 0 for the configured one.
            on_close: whether the cookie ends with the browser; None for the configured way.

        Raises:
            SessionTooLarge: browsers would drop the cookie.
            ConfigError: the value holds characters that no cookie can.
        """
        if not COOKIE_OCTETS.fullmatch(value):
            raise unfit_value()
        secure = self._needs_secure(origin)
        attributes = self._set[secure]
        if lifetime or on_close is not None:
            ends = self._on_close if on_close is None else on_close
            age = None if ends else lifetime or self._lifetime
            attributes = self._ours(secure=secure, max_age=age)
        header = f"{self.name}={self._signer.sign(value)}{attributes}"
        if len(header) > MAX_SIZE:
            raise SessionTooLarge(
                f"the session's cookie takes {len(header)} bytes, and browsers keep {MAX_SIZE}; "
                'store less, or use store = "disk"',
                size=len(header),
                limit=MAX_SIZE,
            )
        self._warn_if_lost(origin, secure)
        return header

    def expire(self, origin: Origin) -> str:
        """Return the Set-Cookie header value that makes the browser forget the session."""
        return f"{self.name}={self._expire[self._needs_secure(origin)]}"

    def expire_former(self) -> list[str]:
        """Return Set-Cookie header values that make the browser forget a framework's cookie.

        None if it has the name of ours, which replaces it.
        """
        if self._former_start == self._start:
            return []
        # Browsers ignore a cookie with such a prefix unless it is Secure.
        secure = "; Secure" if self._former_start.startswith("__") else ""
        return [f"{self._former_start}; Max-Age=0; Path=/{secure}"]

    def expire_others(self, origin: Origin) -> list[str]:
        """Return Set-Cookie header values for cookies that other settings may have left.

        Those of another Path or Domain that can be named, and of the other Partitioned.
        """
        secure = self._needs_secure(origin)
        ours = self.expire(origin)
        others = {
            f"{self.name}="
            + self._attributes(
                path=path, domain=domain, partitioned=partitioned, secure=secure, max_age=0
            ): None
            for path, domain, partitioned in itertools.product(
                (self._path, "/"), (self._domain, ""), (False, True) if secure else (False,)
            )
        }
        return [other for other in others if other != ours]

    def _needs_secure(self, origin: Origin) -> bool:
        return origin.needs_secure if self._secure is None else self._secure

    def _warn_if_lost(self, origin: Origin, secure: bool) -> None:
        """Tell, once, that browsers will not send the cookie back, and what to set."""
        if secure and not origin.is_https and not origin.is_loopback:
            warn(
                "The session cookie is Secure, and a request came over plain HTTP that no proxy "
                "says is HTTPS: browsers will not send the cookie back. If they use HTTPS, let the "
                "proxy send X-Forwarded-Proto; if not, set cookie_secure = false.",
                once=True,
            )
        domain = self._domain.lstrip(".").lower()
        if domain and origin.name != domain and not origin.name.endswith(f".{domain}"):
            warn(
                "The session cookie is for %s, and a request came to another host: browsers will "
                'not take the cookie. Set cookie_domain to a domain of the site, or to "".',
                domain,
                once=True,
            )
        prefix = self._path.rstrip("/")
        if prefix and origin.path != prefix and not origin.path.startswith(f"{prefix}/"):
            warn(
                "The session cookie is for the path %s, and a request came to another one: "
                "browsers will not send the cookie there. Set cookie_path to the path of the "
                'site, or to "/".',
                self._path,
                once=True,
            )


def unfit_value() -> ConfigError:
    """Return the error for a store's value that no cookie, and no header, can hold."""
    return ConfigError(
        "the store's cookie_value() returned characters that a cookie cannot hold; "
        "encode the value, for example with base64.urlsafe_b64encode"
    )


def _candidates(header: str, start: str) -> Iterable[str]:
    """Return every value of the cookie that starts like this, whatever else is in the header."""
    before, ours, after = header.partition(start)
    if not ours:
        return ()
    if start in after:
        cookies = dict.fromkeys(part.strip(" \t") for part in header.split(";"))
        return [cookie[len(start) :] for cookie in cookies if cookie.startswith(start)]
    if before and before.rstrip(" \t")[-1:] not in ("", ";"):
        return ()  # it is the end of another cookie's name, or a value
    return (after.partition(";")[0].rstrip(" \t"),)


def _unquoted(value: str) -> str:
    if value.startswith('"') and value.endswith('"'):
        return value[1:-1]  # RFC 6265, section 4.1.1
    return value


def _attributes(
    *,
    path: str,
    domain: str,
    samesite: str,
    partitioned: bool,
    secure: bool,
    max_age: float | None,
) -> str:
    from http.cookies import Morsel  # seldom used

    morsel: Morsel[str] = Morsel()
    morsel.set("n", "", "")
    morsel["path"], morsel["domain"], morsel["samesite"] = path, domain, samesite
    morsel["httponly"], morsel["secure"] = True, secure
    # Rounded up: 0 would end the cookie at once.
    morsel["max-age"] = "" if max_age is None else math.ceil(max_age)
    # The standard library knows Partitioned since Python 3.14 only.
    return morsel.OutputString().removeprefix("n=") + ("; Partitioned" if partitioned else "")
