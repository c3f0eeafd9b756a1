"""Headers of ASGI connections, which are bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from .cache_headers import Headers

__all__ = ["RawHeader", "encode_headers", "headers_named", "split_headers"]

RawHeader: TypeAlias = tuple[bytes, bytes]

_CHANGED: Final = frozenset({b"vary", b"cache-control"})


def headers_named(wanted: bytes, scope: Mapping[str, Any]) -> list[str]:
    """Return the headers of a connection that have this name, in lower case."""
    # HTTP/2 may split the Cookie header: RFC 9113, section 8.2.3.
    return [value.decode("latin-1") for name, value in scope.get("headers", ()) if name == wanted]


def split_headers(headers: Iterable[RawHeader]) -> tuple[list[RawHeader], Headers]:
    """Return the headers that the session leaves alone, and those that it may change."""
    others: list[RawHeader] = []
    ours: Headers = []
    for name, value in headers:
        if name.lower() in _CHANGED:
            ours.append((name.decode("latin-1"), value.decode("latin-1")))
        else:
            others.append((name, value))
    return others, ours


def encode_headers(headers: Headers) -> list[RawHeader]:
    """Return headers as ASGI has them."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
