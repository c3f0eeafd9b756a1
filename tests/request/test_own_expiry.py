"""``expire_after`` and ``expire_on_close``: the cookie and the store follow what a session says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from glimr_session import ConfigError, CookieStore, DiskStore, Session, SessionConfig, SessionStore
from glimr_session._request.manager import SessionManager
from glimr_session._request.origin import Origin
from tests.conftest import Clock
from tests.support.wsgi_apps import KEY

LIFETIME = 600
ABSOLUTE = 4000

ORIGIN = Origin(https=True, host="testserver")


@pytest.fixture(params=["disk", "cookie"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    """Each store, with both lifetimes."""
    made: SessionStore = CookieStore(lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)
    if request.param == "disk":
        made = DiskStore(tmp_path / "sessions", lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)
    with closing(made):
        yield made


class Client:
    """A browser that keeps one cookie, and forgets it when its age is over."""

    def __init__(self, store: SessionStore, clock: Clock, *, on_close: bool = False) -> None:
        config = SessionConfig(
            secret_keys=[KEY], lifetime=LIFETIME, expire_on_close=on_close, gc="never"
        )
        self.manager = SessionManager.from_config(config, store)
        self.clock = clock
        self.cookie = ""

    def ask(self, use: Callable[[Session], object]) -> tuple[object, str | None]:
        """Return what a request's handler returns, and the Set-Cookie header."""
        request = self.manager.begin(self.cookie)
        answer = use(request.session)
        headers = dict(request.response_headers(200, [], origin=lambda: ORIGIN))
        request.close()
        set_cookie = headers.get("Set-Cookie")
        if set_cookie is not None:
            self.cookie = set_cookie.partition(";")[0]
        return answer, set_cookie


def age_in(set_cookie: str | None) -> int | None:
    """Return the Max-Age of a Set-Cookie header; None for a cookie that ends with the browser."""
    assert set_cookie is not None
    found = re.search(r"Max-Age=(\d+)", set_cookie)
    return None if found is None else int(found[1])


def begin(session: Session) -> None:
    session["n"] = 1


def both(
    first: Callable[[Session], None], then: Callable[[Session], None]
) -> Callable[[Session], None]:
    def use(session: Session) -> None:
        first(session)
        then(session)

    return use


def test_remember_me_changes_the_cookie_at_once(store: SessionStore, clock: Clock) -> None:
    """The response to ``expire_after`` sets a cookie of that age, for a known session too."""
    client = Client(store, clock)
    assert age_in(client.ask(begin)[1]) == LIFETIME
    set_cookie = client.ask(lambda session: session.expire_after(timedelta(minutes=50)))[1]
    assert age_in(set_cookie) == 3000


def test_a_remembered_session_outlives_the_configured_lifetime(
    store: SessionStore, clock: Clock
) -> None:
    """It ends when it was idle for as long as it said, to the second."""
    client = Client(store, clock)
    client.ask(both(begin, lambda session: session.expire_after(3000)))
    clock.advance(2999)
    assert client.ask(lambda session: session.get("n"))[0] == 1
    clock.advance(ABSOLUTE - 2999 - 1)
    assert client.ask(lambda session: session.get("n"))[0] == 1
    clock.advance(1)  # the absolute timeout
    assert client.ask(lambda session: session.get("n"))[0] is None


def test_a_session_can_end_sooner_than_configured(store: SessionStore, clock: Clock) -> None:
    """A shorter timeout of its own counts, and is renewed by use as the configured one is."""
    client = Client(store, clock)
    client.ask(both(begin, lambda session: session.expire_after(60)))
    for _ in range(3):
        clock.advance(59)
        answer, set_cookie = client.ask(lambda session: session.get("n"))
        assert answer == 1
        assert age_in(set_cookie) == 60  # only read, and renewed
    clock.advance(60)
    assert client.ask(lambda session: session.get("n"))[0] is None


@pytest.mark.parametrize(("own", "tenth"), [(300, 30), (3000, LIFETIME // 10)])
def test_it_is_renewed_after_a_tenth_of_the_shorter_lifetime(
    store: SessionStore, clock: Clock, own: int, tenth: int
) -> None:
    """Its own, or the configured one, which an older cookie may have as its age."""
    client = Client(store, clock)
    client.ask(both(begin, lambda session: session.expire_after(own)))
    clock.advance(tenth - 1)
    assert client.ask(lambda session: session.get("n"))[1] is None
    clock.advance(1)
    assert age_in(client.ask(lambda session: session.get("n"))[1]) == own


def test_the_cookie_is_never_older_than_the_absolute_timeout(
    store: SessionStore, clock: Clock
) -> None:
    """However long the session may be idle."""
    client = Client(store, clock)
    set_cookie = client.ask(both(begin, lambda session: session.expire_after(10**9)))[1]
    assert age_in(set_cookie) == ABSOLUTE


@pytest.mark.parametrize("configured", [True, False])
def test_a_session_decides_whether_its_cookie_ends_with_the_browser(
    store: SessionStore, clock: Clock, configured: bool
) -> None:
    """Whatever the configuration says, until it changes its mind; the timeout stays."""
    client = Client(store, clock, on_close=configured)
    assert age_in(client.ask(begin)[1]) == (None if configured else LIFETIME)
    set_cookie = client.ask(lambda session: session.expire_on_close(not configured))[1]
    assert age_in(set_cookie) == (LIFETIME if configured else None)
    clock.advance(LIFETIME / 10)
    renewed = client.ask(lambda session: session.get("n"))[1]
    assert age_in(renewed) == (LIFETIME if configured else None)
    set_cookie = client.ask(lambda session: session.expire_on_close(configured))[1]
    assert age_in(set_cookie) == (None if configured else LIFETIME)


def test_none_goes_back_to_the_configured_lifetime(store: SessionStore, clock: Clock) -> None:
    """Both the cookie and the store take the configured one again."""
    client = Client(store, clock)
    client.ask(both(begin, lambda session: session.expire_after(3000)))
    assert age_in(client.ask(lambda session: session.expire_after(None))[1]) == LIFETIME
    clock.advance(LIFETIME)
    assert client.ask(lambda session: session.get("n"))[0] is None


def test_a_login_keeps_it_and_a_logout_does_not(store: SessionStore, clock: Clock) -> None:
    """It belongs to the session, whatever its id, and ends with it."""
    client = Client(store, clock)
    client.ask(both(begin, lambda session: session.expire_after(3000)))
    assert age_in(client.ask(lambda session: session.regenerate())[1]) == 3000
    set_cookie = client.ask(both(Session.invalidate, lambda session: session.flash("x", "bye")))[1]
    assert age_in(set_cookie) == LIFETIME


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "60", True])
def test_what_is_no_duration_is_refused(wrong: object) -> None:
    """The error says what is allowed, and nothing changes."""
    session = Session.start("0" * 64)
    with pytest.raises(ConfigError, match="duration"):
        session.expire_after(wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert session.state().lifetime == 0
    session.stop()


@pytest.mark.parametrize("wrong", [1, 0, "on", None])
def test_what_is_no_bool_is_refused(wrong: object) -> None:
    """It would be stored, and the session could not be read any more."""
    session = Session.start("0" * 64)
    with pytest.raises(TypeError, match="True or False"):
        session.expire_on_close(wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert session.state().expire_on_close is None
    session.stop()


def test_a_cookie_of_the_configured_age_is_renewed_in_time(
    store: SessionStore, clock: Clock
) -> None:
    """A response that would have given the cookie a longer age may have been lost."""
    client = Client(store, clock)
    client.ask(begin)
    before = client.cookie
    client.ask(lambda session: session.expire_after(3000))
    if store.server_side:
        client.cookie = before  # the response is lost
    clock.advance(LIFETIME / 10)
    answer, set_cookie = client.ask(lambda session: session.get("n"))
    assert answer == 1
    if store.server_side:
        assert age_in(set_cookie) == 3000
