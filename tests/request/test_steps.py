"""Steps: what a request calls of its store, run by threads or awaited by event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from glimr_session import CommitResult, SessionStore, StoredSession, StoreUnavailable
from glimr_session._request.steps import Steps, arun, run
from glimr_session._session.changes import Changes

CHANGES = Changes(None, "an id", edits={"a": 1})


class Noting(SessionStore):
    """A store that notes what is called of it, and how."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.down = False

    def open(self, cookie_value: str) -> StoredSession | None:
        self.calls.append(("open", cookie_value))
        if self.down:
            raise StoreUnavailable("the store is down")
        return None

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        self.calls.append(("commit", changes, wait))
        return CommitResult.stored("a value") if wait else CommitResult.BUSY

    def touch(self, cookie_value: str) -> bool:
        self.calls.append(("touch", cookie_value))
        return True

    def has_moved(self, cookie_value: str) -> bool:
        self.calls.append(("has_moved", cookie_value))
        return True

    def destroy(self, session_id: str) -> None:
        self.calls.append(("destroy", session_id))

    def gc(self) -> int:
        return 0


def all_steps() -> Steps[list[Any]]:
    found: list[Any] = []
    found.append((yield "open", "1"))
    found.append((yield "has_moved", "2"))
    found.append((yield "touch", "3"))
    found.append((yield "destroy", "4"))
    found.append((yield "commit", CHANGES))
    yield "collect", None
    return found


def by_threads(steps: Steps[Any], store: SessionStore, policy: Callable[[], bool]) -> Any:
    return run(steps, store, policy)


def by_a_loop(steps: Steps[Any], store: SessionStore, policy: Callable[[], bool]) -> Any:
    return asyncio.run(arun(steps, store, policy))


both = pytest.mark.parametrize("runs", [by_threads, by_a_loop], ids=lambda f: f.__name__)


@both
def test_each_step_is_called_and_its_answer_sent_back(runs: Callable[..., Any]) -> None:
    """In their order, with their arguments; the policy is asked where it says so."""
    store = Noting()

    def policy() -> bool:
        store.calls.append(("policy",))
        return False

    answers = runs(all_steps(), store, policy)
    assert answers == [None, True, True, None, CommitResult.stored("a value")]
    assert store.calls == [
        ("open", "1"),
        ("has_moved", "2"),
        ("touch", "3"),
        ("destroy", "4"),
        ("commit", CHANGES, True),
        ("policy",),
    ]


@both
def test_steps_that_call_nothing_return(runs: Callable[..., Any]) -> None:
    """What they return is returned."""

    def steps() -> Steps[int]:
        yield from ()
        return 5

    assert runs(steps(), Noting(), bool) == 5


def test_a_commit_need_not_wait() -> None:
    """``wait=False`` reaches the store, and its answer the steps."""

    def steps() -> Steps[CommitResult]:
        result: CommitResult = yield "commit", CHANGES
        return result

    store = Noting()
    assert run(steps(), store, bool, wait=False) is CommitResult.BUSY
    assert store.calls == [("commit", CHANGES, False)]


@both
def test_an_outage_ends_the_steps_and_shows_no_locals(runs: Callable[..., Any]) -> None:
    """It is the store's error, without the frames that hold ids and cookie values."""
    store = Noting()
    store.down = True
    went_on: list[bool] = []

    def steps() -> Steps[None]:
        yield "open", "the secret"
        went_on.append(True)

    with pytest.raises(StoreUnavailable, match="the store is down") as error:
        runs(steps(), store, bool)
    assert went_on == []
    traceback = error.value.__traceback__
    while traceback is not None:
        values = [
            repr(value)
            for name, value in traceback.tb_frame.f_locals.items()
            if traceback.tb_frame.f_code.co_filename != __file__
        ]
        assert not any("the secret" in value for value in values)
        traceback = traceback.tb_next
