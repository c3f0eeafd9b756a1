"""SessionState: what a session is in the middle of a request."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from glimr_session import StoredSession
from glimr_session._session.messages import (
    ExpireAfter,
    ExpireOnClose,
    Flash,
    Forget,
    Increment,
    Invalidate,
    Message,
    Pull,
    Put,
    Regenerate,
    SetDefault,
    TakeChanges,
)
from glimr_session._session.state import SessionState
from tests.support.strategies import BASE, after


def test_loading_flash_makes_the_session_dirty() -> None:
    """A session whose flash was loaded is dirty, so that the store forgets the flash."""
    assert after(BASE).dirty
    assert not after(StoredSession(id="0" * 64, data={"a": 1})).dirty
    assert not after(None).dirty


def test_a_new_state_is_empty() -> None:
    """A new session has its id and nothing else."""
    new = SessionState.new("1" * 64)
    assert (new.id, new.data, new.loaded_flash, new.flash) == ("1" * 64, {}, {}, {})
    assert new.changes.base is None


def test_an_opened_state_is_what_was_stored() -> None:
    """An opened session has the stored data, and the stored flash to read."""
    opened = SessionState.opened(BASE)
    assert (opened.id, opened.data, opened.loaded_flash) == (BASE.id, BASE.data, BASE.flash)
    assert opened.flash == {}
    assert opened.changes.base is BASE
    assert opened.changes.consumed == BASE.flash


def test_what_a_request_reads_is_what_was_stored_and_its_own_edits() -> None:
    """A key has its last value, also one that was removed, counted or defaulted."""
    state = after(
        BASE, Put("b", 2), Forget("a"), Increment("n", 4), SetDefault("c", 3), SetDefault("n", 9)
    )
    assert state.data == {"n": 5, "b": 2, "c": 3}
    assert [state.get(key, None) for key in "abcn"] == [None, 2, 3, 5]


def test_a_committed_state_has_no_changes() -> None:
    """A commit leaves data and flash as they are, with nothing more to be committed."""
    state = after(BASE, Put("b", 2), Flash("y", 3))
    data = state.data
    state.take_changes()
    assert not state.dirty
    assert (state.id, state.data, state.flash) == (BASE.id, data, {"y": 3})
    assert state.loaded_flash == BASE.flash
    assert state.changes.base is not None
    assert state.changes.base.data == data


def test_a_commit_keeps_the_marks_of_the_store_unless_the_session_is_another_one() -> None:
    """A login keeps what the store needs to find the session, and a logout does not."""
    base = StoredSession(id=BASE.id, data={"a": 1}, created_at=5.0, marks="ours")
    moved = after(base, Regenerate("2" * 64), TakeChanges()).changes.base
    ended = after(base, Invalidate("3" * 64), TakeChanges()).changes.base
    assert moved is not None
    assert (moved.id, moved.marks, moved.created_at) == ("2" * 64, "ours", 0.0)
    assert ended is not None
    assert (ended.id, ended.marks, ended.created_at) == ("3" * 64, None, 0.0)


def test_the_last_word_on_the_expiry_holds() -> None:
    """A session keeps its own idle timeout, until it is given another one or has ended."""
    base = StoredSession(id=BASE.id, data={"a": 1}, lifetime=60.0, expire_on_close=True)
    state = after(base)
    assert (state.lifetime, state.expire_on_close, state.dirty) == (60.0, True, False)
    ExpireAfter(5.0).apply(state)
    ExpireOnClose(False).apply(state)
    assert (state.lifetime, state.expire_on_close, state.dirty) == (5.0, False, True)
    state.take_changes()
    assert (state.lifetime, state.expire_on_close, state.dirty) == (5.0, False, False)
    Invalidate("3" * 64).apply(state)
    assert (state.lifetime, state.expire_on_close) == (0.0, None)


@pytest.mark.parametrize("kind", [Put, Pull, Increment, SetDefault])
def test_a_change_takes_the_same_time_however_many_there_are(
    kind: Callable[[str, int], Message],
) -> None:
    """No copy of the data is made at a change: its dict is the one it was."""
    state = after(StoredSession(id="0" * 64, data={str(n): n for n in range(1000)}))
    kind("1", 1).apply(state)
    edits = state.changes.edits
    for number in range(1000):
        kind(str(number), 1).apply(state)
    assert state.changes.edits is edits
    assert state.changes.base is not None
    assert state.changes.base.data["999"] == 999
