"""Each message changes the state of a session, and has a reply."""

from __future__ import annotations

import gc
import weakref
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimr_session import Json, StoredSession
from glimr_session._session import messages
from glimr_session._session.messages import (
    Finish,
    Flash,
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
    TakeChanges,
    Update,
)
from glimr_session._session.state import SessionState
from tests.support.strategies import BASE, MESSAGES, after, messages_of_every_kind, stored

# Every message.


def test_every_message_is_drawn() -> None:
    """The strategies draw every kind of message that there is."""
    kinds = {*Message.__subclasses__(), *messages.Write.__subclasses__()} - {messages.Write}
    assert set(MESSAGES) == kinds
    assert {kind.__name__ for kind in MESSAGES} | {"Message"} == set(messages.__all__)


@given(stored | st.none(), st.lists(messages_of_every_kind, min_size=1, max_size=12))
def test_what_was_handed_out_stays_as_it_was(
    base: StoredSession | None, sent: list[Message]
) -> None:
    """No message changes what the store gave, an earlier reply, a snapshot or itself."""
    state = after(base)
    past: list[tuple[Any, str]] = [(base, repr(base))]
    for message in sent:
        snapshot = state.snapshot()
        past += [(snapshot, repr(snapshot)), (message, repr(message))]
        try:
            reply = message.apply(state)
        except TypeError:  # increment of what is no number
            assert repr(state) == repr(snapshot)
            continue
        if reply is not state:  # Finish hands out the state itself, and is the last message
            past.append((reply, repr(reply)))
        for then, as_it_was in past:
            assert repr(then) == as_it_was


@given(stored, messages_of_every_kind)
def test_the_same_message_does_the_same(base: StoredSession, message: Message) -> None:
    """A message that is applied to two equal states makes equal states and replies."""

    def applied() -> str:
        state = after(base)
        try:
            return repr((message.apply(state), state))
        except TypeError as error:
            return repr(error)

    assert applied() == applied()


@given(stored, messages_of_every_kind)
def test_only_a_write_changes_what_is_committed(base: StoredSession, message: Message) -> None:
    """A message that does not say that it writes leaves the changes as they were."""
    state = after(base)
    before = repr(state.changes)
    with suppress(TypeError):
        message.apply(state)
    assert message.writes or type(message) is TakeChanges or repr(state.changes) == before


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
    }
    assert {message: message.apply(current) for message in replies} == replies
    assert repr(GetState().apply(current)) == repr(current)


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
    state = after(None)
    assert Pull("a", "default").apply(state) == "default"
    assert not state.dirty


def test_now_is_shown_and_not_kept() -> None:
    """A flash for this request can be read and is no change of the session."""
    current = after(None, Now("x", "hello"))
    assert GetFlash("x", None).apply(current) == "hello"
    assert not current.dirty


def test_keep_and_reflash_leave_flash_for_one_more_request() -> None:
    """A keep leaves what is named and there, and a reflash leaves everything."""
    base = StoredSession(id="0" * 64, flash={"x": 1, "y": 2})
    assert after(base, Keep(("x", "z"))).flash == {"x": 1}
    assert after(base, Reflash()).flash == {"x": 1, "y": 2}


@pytest.mark.parametrize("keep", [Keep(("x",)), Reflash()], ids=repr)
@pytest.mark.parametrize("early", [True, False])
def test_new_flash_wins_over_what_is_kept(keep: Message, early: bool) -> None:
    """A value that this request leaves is not replaced by the one it was shown, in any order."""
    new = Flash("x", "new")
    sent = [new, keep] if early else [keep, new]
    assert after(BASE, *sent).flash == {"x": "new"}


@pytest.mark.parametrize("keep", [Keep(("x",)), Reflash()], ids=repr)
def test_what_now_shows_can_be_kept(keep: Message) -> None:
    """A value of now() is left for the next request by a keep after it, and only then."""
    assert after(BASE, Now("x", "now"), keep).flash == {"x": "now"}
    assert after(BASE, keep, Now("x", "now")).flash == {"x": "shown"}


def test_added_flash_is_a_list_in_order() -> None:
    """An added value stands behind those under its key, and a single value becomes a list."""
    added = [Flash("y", 1, add=True), Flash("y", 2, add=True)]
    assert after(BASE, *added).flash == {"y": [1, 2]}
    assert after(BASE, Flash("y", 0), *added).flash == {"y": [0, 1, 2]}
    assert after(BASE, *added, Flash("y", 3)).flash == {"y": 3}


def test_added_flash_stands_beside_what_is_kept() -> None:
    """A value that is added to a key that is kept does not replace what was shown."""
    for sent in ([Keep(("x",)), Flash("x", 1, add=True)], [Flash("x", 1, add=True), Reflash()]):
        assert after(BASE, *sent).flash == {"x": ["shown", 1]}
    assert after(BASE, Flash("x", 1, add=True)).flash == {"x": [1]}


def until_read(*sent: Message) -> SessionState:
    state = SessionState.opened(BASE, flash_until_read=True)
    for message in sent:
        message.apply(state)
    return state


def test_flash_until_read_stays_until_it_is_read() -> None:
    """A flash that nobody reads is no change and stays; one that is read goes."""
    assert not until_read().dirty
    assert until_read(HasFlash("x"), Put("b", 1)).flash == {"x": "shown"}
    state = until_read(GetFlash("x", None))
    assert (state.flash, state.changes.consumed) == ({}, {"x": "shown"})
    assert GetFlash("x", None).apply(state) == "shown"  # again, in the same request


@pytest.mark.parametrize(
    "sent", [[Keep(("x",)), GetFlash("x", "")], [GetFlash("x", ""), Reflash()]]
)
def test_flash_until_read_that_is_kept_stays_though_it_is_read(sent: list[Message]) -> None:
    """A keep, before the reading or after it, leaves the value for another reading."""
    assert until_read(*sent).flash == {"x": "shown"}


def test_flash_until_read_is_replaced_and_added_to() -> None:
    """New flash replaces the unread one under its key; an added one stands behind it."""
    assert until_read(Flash("x", "new")).flash == {"x": "new"}
    assert until_read(Flash("x", "new", add=True)).flash == {"x": ["shown", "new"]}


def test_flash_until_read_outlives_now() -> None:
    """A value of now() hides the stored one, which nobody has read then."""
    state = until_read(Now("x", "now"))
    assert GetFlash("x", None).apply(state) == "now"
    assert state.flash == {"x": "shown"}


# Commits.


def test_take_changes_counts_from_there() -> None:
    """A second commit has only the changes since the first one, and loses no data."""
    state = after(BASE, Put("b", 2))
    assert TakeChanges().apply(state).edits.keys() == {"b"}
    assert not state.changes
    assert state.data == {"a": 0, "n": 1, "b": 2}
    Put("c", 3).apply(state)
    late = TakeChanges().apply(state)
    assert late.edits.keys() == {"c"}
    assert late.base is not None
    assert late.base.id == BASE.id


def test_take_changes_keeps_when_the_id_was_made() -> None:
    """The time of creation stays with the id, and a new id has none yet."""
    base = StoredSession(id=BASE.id, data={"a": 1}, created_at=1_000.0)
    state = after(base, Put("b", 2), TakeChanges())
    assert state.changes.base is not None
    assert state.changes.base.created_at == 1_000.0
    Regenerate("2" * 64).apply(state)
    TakeChanges().apply(state)
    assert state.changes.base is not None
    assert state.changes.base.created_at == 0.0


@given(stored | st.none(), st.lists(messages_of_every_kind, max_size=6))
def test_finish_replies_with_the_state_itself(
    base: StoredSession | None, sent: list[Message]
) -> None:
    """Whoever asks last gets the state, and with it all changes that were not taken."""
    state = after(base)
    for message in sent:
        with suppress(TypeError):  # increment of what is no number
            message.apply(state)
    assert Finish().apply(state) is state


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
