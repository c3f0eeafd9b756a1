"""RequestSession: fetched, opened, committed, answered and closed, without any door."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from glimr_session import (
    CommitResult,
    CookieStore,
    DiskStore,
    Json,
    Session,
    SessionClosed,
    SessionStore,
    SessionTooLarge,
    StoreUnavailable,
)
from glimr_session._log import forget_warnings
from glimr_session._request.manager import SessionManager
from glimr_session._request.origin import Origin
from glimr_session._request.request_session import RequestSession
from glimr_session._session.actor import SessionActor
from glimr_session.mailbox import CallingThreadRef
from tests.conftest import Clock
from tests.support.actors import living_session_actors
from tests.support.wsgi_apps import CONFIG, LIFETIME, TEXT, Recorded, rows, warnings_in
from tests.support.wsgi_client import Cookies, Headers

pytestmark = pytest.mark.usefixtures("no_session_left")

HTTPS = Origin(https=True, host="testserver")


def begin(store: SessionStore, cookie: str | list[str] = "") -> RequestSession:
    return SessionManager.from_config(CONFIG, store).begin(cookie)


def headers_of(request: RequestSession, *, last: bool = False) -> Headers:
    return request.response_headers(200, [TEXT], origin=lambda: HTTPS, last=last)


def cookie_of(headers: Headers, before: str = "") -> str:
    """Return the Cookie header that a browser sends after these headers."""
    cookies = Cookies(before)
    cookies.take(headers)
    return cookies.header()


def cookie_with(store: SessionStore, *, flash: str | None = None, **data: Json) -> str:
    """Return the Cookie header of a session with this data."""
    request = begin(store)
    request.session.update(data)
    if flash is not None:
        request.session.flash("notice", flash)
    headers = headers_of(request)
    request.close()
    return cookie_of(headers)


def data_of(store: SessionStore, cookie: str) -> dict[str, Json]:
    """Return the data that a request with this cookie finds."""
    request = begin(store, cookie)
    try:
        return request.session.all()
    finally:
        request.abandon()


# Reading ahead.


def test_fetch_reads_the_store_without_opening_the_session() -> None:
    """fetch() returns the stored session and does not count as a use."""
    recorded = Recorded()
    cookie = cookie_with(recorded.store, a=1)
    recorded.calls.clear()
    request = begin(recorded.store, cookie)
    stored = request.fetch()
    assert stored is not None
    assert stored.data == {"a": 1}
    assert recorded.calls == ["load"]
    assert request.ref is None
    assert repr(request.session) == "<Session: not opened>"
    assert living_session_actors() == []
    assert request.commit() is None
    own: Headers = [TEXT]
    assert request.response_headers(200, own, origin=lambda: HTTPS) is own
    assert own == [TEXT]
    request.close()
    assert recorded.calls == ["load"]


@pytest.mark.parametrize("kind", ["disk", "cookie"])
def test_fetch_consumes_no_flash(kind: str, disk: DiskStore) -> None:
    """A request that only fetches leaves the flash for the next one."""
    store = disk if kind == "disk" else CookieStore()
    cookie = cookie_with(store, flash="Saved.")
    request = begin(store, cookie)
    assert request.fetch() is not None
    assert headers_of(request) == [TEXT]
    request.close()
    following = begin(store, cookie)
    assert following.fetch() is not None
    assert following.session.get_flash("notice") == "Saved."
    following.abandon()


def test_fetch_renews_no_session(disk: DiskStore, clock: Clock) -> None:
    """A request that only fetches neither renews the cookie nor extends the session."""
    cookie = cookie_with(disk, a=1)
    clock.advance(LIFETIME / 2)
    request = begin(disk, cookie)
    assert request.fetch() is not None
    assert headers_of(request) == [TEXT]
    request.close()
    clock.advance(LIFETIME / 2)
    assert data_of(disk, cookie) == {}


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_the_store_is_read_once_whoever_comes_first(known: bool) -> None:
    """fetch() and the first use read the store once between them."""
    recorded = Recorded()
    cookie = cookie_with(recorded.store, a=1)
    if not known:
        recorded.sessions.clear()
    for fetch_first in (True, False):
        recorded.calls.clear()
        request = begin(recorded.store, cookie)
        if fetch_first:
            assert (request.fetch() is not None) is known
        assert request.session.get("a") == (1 if known else None)
        assert (request.fetch() is not None) is known
        assert (request.fetch() is not None) is known
        assert recorded.calls == ["load"]
        request.abandon()


@pytest.mark.parametrize("cookie", ["", "glimr_session=forged", "a=b"])
def test_fetch_without_a_cookie_of_ours_asks_no_store(cookie: str) -> None:
    """fetch() returns None without a read if no cookie verifies."""
    recorded = Recorded()
    request = begin(recorded.store, cookie)
    assert request.fetch() is None
    assert recorded.calls == []
    request.abandon()


def test_an_outage_in_fetch_is_raised_and_the_next_call_tries_again() -> None:
    """fetch() raises StoreUnavailable, and a later fetch or use reads the store again."""
    recorded = Recorded()
    cookie = cookie_with(recorded.store, a=1)
    request = begin(recorded.store, cookie)
    recorded.down = True
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            request.fetch()
    assert headers_of(request) == [TEXT]
    recorded.down = False
    stored = request.fetch()
    assert stored is not None
    assert stored.data == {"a": 1}
    request.abandon()
    request = begin(recorded.store, cookie)
    recorded.down = True
    with pytest.raises(StoreUnavailable):
        request.fetch()
    with pytest.raises(StoreUnavailable):
        request.session.get("a")
    recorded.down = False
    assert request.session.get("a") == 1
    request.abandon()


# Several Cookie headers.


@pytest.mark.parametrize("position", [0, 1, 2])
def test_several_cookie_headers_are_read_as_one(position: int, disk: DiskStore) -> None:
    """begin() finds the cookie in any of several Cookie headers."""
    headers = ["a=b", "c=d; e=f"]
    headers.insert(position, cookie_with(disk, a=1))
    request = begin(disk, headers)
    assert request.session.get("a") == 1
    request.abandon()


def test_different_cookies_in_several_headers_make_the_request_anonymous(
    disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Two different cookies that verify make the request anonymous across headers, too."""
    ours, planted = cookie_with(disk, user="ada"), cookie_with(disk, user="mallory")
    for headers in ([ours, planted], [planted, "a=b", ours]):
        caplog.clear()
        request = begin(disk, headers)
        assert request.fetch() is None
        assert request.session.all() == {}
        request.abandon()
        (warning,) = warnings_in(caplog)
        assert "different sessions" in warning
        assert ours not in warning
        forget_warnings()
    request = begin(disk, [ours, ours])
    assert request.session.get("user") == "ada"
    request.abandon()


# Commits that have to be tried again.

HOLD_THE_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def lock_held(store: DiskStore) -> Iterator[None]:
    """Let another process hold the write lock of a store."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, store.directory / "cache.db"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield
        finally:
            process.communicate(timeout=10)


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[DiskStore]:
    """A store that hardly waits for the lock."""
    with closing(DiskStore(tmp_path / "hasty", lifetime=LIFETIME, timeout=0.02)) as store:
        yield store


@pytest.mark.parametrize("last", [False, True], ids=["open", "last"])
@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
def test_a_busy_commit_loses_nothing(known: bool, last: bool, disk: DiskStore) -> None:
    """commit(wait=False) returns BUSY beside another writer, and the next call writes it all."""
    cookie = cookie_with(disk, n=1, gone=True) if known else ""
    request = begin(disk, cookie)
    session = request.session
    session.increment("n")
    session.forget("gone")
    session.flash("notice", "Saved.")
    with lock_held(disk):
        for _ in range(3):
            assert request.commit(wait=False, last=last) is CommitResult.BUSY
    result = request.commit(wait=False, last=last)
    assert result is not None
    assert result.outcome == "stored"
    assert request.commit(last=last) is None
    headers = request.response_headers(200, [], origin=lambda: HTTPS)
    request.close()
    cookie = cookie_of(headers, cookie)
    following = begin(disk, cookie)
    assert following.session.all() == {"n": 1 + known}
    assert following.session.get_flash("notice") == "Saved."
    following.abandon()


@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
def test_a_failed_commit_loses_nothing(known: bool, hasty: DiskStore) -> None:
    """commit() raises StoreUnavailable, and the next call writes the same changes once."""
    cookie = cookie_with(hasty, n=1) if known else ""
    request = begin(hasty, cookie)
    request.session.increment("n")
    with lock_held(hasty):
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                request.commit()
        with pytest.raises(StoreUnavailable):
            headers_of(request)
    headers = headers_of(request)
    request.close()
    assert data_of(hasty, cookie_of(headers, cookie)) == {"n": 1 + known}


@pytest.mark.parametrize("fails", ["busy", "outage"])
def test_changes_after_a_failed_commit_are_written_with_it(fails: str, hasty: DiskStore) -> None:
    """The commit after a failed one writes what changed meanwhile, a login too."""
    cookie = cookie_with(hasty, n=1)
    request = begin(hasty, cookie)
    request.session.increment("n")
    with lock_held(hasty):
        if fails == "busy":
            assert request.commit(wait=False) is CommitResult.BUSY
        else:
            with pytest.raises(StoreUnavailable):
                request.commit()
    request.session.regenerate()
    request.session["user"] = "ada"
    headers = headers_of(request, last=True)
    with pytest.raises(SessionClosed):
        request.session.forget("user")
    assert request.session.get("user") == "ada"
    request.close()
    after = cookie_of(headers, cookie)
    assert after != cookie
    assert data_of(hasty, after) == {"n": 2, "user": "ada"}
    assert data_of(hasty, cookie) == {}


@pytest.mark.parametrize("last", [False, True])
def test_a_commit_that_was_not_repeated_is_written_by_close(disk: DiskStore, last: bool) -> None:
    """close() writes what a busy commit has left, the last one too."""
    cookie = cookie_with(disk, n=1)
    request = begin(disk, cookie)
    request.session.increment("n")
    with lock_held(disk):
        assert request.commit(wait=False, last=last) is CommitResult.BUSY
    request.begin_response(200)
    request.close()
    assert data_of(disk, cookie) == {"n": 2}


def test_close_after_a_busy_commit_begins_no_session(
    disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """close() keeps no session that the browser has no cookie for, and warns once."""
    request = begin(disk)
    request.session["n"] = 1
    with lock_held(disk):
        assert request.commit(wait=False) is CommitResult.BUSY
    request.session["n"] = 2
    request.begin_response(200)
    request.close()
    assert rows(disk) == 0
    (warning,) = warnings_in(caplog)
    assert "lost" in warning


def test_close_after_a_busy_login_leaves_nothing_under_the_old_id(
    disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """close() drops a login whose new id cannot reach the browser, and what came after it."""
    cookie = cookie_with(disk, basket=1)
    request = begin(disk, cookie)
    request.session.regenerate()
    with lock_held(disk):
        assert request.commit(wait=False) is CommitResult.BUSY
    request.session["user"] = "ada"
    request.begin_response(200)
    request.close()
    assert data_of(disk, cookie) == {"basket": 1}
    (warning,) = warnings_in(caplog)
    assert "lost" in warning


def test_close_before_any_status_keeps_nothing(
    disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """close() of a request whose response never began writes nothing, and warns."""
    cookie = cookie_with(disk, n=1)
    request = begin(disk, cookie)
    request.session.increment("n")
    request.close()
    assert data_of(disk, cookie) == {"n": 1}
    (warning,) = warnings_in(caplog)
    assert "never began" in warning


def test_headers_after_a_busy_commit_set_the_cookie(disk: DiskStore) -> None:
    """response_headers() commits again if the result that it gets is BUSY."""
    request = begin(disk)
    request.session["n"] = 1
    with lock_held(disk):
        busy = request.commit(wait=False)
        assert busy is CommitResult.BUSY
    headers = request.response_headers(200, [], origin=lambda: HTTPS)
    request.close()
    assert data_of(disk, cookie_of(headers)) == {"n": 1}


def test_a_commit_after_a_move_renews_under_the_new_id(disk: DiskStore, clock: Clock) -> None:
    """A renewal that is due finds the session that the same request has moved."""
    cookie = cookie_with(disk, a=1)
    clock.advance(LIFETIME / 2)
    request = begin(disk, cookie)
    request.session.regenerate()
    first, second = request.commit(), request.commit()
    assert first is not None
    assert first.outcome == "stored"
    assert second == first
    request.abandon()


def test_an_abandoned_request_writes_nothing_of_a_failed_commit(disk: DiskStore) -> None:
    """abandon() drops what a busy commit has left."""
    cookie = cookie_with(disk, n=1)
    request = begin(disk, cookie)
    request.session.increment("n")
    with lock_held(disk):
        assert request.commit(wait=False) is CommitResult.BUSY
    request.abandon()
    assert data_of(disk, cookie) == {"n": 1}


# Headers.


@pytest.mark.parametrize(("status", "kept"), [(404, True), (500, False)])
def test_headers_are_committed_once_and_added_again(status: int, kept: bool) -> None:
    """Headers asked for twice commit once, and a later failure drops what came between."""
    recorded = Recorded()
    request = begin(recorded.store)
    request.session["a"] = 1
    first = headers_of(request)
    assert [name for name, _ in first] == ["Content-Type", "Vary", "Cache-Control", "Set-Cookie"]
    calls = [*recorded.calls]
    assert calls.count("save") == 1
    request.session["late"] = True
    other = ("X-Other", "1")
    request.begin_response(status)
    second = request.response_headers(status, [other], origin=lambda: HTTPS)
    assert second == [other, *first[1:]]
    assert recorded.calls == calls
    request.close()
    assert data_of(recorded.store, cookie_of(first)) == (
        {"a": 1, "late": True} if kept else {"a": 1}
    )


def test_headers_can_be_tried_again_after_an_outage() -> None:
    """response_headers() that raised StoreUnavailable commits and sets the cookie later."""
    recorded = Recorded()
    request = begin(recorded.store)
    request.session["a"] = 1
    recorded.down = True
    with pytest.raises(StoreUnavailable):
        headers_of(request)
    recorded.down = False
    headers = headers_of(request)
    request.close()
    assert data_of(recorded.store, cookie_of(headers)) == {"a": 1}


@pytest.mark.parametrize("change", [True, False], ids=["changed", "read"])
def test_the_last_commit_ends_the_actor_and_leaves_a_session_to_read(
    change: bool, disk: DiskStore
) -> None:
    """After response_headers(last=True) reads go on, writes are refused, and close() ends both."""
    cookie = cookie_with(disk, a=1)
    request = begin(disk, cookie)
    session = request.session
    assert session.get("a") == 1
    if change:
        session["a"] = 2
    headers_of(request, last=True)
    assert living_session_actors() == []
    assert session.is_open is False
    data: dict[str, Json] = {"a": 2 if change else 1}
    with pytest.raises(SessionClosed):
        session.put("a", 3)
    with pytest.raises(SessionClosed):
        session.pull("a")
    assert session.all() == data
    assert session.state().dirty is False
    request.close()
    with pytest.raises(SessionClosed):
        session.all()
    assert data_of(disk, cookie) == data


def test_a_result_of_an_earlier_commit_sets_the_cookie() -> None:
    """response_headers() uses the result that it gets and does not commit again."""
    recorded = Recorded()
    request = begin(recorded.store)
    request.session["a"] = 1
    request.commit(last=True)
    calls = [*recorded.calls]
    headers = request.response_headers(200, [], origin=lambda: HTTPS, last=True)
    assert recorded.calls == calls
    request.close()
    assert data_of(recorded.store, cookie_of(headers)) == {"a": 1}


def test_where_the_request_came_to_is_asked_only_for_a_cookie(disk: DiskStore) -> None:
    """response_headers() calls ``origin`` only if it sets a cookie."""
    asked: list[bool] = []

    def origin() -> Origin:
        asked.append(True)
        return HTTPS

    request = begin(disk)
    request.session.get("a")
    request.response_headers(200, [], origin=origin)
    request.close()
    assert asked == []
    request = begin(disk)
    request.session["a"] = 1
    request.response_headers(200, [], origin=origin)
    request.close()
    assert asked == [True]


def test_a_session_too_large_for_its_cookie_has_no_headers() -> None:
    """response_headers() raises SessionTooLarge for a cookie that browsers would drop."""
    request = begin(CookieStore())
    request.session["a"] = "x" * 4096
    with pytest.raises(SessionTooLarge):
        headers_of(request)
    request.abandon()


# Memory.

COUNTED = (RequestSession, Session, SessionActor, CallingThreadRef)


def living() -> Counter[type]:
    """Count the objects of a request that exist."""
    return Counter(type(found) for found in gc.get_objects() if type(found) in COUNTED)


def answered(store: SessionStore) -> None:
    cookie = cookie_with(store, a=1)
    assert data_of(store, cookie) == {"a": 1}


def answered_last(store: SessionStore) -> None:
    request = begin(store)
    request.session["a"] = 1
    headers_of(request, last=True)
    request.close()


def changed_late(store: SessionStore) -> None:
    request = begin(store, cookie_with(store, a=1))
    headers_of(request)
    request.session["late"] = 1
    request.close()


def opened_and_abandoned(store: SessionStore) -> None:
    request = begin(store)
    session = request.session
    session["a"] = 1
    request.abandon()
    with pytest.raises(SessionClosed):
        session.get("a")


def closed_unused(store: SessionStore) -> None:
    request = begin(store)
    assert request.session is not None
    request.fetch()
    request.close()


@pytest.mark.parametrize(
    "run",
    [answered, answered_last, changed_late, opened_and_abandoned, closed_unused],
    ids=lambda run: run.__name__,
)
@pytest.mark.parametrize("kind", ["disk", "cookie"])
def test_a_request_is_freed_without_the_cycle_collector(
    run: Callable[[SessionStore], None], kind: str, disk: DiskStore
) -> None:
    """Request, session and actor are freed with their last reference after the end."""
    store = disk if kind == "disk" else CookieStore()
    run(store)
    gc.collect()
    gc.disable()
    try:
        before = living()
        for _ in range(10):
            run(store)
        assert living() == before
    finally:
        gc.enable()


# What a failed commit leaves for the next one.


def test_a_session_that_was_too_large_is_sent_when_it_has_shrunk() -> None:
    """The next commit has what was put before the failure, without what was removed since."""
    store = CookieStore(lifetime=LIFETIME)
    request = begin(store)
    request.session["small"] = 1
    request.session["huge"] = "x" * 5_000
    with pytest.raises(SessionTooLarge):
        headers_of(request)
    request.session.forget("huge")
    cookie = cookie_of(headers_of(request))
    request.close()
    assert data_of(store, cookie) == {"small": 1}


def test_what_follows_a_commit_that_left_nothing_is_a_new_session(disk: DiskStore) -> None:
    """A session that was emptied before its first commit is not gone: it has not begun."""
    request = begin(disk)
    request.session["a"] = 1
    request.session.forget("a")
    assert request.commit() is CommitResult.EMPTY
    request.session["b"] = 2
    result = request.commit()
    assert result is not None
    assert result.outcome == "stored"
    headers = request.response_headers(200, [], origin=lambda: HTTPS)
    request.close()
    assert data_of(disk, cookie_of(headers)) == {"b": 2}


def test_a_login_that_lost_writes_nothing_into_the_winner_s_session(disk: DiskStore) -> None:
    """After GONE nothing of the request is written, in a second commit and in a stream neither."""
    cookie = cookie_with(disk, n=1)
    winner, loser = begin(disk, cookie), begin(disk, cookie)
    for request in (winner, loser):
        request.session.regenerate()
    winner.session["user"] = "winner"
    moved = cookie_of(headers_of(winner))
    winner.close()
    assert loser.commit() is CommitResult.GONE
    loser.session["address"] = "the loser's"
    assert loser.commit() is CommitResult.GONE
    assert cookie_of(headers_of(loser)) == ""
    loser.session["city"] = "the loser's"
    loser.close()
    assert data_of(disk, moved) == {"n": 1, "user": "winner"}


def test_a_renewal_that_does_not_wait_is_busy_too(disk: DiskStore, clock: Clock) -> None:
    """Where only the expiry is to be pushed on, another writer is not waited for either."""
    cookie = cookie_with(disk, n=1)
    clock.advance(LIFETIME / 5)
    request = begin(disk, cookie)
    assert request.session["n"] == 1
    with lock_held(disk):
        assert request.commit(wait=False) is CommitResult.BUSY
    result = request.commit(wait=False)
    assert result is not None
    assert result.outcome == "stored"
    assert cookie_of(headers_of(request)) != ""
    request.close()


def test_the_headers_carry_what_earlier_commits_have_stored(disk: DiskStore) -> None:
    """A new session that was committed before its headers gets its cookie with them."""
    request = begin(disk)
    request.session["n"] = 1
    request.commit()
    cookie = cookie_of(headers_of(request))
    request.close()
    assert data_of(disk, cookie) == {"n": 1}


def test_the_headers_commit_what_came_after_an_earlier_commit(disk: DiskStore) -> None:
    """A login between a commit and the headers is in the headers' cookie."""
    request = begin(disk)
    request.session["n"] = 1
    request.commit()
    request.session.regenerate()
    request.session["user"] = 7
    cookie = cookie_of(headers_of(request))
    request.close()
    assert data_of(disk, cookie) == {"n": 1, "user": 7}
