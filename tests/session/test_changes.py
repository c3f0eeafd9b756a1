"""Changes can be replayed on any version of a session."""

from __future__ import annotations

import copy
from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from glimr_session import Json, StoredSession
from glimr_session._session.changes import Changes, add
from glimr_session._session.messages import (
    Clear,
    Flash,
    Forget,
    Increment,
    Invalidate,
    Message,
    Put,
    Regenerate,
)
from glimr_session._session.state import SessionState
from tests.support.strategies import (
    BASE,
    Transition,
    after,
    contents,
    edits,
    keys,
    moves,
    numbers,
    run,
    stored,
    values,
)


@given(stored, st.lists(edits | moves, max_size=12))
def test_replay_on_the_unchanged_base_gives_the_final_state(
    base: StoredSession, transitions: list[Transition]
) -> None:
    """The changes of a request make of its beginning exactly what it saw at its end."""
    final = run(base, transitions)
    assert final.changes.replay(base.data, base.flash) == (final.data, final.flash)


@given(st.lists(edits | moves, max_size=12))
def test_replay_of_a_new_session_gives_the_final_state(transitions: list[Transition]) -> None:
    """The changes of a session that no store knows make the final state of nothing."""
    final = run(None, transitions)
    assert final.changes.replay({}, {}) == (final.data, final.flash)


@given(stored, st.lists(edits | moves, max_size=8), contents, contents)
def test_replay_changes_nothing_in_place(
    base: StoredSession,
    transitions: list[Transition],
    data: dict[str, Json],
    flash: dict[str, Json],
) -> None:
    """A replay leaves the data, the flash and the changes as they were."""
    changes = run(base, transitions).changes
    before = copy.deepcopy((data, flash, changes))
    changes.replay(data, flash)
    assert (data, flash, changes) == before
    assert repr((data, flash, changes)) == repr(before)


@given(stored, st.lists(edits, max_size=6), st.lists(edits, max_size=6))
def test_requests_that_touch_different_keys_can_commit_in_any_order(
    base: StoredSession, first: list[Transition], second: list[Transition]
) -> None:
    """Two requests that edited different keys of one session merge alike in both orders."""
    one, other = run(base, first).changes, run(base, second).changes
    together = set(one.edits) & set(other.edits) or set(one.flash) & set(other.flash)
    assume(not together and not one.cleared and not other.cleared)
    forward = other.replay(*one.replay(base.data, base.flash), flash_set_since=one.flash)
    backward = one.replay(*other.replay(base.data, base.flash), flash_set_since=other.flash)
    assert forward == backward


# What two requests make of one session: the second opened it before the first committed,
# and commits after it.


@pytest.mark.parametrize(
    ("first", "second", "data"),
    [
        (Put("a", 1), Put("b", 2), {"a": 1, "b": 2, "n": 1}),
        (Put("a", 1), Put("a", 2), {"a": 2, "n": 1}),
        (Forget("a"), Put("b", 2), {"b": 2, "n": 1}),
        (Increment("n", 1), Increment("n", 1), {"a": 0, "n": 3}),
        (Clear(), Put("b", 2), {"b": 2}),
        (Put("b", 2), Clear(), {}),
    ],
    ids=["put-put", "put-put-same", "forget-put", "increment-increment", "clear-put", "put-clear"],
)
def test_two_requests_at_once(first: Message, second: Message, data: dict[str, Json]) -> None:
    """The second commit undoes nothing of the first one that it did not know of."""
    one, other = after(BASE, first).changes, after(BASE, second).changes
    assert other.replay(*one.replay(BASE.data, BASE.flash))[0] == data


def test_a_flash_set_beside_a_flash_shown_is_kept() -> None:
    """A request consumes only the flash that it was shown."""
    reader, writer = after(BASE), after(BASE, Flash("x", "new"))
    stored_data, stored_flash = writer.changes.replay(BASE.data, BASE.flash)
    assert reader.changes.replay(stored_data, stored_flash)[1] == {"x": "new"}


def test_the_same_flash_set_again_beside_it_is_kept_where_the_store_can_tell() -> None:
    """A flash in the same words stays if its key is among those that were set since."""
    reader = after(BASE)
    assert reader.changes.replay({}, {"x": "shown"})[1] == {}
    kept = reader.changes.replay({}, {"x": "shown"}, flash_set_since={"x"})[1]
    assert kept == {"x": "shown"}


@given(keys, numbers, numbers)
def test_increment_after_put_is_a_put(key: str, value: float, by: float) -> None:
    """The sum of a number that this request has set is set, whatever another one added."""
    try:
        final, total = Increment(key, by).apply(after(None, Put(key, value)))
    except TypeError:
        return
    assert final.changes.replay({key: 12345}, {})[0] == {key: total}


@given(values)
def test_an_addition_to_what_is_no_number_any_more_keeps_its_total(value: Json) -> None:
    """An increment replaces a word that another request has put there with its total."""
    changes = after(BASE, Increment("n", 1)).changes
    replayed = changes.replay({"n": value}, {})[0]["n"]
    if isinstance(value, int | float) and not isinstance(value, bool):
        assert replayed == value + 1 or replayed == 2
    else:
        assert replayed == 2


def test_float_sums_are_replayed_to_the_last_digit() -> None:
    """A replay on the same start gives the same total, to the last digit."""
    current = SessionState.opened(StoredSession(id="0" * 64, data={"n": 0.7}))
    for _ in range(3):
        current = Increment("n", 0.1).apply(current)[0]
    assert current.changes.replay({"n": 0.7}, {})[0]["n"] == current.data["n"]


def test_invalidate_forgets_everything_and_later_changes_belong_to_the_next_session() -> None:
    """A replay of a logout leaves only what came after it, on any version of the session."""
    current = after(BASE, Put("a", 1), Flash("x", "before"), Invalidate("2" * 64))
    assert (current.id, current.data, current.loaded_flash, current.flash) == (
        "2" * 64, {}, {}, {},
    )  # fmt: skip
    assert current.invalidated
    current = Put("b", 2).apply(Flash("bye", "see you").apply(current)[0])[0]
    assert current.changes.replay({"a": 1}, {"x": 1}) == ({"b": 2}, {"bye": "see you"})


def test_changes_are_true_when_there_is_something_to_commit() -> None:
    """A new id alone is a change, for a session that is stored under another one."""
    assert not Changes(None, "1")
    assert not Changes(BASE, BASE.id)
    assert Changes(BASE, "another")
    assert not Changes(None, "another")
    assert Changes(BASE, BASE.id, cleared=True)


def test_an_id_has_changed_if_the_session_is_stored_under_another_one() -> None:
    """A new session has no id that could have changed."""
    assert Changes(BASE, "another").id_changed
    assert not Changes(BASE, BASE.id).id_changed
    assert not Changes(None, "another").id_changed


@pytest.mark.parametrize(
    "value", ["1", None, True, [], {}, 1e308, 2**2121], ids=lambda value: repr(value)[:20]
)
def test_a_sum_that_a_session_could_not_hold_is_none(value: Json) -> None:
    """An addition returns None for what is no number, and for a sum that is too large."""
    assert add(value, value if isinstance(value, int | float) else 1) is None


whole_numbers = st.builds(Increment, keys, st.integers(-1000, 1000))


def done(state: SessionState, messages: list[Message]) -> SessionState:
    """Return the state after these messages; an increment of what is no number does nothing."""
    for message in messages:
        with suppress(TypeError):
            state = message.apply(state)[0]
    return state


messages_in_turn = st.lists(
    st.builds(Put, keys, st.integers(-9, 9))
    | whole_numbers
    | st.builds(Forget, keys)
    | st.builds(Flash, keys, st.integers(-9, 9))
    | st.just(Clear())
    | st.builds(Invalidate, st.just("e" * 64))
    | st.builds(Regenerate, st.sampled_from(["e" * 64, "f" * 64])),
    max_size=6,
)
plain_contents = st.dictionaries(keys, st.integers(-9, 9), max_size=4)


@given(plain_contents, plain_contents, messages_in_turn, messages_in_turn)
def test_two_parts_of_a_request_are_as_good_as_one(
    data: dict[str, Json],
    shown: dict[str, Json],
    first: list[Message],
    second: list[Message],
) -> None:
    """``then`` of two halves has the id, the edits and the flash of the whole request."""
    opened = SessionState.opened(StoredSession(id="0" * 64, data=data, flash=shown))
    halfway = done(opened, first)
    end = done(halfway.committed(), second)
    together = halfway.changes.then(end.changes)
    assert together == done(halfway, second).changes


def test_an_increment_after_a_clear_keeps_its_total_in_parts_too() -> None:
    """The first half has removed the number, so the second half has set it."""
    opened = SessionState.opened(StoredSession(id="0" * 64, data={"n": 5}))
    halfway = done(opened, [Clear()])
    end = done(halfway.committed(), [Increment("n", 2)])
    assert halfway.changes.then(end.changes).replay({"n": 40}, {}) == ({"n": 2}, {})
