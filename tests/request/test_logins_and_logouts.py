"""Logins, logouts, and which of the cookies of a request count."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from glimr_session import CookieStore, DiskStore, Json, Session, SessionStore
from glimr_session._request.cookie import SessionCookie
from glimr_session._request.manager import SessionManager
from glimr_session._request.origin import Origin
from glimr_session._request.request_session import RequestSession
from tests.conftest import Clock
from tests.support.cookies import make_cookie
from tests.support.wsgi_apps import CONFIG, LIFETIME, rows, warnings_in

pytestmark = pytest.mark.usefixtures("no_session_left")

HTTPS = Origin(https=True, host="testserver")

OVERLAP = 60.0

NAME = CONFIG.cookie

FORGED = f"{NAME}=forged"


def begin(store: SessionStore, *cookies: str) -> RequestSession:
    return SessionManager.from_config(CONFIG, store).begin(list(cookies))


def respond(request: RequestSession, status: int = 200) -> list[str]:
    """Finish a request; return the Set-Cookie headers."""
    headers = request.response_headers(status, [], origin=lambda: HTTPS)
    request.close()
    return [value for name, value in headers if name == "Set-Cookie"]


def do(store: SessionStore, *cookies: str, change: Callable[[Session], object]) -> list[str]:
    """Make a whole request; return the Set-Cookie headers."""
    request = begin(store, *cookies)
    change(request.session)
    return respond(request)


def pair_of(set_cookies: list[str]) -> str:
    """Return the Cookie header of the one cookie that is set, and not ended."""
    (found,) = [value for value in set_cookies if "Max-Age=0" not in value]
    return found.partition(";")[0]


def logged_in(store: SessionStore, **data: Json) -> str:
    """Return the cookie of a session with this data."""
    return pair_of(do(store, change=lambda session: session.update(data)))


def data_of(store: SessionStore, *cookies: str) -> dict[str, Json]:
    found: dict[str, Json] = {}
    do(store, *cookies, change=lambda session: found.update(session.all()))
    return found


def read(session: Session) -> None:
    session.get("user")


def log_in(session: Session) -> None:
    session.regenerate()
    session["user"] = "ada"


def ours(store: SessionStore) -> SessionCookie:
    return make_cookie(CONFIG, store)


def unknown(store: SessionStore, digit: str = "0") -> str:
    """Return a cookie that we have signed, whose session no store knows."""
    return ours(store).set(digit * 64, HTTPS).partition(";")[0]


ENDED = f"{NAME}=; HttpOnly; Max-Age=0; Path=/; SameSite=Lax; Secure"


@pytest.fixture(params=["disk", "cookie"])
def store(request: pytest.FixtureRequest) -> SessionStore:
    if request.param == "cookie":
        return CookieStore(lifetime=LIFETIME)
    found: SessionStore = request.getfixturevalue("disk")
    return found


# Several cookies.


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_cookie_whose_session_is_gone_does_not_count(position: int, store: SessionStore) -> None:
    """A living session is used beside the dead cookies of others, wherever they stand."""
    cookies = [unknown(store, "0"), unknown(store, "1")]
    cookies.insert(position, logged_in(store, user="ada"))
    assert data_of(store, *cookies) == {"user": "ada"}
    assert do(store, *cookies, change=read) == []


def test_two_living_sessions_are_nobody_s(
    store: SessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Two different living sessions make the request anonymous; a warning says so, no cookie."""
    cookies = logged_in(store, user="ada"), logged_in(store, user="eve")
    before = [data_of(store, cookie) for cookie in cookies]
    for _ in range(3):
        assert data_of(store, *cookies) == {}
        assert do(store, *cookies, change=read) == []
    assert len(warnings_in(caplog)) == 1
    assert [data_of(store, cookie) for cookie in cookies] == before


def test_a_login_with_two_cookies_is_left_with_one(store: SessionStore) -> None:
    """A login between two sessions begins one of its own, and its cookie is set last.

    Browsers that do not know Partitioned take the cookie that is ended for the one that is set.
    """
    cookies = logged_in(store, user="ada"), logged_in(store, user="eve")
    set_cookies = do(store, *cookies, change=log_in)
    assert "Max-Age=0" not in set_cookies[-1]
    assert all("Max-Age=0" in value for value in set_cookies[:-1])
    assert any("Partitioned" in value for value in set_cookies[:-1])
    assert data_of(store, pair_of(set_cookies)) == {"user": "ada"}


def test_one_session_in_two_cookies_is_the_one_that_was_set_later(clock: Clock) -> None:
    """Two cookies of one session in a cookie store are no two sessions: the younger one counts."""
    store = CookieStore(lifetime=LIFETIME)
    first = logged_in(store, n=1)
    clock.advance(1)
    second = pair_of(do(store, first, change=lambda session: session.put("n", 2)))
    assert data_of(store, first, second) == data_of(store, second, first) == {"n": 2}


# Dead cookies.


def test_a_dead_cookie_is_ended_when_its_session_is_used(store: SessionStore) -> None:
    """A cookie that verifies, and whose session is gone, is ended by a request that reads."""
    assert do(store, unknown(store), change=read) == [ENDED]


def test_several_dead_cookies_are_all_ended(store: SessionStore) -> None:
    """Of several dead cookies each that can be named is ended."""
    set_cookies = do(store, unknown(store), unknown(store, "1"), change=read)
    assert ENDED in set_cookies
    assert f"{ENDED}; Partitioned" in set_cookies
    assert all("Max-Age=0" in value for value in set_cookies)


def test_a_dead_cookie_stays_where_the_session_is_not_used(store: SessionStore) -> None:
    """A request that only reads ahead, or that fails, ends no cookie."""
    request = begin(store, unknown(store))
    assert request.fetch() is None
    assert respond(request) == []
    request = begin(store, unknown(store))
    read(request.session)
    assert respond(request, 500) == []


def test_a_forged_cookie_is_not_ended(store: SessionStore) -> None:
    """A cookie that does not verify is not answered, unless a logout ends it."""
    assert do(store, FORGED, change=read) == []
    assert do(store, FORGED, unknown(store), change=read) == [ENDED]


def test_a_new_session_takes_the_place_of_a_dead_cookie(store: SessionStore) -> None:
    """A request with a dead cookie that writes begins a session of another id."""
    (set_cookie,) = do(store, unknown(store), change=lambda session: session.put("a", 1))
    assert "0" * 64 not in set_cookie
    assert data_of(store, pair_of([set_cookie])) == {"a": 1}


# A late request does not undo a login.


@pytest.mark.parametrize("since", [0.0, OVERLAP - 1])
def test_a_late_request_is_anonymous_and_gets_no_cookie(
    since: float, disk: DiskStore, clock: Clock
) -> None:
    """A request with the id from before a login reads nothing, writes in vain, sets no cookie."""
    old = logged_in(disk, basket=1)
    new = pair_of(do(disk, old, change=log_in))
    clock.advance(since)
    assert do(disk, old, change=read) == []
    assert do(disk, old, change=lambda session: session.put("late", 1)) == []
    assert data_of(disk, old) == {}
    assert data_of(disk, new) == {"basket": 1, "user": "ada"}
    assert rows(disk) == 1


def test_a_late_cookie_is_dead_after_a_minute(disk: DiskStore, clock: Clock) -> None:
    """The id from before a login is unknown in the end: its cookie is ended, and it begins anew."""
    old = logged_in(disk, basket=1)
    do(disk, old, change=log_in)
    clock.advance(OVERLAP + 1)
    assert do(disk, old, change=read) == [ENDED]
    cookie = pair_of(do(disk, old, change=lambda session: session.put("a", 1)))
    assert data_of(disk, cookie) == {"a": 1}


def test_a_late_request_that_logs_in_gets_its_cookie(disk: DiskStore) -> None:
    """A login with the id from before a login begins a session of its own, and of nothing else."""
    old = logged_in(disk, basket=1)
    new = pair_of(do(disk, old, change=log_in))

    def log_in_as_bob(session: Session) -> None:
        session.regenerate()
        session["user"] = "bob"

    own = pair_of(do(disk, old, change=log_in_as_bob))
    assert data_of(disk, own) == {"user": "bob"}
    assert data_of(disk, new) == {"basket": 1, "user": "ada"}


def test_a_late_request_beside_a_logout_that_puts_something_gets_no_cookie(
    disk: DiskStore,
) -> None:
    """The id from before a logout that left a notice is as that from before a login."""

    def log_out(session: Session) -> None:
        session.invalidate()
        session.flash("notice", "Goodbye.")

    old = logged_in(disk, user="ada")
    new = pair_of(do(disk, old, change=log_out))
    assert do(disk, old, change=read) == []
    assert do(disk, old, change=lambda session: session.put("late", 1)) == []
    request = begin(disk, new)
    assert request.session.get_flash("notice") == "Goodbye."
    request.abandon()


# Two at once.


def test_of_two_logins_at_once_each_has_what_it_wrote(disk: DiskStore) -> None:
    """The second login begins a session of what it wrote, and of nothing that it had read."""
    cookie = logged_in(disk, secret="of the first")
    first, second = begin(disk, cookie), begin(disk, cookie)
    for request, user in ((first, "ada"), (second, "eve")):
        assert request.session["secret"] == "of the first"
        request.session.increment("visits")
        request.session.regenerate()
        request.session["user"] = user
    one, other = pair_of(respond(first)), pair_of(respond(second))
    assert data_of(disk, one) == {"secret": "of the first", "visits": 1, "user": "ada"}
    assert data_of(disk, other) == {"visits": 1, "user": "eve"}
    assert do(disk, cookie, change=read) == []


def test_a_login_beside_a_logout_brings_nobody_back(disk: DiskStore) -> None:
    """A login whose session a logout has ended meanwhile writes nothing, and sets no cookie."""
    cookie = logged_in(disk, user="ada")
    slow = begin(disk, cookie)
    log_in(slow.session)
    do(disk, cookie, change=Session.invalidate)
    assert respond(slow) == []
    assert rows(disk) == 0


# Logouts.


def test_a_logout_ends_every_session_of_its_cookies(disk: DiskStore) -> None:
    """A logout destroys the sessions of all cookies that came, also where none was opened."""
    cookies = logged_in(disk, user="ada"), logged_in(disk, user="eve")
    other = logged_in(disk, user="bob")
    set_cookies = do(disk, *cookies, FORGED, change=Session.invalidate)
    assert ENDED in set_cookies
    assert all("Max-Age=0" in value for value in set_cookies)
    assert [data_of(disk, cookie) for cookie in cookies] == [{}, {}]
    assert data_of(disk, other) == {"user": "bob"}
    assert rows(disk) == 1


@pytest.mark.parametrize("used", [True, False])
def test_a_logout_ends_the_session_beside_a_dead_cookie(used: bool, disk: DiskStore) -> None:
    """A logout with a living and a dead cookie ends the session and the cookie."""
    cookie = logged_in(disk, user="ada")
    request = begin(disk, unknown(disk), cookie)
    if used:
        assert request.session["user"] == "ada"
    request.session.invalidate()
    assert ENDED in respond(request)
    assert rows(disk) == 0


@pytest.mark.parametrize("cookie", ["dead", "forged"])
def test_a_logout_ends_a_cookie_that_opens_nothing(cookie: str, store: SessionStore) -> None:
    """A logout ends the cookie though no session was opened: it may be one of an older key."""
    sent = FORGED if cookie == "forged" else unknown(store)
    assert do(store, sent, change=Session.invalidate) == [ENDED]


def test_a_logout_without_a_cookie_sets_none(store: SessionStore) -> None:
    """A logout of a browser without a cookie of ours has nothing to end."""
    assert do(store, change=Session.invalidate) == []
    assert do(store, "other=1", change=Session.invalidate) == []


def test_a_late_request_that_logs_out_ends_the_cookie(disk: DiskStore) -> None:
    """A logout with the id from before a login ends what the browser has, a new cookie too."""
    old = logged_in(disk, basket=1)
    do(disk, old, change=log_in)
    assert do(disk, old, change=Session.invalidate) == [ENDED]
    assert data_of(disk, old) == {}


def test_a_logout_in_a_stream_ends_every_session(disk: DiskStore) -> None:
    """A logout after the headers destroys the sessions of all cookies as well."""
    one, two, other = (logged_in(disk, user=user) for user in ("ada", "eve", "bob"))
    for cookies in ([one, unknown(disk)], [two, logged_in(disk, user="dan")]):
        request = begin(disk, *cookies)
        read(request.session)
        request.response_headers(200, [], origin=lambda: HTTPS)
        request.session.invalidate()
        request.close()
        assert [data_of(disk, cookie) for cookie in cookies] == [{}, {}]
    assert data_of(disk, other) == {"user": "bob"}
    assert rows(disk) == 1


# One warning per cause and minute.


def test_a_flood_of_forged_cookies_is_one_warning_per_minute(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Any number of requests with forged cookies is one warning per minute, which counts them."""
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for number in range(100):
        do(store, *[f"{NAME}=made-up-{number}-{i}" for i in range(5)], change=read)
    assert len(warnings_in(caplog)) == 1
    now[0] += 61
    do(store, FORGED, change=read)
    do(store, FORGED, change=read)
    assert len(warnings_in(caplog)) == 2
    assert "99 more" in warnings_in(caplog)[1]
    assert "made-up" not in caplog.text


def test_a_forged_cookie_is_no_warning_unless_it_is_used(
    store: SessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that does not use its session logs nothing, whatever its cookie."""
    assert respond(begin(store, FORGED)) == []
    assert warnings_in(caplog) == []


# Failures keep nothing.


@pytest.mark.parametrize("status", [500, "503 Service Unavailable", 599])
def test_a_failed_response_keeps_nothing(status: int | str, store: SessionStore) -> None:
    """A response of 500 and above keeps no change and no flash as shown, and sets no cookie."""
    request = begin(store)
    request.session.flash("notice", "Saved.")
    cookie = pair_of(respond(request))
    request = begin(store, cookie)
    assert request.session.get_flash("notice") == "Saved."
    log_in(request.session)
    headers = request.response_headers(status, [], origin=lambda: HTTPS)
    request.session["late"] = True
    request.close()
    assert headers == [("Vary", "Cookie")]
    request = begin(store, cookie)
    assert request.session.all() == {}
    assert request.session.get_flash("notice") == "Saved."
    request.abandon()


def test_a_logout_that_fails_logs_nobody_out(store: SessionStore) -> None:
    """A logout whose response is a failure is as if it had not been asked for."""
    cookie = logged_in(store, user="ada")
    request = begin(store, cookie)
    request.session.invalidate()
    assert respond(request, 500) == []
    assert data_of(store, cookie) == {"user": "ada"}


@pytest.mark.parametrize("status", [200, 302, 404, 499])
def test_other_statuses_keep_the_changes(status: int, store: SessionStore) -> None:
    """A response below 500 commits, whether the client has erred or not."""
    request = begin(store)
    request.session["a"] = 1
    assert data_of(store, pair_of(respond(request, status))) == {"a": 1}


def test_failures_can_be_kept_where_that_is_asked_for(store: SessionStore) -> None:
    """With commit_on_error a response of 500 and above commits as any other."""
    config = CONFIG.from_mapping(
        {"secret_keys": list(CONFIG.secret_keys), "gc": "never", "commit_on_error": True}
    )
    request = SessionManager.from_config(config, store).begin()
    request.session["a"] = 1
    cookie = pair_of(respond(request, 500))
    assert data_of(store, cookie) == {"a": 1}
