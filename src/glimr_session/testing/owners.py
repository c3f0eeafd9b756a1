"""The part of the contract that is about owners, lists of sessions, and encrypted values."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from .._ids import generate_id, owner_key
from .._session.sealing import Sealer
from ..errors import ConfigError, StoreUnavailable
from ..stores.base import CommitResult, SessionStore
from .clients import Visitor
from .requests import (
    LIFETIME,
    Clock,
    Request,
    begin,
    belong_to,
    content,
    expire_after,
    flash,
    increment,
    invalidate,
    put,
    regenerate,
)

__all__ = ["OwnerContract"]

_WRITERS = 16

_KEYS = ["oUv7 - 32 characters, made at random", "Vk3x - 32 characters, made at random"]


def handles(store: SessionStore, owner: str | int) -> list[str]:
    """Return the handles of an owner's sessions."""
    return [info.handle for info in store.sessions(owner)]


class OwnerContract:
    """Promises of :class:`~glimr_session.SessionStore` that are about more than one session."""

    def test_a_store_that_keeps_no_list_says_so(self, store: SessionStore) -> None:
        """It raises an error that names what to use instead."""
        refused: list[Callable[[], object]] = []
        if not store.lists_sessions:
            refused += [
                lambda: store.sessions(7),
                lambda: list(store.all_sessions()),
                lambda: store.handle_of("an id"),
            ]
        if not store.ends_owners:
            refused.append(lambda: store.destroy_all(7))
        for call in refused:
            with pytest.raises(ConfigError, match="disk"):
                call()

    def test_a_session_belongs_to_its_owner(self, store: SessionStore, clock: Clock) -> None:
        """It is in the list of its owner, with its times and what was noted, and in no other."""
        if not store.lists_sessions:
            return
        begin(store)
        begin(store, put("a", 1), belong_to(8))
        created_at = clock.now
        cookie_value = begin(store, put("a", 1), belong_to(7, device="phone"))
        clock.advance(LIFETIME / 2)
        Request(store, cookie_value).commit(put("b", 2))
        (info,) = store.sessions(7)
        assert (info.created_at, info.last_used_at) == (created_at, clock.now)
        assert (info.noted, info.owner_key) == ({"device": "phone"}, owner_key(7))
        assert info.size > 0
        assert info.handle == store.handle_of(cookie_value)
        assert [info] == store.sessions("7")
        assert store.sessions("somebody") == []

    def test_the_session_that_was_used_last_comes_first(
        self, store: SessionStore, clock: Clock
    ) -> None:
        """As users expect of a list of their devices."""
        if not store.lists_sessions:
            return
        cookies = []
        for number in range(3):
            cookies.append(begin(store, put("n", number), belong_to(7)))
            clock.advance(10)
        Request(store, cookies[0]).commit(put("n", 5))
        order = [cookies[0], cookies[2], cookies[1]]
        assert handles(store, 7) == [store.handle_of(cookie) for cookie in order]

    @pytest.mark.parametrize("end", ["logout", "destroy", "expiry", "another owner", "nobody"])
    def test_what_has_ended_is_in_no_list(
        self, store: SessionStore, clock: Clock, end: str
    ) -> None:
        """A session leaves the list of its owner when it ends, or belongs to somebody else."""
        if not store.lists_sessions:
            return
        cookie_value = begin(store, put("a", 1), belong_to(7))
        assert len(store.sessions(7)) == 1
        if end == "logout":
            Request(store, cookie_value).commit(invalidate, put("a", 2))
        elif end == "destroy":
            store.destroy(cookie_value)
        elif end == "expiry":
            clock.advance(LIFETIME)
        else:
            Request(store, cookie_value).commit(belong_to(8 if end == "another owner" else None))
        assert store.sessions(7) == []
        assert len(store.sessions(8)) == (end == "another owner")

    def test_a_session_stays_in_the_list_for_as_long_as_it_is_used(
        self, store: SessionStore, clock: Clock
    ) -> None:
        """By commits and by touches, with a lifetime of its own too, and under a new id."""
        if not store.lists_sessions:
            return
        written = begin(store, put("a", 1), belong_to(7))
        touched = begin(store, put("a", 1), belong_to(7))
        long = begin(store, put("a", 1), belong_to(7), expire_after(5 * LIFETIME))
        for _ in range(5):
            clock.advance(0.9 * LIFETIME)
            written = Request(store, written).commit(regenerate, increment("n"))
            assert store.touch(touched)
            assert len(store.sessions(7)) == 3
        assert store.open(long) is not None

    def test_a_handle_names_a_session_and_opens_nothing(self, store: SessionStore) -> None:
        """It is no id, stays the same at a login, and ends the session."""
        if not store.lists_sessions:
            return
        cookie_value = begin(store, put("a", 1), belong_to(7))
        (handle,) = handles(store, 7)
        assert cookie_value not in handle
        assert handle not in cookie_value
        assert store.open(handle) is None
        assert store.touch(handle) is False
        moved = Request(store, cookie_value).commit(regenerate, put("user", 7))
        assert handles(store, 7) == [handle] == [store.handle_of(moved)]
        found, leaving = store.find(handle)
        assert found is not None
        assert (found.id, found.data, leaving) == ("", {"a": 1, "user": 7}, False)
        slow = Request(store, moved)
        store.destroy(handle)
        assert store.open(moved) is None
        assert store.handle_of(moved) == ""
        assert slow.answer(put("b", 2)) is CommitResult.GONE
        store.destroy(handle)
        assert store.find(handle)[0] is None

    @pytest.mark.parametrize("named_by", ["session", "id", "cookie value", "handle", "nothing"])
    def test_all_sessions_of_an_owner_end_but_one(self, store: SessionStore, named_by: str) -> None:
        """Those of others stay, and so does the session that is named."""
        if not store.lists_sessions:
            return
        other, mine = begin(store, put("a", 1), belong_to(8)), begin(store)
        for _ in range(3):
            begin(store, put("a", 1), belong_to(7))
        with Visitor(store) as visitor:
            first = visitor.request()
            first.session.put("a", 1)
            first.session.belongs_to(7)
            first.respond()
            request = visitor.request()
            request.session.regenerate()  # a new id, which the store does not know yet
            base = request.session.state().changes.base
            assert base is not None
            kept = {
                "session": request.session,
                "id": base.id,
                "cookie value": base.id,
                "handle": store.handle_of(base.id),
                "nothing": None,
            }[named_by]
            assert store.destroy_all(7, except_=kept) == 3 + (kept is None)
            request.respond()
            assert len(store.sessions(7)) == (kept is not None)
            assert visitor.request().session.has("a") is (kept is not None)
        assert store.destroy_all(7) == (kept is not None)
        assert store.sessions(7) == []
        assert content(store, other) == content(store, mine) == ({"a": 1}, {})

    def test_no_request_brings_an_ended_session_back(self, store: SessionStore) -> None:
        """Whatever a request that was at work then goes on to do, it comes too late."""
        if not store.lists_sessions:
            return
        cookie_value = begin(store, put("a", 1), flash("x", 1), belong_to(7))
        late = [Request(store, cookie_value) for _ in range(4)]
        assert store.destroy_all(7) == 1
        for request, transition in zip(
            late, [put("b", 2), regenerate, belong_to(7), flash("y", 2)], strict=True
        ):
            assert request.answer(transition) is CommitResult.GONE
        assert store.touch(cookie_value) is False
        assert store.sessions(7) == []

    def test_nobody_is_left_beside_threads_that_write(self, store: SessionStore) -> None:
        """Sixteen threads write to sessions of one owner while all are ended: none is left."""
        if not (store.lists_sessions and store.atomic):
            return
        cookies = [begin(store, put("n", 0), belong_to(7)) for _ in range(4)]
        ended, failed = threading.Event(), list[BaseException]()
        started = threading.Barrier(_WRITERS + 1)

        def write(cookie_value: str) -> None:
            try:
                started.wait()
                while not ended.is_set():
                    stored = store.open(cookie_value)
                    if stored is None:
                        return
                    request = Request(store, cookie_value)
                    result = request.answer(increment("n"))
                    assert result.outcome in ("stored", "gone")
            except AssertionError:
                if store.open(cookie_value) is not None:  # it ended between open and open
                    raise
            except BaseException as error:
                failed.append(error)
                raise

        threads = [
            threading.Thread(target=write, args=(cookies[number % 4],))
            for number in range(_WRITERS)
        ]
        for thread in threads:
            thread.start()
        started.wait()
        assert store.destroy_all(7) == 4
        assert store.sessions(7) == []
        assert [content(store, cookie) for cookie in cookies] == [None] * 4
        ended.set()
        for thread in threads:
            thread.join()
        assert failed == []
        assert store.sessions(7) == []
        assert [content(store, cookie) for cookie in cookies] == [None] * 4

    def test_all_sessions_are_listed(self, store: SessionStore, clock: Clock) -> None:
        """Each living one once, whoever it belongs to, and no mark of one that has ended."""
        if not store.lists_sessions:
            return
        begin(store)
        clock.advance(LIFETIME)
        cookies = [begin(store, put("n", number), belong_to(number)) for number in range(5)]
        cookies += [begin(store) for _ in range(5)]
        Request(store, cookies.pop()).commit(invalidate, put("user", 1))
        Request(store, cookies.pop()).commit(invalidate)
        found = list(store.all_sessions())
        assert len(found) == 5 + 3 + 1
        assert {info.handle for info in found} > {store.handle_of(cookie) for cookie in cookies}
        assert {info.owner_key for info in found} == {"", *map(owner_key, range(5))}

    def test_a_session_that_is_adopted_keeps_its_owner(self, store: SessionStore) -> None:
        """What a list says of it is the same after it has left and has come back, by its handle."""
        if not (store.lists_sessions and store.keeps_marks):
            return
        cookie_value = begin(store, put("a", 1), belong_to(7, device="phone"))
        before = store.sessions(7)
        left = store.leave(store.find(before[0].handle)[0] or pytest.fail("it is not found"))
        assert left is not None
        assert [info.handle for info in store.all_sessions()] == [before[0].handle]
        store.forget_left(left)
        assert store.sessions(7) == []
        revision = left.marks.revision + 5
        assert store.adopt(left._replace(marks=left.marks._replace(revision=revision))) is True
        (after,) = store.sessions(7)
        assert (after.handle, after.noted) == (before[0].handle, before[0].noted)
        assert content(store, cookie_value) == ({"a": 1}, {})
        assert store.destroy_all(7) == 1
        assert store.open(cookie_value) is None

    def test_leaving_for_another_store_is_no_use(self, store: SessionStore, clock: Clock) -> None:
        """A session that nobody uses ends when it would have ended, wherever it is by then."""
        if not (store.lists_sessions and store.keeps_marks):
            return
        cookie_value = begin(store)
        (before,) = store.all_sessions()
        clock.advance(LIFETIME - 10)
        left = store.leave(store.find(before.handle)[0] or pytest.fail("it is not found"))
        assert left is not None
        store.forget_left(left)
        revision = left.marks.revision + 5
        assert store.adopt(left._replace(marks=left.marks._replace(revision=revision))) is True
        (after,) = store.all_sessions()
        assert after.last_used_at == before.last_used_at
        clock.advance(11)
        assert store.open(cookie_value) is None

    def test_event_loops_list_and_end_sessions(self, store: SessionStore) -> None:
        """By functions of the same names with an "a" in front."""
        if not store.lists_sessions:
            return
        cookie_value = begin(store, put("a", 1), belong_to(7))
        begin(store, put("a", 1), belong_to(7))

        async def use() -> tuple[int, int, int]:
            return (
                len(await store.asessions(7)),
                await store.adestroy_all(7, except_=cookie_value),
                len(await store.asessions(7)),
            )

        assert asyncio.run(use()) == (2, 1, 1)

    def test_an_outage_is_no_empty_list(self, store: SessionStore, broken: SessionStore) -> None:
        """Somebody who ends sessions is told that it was not done."""
        if not store.lists_sessions:
            return
        calls: list[Callable[[], object]] = [
            lambda: broken.sessions(7),
            lambda: broken.destroy_all(7),
            lambda: list(broken.all_sessions()),
            lambda: broken.handle_of(generate_id()),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable):
                call()

    def test_encrypted_sessions_come_back(self, store: SessionStore) -> None:
        """As they were, merged, moved and renewed, and with what was stored before too."""
        if not store.seals:
            return
        plain = begin(store, put("a", 1), flash("x", 1))
        store.sealer = Sealer(_KEYS[1:])
        slow = Request(store, plain)
        assert content(store, plain) == ({"a": 1}, {"x": 1})
        sealed = Request(store, plain).commit(put("b", 2), regenerate)
        assert content(store, sealed) == ({"a": 1, "b": 2}, {})
        if store.atomic:
            assert slow.answer(put("c", 3)) is CommitResult.MOVED
            assert content(store, sealed) == ({"a": 1, "b": 2, "c": 3}, {})
        store.sealer = Sealer(_KEYS)
        again = Request(store, sealed).commit(put("d", 4))
        store.sealer = Sealer(_KEYS, seals=False)
        assert (content(store, again) or ({}, {}))[0]["d"] == 4

    def test_encrypted_sessions_end_where_their_key_is_unknown(self, store: SessionStore) -> None:
        """Whoever ends all sessions of an owner need not be able to read them."""
        if not (store.lists_sessions and store.seals):
            return
        store.sealer = Sealer(_KEYS[:1])
        cookie_value = begin(store, put("a", 1), belong_to(7))
        kept = begin(store, put("a", 1), belong_to(7))
        others = begin(store, put("a", 1), belong_to(8))
        Request(store, others).commit(belong_to(7))
        Request(store, others).commit(belong_to(8))
        handle = store.handle_of(kept)
        store.sealer = Sealer(_KEYS[1:])
        ended = store.destroy_all(7, except_=handle)
        store.sealer = Sealer(_KEYS)
        # Where owners have to be registered, the list may have sessions of others.
        assert ended == (not store.registers_owners)
        assert (store.open(cookie_value) is None) is bool(ended)
        assert store.open(kept) is not None
        assert store.open(others) is not None

    def test_a_renewal_encrypts_with_the_first_key(self, store: SessionStore) -> None:
        """So a session that is only read outlives the key that it was encrypted with."""
        if not (store.server_side and store.seals and store.keeps_marks):
            return
        store.sealer = Sealer(_KEYS[:1])
        cookie_value = begin(store)
        store.sealer = Sealer([_KEYS[1], _KEYS[0]])
        assert store.touch(cookie_value) is True
        store.sealer = Sealer(_KEYS[1:])
        assert content(store, cookie_value) == ({"a": 1}, {})

    def test_a_session_that_was_encrypted_with_an_unknown_key_is_absent(
        self, store: SessionStore
    ) -> None:
        """And one that was planted under another id is."""
        if not store.seals:
            return
        store.sealer = Sealer(_KEYS[:1])
        cookie_value = begin(store)
        store.sealer = Sealer(_KEYS[1:])
        assert store.open(cookie_value) is None
        store.sealer = Sealer(_KEYS)
        assert content(store, cookie_value) == ({"a": 1}, {})
