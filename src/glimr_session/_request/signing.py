"""Signing cookie values with itsdangerous, and verifying them."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import re
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import itsdangerous
from itsdangerous.encoding import want_bytes

from .._validation import MAKE_A_KEY, check_secret_keys
from ..errors import ConfigError

__all__ = ["CookieSigner", "VerifiedCookie"]

_REMEMBERED: Final = 1024  # verified cookies: 200 kB of ids

_SIGNATURE_LENGTH: Final = 43  # characters of unpadded base64 for SHA-256's 32 bytes

# What sign() returns: a value, the milliseconds, the signature.
_FORM: Final = re.compile(rf"[!-~]+\.([0-9a-f]{{1,16}})\.[\w-]{{{_SIGNATURE_LENGTH}}}", re.ASCII)

_CLOCK_DIFFERENCE: Final = 60.0  # seconds: how far another machine's clock may be ahead


class VerifiedCookie(NamedTuple):
    """A cookie of ours whose signature is right.

    Attributes:
        value: what was signed.
        issued_at: when it was signed, in seconds since the epoch.
        former: whether it names a session that is to be moved from another store, so that the
            browser needs another cookie.
        foreign: whether it is a framework's own cookie, which only the store can verify.
    """

    value: str
    issued_at: float
    former: bool = False
    foreign: bool = False

    def __repr__(self) -> str:
        """Show nothing of the value: it is an id, or a session."""
        return f"VerifiedCookie({len(self.value)} characters, issued_at={self.issued_at})"


class CookieSigner:
    """Signs values and verifies them, with keys that can be rotated.

    HMAC-SHA-256 as ``itsdangerous.Signer`` makes it, with a key derived for the salt.

    Args:
        secret_keys: the first one signs, all of them verify.
        salt: values that were signed with another salt do not verify.
        former_salts: but for these.
        remember: whether to remember the last 1,024 verified cookies. That pays where a page
            and the requests after it come with the same cookie.
        grace: for how many seconds ``may_be_newer`` is true of a signed value, 0 for never.

    Raises:
        ConfigError: there is no key, or one that can be guessed.

    Example:
        >>> signer = CookieSigner(["oUv7 - 32 characters, made at random"], "salt")
        >>> signer.unsign(signer.sign("value")).value
        'value'
    """

    def __init__(
        self,
        secret_keys: Sequence[str],
        salt: str,
        *,
        former_salts: Sequence[str] = (),
        remember: bool = False,
        grace: float = 0.0,
    ) -> None:
        check_secret_keys(secret_keys)
        if not secret_keys:
            raise ConfigError(f"secret_keys is empty, and cookies have to be signed. {MAKE_A_KEY}")
        self._grace = grace
        # itsdangerous signs with the last one.
        keys = list(reversed(secret_keys))
        self._signer = _Signer(keys, salt=salt)
        self._former = [_Signer(keys, salt=former) for former in former_salts]
        # What raises is not remembered, so a flood of forged cookies drives out nothing.
        self._verify = (
            functools.lru_cache(_REMEMBERED)(self._verify_anew) if remember else self._verify_anew
        )

    def sign(self, value: str) -> str:
        """Return the value with the time, in milliseconds, and the signature."""
        return self._signer.sign(f"{value}.{int(time.time() * 1000):x}").decode("ascii")

    def unsign(self, signed: str) -> VerifiedCookie | None:
        """Return what was signed, or None if the signature is wrong."""
        try:
            return self._verify(signed)
        except (itsdangerous.BadSignature, ValueError, OverflowError):
            return None

    def may_be_newer(self, signed: str) -> bool:
        """Whether a value that does not verify may have been signed a moment ago, by a newer key.

        Only its form and its time are looked at, and anybody can make these.
        """
        found = _FORM.fullmatch(signed) if self._grace else None
        if found is None:
            return False
        age = time.time() - int(found[1], 16) / 1000
        return -_CLOCK_DIFFERENCE <= age <= self._grace

    def _verify_anew(self, signed: str) -> VerifiedCookie:
        stamped, _, signature = signed.rpartition(".")
        former = False
        if not self._signer.verify_signature(stamped, signature):
            former = any(signer.verify_signature(stamped, signature) for signer in self._former)
            if not former:
                raise itsdangerous.BadSignature("not signed here")
        value, dot, stamp = stamped.rpartition(".")
        if not dot:
            raise itsdangerous.BadSignature("signed here, but not with a time")
        return VerifiedCookie(value, int(stamp, 16) / 1000, former)


class _Signer(itsdangerous.Signer):
    """itsdangerous' signatures, with the derived keys and the start of the HMAC kept.

    Verifying takes half the time; see docs/decisions/the-cookie.md.
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
        if len(sig) != _SIGNATURE_LENGTH:  # cheap, and true of most forged signatures
            return False
        value, sig = want_bytes(value), want_bytes(sig)
        for started in self._started:
            if hmac.compare_digest(_signature(started, value), sig):
                return True
        return False


def _signature(started: hmac.HMAC, value: bytes) -> bytes:
    mac = started.copy()
    mac.update(value)
    return base64.urlsafe_b64encode(mac.digest()).rstrip(b"=")
