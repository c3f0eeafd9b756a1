"""Hostile input: sixteen times as much takes sixteen times as long, and no longer.

Both sides do the same, one on 64 kB of the worst that was found of a kind, the other on
4 kB, and what is compared is the time for each byte. What grew with the square of its
input would show as 16. Below 1 is where a call costs something whatever its input; a
decoder is allowed more than 1, for past some hundreds of objects Python's collector goes
through them, and past some thousands they no longer fit into the processor's caches.

64 times what a kB takes is also what one request can cost. Servers take headers of 8 kB
(gunicorn, for one line) to 256 kB (waitress); what is decoded was signed or stored by us.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import count
from typing import Final, TypeAlias, TypeVar

from glimr_session.cookies import SessionCookie, Signatures
from glimr_session.payload import decode_stored

from ..case import Case, Place, Side, Target, Timed
from ..ours import SECRET

__all__ = ["PLACES", "SECONDS", "cases"]

PLACES: Final = ("memory",)
SECONDS: Final = 10

T = TypeVar("T", str, bytes)

Piece: TypeAlias = Callable[[int], str]
"""What input of a kind is made of, numbered."""

_SMALL: Final = 4 * 1024
_LARGE: Final = 16 * _SMALL

_NAME: Final = "glimr_session"

_HEADERS: Final[dict[str, Piece]] = {
    "semicolons": lambda _: ";",
    "other cookies": lambda number: f"{number:x}={number};",
    "our name": lambda _: f"{_NAME};",
    "values": lambda number: f"{_NAME}={number:x};",
    "signatures": lambda number: f"{_NAME}=a.1.{number:043x};",
    "a long value": lambda _: "A",
    "white space": lambda _: " \t",
}

_PAYLOADS: Final[dict[str, Piece]] = {
    "empty lists": lambda _: "[],",
    "empty objects": lambda _: "{},",
    "nested objects": lambda _: '{"a":' * 90 + "1" + "}" * 90 + ",",
    "open brackets": lambda _: "[",
    "numbers": lambda number: f"{number},",
    "long numbers": lambda _: "9" * 600 + ",",
    "endless digits": lambda _: "9",
    "escapes": lambda _: '"\\ud83d\\ude00\\n",',
    "keys": lambda number: f'{{"{number:x}":0}},',
}


def cases(_place: Place) -> Iterator[Case]:
    """Yield a case for each kind of header and of payload."""
    read = SessionCookie(Signatures([SECRET], "hostile")).read
    logger, quiet = logging.getLogger("glimr_session"), logging.NullHandler()
    logger.addHandler(quiet)  # or what does not verify would fill the screen
    try:
        for kind, piece in _HEADERS.items():
            yield _case(f"header: {kind}", piece, _header, read, limit=1.5)
        for kind, piece in _PAYLOADS.items():
            yield _case(f"payload: {kind}", piece, _payload, decode_stored, limit=3)
    finally:
        logger.removeHandler(quiet)


def _case(
    name: str, piece: Piece, make: Callable[[str], T], read: Callable[[T], object], *, limit: float
) -> Case:
    small, large = (make(_many(piece, size)) for size in (_SMALL, _LARGE))
    return Timed(
        name=name,
        group="hostile",
        sides={
            "64 kB": Side(lambda: read(large), per=len(large) / 1024),
            "4 kB": Side(lambda: read(small), per=len(small) / 1024),
        },
        targets=[
            Target(
                f"for each byte, 64 kB take at most {limit:g} times as long as 4 kB",
                yardstick="4 kB",
                limit=limit,
                figure="cpu",
            )
        ],
        seconds=0.5,
        notes="for each kB",
    )


def _many(piece: Piece, size: int) -> str:
    """Give so many pieces that they make up about so many characters."""
    pieces: list[str] = []
    length = 0
    numbers = count()
    while length < size:
        pieces.append(piece(next(numbers)))
        length += len(pieces[-1])
    return "".join(pieces)


def _header(text: str) -> str:
    return f"{_NAME}=;{text}"  # without our name in it, nobody looks any further


def _payload(items: str) -> bytes:
    return f'{{"_data":{{"a":[{items}0]}}}}'.encode()
