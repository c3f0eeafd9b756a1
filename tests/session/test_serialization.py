"""Sessions are written as JSON, and read again or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from glimr_session import Json, StoredSession, decode_payload, encode_payload, generate_id
from glimr_session._session.messages import Put, Regenerate
from glimr_session._session.serialization import Payload, PayloadDecoder, encode
from tests.support.strategies import contents

NOTHING: tuple[dict[str, Json], dict[str, Json]] = ({}, {})


@given(contents, contents)
def test_a_payload_is_read_as_it_was_written(data: dict[str, Json], flash: dict[str, Json]) -> None:
    """Data and flash come back as they were, types included, from text and from bytes."""
    written = encode_payload(data, flash)
    for payload in (written, written.encode()):
        assert repr(decode_payload(payload)) == repr((data, flash))


def test_a_payload_has_the_shape_of_the_reference() -> None:
    """Data and flash have two names, so that no key of one can be one of the other."""
    written = encode_payload({"_flash": 1}, {"_data": 2})
    assert json.loads(written) == {"_data": {"_flash": 1}, "_flash": {"_data": 2}}


def test_a_missing_part_is_empty() -> None:
    """A payload without data or flash has none."""
    assert decode_payload("{}") == NOTHING
    assert decode_payload('{"_data":{"a":1}}') == ({"a": 1}, {})
    assert decode_payload('{"_flash":{"a":1}}') == ({}, {"a": 1})


@pytest.mark.parametrize(
    "payload",
    [
        "", "null", "[]", "1", "{", '{"_data":1}', '{"_data":null}', '{"_data":{},}',
        '{"_data":{"a":NaN}}', '{"_data":{"a":1e999}}', '{"_data":{"a":' + "1" * 700 + "}}",
        '{"_data":{"a":' + "[" * 101 + "]" * 101 + "}}", "\ud800", b"\xff",
        b'{"_data":{"a":"\xff"}}',
    ],
    ids=lambda payload: repr(payload)[:30],
)  # fmt: skip
def test_what_is_unreadable_is_empty(payload: str | bytes) -> None:
    """A payload that is malformed, or that no session could hold, gives nothing."""
    assert decode_payload(payload) == NOTHING


def test_the_deepest_value_that_can_be_put_can_be_read() -> None:
    """A value of 100 levels is read from where it was written."""
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    assert decode_payload(encode_payload({"a": deep}, {})) == ({"a": deep}, {})


def test_encoding_refuses_what_json_does_not_have() -> None:
    """A value that would not come back is refused, and the error names its key."""
    with pytest.raises(TypeError, match="'a'"):
        encode_payload({"a": {1}}, {})  # type: ignore[dict-item]  # that is the point
    with pytest.raises(ValueError, match="'b'"):
        encode_payload({}, {"b": float("nan")})


class Extended(Payload):
    """A payload with a field of a store."""

    seen: float = 0.0


def test_a_store_adds_fields_to_a_payload() -> None:
    """A decoder of a store's own payload reads its fields, and refuses other types there."""
    decode = PayloadDecoder(Extended)
    read = decode(encode(Extended({"a": 1}, {}, 5.0)))
    assert read == Extended({"a": 1}, {}, 5.0)
    assert decode(b'{"seen":"today"}') is None


def test_a_decoder_reads_as_many_levels_as_it_is_told() -> None:
    """A decoder refuses what is nested deeper; brackets inside of text do not count."""
    decode = PayloadDecoder(Payload, max_nesting=4)
    text = "[{" * 50 + '\\"[\\\\'
    assert decode(encode(Payload({"a": [[[[1]]]], "b": text}))) is not None
    assert decode(encode(Payload({"a": [[[[[1]]]]], "b": text}))) is None


# What a store hands out.


def test_a_stored_session_cannot_be_changed() -> None:
    """An assignment to a field of a stored session raises."""
    stored: Any = StoredSession(id="1" * 64)
    with pytest.raises(AttributeError):
        stored.id = "2" * 64


def test_a_stored_session_is_empty_unless_the_store_says_more() -> None:
    """Two stored sessions share no data, and have no times and no marks."""
    one, other = StoredSession(id="1"), StoredSession(id="2")
    one.data["a"] = one.flash["b"] = 1
    assert (other.data, other.flash) == ({}, {})
    assert (one.created_at, one.last_used_at, one.marks) == (0.0, 0.0, None)


def test_the_fields_of_a_stored_session_are_named() -> None:
    """A stored session is made with names, so that stores can leave fields out."""
    with pytest.raises(TypeError):
        StoredSession("1" * 64)  # type: ignore[call-arg]  # that is the point


def test_no_repr_shows_an_id() -> None:
    """A repr shows the other fields, and a fingerprint in place of an id."""
    session_id = generate_id()
    stored = StoredSession(id=session_id, data={"a": 1})
    for thing in (stored, Regenerate(session_id)):
        assert session_id[:12] not in repr(thing)
    assert "data={'a': 1}" in repr(stored)
    assert repr(Put("a", 1)) == "Put(key='a', value=1)"


def test_a_payload_shows_nothing_of_itself() -> None:
    """Stores add fields to it, the id for one, and some loggers print locals."""

    class WithId(Payload):
        id: str = ""

    assert repr(WithId(data={"a": "typed"}, id="0" * 64)) == "<WithId>"
