"""Each message is a pure function from one state to the next one and a reply."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimr_session import Json, StoredSession
from glimr_session._session import messages
from glimr_session._session.messages import (
    Finish,
    Get,
    GetAll,
    GetFlash,
    GetId,
    GetState,
    Has,
    HasFlash,
    Increment,
    Keep,
    Message,
    Now,
    Pull,
    Put,
    Reflash,
    Regenerate,
    SetDefault,
    TakeChanges,
    Update,
)
from tests.support.strategies import BASE, MESSAGES, after, messages_of_every_kind, stored

# Purity.


def test_every_message_is_drawn() -> None:
    """The strategies draw every kind of message that there is."""
    assert set(MESSAGES) == set(Message.__subclasses__())
    assert {kind.__name__ for kind in MESSAGES} | {"Message", "Transition"} == set(messages.__all__)


@given(stored | st.none(), st.lists(messages_of_every_kind, min_size=1, max_size=12))
def test_no_message_changes_its_state_in_place(
    base: StoredSession | None, sent: list[Message]
) -> None:
    """A message leaves every state before it, and itself, as they were."""
    current = after(base)
    past: list[tuple[Any, Any]] = [(base, copy.deepcopy(base))]
    for message in sent:
        past.append(((current, message), copy.deepcopy((current, message))))
        try:
            current, reply = message.apply(current)
        except TypeError:  # increment of what is no number
            continue
        past.append((reply, copy.deepcopy(reply)))
        for then, as_it_was in past:
            assert then == as_it_was
            assert repr(then) == repr(as_it_was)  # 1, 1.0 and True are equal


@given(stored, messages_of_every_kind)
def test_the_same_message_gives_the_same_state(base: StoredSession, message: Message) -> None:
    """A message that is applied twice to one state gives the same state and reply."""
    current = after(base)

    def applied() -> str:
        try:
            return repr(message.apply(current))
        except TypeError as error:
            return repr(error)

    assert applied() == applied()


@pytest.mark.parametrize(
    "message",
    [
        Get("a", None), Has("a"), GetAll(), GetId(), GetFlash("x", None), HasFlash("x"),
        GetState(), Finish(), Pull("missing", None), SetDefault("a", 1), Keep(("missing",)),
    ],
    ids=repr,
)  # fmt: skip
def test_a_read_returns_the_very_state(message: Message) -> None:
    """A message that changes nothing returns the state it was given."""
    current = after(BASE)
    assert message.apply(current)[0] is current


# Single messages, where the general properties would not say enough.


def test_reads_reply_with_what_is_there() -> None:
    """The reply of a read is the value, whether it is there, or the default."""
    current = after(BASE)
    replies: dict[Message, Any] = {
        Get("a", "default"): 0,
        Get("b", "default"): "default",
        Has("a"): True,
        Has("b"): False,
        GetAll(): BASE.data,
        GetId(): BASE.id,
        GetFlash("x", "default"): "shown",
        GetFlash("a", "default"): "default",
        HasFlash("x"): True,
        HasFlash("a"): False,
        GetState(): current,
    }
    assert {message: message.apply(current)[1] for message in replies} == replies


def test_update_sets_several_keys_in_one_step() -> None:
    """An update sets its keys and leaves the others."""
    assert after(BASE, Update({"a": 1, "b": 2})).data == {"a": 1, "b": 2, "n": 1}


@pytest.mark.parametrize("value", ["1", None, True, [], {}])
def test_increment_refuses_what_is_no_number(value: Json) -> None:
    """The error names the key and the type of what is there."""
    with pytest.raises(TypeError, match=f"'n'.* {type(value).__name__} "):
        Increment("n", 1).apply(after(None, Put("n", value)))


@pytest.mark.parametrize(("value", "by"), [(1e308, 1e308), (10**400, 1.0), (2**2122, 2**2122)])
def test_increment_refuses_sums_that_json_does_not_have(
    value: int | float, by: int | float
) -> None:
    """An increment refuses a sum that is infinite or too long to be read again."""
    with pytest.raises(TypeError, match="too large"):
        Increment("n", by).apply(after(None, Put("n", value)))


def test_pull_of_a_missing_key_changes_nothing() -> None:
    """A pull of a missing key replies with the default and is no reason to write."""
    before = after(None)
    assert Pull("a", "default").apply(before) == (before, "default")


def test_now_is_shown_and_not_kept() -> None:
    """A flash for this request can be read and is no change of the session."""
    current = after(None, Now("x", "hello"))
    assert GetFlash("x", None).apply(current)[1] == "hello"
    assert not current.dirty


def test_keep_and_reflash_leave_flash_for_one_more_request() -> None:
    """A keep leaves what is named and there, and a reflash leaves everything."""
    base = StoredSession(id="0" * 64, flash={"x": 1, "y": 2})
    assert after(base, Keep(("x", "z"))).flash == {"x": 1}
    assert after(base, Reflash()).flash == {"x": 1, "y": 2}


# Commits.


def test_take_changes_counts_from_there() -> None:
    """A second commit has only the changes since the first one, and loses no data."""
    current, taken = TakeChanges().apply(after(BASE, Put("b", 2)))
    assert taken.changes.edits.keys() == {"b"}
    assert not current.changes
    assert current.data == {"a": 0, "n": 1, "b": 2}
    current, late = TakeChanges().apply(Put("c", 3).apply(current)[0])
    assert late.changes.edits.keys() == {"c"}
    assert late.changes.base is not None
    assert late.changes.base.id == BASE.id


def test_take_changes_keeps_when_the_id_was_made() -> None:
    """The time of creation stays with the id, and a new id has none yet."""
    base = StoredSession(id=BASE.id, data={"a": 1}, created_at=1_000.0)
    current = after(base, Put("b", 2), TakeChanges())
    assert current.changes.base is not None
    assert current.changes.base.created_at == 1_000.0
    moved = TakeChanges().apply(Regenerate("2" * 64).apply(current)[0])[0]
    assert moved.changes.base is not None
    assert moved.changes.base.created_at == 0.0


@given(stored | st.none(), st.lists(messages_of_every_kind, max_size=6))
def test_finish_replies_with_what_take_changes_replies_with(
    base: StoredSession | None, sent: list[Message]
) -> None:
    """The last commit of a request has the same changes as one before the end would have."""
    current = after(base)
    for message in sent:
        try:
            current = message.apply(current)[0]
        except TypeError:  # increment of what is no number
            continue
    assert Finish().apply(current)[1] is TakeChanges().apply(current)[1] is current


def test_a_default_that_is_part_of_a_cycle_is_collected() -> None:
    """Python collects a default that refers to the message it is in."""

    class Default:
        def __init__(self) -> None:
            self.message: object = None

    for kind in (Get, GetFlash, Pull):
        default = Default()
        default.message = kind("key", default)
        gone = weakref.ref(default)
        del default
        gc.collect()
        assert gone() is None
