"""RevocableStore: sessions in cookies that are ended for an owner, or by a logout."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glimr_session import (
    CommitResult,
    ConfigError,
    CookieStore,
    DiskStore,
    SessionConfig,
    SessionStore,
    SessionTooLarge,
    StoreUnavailable,
)
from glimr_session._ids import generate_id, owner_key
from glimr_session._request.cookie import SessionCookie
from glimr_session._request.origin import Origin
from glimr_session._request.signing import CookieSigner
from glimr_session._request.token import SessionToken
from glimr_session._session.changes import Changes
from glimr_session._session.messages import BelongTo
from glimr_session._session.sealing import Sealer
from glimr_session._session.serialization import Owner, StoredSession
from glimr_session._session.state import SessionState
from glimr_session.stores.base import OF_A_RECORD
from glimr_session.stores.moving import MovingStore
from glimr_session.stores.overflow import OverflowStore
from glimr_session.stores.revocations import RevocableStore
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
    increment,
    invalidate,
    put,
    regenerate,
)
from tests.stores.test_server import DictStore
from tests.support.documents import blocks_of
from tests.support.memory import InMemory

KEY = "oUv7 - 32 characters, made at random"
LARGE = "x" * 5000


def cookies() -> CookieStore:
    return CookieStore(lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)


def belong_to(owner: int | None, since: float | None = None) -> Transition:
    """Give the session to an owner, as ``Session.belongs_to`` does."""
    key = "" if owner is None else owner_key(owner)
    return BelongTo(Owner(key, time.time() if since is None else since)).apply


class TestRevocableStore(StoreContract):
    """The contract: what belongs to nobody is as in the cookie store."""

    @pytest.fixture
    def store(self) -> SessionStore:
        return RevocableStore(cookies(), DictStore())

    @pytest.fixture
    def broken(self, store: RevocableStore) -> SessionStore:
        take_away(store)
        return store

    def test_an_outage_is_not_absence(self, store: SessionStore, broken: SessionStore) -> None:
        """A session that belongs to somebody cannot be used; one of nobody needs no server."""
        cookie_value = begin(store)
        assert content(broken, Request(broken, cookie_value).commit(put("b", 2))) is not None
        owned = begin_elsewhere(belong_to(7))
        found = cookies().open(owned)
        assert found is not None
        operations: list[Callable[[], object]] = [
            lambda: broken.open(owned),
            lambda: broken.load(owned),
            lambda: broken.commit(Changes(found, found.id, edits={"a": 2})),
            lambda: broken.commit(Changes(found, found.id, cleared=True, invalidated=True)),
            lambda: broken.destroy(owned),
            lambda: broken.destroy_all(7),
            lambda: broken.has_moved(owned),
            broken.gc,
        ]
        for operation in operations:
            with pytest.raises(StoreUnavailable):
                operation()

    def test_an_event_loop_is_told_of_an_outage(
        self, store: SessionStore, broken: SessionStore
    ) -> None:
        """Likewise."""
        assert asyncio.run(broken.aopen(begin(store))) is not None
        owned = begin_elsewhere(belong_to(7))
        found = cookies().open(owned)
        with pytest.raises(StoreUnavailable):
            asyncio.run(broken.aopen(owned))
        with pytest.raises(StoreUnavailable):
            asyncio.run(broken.acommit(Changes(found, "id")))


def take_away(store: RevocableStore) -> None:
    server = store._server
    assert isinstance(server, DictStore)
    server.server.down = True


def begin_elsewhere(*transitions: Transition) -> str:
    """Return a cookie of the cookie store, from before the setting was turned on."""
    return begin(cookies(), put("a", 1), *transitions)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock(float(int(time.time())))
    monkeypatch.setattr(time, "time", stopped)
    return stopped


@pytest.fixture(params=["cookie", "overflow", "spilled"])
def store(request: pytest.FixtureRequest) -> RevocableStore:
    """The store on that of the cookies, and on one that keeps no, or all, of them on a server."""
    server = DictStore()
    if request.param == "cookie":
        return RevocableStore(cookies(), server)
    limits = {} if request.param == "overflow" else {"limit": 0}
    return RevocableStore(OverflowStore(cookies(), server, **limits), server)


def test_all_sessions_of_an_owner_end(store: RevocableStore) -> None:
    """Those from before the setting too; those of others, and of nobody, stay."""
    mine = [begin(store, put("a", 1), belong_to(7)) for _ in range(3)]
    mine.append(begin_elsewhere(belong_to(7)))
    others = [begin(store, put("a", 1), belong_to(8)), begin(store)]
    assert store.destroy_all("7") == 0
    assert [store.open(one) for one in mine] == [None] * 4
    assert [content(store, one) for one in others] == [({"a": 1}, {})] * 2


def test_a_request_at_work_does_not_keep_its_session(store: RevocableStore) -> None:
    """Whatever it goes on to do; a logout ends the cookie all the same."""
    cookie_value = begin(store, put("a", 1), belong_to(7))
    late = [Request(store, cookie_value) for _ in range(5)]
    store.destroy_all(7)
    for request, transition in zip(
        late, [put("b", 2), regenerate, belong_to(7), flash("y", 2)], strict=False
    ):
        assert request.answer(transition) is CommitResult.GONE
    assert late[-1].answer(invalidate) is CommitResult.EMPTY
    assert store.touch(cookie_value) is False


@pytest.mark.parametrize("login", [regenerate, invalidate])
def test_a_login_afterwards_is_another_session(
    store: RevocableStore, clock: Clock, login: Transition
) -> None:
    """Also a moment later, by a clock that is hardly ahead, and for as long as it is used."""
    old = begin(store, put("a", 1), belong_to(7))
    store.destroy_all(7)
    clock.advance(0.0001)
    request = Request(store, begin(store, put("a", 1), belong_to(8)))
    cookie_value = request.commit(login, put("b", 2), belong_to(7))
    request.state.take_changes()
    cookie_value = request.commit(increment("n"))
    for _ in range(3):
        cookie_value = Request(store, cookie_value).commit(increment("n"), regenerate)
    assert (content(store, cookie_value) or ({}, {}))[0]["n"] == 4
    store.destroy_all(7)
    assert store.open(cookie_value) is None
    assert store.open(old) is None


def test_a_login_before_is_ended_whatever_the_clocks_say(
    store: RevocableStore, clock: Clock
) -> None:
    """One on a machine whose clock is ahead; one that has not committed yet; one at that time."""
    ahead = begin(store, put("a", 1), belong_to(7, clock.now + 50))
    slow, same = Request(store, begin(store)), belong_to(7)
    at_work = belong_to(7)
    clock.advance(0.5)
    same = belong_to(7)
    store.destroy_all(7)
    assert store.open(ahead) is None
    clock.advance(10)
    assert slow.answer(at_work) is CommitResult.GONE
    assert Request(store, begin(store)).answer(same) is CommitResult.GONE
    assert Request(store, None).answer(put("a", 1), same) is CommitResult.GONE


def visit(visitor: Visitor, owner: int) -> Visit:
    begun = visitor.request()
    begun.session.increment("n")
    begun.session.belongs_to(owner)
    begun.respond()
    return visitor.request().open()


def test_one_session_stays(store: RevocableStore) -> None:
    """That of the request, whatever id it has then, for as long as it is used."""
    with Visitor(store) as here, Visitor(store) as there:
        request, other = visit(here, 7), visit(there, 7)
        request.session.regenerate()
        store.destroy_all(7, except_=request.session)
        request.session.increment("n")
        request.respond()
        other.session.increment("n")
        assert other.respond() is None
        assert there.request().session.all() == {}
        for _ in range(2):
            request = here.request()
            request.session.increment("n")
            store.destroy_all(7, except_=request.session)
            request.session.regenerate()
            request._request.commit()
            request.session.increment("n")
            request.respond()
        assert here.request().session.all() == {"n": 6}
        store.destroy_all(7)
        assert here.request().session.all() == {}


@pytest.mark.parametrize("named_by", ["id", "cookie value", "framework"])
def test_the_session_that_stays_is_named(store: RevocableStore, named_by: str) -> None:
    """By its id, its cookie value, or as a framework has it."""
    cookie_value, other = (begin(store, put("a", 1), belong_to(7)) for _ in range(2))
    name: object = cookie_value
    if named_by == "id":
        name = Request(store, cookie_value).state.id
    with Visitor(store) as visitor:
        if named_by == "framework":
            request = visit(visitor, 7)
            name = request.open()  # which has an attribute ``session``
        store.destroy_all(7, except_=name)  # type: ignore[arg-type]
        assert store.open(other) is None
        assert (store.open(cookie_value) is None) == (named_by == "framework")
        if named_by == "framework":
            assert visitor.request().session.all() == {"n": 1}


def test_of_two_that_log_out_everywhere_neither_is_left(store: RevocableStore) -> None:
    """Each ends the other's session; another one after both is fine, and the record is short."""
    cookies = [begin(store, put("a", 1), belong_to(7)) for _ in range(4)]
    for cookie_value in cookies[:2] * 2:
        store.destroy_all(7, except_=cookie_value)
    assert [store.open(one) for one in cookies] == [None] * 4
    store.destroy_all(7)
    begun = ""
    for _ in range(5):
        begun = begin(store, put("a", 1), belong_to(7))
        store.destroy_all(7, except_=begun)
        begun = Request(store, begun).commit(increment("n"))
    assert content(store, begun) == ({"a": 1, "n": 1}, {})
    record = store._server.open(f"revoked {owner_key(7)}")
    assert record is not None
    assert len(record.data) <= 3


@pytest.mark.parametrize("end", ["logout", "destroy", "nobody", "somebody else"])
def test_a_copied_cookie_is_refused_after_a_logout(store: RevocableStore, end: str) -> None:
    """And a request at work brings nothing back; other sessions of the owner stay."""
    before = begin(store, put("a", 1), belong_to(7))
    cookie_value = Request(store, before).commit(regenerate)
    other = begin(store, put("a", 1), belong_to(7))
    slow = [Request(store, cookie_value) for _ in range(2)]
    if end == "logout":
        assert Request(store, cookie_value).commit(invalidate) == ""
    elif end == "destroy":
        store.destroy(cookie_value)
    else:
        owner = 8 if end == "somebody else" else None
        now = Request(store, cookie_value).commit(belong_to(owner))
        assert store.open(now) is not None
        again = Request(store, now).commit(belong_to(7))
        assert store.open(again) is not None
    spilled = cookie_value.startswith("spilled:")
    if end in ("logout", "destroy") or not spilled:  # else the server has another version
        assert store.open(cookie_value) is None
        assert slow[0].answer(put("b", 2)) is CommitResult.GONE
        assert slow[1].answer(regenerate) is CommitResult.GONE
    assert store.open(before) is None
    assert store.open(other) is not None


def test_a_logout_right_after_a_revocation_and_a_login_counts(
    store: RevocableStore, clock: Clock
) -> None:
    """Whatever time the session was stamped with."""
    store.destroy_all(7)
    clock.advance(0.0001)
    cookie_value = begin(store, put("a", 1), belong_to(7))
    assert Request(store, cookie_value).commit(invalidate) == ""
    assert store.open(cookie_value) is None


@pytest.mark.parametrize("transport", ["cookie", "header"])
def test_a_response_that_is_refused_ends_nothing(tmp_path: Path, transport: str) -> None:
    """A session that is too large for its cookie, or its token, stays as it was."""
    settings = {
        "store": "cookie", "cookie": {"revocations": "disk"}, "cookie_path": "/shop",
        "disk_directory": str(tmp_path), "secret_keys": [KEY],
    }  # fmt: skip
    config = SessionConfig.from_mapping(settings | {"transport": transport})
    store = config.make_store()
    signer = CookieSigner([KEY], "salt")
    refused = 0
    for size in range(2600, 3000, 5):
        cookie_value = begin(store, put("a", 1), belong_to(7))
        request = Request(store, cookie_value)
        try:
            value = request.commit(regenerate, put("text", "x" * size), expire_after(1e9))
            if transport == "header":
                SessionToken(signer).set(value, Origin(https=True))
            else:
                SessionCookie(
                    signer, name="glimr_session", lifetime=600.0, path="/shop", partitioned=True
                ).set(value, Origin(https=True), lifetime=1e15)
        except SessionTooLarge:
            refused += 1
            assert store.open(cookie_value) is not None
        else:
            assert store.open(cookie_value) is None
    assert 0 < refused < 80
    store.close()


@pytest.mark.parametrize("ahead", [3600.0, 3 * 86400.0], ids=["hour", "days"])
def test_a_clock_that_was_ahead_locks_nobody_out(
    store: RevocableStore, clock: Clock, caplog: pytest.LogCaptureFixture, ahead: float
) -> None:
    """What it has ended stays ended, a login begins a session, and a log says why."""
    before = begin(store, put("a", 1), belong_to(7))
    clock.advance(ahead)
    store.destroy_all(7)
    clock.advance(-ahead)
    assert store.open(before) is None
    cookie_value = ""
    for _ in range(2):
        cookie_value = begin(store, put("b", 2), belong_to(7))
        assert content(store, Request(store, cookie_value).commit(regenerate)) == ({"b": 2}, {})
    assert [record.getMessage()[:26] for record in caplog.records] == ["Sessions of an owner were "]
    store.destroy_all(7)
    assert store.open(cookie_value) is None
    clock.advance(1.0)
    assert store.open(begin(store, put("b", 2), belong_to(7))) is not None


def test_a_commit_that_was_cancelled_is_judged_again(store: RevocableStore, clock: Clock) -> None:
    """It is made again without marks, and revives nothing; one that nobody has ended goes on."""
    store.destroy_all(7)
    clock.advance(1.0)
    cookie_value = begin(store, put("a", 1), belong_to(7))
    clock.advance(5.0)

    def cancelled(*transitions: Transition) -> Callable[[], CommitResult]:
        request = Request(store, cookie_value)
        for transition in transitions:
            transition(request.state)
        changes = request.state.take_changes()
        base = changes.base
        assert base is not None
        again = changes._replace(base=base._replace(marks=None))
        return lambda: store.commit(again)

    goes_on, late = cancelled(put("n", 1)), cancelled(put("n", 2))
    assert goes_on().outcome == "stored"
    with Visitor(store) as visitor:  # one that has logged in by an earlier commit
        visit(visitor, 8)
        request = visitor.request()
        request.session.belongs_to(7)
        request._request.commit()
        request.session.put("m", 1)
        request._request._unsure = True
        request.respond()
        assert visitor.request().session.all() == {"n": 1, "m": 1}
    store.destroy_all(7)
    assert late() is CommitResult.GONE


def test_a_late_request_does_not_undo_a_login(store: RevocableStore, clock: Clock) -> None:
    """What has another id by now is remembered for a while; what has ended is not."""
    for transitions, moved in (
        ([regenerate], True),
        ([invalidate, flash("bye", 1)], True),
        ([invalidate], False),
    ):
        cookie_value = begin(store, put("a", 1), belong_to(7))
        late = Request(store, cookie_value)
        Request(store, cookie_value).commit(*transitions)
        assert store.open(cookie_value) is None
        assert store.has_moved(cookie_value) is moved
        assert late.answer(put("late", 1)).outcome in ("gone", "moved")
        clock.advance(store.overlap)
        assert store.has_moved(cookie_value) is False
    assert store.has_moved(begin(store, put("a", 1), belong_to(7))) is False


def test_what_cannot_matter_any_more_is_forgotten(clock: Clock) -> None:
    """A record has the logouts whose cookies could be alive, since all sessions were ended."""
    store = RevocableStore(cookies(), server := DictStore())
    name = f"revoked {owner_key(7)}"

    def log_out(*transitions: Transition) -> None:
        cookie_value = begin(store, put("a", 1), belong_to(7), *transitions)
        Request(store, cookie_value).commit(invalidate)

    def size() -> int:
        record = server.open(name)
        return 0 if record is None else len(record.data)

    log_out(expire_after(10 * LIFETIME))
    for _ in range(3):
        log_out()
    assert size() == 4
    clock.advance(LIFETIME + 61)
    log_out()
    assert size() == 2
    store.destroy_all(7)
    assert size() == 1


def test_a_record_outlives_the_cookies_it_is_about(clock: Clock) -> None:
    """Whatever lifetime a session has given itself, and whatever timeouts the server has."""
    store = RevocableStore(CookieStore(lifetime=LIFETIME), DictStore())
    years = 400 * 86400
    forever = begin(CookieStore(), put("a", 1), belong_to(7), expire_after(10 * years))
    long = begin(store, put("a", 1), belong_to(7), expire_after(10 * years))
    revoked = [forever, long, begin(store, put("a", 1), belong_to(8), expire_after(years))]
    store.destroy_all(7)
    store.destroy_all(8)
    for _ in range(4):
        clock.advance(years / 4 - 1)
        store.gc()
        assert [store.open(one) for one in revoked] == [None] * 3
    clock.advance(100)  # the records are over too
    assert store._server.open(f"revoked {owner_key(7)}") is None
    assert [store.open(one) for one in revoked] == [None] * 3


def test_nobody_is_left_beside_threads_that_write(tmp_path: Path) -> None:
    """Sixteen threads write with cookies of their own while the owner's sessions are ended."""
    store = RevocableStore(cookies(), DiskStore(tmp_path / "revoked"))
    ended = threading.Event()
    started = threading.Barrier(17)
    newest = [begin(store, put("n", 0), belong_to(7)) for _ in range(16)]
    counts = [0] * 16

    def write(number: int) -> None:
        started.wait()
        while not ended.is_set():
            found = store.open(newest[number])
            if found is None:
                return
            changes = Changes(found, found.id, edits={"n": counts[number]})
            result = store.commit(changes)
            if result.outcome != "stored":
                return
            newest[number] = result.cookie_value
            counts[number] += 1

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    started.wait()
    while sum(counts) < 32:
        time.sleep(0.001)
    store.destroy_all(7)
    first = [store.open(one) for one in [*newest]]
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    ended.set()
    assert first == [None] * 16
    assert [store.open(one) for one in newest] == [None] * 16
    store.close()


def test_many_that_log_out_everywhere_at_once_are_all_recorded(tmp_path: Path) -> None:
    """None undoes another's revocation, or its logout."""
    store = RevocableStore(cookies(), DiskStore(tmp_path / "revoked"))
    mine = [begin(store, put("n", 0), belong_to(7)) for _ in range(12)]
    requests = [Request(store, one) for one in mine]
    started = threading.Barrier(12)

    def end(number: int) -> None:
        started.wait()
        if number % 2:
            requests[number].answer(invalidate)
        else:
            store.destroy_all(7, except_=mine[number])

    threads = [threading.Thread(target=end, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [store.open(one) for one in mine] == [None] * 12
    store.close()


def test_event_loops_refuse_what_was_revoked(store: RevocableStore) -> None:
    """aopen and acommit do what their namesakes do, logouts and logins included."""

    async def request(cookie_value: str, *transitions: Transition) -> CommitResult:
        found = await store.aopen(cookie_value)
        state = SessionState.new(generate_id()) if found is None else SessionState.opened(found)
        for transition in transitions:
            transition(state)
        return await store.acommit(state.changes)

    async def use() -> None:
        first = (await request("", put("a", 1), belong_to(7))).cookie_value
        moved = (await request(first, regenerate)).cookie_value
        assert await store.aopen(first) is None
        assert await store.ahas_moved(first) is True
        found = await store.aopen(moved)
        assert found is not None
        assert await store.adestroy_all(7) == 0
        assert await store.aopen(moved) is None
        assert await store.acommit(Changes(found, found.id, edits={"a": 2})) is CommitResult.GONE
        again = (await request("", put("a", 1), belong_to(7))).cookie_value
        assert await request(again, invalidate) is CommitResult.EMPTY
        assert await store.aopen(again) is None

    asyncio.run(use())


@pytest.mark.parametrize("kind", ["disk", "dict"])
def test_records_are_no_sessions(tmp_path: Path, kind: str) -> None:
    """Whoever ends every session in the list undoes no revocation; who copies all asks for them."""
    server = DictStore() if kind == "dict" else DiskStore(tmp_path / "revoked")
    cookie = RevocableStore(cookies(), server)
    moving = MovingStore(server, cookie)
    revoked, moved = (begin_elsewhere(belong_to(owner)) for owner in (7, 8))
    Request(moving, moved).commit(put("b", 2))
    begin(moving)
    moving.destroy_all(7)
    assert len(list(moving.all_sessions(records=True))) == 4
    for info in list(moving.all_sessions()):
        moving.destroy(info.handle)
    assert len(list(server.all_sessions(records=True))) == 2
    assert [*server.all_sessions()] == [*moving.all_sessions()] == []
    assert moving.open(revoked) is None
    assert moving.open(moved) is None
    if isinstance(server, DictStore):  # nobody asks for a list of all records
        assert bytes.fromhex(OF_A_RECORD.key) not in server.server.registered
    moving.close()


def test_a_session_of_nobody_costs_no_read(clock: Clock) -> None:
    """One that belongs to somebody costs one read to open, and one more to write."""
    server = DictStore()
    store = RevocableStore(cookies(), server)
    reads: list[str] = []
    opening = server.open

    def counted(cookie_value: str) -> StoredSession | None:
        reads.append(cookie_value)
        return opening(cookie_value)

    server.open = counted  # type: ignore[method-assign]
    request = Request(store, begin(store))
    cookie_value = request.commit(put("b", 2))
    assert reads == []
    cookie_value = Request(store, cookie_value).commit(belong_to(7))
    assert len(reads) == 1
    request = Request(store, cookie_value)
    assert len(reads) == 2
    request.commit(put("b", 3))
    assert reads == [f"revoked {owner_key(7)}"] * 3


@pytest.mark.parametrize("when", ["before it is opened", "while it is at work", "moved"])
def test_a_revoked_session_is_not_moved_to_another_store(when: str) -> None:
    """With ``move_from``: neither by a request at work, nor by one with a copied cookie."""
    server = DictStore()
    store = MovingStore(server, RevocableStore(cookies(), server))
    owned = begin_elsewhere(belong_to(7))
    late = Request(store, owned) if when != "before it is opened" else None
    moved = Request(store, owned).commit(put("b", 2)) if when == "moved" else ""
    assert store.destroy_all(7) == (when == "moved")
    assert store.open(owned) is None
    assert moved == "" or store.open(moved) is None
    if late is not None:
        assert late.answer(put("c", 3)) is CommitResult.GONE
        assert late.answer(put("c", 4)) is CommitResult.GONE
        assert server.open(late.state.id) is None
    unowned = begin_elsewhere()
    assert Request(store, unowned).commit(put("b", 2))


@pytest.mark.parametrize("overflow", ["", "disk"])
def test_the_configuration_makes_one_store(tmp_path: Path, overflow: str) -> None:
    """``[cookie] revocations``, beside ``overflow`` and ``encrypt``, on one store of the server."""
    settings = {
        "store": "cookie",
        "cookie": {"revocations": "disk", "overflow": overflow},
        "encrypt": True,
        "secret_keys": [KEY],
        "disk_directory": str(tmp_path),
    }
    store = SessionConfig.from_mapping(settings).make_store()
    assert isinstance(store, RevocableStore)
    mine = [begin(store, put("text", "mine"), belong_to(7)) for _ in range(2)]
    if overflow:
        mine.append(begin(store, put("text", "mine" + LARGE), belong_to(7)))
        assert mine[2].startswith("spilled:")
    Request(store, mine[0]).commit(invalidate)
    assert [store.open(one) is None for one in mine] == [True, *[False] * (len(mine) - 1)]
    store.destroy_all(7)
    assert [store.open(one) for one in mine] == [None] * len(mine)
    store.close()
    for file in tmp_path.iterdir():
        assert owner_key(7).encode() not in file.read_bytes()
        assert b"mine" not in file.read_bytes()
    with pytest.raises(ConfigError, match="cookie_revocations"):
        RevocableStore(cookies(), InMemory().store())


def test_the_page_of_the_cookie_store_works_as_it_stands(tmp_path: Path) -> None:
    """Its settings make the store, and its functions log in, out, and out everywhere."""
    settings, code = (block.code for block in blocks_of("docs/cookie-store.md"))
    file = tmp_path / "session.toml"
    file.write_text(settings, "utf-8")
    config = SessionConfig.from_toml(file, {"GLIMR_SESSION_SECRET_KEYS": KEY.replace(",", "")})
    store = config.make_store()
    functions: dict[str, Any] = {}
    exec(compile(code, "docs/cookie-store.md", "exec"), functions)
    with Visitor(store) as here, Visitor(store) as there:
        for visitor in (here, there):
            request = visitor.request()
            request.session["cart"] = LARGE
            functions["log_in"](request.session, 7)
            request.respond()
        request = here.request()
        functions["password_changed"](request.session, store, 7)
        request.respond()
        assert here.request().session["user"] == 7
        assert there.request().session.all() == {}
        copied = Visitor(store, here.cookie)
        request = here.request()
        functions["log_out"](request.session)
        request.respond()
        assert copied.request().session.all() == {}
    store.close()


@pytest.mark.parametrize("pair", ["overflow", "revocations", "moving"])
def test_what_one_of_two_stores_encrypts_the_other_one_does_too(pair: str) -> None:
    """With ``encrypt = true``, whichever of them was given keys that encrypt nothing."""
    config = SessionConfig(encrypt=True, secret_keys=[KEY])
    for sealing in (True, False):
        server, cookie = DictStore(), cookies()
        server.sealer = Sealer([KEY], seals=sealing)
        cookie.sealer = Sealer([KEY], seals=not sealing)
        store: SessionStore
        if pair == "overflow":
            store = OverflowStore(cookie, server, limit=0)
        elif pair == "revocations":
            store = RevocableStore(cookie, server)
        else:
            store = MovingStore(server, cookie)
        config.equip(store)
        for one in (server, cookie, store):
            assert one.sealer is not None
            assert one.sealer.seals
        begin(store, put("text", "mine"))
        assert b"mine" not in b"".join(entry.value for entry in server.server.entries.values())
