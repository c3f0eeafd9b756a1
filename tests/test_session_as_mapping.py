"""A session among Python's mappings: operators, truth, copies; and many changes in one request."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from glimr_session import Session, generate_id


@pytest.fixture
def session() -> Iterator[Session]:
    session = Session.start(generate_id(), {"a": 1, "b": [2]})
    yield session
    session.stop()


def test_a_union_is_a_dict_and_changes_nothing(session: Session) -> None:
    """The right side wins, as with dicts, and the session stays as it was."""
    assert session | {"a": 2, "c": 3} == {"a": 2, "b": [2], "c": 3}
    assert {"a": 2, "c": 3} | session == {"a": 1, "b": [2], "c": 3}
    assert type(session | {}) is type({} | session) is dict
    assert session.all() == {"a": 1, "b": [2]}


def test_a_union_in_place_updates_the_session(session: Session) -> None:
    """``|=`` is ``update``: the handle stays the same one, and is refused what update is."""
    handle = session
    session |= {"a": 2, "c": (3,)}
    assert session is handle
    assert session.all() == {"a": 2, "b": [2], "c": [3]}
    with pytest.raises(TypeError, match="'d'"):
        session |= {"c": 4, "d": object()}
    assert session["c"] == [3]


def test_a_copy_is_a_dict_that_shares_nothing(session: Session) -> None:
    """Changing the copy, or a list in it, changes nothing in the session."""
    copied = session.copy()
    copied["b"].append(3)
    copied["c"] = 4
    assert session.all() == {"a": 1, "b": [2]}


@pytest.mark.parametrize("copies", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_session_cannot_be_copied_or_pickled(
    session: Session, copies: Callable[[Any], Any]
) -> None:
    """The error says what to use, also where the session is one value among others."""
    for holder in (session, {"glimr.session": session}, [session]):
        if copies is copy.copy and holder is not session:
            continue  # it copies the holder alone
        with pytest.raises(TypeError, match=r"session\.all\(\)"):
            copies(holder)
    assert session["a"] == 1


def test_a_session_is_false_when_it_is_empty(session: Session) -> None:
    """As any mapping: what it holds decides, and not that it is there."""
    assert session
    session.clear()
    assert not session
    session.flash("notice", "Saved.")
    assert not session


def events(work: Callable[[], object]) -> int:
    """Return how many lines of Python a piece of work runs."""
    lines = 0

    def count(_frame: Any, event: str, _argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize(
    "change",
    [
        lambda session, key: session.put(key, 1),
        lambda session, key: session.__delitem__(key),
        lambda session, key: session.forget(key),
        lambda session, key: session.pull(key),
        lambda session, key: session.setdefault(f"new {key}", 1),
        lambda session, key: session.increment(key),
        lambda session, key: session.flash(key, 1),
    ],
    ids=["put", "del", "forget", "pull", "setdefault", "increment", "flash"],
)
def test_the_work_of_a_change_does_not_grow_with_the_session(
    change: Callable[[Session, str], object],
) -> None:
    """The last of a thousand changes runs as much code as the first, and copies no data."""
    session = Session.start(generate_id(), {str(number): number for number in range(1000)})
    first = events(lambda: change(session, "0"))
    for number in range(1, 999):
        change(session, str(number))
    changes = session.state().changes
    assert events(lambda: change(session, "999")) == first
    assert len(session.state().changes.edits) + len(session.state().changes.flash) == 1000
    assert changes.base is session.state().changes.base
    session.stop()
