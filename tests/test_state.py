"""Transitions are pure, and changes can be replayed on any version of a session."""

from __future__ import annotations

import copy

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from glimr_session import Json, StoredSession, state
from glimr_session.state import Changes, SessionState

from .strategies import Transition, contents, edits, keys, moves, numbers, stored, values


def run(base: StoredSession | None, transitions: list[Transition]) -> SessionState:
    current = SessionState.new("1" * 64) if base is None else SessionState.opened(base)
    for transition in transitions:
        current = transition(current)
    return current


@given(stored, st.lists(edits | moves, max_size=12))
def test_replay_on_the_unchanged_base_gives_the_final_state(
    base: StoredSession, transitions: list[Transition]
) -> None:
    """What a request saw at its end is exactly what its changes make of its beginning."""
    final = run(base, transitions)
    assert final.changes.replay(base.data, base.flash) == (final.data, final.flash)


@given(st.lists(edits | moves, max_size=12))
def test_replay_of_a_new_session_gives_the_final_state(transitions: list[Transition]) -> None:
    """A session that no store knows is replayed onto nothing."""
    final = run(None, transitions)
    assert final.changes.replay({}, {}) == (final.data, final.flash)


@given(stored, st.lists(edits | moves, max_size=8), contents, contents)
def test_nothing_is_changed_in_place(
    base: StoredSession,
    transitions: list[Transition],
    data: dict[str, Json],
    flash: dict[str, Json],
) -> None:
    """Neither a transition nor a replay touches what it was given."""
    current = SessionState.opened(base)
    for transition in transitions:
        before, as_it_was = current, copy.deepcopy(current)
        current = transition(current)
        assert before == as_it_was
    before_data, before_flash = copy.deepcopy(data), copy.deepcopy(flash)
    current.changes.replay(data, flash)
    assert (data, flash) == (before_data, before_flash)


@given(stored, st.lists(edits, max_size=6), st.lists(edits, max_size=6))
def test_requests_that_touch_different_keys_can_commit_in_any_order(
    base: StoredSession, first: list[Transition], second: list[Transition]
) -> None:
    """Two requests that opened the same session and edited different keys merge alike."""
    one, other = run(base, first).changes, run(base, second).changes
    together = set(one.edits) & set(other.edits) or set(one.flash) & set(other.flash)
    assume(not together and not one.cleared and not other.cleared)
    forward = other.replay(*one.replay(base.data, base.flash), newer=one.flash)
    backward = one.replay(*other.replay(base.data, base.flash), newer=other.flash)
    assert forward == backward


# The table of what two requests make of one session: the second opened it before the
# first committed, and commits after it.

BASE = StoredSession(id="0" * 64, data={"a": 0, "n": 1}, flash={"x": "shown"})


def put(key: str, value: Json) -> Transition:
    return lambda current: state.put(current, key, value)[0]


@pytest.mark.parametrize(
    ("first", "second", "data"),
    [
        ([put("a", 1)], [put("b", 2)], {"a": 1, "b": 2, "n": 1}),
        ([put("a", 1)], [put("a", 2)], {"a": 2, "n": 1}),
        ([lambda s: state.forget(s, "a")[0]], [put("b", 2)], {"b": 2, "n": 1}),
        (
            [lambda s: state.increment(s, "n", 1)[0]],
            [lambda s: state.increment(s, "n", 1)[0]],
            {"a": 0, "n": 3},
        ),
        ([lambda s: state.clear(s)[0]], [put("b", 2)], {"b": 2}),
        ([put("b", 2)], [lambda s: state.clear(s)[0]], {}),
    ],
    ids=["put-put", "put-put-same", "forget-put", "increment-increment", "clear-put", "put-clear"],
)
def test_two_requests_at_once(
    first: list[Transition], second: list[Transition], data: dict[str, Json]
) -> None:
    """Nothing that one of them did is undone by the other not knowing of it."""
    one, other = run(BASE, first).changes, run(BASE, second).changes
    assert other.replay(*one.replay(BASE.data, BASE.flash))[0] == data


def test_a_flash_set_beside_a_flash_shown_is_kept() -> None:
    """Only what was shown is consumed."""
    reader, writer = run(BASE, []), run(BASE, [lambda s: state.flash(s, "x", "new")[0]])
    stored_data, stored_flash = writer.changes.replay(BASE.data, BASE.flash)
    assert reader.changes.replay(stored_data, stored_flash)[1] == {"x": "new"}


def test_the_same_flash_set_again_beside_it_is_kept_where_the_store_can_tell() -> None:
    """Two requests may leave the same words; only the ones that were shown are consumed."""
    reader = run(BASE, [])
    assert reader.changes.replay({}, {"x": "shown"})[1] == {}
    assert reader.changes.replay({}, {"x": "shown"}, newer={"x"})[1] == {"x": "shown"}


# Single transitions, where the general properties would not say enough.


def test_loading_flash_makes_the_session_dirty() -> None:
    """So it is cleared from the store even if the handler writes nothing."""
    assert run(BASE, []).dirty
    assert not run(StoredSession(id="0" * 64, data={"a": 1}), []).dirty
    assert not run(None, []).dirty


@given(keys, numbers, numbers)
def test_increment_after_put_is_a_put(key: str, value: float, by: float) -> None:
    """What was added to was set here, so the sum is set, whatever another request added."""
    final = run(None, [put(key, value)])
    try:
        final, total = state.increment(final, key, by)
    except TypeError:
        return
    assert final.changes.replay({key: 12345}, {})[0] == {key: total}


@pytest.mark.parametrize("value", ["1", None, True, [], {}])
def test_increment_refuses_what_is_no_number(value: Json) -> None:
    """The error says what is there, and the state is as before."""
    with pytest.raises(TypeError, match=f"'n'.* {type(value).__name__} "):
        state.increment(run(None, [put("n", value)]), "n", 1)


@pytest.mark.parametrize(("value", "by"), [(1e308, 1e308), (10**400, 1.0), (2**2122, 2**2122)])
def test_increment_refuses_sums_that_json_does_not_have(
    value: int | float, by: int | float
) -> None:
    """Infinity, and integers that could not be read again, never get into a session."""
    with pytest.raises(TypeError, match="too large"):
        state.increment(run(None, [put("n", value)]), "n", by)


@given(values)
def test_an_addition_to_what_is_no_number_any_more_keeps_its_total(value: Json) -> None:
    """Another request may have put a word there: the later commit wins."""
    changes = run(BASE, [lambda s: state.increment(s, "n", 1)[0]]).changes
    replayed = changes.replay({"n": value}, {})[0]["n"]
    if isinstance(value, int | float) and not isinstance(value, bool):
        assert replayed == value + 1 or replayed == 2
    else:
        assert replayed == 2


def test_float_sums_are_replayed_to_the_last_digit() -> None:
    """0.1 three times is not 0.3 at once; on the same start the same total comes out."""
    current = SessionState.opened(StoredSession(id="0" * 64, data={"n": 0.7}))
    for _ in range(3):
        current = state.increment(current, "n", 0.1)[0]
    assert current.changes.replay({"n": 0.7}, {})[0]["n"] == current.data["n"]


def test_pull_of_a_missing_key_changes_nothing() -> None:
    """Reading is no reason to write."""
    before = run(None, [])
    assert state.pull(before, "a", "default") == (before, "default")


def test_now_is_shown_and_not_kept() -> None:
    """A flash for this request is no change of the session."""
    current = state.now(run(None, []), "x", "hello")[0]
    assert state.get_flash(current, "x", None)[1] == "hello"
    assert not current.dirty


def test_keep_and_reflash_leave_flash_for_one_more_request() -> None:
    """keep takes what is named and there, reflash everything."""
    base = StoredSession(id="0" * 64, flash={"x": 1, "y": 2})
    assert state.keep(SessionState.opened(base), ("x", "z"))[0].flash == {"x": 1}
    assert state.reflash(SessionState.opened(base))[0].flash == {"x": 1, "y": 2}


def test_invalidate_forgets_everything_and_later_changes_belong_to_the_next_session() -> None:
    """Data and flash from before are gone, on any version of the session."""
    current = run(BASE, [put("a", 1), lambda s: state.flash(s, "x", "before")[0]])
    current = state.invalidate(current, "2" * 64)[0]
    assert (current.id, current.data, current.loaded_flash, current.flash) == (
        "2" * 64, {}, {}, {},
    )  # fmt: skip
    assert current.invalidated
    current = put("b", 2)(state.flash(current, "bye", "see you")[0])
    assert current.changes.replay({"a": 1}, {"x": 1}) == ({"b": 2}, {"bye": "see you"})


def test_take_changes_counts_from_there() -> None:
    """What is taken to be committed is not taken again, and nothing before it is lost."""
    current, taken = state.take_changes(put("b", 2)(run(BASE, [])))
    assert taken.changes.edits.keys() == {"b"}
    assert not current.changes
    assert current.data == {"a": 0, "n": 1, "b": 2}
    current, late = state.take_changes(put("c", 3)(current))
    assert late.changes.edits.keys() == {"c"}
    assert late.changes.base is not None
    assert late.changes.base.id == BASE.id


def test_take_changes_keeps_when_the_id_was_made() -> None:
    """The absolute timeout of a session in a cookie counts from there; a new id's does not."""
    base = StoredSession(id=BASE.id, data={"a": 1}, created=1_000.0)
    current, _ = state.take_changes(put("b", 2)(SessionState.opened(base)))
    assert current.changes.base is not None
    assert current.changes.base.created == 1_000.0
    moved, _ = state.take_changes(state.regenerate(current, "2" * 64)[0])
    assert moved.changes.base is not None
    assert moved.changes.base.created == 0.0


def test_changes_are_true_when_there_is_something_to_commit() -> None:
    """A new id alone is something, for a session that is stored under another."""
    assert not Changes(None, "1")
    assert not Changes(BASE, BASE.id)
    assert Changes(BASE, "another")
    assert not Changes(None, "another")
    assert Changes(BASE, BASE.id, cleared=True)
