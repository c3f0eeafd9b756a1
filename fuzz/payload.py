"""Stored bytes: what a store may find where a session should be."""

from __future__ import annotations

import base64
import json
import operator
from random import Random
from typing import Any, Final

from glimr_session import (
    CookieStore,
    Session,
    SessionStore,
    SessionTooLarge,
    decode_payload,
    encode_payload,
)
from glimr_session.payload import StoredSession, encode_stored
from glimr_session.state import SessionState

__all__ = ["ENDLESS", "WORDS", "check", "run", "seeds", "use"]

ENDLESS: Final = CookieStore(lifetime=1e12)
"""A store that takes any session for alive, whenever it says that it was last used."""

_NAMES: Final = [
    "_data", "_flash", "id", "created", "seen", "collected", "row", "revision", "flashed",
    "a", "b", "", "\0", "\ud800", "\U0001f36a", "written",
]  # fmt: skip
_LEAVES: Final = [
    "null", "true", "false", "0", "-1", "-0.0", "0.1", "1e308", "1e400", "NaN", "[]", "{}",
    "9223372036854775808", "9" * 639, "9" * 4_000, '""', '"a"', '"\\ud800"', '"\\ud83c\\udf6a"',
]  # fmt: skip

WORDS: Final = [
    b'{"_data":{', b'"_flash":{', b'"id":"', b'"created":', b'"seen":', b'"collected":',
    b'"revision":', b'"flashed":{', b"}}", b"[[[[[[[[", b"]]]]]]]]", b"null", b"true", b"false",
    b"-0.0", b"1e400", b"1e-400", b"99999999999999999999", b"NaN", b"Infinity", b"\\ud800",
    b"\\udc00", b"\\u0000", b'"a":', b'\\"', b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xff",
]  # fmt: skip


def check(value: bytes) -> None:
    """Decode bytes; raise if the result is not the documented one, or of no use."""
    data, flash = decode_payload(value)
    again = decode_payload(encode_payload(data, flash))
    assert repr(again) == repr((data, flash)), "encoded again, it is something else"
    use(ENDLESS, base64.urlsafe_b64encode(value).decode())


def use(store: SessionStore, wire: str) -> bool:
    """Open a session, read all of it, write to it and open it again, if there is one.

    Gives whether there is. Raises if it cannot be read or written, or has changed.
    """
    stored = store.open(wire)
    if stored is None:
        return False
    session = Session(lambda: SessionState.opened(stored))
    try:
        data = session.all()
        flash = {key: session.get_flash_or(key) for key in stored.flash}
        session.put("written", True)
        session.reflash()
        changes = session.state().changes
    finally:
        session.stop()
    try:
        committed = store.commit(changes)
    except SessionTooLarge:  # a cookie holds less than some of these
        return True
    assert isinstance(committed, str), "what was opened cannot be committed"
    again = store.open(committed)
    assert again is not None, "what was committed cannot be opened"
    assert _shown(again.data) == _shown({**data, "written": True}), "the data has changed"
    assert _shown(again.flash) == _shown(flash), "the flash has changed"
    return True


def _shown(values: dict[str, Any]) -> dict[str, str]:
    """Give what can be compared: 1, 1.0 and True are equal, and so are 0.0 and -0.0."""
    return {key: repr(value) for key, value in values.items()}


run = check


def mutated(data: bytes, random: Random) -> bytes:
    """Change some JSON into other JSON; what is none stays as it is.

    What reads JSON is not written in Python, so coverage says nothing of the way into it,
    and bytes changed at random are hardly ever JSON.
    """
    try:
        tree = [json.loads(data)]
        for _ in range(random.randint(1, 4)):
            _change(tree, random)
        return json.dumps(tree[0], ensure_ascii=random.random() < 0.5).encode()
    except (ValueError, RecursionError):
        return data


def _change(tree: list[Any], random: Random) -> None:
    """Put something else into a random place below the first list."""
    places: list[tuple[Any, Any]] = [(tree, 0)]
    for holder, key in places:  # which grows
        inner = holder[key]
        if isinstance(inner, dict | list):
            keys = [*inner] if isinstance(inner, dict) else range(len(inner))
            places.extend((inner, name) for name in keys)
    holder, key = random.choice(places)
    other = json.loads(json.dumps(operator.getitem(*random.choice(places))))
    match random.randrange(5):
        case 0:
            holder[key] = json.loads(random.choice(_LEAVES))
        case 1:
            holder[key] = other
        case 2:
            for _ in range(random.choice([1, 1, 1, 98, 102])):
                holder[key] = [holder[key]] if random.random() < 0.5 else {"a": holder[key]}
        case 3 if isinstance(holder[key], dict):
            holder[key][random.choice(_NAMES)] = other
        case _ if isinstance(holder[key], list):
            holder[key].append(other)


def seeds() -> list[bytes]:
    """Give payloads of every kind, good ones and such as were found to be bad."""
    everything = StoredSession(
        data={"user": 7, "name": "Zoë \U0001f36a", "cart": [{"item": "A", "price": -1.5e-7}]},
        flash={"notice": "Saved.", "": None},
        id="0" * 64,
        created=1.0,
        seen=2.0,
        collected=3.0,
        revision=4,
        flashed={"notice": 4},
    )
    values = [
        b"1", b"-0.0", b'"\\ud83d\\ude00\\n"', b"[]", b"{}", b"true", b"null",
        b"[" * 90 + b"]" * 90, b'{"a":' * 90 + b"1" + b"}" * 90,
        b"[" * 500 + b"]" * 500, b"[" * 2_000, b"1" * 600, b"1" * 1_000, b"1" * 5_000,
    ]  # fmt: skip
    return [
        b"",
        b"{}",
        encode_stored(everything),
        encode_payload({"a": 1}, {"b": [True, False]}).encode(),
        *(b'{"_data":{"a":%b},"_flash":{"b":%b}}' % (value, value) for value in values),
    ]
