"""Cookie headers: whatever a client sends, and whatever another version may have signed."""

from __future__ import annotations

import hashlib
import math
import re
from typing import Final

import itsdangerous

from glimr_session._request.cookie import SessionCookie
from glimr_session._request.signing import CookieSigner

__all__ = ["COOKIE", "NAME", "OTHER", "OURS", "WORDS", "check", "run", "seeds"]

NAME: Final = "glimr_session"

_KEYS: Final = ["the first key, which signs, of a trial", "the second key, which verifies too"]
_SALT: Final = "fuzz"

_SIGNER: Final = CookieSigner(_KEYS, _SALT)
_REMEMBERING: Final = CookieSigner(_KEYS, _SALT, remember=True)
_ITSDANGEROUS: Final = itsdangerous.Signer(
    _KEYS[0], salt=_SALT, key_derivation="hmac", digest_method=hashlib.sha256
)

COOKIE: Final = SessionCookie(_SIGNER)

OURS: Final = f"{NAME}={_SIGNER.sign('ours')}"
OTHER: Final = f"{NAME}={_SIGNER.sign('other')}"
"""Two cookies of ours with different values, as they stand in a header."""

WORDS: Final = [
    NAME.encode(), b"\x01", b"\x02", b"\x03ours.19d3f1a8c00\x03", b"; ", b";", b"=", b".", b'"',
    b"__Host-", b"0x", b"_", b"\t", b"\xc3\xa9",
]  # fmt: skip

_TO_SIGN: Final = re.compile("\x03([^\x03]*)\x03")


def check(text: str) -> None:
    r"""Read a header; raise AssertionError if anything but what was signed comes out.

    In the text ``\x01`` and ``\x02`` stand for two good cookies. What is between two ``\x03``
    is signed as it stands: no attacker can do that, but another version of this package, with
    another format before the signature, could have.
    """
    pieces = _TO_SIGN.split(text)  # every second one is to be signed
    stamped = pieces[1::2]
    signed = [_signed(piece) for piece in stamped]
    pieces[1::2] = [f"{NAME}={value}" for value in signed]
    header = "".join(pieces).replace("\x01", OURS).replace("\x02", OTHER)
    allowed = {"ours", "other", *(piece.rpartition(".")[0] for piece in stamped if "." in piece)}
    unsigned = [*map(_SIGNER.unsign, signed)]
    for _ in range(2):  # the second time they may have been remembered
        assert [*map(_REMEMBERING.unsign, signed)] == unsigned, "memory changes the answer"
    read = COOKIE.read(header).verified
    assert len({verified.value for verified in read}) == len(read), "a value came out twice"
    for verified in (*read, *unsigned):
        if verified is not None:
            assert verified.value in allowed, f"{verified!r} came out"
            assert math.isfinite(verified.issued_at), f"{verified!r} was set at no time"
    if header == text:
        assert not read, "what nobody signed was taken"
        wholes = (f"{header};{OURS}", f"{OURS};{header}", [header, OURS], [OURS, header])
        for whole in wholes:
            values = [verified.value for verified in COOKIE.read(whole).verified]
            assert values, "our cookie was hidden"
            assert values == ["ours"], "our cookie was changed"


def _signed(stamped: str) -> str:
    signature = _ITSDANGEROUS.get_signature(stamped.encode("utf-8", "surrogatepass"))
    return f"{stamped}.{signature.decode()}"


def run(data: bytes) -> None:
    """Decode bytes as WSGI servers do, and check them."""
    check(data.decode("latin-1"))


def seeds() -> list[bytes]:
    """Return headers of every kind."""
    return [
        b"\x01",
        b"a=b; \x01; c=d",
        b"\x01; \x02",
        b"\x01; \x01;\x01",
        f'{NAME}="{OURS.partition("=")[2]}"; \x02; {OURS}'.encode(),
        b"\x03ours.19d3f1a8c00\x03",
        b"\x03a.b.c.0\x03; \x02",
        b"\x03ours.-1_0\x03",
        b"\x03ours.0x1\x03\xff",
        b"\x03" + b"f" * 300 + b"\x03",
        f'{NAME}="ours.19d3f1a8c00.A"; {NAME}; \x01'.encode(),
        b"; ".join(b"%s=%d.%d.A" % (NAME.encode(), n, n) for n in range(20)),
    ]
