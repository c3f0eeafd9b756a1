"""Hostile bytes where a session should be, in a cookie and in the database."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz import payload
from glimr_session import DiskStore, SessionStore, decode_payload, generate_id
from glimr_session._ids import storage_key
from glimr_session.stores.disk.queries import checksum
from tests.fuzz.inputs import MEMORY_PER_BYTE, any_text, damaged, most_memory
from tests.support.strategies import values

NO_JSON: dict[str, bytes] = {
    "nesting without an end": b"[" * 100_000,
    "100,000 levels of lists": b"[" * 100_000 + b"]" * 100_000,
    "100,000 levels of objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "more levels than can be read": b"[" * 321 + b"]" * 321,
    "an integer of 100,000 digits": b"1" * 100_000,
    "a negative integer of 100,000 digits": b"-" + b"1" * 100_000,
    "an integer of more digits than a session has": b"1" * 641,
    "a number beyond all floats": b"1e400",
    "an exponent of 100,000 digits": b"1e" + b"9" * 100_000,
    "NaN": b"NaN",
    "infinity": b"-Infinity",
    "half a character, escaped": b'"\\ud800"',
    "the halves of a character the wrong way round": b'"\\ude00\\ud83d"',
    "half a character, as bytes": b'"\xed\xa0\x80"',
    "half a character in a key": b'{"\\ud800":1}',
    "bytes that are no UTF-8": b'"\xff\xfe"',
    "UTF-8 in more bytes than it takes": b'"\xc0\x80"',
    "a NUL": b'"\0"',
    "a byte order mark": b"\xef\xbb\xbf1",
    "a string without an end": b'"' + b"a" * 100_000,
}


@pytest.mark.parametrize("value", NO_JSON.values(), ids=NO_JSON.keys())
@pytest.mark.parametrize("where", ["_data", "_flash", "unknown"])
def test_what_json_or_a_session_does_not_have_is_unreadable(where: str, value: bytes) -> None:
    """Bytes with anything that JSON or a session does not have are unreadable as a whole."""
    text = b'{"_data":{"good":1},"%b":{"bad":%b}}' % (where.encode(), value)
    if where != "unknown":
        assert decode_payload(text) == ({}, {})
        assert [decode(text) for decode in payload.DECODERS] == [None, None]
    payload.check(text)


@pytest.mark.parametrize("levels", [101, 300, 320])
def test_more_levels_than_can_be_put_can_be_used(levels: int) -> None:
    """A stored value with more levels than can be put can be used."""
    text = b'{"_data":{"deep":%b}}' % (b"[" * levels + b"]" * levels)
    assert decode_payload(text) == ({}, {})
    assert payload.use(payload.ENDLESS, base64.urlsafe_b64encode(text).decode())


HUNDRED_LEVELS = b"[" * 100 + b"]" * 100


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"_data":{"a":-0.0}}', {"a": -0.0}),
        (b'{"_data":{"a":-0}}', {"a": 0}),
        (b'{"_data":{"a":1e-400}}', {"a": 0.0}),
        (b'{"_data":{"a":1,"a":2}}', {"a": 2}),
        (b'{"_data":{"a":1},"_data":{"b":2}}', {"b": 2}),
        (b'{"_d\\u0061ta":{"a":"\\ud83c\\udf6a\\u0000"}}', {"a": "\U0001f36a\0"}),
        (b'\n{"_data" : {"":[\t]}} ', {"": []}),
        (b'{"_data":{"a":%b}}' % (b"9" * 600), {"a": int("9" * 600)}),
        (b'{"_data":{"a":%b}}' % HUNDRED_LEVELS, {"a": json.loads(HUNDRED_LEVELS)}),
    ],
    ids=lambda part: repr(part)[:40],
)  # fmt: skip
def test_odd_json_is_read_as_json_says(text: bytes, expected: dict[str, Any]) -> None:
    """decode_payload() reads unusual JSON as JSON defines it."""
    assert repr(decode_payload(text)) == repr((expected, {}))
    payload.check(text)


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def lists_of(items: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(items, max_size=3).map(lambda parts: b"[%b]" % b",".join(parts))


Pairs = st.SearchStrategy[tuple[bytes, bytes]]


def objects_of(pairs: Pairs) -> st.SearchStrategy[bytes]:
    return st.lists(pairs.map(b":".join), max_size=4).map(lambda parts: b"{%b}" % b",".join(parts))


integers = st.integers().map(as_json) | st.sampled_from([b"-0", b"1" * 600, b"1" * 1_000])


json_names = st.text(max_size=4).map(as_json)


odd = (
    st.binary(max_size=4).map(lambda raw: b'"%b"' % raw)
    | st.sampled_from([b"0e99", b"1e400", b"1E+2", b"01", b"NaN", b'"\\ud800"', b"", b"[}"])
    | st.builds(
        lambda levels, inner: b"[" * levels + inner + b"]" * levels,
        st.sampled_from([98, 100, 101, 500, 1_500]),
        st.sampled_from([b"", b"1", b'{"a":1}']),
    )
)


good = values.map(as_json)


any_json = st.recursive(
    good | good | good | integers | odd,
    lambda inner: lists_of(inner) | objects_of(st.tuples(json_names, inner)),
    max_leaves=5,
)


sessions = objects_of(
    st.one_of(
        st.tuples(
            st.sampled_from([b'"_data"', b'"_flash"']),
            objects_of(st.tuples(json_names, any_json)),
        ),
        st.tuples(
            st.sampled_from([b'"created"', b'"seen"', b'"collected"']),
            st.floats(allow_nan=False, allow_infinity=False).map(as_json) | integers,
        ),
        st.tuples(st.sampled_from([b'"row"', b'"revision"']), integers),
        st.tuples(st.just(b'"flashed"'), objects_of(st.tuples(json_names, integers))),
        st.tuples(st.just(b'"id"') | json_names, good),
    )
)


stored_bytes = sessions | damaged(sessions) | any_json | st.binary()


@given(stored_bytes)
@example(b'{"_data":{"a":%b%b}}' % (b"[" * 1_500, b"]" * 1_500))  # what can be read, not copied
@example(b'{"_data":{"a":%b}}' % (b"1" * 1_000))
def test_any_bytes_are_a_session_that_can_be_used_or_none(value: bytes) -> None:
    """Any bytes are a session that can be read and written, or none."""
    payload.check(value)


@given(text=any_text)
def test_any_text_is_no_session(store: SessionStore, text: str) -> None:
    """Any text is no session, as a payload or as a cookie value."""
    assert decode_payload(text) == ({}, {})
    assert store.open(text) is None


@pytest.mark.parametrize(
    "text",
    [
        b"[]," * 10_000 + b"0",
        b"{}," * 10_000 + b"0",
        b'{"a":0},' * 4_000 + b"0",
        (b'{"a":' * 90 + b"0" + b"}" * 90 + b",") * 50 + b"0",
        b"1000," * 20_000 + b"0",
        b'"a",' * 25_000 + b"0",
        b'"\\u0100",' * 11_000 + b"0",
        b'"' + b"a" * 100_000 + b'\xf0\x9f\x8d\xaa"',
        b"[" * 100_000,
        b"1" * 100_000,
    ],
    ids=lambda text: text[:12].decode() + "...",
)
@pytest.mark.parametrize(
    "decode", [*payload.DECODERS, decode_payload], ids=["cookie", "disk", "plain"]
)
def test_decoding_takes_memory_in_proportion_to_the_bytes(
    text: bytes, decode: Callable[[bytes], object]
) -> None:
    """Decoding takes memory in proportion to the bytes."""
    value = b'{"_data":{"a":[%b]}}' % text
    assert most_memory(lambda: decode(value)) < MEMORY_PER_BYTE * len(value)


class Planting:
    """A disk store, and somebody who can write its database."""

    def __init__(self, directory: Path) -> None:
        self.store = DiskStore(directory)
        self._connection = sqlite3.connect(directory / "cache.db", isolation_level=None)

    def plant(self, column: str, value: object, *, as_text: bool = False) -> str:
        """Make a session, change a column, correct the checksum; return the cookie value."""
        wire = generate_id()
        self._connection.execute("DELETE FROM Cache")
        self.store.save(wire, {"a": 1}, {"b": 2})
        placeholder = "CAST(? AS TEXT)" if as_text else "?"
        self._connection.execute(f"UPDATE Cache SET {column} = {placeholder}", (value,))
        if column == "value" and isinstance(value, bytes):
            right = checksum(storage_key(wire), value)
            self._connection.execute("UPDATE Cache SET tag = ?", (right,))
        return wire

    def close(self) -> None:
        self._connection.close()
        self.store.close()


@pytest.fixture
def planting(tmp_path: Path) -> Iterator[Planting]:
    planting = Planting(tmp_path / "sessions")
    yield planting
    planting.close()


@given(value=stored_bytes)
@example(value=b'{"_flash":{"a":%b%b}}' % (b"[" * 1_500, b"]" * 1_500))
def test_any_bytes_in_the_database_are_a_session_that_can_be_used_or_none(
    planting: Planting, value: bytes
) -> None:
    """Any bytes in the database are a session that can be read and written, or none."""
    payload.use(planting.store, planting.plant("value", value))


COLUMNS = [
    "key", "raw", "store_time", "expire_time", "access_time", "access_count", "tag", "size",
    "mode", "filename", "value",
]  # fmt: skip


@given(
    column=st.sampled_from(COLUMNS),
    value=st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.sampled_from([2**63 - 1, -(2**63), float("inf"), float("-inf"), b'{"_data":{"a":3}}']),
    as_text=st.booleans(),
)
@example(column="value", value=b"\xff", as_text=True)  # no UTF-8: SQLite takes it
@example(column="raw", value=None, as_text=False)  # no row of ours, but under its key
@example(column="access_count", value=2**63 - 1, as_text=False)  # and one more is no integer
@example(column="access_count", value=0, as_text=False)  # older than the flash in it
@example(column="access_count", value=1.5, as_text=False)  # and a revision could be told from it
def test_any_column_of_any_type_is_a_session_that_can_be_used_or_none(
    planting: Planting, column: str, value: object, as_text: bool
) -> None:
    """A row with any type in any column is a session that can be used, or none, and no outage."""
    wire = planting.plant(column, value, as_text=as_text)
    store = planting.store
    payload.use(store, wire)
    assert store.touch(wire) in (True, False)
    store.save(wire, {"c": 3}, {})
    assert store.load(wire) == ({"c": 3}, {})
    assert store.gc() in (0, 1)
    store.destroy(wire)
    assert store.open(wire) is None
