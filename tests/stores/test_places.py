"""Places: as many connections as a process may have, and none is lost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from glimr_session import StoreUnavailable
from glimr_session.stores._places import Place, Places
from tests.support import forks


@pytest.fixture
def places() -> Places[str]:
    """Two places."""
    return Places(2, 0.1, lambda: StoreUnavailable("all are in use"))


def put(places: Places[str], *connections: str) -> None:
    taken = [places.take() for _ in connections]
    for place, connection in zip(taken, connections, strict=True):
        place.connection = connection
        places.put(place)


def test_the_last_one_used_comes_first(places: Places[str]) -> None:
    """So that a quiet process uses few of its connections."""
    put(places, "a", "b")
    assert [places.take().connection, places.take().connection] == ["b", "a"]


def test_there_is_a_limit(places: Places[str]) -> None:
    """The next thread waits, but not for ever."""
    taken = [places.take(), places.take()]
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match="all are in use"):
        places.take()
    assert time.monotonic() - started >= 0.1
    places.put(taken.pop())
    assert places.take().connection is None


def test_a_place_that_nobody_references_is_free(places: Places[str]) -> None:
    """An exception may come before any statement that puts it back."""
    put(places, "a", "b")
    lost = [places.take(), places.take()]
    del lost
    assert [places.take().connection, places.take().connection] == [None, None]


def test_it_can_be_emptied(places: Places[str]) -> None:
    """Those that are in use stay as they are."""
    put(places, "a", "b")
    taken: Place[str] = places.take()
    assert places.empty() == ["a"]
    assert places.empty() == []
    assert taken.connection == "b"
    places.put(taken)
    assert places.empty() == ["b"]


def test_a_child_has_places_of_its_own(tmp_path: Path) -> None:
    """The connections of its parent stay where they are."""
    forks.run(fork_with_places, tmp_path)


def fork_with_places(_: Path) -> None:
    places = Places[str](2, 0.1, lambda: StoreUnavailable("all are in use"))
    put(places, "a", "b")
    taken = places.take()

    def work() -> None:
        assert [places.take().connection, places.take().connection] == [None, None]
        places.put(taken)
        assert places.empty() == []

    forks.reap([forks.fork(work)])
    places.put(taken)
    assert places.empty() == ["b", "a"]
