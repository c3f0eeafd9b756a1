"""Changes can be replayed on any version of a session."""

from __future__ import annotations

import copy
from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from glimr_session import Json, StoredSession
from glimr_session._session.changes import (
    ABSENT,
    Absent,
    Added,
    Changes,
    CompareAndSet,
    Merged,
    add,
    merge,
    same,
)
from glimr_session._session.messages import (
    ChangeKeys,
    Clear,
    Flash,
    Forget,
    Increment,
    Invalidate,
    Keep,
    Message,
    Pull,
    Put,
    Reflash,
    Regenerate,
    SetDefault,
    Update,
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
    # A list that is kept and added to, beside a request that was shown it: see "Not promised".
    both = [
        key
        for changes in (one, other)
        for key in base.flash
        if type(changes.flash.get(key)) is Added and key not in changes.consumed
    ]
    assume(not both)
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


NUMBERS = st.integers(-9, 9)
on_numbers = st.lists(
    st.builds(Put, keys, NUMBERS)
    | st.builds(Update, st.dictionaries(keys, NUMBERS, max_size=2))
    | st.builds(SetDefault, keys, NUMBERS)
    | st.builds(Pull, keys, st.none())
    | st.builds(Forget, keys)
    | st.builds(Increment, keys, NUMBERS)
    | st.just(Clear()),
    max_size=4,
)


def keys_of(messages: list[Message], kind: type[Message]) -> set[str]:
    return {getattr(message, "key", "") for message in messages if type(message) is kind}


@given(st.dictionaries(keys, NUMBERS, max_size=4), on_numbers, on_numbers)
def test_each_key_ends_as_after_one_request_and_then_the_other(
    data: dict[str, Json], first: list[Message], second: list[Message]
) -> None:
    """Each key is as in one of the two orders, whatever both requests did.

    The exceptions that the guarantees name: a number that one request takes beside another one
    that adds to it stays as it is, for nobody has seen the sum; and a default of a number that is
    there says nothing, so that what is added counts from 0 if the other request removes it.
    """
    base = StoredSession(id="0" * 64, data=data)
    one, other = after(base, *first).changes, after(base, *second).changes
    merged = other.replay_data(one.replay_data(data))
    orders = [
        after(StoredSession(id="0" * 64, data=after(base, *these).data), *those).data
        for these, those in ((first, second), (second, first))
    ]
    excepted = keys_of(first, Pull) & keys_of(second, Increment)
    excepted |= keys_of(second, Pull) & keys_of(first, Increment)
    for sent in (first, second):
        excepted |= keys_of(sent, SetDefault) & keys_of(sent, Increment)
    for key in {*merged, *orders[0], *orders[1]} - excepted:
        assert merged.get(key) in [order.get(key) for order in orders]


@pytest.mark.parametrize(
    ("sent", "there", "result"),
    [
        ([SetDefault("b", 5)], {}, 5),
        ([SetDefault("b", 5)], {"b": 7}, 7),
        ([SetDefault("b", 5), Increment("b", 1)], {}, 6),
        ([SetDefault("b", 5), Increment("b", 1)], {"b": 7}, 8),
        ([SetDefault("b", 5), Pull("b", None)], {"b": 7}, 7),
        ([SetDefault("b", 5), Put("b", 6)], {"b": 7}, 6),
        ([Clear(), SetDefault("b", 5)], {"b": 7}, 5),
        ([Pull("a", None)], {"a": 0}, None),
        ([Pull("a", None)], {"a": 7}, 7),
        ([Pull("a", None)], {"a": False}, False),
        ([Pull("a", None), SetDefault("a", 5)], {}, 5),
        ([Pull("a", None), SetDefault("a", 5)], {"a": 0}, 5),
        ([Pull("a", None), SetDefault("a", 5)], {"a": 7}, 7),
        ([Pull("a", None), Put("a", 5)], {"a": 7}, 5),
        ([Pull("a", None), Forget("a")], {"a": 7}, None),
        ([Put("a", 5), Pull("a", None)], {"a": 7}, None),
        ([Increment("a", 1), Pull("a", None)], {"a": 7}, 7),
        ([Increment("a", 1), Pull("a", None)], {"a": 0}, None),
    ],
    ids=repr,
)
def test_edits_that_depend_on_what_was_there(
    sent: list[Message], there: dict[str, Json], result: Json
) -> None:
    """A default stays out of the way of a value, and what nobody has seen is not taken."""
    (key,) = {getattr(message, "key", None) for message in sent} - {None}
    assert after(BASE, *sent).changes.replay_data(there).get(str(key)) == result


# Values that were changed in place.

nested: st.SearchStrategy[Json] = st.recursive(
    st.integers(0, 2) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
anything: st.SearchStrategy[Json | Absent] = st.just(ABSENT) | nested


@given(anything, anything, anything)
def test_a_change_in_place_is_exact_on_what_it_was_made_of(
    found: Json | Absent, result: Json | Absent, other: Json | Absent
) -> None:
    """On the value that was found it gives the result; no change gives what is there."""
    assert same(merge(found, result, found), result)
    assert same(merge(found, found, other), other)


@given(anything, anything, anything)
def test_a_change_in_place_leaves_all_three_values_as_they_were(
    found: Json | Absent, result: Json | Absent, other: Json | Absent
) -> None:
    """No list or dict that goes into a merge is changed by it."""
    before = copy.deepcopy((found, result, other))
    merge(found, result, other)
    assert repr((found, result, other)) == repr(before)


@given(
    st.dictionaries(keys, nested, max_size=3),
    st.dictionaries(st.sampled_from(["mine", "mine too"]), nested),
    st.dictionaries(st.sampled_from(["yours", "yours too"]), nested),
    st.lists(keys, max_size=3),
)
def test_keys_that_two_requests_set_in_a_dict_both_survive(
    found: dict[str, Json], mine: dict[str, Json], yours: dict[str, Json], path: list[str]
) -> None:
    """Whichever commits first, and however deep the dict lies."""

    def at_the_path(value: Json) -> Json:
        for key in path:
            value = {key: value, "beside": 1}
        return value

    both = at_the_path({**found, **mine, **yours})
    for one, other in ((mine, yours), (yours, mine)):
        base, first = at_the_path(found), at_the_path({**found, **one})
        assert merge(base, at_the_path({**found, **other}), first) == both


@given(st.lists(nested), st.lists(nested), st.lists(nested))
def test_items_that_two_requests_append_to_a_list_both_survive(
    found: list[Json], mine: list[Json], yours: list[Json]
) -> None:
    """They stand in the order of the commits."""
    merged = merge(found, found + mine, found + yours)
    assert same(merged, found + yours + mine)


@pytest.mark.parametrize(
    ("found", "result", "there", "merged"),
    [
        (["a"], ABSENT, ["a", "b"], ["b"]),  # b came after what was taken
        (["a"], ABSENT, ["a"], ABSENT),
        (["a"], ["a", "b"], ABSENT, ["b"]),  # a was taken meanwhile
        (["a", "b"], ["b"], ["a", "b", "c"], ["b", "c"]),
        (["a"], ["b"], ["c"], ["b"]),
        ({"a": 1}, ABSENT, {"a": 1, "b": 2}, ABSENT),  # no torn remains of a user, say
        ({"a": 1}, ABSENT, {"a": 2}, ABSENT),
        ({"a": 1}, {"a": 1, "b": 2}, ABSENT, ABSENT),
        ({"a": 1}, {}, {"a": 2}, {"a": 2}),  # nobody has seen the 2
        ([{"n": 1}, {"n": 1}], [{"n": 2}, {"n": 1}], [{"n": 1}, {"n": 3}], [{"n": 2}, {"n": 3}]),
        ([{"n": 1}], [{"n": 2}], [{"n": 1}, {"n": 9}], [{"n": 2}, {"n": 9}]),
        ([1, 2], [3, 4], [5, 6], [3, 4]),  # a place on a map, say
        ({"a": 1}, {}, ABSENT, ABSENT),
        ({"a": 1}, {"a": 2}, {"a": 3}, {"a": 2}),
        ({"a": 1}, {"a": True}, {"a": 1, "b": 2}, {"a": True, "b": 2}),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [1, 3]}, {"a": [1, 3, 2]}),
        ({"a": 1}, {"a": 2}, ["a"], {"a": 2}),  # no dict any more
        ({"a": 1}, ABSENT, "text", "text"),
        (ABSENT, ["mine"], ["yours"], ["yours", "mine"]),
        (ABSENT, {"a": 1}, {"b": 2}, {"b": 2, "a": 1}),
        (ABSENT, 5, 7, 7),  # as setdefault()
        (ABSENT, [5], 7, 7),
        (ABSENT, [5], {"a": 1}, {"a": 1}),
        # A tuple of Flask's tagged JSON is one value.
        ({}, {"p": {" t": [1, 2]}}, {"p": {" t": [3, 4]}}, {"p": {" t": [1, 2]}}),
        ({"p": {" t": [1]}}, {"p": {" t": [1, 2]}}, {"p": {" t": [1, 3]}}, {"p": {" t": [1, 2]}}),
        (ABSENT, {" t": [1]}, {" t": [3]}, {" t": [3]}),
        (1, ABSENT, 1, ABSENT),
        (1, ABSENT, 2, 2),
    ],
    ids=repr,
)
def test_a_change_in_place_beside_another_one(
    found: Json | Absent, result: Json | Absent, there: Json | Absent, merged: Json | Absent
) -> None:
    """What was done is repeated; what another request did stays, unless it was set here too."""
    replayed = Merged(found, result).replay(there)
    assert same(replayed, merged), replayed


@pytest.mark.parametrize(
    ("sent", "there", "result"),
    [
        ([ChangeKeys({"l": Merged([1], [1, 2])})], {"l": [1, 9]}, [1, 9, 2]),
        ([ChangeKeys({"l": [2]})], {"l": [1, 9]}, [2]),
        ([ChangeKeys({"l": ABSENT})], {"l": [1, 9]}, None),
        ([ChangeKeys({"l": Merged([1], ABSENT)})], {"l": [1, 9]}, [9]),
        ([Put("l", [5]), ChangeKeys({"l": Merged([5], [5, 6])})], {"l": [1, 9]}, [5, 6]),
        ([ChangeKeys({"l": Merged([1], [1, 2])}), Put("l", [5])], {"l": [1, 9]}, [5]),
        ([ChangeKeys({"l": Merged([1], [1, 2])}), Pull("l", 0)], {"l": [1, 9]}, [9]),
        ([Pull("l", 0), ChangeKeys({"l": Merged(ABSENT, [2])})], {"l": [1, 9]}, [9, 2]),
        ([ChangeKeys({"n": Merged(1, ABSENT)}), Increment("n", 3)], {"n": 1}, 3),
        ([Increment("n", 3), ChangeKeys({"n": Merged(4, ABSENT)})], {"n": 1}, None),
        ([Increment("n", 3), ChangeKeys({"n": Merged(4, ABSENT)})], {"n": 2}, 2),
        ([SetDefault("s", []), ChangeKeys({"s": Merged([], [1])})], {"s": [7]}, [7, 1]),
        ([Pull("l", 0), ChangeKeys({"l": Merged(ABSENT, [2])})], {"l": [3]}, [3, 2]),
        ([ChangeKeys({"l": Merged([1], [2], anew=True)})], {"l": [3]}, [3, 2]),
        ([ChangeKeys({"l": Merged([1], [2], anew=True)})], {"l": [1, 3]}, [3, 2]),
        ([ChangeKeys({"s": CompareAndSet(ABSENT, 0)}), Increment("s", 1)], {"s": 1}, 2),
        # Another thread of the request has added 5 since the list was found.
        ([Put("l", [1, 5]), ChangeKeys({"l": Merged([1], [1, 2])})], {"l": [1]}, [1, 5, 2]),
    ],
    ids=repr,
)
def test_changes_in_place_between_other_messages(
    sent: list[Message], there: dict[str, Json], result: Json
) -> None:
    """Composed with what the request did before and after, they mean the same."""
    base = StoredSession(id="0" * 64, data={"l": [1], "n": 1})
    (key,) = {key for message in sent for key in getattr(message, "edits", ())}
    assert after(base, *sent).changes.replay_data(there).get(key) == result


def test_added_flash_stands_behind_what_another_request_has_left() -> None:
    """A list grows, a single value becomes one, and what this request was shown goes."""
    changes = after(BASE, Flash("x", "mine", add=True)).changes
    assert changes.replay_flash({"x": "shown"}) == {"x": ["mine"]}
    assert changes.replay_flash({"x": ["theirs"]}) == {"x": ["theirs", "mine"]}
    assert changes.replay_flash({"x": "theirs"}) == {"x": ["theirs", "mine"]}
    again = changes.replay_flash({"x": "shown"}, set_since={"x"})
    assert again == {"x": ["shown", "mine"]}


@pytest.mark.parametrize("keep", [Keep(("x",)), Reflash()], ids=repr)
def test_kept_flash_is_not_put_over_what_another_request_has_left(keep: Message) -> None:
    """A keep leaves what is there: the new value, or none if another request has shown it."""
    changes = after(BASE, keep).changes
    for there in ({"x": "shown"}, {"x": "new"}, {}):
        assert changes.replay_flash(there) == there


def test_flash_kept_after_a_commit_replaces_no_new_one() -> None:
    """A keep after the headers leaves what it was shown, unless there is a new value by then."""
    state = after(BASE, Put("b", 2))
    state.take_changes()
    Keep(("x",)).apply(state)
    assert state.flash == {"x": "shown"}
    assert state.changes.replay_flash({}) == {"x": "shown"}
    assert state.changes.replay_flash({"x": "new"}) == {"x": "new"}
    Flash("x", "added", add=True).apply(state)
    assert state.flash == {"x": ["shown", "added"]}


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
    final = after(None, Put(key, value))
    try:
        total = Increment(key, by).apply(final)
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
        Increment("n", 0.1).apply(current)
    assert current.changes.replay({"n": 0.7}, {})[0]["n"] == current.data["n"]


def test_invalidate_forgets_everything_and_later_changes_belong_to_the_next_session() -> None:
    """A replay of a logout leaves only what came after it, on any version of the session."""
    current = after(BASE, Put("a", 1), Flash("x", "before"), Invalidate("2" * 64))
    assert (current.id, current.data, current.loaded_flash, current.flash) == (
        "2" * 64, {}, {}, {},
    )  # fmt: skip
    assert current.invalidated
    Flash("bye", "see you").apply(current)
    Put("b", 2).apply(current)
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


def do(state: SessionState, messages: list[Message]) -> None:
    """Apply these messages; an increment of what is no number does nothing."""
    for message in messages:
        with suppress(TypeError):
            message.apply(state)


messages_in_turn = st.lists(
    st.builds(Put, keys, st.integers(-9, 9))
    | whole_numbers
    | st.builds(Forget, keys)
    | st.builds(SetDefault, keys, st.integers(-9, 9))
    | st.builds(Pull, keys, st.none())
    | st.builds(Flash, keys, st.integers(-9, 9), st.booleans())
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
    base = StoredSession(id="0" * 64, data=data, flash=shown)
    in_parts, whole = SessionState.opened(base), SessionState.opened(base)
    do(in_parts, first)
    half = in_parts.take_changes()
    do(in_parts, second)
    do(whole, [*first, *second])
    assert half.then(in_parts.changes) == whole.changes


def test_an_increment_after_a_clear_keeps_its_total_in_parts_too() -> None:
    """The first half has removed the number, so the second half has set it."""
    state = SessionState.opened(StoredSession(id="0" * 64, data={"n": 5}))
    Clear().apply(state)
    half = state.take_changes()
    Increment("n", 2).apply(state)
    assert half.then(state.changes).replay({"n": 40}, {}) == ({"n": 2}, {})
