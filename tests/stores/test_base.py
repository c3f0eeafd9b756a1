"""SessionStore: results, the adapter of five functions, and what builds on open and commit."""

from __future__ import annotations

import asyncio
import pickle
import threading
from typing import Any

import pytest

from glimr_session import (
    CommitResult,
    Session,
    SessionStore,
    StoredSession,
    StoreUnavailable,
    generate_id,
    new,
)
from glimr_session._request.cleanup import maybe_collect
from glimr_session._session.changes import Changes
from glimr_session.stores.base import NullStore, named
from glimr_session.testing.contract import Request, begin, content, invalidate, put, regenerate
from tests.support.executors import Threads
from tests.support.memory import InMemory

# CommitResult.


def test_a_result_has_a_cookie_value_only_if_a_session_is_stored() -> None:
    """CommitResult.stored() has the cookie value, and each of the constants has none."""
    assert CommitResult.stored("x") == CommitResult("stored", "x")
    for result, outcome in (
        (CommitResult.EMPTY, "empty"),
        (CommitResult.MOVED, "moved"),
        (CommitResult.GONE, "gone"),
        (CommitResult.BUSY, "busy"),
    ):
        assert (result.outcome, result.cookie_value) == (outcome, "")


def test_a_result_does_not_show_its_cookie_value() -> None:
    """The repr of a result has a fingerprint in the place of the cookie value."""
    session_id = generate_id()
    assert session_id not in repr(CommitResult.stored(session_id))
    assert repr(CommitResult.GONE) == "CommitResult(outcome='gone', cookie_value='')"


def test_a_result_cannot_be_changed() -> None:
    """Assigning to a field of a result raises AttributeError."""
    result: Any = CommitResult.stored("x")
    with pytest.raises(AttributeError):
        result.cookie_value = "y"


def test_a_result_can_be_sent_to_another_process() -> None:
    """A result that was pickled is equal to the one before."""
    for result in (CommitResult.GONE, CommitResult.stored("x")):
        assert pickle.loads(pickle.dumps(result)) == result


# What a store has to implement.


def test_a_store_without_its_operations_cannot_be_made() -> None:
    """A subclass that lacks open, commit or gc raises TypeError, which names them."""

    class Unfinished(SessionStore):
        pass

    unfinished: Any = Unfinished
    with pytest.raises(TypeError, match=r"commit.*gc.*open"):
        unfinished()


class Minimal(SessionStore):
    """A store of open, commit and gc alone, for one session at a time. It notes commits."""

    def __init__(self) -> None:
        self.session: StoredSession | None = None
        self.commits: list[Changes] = []
        self.answers: list[CommitResult] = []
        self.threads: list[threading.Thread] = []

    def open(self, cookie_value: str) -> StoredSession | None:
        self.threads.append(threading.current_thread())
        found = self.session
        return found if found is not None and found.id == cookie_value else None

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        self.threads.append(threading.current_thread())
        self.commits.append(changes)
        if self.answers:
            return self.answers.pop(0)
        base = changes.base
        data, flash = changes.replay(base.data, base.flash) if base else changes.replay({}, {})
        if changes.invalidated and not data and not flash:
            self.session = None
            return CommitResult.EMPTY
        self.session = StoredSession(id=changes.id, data=data, flash=flash)
        return CommitResult.stored(changes.id)

    def gc(self) -> int:
        return 0


def test_the_functions_of_the_reference_build_on_open_and_commit() -> None:
    """save(), load(), destroy(), touch() and cookie_value() need open and commit alone."""
    store = Minimal()
    store.save("x", {"a": 1}, {"f": 1})
    assert store.load("x") == ({"a": 1}, {"f": 1})
    store.save("x", {"b": 2}, {})
    assert store.load("x") == ({"b": 2}, {})
    assert store.touch("x") is True
    assert store.load("x") == ({"b": 2}, {})
    assert store.cookie_value("x", {"b": 2}, {}) == "x"
    store.destroy("x")
    assert store.load("x") == ({}, {})
    commits = len(store.commits)
    store.destroy("x")
    assert store.touch("x") is False
    assert len(store.commits) == commits
    store.close()


def test_save_begins_a_session_anew_if_it_ends_meanwhile() -> None:
    """A save whose session is gone when it commits keeps its data in a new session."""
    store = Minimal()
    store.save("x", {"a": 1}, {})
    store.answers = [CommitResult.GONE]
    store.save("x", {"b": 2}, {})
    assert [changes.base is None for changes in store.commits] == [True, False, True]
    assert store.load("x") == ({"b": 2}, {})


@pytest.mark.parametrize("moment", ["moved", "empty"])
def test_save_commits_once_if_its_session_is_there(moment: str) -> None:
    """A save that was made, in whatever place, is not made a second time."""
    store = Minimal()
    store.save("x", {"a": 1}, {})
    store.answers = [CommitResult.MOVED if moment == "moved" else CommitResult.EMPTY]
    store.save("x", {"b": 2}, {})
    assert len(store.commits) == 2


@pytest.mark.parametrize("bad", [{1: 2}, {"a": object()}, {"a": float("nan")}])
def test_save_refuses_what_a_session_cannot_hold(bad: Any) -> None:
    """A save of a key or a value that is no JSON raises before anything is committed."""
    store = Minimal()
    with pytest.raises((TypeError, ValueError)):
        store.save("x", bad, {})
    with pytest.raises((TypeError, ValueError)):
        store.save("x", {}, bad)
    assert store.commits == []


def test_an_event_loop_waits_for_a_store_in_a_thread() -> None:
    """The default of each awaited operation runs in a thread and not in the event loop."""
    store = Minimal()

    async def run() -> None:
        changes = Changes(None, "x", edits={"a": 1})
        assert (await store.acommit(changes)).cookie_value == "x"
        found = await store.aopen("x")
        assert found is not None
        assert await store.atouch("x") is True
        assert await store.ahas_moved("x") is False
        threads = Threads()
        await store.adestroy("x")
        await store.ahas_moved("x")
        assert threads.calls == ["destroy", "has_moved"]

    asyncio.run(run())
    assert store.session is None
    assert store.threads
    assert threading.current_thread() not in store.threads


def test_a_store_may_have_to_wait_unless_it_says_otherwise() -> None:
    """So event loops read it before the handler, and not in it."""
    assert Minimal().opens_at_once is False
    assert InMemory().store().opens_at_once is False


# Five functions.


def test_an_os_error_of_a_function_is_an_outage() -> None:
    """An OSError of a user's function becomes StoreUnavailable, and has its cause."""
    memory = InMemory()
    store = memory.store()
    cookie_value = begin(store)
    memory.down = True
    with pytest.raises(StoreUnavailable, match="the cable is out") as error:
        store.open(cookie_value)
    assert isinstance(error.value.__cause__, ConnectionError)


def test_an_error_of_a_function_that_is_no_outage_is_passed_on() -> None:
    """A mistake in a user's function is not called an outage."""

    def load(session_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
        raise KeyError(session_id)

    memory = InMemory()
    store = new(
        load=load,
        save=memory.save,
        destroy=memory.destroy,
        gc=lambda: 3,
        cookie_value=lambda session_id, data, flash: session_id,
    )
    with pytest.raises(KeyError):
        store.open("x")
    assert store.gc() == 3


def test_five_functions_keep_one_session_under_one_id() -> None:
    """A login removes the session under its old id, and a logout the session itself."""
    memory = InMemory()
    store = memory.store()
    request = Request(store, begin(store))
    moved = request.commit(regenerate, put("user", 1))
    assert memory.sessions == {request.state.id: ({"a": 1, "user": 1}, {})}
    assert Request(store, moved).commit(invalidate) == ""
    assert memory.sessions == {}


def test_the_cookie_value_of_five_functions_is_that_of_the_fifth() -> None:
    """A commit returns what the function cookie_value makes of id, data and flash."""
    memory = InMemory()
    store = SessionStore.from_functions(
        load=memory.load,
        save=memory.save,
        destroy=memory.destroy,
        gc=memory.gc,
        cookie_value=lambda session_id, data, flash: f"{session_id}:{sorted(data)}",
    )
    request = Request(store, None)
    assert request.commit(put("a", 1)) == f"{request.state.id}:['a']"


def test_new_is_the_name_of_the_reference_for_from_functions() -> None:
    """The function ``new`` is ``SessionStore.from_functions``."""
    assert new is SessionStore.from_functions


# No store.


def test_a_null_store_forgets_everything() -> None:
    """A NullStore keeps nothing of what it is given, and finds nothing."""
    store = NullStore()
    request = Request(store, None)
    assert request.answer(put("a", 1)) is CommitResult.EMPTY
    assert store.open(request.state.id) is None
    store.save("x", {"a": 1}, {})
    assert content(store, "x") is None
    assert store.load("x") == ({}, {})
    assert store.touch("x") is False
    store.destroy("x")
    assert store.gc() == 0
    store.close()


def test_a_null_store_needs_no_thread() -> None:
    """An event loop without a store is served in line."""
    store = NullStore()

    async def run() -> None:
        threads = Threads()
        assert store.opens_at_once is True
        assert await store.acommit(Changes(None, "x", edits={"a": 1})) is CommitResult.EMPTY
        assert threads.calls == []

    asyncio.run(run())


def test_a_store_that_does_not_expire_by_itself_is_collected() -> None:
    """maybe_collect() asks the policy of each store whose sessions gc() has to remove."""
    asked: list[bool] = []

    def policy() -> bool:
        asked.append(True)
        return False

    maybe_collect(policy, Minimal())
    assert asked == [True]


def test_a_session_is_found_through_a_proxy() -> None:
    """As Flask's ``session`` is one: what a handler has in hands is enough."""

    class Proxy:
        def __init__(self, of: object) -> None:
            self._of = of

        def __getattr__(self, name: str) -> Any:
            return getattr(self._of, name)

    class OfAFramework:
        def __init__(self, session: Session) -> None:
            self.session = session

    session = Session.start("an id", {"a": 1})
    held: Any = Proxy(OfAFramework(session))
    assert named(held) == named(session) == "an id"
    session.stop()
