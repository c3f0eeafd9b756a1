"""Sessions as JSON, and the session as a store hands it out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Generic, Self, TypeVar

import msgspec

from .._ids import fingerprint
from .values import MAX_BITS, Json, JsonInput, validate_items

__all__ = [
    "Owner",
    "Payload",
    "PayloadDecoder",
    "Record",
    "SessionPayload",
    "StoredSession",
    "decode_payload",
    "encode",
    "encode_payload",
    "encode_value",
]

_MAX_NESTING: Final = 100
"""Levels that ``decode_payload`` reads: as many as a value can have when it is put."""

_MAX_STORED_NESTING: Final = 320
"""Levels that are read from a store: more than can be put, and still safe to copy."""

_MANY_DIGITS: Final = 639  # an int of more than MAX_BITS bits has at least that many
_ONES: Final = b"1" * _MANY_DIGITS
_DIGITS_AS_ONES: Final = bytes.maketrans(b"023456789", b"111111111")
_BRACES_AS_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NO_MARKS: Final = bytes(set(range(256)) - set(b'[]{}"'))

_SECRET: Final = frozenset({"id", "new_id", "cookie_value"})


class Record(msgspec.Struct, frozen=True):
    """An immutable value. Its repr shows an id by its fingerprint.

    Hot path: a request makes some twenty; see docs/decisions/performance.md.
    """

    def _replace(self, **changes: Any) -> Self:
        """Return a copy with other values in these fields."""
        return msgspec.structs.replace(self, **changes)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({fields})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [
            (name, fingerprint(value) if name in _SECRET and value else value)
            for name in self.__struct_fields__
            for value in (getattr(self, name),)
        ]


class Owner(Record, frozen=True):
    """Who a session belongs to.

    Attributes:
        key: what stands for the owner, see ``owner_key``; "" if it belongs to nobody.
        since: when the session was given to the owner, in seconds since the epoch.
        noted: what the application has noted of the session, such as the device.
    """

    key: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    since: float = 0.0
    noted: dict[str, Any] = {}  # msgspec makes a new one each time


class StoredSession(Record, frozen=True, kw_only=True):
    """A session as a store hands it out.

    Attributes:
        id: the session's id.
        data: what handlers have put, by key.
        flash: what the request before has left for the next one, by key.
        created_at: when the id was made, in seconds since the epoch; 0 if the store does
            not say.
        last_used_at: when the session was last used, likewise.
        lifetime: the session's own idle timeout in seconds, 0 for the store's.
        expire_on_close: whether its cookie ends with the browser; None for the configuration's.
        owner: who it belongs to; None if nobody.
        marks: whatever the store needs to find this version of the session again. Nothing
            but the store looks into it.
    """

    id: str = ""
    data: dict[str, Any] = {}
    flash: dict[str, Any] = {}
    created_at: float = 0.0
    last_used_at: float = 0.0
    lifetime: float = 0.0
    expire_on_close: bool | None = None
    owner: Owner | None = None
    marks: Any = None

    @property
    def owner_bytes(self) -> bytes:
        """What stands for its owner, as 32 bytes; b"" if it belongs to nobody."""
        return b"" if self.owner is None else bytes.fromhex(self.owner.key)


class Payload(msgspec.Struct, omit_defaults=True):
    """Data and flash as they are serialized.

    The field names on the wire begin with an underscore, as in the reference.
    """

    # Any, for Json refers to itself and msgspec cannot follow it; JSON decodes to Json in
    # any case.
    data: dict[str, Any] = msgspec.field(default_factory=dict, name="_data")
    flash: dict[str, Any] = msgspec.field(default_factory=dict, name="_flash")

    def __repr__(self) -> str:
        """Show nothing: a store may have added the id."""
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[Any]:
        return []


class SessionPayload(Payload, omit_defaults=True):
    """What stores serialize of a session; they add fields of their own by inheritance."""

    lifetime: Annotated[float, msgspec.Meta(gt=0)] | None = None
    expire_on_close: bool | None = None
    owner: Owner | None = None


P = TypeVar("P", bound=Payload)

encode: Final = msgspec.json.Encoder().encode
"""Serialize a Payload whose values have been validated."""

encode_value: Final = encode
"""Serialize a single value that has been validated."""

# What msgspec raises for bytes that are no such JSON: malformed or of another shape,
# not UTF-8, nested too deeply, a number too long.
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError)


class PayloadDecoder(Generic[P]):
    """Decodes one kind of Payload, and refuses what a session could not hold."""

    def __init__(self, kind: type[P], *, max_nesting: int = _MAX_STORED_NESTING) -> None:
        self._decode = msgspec.json.Decoder(kind).decode
        self._max_nesting = max_nesting

    def __call__(self, value: bytes) -> P | None:
        """Return the payload in these bytes, or None if they are unreadable."""
        try:
            payload = self._decode(value)
        except _UNREADABLE:
            return None
        # Each level takes two bytes, and a long int takes more than 639.
        if len(value) > 2 * self._max_nesting and _exceeds_limits(
            value, payload, self._max_nesting
        ):
            return None
        return payload


class _PlainPayload(msgspec.Struct):
    data: dict[str, Any] = msgspec.field(name="_data")
    flash: dict[str, Any] = msgspec.field(name="_flash")


_decode_plain = PayloadDecoder(Payload, max_nesting=_MAX_NESTING)


def encode_payload(data: Mapping[str, JsonInput], flash: Mapping[str, JsonInput]) -> str:
    """Return data and flash as JSON: ``{"_data":{...},"_flash":{...}}``.

    Two names for two parts, so that no key of one can collide with the other.

    Raises:
        TypeError, ValueError: a value that JSON does not have; the message names its key.

    Example:
        >>> encode_payload({"n": 1}, {})
        '{"_data":{"n":1},"_flash":{}}'
    """
    return encode(_PlainPayload(validate_items(data), validate_items(flash))).decode()


def decode_payload(payload: str | bytes) -> tuple[dict[str, Json], dict[str, Json]]:
    """Return data and flash. A missing part is ``{}``; both are if the JSON is unreadable.

    Example:
        >>> decode_payload('{"_data":{"n":1}}')
        ({'n': 1}, {})
    """
    try:
        value = payload.encode() if isinstance(payload, str) else payload
    except UnicodeEncodeError:
        return {}, {}
    decoded = _decode_plain(value)
    return ({}, {}) if decoded is None else (decoded.data, decoded.flash)


def _exceeds_limits(value: bytes, payload: Payload, max_nesting: int) -> bool:
    """Whether the bytes hold a deeper nesting or a longer int than a session can.

    Such values decode fine but would later fail to copy or encode.
    """
    # A run of 639 digits covers at least one byte of every stride of 639.
    sample = value[_MANY_DIGITS - 1 :: _MANY_DIGITS]
    if (
        sample.translate(None, b"0123456789") != sample
        and _ONES in value.translate(_DIGITS_AS_ONES)
        and _holds_long_int(payload)
    ):
        return True
    if value.count(b"[") + value.count(b"{") <= max_nesting:
        return False
    return _nests_deeper(value, max_nesting + 2)  # the payload and its parts are levels too


def _nests_deeper(value: bytes, levels: int) -> bool:
    """Whether valid JSON is nested more than this many levels deep."""
    # Brackets in strings do not count: drop every second part between quotes.
    plain = value.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two quotes beside each other enclose nothing, or separate nothing.
    marks = plain.translate(_BRACES_AS_BRACKETS, _NO_MARKS).replace(b'""', b"")
    brackets = b"".join(marks.split(b'"')[::2])
    for _ in range(levels):  # each pass removes the innermost level
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _holds_long_int(payload: Payload) -> bool:
    """Whether any int in the payload is longer than a session can hold."""
    owner: Owner | None = getattr(payload, "owner", None)
    waiting: list[Any] = [payload.data, payload.flash, {} if owner is None else owner.noted]
    while waiting:
        item = waiting.pop()
        if type(item) is dict:
            waiting.extend(item.values())
        elif type(item) is list:
            waiting.extend(item)
        elif type(item) is int and item.bit_length() > MAX_BITS:
            return True
    return False
