"""Ending all sessions of an owner, in every order with what requests do meanwhile."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import diskcache
import pytest

from glimr_session import DiskStore, Session, SessionStore, StoreUnavailable
from glimr_session._ids import generate_id, handle_of, key_and_number, storage_key
from glimr_session._session.actor import SessionActor
from glimr_session._session.state import SessionState
from glimr_session.stores._commands import Command, Owned
from glimr_session.stores.moving import MovingStore
from glimr_session.testing.contract import (
    COLLECTED,
    LIFETIME,
    Clock,
    Request,
    begin,
    content,
    increment,
    invalidate,
    put,
    regenerate,
)
from glimr_session.testing.owners import handles
from glimr_session.testing.requests import belong_to
from tests.stores.test_moving import OPERATIONS as MOVES
from tests.stores.test_server import DictServer, DictStore
from tests.support.schedules import Schedule, schedules

OPERATIONS: Final = (*MOVES, "sessions", "destroy_all")


class IndexServer(DictServer):
    """A server that has an index of owners, as SQL has."""

    def _execute(self, command: Command) -> Any:
        if isinstance(command, Owned):
            return [n for n, entry in self.entries.items() if entry.owner == command.owner]
        return super()._execute(command)


class IndexStore(DictStore):
    registers_owners = False

    def __init__(self) -> None:
        super().__init__()
        self.server = IndexServer()


class World:
    """A store, and a request that has opened its session or is about to.

    Args:
        ending: an empty store, as the process has it that ends the sessions.
        store: the same one, as the process of the request has it.
        former: where the sessions have begun.
    """

    def __init__(
        self,
        ending: SessionStore,
        store: SessionStore | None = None,
        former: SessionStore | None = None,
    ) -> None:
        self.ending, self.store = ending, store or ending
        self.mine = begin(former or ending, put("n", 0), belong_to(7))
        self.other = begin(ending, put("n", 0), belong_to(7))
        self.anonymous = begin(former or ending, put("n", 0))
        self.state: SessionState | None = None
        self.result: object = None
        self.ended = -1

    def open(self, cookie_value: str | None) -> None:
        found = None if cookie_value is None else self.store.open(cookie_value)
        if found is not None:
            self.state = SessionState.opened(found)
        elif cookie_value is None:
            self.state = SessionState.new(generate_id())

    def commit(self, *transitions: Callable[[SessionState], object]) -> None:
        if self.state is not None:
            for transition in transitions:
                transition(self.state)
            self.result = self.store.commit(self.state.changes).outcome

    def touch(self) -> None:
        self.result = self.store.touch(self.mine)

    def end(self) -> None:
        self.ended = self.ending.destroy_all(7, except_=self.other)

    @property
    def outcome(self) -> tuple[object, ...]:
        """What has come of it, and what is left."""
        left = sorted((info.owner_key, info.size) for info in self.store.all_sessions())
        # Nobody is told why a session is not there.
        result = None if self.result in ("gone", False) else self.result
        ended = min(self.ended, 1)  # a login in the place of a session is two for a moment
        return ended, result, left, len(self.store.sessions(7)), len(self.store.sessions(8))


LOGIN: Final = (regenerate, put("user", 7), belong_to(7))
REQUESTS: Final[dict[str, tuple[str, tuple[Any, ...]]]] = {
    "counts": ("mine", (increment("n"),)),
    "moves": ("mine", (regenerate, put("n", 1))),
    "logs out": ("mine", (invalidate,)),
    "logs in again": ("mine", (invalidate, put("user", 7), belong_to(7))),
    "changes hands": ("mine", (belong_to(8),)),
    "logs in": ("anonymous", LOGIN),
    "logs in, and nobody was": ("", (put("user", 7), belong_to(7))),
}


def steps_of(world: World, what: str) -> list[Callable[[], None]]:
    """Return what a request does, in parts: it opens its session, and commits."""
    if what == "touches":
        return [lambda: None, world.touch]
    session, transitions = REQUESTS[what]
    opened = getattr(world, session) if session else None
    return [partial(world.open, opened), partial(world.commit, *transitions)]


def one_after_the_other(make: Callable[[], World], what: str) -> list[Any]:
    """Return the outcomes where all are ended before, in the middle of, or after a request."""
    outcomes = []
    for place in range(3):
        world = make()
        steps = steps_of(world, what)
        steps.insert(place, world.end)
        for step in steps:
            step()
        outcomes.append(world.outcome)
    return outcomes


def in_order(schedule: Schedule, world: World, what: str, *, switches: int = 1000) -> None:
    """Run a request, and end all sessions, in the order of a schedule."""

    def request() -> None:
        for step in steps_of(world, what):
            step()

    schedule.run({"end": world.end, "request": request}, switches=switches)


def step_before(schedule: Schedule, thing: object, name: str) -> None:
    call = getattr(thing, name)

    def stepped(*args: Any, **options: Any) -> Any:
        schedule.step()
        return call(*args, **options)

    setattr(thing, name, stepped)


@pytest.mark.parametrize("make", [DictStore, IndexStore])
@pytest.mark.parametrize("what", [*REQUESTS, "touches"])
def test_every_order_of_commands_is_as_one_after_the_other(
    make: type[DictStore], what: str
) -> None:
    """Whatever a request does while all are ended, it has come wholly before, or too late."""
    allowed = one_after_the_other(lambda: World(make()), what)
    for schedule in schedules(3000):
        store = make()
        world = World(store)
        step_before(schedule, store.server, "execute")
        in_order(schedule, world, what)
        assert world.outcome in allowed, schedule.made


def moving(direction: str) -> tuple[World, list[DictStore]]:
    """Return a world whose request is of a process that moves sessions here, or back."""
    new, old = DictStore(), DictStore()
    ending = MovingStore(new, old)
    world = World(ending, ending if direction == "here" else MovingStore(old, new), old)
    if direction == "back":  # and the session is where the list is read last
        Request(ending, world.mine).commit(put("n", 0))
    return world, [new, old]


@pytest.mark.parametrize("direction", ["here", "back"])
@pytest.mark.parametrize("what", ["counts", "moves", "logs out", "logs in again", "touches"])
def test_every_order_with_a_move_between_stores(direction: str, what: str) -> None:
    """So it is where the request takes its session to another store, in either direction.

    But for the count: a session that both have ended may be counted.
    """
    allowed = [outcome[1:] for outcome in one_after_the_other(lambda: moving(direction)[0], what)]
    for schedule in schedules(5000):
        world, stores = moving(direction)
        for store in stores:
            for name in OPERATIONS:
                step_before(schedule, store, name)
        in_order(schedule, world, what, switches=2)
        assert world.outcome[1:] in allowed, schedule.made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock(float(int(time.time())))
    monkeypatch.setattr(time, "time", stopped)
    return stopped


@pytest.fixture(params=["disk", "dict", "index", "moving"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    makers: dict[str, Callable[[], SessionStore]] = {
        "disk": lambda: DiskStore(tmp_path / "sessions", lifetime=LIFETIME),
        "dict": DictStore,
        "index": IndexStore,
        "moving": lambda: MovingStore(DictStore(), IndexStore()),
    }
    store = makers[request.param]()
    yield store
    store.close()


def test_a_clock_that_is_ahead_hides_no_session_from_its_end(
    store: SessionStore, clock: Clock
) -> None:
    """What seems to have expired is ended too, so that it is not back when the clock is right."""
    cookie_value = begin(store, put("a", 1), belong_to(7))
    clock.advance(LIFETIME + 3600)
    assert store.destroy_all(7) == 0
    clock.advance(-LIFETIME - 3600)
    assert store.open(cookie_value) is None


def test_the_session_of_a_request_stays_under_its_new_id(store: SessionStore) -> None:
    """A form that is sent twice keeps the session that the other request has moved meanwhile."""
    cookie_value = begin(store, put("a", 1), belong_to(7))
    found = store.open(cookie_value)
    assert found is not None
    session = Session.start(found.id)
    session._owner.ref = SessionActor.start(SessionState.opened(found))
    moved = Request(store, cookie_value).commit(regenerate)
    assert store.handle_of(session) == store.handle_of(moved) != ""
    assert store.destroy_all(7, except_=session) == 0
    assert store.open(moved) is not None
    session.stop()


@pytest.mark.parametrize("make", [DictStore, IndexStore])
def test_a_session_whose_number_was_taken_is_listed_under_another(make: type[DictStore]) -> None:
    """And the session that has the number is not ended with it."""
    store = make()
    cookie_value = begin(store, put("a", 1), belong_to(8))
    (entry,) = store.server.entries.values()
    state = SessionState.new(generate_id())
    number = key_and_number(state.id)[1]
    del store.server.entries[entry.number]
    store.server.entries[number] = entry._replace(number=number)
    for transition in (put("b", 2), belong_to(7)):
        transition(state)
    begun = store.commit(state.changes)
    assert handles(store, 7) == [store.handle_of(begun.cookie_value)] != [handle_of(number)]
    assert store.destroy_all(7) == 1
    assert store.open(begun.cookie_value) is None
    assert content(store, f"{cookie_value}~{number:x}") == ({"a": 1}, {})


@pytest.mark.parametrize("make", [DictStore, IndexStore])
def test_an_outage_in_the_middle_leaves_the_rest_for_the_next_time(
    make: type[DictStore],
) -> None:
    """At each command: every session is whole or ended, and a second call ends the others."""
    for failing in range(1, 9):
        store = make()
        cookies = [begin(store, put("a", 1), belong_to(7)) for _ in range(3)]
        execute, commands = store.server.execute, count(1)

        def fail(command: Command, execute: Any = execute, at: int = failing) -> Any:
            if next(commands) == at:  # noqa: B023  # called before the next one is made
                raise StoreUnavailable("on purpose")
            return execute(command)

        store.server.execute = fail  # type: ignore[method-assign]
        with suppress(StoreUnavailable):
            store.destroy_all(7)
        store.server.execute = execute  # type: ignore[method-assign]
        left = [found for cookie in cookies if (found := content(store, cookie)) is not None]
        assert left == [({"a": 1}, {})] * len(left)
        assert [info.noted for info in store.sessions(7)] == [{}] * len(left)
        assert store.destroy_all(7) == len(left)
        assert [content(store, cookie) for cookie in cookies] == [None] * 3


def test_owners_of_rows_that_another_program_has_removed_are_forgotten(
    tmp_path: Path, clock: Clock
) -> None:
    """By the next collection that removes something; plain diskcache does not know the table."""
    store = DiskStore(tmp_path / "sessions", lifetime=LIFETIME)
    removed = [begin(store, put("a", 1), belong_to(7)) for _ in range(26)]
    with diskcache.Cache(store.directory, eviction_policy="none") as cache:
        for cookie_value in removed[1:]:
            assert cache.pop(storage_key(cookie_value)) is not None
    clock.advance(COLLECTED)
    kept = begin(store, put("a", 1), belong_to(7))
    with closing(sqlite3.connect(store.directory / "cache.db")) as connection:
        numbers = "SELECT count(*) FROM glimr_session_owners"
        assert connection.execute(numbers).fetchall() == [(27,)]
        assert handles(store, 7) == [store.handle_of(kept)]
        assert store.gc() == 1
        assert connection.execute(numbers).fetchall() == [(1,)]
    assert handles(store, 7) == [store.handle_of(kept)]
    assert store.destroy_all(7) == 1
    store.close()


def test_nothing_is_left_of_owners_whose_sessions_have_ended(tmp_path: Path, clock: Clock) -> None:
    """However they ended: by a logout, by a login in their place, by themselves, or all."""
    store = DiskStore(tmp_path / "sessions", lifetime=LIFETIME)
    cookies = [begin(store, put("a", 1), belong_to(number)) for number in range(6)]
    Request(store, cookies[0]).commit(invalidate)
    login = Request(store, cookies[1]).commit(invalidate, put("user", 7), belong_to(7))
    store.destroy(cookies[2])
    store.destroy_all(3)
    Request(store, cookies[4]).commit(belong_to(None))
    store.save(login, {"a": 2}, {})
    clock.advance(COLLECTED)
    store.gc()
    with closing(sqlite3.connect(store.directory / "cache.db")) as connection:
        for table in ("Cache", "glimr_session_owners"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchall() == [(0,)]
    store.close()
