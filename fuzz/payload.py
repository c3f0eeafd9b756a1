"""Stored bytes: what a store may find where a session should be."""

from __future__ import annotations

import base64
import json
import operator
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, Final

from glimr_session import CookieStore, SessionStore, SessionTooLarge, decode_payload, encode_payload
from glimr_session._request.cleanup import never
from glimr_session._request.cookie import SessionCookie
from glimr_session._request.request_session import RequestSession, StoreBinding
from glimr_session._request.signing import CookieSigner
from glimr_session._session.serialization import encode
from glimr_session.stores import cookie as cookie_store
from glimr_session.stores._versions import decode_content

__all__ = ["DECODERS", "ENDLESS", "WORDS", "begin", "check", "run", "seeds", "use"]

ENDLESS: Final = CookieStore(lifetime=1e12)
"""A store that takes any session for alive, whenever it was last used."""

DECODERS: Final[list[Callable[[bytes], Any]]] = [
    cookie_store._decode,
    partial(decode_content, key=bytes(32), sealer=None),
]
"""How the stores read what they have written."""

_SIGNER: Final = CookieSigner(["a key that signs what a store may find"], "fuzz")
_COOKIE: Final = SessionCookie(_SIGNER)

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
    """Decode bytes; raise if the result is not the documented one, or cannot be used."""
    data, flash = decode_payload(value)
    again = decode_payload(encode_payload(data, flash))
    assert repr(again) == repr((data, flash)), "encoded again, it is something else"
    for decode in DECODERS:
        content = decode(value)
        if content is not None:
            assert repr(decode(encode(content))) == repr(content), "a store would change it"
    use(ENDLESS, base64.urlsafe_b64encode(value).decode())


def begin(store: SessionStore, cookie_value: str | None = None) -> RequestSession:
    """Begin a request whose verified cookie has this value."""
    binding = StoreBinding(store, _COOKIE, lifetime=1e12, policy=never)
    header = "" if cookie_value is None else f"{_COOKIE.name}={_SIGNER.sign(cookie_value)}"
    return RequestSession(binding, header)


def use(store: SessionStore, cookie_value: str) -> bool:
    """Open a session, read all of it, write to it and open it again, if there is one.

    Returns:
        Whether there is one.

    Raises:
        AssertionError: it cannot be written, or has changed.
    """
    request = begin(store, cookie_value)
    try:
        stored = request.fetch()
        if stored is None:
            return False
        session = request.session
        data = session.all()
        flash = {key: session.get_flash_or(key) for key in stored.flash}
        session.put("written", True)
        session.reflash()
        committed = request.commit()
    except SessionTooLarge:  # a cookie holds less than some of these
        return True
    finally:
        request.abandon()
    assert committed is not None, "what was opened has no changes"
    assert committed.outcome == "stored", "what was opened cannot be committed"
    again = store.open(committed.cookie_value)
    assert again is not None, "what was committed cannot be opened"
    assert _shown(again.data) == _shown({**data, "written": True}), "the data has changed"
    assert _shown(again.flash) == _shown(flash), "the flash has changed"
    return True


def _shown(values: dict[str, Any]) -> dict[str, str]:
    """Return what can be compared: 1, 1.0 and True are equal, and so are 0.0 and -0.0."""
    return {key: repr(value) for key, value in values.items()}


run = check


def mutated(data: bytes, random: Random) -> bytes:
    """Change some JSON into other JSON; bytes that are not JSON stay as they are.

    The decoder is not written in Python, so coverage tells nothing about it, and bytes that
    are changed at random are hardly ever JSON.
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
    """Return payloads of every kind, good ones and such as were found to be bad."""
    everything = {
        "_data": {"user": 7, "name": "Zoë \U0001f36a", "cart": [{"item": "A", "price": -1.5e-7}]},
        "_flash": {"notice": "Saved.", "": None},
        "id": "0" * 64,
        "created": 1.0,
        "seen": 2.0,
        "collected": 3.0,
        "revision": 4,
        "flashed": {"notice": 4},
    }
    values = [
        b"1", b"-0.0", b'"\\ud83d\\ude00\\n"', b"[]", b"{}", b"true", b"null",
        b"[" * 90 + b"]" * 90, b'{"a":' * 90 + b"1" + b"}" * 90,
        b"[" * 500 + b"]" * 500, b"[" * 2_000, b"1" * 600, b"1" * 1_000, b"1" * 5_000,
    ]  # fmt: skip
    return [
        b"",
        b"{}",
        json.dumps(everything).encode(),
        json.dumps(everything, ensure_ascii=False).encode(),
        encode_payload({"a": 1}, {"b": [True, False]}).encode(),
        *(b'{"_data":{"a":%b},"_flash":{"b":%b}}' % (value, value) for value in values),
    ]
