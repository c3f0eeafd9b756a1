"""Stores with a sealer: what is at rest, who can read it, and what is read of before."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimr_session import (
    CookieStore,
    DiskStore,
    Json,
    SessionConfig,
    SessionStore,
    SessionTooLarge,
    new,
)
from glimr_session._ids import storage_key
from glimr_session._session.changes import Changes
from glimr_session._session.sealing import SEALED, Sealer
from glimr_session.stores.disk.queries import checksum
from glimr_session.stores.moving import MovingStore
from glimr_session.stores.sql import SqlStore
from glimr_session.testing.contract import (
    ABSOLUTE,
    LIFETIME,
    Request,
    StoreContract,
    begin,
    belong_to,
    content,
    expire_after,
    flash,
    put,
    regenerate,
)
from tests.conftest import Clock
from tests.support.disk import query
from tests.support.memory import InMemory

OLD = "the old key of this test, long enough"

NEW = "the new key of this test, long enough"

# One that the contract's tests of encryption open with as well.
CONTRACT = "Vk3x - 32 characters, made at random"


class TestEncryptedCookieStore(StoreContract):
    """The contract on the cookie store, encrypted."""

    @pytest.fixture
    def store(self) -> SessionStore:
        store = CookieStore(lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)
        store.sealer = Sealer([CONTRACT])
        return store

    @pytest.fixture
    def broken(self, store: SessionStore) -> SessionStore:
        return store


class TestEncryptedFunctionStore(StoreContract):
    """The contract on a store made of five functions, encrypted."""

    expires = False

    @pytest.fixture
    def memory(self) -> InMemory:
        return InMemory()

    @pytest.fixture
    def store(self, memory: InMemory) -> SessionStore:
        store = memory.store()
        store.sealer = Sealer([CONTRACT])
        return store

    @pytest.fixture
    def broken(self, store: SessionStore, memory: InMemory) -> SessionStore:
        memory.down = True
        return store


class Kept(NamedTuple):
    """A store, and the bytes of all that it keeps of a session with a cookie value."""

    store: SessionStore
    at_rest: Callable[[str], bytes]


@pytest.fixture(params=["disk", "sqlite", "cookie", "functions"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    def files(_cookie_value: str) -> bytes:
        found = [file.read_bytes() for file in sorted(tmp_path.rglob("*")) if file.is_file()]
        return b"\n".join(found)

    times: dict[str, Any] = {"lifetime": LIFETIME, "absolute_lifetime": ABSOLUTE}
    match request.param:
        case "disk":
            with closing(DiskStore(tmp_path / "sessions", **times)) as disk:
                yield Kept(disk, files)
        case "sqlite":
            url = f"sqlite:///{tmp_path / 'sessions.db'}"
            SqlStore.create_table(url)
            with closing(SqlStore(url, **times)) as sql:
                yield Kept(sql, files)
        case "cookie":
            yield Kept(
                CookieStore(**times),
                lambda value: value.encode() + base64.urlsafe_b64decode(value + "==="),
            )
        case _:
            memory = InMemory()
            yield Kept(memory.store(), lambda _value: json.dumps(memory.sessions).encode())


# At rest.

WORDS = {
    "a key of the data": b"shoe_size",
    "a value": b"forty-three",
    "a key of the flash": b"notice_of_order",
    "a value of the flash": b"thank you, Zoe",
    "what was noted": b"phone of Zoe",
    "its key": b"seen_with",
    "the lifetime": b"5432",
    "the words for both": b"_data",
    "the owner": b"zoe@example.org",
}


@pytest.mark.parametrize("encrypt", [True, False], ids=["encrypted", "plain"])
def test_nothing_of_an_encrypted_session_can_be_read_at_rest(kept: Kept, *, encrypt: bool) -> None:
    """No word of it is in any file, log file or cookie; without encryption they are."""
    store = kept.store
    store.sealer = Sealer([NEW], seals=encrypt)
    cookie_value = begin(
        store,
        put("shoe_size", "forty-three"),
        flash("notice_of_order", "thank you, Zoe"),
        belong_to("zoe@example.org", seen_with="phone of Zoe"),
        expire_after(5432.0),
    )
    cookie_value = Request(store, cookie_value).commit(put("n", 1), flash("x", "thank you, Zoe"))
    cookie_value = Request(store, cookie_value).commit(regenerate, put("shoe_size", "forty-three"))
    at_rest = kept.at_rest(cookie_value)
    found = {name for name, word in WORDS.items() if word in at_rest}
    if encrypt:
        assert found == set()
    elif kept.store.kind == "custom":  # five functions keep data and flash alone
        assert found == {"a key of the data", "a value"}
    else:
        assert found >= {"a key of the data", "a value", "what was noted", "its key"}
        assert found >= {"the lifetime", "the words for both"}
        assert "the owner" not in found


# What was stored before.


@pytest.mark.parametrize("read_only", [True, False], ids=["read", "written"])
def test_a_session_outlives_its_key_if_it_is_renewed(
    kept: Kept, clock: Clock, *, read_only: bool
) -> None:
    """Plain, then with the old key, then with the new one: each renewal takes it along."""
    store = kept.store
    store.sealer = Sealer([OLD], seals=False)
    cookie_value = begin(store, put("shoe_size", 43), flash("x", 1))
    for keys in ([OLD], [OLD, NEW], [NEW, OLD], [NEW]):
        store.sealer = Sealer(keys)
        clock.advance(LIFETIME / 2)
        assert (content(store, cookie_value) or ({}, {}))[0]["shoe_size"] == 43
        if read_only:
            cookie_value = renewed(store, cookie_value)
        else:
            cookie_value = Request(store, cookie_value).commit(put("n", 1))
    expected = ({"shoe_size": 43}, {"x": 1}) if read_only else ({"shoe_size": 43, "n": 1}, {})
    assert content(store, cookie_value) == expected
    store.sealer = None
    assert store.open(cookie_value) is None


def renewed(store: SessionStore, cookie_value: str) -> str:
    """Renew a session as a request does that only reads."""
    if store.server_side:
        assert store.touch(cookie_value) is True
        return cookie_value
    stored = store.open(cookie_value)  # a store that cannot touch sends a new cookie
    assert stored is not None
    return store.commit(Changes(stored, stored.id)).cookie_value


@pytest.mark.parametrize("kept", ["disk", "sqlite"], indirect=True)
def test_a_renewal_writes_a_value_anew_only_if_it_must(kept: Kept, clock: Clock) -> None:
    """The version stays while the value is as it would be sealed now, and counts if it is not."""
    store = kept.store
    store.sealer = Sealer([OLD])
    cookie_value = begin(store)
    versions = []
    for keys in ([OLD], [NEW, OLD], [NEW, OLD]):
        store.sealer = Sealer(keys)
        clock.advance(LIFETIME / 2)
        assert asyncio.run(store.atouch(cookie_value)) is True
        found = store.open(cookie_value)
        assert found is not None
        assert found.last_used_at == clock.now
        versions.append(found.marks.revision)
    assert versions[1:] == [versions[0] + 1] * 2


@pytest.mark.parametrize(
    ("sealer", "why"),
    [
        (None, "It is encrypted, and this store was given no secret_keys."),
        (Sealer([OLD]), "It is encrypted with a key that is not in secret_keys."),
    ],
    ids=["no keys", "another key"],
)
def test_the_log_says_why_an_encrypted_session_is_absent(
    kept: Kept, caplog: pytest.LogCaptureFixture, sealer: Sealer | None, why: str
) -> None:
    """It counts as absent, and the warning says that a key is missing, and names no id."""
    store = kept.store
    store.sealer = Sealer([NEW])
    cookie_value = begin(store)
    store.sealer = sealer
    with caplog.at_level(logging.WARNING):
        assert store.open(cookie_value) is None
        assert store.touch(cookie_value) is False
    assert caplog.messages[0].endswith(f" counts as absent. {why}")
    assert cookie_value not in caplog.text
    assert "secret_keys" in caplog.text
    store.sealer = Sealer([NEW])
    assert content(store, cookie_value) == ({"a": 1}, {})


# Somebody who can write the database.


def stolen(directory: Path, session_id: str) -> bytes:
    """Return the value of a session, as it is in the database."""
    ((value,),) = query(directory, "SELECT value FROM Cache WHERE key = ?", storage_key(session_id))
    found: bytes = value
    return found


def plant(directory: Path, session_id: str, value: bytes) -> None:
    """Put a value in the place of a session's, with the checksum that belongs to it."""
    key = storage_key(session_id)
    statement = "UPDATE Cache SET value = ?, tag = ? WHERE key = ?"
    query(directory, statement, sqlite3.Binary(value), checksum(key, value), key)


def test_what_somebody_who_can_write_the_database_can_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Take no session to another id; but replay an older one, or plant a plain one."""
    with closing(DiskStore(tmp_path / "sessions")) as store:
        store.sealer = Sealer([NEW])
        admin, mine = begin(store, put("admin", True)), begin(store, put("n", 1))
        older = stolen(store.directory, mine)
        Request(store, mine).commit(put("n", 2))
        plant(store.directory, mine, stolen(store.directory, admin))
        assert store.open(mine) is None
        assert caplog.messages[-1].endswith(
            " It is encrypted, and was damaged or belongs elsewhere."
        )
        query(store.directory, "DELETE FROM Cache WHERE key = ?", storage_key(mine))
        moved = "UPDATE Cache SET key = ? WHERE key = ?"
        query(store.directory, moved, storage_key(mine), storage_key(admin))
        assert store.open(mine) is None
        store.destroy(mine)
        store.save(mine, {"n": 3}, {})
        plant(store.directory, mine, older)
        assert store.load(mine) == ({"n": 1}, {})
        plant(store.directory, mine, b'{"_data":{"admin":true}}')
        assert store.load(mine) == ({"admin": True}, {})


# In the cookie.


@pytest.mark.usefixtures("clock")
def test_the_size_of_a_cookie_is_that_of_the_encrypted_session() -> None:
    """A session that just fits plain does not fit sealed, and the error has its size."""
    store = CookieStore()
    data: dict[str, Json] = {"text": "x" * 2900}
    plain = store.cookie_value("0" * 64, data, {})
    assert 4096 - 62 < len(plain) <= 4096
    store.sealer = Sealer([NEW])
    with pytest.raises(SessionTooLarge) as error:
        store.cookie_value("0" * 64, data, {})
    assert error.value.size - len(plain) in (61, 62)


@given(st.binary(max_size=100))
def test_any_encrypted_bytes_in_a_cookie_are_no_session(garbage: bytes) -> None:
    """The store takes what it has not sealed for absent, and raises nothing."""
    store = CookieStore()
    store.sealer = Sealer([NEW])
    header = store.sealer.seal(b"", b"cookie")[:6]
    for value in (SEALED + garbage, header + garbage, store.sealer.seal(garbage, b"cookie")):
        assert store.open(base64.urlsafe_b64encode(value).decode()) is None


# Five functions.


def test_the_functions_of_a_store_are_given_one_text() -> None:
    """They save JSON: a key of ours, whose value is all of the session, and no flash."""
    memory = InMemory()
    store = memory.store()
    store.sealer = Sealer([NEW])
    session_id = begin(store, put("shoe_size", 43), flash("x", 1))
    data, shown = memory.sessions[session_id]
    assert (list(data), shown) == (["glimr_session sealed"], {})
    text = data["glimr_session sealed"]
    assert isinstance(text, str)
    assert base64.b64decode(text, validate=True).startswith(SEALED)


def test_five_functions_may_keep_encrypted_sessions_in_the_cookie() -> None:
    """What the function cookie_value was given, and load gives back, is the session."""
    store = new(
        load=lambda value: (json.loads(base64.urlsafe_b64decode(value)), {}),
        save=lambda session_id, data, shown: None,
        destroy=lambda session_id: None,
        gc=lambda: 0,
        cookie_value=lambda session_id, data, shown: base64.urlsafe_b64encode(
            json.dumps(data).encode()
        ).decode(),
    )
    store.sealer = Sealer([NEW])
    cookie_value = begin(store, put("shoe_size", 43))
    assert b"shoe_size" not in base64.urlsafe_b64decode(cookie_value)
    assert content(store, cookie_value) == ({"shoe_size": 43}, {})
    again = Request(store, cookie_value).commit(put("n", 1))
    assert content(store, again) == ({"shoe_size": 43, "n": 1}, {})


def test_an_encrypted_session_of_five_functions_opens_under_its_id_alone() -> None:
    """Whoever can write there cannot give one session to another id."""
    memory = InMemory()
    store = memory.store()
    store.sealer = Sealer([NEW])
    admin, mine = begin(store, put("admin", True)), begin(store)
    memory.sessions[mine] = memory.sessions[admin]
    assert store.open(mine) is None
    assert content(store, admin) == ({"admin": True}, {})


@pytest.mark.parametrize(
    "planted", [5, None, "", "é", "czE", "!!!!", [1], {"a": 1}, "czE" + "A" * 90], ids=repr
)
def test_whatever_five_functions_have_under_our_key_raises_nothing(
    caplog: pytest.LogCaptureFixture, planted: Json
) -> None:
    """What was not sealed here is an absent session, with a warning."""
    memory = InMemory()
    store = memory.store()
    for sealer in (None, Sealer([NEW])):
        store.sealer = sealer
        caplog.clear()
        memory.sessions["x"] = ({"glimr_session sealed": planted}, {})
        assert store.open("x") is None
        assert "unreadable and counts as absent." in caplog.text


def test_no_plain_session_of_five_functions_looks_encrypted() -> None:
    """A session without encryption cannot have the key that marks encrypted ones."""
    memory = InMemory()
    store = memory.store()
    with pytest.raises(ValueError, match="marks encrypted"):
        store.save("x", {"glimr_session sealed": "text"}, {})
    assert memory.sessions == {}
    store.sealer = Sealer([NEW])
    store.save("x", {"glimr_session sealed": "text"}, {})
    assert store.load("x") == ({"glimr_session sealed": "text"}, {})


# From one store to another.


def test_a_session_moves_from_a_plain_store_to_an_encrypted_one_and_back(tmp_path: Path) -> None:
    """Nobody is logged out, whichever of the two settings a process has."""
    url = f"sqlite:///{tmp_path / 'sessions.db'}"
    SqlStore.create_table(url)
    where: dict[str, Any] = {
        "secret_keys": [NEW], "sql_url": url, "disk_directory": tmp_path / "sessions",
    }  # fmt: skip
    configs = [
        SessionConfig(store="disk", **where),
        SessionConfig(store="sql", move_from="disk", encrypt=True, **where),
        SessionConfig(store="sql", encrypt=True, **where),
        SessionConfig(store="disk", move_from="sql", **where),
        SessionConfig(store="sql", move_from="disk", **where),
        SessionConfig(store="disk", move_from="sql", encrypt=True, **where),
    ]
    cookie_value, expected = "", dict[str, Json]()
    for number, config in enumerate(configs):
        with closing(config.make_store()) as store:
            if not cookie_value:
                cookie_value = begin(store, put("0", 0), belong_to(7, seen_with="phone"))
            assert content(store, cookie_value) == (expected or {"0": 0}, {})
            cookie_value = Request(store, cookie_value).commit(put(str(number), number), regenerate)
            expected = {**expected, str(number): number}
            (info,) = store.sessions(7)
            assert info.noted == {"seen_with": "phone"}
    with closing(configs[0].make_store()) as store:
        assert content(store, cookie_value) == (expected, {})
        assert stolen(tmp_path / "sessions", cookie_value.partition("~")[0]).startswith(SEALED)


def test_an_encrypted_session_whose_move_was_cut_short_moves_on(tmp_path: Path) -> None:
    """One that was leaving when its process was killed is found by the next one."""
    with (
        closing(DiskStore(tmp_path / "former")) as former,
        closing(DiskStore(tmp_path / "new")) as store,
    ):
        moving = MovingStore(store, former)
        assert moving.sealer is None
        SessionConfig(secret_keys=[NEW], encrypt=True).equip(moving)
        cookie_value = begin(former)
        stored = former.open(cookie_value)
        assert stored is not None
        assert former.leave(stored) is not None
        assert stolen(former.directory, cookie_value).startswith(b"\0" + SEALED)
        assert former.open(cookie_value) is None
        Request(moving, cookie_value).commit(put("b", 2))
        assert content(store, cookie_value) == ({"a": 1, "b": 2}, {})


@pytest.mark.parametrize("first", ["the new one", "the former one"])
def test_both_stores_of_a_move_get_the_keys(first: str) -> None:
    """Also where one of them was given keys before."""
    store, former = InMemory().store(), InMemory().store()
    config = SessionConfig(secret_keys=[NEW], encrypt=True)
    config.equip(store if first == "the new one" else former)
    config.equip(MovingStore(store, former))
    for equipped in (store, former):
        assert equipped.sealer is not None
        assert equipped.sealer.seals
