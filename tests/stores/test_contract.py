"""The contract of SessionStore, on every store, and on one whose server expires by itself."""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from glimr_session import (
    CommitResult,
    CookieStore,
    DiskStore,
    Json,
    SessionStore,
    StoredSession,
    StoreUnavailable,
)
from glimr_session._request.cleanup import maybe_collect
from glimr_session._session.changes import Changes
from glimr_session.testing.contract import (
    ABSOLUTE,
    LIFETIME,
    Clock,
    Request,
    StoreContract,
    begin,
    put,
    regenerate,
)
from tests.support.memory import InMemory


class TestCookieStore(StoreContract):
    """The contract on the cookie store."""

    @pytest.fixture
    def store(self) -> SessionStore:
        return CookieStore(lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)

    @pytest.fixture
    def broken(self, store: SessionStore) -> SessionStore:
        return store


class TestDiskStore(StoreContract):
    """The contract on the disk store."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SessionStore]:
        store = DiskStore(tmp_path / "sessions", lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)
        yield store
        store.close()

    @pytest.fixture
    def broken(self, store: SessionStore) -> SessionStore:
        assert isinstance(store, DiskStore)
        with sqlite3.connect(store.directory / "cache.db") as connection:
            connection.execute("DROP TABLE Cache")
        connection.close()
        return store


class TestFunctionStore(StoreContract):
    """The contract on a store made of five functions."""

    expires = False

    @pytest.fixture
    def memory(self) -> InMemory:
        return InMemory()

    @pytest.fixture
    def store(self, memory: InMemory) -> SessionStore:
        return memory.store()

    @pytest.fixture
    def broken(self, store: SessionStore, memory: InMemory) -> SessionStore:
        memory.down = True
        return store


class Entry:
    """A session on the server. It keeps its place for life, whatever its id."""

    def __init__(self, session_id: str, now: float) -> None:
        self.id = session_id
        self.data: dict[str, Json] = {}
        self.flash: dict[str, Json] = {}
        self.set_in: dict[str, int] = {}  # the version in which each flash value was set
        self.version = 0
        self.created_at = now
        self.last_used_at = now
        self.lifetime = 0.0
        self.expire_on_close: bool | None = None


class Server:
    """A server with a clock of its own that forgets sessions when their time is up."""

    def __init__(self) -> None:
        self.now = 0.0
        self.down = False
        self.lock = threading.Lock()
        self._entries: dict[str, Entry] = {}  # by the id that they began with
        self._beginnings: dict[str, str] = {}  # that id, by the present one
        self.moved: dict[str, tuple[str, float]] = {}  # whose id a login has replaced, and when

    def __enter__(self) -> Self:
        self.lock.acquire()
        if self.down:
            self.lock.release()
            raise StoreUnavailable("the server is down") from ConnectionError("refused")
        for place, entry in list(self._entries.items()):
            idle_end = entry.last_used_at + (entry.lifetime or LIFETIME)
            end = entry.created_at + ABSOLUTE
            if self.now >= min(idle_end, end):
                self.remove(place)
        return self

    def __exit__(self, *exception: object) -> None:
        self.lock.release()

    def place(self, session_id: str) -> str | None:
        return self._beginnings.get(session_id)

    def get(self, place: str) -> Entry | None:
        return self._entries.get(place)

    def add(self, session_id: str) -> Entry:
        entry = Entry(session_id, self.now)
        self._entries[session_id] = entry
        self._beginnings[session_id] = session_id
        return entry

    def move(self, place: str, new_id: str) -> None:
        entry = self._entries[place]
        self.moved[entry.id] = place, self.now
        del self._beginnings[entry.id]
        self._beginnings[new_id] = place
        entry.id = new_id
        entry.created_at = self.now

    def remove(self, place: str) -> None:
        del self._beginnings[self._entries.pop(place).id]


class ServerStore(SessionStore):
    """Keeps sessions on such a server. ``marks`` are the place of a session and its version."""

    kind = "server"
    atomic = True
    expires_by_itself = True

    def __init__(self, server: Server) -> None:
        self.server = server
        self.lifetime = LIFETIME
        self.absolute_lifetime = ABSOLUTE
        self.collected = 0

    def open(self, cookie_value: str) -> StoredSession | None:
        with self.server as server:
            place = server.place(cookie_value)
            entry = None if place is None else server.get(place)
            if entry is None:
                return None
            return StoredSession(
                id=entry.id,
                data=dict(entry.data),
                flash=dict(entry.flash),
                created_at=entry.created_at,
                last_used_at=entry.last_used_at,
                lifetime=entry.lifetime,
                expire_on_close=entry.expire_on_close,
                marks=(place, entry.version),
            )

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        base = changes.base
        with self.server as server:
            if base is None:
                return self._begin(server, changes)
            place, since = base.marks or (base.id, 0)
            begun = server.place(base.id)  # by an earlier commit of the request, if it has moved
            if begun not in (None, place):
                place, since = begun, 0
            entry = server.get(place)
            login = changes.id_changed or changes.invalidated
            if entry is None:
                if login and self._has_moved(server, base.id):
                    return self._begin_login(server, changes)
                return CommitResult.GONE
            if changes.invalidated:
                server.remove(place)
                result = self._begin(server, changes)
                if result is CommitResult.EMPTY:  # a logout
                    server.moved = {k: v for k, v in server.moved.items() if v[0] != place}
                else:
                    server.moved[entry.id] = place, server.now
                return result
            moved = entry.id != base.id
            if changes.id_changed:
                if moved:
                    return self._begin_login(server, changes)
                server.move(place, changes.id)
            self._replay(entry, changes, since)
            entry.last_used_at = server.now
        return CommitResult.MOVED if moved else CommitResult.stored(changes.id)

    def has_moved(self, cookie_value: str) -> bool:
        with self.server as server:
            return self._has_moved(server, cookie_value)

    def gc(self) -> int:
        self.collected += 1
        with self.server:
            return 0

    def _has_moved(self, server: Server, session_id: str) -> bool:
        _, moved_at = server.moved.get(session_id, ("", -math.inf))
        return server.now - moved_at < self.overlap

    def _begin_login(self, server: Server, changes: Changes) -> CommitResult:
        result = self._begin(server, changes)
        return CommitResult.GONE if result is CommitResult.EMPTY else result

    def _begin(self, server: Server, changes: Changes) -> CommitResult:
        data, flash = changes.replay({}, {})
        if not data and not flash:
            return CommitResult.EMPTY
        self._replay(server.add(changes.id), changes, 0)
        return CommitResult.stored(changes.id)

    def _replay(self, entry: Entry, changes: Changes, since: int) -> None:
        newer = {key for key, version in entry.set_in.items() if version > since}
        entry.data, entry.flash = changes.replay(entry.data, entry.flash, flash_set_since=newer)
        stored = StoredSession(lifetime=entry.lifetime, expire_on_close=entry.expire_on_close)
        entry.lifetime = changes.lifetime_on(stored)
        entry.expire_on_close = changes.expire_on_close_on(stored)
        entry.version += 1
        entry.set_in = {key: entry.set_in.get(key, 0) for key in entry.flash}
        entry.set_in.update(dict.fromkeys(changes.flash, entry.version))


class TestServerStore(StoreContract):
    """The contract on a store whose server has a clock and removes expired sessions itself."""

    def set_server_time(self, store: SessionStore, now: float) -> None:
        assert isinstance(store, ServerStore)
        store.server.now = now

    @pytest.fixture
    def store(self) -> SessionStore:
        return ServerStore(Server())

    @pytest.fixture
    def broken(self, store: SessionStore) -> SessionStore:
        assert isinstance(store, ServerStore)
        store.server.down = True
        return store

    def test_the_clock_of_the_server_follows_the_clock_of_the_test(
        self, store: SessionStore, clock: Clock
    ) -> None:
        """The contract tells the server each time that the clock of the test shows."""
        assert isinstance(store, ServerStore)
        assert store.server.now == clock.now
        clock.advance(10)
        assert store.server.now == clock.now

    def test_no_request_starts_a_cleanup(self, store: SessionStore) -> None:
        """A request does not even ask the policy if the storage expires by itself."""
        assert isinstance(store, ServerStore)
        asked: list[bool] = []

        def always() -> bool:
            asked.append(True)
            return True

        maybe_collect(always, store)
        assert (asked, store.collected) == ([], 0)

    def test_what_a_late_request_is_told(self, store: SessionStore) -> None:
        """A commit on a session that has moved is MOVED; a login that writes nothing is GONE."""
        cookie_value = begin(store)
        late, later = Request(store, cookie_value), Request(store, cookie_value)
        Request(store, cookie_value).commit(regenerate)
        assert late.answer(put("b", 2)) is CommitResult.MOVED
        assert later.answer(regenerate) is CommitResult.GONE
