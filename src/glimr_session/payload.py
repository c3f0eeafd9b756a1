"""Data and flash as JSON, and the values a session can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self, TypeAlias

import msgspec

from .ids import fingerprint

__all__ = [
    "Json",
    "Record",
    "StoredSession",
    "checked",
    "checked_items",
    "checked_key",
    "copied",
    "decode_payload",
    "decode_stored",
    "encode_payload",
    "encode_stored",
]

Json: TypeAlias = str | int | float | bool | list["Json"] | dict[str, "Json"] | None
"""What a session holds: what JSON gives back exactly as it was put."""

# Decoders count nesting against Python's recursion limit, from whatever depth they are
# called at: a value near the limit could be written by one request and be unreadable
# in the next. Real sessions are nested a handful of levels deep.
_MAX_NESTING = 100

# Numbers of up to 640 digits can be converted whatever limit the process has set:
# sys.int_info.str_digits_check_threshold. 640 digits are at least 2,122 bits.
_MAX_BITS = 2122
_MANY_DIGITS = 639  # more bits than that are at least so many

# What is stored can be read with more levels than can be put: so many are copied without
# trouble, and fewer bytes than twice that need not be looked at.
_READABLE_NESTING = 320
_ONES = b"1" * _MANY_DIGITS
_AS_ONES = bytes.maketrans(b"023456789", b"111111111")


class Record(msgspec.Struct, frozen=True, gc=False):
    """An immutable value that is made in a third of the time of a named tuple.

    A request makes some twenty. Python's cycle collector is spared them, for they hold
    what is JSON, and that has no cycles. Ids are shown by their hash alone.
    """

    def _replace(self, **changes: Any) -> Self:
        """Give one that differs in these fields."""
        return msgspec.structs.replace(self, **changes)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({fields})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [
            (name, fingerprint(value) if name in _SECRET else value)
            for name in self.__struct_fields__
            for value in (getattr(self, name),)
        ]


_SECRET = frozenset({"id", "new_id"})


class StoredSession(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What a store holds of a session, and gives for a cookie.

    ``data`` and ``flash`` are the two halves of the payload. ``id`` is the session's
    id; a store that keeps sessions under a hash of it leaves it out of what it writes.
    ``created`` is when the id was made, ``seen`` when it was last used and ``collected``
    when the store may remove it, all in seconds since the epoch. ``revision`` counts
    commits, and ``flashed`` tells in which of them each flash value was set. ``row`` is
    a number that stays with the session when its id changes. What a store does not need
    it leaves at the default.
    """

    # Any, for Json refers to itself and msgspec cannot follow it; what JSON decodes to
    # is Json in any case.
    data: dict[str, Any] = msgspec.field(default_factory=dict, name="_data")
    flash: dict[str, Any] = msgspec.field(default_factory=dict, name="_flash")
    id: str = ""
    created: float = 0.0
    seen: float = 0.0
    collected: float = 0.0
    row: int = 0
    revision: int = 0
    flashed: dict[str, int] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        """Name the session by the hash of its id."""
        return f"<StoredSession {fingerprint(self.id)}: {self.data}, flash {self.flash}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Say the same to Rich: msgspec would tell it the id."""
        return [("", fingerprint(self.id)), ("data", self.data), ("flash", self.flash)]


class _Payload(msgspec.Struct):
    data: dict[str, Any] = msgspec.field(default_factory=dict, name="_data")
    flash: dict[str, Any] = msgspec.field(default_factory=dict, name="_flash")


_encode = msgspec.json.Encoder().encode
_decode_payload = msgspec.json.Decoder(_Payload).decode
_decode_stored = msgspec.json.Decoder(StoredSession).decode

# What msgspec raises for bytes that are no such JSON: malformed or of another shape,
# not UTF-8, nested too deeply, a number too long.
_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError)


def encode_payload(data: Mapping[str, Json], flash: Mapping[str, Json]) -> str:
    """Give ``{"_data":{...},"_flash":{...}}``: two names that no key can collide with.

    Raises TypeError or ValueError, naming the key, for values that are not JSON.
    """
    return _encode(_Payload(checked_items(data), checked_items(flash))).decode()


def decode_payload(payload: str | bytes) -> tuple[dict[str, Json], dict[str, Json]]:
    """Give data and flash; a missing part is ``{}``, and so are both if unreadable."""
    try:
        decoded = _decode_payload(payload)
    except _UNREADABLE:
        return {}, {}
    value = payload.encode() if isinstance(payload, str) else payload
    if _is_beyond(value, decoded, _MAX_NESTING):
        return {}, {}
    return decoded.data, decoded.flash


def encode_stored(stored: StoredSession) -> bytes:
    """Give the bytes a store keeps. The values must have been checked before."""
    return _encode(stored)


def decode_stored(value: bytes) -> StoredSession | None:
    """Give the session in these bytes, or None if they are unreadable."""
    try:
        stored = _decode_stored(value)
    except _UNREADABLE:
        return None
    if len(value) > _MANY_DIGITS and _is_beyond(value, stored, _READABLE_NESTING):
        return None
    return stored


def checked_key(key: object) -> str:
    """Give the key back if it can be one: a str that UTF-8 can encode.

    Raises TypeError or ValueError.
    """
    if type(key) is not str:
        raise TypeError(f"session keys are str, not {type(key).__name__}: {key!r}")
    if not _encodable(key):
        raise ValueError(f"session key {key!r} holds a lone surrogate, which is no text")
    return key


def checked(key: str, value: object) -> Json:
    """Give a copy of the value, its tuples turned into lists.

    ``key`` is what error messages call it. Raises TypeError for types that JSON does
    not have (subclasses of those it has included: they would come back as their base)
    and ValueError for values it does not have.
    """
    checked_value: Json = _checked(key, value, 0)
    return checked_value


def checked_items(values: Mapping[str, Any]) -> dict[str, Json]:
    """Give a checked copy of all keys and values."""
    return {checked_key(key): checked(key, value) for key, value in values.items()}


def copied(value: Any) -> Any:
    """Give a copy that shares no list and no dict with the value."""
    if type(value) is list:
        return [copied(item) for item in value]
    if type(value) is dict:
        return {name: copied(item) for name, item in value.items()}
    return value


def _is_beyond(value: bytes, decoded: StoredSession | _Payload, levels: int) -> bool:
    """Whether these bytes hold more levels, or a longer number, than a session can.

    They could be decoded here, and then neither copied nor encoded. What is counted first
    is so much faster than to walk through what they are decoded to.
    """
    # So long a number has a digit at every so many bytes.
    sample = value[_MANY_DIGITS - 1 :: _MANY_DIGITS]
    long = sample.translate(None, b"0123456789") != sample and _ONES in value.translate(_AS_ONES)
    if not long and value.count(b"[") + value.count(b"{") <= levels:
        return False
    level: list[Any] = [decoded.data, decoded.flash]
    for _ in range(levels + 1):
        items = [
            item
            for outer in level
            for item in (outer.values() if type(outer) is dict else outer)
            if long or type(item) is dict or type(item) is list
        ]
        if long and any(type(item) is int and item.bit_length() > _MAX_BITS for item in items):
            return True
        level = [item for item in items if type(item) is dict or type(item) is list]
        if not level:
            return False
    return True


def _checked(key: str, value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is bool or value is None:
        return value
    if kind is str:
        if not _encodable(value):
            raise ValueError(f"{key!r} holds a str with a lone surrogate, which is no text")
        return value
    if kind is int:
        if value.bit_length() > _MAX_BITS:
            raise ValueError(f"{key!r} holds an int of over 640 digits; store it as a str")
        return value
    if kind is float:
        if not math.isfinite(value):
            raise ValueError(f"{key!r} holds {value}, which JSON does not have")
        return value
    if depth == _MAX_NESTING:
        raise ValueError(f"{key!r} is nested over {_MAX_NESTING} levels deep or holds itself")
    if kind is list or kind is tuple:
        return [_checked(key, item, depth + 1) for item in value]
    if kind is dict:
        return {_name(key, name): _checked(key, item, depth + 1) for name, item in value.items()}
    raise TypeError(
        f"{key!r} holds a {kind.__module__}.{kind.__qualname__}, which JSON does not give back. "
        "Put str, int, float, bool, None, or lists and str-keyed dicts of them: "
        "str(value) for text and dates, the id for a database row."
    )


def _name(key: str, name: Any) -> str:
    if type(name) is not str:
        raise TypeError(f"{key!r} holds a dict with the key {name!r}; JSON has only str keys")
    if not _encodable(name):
        raise ValueError(f"{key!r} holds a dict key with a lone surrogate, which is no text")
    return name


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
