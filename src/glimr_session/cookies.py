"""The session cookie: read, signed, and set; and what caches must know of it."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import logging
import math
import re
import time
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import itsdangerous
from itsdangerous.encoding import want_bytes

from .errors import ConfigError, SessionTooLarge

__all__ = ["Received", "SessionCookie", "Signatures", "check_attributes", "with_session_headers"]

logger = logging.getLogger("glimr_session")

# RFC 6265, section 4.1.1: a name is a token, a value is made of cookie-octets.
_NAME: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_VALUE: Final = re.compile(r"[!#-+\--:<-\[\]-~]*", re.ASCII)
_PATH: Final = r"/[!-:<-~]*"
_DOMAIN: Final = r"\.?[0-9A-Za-z]([0-9A-Za-z.-]*[0-9A-Za-z])?"

# RFC 6265, section 6.1: name, value and attributes together, in bytes.
_LIMIT: Final = 4096

_LONGEST: Final = 1024  # bytes of an attribute: RFC 6265bis, section 5.6

_REMEMBERED: Final = 1024  # verified cookies: 200 kB of ids, or 4 MB of full cookies

_SIGNATURE: Final = 43  # characters of base64, without padding, are SHA-256's 32 bytes

_LEAST_KEY: Final = 32  # characters: 128 bits even of a key in hex digits


class Received(NamedTuple):
    """A cookie of ours that verified: what is in it, and when it was set.

    ``issued`` is seconds since the epoch.
    """

    value: str
    issued: float

    def __repr__(self) -> str:
        """Show nothing of the value: it is an id, or a session."""
        return f"Received({len(self.value)} characters, issued={self.issued})"


class Signatures:
    """Signs values and tells its own from others, with keys that can be rotated.

    HMAC-SHA-256 of itsdangerous, with a key derived for this salt. The first of
    ``secret_keys`` signs, all of them verify.
    """

    def __init__(self, secret_keys: Sequence[str], salt: str) -> None:
        check_secret_keys(secret_keys)
        if not secret_keys:
            raise ConfigError(f"secret_keys is empty, and cookies have to be signed. {_MAKE_A_KEY}")
        # itsdangerous signs with the last one.
        self._signer = _Signer(list(reversed(secret_keys)), salt=salt)
        # The requests of a page come with one cookie. What raises is not remembered, so
        # that forged ones drive out nothing.
        self._verified = functools.lru_cache(_REMEMBERED)(self._verify)

    def sign(self, value: str) -> str:
        """Give the value with the time, in milliseconds, and the signature."""
        return self._signer.sign(f"{value}.{int(time.time() * 1000):x}").decode("ascii")

    def unsign(self, signed: str) -> Received | None:
        """Give what was signed, or None if it was not signed here."""
        try:
            return self._verified(signed)
        except (itsdangerous.BadSignature, ValueError, OverflowError):
            return None

    def _verify(self, signed: str) -> Received:
        stamped, _, signature = signed.rpartition(".")
        if not self._signer.verify_signature(stamped, signature):
            raise itsdangerous.BadSignature("not signed here")
        value, dot, stamp = stamped.rpartition(".")
        if not dot:
            raise itsdangerous.BadSignature("signed here, but not with a time")
        return Received(value, int(stamp, 16) / 1000)


class SessionCookie:
    """The cookie of one application, its attributes checked and formatted once.

    ``max_age`` is seconds, or None for a cookie that ends with the browser. ``secure``
    is True, False, or None to decide by the request. Raises ConfigError for names,
    paths and domains that are none, and for combinations that browsers reject.
    """

    def __init__(
        self,
        signatures: Signatures,
        *,
        name: str = "glimr_session",
        path: str = "/",
        domain: str = "",
        samesite: str = "Lax",
        secure: bool | None = None,
        partitioned: bool = False,
        max_age: float | None = None,
    ) -> None:
        check_attributes(
            name=name,
            path=path,
            domain=domain,
            samesite=samesite,
            secure=secure,
            partitioned=partitioned,
        )
        self.name = name
        self._start = f"{name}="
        self._signatures = signatures
        self._secure = True if _must_be_secure(name, samesite, partitioned) else secure
        attributes = functools.partial(
            _attributes, path=path, domain=domain, samesite=samesite, partitioned=partitioned
        )
        age = None if max_age is None else math.ceil(max_age)  # 0 would end it at once
        self._set = {secure: attributes(secure=secure, max_age=age) for secure in (True, False)}
        self._end = {secure: attributes(secure=secure, max_age=0) for secure in (True, False)}

    def read(self, header: str) -> Received | None:
        """Find our cookie in a Cookie header, whatever else is in there.

        None if there is none that verifies, or several that say different things: one
        of those was planted, and nobody can tell which. Never raises; time and memory
        grow with the length of the header and no faster.
        """
        start = self._start
        before, ours, after = header.partition(start)
        if not ours:
            return None
        found: Received | None = None
        refused = False
        candidates: Iterable[str]
        if start not in after:  # as in most requests
            if before and before.rstrip(" \t")[-1:] not in ("", ";"):
                return None  # it is the end of another one's name, or a value
            candidates = (after.partition(";")[0].rstrip(" \t"),)
        else:
            cookies = {part.strip(" \t") for part in header.split(";")}
            candidates = [cookie[len(start) :] for cookie in cookies if cookie.startswith(start)]
        for candidate in candidates:
            received = self._signatures.unsign(candidate) if candidate.isascii() else None
            if received is None:
                refused = True
            elif found is None or received.value == found.value:
                found = received if found is None else max(found, received)
            else:
                logger.warning(
                    "Two different cookies %s verify; the request is anonymous.", self.name
                )
                return None
        if refused:
            logger.warning("A cookie %s does not verify and counts as absent.", self.name)
        return found

    def set(self, value: str, *, secure: bool) -> str:
        """Give the Set-Cookie header value for a session.

        ``secure`` is what the request asks for. Raises SessionTooLarge, or ConfigError
        if a store's ``cookie_value`` holds characters that no cookie can.
        """
        if not _VALUE.fullmatch(value):
            raise ConfigError(
                "the store's cookie_value() gave characters that a cookie cannot hold; "
                "encode the value, for example with base64.urlsafe_b64encode"
            )
        attributes = self._set[secure if self._secure is None else self._secure]
        header = f"{self.name}={self._signatures.sign(value)}{attributes}"
        if len(header) > _LIMIT:
            raise SessionTooLarge(
                f"the session's cookie takes {len(header)} bytes, and browsers keep {_LIMIT}; "
                'store less, or use store = "disk"',
                size=len(header),
                limit=_LIMIT,
            )
        return header

    def end(self, *, secure: bool) -> str:
        """Give the Set-Cookie header value that makes the browser forget the session."""
        return f"{self.name}={self._end[secure if self._secure is None else self._secure]}"


def with_session_headers(
    headers: Sequence[tuple[str, str]], set_cookie: str | None
) -> list[tuple[str, str]]:
    """Give the headers of a response that depended on its session.

    ``Vary: Cookie`` keeps shared caches from giving one user's page to another. A
    response that sets the cookie is not to be stored at all, or, where the application
    has a Cache-Control of its own, stored without its Set-Cookie (RFC 9111, 5.2.2.4).
    """
    if set_cookie is None:
        for name, _ in headers:
            if len(name) == len("Vary") and name.lower() == "vary":
                break
        else:  # as in most responses
            return [*headers, ("Vary", "Cookie")]
    changed = [*headers]
    names = [name.lower() for name, _ in headers]
    if "vary" in names:
        _append(changed, names, "vary", "Cookie", unless=("cookie", "*"))
    else:
        changed.append(("Vary", "Cookie"))
    if set_cookie is not None:
        if "cache-control" in names:
            only_once = ("no-store", "no-cache")
            _append(changed, names, "cache-control", 'no-cache="Set-Cookie"', unless=only_once)
        else:
            changed.append(("Cache-Control", "no-store"))
        changed.append(("Set-Cookie", set_cookie))
    return changed


def check_attributes(
    *, name: str, path: str, domain: str, samesite: str, secure: bool | None, partitioned: bool
) -> None:
    """Raise ConfigError for a cookie that no browser would take, naming the setting."""
    if not re.fullmatch(_NAME, name):
        raise ConfigError(
            f"cookie: {name!r} is no cookie name; use letters, digits, - and _, as in "
            '"glimr_session"'
        )
    if not re.fullmatch(_PATH, path):
        raise ConfigError(
            f"cookie_path: {path!r} is no path; it begins with / and has no spaces, "
            "semicolons or control characters"
        )
    if domain and not re.fullmatch(_DOMAIN, domain):
        raise ConfigError(
            f'cookie_domain: {domain!r} is no domain; write it as in "example.com", or "" '
            "for this host alone"
        )
    for setting, value in (("cookie_path", path), ("cookie_domain", domain)):
        if len(value) > _LONGEST:
            raise ConfigError(
                f"{setting} has {len(value)} characters; browsers ignore more than {_LONGEST}"
            )
    if samesite not in ("Lax", "Strict", "None"):
        raise ConfigError(f'cookie_samesite: {samesite!r} is not "Lax", "Strict" or "None"')
    why = _must_be_secure(name, samesite, partitioned)
    if why and secure is False:
        raise ConfigError(f"cookie_secure: false contradicts {why}, which browsers tie to Secure")
    if name.lower().startswith("__host-") and (path != "/" or domain):
        raise ConfigError(
            f'cookie: {name!r} asks browsers for cookie_path = "/" and no cookie_domain; '
            f"here they are {path!r} and {domain!r}"
        )


def check_secret_keys(secret_keys: Sequence[str]) -> None:
    """Raise ConfigError for keys that can be guessed, without quoting them."""
    for number, key in enumerate(secret_keys):
        if len(key) < _LEAST_KEY:
            raise ConfigError(
                f"secret_keys[{number}] has {len(key)} characters, and {_LEAST_KEY} are the "
                f"least. {_MAKE_A_KEY}"
            )
        if any("\ud800" <= character <= "\udfff" for character in key):
            raise ConfigError(f"secret_keys[{number}] is not text in UTF-8. {_MAKE_A_KEY}")


_MAKE_A_KEY: Final = (
    'Make one with: python -c "import secrets; print(secrets.token_hex(32))" '
    "and set GLIMR_SESSION_SECRET_KEYS to it."
)


class _Signer(itsdangerous.Signer):
    """itsdangerous' signatures, with everything done once that need not be done again.

    Its own derives the key anew for each signature, starts HMAC anew and goes through
    base64 both ways: verifying takes 4.4 us so, and 2.2 here.
    """

    def __init__(self, secret_keys: list[str], *, salt: str) -> None:
        super().__init__(
            secret_keys, salt=salt, key_derivation="hmac", digest_method=hashlib.sha256
        )
        derived = [self.derive_key(key) for key in reversed(self.secret_keys)]
        self._started = [hmac.new(key, digestmod=hashlib.sha256) for key in derived]

    def get_signature(self, value: str | bytes) -> bytes:
        return _signature(self._started[0], want_bytes(value))

    def verify_signature(self, value: str | bytes, sig: str | bytes) -> bool:
        if len(sig) != _SIGNATURE:  # which forged ones seldom think of
            return False
        value, sig = want_bytes(value), want_bytes(sig)
        for started in self._started:  # any() of a generator takes 0.5 us more
            if hmac.compare_digest(_signature(started, value), sig):
                return True
        return False


def _signature(started: hmac.HMAC, value: bytes) -> bytes:
    mac = started.copy()
    mac.update(value)
    return base64.urlsafe_b64encode(mac.digest()).rstrip(b"=")


def _must_be_secure(name: str, samesite: str, partitioned: bool) -> str:
    """Give what ties the cookie to Secure, or ""."""
    if name.lower().startswith(("__host-", "__secure-")):
        return f"cookie = {name!r}"
    if samesite == "None":
        return 'cookie_samesite = "None"'
    return "cookie_partitioned = true" if partitioned else ""


def _attributes(
    *, path: str, domain: str, samesite: str, partitioned: bool, secure: bool, max_age: int | None
) -> str:
    from http.cookies import Morsel  # once for each application

    morsel: Morsel[str] = Morsel()
    morsel.set("n", "", "")
    morsel["path"], morsel["domain"], morsel["samesite"] = path, domain, samesite
    morsel["httponly"], morsel["secure"] = True, secure
    morsel["max-age"] = "" if max_age is None else max_age
    # The standard library knows Partitioned since Python 3.14 only.
    return morsel.OutputString().removeprefix("n=") + ("; Partitioned" if partitioned else "")


def _append(
    headers: list[tuple[str, str]],
    names: list[str],
    name: str,
    word: str,
    *,
    unless: tuple[str, ...],
) -> None:
    """Add a word to the last header of this name, if it is in none of them.

    ``names`` are the names of the headers, in lower case.
    """
    last = 0
    for position, (found, (_, value)) in enumerate(zip(names, headers, strict=False)):
        if found == name:
            if any(part.strip().lower() in unless for part in value.split(",")):
                return
            last = position
    found, value = headers[last]
    headers[last] = (found, f"{value}, {word}" if value.strip() else word)
