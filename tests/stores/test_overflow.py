"""OverflowStore: sessions that do not fit into their cookie, and come back."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

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
from glimr_session._request.cookie import SessionCookie
from glimr_session._request.origin import Origin
from glimr_session._request.signing import CookieSigner
from glimr_session._session.state import SessionState
from glimr_session.stores._spilled import room_in_cookie
from glimr_session.stores.moving import MovingStore
from glimr_session.stores.overflow import OverflowStore
from glimr_session.testing import Visit, Visitor
from glimr_session.testing.contract import (
    ABSOLUTE,
    LIFETIME,
    Clock,
    Request,
    StoreContract,
    Transition,
    begin,
    content,
    expire_after,
    flash,
    forget,
    increment,
    invalidate,
    put,
    regenerate,
)
from tests.stores.test_server import DictServer, DictStore
from tests.support.memory import InMemory
from tests.support.schedules import Schedule, schedules

LARGE = "x" * 5000
KEY = "oUv7 - 32 characters, made at random"


def disk(path: Path) -> DiskStore:
    return DiskStore(path, lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)


def cookies() -> CookieStore:
    return CookieStore(lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)


def place(cookie_value: str) -> str:
    """Return where a session is, as its cookie value, or the Cookie header, says."""
    prefix, colon, _ = cookie_value.removeprefix("glimr_session=").partition(":")
    return prefix if colon else "cookie"


def rows(server: SessionStore) -> int:
    """Return how many sessions can be opened on the server."""
    return sum(not server.find(info.handle)[1] for info in server.all_sessions())


class TestOverflowStore(StoreContract):
    """The contract, where most sessions fit: their cookies are those of the cookie store."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SessionStore]:
        store = OverflowStore(cookies(), disk(tmp_path / "sessions"))
        yield store
        store.close()

    def test_an_outage_is_not_absence(self, store: SessionStore, broken: SessionStore) -> None:
        """A session in its cookie needs no server, and one on the server is not absent."""
        cookie_value = begin(store)
        assert content(broken, cookie_value) == ({"a": 1}, {})
        for operation in (
            lambda: broken.open(f"spilled:{generate_id()}"),
            lambda: broken.commit(Request(broken, cookie_value).state.changes._replace(
                edits={"text": LARGE}
            )),
            lambda: broken.destroy(cookie_value),
            broken.gc,
        ):  # fmt: skip
            with pytest.raises(StoreUnavailable):
                operation()

    def test_an_event_loop_is_told_of_an_outage(
        self, store: SessionStore, broken: SessionStore
    ) -> None:
        """Likewise."""
        assert asyncio.run(broken.aopen(begin(store))) is not None
        with pytest.raises(StoreUnavailable):
            asyncio.run(broken.aopen(f"spilled:{generate_id()}"))

    @pytest.fixture
    def broken(self, store: OverflowStore) -> SessionStore:
        server = store._server
        assert isinstance(server, DiskStore)
        with sqlite3.connect(server.directory / "cache.db") as connection:
            connection.execute("DROP TABLE Cache")
        connection.close()
        return store


class Spilling(OverflowStore):
    """Keeps every session on the server, and so promises what the server does."""

    server_side = True
    atomic = True

    def __init__(self, server: SessionStore) -> None:
        super().__init__(cookies(), server, limit=0)
        self.server_side = True  # type: ignore[misc]


class TestSpilled(StoreContract):
    """The contract, where nothing fits: a spilled session is as safe as one on the server."""

    @pytest.fixture
    def store(self) -> SessionStore:
        return Spilling(DictStore())

    @pytest.fixture
    def broken(self, store: OverflowStore) -> SessionStore:
        server = store._server
        assert isinstance(server, DictStore)
        server.server.down = True
        return store


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock(float(int(time.time())))
    monkeypatch.setattr(time, "time", stopped)
    return stopped


@pytest.fixture
def server() -> DictStore:
    return DictStore()


@pytest.fixture
def store(server: DictStore) -> OverflowStore:
    return OverflowStore(cookies(), server)


def test_a_session_goes_to_the_server_and_comes_back_as_it_was(
    store: OverflowStore, server: DictStore, clock: Clock
) -> None:
    """Its id, times, own lifetime and flash are the same in both places."""
    cookie_value = begin(store, put("a", 1), expire_after(5000.0))
    begun = store.open(cookie_value)
    assert begun is not None
    for edit, expected in (
        (put("text", LARGE), "spilled"),
        (put("text", LARGE + "y"), "spilled"),
        (forget("text"), "returning"),
        (put("b", 2), "cookie"),
        (put("text", LARGE), "spilled"),
        (forget("text"), "returning"),
        (put("text", LARGE), "spilled"),
        (forget("text"), "returning"),
        (put("b", 3), "cookie"),
    ):
        clock.advance(10)
        request = Request(store, cookie_value)
        cookie_value = request.commit(edit, flash("x", str(edit)))
        assert place(cookie_value) == expected
        assert rows(server) == (expected != "cookie")
        found = store.open(cookie_value)
        assert found is not None
        assert (found.id, found.created_at) == (begun.id, begun.created_at)
        assert (found.last_used_at, found.lifetime) == (clock.now, 5000.0)
        assert (found.data, found.flash) == (request.state.data, {"x": str(edit)})


def test_the_cookies_of_the_cookie_store_go_on(store: OverflowStore) -> None:
    """When the setting is turned on; when it is turned off, spilled sessions are unknown."""
    plain = cookies()
    cookie_value = begin(plain)
    assert content(store, cookie_value) == ({"a": 1}, {})
    small = Request(store, cookie_value).commit(put("b", 2))
    spilled = Request(store, cookie_value).commit(put("text", LARGE))
    returning = Request(store, spilled).commit(forget("text"))
    assert content(plain, small) == ({"a": 1, "b": 2}, {})
    assert plain.open(spilled) is None
    assert plain.open(returning) is None
    assert store.kind == plain.kind


def test_spilled_requests_are_merged(store: OverflowStore) -> None:
    """Also those of which one makes the session fit again."""
    cookie_value = begin(store, put("text", LARGE), put("n", 0))
    one, other = Request(store, cookie_value), Request(store, cookie_value)
    slow = Request(store, cookie_value)
    one.commit(forget("text"), increment("n"))
    back = other.commit(increment("n"))
    assert slow.commit(increment("n"))
    assert content(store, back) == ({"n": 3}, {})


def test_a_response_that_is_lost_takes_no_session_along(store: OverflowStore, clock: Clock) -> None:
    """Whichever of those that bring it back: the cookie from before is good, for as long."""
    cookie_value = begin(store, put("text", LARGE))
    returning = Request(store, cookie_value).commit(forget("text"), put("n", 1))
    assert content(store, cookie_value) == ({"n": 1}, {})
    assert place(Request(store, returning).commit(put("n", 2))) == "cookie"
    clock.advance(LIFETIME - 1)
    assert content(store, returning) == ({"n": 2}, {})
    request = Request(store, returning)
    for number in (3, 4):
        cookie_value = request.commit(put("n", number))
        request.state.take_changes()
        assert place(cookie_value) == "cookie"
        assert content(store, cookie_value) == ({"n": number}, {})


def test_it_does_not_return_while_another_cookie_may_be_on_its_way(store: OverflowStore) -> None:
    """That of a request which has committed since the one that the browser has sent."""
    cookie_value = begin(store, put("text", LARGE))
    returning = Request(store, cookie_value).commit(forget("text"))
    overtaken = Request(store, cookie_value).commit(put("n", 1))
    latest = Request(store, returning).commit(put("m", 1))
    assert place(latest) == "returning"
    for one in (cookie_value, returning, overtaken, latest):
        assert content(store, one) == ({"n": 1, "m": 1}, {})
    assert place(Request(store, latest).commit(put("m", 2))) == "cookie"


def test_a_late_request_brings_no_stale_session_back() -> None:
    """One that comes with the cookie from before its return is anonymous, and is sent none."""
    store = OverflowStore(cookies(), DictStore())
    with Visitor(store) as visitor:
        first = visitor.request()
        first.session.put("text", LARGE)
        first.respond()
        late = [visitor.request() for _ in range(3)]
        late[0].open()
        for _ in range(2):
            visit = visitor.request()
            visit.session.forget("text")
            visit.session.increment("n")
            visit.respond()
        cookie = visitor.cookie
        assert place(cookie) == "cookie"
        late[0].session.put("late", 1)
        assert late[1].session.all() == {}
        late[2].session.put("late", 2)
        assert [visit.respond() for visit in late] == [None, None, None]
        assert visitor.cookie == cookie
        assert visitor.request().session.all() == {"n": 2}


@pytest.mark.parametrize("login", [regenerate, invalidate])
def test_a_login_or_a_logout_beside_the_return_counts(
    store: OverflowStore, login: Transition
) -> None:
    """It ends what it has opened, and keeps what it has written itself."""
    cookie_value = begin(store, put("text", LARGE))
    returning = Request(store, cookie_value).commit(forget("text"))
    late, empty = Request(store, returning), Request(store, cookie_value)
    Request(store, returning).commit(put("n", 1))
    lost = Request(store, returning)
    answer = late.answer(login, put("user", 7))
    assert content(store, answer.cookie_value) == ({"user": 7}, {})
    assert store.has_moved(cookie_value) is True
    expected = CommitResult.EMPTY if login is invalidate else CommitResult.GONE
    assert empty.answer(login).outcome in ("gone", expected.outcome)
    if login is invalidate:
        assert store.open(returning) is None
        assert lost.answer(put("n", 2)) is CommitResult.GONE


def test_a_logout_ends_a_session_that_has_returned(store: OverflowStore) -> None:
    """Late requests that come with cookies from before open nothing, and bring nothing back."""
    spilled = begin(store, put("text", LARGE))
    returning = Request(store, spilled).commit(forget("text"))
    cookie_value = Request(store, returning).commit(put("n", 1))
    slow = [Request(store, returning), Request(store, returning)]
    assert Request(store, cookie_value).commit(invalidate) == ""
    assert [store.open(old) for old in (spilled, returning)] == [None, None]
    assert slow[0].answer(put("late", 1)) is CommitResult.GONE
    assert slow[1].answer(regenerate, put("late", 1)) is CommitResult.GONE


def test_a_logout_ends_what_other_cookies_have_left_on_the_server(
    store: OverflowStore, server: DictStore
) -> None:
    """Of two requests one spilled the session, and the browser has the other one's cookie."""
    cookie_value = begin(store)
    spilled = Request(store, cookie_value).commit(put("text", LARGE))
    slow = Request(store, spilled)
    small = Request(store, cookie_value).commit(put("b", 2))
    assert Request(store, small).commit(invalidate) == ""
    assert store.open(spilled) is None
    assert slow.answer(put("b", 3)) is CommitResult.GONE
    assert rows(server) == 0
    spilled = Request(store, cookie_value).commit(put("text", LARGE))
    store.destroy(small)
    assert store.open(spilled) is None


class KeylessServer(DictServer):
    """A server that finds entries by their numbers alone, as Redis does."""

    def _with_key(self, key: bytes) -> None:
        return None


@pytest.mark.parametrize("end", ["logout", "destroy", "logout after a second spill"])
@pytest.mark.parametrize("lost", [False, True], ids=["", "lost"])
def test_a_logout_ends_what_a_login_has_moved(end: str, lost: bool) -> None:
    """Where the server finds nothing by its id alone: older cookies open nothing."""
    server = DictStore()
    server.server, server.finds_by_id = KeylessServer(), False  # type: ignore[misc]
    store = OverflowStore(cookies(), server)
    spilled = Request(store, begin(store, put("text", LARGE))).commit(regenerate)
    returning = Request(store, spilled).commit(forget("text"), put("n", 1))
    cookie_value = Request(store, returning).commit(put("n", 2))
    assert (place(returning), place(cookie_value)) == ("returning", "cookie")
    assert content(store, returning) == ({"n": 2}, {})
    assert store.has_moved(spilled) is True
    if lost:
        cookie_value = Request(store, returning).commit(put("n", 3))
        assert place(cookie_value) == "cookie"
    if end == "logout after a second spill":
        cookie_value = Request(store, cookie_value).commit(put("text", LARGE))
        assert place(cookie_value) == "spilled"
    slow = Request(store, returning)
    if end == "destroy":
        store.destroy(cookie_value)
    else:
        assert Request(store, cookie_value).commit(invalidate) == ""
    assert [store.open(old) for old in (spilled, returning)] == [None, None]
    assert slow.answer(put("late", 1)) is CommitResult.GONE
    assert [entry.value for entry in server.server.entries.values() if len(entry.value) > 1] == []


def test_the_later_one_of_two_that_spill_wins_whole(store: OverflowStore) -> None:
    """As in a cookie; and a logout of either ends it."""
    cookie_value = begin(store)
    one, other = Request(store, cookie_value), Request(store, cookie_value)
    first = one.commit(put("text", LARGE), flash("x", 1))
    logout = Request(store, first)
    second = other.commit(put("other", LARGE), flash("y", 1))
    assert content(store, second) == ({"a": 1, "other": LARGE}, {"y": 1})
    assert logout.commit(invalidate) == ""
    assert store.open(second) is None


def test_a_session_about_as_large_as_its_cookie_does_not_come_and_go(
    store: OverflowStore, server: DictStore
) -> None:
    """It comes back when a quarter of the cookie is free."""
    limit = room_in_cookie("glimr_session")
    cookie_value = begin(store, put("text", "x" * limit))
    for part, expected in ((0.7, "spilled"), (0.6, "spilled"), (0.4, "returning")):
        cookie_value = Request(store, cookie_value).commit(put("text", "x" * int(part * limit)))
        assert place(cookie_value) == expected


def test_a_request_commits_again_after_it_has_spilled_or_returned(store: OverflowStore) -> None:
    """What it goes on to write is there, wherever the session is by then."""
    request = Request(store, None)
    for edit, expected in (
        (put("text", LARGE), {"text": LARGE}),
        (forget("text"), {}),
        (put("n", 1), {"n": 1}),
    ):
        cookie_value = request.commit(edit)
        request.state.take_changes()
        assert content(store, cookie_value) == (expected, {})
    cookie_value = begin(store, put("text", LARGE))
    request = Request(store, Request(store, cookie_value).commit(forget("text")))
    for edit, there in (
        (put("n", 1), {"n": 1}),
        (put("text", LARGE), {"n": 1, "text": LARGE}),
        (put("m", 1), {"n": 1, "text": LARGE, "m": 1}),
    ):
        cookie_value = request.commit(edit)
        request.state.take_changes()
        assert content(store, cookie_value) == (there, {})


def test_an_old_cookie_does_not_spill_a_session_that_a_login_has_ended(
    store: OverflowStore,
) -> None:
    """The server remembers for a while that it was ended."""
    cookie_value = begin(store)
    slow = Request(store, cookie_value)
    spilled = Request(store, cookie_value).commit(put("text", LARGE))
    assert Request(store, spilled).commit(invalidate, put("user", 7))
    assert slow.answer(put("text", LARGE)) is CommitResult.GONE


def test_without_waiting_nothing_is_moved(store: OverflowStore) -> None:
    """A session in its cookie waits to be spilled, and one on the server stays there."""
    cookie_value = begin(store)
    large = Request(store, cookie_value)
    assert large.answer(put("text", LARGE), wait=False) is CommitResult.BUSY
    spilled = large.commit()
    answer = Request(store, spilled).answer(forget("text"), wait=False)
    assert answer.cookie_value == spilled
    assert Request(store, None).answer(put("text", LARGE), wait=False).outcome == "stored"


def test_event_loops_spill_sessions(store: OverflowStore) -> None:
    """And bring them back; one that stays in its cookie uses no thread."""

    async def request(cookie_value: str, **edits: str) -> str:
        found = await store.aopen(cookie_value)
        state = SessionState.new(generate_id()) if found is None else SessionState.opened(found)
        state.edit("text", edits["text"])
        return (await store.acommit(state.changes)).cookie_value

    async def use() -> list[str]:
        values = [""]
        for text in ("x", LARGE, "y", "z"):
            values.append(await request(values[-1], text=text))
        assert await store.atouch(values[2]) is False
        assert await store.ahas_moved(values[2]) is True
        assert await store.ahas_moved(values[1]) is False
        return values

    values = asyncio.run(use())
    assert [*map(place, values)] == ["cookie", "cookie", "spilled", "returning", "cookie"]
    assert content(store, values[-1]) == ({"text": "z"}, {})


def test_the_functions_of_the_reference_spill(store: OverflowStore, server: DictStore) -> None:
    """``save`` keeps on the server what does not fit, and ``cookie_value`` names it."""
    session_id = generate_id()
    for data, expected in (({"text": LARGE}, 1), ({"a": 1}, 0)):
        store.save(session_id, data, {"x": 1})  # type: ignore[arg-type]
        cookie_value = store.cookie_value(session_id, data, {"x": 1})  # type: ignore[arg-type]
        assert store.load(cookie_value) == (data, {"x": 1})
        assert rows(server) == expected
    assert store.load(session_id) == ({}, {})


@pytest.mark.parametrize(
    "cookie",
    [
        {"name": "s"},
        {
            "name": "__Secure-a-rather-long-name", "path": "/shop/and/more", "partitioned": True,
            "domain": "shop.example.org", "samesite": "Strict", "secure": True,
        },
        {"name": "s", "samesite": "None", "secure": True, "on_close": True},
    ],
    ids=["short", "long", "none"],
)  # fmt: skip
def test_a_cookie_is_never_too_large(cookie: dict[str, object]) -> None:
    """Whatever its attributes and the session's own lifetime: the limit leaves room for them."""
    used = {key: value for key, value in cookie.items() if key in ("path", "domain", "samesite")}
    limit = room_in_cookie(str(cookie["name"]), **used)  # type: ignore[arg-type]
    signer = CookieSigner([KEY], "salt")
    session_cookie = SessionCookie(signer, lifetime=600.0, **cookie)  # type: ignore[arg-type]
    header = session_cookie.set("x" * limit, Origin(https=True), lifetime=1e15, on_close=False)
    assert 3900 < len(header) <= 4096


def test_no_size_is_refused(store: OverflowStore) -> None:
    """Sessions of every size about the limit reach the browser, one way or the other."""
    places = set[str]()
    with Visitor(store) as visitor:
        for size in range(2600, 3000, 10):
            for key, value in (("text", "x" * size), ("seen", size)):
                visit = visitor.request()
                visit.session.put(key, value)
                visit.respond()
                places.add(place(visitor.cookie))
            assert len(visitor.request().session.all()["text"]) == size
    assert places == {"cookie", "spilled"}


def test_the_configuration_makes_one_store_of_the_two(tmp_path: Path) -> None:
    """``[cookie] overflow`` names the server's store; one that is not atomic is refused."""
    settings = {"store": "cookie", "cookie": {"overflow": "disk"}, "secret_keys": [KEY]}
    store = SessionConfig.from_mapping(settings | {"disk_directory": str(tmp_path)}).make_store()
    assert place(begin(store, put("text", LARGE))) == "spilled"
    store.close()
    with pytest.raises(ConfigError, match="cookie_overflow"):
        OverflowStore(cookies(), InMemory().store())
    with pytest.raises(ConfigError, match="cookie_overflow"):
        OverflowStore(DictStore(), DictStore())


def test_spilled_sessions_are_moved_to_a_store(server: DictStore) -> None:
    """Also to the one that they spilled into; late requests with their cookies find them."""
    store = OverflowStore(cookies(), server)
    spilled = begin(store, put("text", LARGE))
    small = begin(store)
    moving = MovingStore(server, store)
    for cookie_value, expected in ((spilled, {"text": LARGE}), (small, {"a": 1})):
        late = Request(moving, cookie_value)
        moved = Request(moving, cookie_value).commit(put("n", 1))
        assert content(server, moved) == ({**expected, "n": 1}, {})
        late.commit(put("late", 1))
        assert content(moving, cookie_value) == ({**expected, "n": 1, "late": 1}, {})
        Request(moving, moved).commit(invalidate)
        assert moving.open(cookie_value) is None


PARTS = ("small", "large", "reads", "logout")


def change(name: str, part: str) -> list[Transition]:
    changes: dict[str, list[Transition]] = {
        "small": [forget("text"), put(name, 1)],
        "large": [put("text", LARGE), put(name, 1)],
        "logout": [invalidate],
    }
    return changes.get(part, [])


@pytest.mark.parametrize("begun", ["spilled", "returning", "returning, by number"])
@pytest.mark.parametrize("plan", [*combinations_with_replacement(PARTS, 2)], ids=str)
def test_every_order_of_two_requests(plan: tuple[str, str], begun: str) -> None:
    """Whichever response comes last, its cookie is good; and no cookie is after a logout."""
    for schedule in schedules(2000):
        server = DictStore()
        store = OverflowStore(cookies(), server)
        cookie_value = begin(store, put("text", LARGE))
        if begun == "returning, by number":
            server.server, server.finds_by_id = KeylessServer(), False  # type: ignore[misc]
            store = OverflowStore(cookies(), server)
            cookie_value = Request(store, begin(store, put("text", LARGE))).commit(regenerate)
        if begun != "spilled":
            cookie_value = Request(store, cookie_value).commit(forget("text"))
        requests = {name: Request(store, cookie_value) for name in "AB"}
        answers: dict[str, CommitResult] = {}

        def commit(name: str, part: str) -> None:
            answers[name] = requests[name].answer(*change(name, part))  # noqa: B023  # run here

        steps = ["commit", "find", "leave", "adopt", "destroy", "forget_left"]
        if begun != "returning, by number":  # it takes more steps; a version is compared by leave
            steps.append("open")
        for operation in steps:
            setattr(server, operation, stepping(schedule, getattr(server, operation)))
        schedule.run({"A": partial(commit, "A", plan[0]), "B": partial(commit, "B", plan[1])})
        given = [answer.cookie_value for answer in answers.values() if answer.cookie_value]
        if "logout" in plan:
            there = [one for one in (cookie_value, *given) if place(one) != "cookie"]
            assert [store.open(one) for one in there] == [None] * len(there)
            continue
        for one in given:
            found = store.open(one)
            assert found is not None
            for name, part in zip("AB", plan, strict=True):
                merged = rows(server) or one == answers[name].cookie_value
                if merged and answers[name].outcome == "stored" and part != "reads":
                    assert found.data[name] == 1


def stepping(schedule: Schedule, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that waits for its turn."""

    def step(*args: Any, **kwargs: Any) -> Any:
        schedule.step()
        return function(*args, **kwargs)

    return step


class Browsers(RuleBasedStateMachine):
    """A browser that makes its session large and small, logs in and out, and has slow requests.

    Beside it a dict: what the browser holds. A slow request is one that left the browser while
    the session was on the server; where it comes in between, the dict takes what it may have
    written, and nothing else.
    """

    def __init__(self) -> None:
        super().__init__()
        self.store = OverflowStore(cookies(), DictStore(), limit=600)
        self.visitor = Visitor(self.store)
        self.expected: dict[str, str] = {}
        self.numbers = 0
        self.slow: list[tuple[Visit, int]] = []
        self.logouts = 0
        self.ended: set[str] = set()

    def value(self, size: int) -> str:
        self.numbers += 1
        return f"{self.numbers} " + "x" * size

    def look(self) -> dict[str, str]:
        """Return what a request sees that changes nothing."""
        seen = self.visitor.request().session.all()
        assert self.ended.isdisjoint(seen.values())
        return seen

    @property
    def on_server(self) -> bool:
        return place(self.visitor.cookie) != "cookie"

    @rule(key=st.sampled_from("ab"), size=st.sampled_from([1, 300, 1000, 1000]))
    def puts(self, key: str, size: int) -> None:
        self.expected[key] = self.value(size)
        visit = self.visitor.request()
        visit.session.put(key, self.expected[key])
        visit.respond()

    @rule(key=st.sampled_from("ab"), size=st.sampled_from([1, 1000]))
    def puts_and_loses_the_response(self, key: str, size: int) -> None:
        value = self.value(size)
        visit = self.visitor.request()
        visit.session.put(key, value)
        visit.respond(received=False)
        # It was made all the same on the server, but not in the cookie that was lost.
        where = place(self.visitor.cookie)
        if where == "spilled" or (where == "returning" and self.look().get(key) == value):
            self.expected[key] = value

    @rule(lost=st.booleans())
    def shrinks(self, lost: bool) -> None:
        """Make it small, and let the browser send that it knows."""
        for response_is_lost in (False, lost):
            visit = self.visitor.request()
            for key in "abc":
                visit.session.forget(key)
            visit.session.put("user", "8")
            visit.respond(received=not response_is_lost)
        self.expected = {"user": "8"}

    @rule()
    def logs_in(self) -> None:
        visit = self.visitor.request()
        visit.session.regenerate()
        visit.session.put("user", "7")
        visit.respond()
        self.expected["user"] = "7"

    @rule(goodbye=st.booleans())
    def logs_out(self, goodbye: bool) -> None:
        self.ended |= {value for value in self.expected.values() if len(value) > 1}
        visit = self.visitor.request()
        visit.session.invalidate()
        self.expected.clear()
        if goodbye:
            self.expected["a"] = self.value(1)
            visit.session.put("a", self.expected["a"])
        self.logouts += not goodbye
        visit.respond()
        assert goodbye or self.visitor.cookie == ""

    # With a cookie that returns, a late response wins as in the cookie store: see the decisions.
    @precondition(lambda self: place(self.visitor.cookie) == "spilled" and len(self.slow) < 3)
    @rule(opens=st.booleans())
    def begins_a_slow_request(self, opens: bool) -> None:
        visit = self.visitor.request()
        if opens:
            visit.open()
        self.slow.append((visit, self.logouts))

    @precondition(lambda self: self.slow)
    @rule(size=st.sampled_from([0, 1, 1000]), first=st.booleans())
    def ends_a_slow_request(self, size: int, first: bool) -> None:
        visit, logouts = self.slow.pop(0 if first else -1)
        value = self.value(size)
        if size:
            visit.session.put("c", value)
        before = place(self.visitor.cookie), self.visitor.cookie
        visit.respond()
        if self.visitor.cookie != before[1] or self.on_server:
            seen = self.look()
            if seen == {"c": value} and self.logouts > logouts:
                self.expected = seen  # it was anonymous by then, and has begun a session
            elif seen.get("c") == value:
                self.expected["c"] = value

    @invariant()
    def it_sees_what_the_dict_holds(self) -> None:
        assert self.look() == self.expected

    def teardown(self) -> None:
        self.visitor.__exit__(None, None, None)


def test_browsers_lose_nothing_in_any_order() -> None:
    """No request sees SessionTooLarge, and nobody is logged out, or in again."""
    run_state_machine_as_test(
        Browsers,
        settings=settings(
            max_examples=100, stateful_step_count=20, deadline=None,
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
        ),
    )  # fmt: skip
