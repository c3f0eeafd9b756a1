"""A clock that steps: it destroys no live session."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glimr_session import DiskStore
from glimr_session.testing.contract import Request, begin, content, increment, put, regenerate
from tests.conftest import Clock

# A clock that steps.

HOUR: Final = 3600.0
LIFETIME: Final = 2 * HOUR  # the default


def merge(store: DiskStore, cookie_value: str) -> str:
    """Commit what another request has come between."""
    request = Request(store, cookie_value)
    Request(store, cookie_value).commit(put("between", True))
    return request.commit(put("merged", True))


WRITES: Final[dict[str, Callable[[DiskStore, str], object]]] = {
    "commit": lambda store, cookie_value: Request(store, cookie_value).commit(put("written", True)),
    "merge": merge,
    "regenerate": lambda store, cookie_value: Request(store, cookie_value).commit(regenerate),
    "save": lambda store, cookie_value: store.save(cookie_value, {"saved": True}, {}),
    "touch": lambda store, cookie_value: store.touch(cookie_value),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("step", [2 * HOUR, HOUR, -HOUR, -2 * HOUR])
def test_a_clock_that_steps_by_hours_and_back_destroys_no_live_session(
    directory: Path, clock: Clock, step: float, write: str
) -> None:
    """A wrong clock destroys no session, whenever that was used and whatever is done then."""
    store = DiskStore(directory)
    cookie_values = []
    for pause in (0, 59, 60):  # so that they were used 119, 60 and 0 minutes before the step
        clock.advance(60 * pause)
        cookie_values += [begin(store, put("begun", clock.now)) for _ in range(2)]
    expected = {cookie_value: content(store, cookie_value) for cookie_value in cookie_values}
    assert store.gc() == 0
    clock.advance(step)
    assert store.gc() == 0
    for cookie_value in cookie_values[::2]:
        if store.open(cookie_value) is not None:
            moved = WRITES[write](store, cookie_value)
            kept = moved if isinstance(moved, str) else cookie_value
            del expected[cookie_value]
            expected[kept] = content(store, kept)
            assert expected[kept] is not None
    assert store.gc() == 0
    clock.advance(-step)
    assert store.gc() == 0
    assert {cookie_value: content(store, cookie_value) for cookie_value in expected} == expected
    store.close()


class Step(NamedTuple):
    """What happens one after the other: a pause, a step of the clock, and requests."""

    pause: int
    offset: int
    reads: list[int]
    writes: list[int]
    collects: bool


MINUTES: Final = st.sampled_from([-120, 0, 120]) | st.integers(-120, 120)
INDICES: Final = st.lists(st.integers(0, 3), max_size=3)
STEPS: Final = st.builds(Step, st.integers(0, 40), MINUTES, INDICES, INDICES, st.booleans())


def test_whatever_the_clock_does_within_two_hours_no_live_session_is_destroyed(
    directory: Path, clock: Clock
) -> None:
    """A session used less than two hours ago is there when the clock is right again."""
    with closing(DiskStore(directory)) as store:

        @settings(max_examples=60)
        @given(st.lists(STEPS, min_size=2, max_size=8))
        def is_there_again(story: list[Step]) -> None:
            cookie_values = [begin(store, put("n", 0)) for _ in range(4)]
            written = dict.fromkeys(cookie_values, 0)
            used = dict.fromkeys(cookie_values, clock.now)
            offset = 0
            for step in story:
                clock.advance(60 * (step.pause + step.offset - offset))
                offset = step.offset
                for index in step.reads:
                    store.open(cookie_values[index])
                for index in step.writes:
                    cookie_value = cookie_values[index]
                    if store.open(cookie_value) is not None and Request(store, cookie_value).commit(
                        increment("n")
                    ):
                        written[cookie_value] += 1
                        if not offset:
                            used[cookie_value] = clock.now
                if step.collects:
                    store.gc()
            clock.advance(-60 * offset)
            for cookie_value in cookie_values:
                if clock.now - used[cookie_value] < LIFETIME:
                    assert content(store, cookie_value) == ({"n": written[cookie_value]}, {})

        is_there_again()
