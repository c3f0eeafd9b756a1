"""MovingStore: sessions go from store to store, and nobody is logged out, or in again."""

from __future__ import annotations

import asyncio
import itertools
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from glimr_session import (
    CommitResult,
    ConfigError,
    CookieStore,
    DiskStore,
    SessionConfig,
    SessionStore,
    StoreUnavailable,
)
from glimr_session._ids import generate_id
from glimr_session._session.changes import Changes
from glimr_session._session.state import SessionState
from glimr_session.stores._versions import LEAVING, is_leaving
from glimr_session.stores.moving import ForeignSessions, MovingStore
from glimr_session.testing.contract import (
    ABSOLUTE,
    LIFETIME,
    Clock,
    Request,
    StoreContract,
    begin,
    content,
    expire_after,
    flash,
    increment,
    invalidate,
    put,
    regenerate,
    run_all,
)
from tests.stores.test_server import DictStore
from tests.support.memory import InMemory
from tests.support.schedules import Schedule, schedules

OPERATIONS = (
    "open", "commit", "touch", "find", "leave", "adopt", "forget_left", "destroy", "has_moved",
)  # fmt: skip


def disk(path: Path) -> DiskStore:
    return DiskStore(path, lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)


class TestMovingStore(StoreContract):
    """The contract, where sessions are moved from a store that has none."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SessionStore]:
        store = MovingStore(disk(tmp_path / "new"), disk(tmp_path / "old"))
        yield store
        store.close()

    @pytest.fixture
    def broken(self, store: MovingStore) -> SessionStore:
        for each in (store._new, store._old):
            assert isinstance(each, DiskStore)
            with sqlite3.connect(each.directory / "cache.db") as connection:
                connection.execute("DROP TABLE Cache")
            connection.close()
        return store


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock(float(int(time.time())))
    monkeypatch.setattr(time, "time", stopped)
    return stopped


@pytest.fixture(params=["disk to dict", "dict to disk", "disk to disk"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[SessionStore, ...]]:
    """A store that sessions are moved to, and the one that they were in."""
    makers: dict[str, Callable[[str], SessionStore]] = {
        "disk": lambda place: disk(tmp_path / place),
        "dict": lambda _: DictStore(),
    }
    former, new = request.param.split(" to ")
    stores = makers[new]("new"), makers[former]("former")
    yield stores
    for store in stores:
        store.close()


Pair = tuple[SessionStore, SessionStore]


def places(store: SessionStore, former: SessionStore, name: str) -> list[str]:
    """Return where a session is, whether it is leaving or not."""
    found = {"new": store.find(name), "former": former.find(name)}
    return [place for place, (session, _) in found.items() if session is not None]


def test_a_session_moves_when_it_is_written(pair: Pair) -> None:
    """A request that reads leaves it where it is; one that writes takes it along, all of it."""
    store, former = pair
    moving = MovingStore(store, former)
    cookie_value = begin(former, put("a", 1), flash("x", 1), expire_after(5000.0))
    before = former.open(cookie_value)
    assert before is not None
    read = moving.open(cookie_value)
    assert read is not None
    assert read._replace(marks=None) == before._replace(marks=None)
    assert places(store, former, cookie_value) == ["former"]
    assert Request(moving, cookie_value).commit(put("b", 2)) == cookie_value
    assert places(store, former, cookie_value) == ["new"]
    after = store.open(cookie_value)
    assert after is not None
    assert (after.id, after.data, after.flash) == (before.id, {"a": 1, "b": 2}, {})
    assert (after.lifetime, after.created_at) == (5000.0, before.created_at)
    assert content(moving, cookie_value) == ({"a": 1, "b": 2}, {})


def test_a_renewal_moves_it_too(pair: Pair) -> None:
    """A touch, and a commit that changes nothing, as a request with the former cookie makes."""
    store, former = pair
    moving = MovingStore(store, former)
    for renew in (moving.touch, lambda name: Request(moving, name).commit()):
        cookie_value = begin(former)
        assert renew(cookie_value)
        assert places(store, former, cookie_value) == ["new"]


def test_the_absolute_timeout_goes_on(pair: Pair, clock: Clock) -> None:
    """A session does not live longer for having moved."""
    store, former = pair
    moving = MovingStore(store, former)
    cookie_value = begin(former)
    for _ in range(6):
        clock.advance(LIFETIME - 10)
        for direction in (moving, MovingStore(former, store)):
            Request(direction, cookie_value).commit(increment("n"))
    clock.advance(ABSOLUTE - 6 * (LIFETIME - 10) - 1)
    assert moving.open(cookie_value) is not None
    clock.advance(1)
    assert moving.open(cookie_value) is None
    assert moving.commit(Changes(None, generate_id(), edits={"a": 1})).outcome == "stored"


def test_a_login_moves_it_under_its_new_id(pair: Pair) -> None:
    """What was opened before is merged, and is not told the new id; the old one is remembered."""
    store, former = pair
    moving = MovingStore(store, former)
    cookie_value = begin(former, put("n", 0))
    slow, slower = Request(moving, cookie_value), Request(moving, cookie_value)
    moved = Request(moving, cookie_value).commit(regenerate, put("user", 7))
    assert slow.answer(increment("n")) is CommitResult.MOVED
    assert content(moving, moved) == ({"n": 1, "user": 7}, {})
    assert moving.open(cookie_value) is None
    assert moving.has_moved(cookie_value) is True
    assert slower.answer(invalidate) is CommitResult.EMPTY
    assert moving.open(moved) is None


def test_flash_that_was_shown_goes_and_a_new_one_stays(pair: Pair) -> None:
    """Beside a move, too: a session takes along in which commit each flash was set."""
    store, former = pair
    moving = MovingStore(store, former)
    cookie_value = begin(former, flash("x", "again"))
    reader, writer = Request(moving, cookie_value), Request(moving, cookie_value)
    writer.commit(flash("x", "again"))
    reader.commit(put("page", 1))
    assert content(moving, cookie_value) == ({"page": 1}, {"x": "again"})


@pytest.mark.parametrize("late", [[put("b", 2)], [regenerate], [invalidate, flash("bye", 1)], []])
@pytest.mark.parametrize("end", ["commit", "destroy"])
def test_a_logout_is_final_in_both(pair: Pair, end: str, late: list[Any]) -> None:
    """Late requests bring nothing back, whichever way they would have moved it."""
    store, former = pair
    moving, back = MovingStore(store, former), MovingStore(former, store)
    cookie_value = begin(former)
    slow = [Request(moving, cookie_value), Request(back, cookie_value)]
    if end == "destroy":
        moving.destroy(cookie_value)
    else:
        assert Request(moving, cookie_value).commit(invalidate) == ""
    for request in slow:
        assert request.answer(*late) is CommitResult.GONE
        assert request.touch() is False
    assert places(store, former, cookie_value) == []
    assert moving.open(cookie_value) is None
    assert back.open(cookie_value) is None


def test_a_goodbye_after_a_logout_is_in_the_new_store(pair: Pair) -> None:
    """What a logout leaves is in another session, and the one that has ended is nowhere."""
    store, former = pair
    moving = MovingStore(store, former)
    cookie_value = begin(former)
    another = Request(moving, cookie_value).commit(invalidate, flash("bye", 1))
    assert content(store, another) == ({}, {"bye": 1})
    assert places(store, former, cookie_value) == []
    assert moving.has_moved(cookie_value) is True


def test_a_request_can_commit_again(pair: Pair) -> None:
    """Also after the session was taken back meanwhile."""
    store, former = pair
    moving, back = MovingStore(store, former), MovingStore(former, store)
    cookie_value = begin(former, put("n", 0))
    request = Request(moving, cookie_value)
    for number in range(1, 4):
        request.commit(increment("n"))
        request.state.take_changes()
        Request(back, cookie_value).commit(put("back", number))
    assert content(moving, cookie_value) == ({"n": 3, "back": 3}, {})


def test_event_loops_move_sessions_in_threads(pair: Pair) -> None:
    """aopen, acommit and atouch find and move them; without waiting a commit is put off."""
    store, former = pair
    moving = MovingStore(store, former)

    async def request(*transitions: Any) -> CommitResult:
        found = await moving.aopen(cookie_value)
        assert found is not None
        state = SessionState.opened(found)
        for transition in transitions:
            transition(state)
        if found.marks.__class__.__name__ == "_Coming":
            assert moving.commit(state.changes, wait=False) is CommitResult.BUSY
        return await moving.acommit(state.changes)

    cookie_value = begin(former)
    assert asyncio.run(request(put("b", 2))).outcome == "stored"
    assert asyncio.run(request(put("c", 3))).outcome == "stored"
    assert content(store, cookie_value) == ({"a": 1, "b": 2, "c": 3}, {})
    late = Request(moving, cookie_value)
    assert asyncio.run(request(invalidate)) is CommitResult.EMPTY
    assert asyncio.run(moving.acommit(late.state.changes)) is CommitResult.GONE
    cookie_value = begin(former)
    assert asyncio.run(moving.atouch(cookie_value)) is True
    assert places(store, former, cookie_value) == ["new"]


def test_many_threads_in_both_directions_lose_nothing(pair: Pair) -> None:
    """As processes of both settings do while they are restarted one by one."""
    store, former = pair
    directions = [MovingStore(store, former), MovingStore(former, store)] * 2
    cookie_value = begin(former)
    errors: list[BaseException] = []

    def work(moving: MovingStore) -> None:
        try:
            for _ in range(25):
                Request(moving, cookie_value).commit(increment("n"))
        except BaseException as error:  # noqa: BLE001  # raised below
            errors.append(error)
        finally:
            moving.close()

    run_all([partial(work, moving) for moving in directions])
    assert errors == []
    assert content(directions[0], cookie_value) == ({"a": 1, "n": 100}, {})
    assert len(places(store, former, cookie_value)) == 1


# Every order of the calls of two requests.


class World:
    """Two stores, requests in both directions, and what must not have happened."""

    def __init__(self, *, by_command: bool = False) -> None:
        self.schedule = Schedule([])
        self.x, self.y = DictStore(), DictStore()
        self.moving = {"A": MovingStore(self.x, self.y), "B": MovingStore(self.y, self.x)}
        self.cookie_value = begin(self.y, put("n", 0))
        for store in (self.x, self.y):
            if by_command:
                self.step_before(store.server, "execute")
            for name in () if by_command else OPERATIONS:
                self.step_before(store, name)
        self.counted = 0
        self.logged_out_at: float = float("inf")
        self.problems: list[str] = []

    def step_before(self, thing: object, name: str) -> None:
        call = getattr(thing, name)

        def stepped(*args: Any) -> Any:
            self.schedule.step()
            return call(*args)

        def with_wait(changes: Changes, *, wait: bool = True) -> CommitResult:
            return stepped(changes)  # type: ignore[no-any-return]

        setattr(thing, name, with_wait if name == "commit" else stepped)

    def request(self, direction: str, what: str, *, may_end: bool) -> None:
        """Open the session, and count or log out."""
        self.schedule.step()
        started = self.schedule.time
        moving = self.moving[direction]
        found = moving.open(self.cookie_value)
        if found is None:
            if not may_end:
                self.problems.append("anonymous")
            return
        if started > self.logged_out_at:
            self.problems.append("open after a logout")
        state = SessionState.opened(found)
        (invalidate if what == "logout" else increment("n"))(state)
        result = moving.commit(state.changes)
        if what == "logout":
            self.logged_out_at = min(self.schedule.time, self.logged_out_at)
        elif result.outcome == "stored":
            self.counted += 1
        elif not may_end:
            self.problems.append(f"count: {result.outcome}")

    def run(self, schedule: Schedule, plan: tuple[str, ...], switches: int) -> None:
        """Make requests, as "A counts" or "B logout", in the order of a schedule."""
        self.schedule = schedule
        may_end = any("logout" in part for part in plan)
        schedule.run(
            {
                f"{place} {part}": partial(self.request, *part.split(), may_end=may_end)
                for place, part in enumerate(plan)
            },
            switches=switches,
        )
        self.schedule = Schedule([])
        self.check(ended=may_end)

    def check(self, *, ended: bool) -> None:
        assert self.problems == []
        values = [
            entry.value
            for store in (self.x, self.y)
            for entry in store.server.entries.values()
            if entry.value not in (b"", LEAVING)
        ]
        assert not any(is_leaving(value) for value in values)
        assert len(values) == (0 if ended else 1)
        for moving in self.moving.values():
            found = moving.open(self.cookie_value)
            assert (found is None) == ended
            assert found is None or found.data == {"n": self.counted}


PARTS = ("A counts", "B counts", "A logout", "B logout")


@pytest.mark.parametrize("leaving", [False, True])
@pytest.mark.parametrize("plan", [*itertools.combinations_with_replacement(PARTS, 2)], ids=str)
def test_every_order_of_two_requests(plan: tuple[str, ...], leaving: bool) -> None:
    """Increments add up, a logout is final, and the session is in one store in the end.

    Two requests, with two changes from one to the other where both could go on; with
    ``leaving``, a process was killed before in the middle of a move.
    """
    for schedule in schedules(5000):
        world = World()
        if leaving:
            found = world.y.open(world.cookie_value)
            assert found is not None
            world.y.leave(found)
        world.run(schedule, plan, switches=2)


@pytest.mark.parametrize("seed", range(6))
def test_some_orders_of_several_requests(seed: int) -> None:
    """As above, at random: three or four requests, between the commands to the servers too."""
    made = random.Random(seed)
    for _ in range(25):
        plan = tuple(made.choice(PARTS) for _ in range(made.choice([3, 4])))
        world = World(by_command=made.random() < 0.5)
        if made.random() < 0.5:
            found = world.y.open(world.cookie_value)
            assert found is not None
            world.y.leave(found)
        sticks = made.choice([0.5, 0.7, 0.9])
        choices = [0 if made.random() < sticks else made.randrange(4) for _ in range(600)]
        world.run(Schedule(choices), plan, switches=1000)


# Processes that are killed, and outages.


class Killed(BaseException):
    """A process is not there any more."""


class Fails:
    """Raises at a call to one of the stores, before it or after it."""

    def __init__(self, error: BaseException, at: int, *, after: bool) -> None:
        self.error, self.at, self.after = error, at, after
        self.calls = 0

    def watch(self, store: SessionStore) -> SessionStore:
        for name in OPERATIONS:
            setattr(store, name, partial(self._call, getattr(store, name)))
        return store

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls != self.at:
            return function(*args, **kwargs)
        if self.after:
            function(*args, **kwargs)
        raise self.error


Kind = Literal["counts", "login", "logout"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", ["counts", "logout"])
@pytest.mark.parametrize("error", [Killed, StoreUnavailable])
def test_a_process_that_ends_at_any_call_loses_nothing(
    tmp_path: Path, error: type[BaseException], kind: Kind, after: bool
) -> None:
    """The session is there once, as it was or as it should be; the request can be repeated."""
    for at in range(1, 20):
        places_ = (tmp_path / f"new{at}", tmp_path / f"former{at}")
        cookie_value = begin(disk(places_[1]), put("n", 0))
        fails = Fails(error("here"), at, after=after)
        moving = MovingStore(*(fails.watch(disk(place)) for place in places_))
        what = invalidate if kind == "logout" else increment("n")
        try:
            Request(moving, cookie_value).answer(what)
        except error:
            pass
        else:
            assert fails.calls < at
            assert at > 5
            break
        moving.close()
        new, former = (disk(place) for place in places_)
        for fresh in (MovingStore(new, former), MovingStore(former, new)):
            found = fresh.open(cookie_value)
            if kind == "logout":
                if found is not None:
                    Request(fresh, cookie_value).answer(invalidate)
                assert fresh.open(cookie_value) is None
                continue
            assert found is not None
            assert found.data["n"] in (0, 1)
            seen = found.data["n"]
            Request(fresh, cookie_value).commit(increment("n"))
            assert content(fresh, cookie_value) == ({"n": seen + 1}, {})
            live = [store.open(cookie_value) for store in (new, former)]
            assert len([one for one in live if one is not None]) == 1
            Request(fresh, cookie_value).commit(put("n", seen))
        Request(MovingStore(new, former), cookie_value).answer(invalidate) if (
            kind == "counts"
        ) else None
        assert places(new, former, cookie_value) == []
        new.close()
        former.close()
    else:
        pytest.fail("it has never been through")


def test_a_commit_after_an_outage_is_made_once(pair: Pair) -> None:
    """The same request commits again when the stores are back, and counts once."""
    for at in range(1, 8):
        store, former = pair
        cookie_value = begin(former, put("n", 0))
        fails = Fails(StoreUnavailable("down"), 0, after=False)
        moving = MovingStore(store, former)
        request = Request(moving, cookie_value)
        originals = {(each, name): getattr(each, name) for each in pair for name in OPERATIONS}
        for each in pair:
            fails.watch(each)
        fails.at = at
        try:
            result = request.answer(increment("n"))
        except StoreUnavailable:
            result = request.answer()
        for (each, name), original in originals.items():
            setattr(each, name, original)
        assert result.outcome == "stored"
        assert content(moving, cookie_value) == ({"n": 1}, {})


def test_an_outage_of_either_store_is_told(tmp_path: Path) -> None:
    """A session that may be in the store that cannot be reached is not absent."""
    new, former = DictStore(), DictStore()
    moving = MovingStore(new, former)
    cookie_value = begin(former)
    request = Request(moving, cookie_value)
    for server in (former.server, new.server):
        server.down = True
        for operation in (
            lambda: moving.open(cookie_value),
            lambda: request.answer(put("b", 2)),
            lambda: moving.touch(cookie_value),
            lambda: moving.destroy(cookie_value),
        ):
            with pytest.raises(StoreUnavailable):
                operation()
        server.down = False
    request.commit()
    assert content(moving, cookie_value) == ({"a": 1, "b": 2}, {})
    former.server.down = True
    assert content(moving, cookie_value) == ({"a": 1, "b": 2}, {})  # it has moved


def test_a_request_that_is_slow_brings_nothing_back(pair: Pair) -> None:
    """It has found a session leaving, which moved on, was written, or ended meanwhile."""
    store, former = pair
    moving, back = MovingStore(store, former), MovingStore(former, store)
    for end in ("written", "moved back", "other id", "logout", "logout after moving back"):
        cookie_value = begin(former, put("n", 0))
        found = former.open(cookie_value)
        assert found is not None
        left = former.leave(found)
        assert left is not None
        now = Request(moving, cookie_value).commit(increment("n"))
        if "back" in end:
            now = Request(back, now).commit(increment("n"))
        if end == "other id":
            now = Request(moving, now).commit(regenerate)
        if "logout" in end:
            Request(moving, now).commit(invalidate)
        assert store.adopt(left) is False
        former.forget_left(left)
        where = places(store, former, now)
        assert len(where) == (0 if "logout" in end else 1)
        if end == "other id":
            assert moving.open(cookie_value) is None


def test_what_a_killed_process_left_behind_ends_with_the_session(pair: Pair, clock: Clock) -> None:
    """Its old store may still have it leaving; after a logout it does not come from there."""
    store, former = pair
    moving = MovingStore(store, former)
    cookie_value = begin(former)
    found = former.open(cookie_value)
    assert found is not None
    left = former.leave(found)
    assert left is not None
    assert store.adopt(left) is True
    moved = Request(moving, cookie_value).commit(regenerate, put("b", 2))
    Request(moving, moved).commit(invalidate)
    clock.advance(599)
    store.gc()
    assert moving.open(moved) is None
    assert places(store, former, cookie_value) == []
    assert places(store, former, moved) == []


def test_a_tampered_row_does_not_leave(tmp_path: Path) -> None:
    """A row whose checksum is wrong is unreadable, and no session, also while it is leaving."""
    store = disk(tmp_path)
    cookie_value = begin(store)
    found = store.open(cookie_value)
    assert found is not None
    store.leave(found)
    with sqlite3.connect(store.directory / "cache.db") as connection:
        connection.execute("UPDATE Cache SET value = replace(value, '1', '2')")
        connection.execute("UPDATE Cache SET value = CAST(value AS BLOB)")
    connection.close()
    assert store.find(cookie_value) == (None, False)
    assert MovingStore(DictStore(), store).open(cookie_value) is None


# Other kinds of stores.


def test_sessions_move_out_of_cookies(tmp_path: Path) -> None:
    """Once, however often the cookie comes; after a logout a copy of it is of no use."""
    former, new = CookieStore(lifetime=LIFETIME), disk(tmp_path)
    moving = MovingStore(new, former)
    cookie_value = begin(former, put("n", 0), flash("x", 1))
    requests = [Request(moving, cookie_value) for _ in range(3)]
    answers = [request.answer(increment("n")) for request in requests]
    session_id = answers[0].cookie_value
    assert {answer.cookie_value for answer in answers} == {session_id}
    assert content(new, session_id) == ({"n": 3}, {})
    late = Request(moving, cookie_value)
    assert late.commit(increment("n")) == session_id
    other = Request(moving, session_id).commit(regenerate)
    assert moving.open(cookie_value) is None
    assert moving.has_moved(cookie_value) is True
    Request(moving, other).commit(invalidate)
    assert moving.open(cookie_value) is None
    assert late.answer(put("late", 1)) is CommitResult.GONE
    assert moving.gc() == 0


@pytest.mark.parametrize("end", ["logout", "destroy", "expiry"])
def test_a_copied_cookie_is_of_no_use_after_the_end(tmp_path: Path, clock: Clock, end: str) -> None:
    """For as long as the cookie could be used, also past the absolute timeout of the store."""
    former = CookieStore(lifetime=LIFETIME, absolute_lifetime=100 * ABSOLUTE)
    new = DiskStore(tmp_path, lifetime=LIFETIME, absolute_lifetime=LIFETIME)
    moving = MovingStore(new, former)
    cookie_value = begin(former, put("n", 0), expire_after(3 * ABSOLUTE))
    if end == "destroy":
        moving.destroy(cookie_value)
    else:
        session_id = Request(moving, cookie_value).commit(expire_after(60.0))
        if end == "logout":
            Request(moving, session_id).commit(invalidate)
    for passed in (61.0, ABSOLUTE, 2 * ABSOLUTE - 100):
        clock.advance(passed)
        moving.gc()
        assert moving.open(cookie_value) is None


def test_a_process_that_ends_while_a_cookie_is_moved_loses_nothing(tmp_path: Path) -> None:
    """The cookie comes again, and leads to the session, once; and not after a logout."""
    for at, after in itertools.product(range(1, 12), (False, True)):
        former, new = CookieStore(lifetime=LIFETIME), disk(tmp_path / f"{at}{after}")
        cookie_value = begin(former, put("n", 0))
        fails = Fails(Killed(), at, after=after)
        moving = MovingStore(fails.watch(new), former)
        try:
            Request(moving, cookie_value).commit(increment("n"))
        except Killed:
            new.close()
        fresh = MovingStore(disk(tmp_path / f"{at}{after}"), former)
        session_id = Request(fresh, cookie_value).commit(increment("n"))
        found = fresh.open(session_id)
        assert found is not None
        assert found.data["n"] in (1, 2)
        other = Request(fresh, session_id).commit(regenerate)
        Request(fresh, other).commit(invalidate)
        assert fresh.open(cookie_value) is None
        fresh.close()


def test_sessions_move_into_and_out_of_five_functions(tmp_path: Path) -> None:
    """With what such a store can keep, in both directions."""
    memory, stored = InMemory().store(), disk(tmp_path)
    there, back = MovingStore(memory, stored), MovingStore(stored, memory)
    cookie_value = begin(stored, put("n", 0), flash("x", 1))
    cookie_value = Request(stored, cookie_value).commit(regenerate)  # its name has a number now
    for number in range(1, 4):
        moved = Request(there, cookie_value).commit(increment("n"))
        assert there.open(cookie_value) is not None
        assert stored.open(cookie_value) is None
        cookie_value = Request(back, moved).commit(increment("n"))
        assert memory.open(moved) is None
        assert content(back, cookie_value) == ({"n": 2 * number}, {})
    Request(there, cookie_value).commit(invalidate)
    assert back.open(cookie_value) is None
    assert there.open(cookie_value) is None


def foreign(
    sessions: dict[str, dict[str, Any]], *, removed: list[str] | None = None
) -> ForeignSessions:
    def destroy(value: str) -> None:
        assert removed is not None
        removed.append(value)
        sessions.pop(value, None)

    return ForeignSessions(
        "theirs", sessions.get, None if removed is None else destroy, lifetime=LIFETIME
    )


def test_foreign_sessions_move_once(tmp_path: Path) -> None:
    """Five requests at once have one session, and the framework's is removed."""
    removed: list[str] = []
    sessions: dict[str, dict[str, Any]] = {"v": {"user": 7}}
    moving = MovingStore(disk(tmp_path), foreign(sessions, removed=removed))
    requests = [Request(moving, "~v") for _ in range(5)]
    names = {request.commit(increment("n")) for request in requests}
    assert len(names) == 1
    assert content(moving, names.pop()) == ({"user": 7, "n": 5}, {})
    assert set(removed) == {"v"}
    assert content(moving, "~v") == ({"user": 7, "n": 5}, {})  # the browser may still send it
    assert moving.touch("~v") is True
    assert moving.open("~w") is None
    assert moving.touch("~w") is False


@pytest.mark.parametrize("removed", [None, []])
def test_a_foreign_cookie_is_of_no_use_after_a_logout(
    tmp_path: Path, clock: Clock, removed: list[str] | None
) -> None:
    """Whether the framework keeps its sessions on the server, or in the cookie."""
    sessions: dict[str, dict[str, Any]] = {"v": {"user": 7}}
    moving = MovingStore(disk(tmp_path), foreign(sessions, removed=removed))
    late = Request(moving, "~v")
    Request(moving, "~v").commit(invalidate)
    assert late.answer(put("late", 1)) is CommitResult.GONE
    for passed in (0, LIFETIME - 1):
        clock.advance(passed)
        moving.gc()
        assert moving.open("~v") is None


def test_foreign_sessions_tell_of_outages_and_of_what_json_cannot_hold(tmp_path: Path) -> None:
    """An OSError is StoreUnavailable; a value that is no JSON is an error of the function's."""

    def fail(_: str) -> Any:
        raise ConnectionError("refused")

    broken = MovingStore(disk(tmp_path), ForeignSessions("theirs", fail))
    with pytest.raises(StoreUnavailable) as error:
        broken.open("~v")
    assert isinstance(error.value.__cause__, ConnectionError)
    with pytest.raises(TypeError):
        foreign({"v": {"a": object()}}).open("~v")
    nothing = foreign({})
    assert nothing.commit(Changes(None, "x", edits={"a": 1})) is CommitResult.GONE
    assert nothing.gc() == 0


def test_the_settings_make_one(tmp_path: Path) -> None:
    """move_from names the former store; nothing is moved into cookies."""
    config = SessionConfig(disk_directory=tmp_path, move_from="cookie", lifetime=LIFETIME)
    store = config.make_store()
    assert isinstance(store, MovingStore)
    assert (store.kind, store.former_kinds, store.lifetime) == ("disk", ("cookie",), LIFETIME)
    with pytest.raises(ConfigError, match="on the server"):
        MovingStore(CookieStore(), store)


def test_it_costs_what_the_new_store_costs_once_a_session_has_moved() -> None:
    """An open and a commit, and one more operation on the former store at a logout."""
    new, former = DictStore(), DictStore()
    moving = MovingStore(new, former)
    cookie_value = begin(former)
    Request(moving, cookie_value).commit(put("b", 2))
    for transitions, more in (((put("c", 3),), 0), ((invalidate,), 1)):
        new.server.commands.clear()
        former.server.commands.clear()
        Request(moving, cookie_value).answer(*transitions)
        assert [type(command).__name__ for command in new.server.commands] == ["Read", "Swap"]
        assert len(former.server.commands) == more


def test_both_are_collected(tmp_path: Path, clock: Clock) -> None:
    """The former store too, unless it removes what has expired by itself."""
    new, former = disk(tmp_path / "new"), disk(tmp_path / "former")
    moving = MovingStore(new, former)
    begin(former)
    begin(moving)
    clock.advance(LIFETIME + 6 * 3600)
    assert moving.claim_gc(60.0) == 0.0
    assert moving.gc() == 2
