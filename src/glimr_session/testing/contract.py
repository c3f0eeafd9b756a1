"""What every store must do, written once: run it on a store of your own.

A store's tests subclass :class:`StoreContract` and give it a ``store``. What a store declares
that it cannot promise (``server_side``, ``atomic``, ``finds_by_id``, ``max_cookie_size``) is
asserted as a limit, not left out.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings

from .._ids import generate_id, join_cookie_value, key_and_number
from .._session.messages import (
    ExpireOnClose,
    Keep,
    Pull,
    SetDefault,
    Update,
)
from .._session.serialization import StoredSession
from .._session.state import SessionState
from .._session.values import Json
from ..errors import SessionTooLarge, StoreUnavailable
from ..stores.base import CommitResult, SessionStore
from .owners import OwnerContract
from .requests import (
    ABSOLUTE as ABSOLUTE,
)
from .requests import (
    COLLECTED as COLLECTED,
)
from .requests import (
    LIFETIME as LIFETIME,
)
from .requests import (
    Clock as Clock,
)
from .requests import (
    Request as Request,
)
from .requests import (
    Transition as Transition,
)
from .requests import (
    add_flash as add_flash,
)
from .requests import (
    begin as begin,
)
from .requests import (
    belong_to as belong_to,
)
from .requests import (
    changed as changed,
)
from .requests import (
    content as content,
)
from .requests import (
    contents as contents,
)
from .requests import (
    expire_after as expire_after,
)
from .requests import (
    flash as flash,
)
from .requests import (
    forget as forget,
)
from .requests import (
    increment as increment,
)
from .requests import (
    invalidate as invalidate,
)
from .requests import (
    keeps_own_lifetime as keeps_own_lifetime,
)
from .requests import (
    keys as keys,
)
from .requests import (
    numbers as numbers,
)
from .requests import (
    put as put,
)
from .requests import (
    regenerate as regenerate,
)
from .requests import (
    texts as texts,
)
from .requests import (
    to as to,
)
from .requests import (
    values as values,
)

__all__ = [
    "ABSOLUTE",
    "COLLECTED",
    "LIFETIME",
    "Clock",
    "Request",
    "StoreContract",
    "begin",
    "content",
]


class StoreContract(OwnerContract):
    """The promises of :class:`~glimr_session.SessionStore`, as tests for pytest.

        from glimr_session.testing import StoreContract
        from glimr_session.testing.contract import ABSOLUTE, LIFETIME

        class TestMyStore(StoreContract):
            @pytest.fixture
            def store(self) -> SessionStore:
                return MyStore(lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)

            @pytest.fixture
            def broken(self, store: SessionStore) -> SessionStore:
                ...  # take its storage away: stop the server, remove the table
                return store

    A store whose server has a clock of its own overrides ``set_server_time``.
    """

    expires = True
    """Whether the store keeps the lifetimes itself: new()'s leave that to their functions."""

    def set_server_time(self, store: SessionStore, now: float) -> None:
        """Make the store's server believe that this is the time, in seconds since the epoch.

        Called whenever the test moves its clock. A store that asks this process for the time
        needs nothing here.
        """

    @pytest.fixture
    def store(self) -> SessionStore:
        """The store under test, empty, made with LIFETIME and ABSOLUTE."""
        pytest.fail("the contract needs a store: override the fixture `store`")

    @pytest.fixture
    def broken(self, store: SessionStore) -> SessionStore:
        """The same store after its storage has gone."""
        pytest.fail("the contract tries an outage: override the fixture `broken`")

    @pytest.fixture
    def clock(self, store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> Clock:
        """A clock in place of time.time, in whole seconds; the store's server follows it."""
        stopped = Clock(float(int(time.time())), partial(self.set_server_time, store))
        stopped.advance(0)
        monkeypatch.setattr(time, "time", stopped)
        return stopped

    def test_a_session_is_created_and_opened(self, store: SessionStore) -> None:
        """What is committed under a new id is found behind its cookie value."""
        request = Request(store, None)
        cookie_value = request.commit(put("a", [1, {"b": None}]), flash("x", "hello"))
        found = store.open(cookie_value)
        assert found is not None
        assert found.id == request.state.id
        assert (found.data, found.flash) == ({"a": [1, {"b": None}]}, {"x": "hello"})

    def test_load_and_save_are_those_of_the_reference(self, store: SessionStore) -> None:
        """Data and flash under an id, whatever was there before."""
        session_id = generate_id()
        store.save(session_id, {"a": 1}, {"x": 1})
        store.save(session_id, {"b": 2}, {"y": 2})
        cookie_value = store.cookie_value(session_id, {"b": 2}, {"y": 2})
        key = session_id if store.server_side else cookie_value
        assert store.load(key) == ({"b": 2}, {"y": 2})
        assert content(store, cookie_value) == ({"b": 2}, {"y": 2})

    def test_nothing_is_known_of_an_unknown_session(self, store: SessionStore) -> None:
        """Absence is a value: None, empty, and no error."""
        for made_up in (generate_id(), "", "x", "é" * 10, "A" * 5000, "e30"):
            assert store.open(made_up) is None
            assert store.load(made_up) == ({}, {})
            assert store.touch(made_up) is False
            store.destroy(made_up)

    def test_opening_writes_nothing(self, store: SessionStore, clock: Clock) -> None:
        """Opening again and again neither changes a session nor prolongs it."""
        cookie_value = begin(store)
        clock.advance(LIFETIME - 1)
        for _ in range(3):
            assert content(store, cookie_value) == ({"a": 1}, {})
        if self.expires:
            clock.advance(1)
            assert store.open(cookie_value) is None

    def test_a_new_session_with_nothing_in_it_is_not_kept(self, store: SessionStore) -> None:
        """There is nothing to come back to: "" instead of a cookie value."""
        assert Request(store, None).commit(put("a", 1), forget("a")) == ""

    def test_it_expires_at_the_exact_second(self, store: SessionStore, clock: Clock) -> None:
        """Idle for the lifetime is too long, a second less is not."""
        if not self.expires:
            assert store.lifetime == 0
            return
        cookie_value = begin(store)
        request = Request(store, cookie_value)
        clock.advance(LIFETIME - 1)
        assert store.open(cookie_value) is not None
        clock.advance(1)
        assert store.open(cookie_value) is None
        if store.server_side:
            assert request.answer(put("a", 2)) is CommitResult.GONE
            assert request.touch() is False

    def test_a_commit_pushes_the_idle_expiry_on(self, store: SessionStore, clock: Clock) -> None:
        """The lifetime counts from the last use."""
        cookie_value = begin(store)
        clock.advance(LIFETIME - 1)
        renewed = Request(store, cookie_value).commit(put("b", 2))
        assert renewed
        clock.advance(LIFETIME - 1)
        assert content(store, renewed) == ({"a": 1, "b": 2}, {})

    def test_a_touch_pushes_the_idle_expiry_on(self, store: SessionStore, clock: Clock) -> None:
        """It leaves the data alone; where it cannot, a commit without changes does it."""
        cookie_value = begin(store)
        request = Request(store, cookie_value)
        clock.advance(LIFETIME - 1)
        if store.server_side:
            assert request.touch() is True
        else:
            assert request.touch() is False
            cookie_value = request.commit()
        clock.advance(LIFETIME - 1)
        assert content(store, cookie_value) == ({"a": 1}, {})

    def test_nothing_passes_the_absolute_expiry(self, store: SessionStore, clock: Clock) -> None:
        """Neither a touch nor a commit prolongs a session past it."""
        if not self.expires:
            assert store.absolute_lifetime == 0
            return
        cookie_value = begin(store)
        begun = clock.now
        while clock.now + LIFETIME - 1 < begun + ABSOLUTE:
            clock.advance(LIFETIME - 1)
            request = Request(store, cookie_value)
            request.touch()
            cookie_value = request.commit(put("a", clock.now))
        clock.now = begun + ABSOLUTE - 1
        Request(store, cookie_value).touch()
        assert store.open(cookie_value) is not None
        clock.advance(1)
        assert store.open(cookie_value) is None

    @pytest.mark.parametrize("own", [LIFETIME / 10, LIFETIME * 1.5])
    def test_a_session_can_have_a_lifetime_of_its_own(
        self, store: SessionStore, clock: Clock, own: float
    ) -> None:
        """Shorter or longer than the store's, it ends at its second, and a commit pushes it on."""
        cookie_value = begin(store, put("a", 1), expire_after(own))
        if not self.expires:
            assert not keeps_own_lifetime(store, cookie_value)
            return
        for _ in range(2):
            clock.advance(own - 1)
            store.gc()
            found = store.open(cookie_value)
            assert found is not None
            assert found.lifetime == own
            cookie_value = Request(store, cookie_value).commit(increment("n"))
        if store.server_side:
            clock.advance(own - 1)
            assert store.touch(cookie_value) is True
        clock.advance(own - 1)
        assert store.open(cookie_value) is not None
        clock.advance(1)
        assert store.open(cookie_value) is None

    def test_its_own_lifetime_never_passes_the_absolute_one(
        self, store: SessionStore, clock: Clock
    ) -> None:
        """However long a session may be idle."""
        if not self.expires:
            return
        cookie_value = begin(store, put("a", 1), expire_after(10 * ABSOLUTE))
        clock.advance(ABSOLUTE - 1)
        cookie_value = Request(store, cookie_value).commit(put("a", 2))
        assert store.open(cookie_value) is not None
        clock.advance(1)
        assert store.open(cookie_value) is None

    def test_lifetime_and_end_of_a_session_are_merged_and_kept(self, store: SessionStore) -> None:
        """They follow it to a new id, the later commit wins, and a new session has none."""
        cookie_value = begin(store, put("a", 1), expire_after(5000.0))
        if not keeps_own_lifetime(store, cookie_value):
            return
        one, other = Request(store, cookie_value), Request(store, cookie_value)
        one.commit(expire_after(7000.0), ExpireOnClose(True).apply)
        cookie_value = other.commit(regenerate, put("b", 2))
        if store.atomic:
            found = store.open(cookie_value)
            assert found is not None
            assert (found.lifetime, found.expire_on_close) == (7000.0, True)
        back = Request(store, cookie_value).commit(expire_after(0.0), ExpireOnClose(False).apply)
        found = store.open(back)
        assert found is not None
        assert (found.lifetime, found.expire_on_close) == (0.0, False)
        another = Request(store, back).commit(invalidate, put("c", 3))
        found = store.open(another)
        assert found is not None
        assert (found.lifetime, found.expire_on_close) == (0.0, None)

    def test_a_slow_request_does_not_outlive_the_session(
        self, store: SessionStore, clock: Clock
    ) -> None:
        """What was opened in time and is committed too late finds it gone."""
        if not self.expires or not store.server_side:
            assert store.lifetime == 0 or not store.server_side
            return
        for step, times in ((LIFETIME, 1), (LIFETIME - 1, int(ABSOLUTE // LIFETIME) + 1)):
            cookie_value = begin(store)
            begun = clock.now
            for _ in range(times - 1):
                clock.advance(min(step, begun + ABSOLUTE - 1 - clock.now))
                Request(store, cookie_value).commit(put("a", clock.now))
            request = Request(store, cookie_value)
            clock.advance(step)
            assert request.answer(put("late", 1)) is CommitResult.GONE
            assert store.open(cookie_value) is None

    def test_a_new_id_has_an_absolute_lifetime_of_its_own(
        self, store: SessionStore, clock: Clock
    ) -> None:
        """It counts from the making of the id, and a login makes one."""
        cookie_value = begin(store)
        for _ in range(8):
            clock.advance(LIFETIME - 1)
            cookie_value = Request(store, cookie_value).commit(regenerate)
        assert store.open(cookie_value) is not None

    def test_a_bare_id_is_as_good_as_a_cookie_value(self, store: SessionStore) -> None:
        """For load, touch and destroy: scripts know ids, requests know cookies."""
        for by_id in (False, True):
            cookie_value = begin(store)
            name = Request(store, cookie_value).state.id if by_id else cookie_value
            if store.server_side:
                assert store.load(name) == ({"a": 1}, {})
                assert store.touch(name) is True
                store.destroy(name)
                assert store.load(name) == ({}, {})
                assert content(store, cookie_value) is None

    def test_a_session_that_has_moved_is_known_by_its_new_id(self, store: SessionStore) -> None:
        """Its cookie value may hold more than the id; each of the two names it, if declared."""
        if not store.atomic:
            return
        request = Request(store, begin(store))
        cookie_value = request.commit(regenerate)
        for name in (cookie_value, request.state.id):
            found = store.finds_by_id or name == cookie_value
            assert store.load(name) == (({"a": 1}, {}) if found else ({}, {}))
            assert store.touch(name) is found
        store.destroy(cookie_value)
        assert content(store, cookie_value) is None
        assert content(store, request.state.id) is None

    def test_save_replaces_whatever_was_there(self, store: SessionStore) -> None:
        """By id and by cookie value, flash included."""
        if not store.server_side:
            return
        cookie_value = begin(store, put("a", 1), flash("x", 1))
        store.save(cookie_value, {"b": 2}, {})
        assert content(store, cookie_value) == ({"b": 2}, {})

    def test_it_serves_event_loops(self, store: SessionStore) -> None:
        """aopen, acommit, atouch, ahas_moved and adestroy do what their namesakes do."""

        def run(work: Coroutine[Any, Any, Any]) -> Any:
            return asyncio.run(work)

        begun = changed(SessionState.new(generate_id()), put("a", 1))
        cookie_value = run(store.acommit(begun)).cookie_value
        found = run(store.aopen(cookie_value))
        assert found is not None
        assert found.data == {"a": 1}
        assert run(store.atouch(cookie_value)) is store.server_side
        assert run(store.ahas_moved(cookie_value)) is False
        login = changed(SessionState.opened(found), regenerate)
        moved = run(store.acommit(login)).cookie_value
        assert run(store.ahas_moved(cookie_value)) is store.atomic
        assert run(store.ahas_moved(moved)) is False
        found = run(store.aopen(moved))
        assert found is not None
        ended = changed(SessionState.opened(found), invalidate)
        assert run(store.acommit(ended)) is CommitResult.EMPTY
        assert (run(store.aopen(moved)) is None) == store.server_side
        destroyed = begin(store)
        for _ in range(2):
            run(store.adestroy(destroyed))
        assert (run(store.aopen(destroyed)) is None) == store.server_side

    def test_without_waiting_a_free_store_commits(self, store: SessionStore) -> None:
        """``wait=False`` is no other answer than any where nobody else writes."""
        answer = Request(store, begin(store)).answer(put("b", 2), wait=False)
        assert answer.outcome == "stored"
        assert content(store, answer.cookie_value) == ({"a": 1, "b": 2}, {})

    def test_destroyed_is_gone(self, store: SessionStore) -> None:
        """At once, and twice is fine. A copied cookie survives where it is the store."""
        cookie_value = begin(store)
        session_id = Request(store, cookie_value).state.id
        store.destroy(session_id)
        store.destroy(session_id)
        assert (store.open(cookie_value) is None) == store.server_side

    def test_what_is_gone_stays_gone(self, store: SessionStore) -> None:
        """A request that opened a session before its logout does not bring it back."""
        cookie_value = begin(store)
        for late in ([put("b", 2)], [regenerate], [invalidate, flash("bye", 1)], []):
            cookie_value = begin(store)
            slow = Request(store, cookie_value)
            assert Request(store, cookie_value).commit(invalidate) == ""
            answer = slow.answer(*late)
            if store.server_side:
                assert answer is CommitResult.GONE
                assert store.open(cookie_value) is None
                assert store.open(slow.state.id) is None
            else:
                assert answer.outcome == "stored"

    def test_it_is_overwritten_by_the_later_commit(self, store: SessionStore) -> None:
        """Requests one after the other see each other's work."""
        cookie_value = begin(store, put("a", 1), put("b", 1))
        cookie_value = Request(store, cookie_value).commit(put("a", 2))
        cookie_value = Request(store, cookie_value).commit(forget("b"), put("c", 3))
        assert content(store, cookie_value) == ({"a": 2, "c": 3}, {})

    def test_flash_is_there_for_one_request(self, store: SessionStore) -> None:
        """The request that is shown it commits its going."""
        cookie_value = begin(store, flash("x", "hello"))
        assert content(store, cookie_value) == ({}, {"x": "hello"})
        reader = Request(store, cookie_value)
        assert reader.state.dirty
        cookie_value = reader.commit(put("seen", True))
        assert content(store, cookie_value) == ({"seen": True}, {})

    def test_it_moves_to_a_new_id(self, store: SessionStore) -> None:
        """The new one present, the old one absent; the data is the same."""
        cookie_value = begin(store)
        request = Request(store, cookie_value)
        moved = request.commit(regenerate, put("user", 7))
        assert moved
        assert moved != cookie_value
        found = store.open(moved)
        assert found is not None
        assert (found.id, found.data) == (request.state.id, {"a": 1, "user": 7})
        assert (store.open(cookie_value) is None) == store.server_side

    def test_a_commit_follows_its_session_to_a_new_id(self, store: SessionStore) -> None:
        """What was opened before a login is merged after it, and is not told the new id."""
        cookie_value = begin(store, put("n", 1))
        slow, slower = Request(store, cookie_value), Request(store, cookie_value)
        login = Request(store, cookie_value)
        moved = login.commit(regenerate, put("user", 7))
        answers = [slow.answer(put("b", 2), increment("n")), slower.answer(increment("n"))]
        if store.atomic:
            assert answers == [CommitResult.MOVED, CommitResult.MOVED]
            assert content(store, moved) == ({"n": 3, "user": 7, "b": 2}, {})
            again = Request(store, moved).commit(regenerate)
            assert slow.answer(put("c", 3)) is CommitResult.MOVED
            assert content(store, moved) is None
            assert content(store, again) == ({"n": 4, "user": 7, "b": 2, "c": 3}, {})
        elif store.server_side:
            assert answers == [CommitResult.GONE, CommitResult.GONE]
            assert content(store, moved) == ({"n": 1, "user": 7}, {})
        assert (content(store, cookie_value) is None) == store.server_side

    def test_a_logout_follows_its_session_to_a_new_id(self, store: SessionStore) -> None:
        """It ends the session, also if a login gave it another id meanwhile."""
        cookie_value = begin(store)
        logout, another = Request(store, cookie_value), Request(store, cookie_value)
        moved = Request(store, cookie_value).commit(regenerate, put("user", 7))
        answer = logout.answer(invalidate)
        if store.atomic:
            assert answer is CommitResult.EMPTY
            assert content(store, moved) is None
            assert another.answer(invalidate, flash("bye", 1)) is CommitResult.GONE
        else:
            assert answer is (CommitResult.GONE if store.server_side else CommitResult.EMPTY)
            assert content(store, moved) == ({"a": 1, "user": 7}, {})

    def test_two_logins_at_once_both_succeed(self, store: SessionStore) -> None:
        """The second begins a session of what it wrote itself, and of nothing that it read."""
        cookie_value = begin(store, put("n", 1), flash("x", 1))
        first, second = Request(store, cookie_value), Request(store, cookie_value)
        moved = first.commit(put("first", 1), regenerate)
        answer = second.answer(put("second", 2), increment("n"), regenerate)
        if store.atomic:
            assert answer.outcome == "stored"
            assert content(store, answer.cookie_value) == ({"second": 2, "n": 1}, {})
        elif store.server_side:
            assert answer is CommitResult.GONE
        assert content(store, moved) == ({"n": 1, "first": 1}, {})

    def test_a_second_login_that_wrote_nothing_begins_nothing(self, store: SessionStore) -> None:
        """It is of no use to anybody without its data, and the first one goes on."""
        cookie_value = begin(store)
        first, second = Request(store, cookie_value), Request(store, cookie_value)
        moved = first.commit(regenerate)
        if store.server_side:
            assert second.answer(regenerate) is CommitResult.GONE
            assert store.open(second.state.id) is None
        assert content(store, moved) == ({"a": 1}, {})

    def test_what_a_second_login_goes_on_to_write_is_its_own(self, store: SessionStore) -> None:
        """A later commit of the same request goes to its own session, not to the first one's."""
        if not store.atomic:
            return
        cookie_value = begin(store)
        first, second = Request(store, cookie_value), Request(store, cookie_value)
        moved = first.commit(regenerate)
        second.commit(regenerate, put("second", 2))
        second.state.take_changes()
        answer = second.answer(put("late", 3))
        assert content(store, answer.cookie_value) == ({"second": 2, "late": 3}, {})
        assert content(store, moved) == ({"a": 1}, {})

    @pytest.mark.parametrize("login", [[regenerate], [invalidate, put("user", 1)]])
    def test_a_moved_session_is_remembered_for_a_while(
        self, store: SessionStore, clock: Clock, login: list[Transition]
    ) -> None:
        """A request with the cookie from before a login can tell that it was one."""
        cookie_value = begin(store)
        moved = Request(store, cookie_value).commit(*login)
        if not store.atomic:
            assert store.has_moved(cookie_value) is False
            return
        for seconds in (0, store.overlap - 1):
            clock.advance(seconds)
            assert store.open(cookie_value) is None
            assert store.has_moved(cookie_value) is True
            assert store.has_moved(Request(store, moved).state.id) is False
        again = Request(store, moved).commit(regenerate)
        clock.advance(1)
        assert store.has_moved(moved) is True
        assert store.has_moved(again) is False
        clock.advance(store.overlap - 1)
        assert store.has_moved(cookie_value) is False
        assert store.has_moved(moved) is False

    def test_what_remembers_a_login_cannot_be_destroyed(self, store: SessionStore) -> None:
        """A logout destroys what all cookies of its request name, one from before a login too."""
        if not store.atomic:
            return
        cookie_value = begin(store)
        Request(store, cookie_value).commit(invalidate, put("user", 1))
        store.destroy(cookie_value)
        assert store.has_moved(cookie_value) is True

    def test_what_was_moved_several_times_is_remembered(self, store: SessionStore) -> None:
        """Every earlier cookie of the session is one from before a login."""
        if not store.atomic:
            return
        cookie_values = [begin(store)]
        for login in ([regenerate], [regenerate], [invalidate, put("user", 1)]):
            cookie_values.append(Request(store, cookie_values[-1]).commit(*login))
        assert [store.has_moved(one) for one in cookie_values] == [True, True, True, False]

    def test_what_has_ended_or_never_was_has_not_moved(self, store: SessionStore) -> None:
        """A logout, a destroyed session and an unknown one are no logins."""
        logged_out, destroyed = begin(store), begin(store)
        Request(store, logged_out).commit(put("b", 2), invalidate)
        store.destroy(destroyed)
        for cookie_value in (logged_out, destroyed, generate_id(), "", "é", "x" * 5000):
            assert store.has_moved(cookie_value) is False

    @pytest.mark.parametrize("late", [regenerate, invalidate])
    def test_a_login_beside_one_by_invalidate_succeeds(
        self, store: SessionStore, late: Transition
    ) -> None:
        """It was no logout that has ended the session: the second begins one of its own."""
        cookie_value = begin(store)
        first, second = Request(store, cookie_value), Request(store, cookie_value)
        third = Request(store, cookie_value)
        moved = first.commit(invalidate, put("first", 1))
        answer = second.answer(late, put("second", 2))
        if store.atomic:
            assert content(store, answer.cookie_value) == ({"second": 2}, {})
            assert third.answer(put("third", 3)) is CommitResult.GONE
        assert content(store, moved) == ({"first": 1}, {})

    def test_invalidated_leaves_nothing(self, store: SessionStore) -> None:
        """No session is left, and so no cookie value."""
        cookie_value = begin(store)
        request = Request(store, cookie_value)
        assert request.commit(put("b", 2), invalidate) == ""
        assert (store.open(cookie_value) is None) == store.server_side
        assert store.open(request.state.id) is None

    def test_invalidated_can_begin_another_session(self, store: SessionStore) -> None:
        """A goodbye left after a logout is in a new session that has nothing else."""
        cookie_value = begin(store)
        request = Request(store, cookie_value)
        another = request.commit(put("b", 2), invalidate, flash("bye", "see you"))
        assert another
        found = store.open(another)
        assert found is not None
        assert (found.id, found.data, found.flash) == (
            request.state.id, {}, {"bye": "see you"},
        )  # fmt: skip
        assert (store.open(cookie_value) is None) == store.server_side

    def test_two_requests_at_once_are_merged(self, store: SessionStore) -> None:
        """Neither undoes the other's work; in a cookie, the later answer wins whole."""
        cookie_value = begin(store, put("n", 1), put("gone", 1))
        one, other = Request(store, cookie_value), Request(store, cookie_value)
        one.commit(put("one", 1), increment("n"), forget("gone"))
        cookie_value = other.commit(put("other", 2), increment("n"))
        if store.server_side:
            assert content(store, cookie_value) == ({"n": 3, "one": 1, "other": 2}, {})
        else:
            assert content(store, cookie_value) == ({"n": 2, "other": 2, "gone": 1}, {})

    def test_edits_that_depend_on_what_was_there_are_merged(self, store: SessionStore) -> None:
        """A default does not replace a value, and what nobody has seen is not taken."""
        cookie_value = begin(store, put("inbox", [1]), put("seen", [1]))
        one, other = Request(store, cookie_value), Request(store, cookie_value)
        one.commit(SetDefault("token", "A").apply, put("inbox", [1, 2]))
        pulls = [Pull("inbox", None).apply, Pull("seen", None).apply]
        cookie_value = other.commit(SetDefault("token", "B").apply, *pulls)
        if store.server_side:
            assert content(store, cookie_value) == ({"token": "A", "inbox": [1, 2]}, {})
        else:
            assert content(store, cookie_value) == ({"token": "B"}, {})

    def test_added_flash_of_two_requests_is_all_there(self, store: SessionStore) -> None:
        """The messages of both are left, in the order of their commits."""
        cookie_value = begin(store, put("a", 1), flash("x", "shown"))
        one, other = Request(store, cookie_value), Request(store, cookie_value)
        one.commit(add_flash("x", 1), add_flash("x", 2))
        cookie_value = other.commit(add_flash("x", 3))
        if store.atomic:
            assert content(store, cookie_value) == ({"a": 1}, {"x": [1, 2, 3]})
        elif not store.server_side:
            assert content(store, cookie_value) == ({"a": 1}, {"x": [3]})

    def test_kept_flash_does_not_replace_a_new_one(self, store: SessionStore) -> None:
        """Whoever commits first: the request that keeps, or the one that leaves a new value."""
        for keeps_first in (True, False):
            cookie_value = begin(store, put("a", 1), flash("x", "old"))
            keeper, writer = Request(store, cookie_value), Request(store, cookie_value)
            if keeps_first:
                keeper.answer(Keep(("x",)).apply, put("b", 2))
                written = writer.commit(flash("x", "new"))
            else:
                written = writer.commit(flash("x", "new"))
                keeper.answer(Keep(("x",)).apply, put("b", 2))
            found = content(store, written)
            assert found is not None
            assert found[1] == {"x": "new"}

    @pytest.mark.parametrize("words", ["again", "new"])
    def test_flash_set_beside_flash_shown_is_kept(self, store: SessionStore, words: str) -> None:
        """Also where the words are the same as those that were shown."""
        cookie_value = begin(store, flash("x", "again"))
        reader, writer = Request(store, cookie_value), Request(store, cookie_value)
        written = writer.commit(flash("x", words))
        read = reader.commit(put("page", 1))
        if store.atomic:
            assert content(store, cookie_value) == ({"page": 1}, {"x": words})
        else:
            assert written
            assert read

    @pytest.mark.parametrize("size", [100, 5_000, 1_000_000])
    def test_what_is_too_large_is_refused_before_anything_is_written(
        self, store: SessionStore, size: int
    ) -> None:
        """Where there is a limit, SessionTooLarge names it and the old session is intact."""
        cookie_value = begin(store)
        request = Request(store, cookie_value)
        text = "é" * size
        if store.max_cookie_size is None or size * 2 < store.max_cookie_size / 2:
            cookie_value = request.commit(put("text", text))
            assert content(store, cookie_value) == ({"a": 1, "text": text}, {})
        else:
            with pytest.raises(SessionTooLarge) as error:
                request.commit(put("text", text), invalidate, put("text", text))
            assert error.value.size > error.value.limit == store.max_cookie_size
            assert content(store, cookie_value) == ({"a": 1}, {})

    def test_any_content_comes_back(self, store: SessionStore) -> None:
        """Non-ASCII and NUL in keys and values, and every shape that JSON has."""

        @settings(deadline=None)  # storage may be slow
        @given(contents, contents)
        def comes_back(data: dict[str, Json], shown: dict[str, Json]) -> None:
            cookie_value = begin(
                store,
                put("there", True),
                Update(data).apply,
                *(flash(key, value) for key, value in shown.items()),
            )
            assert content(store, cookie_value) == ({"there": True, **data}, shown)

        comes_back()

    def test_gc_removes_what_expired_and_only_that(self, store: SessionStore, clock: Clock) -> None:
        """It gives the number of what it removed; live sessions are all there after it."""
        old = [begin(store) for _ in range(250)]
        clock.advance(COLLECTED)
        live = [begin(store) for _ in range(5)]
        number = store.gc()
        removes = store.server_side and self.expires and not store.expires_by_itself
        assert number == (250 if removes else 0)
        assert all(store.open(cookie_value) is not None for cookie_value in live)
        if self.expires:
            assert all(store.open(cookie_value) is None for cookie_value in old)
        assert store.gc() == 0

    def test_one_of_many_callers_collects_in_an_interval(
        self, store: SessionStore, clock: Clock
    ) -> None:
        """Of many callers one is to collect; the others are told when the next one is due."""
        answers: list[float] = []

        def ask() -> None:
            answers.append(store.claim_gc(300.0))
            store.close()

        for passed in (0.0, 300.0, 1000.0):
            clock.advance(passed)
            answers.clear()
            run_all([ask] * 8)
            assert answers.count(0.0) == 1
            assert all(299 < wait <= 300 for wait in answers if wait)
        clock.advance(200)
        assert 99 < store.claim_gc(300.0) <= 100

    def test_many_threads_lose_nothing(self, store: SessionStore) -> None:
        """Where commits are atomic, every increment and every key of every thread is there."""
        threads, rounds = 4, 25
        cookie_value = begin(store)
        errors: list[BaseException] = []

        def work(name: str) -> None:
            try:
                for number in range(rounds):
                    Request(store, cookie_value).commit(increment("n"), put(f"{name}{number}", 1))
            except BaseException as error:  # noqa: BLE001  # raised below, in the test
                errors.append(error)
            finally:
                store.close()

        run_all([partial(work, name) for name in "abcd"[:threads]])
        assert errors == []
        found = content(store, cookie_value)
        assert found is not None
        if store.atomic:
            assert found[0]["n"] == threads * rounds
            assert len(found[0]) == 2 + threads * rounds

    def test_a_move_is_never_seen_half_done(self, store: SessionStore) -> None:
        """Beside a stream of moves, a session is under its old id or its new one."""
        if not store.atomic:
            return
        cookie_value = begin(store)
        seen: list[str] = []
        done = threading.Event()
        ids = [generate_id() for _ in range(40)]
        number = key_and_number(cookie_value)[1]
        moves = ids if store.finds_by_id else [join_cookie_value(one, number) for one in ids]

        def move() -> None:
            for current, new_id in zip([cookie_value, *moves], ids, strict=False):
                Request(store, current).commit(to(new_id))
            done.set()
            store.close()

        def watch() -> None:
            chain = [cookie_value, *moves]
            position = 0
            while not done.is_set() or position < len(moves):
                # Read the older one first: once it is absent, the next must be present.
                if store.open(chain[position]) is not None:
                    continue
                if position == len(moves) or store.open(chain[position + 1]) is None:
                    later = any(store.open(one) is not None for one in chain[position + 1 :])
                    if not later:
                        seen.append(f"neither at {position}")
                        break
                position += 1
            store.close()

        run_all([move, watch])
        assert seen == []
        assert store.open(moves[-1]) is not None
        assert all(store.open(one) is None for one in [cookie_value, *moves[:-1]])

    def test_a_session_that_is_leaving_is_left_alone(self, store: SessionStore) -> None:
        """Nobody opens it or commits to it, but ``find`` returns it, until it has left."""
        cookie_value = begin(store, put("a", 1), flash("x", 1))
        slow, found = Request(store, cookie_value), store.open(cookie_value)
        assert found is not None
        assert store.find(cookie_value) == (found, False)
        assert store.find(generate_id()) == (None, False)
        left = store.leave(found)
        assert left is not None
        assert (left.id, left.data, left.flash) == (found.id, {"a": 1}, {"x": 1})
        if not store.keeps_marks:
            return
        assert store.leave(found) is None
        assert store.open(cookie_value) is None
        assert store.touch(cookie_value) is False
        assert slow.answer(put("b", 2)) is CommitResult.GONE
        assert slow.answer(invalidate) is CommitResult.GONE
        assert store.has_moved(cookie_value) is False
        again, leaving = store.find(cookie_value)
        assert again is not None
        assert again._replace(marks=None) == left._replace(marks=None)
        assert leaving is True
        for _ in range(2):
            store.forget_left(left)
            assert store.find(cookie_value) == (None, True)

    def test_what_has_changed_does_not_leave_and_is_not_forgotten(
        self, store: SessionStore
    ) -> None:
        """Only the version that was opened leaves; a session that has not left stays."""
        if not store.keeps_marks:
            return
        cookie_value = begin(store)
        found = store.open(cookie_value)
        assert found is not None
        Request(store, cookie_value).commit(put("b", 2))
        assert store.leave(found) is None
        store.forget_left(found)
        assert content(store, cookie_value) == ({"a": 1, "b": 2}, {})

    def test_an_adopted_session_is_as_it_was(self, store: SessionStore, clock: Clock) -> None:
        """Id, content, lifetime and times are those it had elsewhere; and it is adopted once."""
        if not store.server_side:
            return
        elsewhere = StoredSession(
            id=generate_id(),
            data={"a": 1},
            flash={"x": 1},
            created_at=clock.now - 100,
            last_used_at=clock.now - 10,
            lifetime=50.0,
            expire_on_close=True,
        )
        assert store.adopt(elsewhere) is True
        assert store.adopt(elsewhere._replace(data={"a": 2})) is False
        found = store.open(elsewhere.id)
        assert found is not None
        assert (found.id, found.data, found.flash) == (elsewhere.id, {"a": 1}, {"x": 1})
        if keeps_own_lifetime(store, elsewhere.id):
            assert (found.lifetime, found.expire_on_close) == (50.0, True)
        if store.keeps_marks:
            assert found.created_at == elsewhere.created_at
            clock.advance(39)
            assert store.open(elsewhere.id) is not None
            clock.advance(1)
            assert store.open(elsewhere.id) is None
            assert store.adopt(elsewhere._replace(id=generate_id())) is False  # it has expired
        else:
            Request(store, elsewhere.id).commit(put("b", 2))

    def test_what_has_left_comes_back_but_no_version_from_before(self, store: SessionStore) -> None:
        """A slow request may bring a session that has been here, and has left, since then."""
        if not store.keeps_marks:
            return
        for forgotten in (True, False):
            cookie_value = begin(store)
            found = store.open(cookie_value)
            assert found is not None
            left = store.leave(found)
            assert left is not None
            if forgotten:
                store.forget_left(left)
            for old in (found, left):
                assert store.adopt(old) is False
            assert store.open(cookie_value) is None
            revision = left.marks.revision + 5
            later = left._replace(data={"a": 5}, marks=left.marks._replace(revision=revision))
            assert store.adopt(later) is True
            store.forget_left(left)
            assert content(store, cookie_value) == ({"a": 5}, {})

    @pytest.mark.parametrize("end", ["logout", "destroy", "login"])
    def test_what_has_ended_is_not_adopted(
        self, store: SessionStore, clock: Clock, end: str
    ) -> None:
        """While sessions are moved, the end of one is remembered for a while, and no longer."""
        if not store.keeps_marks:
            return
        store.remembers_ends = True
        cookie_value = begin(store)
        found = store.open(cookie_value)
        assert found is not None
        if end == "destroy":
            store.destroy(cookie_value)
            store.destroy(cookie_value)
        else:
            Request(store, cookie_value).commit(
                invalidate, *([put("user", 1)] if end == "login" else [])
            )
        clock.advance(300)
        for old in (found, found._replace(marks=None)):
            assert store.adopt(old) is False
        assert store.find(cookie_value) == (None, False)
        clock.advance(COLLECTED)
        removed = store.gc()
        assert store.expires_by_itself or removed == (2 if end == "login" else 1)

    def test_an_outage_is_not_absence(self, store: SessionStore, broken: SessionStore) -> None:
        """Every operation that needs the storage raises StoreUnavailable, with the cause."""
        session_id = generate_id()
        base = StoredSession(id=session_id, data={"a": 1})
        changes = changed(SessionState.opened(base), put("a", 2))
        begun = changed(SessionState.new(session_id), put("a", 2))
        operations: list[Callable[[], Any]] = [
            lambda: broken.open(session_id),
            lambda: broken.load(session_id),
            lambda: broken.save(session_id, {"a": 1}, {}),
            lambda: broken.destroy(session_id),
            lambda: broken.commit(changes),
            lambda: broken.commit(begun),
            lambda: broken.touch(session_id),
            broken.gc,
            *([lambda: broken.has_moved(session_id)] if broken.atomic else []),
            lambda: broken.find(session_id),
            lambda: broken.adopt(base),
        ]
        for operation in operations:
            if broken.server_side:
                with pytest.raises(StoreUnavailable) as error:
                    operation()
                assert error.value.__cause__ is not None
                assert session_id not in str(error.value)
            else:
                operation()  # there is nothing that could be out of reach

    def test_an_event_loop_is_told_of_an_outage(
        self, store: SessionStore, broken: SessionStore
    ) -> None:
        """As threads are: no awaited operation answers in place of the storage."""
        session_id = generate_id()
        begun = changed(SessionState.new(session_id), put("a", 1))
        operations: list[Callable[[], Coroutine[Any, Any, object]]] = [
            lambda: broken.aopen(session_id),
            lambda: broken.acommit(begun),
            lambda: broken.atouch(session_id),
            lambda: broken.adestroy(session_id),
            *([lambda: broken.ahas_moved(session_id)] if broken.atomic else []),
        ]
        for operation in operations:
            if broken.server_side:
                with pytest.raises(StoreUnavailable):
                    asyncio.run(operation())
            else:
                asyncio.run(operation())


def run_all(functions: list[Callable[[], None]]) -> None:
    """Run each function in a thread, and wait for all of them."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
