"""Hostile input: whatever comes in, nothing comes out but what is promised.

What is promised of cookies, stored bytes and settings is said by the targets in ``fuzz``;
Hypothesis makes up what they are tried on here. What was once found stays as an example.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import importlib
import json
import re
import sqlite3
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz import config as configuration
from fuzz import cookies, payload
from glimr_session import (
    ConfigError,
    CookieStore,
    DiskStore,
    Session,
    SessionConfig,
    SessionMiddleware,
    SessionStore,
    SessionTooLarge,
    decode_payload,
    generate_id,
)
from glimr_session.ids import storage_key
from glimr_session.payload import decode_stored
from glimr_session.state import SessionState
from glimr_session.stores.rows import checksum

from .strategies import contents, values
from .wsgi_client import Browser, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

any_text = st.text(st.characters(categories=None))  # lone surrogates too


@pytest.fixture(params=["cookie", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    store = CookieStore() if request.param == "cookie" else DiskStore(tmp_path / "sessions")
    yield store
    store.close()


@pytest.mark.parametrize("name", ["cookies", "payload", "config"])
def test_every_target_holds_for_its_seeds(name: str) -> None:
    """The fuzzer begins with what is known to hold, and so finds only what is new."""
    target = importlib.import_module(f"fuzz.{name}")
    for seed in target.seeds():
        target.run(seed)


@st.composite
def damaged(draw: st.DrawFn, originals: st.SearchStrategy[bytes]) -> bytes:
    """Good bytes with bits flipped, and parts cut out, doubled, moved or put in."""
    data = bytearray(draw(originals))
    for _ in range(draw(st.integers(1, 6))):
        begin, end = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
        match draw(st.sampled_from(["flip", "cut", "double", "move", "put in"])):
            case "flip" if begin < len(data):
                data[begin] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[begin:end]
            case "double":
                data[begin:begin] = data[begin:end] * draw(st.sampled_from([1, 2, 500]))
            case "move":
                data = data[end:] + data[begin:end] + data[:begin]
            case _:
                data[begin:begin] = draw(st.binary(max_size=4))
        data = data[:100_000]
    return bytes(data)


# Cookies.

stamps = (
    st.text("0123456789abcdefABCDEFx_+-. \t\v\n\u0661\uff11")
    | st.integers(min_value=0).map("{:x}".format)
    | st.sampled_from(["f" * 300, "f" * 100_000, "-1", "1_0", "0x1", " 1 ", "nan", "inf", "1e9"])
)
signed = st.builds("\x03{}{}\x03".format, st.sampled_from(["ours.", "a.b.", ".", ""]), stamps)
pieces = st.sampled_from(["\x01", "\x02", cookies.NAME, "=", ";", "; ", ".", '"', "\t", ",", "\0"])


@given(st.lists(signed | pieces | any_text).map("".join))
@example("\x03ours." + "f" * 300 + "\x03")  # a number of milliseconds that no float holds
@example("\x030x1\x03")  # signed, but not with a time
def test_a_header_gives_what_was_signed_or_nothing(text: str) -> None:
    """Whatever is sent, and whatever was signed in the place of a time."""
    cookies.check(text)


@given(
    damaged(
        st.lists(st.sampled_from([cookies.OURS, cookies.OTHER, "a=b", ""]), min_size=1).map(
            lambda parts: "; ".join(parts).encode()
        )
    )
)
def test_a_damaged_header_gives_what_was_signed_or_nothing(header: bytes) -> None:
    """No damage to good cookies makes a third one of them."""
    received = cookies.COOKIE.read(header.decode("latin-1"))
    assert received is None or received.value in ("ours", "other")


def most_memory(function: Callable[[], object]) -> int:
    """Give the bytes that were in use at most while this ran."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Bytes in memory for each byte of input. Python's smallest objects are what it comes to:
# a dict of one key takes 184 bytes, and six in JSON.
MEMORY_PER_BYTE = 40


@pytest.mark.parametrize(
    "piece",
    [
        lambda n: ";",
        lambda n: "ab;",
        lambda n: f"{cookies.NAME};",
        lambda n: f"{cookies.NAME}={n:x};",
        lambda n: f"{cookies.NAME}={n:x}.0.{'A' * 43};",
        lambda n: "A",
        lambda n: "\xff",
    ],
    ids=["semicolons", "words", "names", "values", "signatures", "a long value", "Latin-1"],
)
def test_reading_takes_memory_in_proportion_to_the_header(piece: Callable[[int], str]) -> None:
    """The largest header that a server lets through cannot be made into gigabytes."""
    header = f"{cookies.NAME}=" + "".join(map(piece, range(5_000)))
    assert most_memory(lambda: cookies.COOKIE.read(header)) < MEMORY_PER_BYTE * len(header)


# Stored bytes.

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
    """All of it is: nobody gets half of a session."""
    text = b'{"_data":{"good":1},"%b":{"bad":%b}}' % (where.encode(), value)
    if where != "unknown":
        assert decode_payload(text) == ({}, {})
        assert decode_stored(text) is None
    payload.check(text)


@pytest.mark.parametrize("levels", [101, 300, 320])
def test_more_levels_than_can_be_put_can_be_used(levels: int) -> None:
    """They are not looked at that closely, and are no trouble to anybody."""
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
    """The last of two equal keys counts; nothing that JSON can say is taken for damage."""
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
    """What is read can be encoded again; what opens can be read, written and opened again."""
    payload.check(value)


@given(text=any_text)
def test_any_text_is_no_session(store: SessionStore, text: str) -> None:
    """Signed or not, as a payload or as the value of a cookie, in every store."""
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
def test_decoding_takes_memory_in_proportion_to_the_bytes(text: bytes) -> None:
    """Small text cannot be made into gigabytes, were it signed."""
    value = b'{"_data":{"a":[%b]}}' % text
    assert most_memory(lambda: decode_stored(value)) < MEMORY_PER_BYTE * len(value)


# What can be planted in the database.


class Planting:
    """A disk store, and somebody who can write its database."""

    def __init__(self, directory: Path) -> None:
        self.store = DiskStore(directory)
        self._connection = sqlite3.connect(directory / "cache.db", isolation_level=None)

    def plant(self, column: str, value: object, *, as_text: bool = False) -> str:
        """Make a session, change a column of it, and put the checksum right; give its cookie."""
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
    """As above, on the way that the disk store takes, merging included."""
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
@example(column="access_count", value=1.5, as_text=False)  # and a revision could be told from it
def test_any_column_of_any_type_is_a_session_that_can_be_used_or_none(
    planting: Planting, column: str, value: object, as_text: bool
) -> None:
    """A planted row is no outage, blocks nobody's next session and is collected."""
    wire = planting.plant(column, value, as_text=as_text)
    store = planting.store
    payload.use(store, wire)
    assert store.touch(wire) in (True, False)
    store.save(wire, {"c": 3}, {})
    assert store.load(wire) == ({"c": 3}, {})
    assert store.gc() in (0, 1)
    store.destroy(wire)
    assert store.open(wire) is None


# Settings.

KEY = configuration.KEY

CODE_SETTINGS = [*SessionConfig.__dataclass_fields__]

names = st.sampled_from([*CODE_SETTINGS, "disk", "directory", "secret", "keys"]) | any_text
numbers = st.integers() | st.floats() | st.just(10**400)
words = any_text | st.sampled_from(["disk", "a.b:c", "never", "auto", "/", "Lax", "true", "1e999"])
settings = st.recursive(
    st.none() | st.booleans() | st.binary() | st.datetimes() | numbers | words,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(names | numbers | st.none(), inner, max_size=3)
    ),
    max_leaves=6,
)
right = st.fixed_dictionaries(
    {},
    optional={
        "store": st.sampled_from(["disk", "cookie", "a.b:c"]),
        "cookie": st.sampled_from(["shop", "__Host-shop", "__Secure-shop"]),
        "cookie_path": st.sampled_from(["/", "/shop"]),
        "cookie_domain": st.sampled_from(["", "example.com"]),
        "cookie_samesite": st.sampled_from(["Lax", "Strict", "None"]),
        "cookie_secure": st.booleans() | st.just("auto"),
        "lifetime": st.floats(0.1, 600),
        "absolute_lifetime": st.floats(0, 6_000),
        "gc": st.sampled_from(["lottery", "interval", "never", "a:b"]),
        "gc_chance": st.floats(0, 1),
        "disk_directory": st.sampled_from(["var/sessions", "~", "$HOME"]),
        "disk_durability": st.sampled_from(["process", "power"]),
    },
)
# Every way to write a key down, right or wrong, and nobody may quote it.
with_key = st.sampled_from(
    [KEY, [KEY], (KEY, KEY), [KEY, "short"], [KEY, 5], [[KEY]], {KEY}, {"first": KEY}, {KEY: None}]
)


@pytest.fixture
def nothing_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever reads settings makes no file and no directory where it stands."""
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("nothing_made")
@given(right, st.dictionaries(names | numbers, settings, max_size=2), with_key)
@example({}, {}, {KEY: None})  # a colon in place of a dash, in YAML
def test_any_mapping_is_a_configuration_or_a_config_error(
    right: dict[str, Any], wrong: dict[str, Any], keys: object
) -> None:
    """A key is never in the error, however it was written down."""
    mapping = {**right, **wrong, "secret_keys": keys}
    configuration.check(lambda: SessionConfig.from_mapping(mapping))


@pytest.mark.usefixtures("nothing_made")
@given(right, st.dictionaries(st.sampled_from(CODE_SETTINGS), settings, max_size=2), with_key)
def test_any_arguments_are_a_configuration_or_a_config_error(
    right: dict[str, Any], wrong: dict[str, Any], keys: object
) -> None:
    """In Python code too: what is checked there is checked for everything."""
    arguments = {**right, **wrong, "secret_keys": keys}
    configuration.check(lambda: SessionConfig(**arguments))


def wrapped(levels: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = wrap(value)
    return value


# Python itself refuses to show these.
UNSHOWABLE: list[Any] = [
    10**5_000,
    -(10**5_000),
    wrapped(100_000, lambda inner: [inner]),
    wrapped(100_000, lambda inner: {"a": inner}),
]


@pytest.mark.parametrize("name", [*CODE_SETTINGS, "unknown"])
def test_what_cannot_be_shown_is_a_config_error(name: str) -> None:
    """The error is ours all the same, as a value, in a list, and in a table."""
    for value in UNSHOWABLE:
        for mapping in ({name: value}, {name: [value]}, {"disk": {name: value}}):
            with pytest.raises(ConfigError):
                SessionConfig.from_mapping(mapping)
        if name in CODE_SETTINGS:
            with pytest.raises(ConfigError):
                SessionConfig(**{name: value})


def test_a_name_that_cannot_be_shown_is_a_config_error() -> None:
    """Only Python code and other formats than TOML have such names."""
    mappings: list[dict[Any, Any]] = [
        {10**5_000: 1}, {"disk": {10**5_000: 1}}, {10**5_000: {"a": 1}},
    ]  # fmt: skip
    for mapping in mappings:
        with pytest.raises(ConfigError, match="is no setting"):
            SessionConfig.from_mapping(mapping)


@pytest.mark.usefixtures("nothing_made")
@given(
    right,
    st.dictionaries(
        names,
        words | numbers.map(str) | st.sampled_from(["9" * 100_000, "1_0", "\u0661"]),
        max_size=2,
    ),
    st.dictionaries(any_text, any_text, max_size=1),
    st.sampled_from([KEY, f"{KEY},short", f" ,{KEY}, \ud800{'x' * 40}"]),
)
def test_any_environment_is_a_configuration_or_a_config_error(
    right: dict[str, Any], wrong: dict[str, str], others: dict[str, str], keys: str
) -> None:
    """Of any size, and a key is never in the error."""
    settings = {**right, **wrong, "secret_keys": keys}
    environ = {f"GLIMR_SESSION_{name.upper()}": str(text) for name, text in settings.items()}
    configuration.check(lambda: SessionConfig.from_env({**others, **environ}))


toml_values = (
    st.sampled_from(
        ["0x" + "f" * 5_000, "9" * 5_000, "1e999", "-nan", "1979-05-27", "07:32:00", "[1, {a = 1}]",
         "[" * 3_000, "{a = " * 3_000, "[" * 600 + "]" * 600, '"\\ud800"', "'''x'''", "0b1", "true"]
    )
    | st.text().map(json.dumps)
    | st.integers().map(str)
    | st.floats().map(str)
)  # fmt: skip
bare_keys = st.lists(
    st.sampled_from([*CODE_SETTINGS, "disk", "directory", "a", '"a.b"', "''"]),
    min_size=1,
    max_size=3,
).map(".".join)
toml_lines = (
    st.builds("{} = {}".format, bare_keys, toml_values)
    | st.builds("[{}]".format, bare_keys)
    | st.builds("[[{}]]".format, bare_keys)
    | st.text()
)
right_lines = right.map(lambda found: [f"{name} = {json.dumps(found[name])}" for name in found])
toml = st.builds(
    lambda right, wrong: "\n".join([*right, *wrong]).encode(),
    right_lines,
    st.lists(toml_lines, max_size=2),
)


@pytest.mark.usefixtures("nothing_made")
@given(toml | damaged(toml) | st.binary())
@example(b"store = " + b"[" * 3_000)  # deeper than tomllib goes
@example(b"disk.directory" + b".a" * 3_000 + b" = 1")  # and than repr does
@example(b"lifetime = 0x" + b"f" * 5_000)
def test_any_file_is_a_configuration_or_a_config_error(content: bytes) -> None:
    """TOML or not, with a key in the environment that is never in the error."""
    configuration.check(lambda: configuration.from_file(content))


# The middleware as a whole.


def application(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Read a key, and write one where the path says so."""
    session: Session = environ["glimr.session"]
    text = json.dumps(session.get("a"))
    if environ["PATH_INFO"] == "/write":
        session["a"] = 1
    start_response("200 OK", [("Content-Type", "application/json")])
    return [text.encode()]


@pytest.fixture
def site(store: SessionStore) -> WSGIApplication:
    return SessionMiddleware(application, SessionConfig(secret_keys=[KEY], gc="never"), store=store)


def answer(site: WSGIApplication, path: str, **environ: str) -> Response:
    response = Browser().request(site, extra={"PATH_INFO": path, **environ}).begin().finish()
    assert response.status == "200 OK"
    return response


hostile_environ = st.fixed_dictionaries(
    {},
    optional={
        "HTTP_HOST": words | st.sampled_from(["[", "[::1", "localhost:", ":", "]", "LOCALHOST"]),
        "SERVER_NAME": any_text,
        "HTTP_X_FORWARDED_PROTO": any_text,
        "wsgi.url_scheme": st.sampled_from(["http", "https", "HTTPS", ""]) | any_text,
    },
)
hostile_header = st.lists(
    st.sampled_from([cookies.OURS, cookies.NAME, "=", "; ", ".", '"', "0" * 64]) | any_text
).map("".join)


@given(header=hostile_header, environ=hostile_environ)
def test_any_request_that_only_reads_is_served_and_gets_no_cookie(
    site: WSGIApplication, header: str, environ: dict[str, str]
) -> None:
    """Nothing that a client sends, or a proxy adds, makes a session of nothing."""
    response = answer(site, "/", HTTP_COOKIE=header, **environ)
    assert response.body == b"null"
    assert response.set_cookie is None
    assert response.values("Vary") == ["Cookie"]


SET_COOKIE = re.compile(
    r"glimr_session=[\w.=-]+; HttpOnly; Max-Age=7200; Path=/; SameSite=Lax(; Secure)?", re.ASCII
)


@given(header=hostile_header, environ=hostile_environ)
def test_any_request_that_writes_gets_one_good_cookie(
    site: WSGIApplication, header: str, environ: dict[str, str]
) -> None:
    """Nothing of the request gets into the header, and the next request has the session."""
    response = answer(site, "/write", HTTP_COOKIE=header, **environ)
    ours = response.set_cookie
    assert ours is not None
    assert SET_COOKIE.fullmatch(ours), ours
    cookie = ours.partition(";")[0]
    after = answer(site, "/", HTTP_COOKIE=f"{header}; {cookie}", **environ)
    assert after.body == b"1"
    assert after.set_cookie is None


# Values.


class Text(str):
    """A subclass would come back as its base."""

    __slots__ = ()


class Number(float):
    """A subclass would come back as its base."""


def holding_itself() -> list[Any]:
    value: list[Any] = []
    value.append([value])
    return value


strange = (
    values
    | any_text
    | st.floats()
    | st.integers(2**2121, 2**2123)
    | st.binary()
    | st.complex_numbers()
    | st.decimals()
    | st.datetimes()
    | st.sets(st.integers())
    | st.integers(97, 102).map(lambda levels: wrapped(levels, lambda inner: [inner]))
    | st.sampled_from(
        [object(), print, Ellipsis, Text("x"), Number(1), holding_itself(), range(3),
         bytearray(b"x"), decimal.Decimal(1), datetime.timedelta(1), frozenset(), iter([]), count()]
    )
)  # fmt: skip
anything = strange | st.recursive(
    values | strange,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.lists(inner, max_size=2).map(tuple)
        | st.dictionaries(st.text() | any_text | st.integers(), inner, max_size=2)
    ),
    max_leaves=3,
)


def as_lists(value: Any) -> Any:
    """Give a value with its tuples turned into lists."""
    if isinstance(value, list | tuple):
        return [as_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: as_lists(item) for key, item in value.items()}
    return value


@given(key=any_text, value=anything, flashed=contents)
@example(key="a", value=float("nan"), flashed={})
@example(key="a", value=2**2122 - 1, flashed={})
@example(key="a", value=2**2122, flashed={})
@example(key="a", value={1}, flashed={})
def test_what_put_takes_comes_back_and_what_it_refuses_is_a_type_or_value_error(
    store: SessionStore, key: str, value: Any, flashed: dict[str, Any]
) -> None:
    """Nothing is taken that the store would change, or fail on when the request ends."""
    session = Session(lambda: SessionState.new(generate_id()))
    try:
        session["there"] = True
        try:
            session.put(key, value)
        except (TypeError, ValueError):
            assert session.all() == {"there": True}
            return
        for name, shown in flashed.items():
            session.flash(name, shown)
        changes = session.state().changes
    finally:
        session.stop()
    try:
        wire = store.commit(changes)
    except SessionTooLarge:  # for a cookie
        assert store.largest is not None
        return
    assert isinstance(wire, str)
    stored = store.open(wire)
    assert stored is not None
    assert repr(stored.data) == repr({"there": True, key: as_lists(value)})
    assert repr(stored.flash) == repr(flashed)
