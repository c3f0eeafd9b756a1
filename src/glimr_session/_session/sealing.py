"""Sealer: encrypts what is stored of a session, with keys that can be rotated."""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from ..errors import ConfigError, StoreUnavailable

if TYPE_CHECKING:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["SEALED", "Sealer", "why_unreadable"]

SEALED: Final = b"s1"
"""What a sealed value begins with. It is no JSON."""

_NAME_SIZE: Final = 4  # bytes that tell which key has sealed a value
_SALT_SIZE: Final = 12
_NONCE_SIZE: Final = 12
_SALT_AT: Final = len(SEALED) + _NAME_SIZE
_NONCE_AT: Final = _SALT_AT + _SALT_SIZE
_TEXT_AT: Final = _NONCE_AT + _NONCE_SIZE

_PURPOSE: Final = b"glimr_session sealed values"

# Values that are sealed with one salt, and so with one key. NIST SP 800-38D, section 8.3, allows
# 2**32 where nonces are drawn at random.
_SEALS_PER_SALT: Final = 2**24

# Keys that are remembered, for the salts of as many processes.
_REMEMBERED: Final = 1024


class Sealer:
    """Encrypts values with AES-256-GCM.

    The key is derived from a secret key and a salt, which each process draws for itself. A sealed
    value is ``s1``, the name of the secret key (4 bytes), the salt and a nonce (12 random bytes
    each), the encrypted value and the tag (16 bytes). See docs/decisions/encryption.md.

    Args:
        secret_keys: the first one seals, all of them open.
        seals: whether ``seal`` encrypts. If not, values that are sealed are opened all the same,
            so that the setting can be changed server by server.

    Raises:
        ConfigError: the package cryptography cannot be imported, and ``seals`` is true.

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
        self._salt, self._salt_of, self._seals_left = b"", 0, 0
        if seals:
            try:
                _aes_gcm()
            except ImportError as error:
                raise ConfigError(f"encrypt = true: {_missing(error)}") from None

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
        process = os.getpid()
        if self._seals_left <= 0 or self._salt_of != process:
            self._salt, self._salt_of = os.urandom(_SALT_SIZE), process
            self._seals_left = _SEALS_PER_SALT
        self._seals_left -= 1  # threads may lose a few counts
        salt, nonce = self._salt, os.urandom(_NONCE_SIZE)
        sealed = _cipher(self._keys[0], salt).encrypt(nonce, value, place)
        return b"".join((SEALED, self._names[0], salt, nonce, sealed))

    def open(self, value: bytes, place: bytes) -> bytes | None:
        """Return the value in a sealed one, or None if no key of ours has sealed it here.

        One that is not sealed is returned as it is.

        Raises:
            StoreUnavailable: the package cryptography cannot be imported.
        """
        if not value.startswith(SEALED):
            return value
        try:
            _, invalid_tag = _aes_gcm()
        except ImportError as error:
            message = f"the sessions are encrypted, and {_missing(error)}"
            raise StoreUnavailable(message) from None
        name = value[len(SEALED) : _SALT_AT]
        salt, nonce, sealed = value[_SALT_AT:_NONCE_AT], value[_NONCE_AT:_TEXT_AT], value[_TEXT_AT:]
        for key, its_name in zip(self._keys, self._names, strict=True):
            if name == its_name:  # of several keys too: the names are short
                try:
                    return _cipher(key, salt).decrypt(nonce, sealed, place)
                except (invalid_tag, ValueError):  # the latter: cut off in its nonce
                    continue
        return None

    def knows_key_of(self, value: bytes) -> bool:
        """Whether one of the keys has the name of the key that has sealed a value."""
        return value[len(SEALED) : _SALT_AT] in self._names

    def is_current(self, value: bytes) -> bool:
        """Whether a value is as ``seal`` would leave it now: plain, or sealed by the first key.

        One that is not is written anew when its session is renewed. Otherwise a session that is
        only read would be lost when its key is removed.
        """
        if not self.seals:
            return not value.startswith(SEALED)
        return value.startswith(SEALED + self._names[0])


def why_unreadable(value: object, sealer: Sealer | None) -> str:
    """Return why a sealed value cannot be opened, as the rest of a log line; "" for others."""
    if not isinstance(value, bytes) or not value.startswith(SEALED):
        return ""
    if sealer is None:
        return " It is encrypted, and this store was given no secret_keys."
    if not sealer.knows_key_of(value):
        return " It is encrypted with a key that is not in secret_keys."
    return " It is encrypted, and was damaged or belongs elsewhere."


@functools.lru_cache(_REMEMBERED)
def _cipher(key: bytes, salt: bytes) -> AESGCM:
    """Return what encrypts with the key of a salt; hot path, see docs/decisions/encryption.md."""
    aes_gcm, _ = _aes_gcm()
    return aes_gcm(hmac.digest(key, salt, hashlib.sha256))


@functools.cache  # a failure is not kept
def _aes_gcm() -> tuple[type[AESGCM], type[InvalidTag]]:
    from cryptography.exceptions import InvalidTag  # an extra
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM, InvalidTag


def _missing(error: ImportError) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed. Run: pip install 'glimr-session[encrypt]'"
    return f"cryptography cannot be imported: {error}"
