"""SessionState: what a session is at one moment of a request."""

from __future__ import annotations

import pytest

from glimr_session import StoredSession
from glimr_session._session.changes import Incremented
from glimr_session._session.messages import Flash, Invalidate, Put, Regenerate
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


def test_with_data_takes_the_data_and_notes_the_edits() -> None:
    """A state with other data has it, and these edits behind those it had."""
    current = after(BASE, Put("a", 1)).with_data({"n": 2}, {"n": Incremented(1, 1, 2)})
    assert current.data == {"n": 2}
    assert current.changes.edits == {"a": 1, "n": Incremented(1, 1, 2)}


def test_with_flash_leaves_values_for_the_next_request() -> None:
    """A state with flash has it beside what it had, and no flash changes nothing."""
    current = after(BASE, Flash("x", 1))
    assert current.with_flash({"y": 2}).flash == {"x": 1, "y": 2}
    assert current.with_flash({"y": 2}).changes.flash == {"x": 1, "y": 2}
    assert current.with_flash({}) is current


def test_a_committed_state_has_no_changes() -> None:
    """A commit leaves data and flash as they are, with nothing more to be committed."""
    before = after(BASE, Put("b", 2), Flash("y", 3))
    committed = before.committed()
    assert not committed.dirty
    assert (committed.id, committed.data, committed.flash) == (BASE.id, before.data, {"y": 3})
    assert committed.loaded_flash == BASE.flash
    assert committed.changes.base is not None
    assert committed.changes.base.data == before.data


def test_a_commit_keeps_the_marks_of_the_store_unless_the_session_is_another_one() -> None:
    """A login keeps what the store needs to find the session, and a logout does not."""
    base = StoredSession(id=BASE.id, data={"a": 1}, created_at=5.0, marks="ours")
    moved = after(base, Regenerate("2" * 64)).committed().changes.base
    ended = after(base, Invalidate("3" * 64)).committed().changes.base
    assert moved is not None
    assert (moved.id, moved.marks, moved.created_at) == ("2" * 64, "ours", 0.0)
    assert ended is not None
    assert (ended.id, ended.marks, ended.created_at) == ("3" * 64, None, 0.0)


@pytest.mark.parametrize("name", ["id", "data", "flash", "loaded_flash", "changes"])
def test_a_state_cannot_be_changed(name: str) -> None:
    """An assignment to a field of a state raises."""
    current = after(BASE)
    with pytest.raises(AttributeError):
        setattr(current, name, None)
