"""Sealer: encrypts what is stored of a session, with keys that can be rotated."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from typing import Any, Final

from ..errors import ConfigError, StoreUnavailable

__all__ = ["SEALED", "Sealer"]

SEALED: Final = b"s1"
"""What a sealed value begins with. It is no JSON."""

_NAME_SIZE: Final = 4  # bytes that tell which key has sealed a value
_SALT_SIZE: Final = 12
_NONCE_SIZE: Final = 12
_SALT_AT: Final = len(SEALED) + _NAME_SIZE
_NONCE_AT: Final = _SALT_AT + _SALT_SIZE
_TEXT_AT: Final = _NONCE_AT + _NONCE_SIZE

_PURPOSE: Final = b"glimr_session sealed values"


class Sealer:
    """Encrypts values with AES-256-GCM, each with a key of its own.

    The key of a value is derived from a secret key and 12 random bytes, and the nonce has 12
    more: two values with the same 24 are not to be expected before 2**80 of them.

    Args:
        secret_keys: the first one seals, all of them open.
        seals: whether ``seal`` encrypts. If not, values that are sealed are opened all the same,
            so that the setting can be changed server by server.

    Raises:
        ConfigError: the package cryptography is not installed, and ``seals`` is true.

    Example:
        >>> sealer = Sealer(["oUv7 - 32 characters, made at random"])
        >>> sealer.open(sealer.seal(b"value", b"place"), b"place")
        b'value'
    """

    def __init__(self, secret_keys: Sequence[str], *, seals: bool = True) -> None:
        self._keys = [
            hmac.digest(key.encode("utf-8", "surrogatepass"), _PURPOSE, hashlib.sha256)
            for key in secret_keys
        ]
        self._names = [hashlib.sha256(key).digest()[:_NAME_SIZE] for key in self._keys]
        self.seals = seals
        if seals:
            try:
                _aes_gcm()
            except ImportError as error:
                raise ConfigError(f"encrypt: {_missing(error)}") from None

    def __repr__(self) -> str:
        return f"Sealer({len(self._keys)} keys, seals={self.seals})"

    def seal(self, value: bytes, place: bytes) -> bytes:
        """Return a value encrypted, or as it is if ``seals`` is false.

        Args:
            value: what to encrypt.
            place: where it will be; it opens nowhere else.
        """
        if not self.seals:
            return value
        random = os.urandom(_SALT_SIZE + _NONCE_SIZE)
        key = self._key_for(self._keys[0], random[:_SALT_SIZE])
        sealed: bytes = _aes_gcm()(key).encrypt(random[_SALT_SIZE:], value, place)
        return b"".join((SEALED, self._names[0], random, sealed))

    def open(self, value: bytes, place: bytes) -> bytes | None:
        """Return the value in a sealed one, or None if no key of ours has sealed it here.

        One that is not sealed is returned as it is.

        Raises:
            StoreUnavailable: the package cryptography is not installed.
        """
        if not value.startswith(SEALED):
            return value
        try:
            cipher = _aes_gcm()
        except ImportError as error:
            message = f"the sessions are encrypted, and {_missing(error)}"
            raise StoreUnavailable(message) from None
        from cryptography.exceptions import InvalidTag

        name = value[len(SEALED) : _SALT_AT]
        salt, nonce, sealed = value[_SALT_AT:_NONCE_AT], value[_NONCE_AT:_TEXT_AT], value[_TEXT_AT:]
        for key, its_name in zip(self._keys, self._names, strict=True):
            if name == its_name:
                try:
                    opened: bytes = cipher(self._key_for(key, salt)).decrypt(nonce, sealed, place)
                except (InvalidTag, ValueError):
                    continue
                return opened
        return None

    def _key_for(self, key: bytes, salt: bytes) -> bytes:
        return hmac.digest(key, salt, hashlib.sha256)


def _aes_gcm() -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # an extra

    return AESGCM


def _missing(error: ImportError) -> str:
    return f"{error.name} is not installed. Run: pip install 'glimr-session[encrypt]'"
