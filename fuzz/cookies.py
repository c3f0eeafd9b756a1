"""Cookie headers: whatever a client sends, and whatever another version of us may sign."""

from __future__ import annotations

import hashlib
import math
import re
from typing import Final

import itsdangerous

from glimr_session.cookies import SessionCookie, Signatures

__all__ = ["COOKIE", "NAME", "OTHER", "OURS", "WORDS", "check", "run", "seeds"]

NAME: Final = "glimr_session"

_KEYS: Final = ["the first key, which signs, of a trial", "the second key, which verifies too"]
_SALT: Final = "fuzz"

_SIGNATURES: Final = Signatures(_KEYS, _SALT)
_SIGNER: Final = itsdangerous.Signer(
    _KEYS[0], salt=_SALT, key_derivation="hmac", digest_method=hashlib.sha256
)

COOKIE: Final = SessionCookie(_SIGNATURES)

OURS: Final = f"{NAME}={_SIGNATURES.sign('ours')}"
OTHER: Final = f"{NAME}={_SIGNATURES.sign('other')}"
"""Two cookies of ours that say different things, as they stand in a header."""

WORDS: Final = [
    NAME.encode(), b"\x01", b"\x02", b"\x03ours.19d3f1a8c00\x03", b"; ", b";", b"=", b".", b'"',
    b"__Host-", b"0x", b"_", b"\t", b"\xc3\xa9",
]  # fmt: skip

_TO_SIGN: Final = re.compile("\x03([^\x03]*)\x03")


def check(text: str) -> None:
    r"""Read a header; raise AssertionError if anything but what was signed comes out.

    In the text ``\x01`` and ``\x02`` stand for two good cookies, and what is between
    two ``\x03`` is signed as it stands: no attacker can do that, but another version of
    this package, with another idea of what goes before a signature, could have.
    """
    pieces = _TO_SIGN.split(text)  # every second one is to be signed
    stamped = pieces[1::2]
    signed = [_signed(piece) for piece in stamped]
    pieces[1::2] = [f"{NAME}={value}" for value in signed]
    header = "".join(pieces).replace("\x01", OURS).replace("\x02", OTHER)
    allowed = {"ours", "other", *(piece.rpartition(".")[0] for piece in stamped if "." in piece)}
    for received in (COOKIE.read(header), *map(_SIGNATURES.unsign, signed)):
        if received is not None:
            assert received.value in allowed, f"{received!r} came out"
            assert math.isfinite(received.issued), f"{received!r} was set at no time"
    if header == text:
        assert COOKIE.read(header) is None, "what nobody signed was taken"
        for whole in (f"{header};{OURS}", f"{OURS};{header}"):
            received = COOKIE.read(whole)
            assert received is not None, "our cookie was hidden"
            assert received.value == "ours", "our cookie was changed"


def _signed(stamped: str) -> str:
    signature = _SIGNER.get_signature(stamped.encode("utf-8", "surrogatepass"))
    return f"{stamped}.{signature.decode()}"


def run(data: bytes) -> None:
    """Take bytes as WSGI servers do."""
    check(data.decode("latin-1"))


def seeds() -> list[bytes]:
    """Give headers of every kind."""
    return [
        b"\x01",
        b"a=b; \x01; c=d",
        b"\x01; \x02",
        b"\x01; \x01;\x01",
        b"\x03ours.19d3f1a8c00\x03",
        b"\x03a.b.c.0\x03; \x02",
        b"\x03ours.-1_0\x03",
        b"\x03ours.0x1\x03\xff",
        b"\x03" + b"f" * 300 + b"\x03",
        f'{NAME}="ours.19d3f1a8c00.A"; {NAME}; \x01'.encode(),
        b"; ".join(b"%s=%d.%d.A" % (NAME.encode(), n, n) for n in range(20)),
    ]
