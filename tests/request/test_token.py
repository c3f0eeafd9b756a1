"""SessionToken: the header X-Session-Token in place of the cookie."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimr_session import (
    ConfigError,
    CookieStore,
    DiskStore,
    Session,
    SessionConfig,
    SessionStore,
    SessionTooLarge,
)
from glimr_session._request.cookie import ReceivedCookies
from glimr_session._request.manager import SessionManager
from glimr_session._request.origin import Origin
from glimr_session._request.signing import CookieSigner
from glimr_session._request.token import TOKEN_HEADER, SessionToken
from glimr_session.stores.moving import MovingStore
from tests.conftest import Clock
from tests.support.cookies import tampered
from tests.support.memory import InMemory
from tests.support.wsgi_apps import KEY, LIFETIME, put, warnings_in
from tests.support.wsgi_client import Headers

pytestmark = pytest.mark.usefixtures("no_session_left")

# A cookie for it would be Secure, of another host and of another path.
ELSEWHERE = Origin(https=False, host="elsewhere.example", path="/elsewhere")

OTHER_KEY = "another key for tests, long enough"

TOKEN = SessionToken(CookieSigner([KEY], "the salt of these tests"))

SIGNED = TOKEN.set("ours", ELSEWHERE)

NOTHING = ReceivedCookies((), refused=False)


@pytest.fixture(params=["disk", "cookie"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    if request.param == "cookie":
        yield CookieStore(lifetime=LIFETIME)
    else:
        with closing(DiskStore(tmp_path / "sessions", lifetime=LIFETIME)) as found:
            yield found


def manager_of(store: SessionStore, **settings: Any) -> SessionManager:
    config = {"transport": "header", "secret_keys": [KEY], "gc": "never", "lifetime": LIFETIME}
    return SessionManager.from_config(SessionConfig(**{**config, **settings}), store)


class Program:
    """A program that keeps the token of the last response that had one."""

    def __init__(self, store: SessionStore, token: str = "", **settings: Any) -> None:
        self.token = token
        self.headers: Headers = []
        self._manager = manager_of(store, **settings)

    def ask(self, change: Callable[[Session], object], *, received: bool = True) -> str | None:
        """Make a whole request; return the token that its response has, None for none."""
        request = self._manager.begin(self.token)
        change(request.session)
        self.headers = request.response_headers(200, [], origin=lambda: ELSEWHERE)
        request.close()
        assert "Set-Cookie" not in dict(self.headers)
        sent = dict(self.headers).get(TOKEN_HEADER)
        if sent is not None and received:
            self.token = sent
        return sent

    def read(self) -> dict[str, Any]:
        """Return all data of the session, by a request of its own."""
        found: list[dict[str, Any]] = []
        self.ask(lambda session: found.append(session.all()))
        return found[0]


def log_in(session: Session) -> None:
    session.regenerate()
    session["user"] = "ada"


# What is read.


def test_a_token_that_was_set_is_read() -> None:
    """read() returns what set() was given."""
    (verified,) = TOKEN.read(SIGNED).verified
    assert verified.value == "ours"
    assert TOKEN.read([f" {SIGNED}\t"]).verified == (verified,)


@pytest.mark.parametrize("headers", ["", " ", "\t \t", [], [""]])
def test_no_token_is_no_bad_token(headers: str | Sequence[str]) -> None:
    """A program that has none, or sends the empty one back, is told nothing of it."""
    assert TOKEN.read(headers) == NOTHING


@pytest.mark.parametrize(
    "headers",
    [
        [SIGNED, SIGNED],
        f"{SIGNED},{SIGNED}",
        f"{SIGNED}, {TOKEN.set('other', ELSEWHERE)}",
        tampered(SIGNED),
        f'"{SIGNED}"',
        f"Bearer {SIGNED}",
        f"{SIGNED}\x00",
        f"\r\n{SIGNED}",
        f"{SIGNED}\x7f\x1b[31m",
        f"{SIGNED}é",
        "\u2028\ud800",
        "x" * 100_000,
        f"{SIGNED}{'.' * 100_000}",
        "9" * 100_000,
        ["x"] * 10_000,
    ],
    ids=[
        "twice", "joined", "of two sessions", "tampered", "quoted", "bearer", "NUL", "line break",
        "control characters", "latin-1", "surrogates", "100 kB", "100 kB of dots",
        "100 kB of digits", "10,000 headers",
    ],
)  # fmt: skip
def test_anything_else_counts_as_absent(headers: str | Sequence[str]) -> None:
    """Several tokens, and one that is no token, are refused, and raise nothing."""
    assert TOKEN.read(headers) == NOTHING._replace(refused=True)


@given(st.one_of(st.text(), st.lists(st.text())))
def test_read_never_raises(headers: str | Sequence[str]) -> None:
    """Whatever came, nothing verifies that was not signed."""
    assert TOKEN.read(headers).verified == ()


def test_a_bad_token_is_a_warning(disk: DiskStore, caplog: pytest.LogCaptureFixture) -> None:
    """The log says which header it was, and not what was in it; the request is anonymous."""
    bad = tampered(SIGNED)
    assert Program(disk, bad).read() == {}
    assert warnings_in(caplog) == ["A token X-Session-Token does not verify and counts as absent."]


# What is sent.


def test_a_session_that_is_larger_than_a_cookie_is_refused() -> None:
    """The limit is that of cookies, 4,096 bytes; a smaller token is sent."""
    rest = len(TOKEN.set("x" * 100, ELSEWHERE)) - 100
    assert len(TOKEN.set("x" * (4096 - rest), ELSEWHERE)) == 4096
    with pytest.raises(SessionTooLarge, match=r"token takes 4097 .*\"disk\"") as raised:
        TOKEN.set("x" * (4097 - rest), ELSEWHERE)
    assert (raised.value.size, raised.value.limit) == (4097, 4096)


@pytest.mark.parametrize("value", ["a b", "a\r\nSet-Cookie: b=c", "a,b", "é", "\x00"])
def test_a_store_cannot_write_into_the_headers(value: str) -> None:
    """A value of a store's that no header can hold is refused."""
    with pytest.raises(ConfigError, match="cookie_value"):
        TOKEN.set(value, ELSEWHERE)


def test_the_token_is_sent_when_the_session_begins(store: SessionStore) -> None:
    """The first write is answered with a token, and that leads to the session."""
    program = Program(store)
    assert program.ask(lambda session: session.get("n")) is None
    assert program.ask(put("n", 1))
    assert program.read() == {"n": 1}


def test_a_request_that_only_reads_is_sent_none(store: SessionStore) -> None:
    """The program keeps the token that it has; the response varies with the header."""
    program = Program(store)
    program.ask(put("n", 1))
    token = program.token
    assert program.read() == {"n": 1}
    assert program.token == token
    assert program.headers == [("Vary", TOKEN_HEADER)]


def test_a_write_changes_the_token_where_it_holds_the_session(store: SessionStore) -> None:
    """In the token each write is a new value; on the server the token stays."""
    program = Program(store)
    program.ask(put("n", 1))
    changed = program.ask(put("n", 2))
    assert (changed is None) is store.server_side
    assert program.read() == {"n": 2}


def test_a_login_changes_the_token(store: SessionStore) -> None:
    """regenerate() is answered with another token, with what was there before."""
    program = Program(store)
    program.ask(put("n", 1))
    before = program.token
    assert program.ask(log_in) not in (None, "", before)
    assert program.read() == {"n": 1, "user": "ada"}


def test_a_logout_is_answered_with_an_empty_token(store: SessionStore) -> None:
    """The program drops its token by the same rule, and is anonymous from then on."""
    program = Program(store)
    program.ask(log_in)
    before = program.token
    assert program.ask(Session.invalidate) == ""
    assert program.headers == [
        ("Vary", TOKEN_HEADER), ("Cache-Control", "no-store"), (TOKEN_HEADER, ""),
    ]  # fmt: skip
    assert program.token == ""
    assert program.read() == {}
    if store.server_side:
        assert Program(store, before).read() == {}


def test_a_dead_token_is_ended(disk: DiskStore) -> None:
    """One that verifies, and whose session is gone, is answered with an empty one."""
    program = Program(disk)
    program.ask(put("n", 1))
    copy = Program(disk, program.token)
    program.ask(Session.invalidate)
    copy.read()
    assert copy.token == program.token == ""


def test_a_bad_token_is_ended_by_a_logout_alone(store: SessionStore) -> None:
    """A token that does not verify stays until somebody logs out with it."""
    program = Program(store, tampered(SIGNED))
    assert program.ask(lambda session: session.get("n")) is None
    assert program.ask(Session.invalidate) == ""


def test_a_late_request_is_sent_none(disk: DiskStore) -> None:
    """One with the token from before a login is anonymous, and does not replace the login's."""
    program = Program(disk)
    program.ask(put("n", 1))
    late = Program(disk, program.token)
    program.ask(log_in)
    assert late.ask(put("n", 2)) is None
    assert late.read() == {}
    assert program.read() == {"n": 1, "user": "ada"}


def test_the_token_is_renewed(store: SessionStore, clock: Clock) -> None:
    """After a tenth of the lifetime a read is answered with a newer one, and the session lives."""
    program = Program(store)
    program.ask(put("n", 1))
    for _ in range(30):
        before = program.token
        clock.now += LIFETIME / 10
        assert program.read() == {"n": 1}
        assert program.token != before
    clock.now += LIFETIME + 1
    assert program.read() == {}


def test_on_the_server_an_older_token_stays_good(disk: DiskStore, clock: Clock) -> None:
    """A program that misses a renewal has lost nothing, for the session was renewed."""
    program = Program(disk)
    program.ask(put("n", 1))
    for _ in range(30):
        clock.now += LIFETIME / 10
        assert program.ask(lambda session: session.get("n"), received=False)
    assert program.read() == {"n": 1}


def test_no_warning_tells_of_cookies(caplog: pytest.LogCaptureFixture, store: SessionStore) -> None:
    """Secure, Domain and Path mean nothing here, and nothing is said of them."""
    program = Program(
        store,
        cookie_secure=True,
        cookie_domain="shop.example",
        cookie_path="/shop",
        cookie_samesite="None",
        cookie_partitioned=True,
        expire_on_close=True,
    )
    with caplog.at_level(logging.DEBUG):
        program.ask(put("n", 1))
        assert program.ask(log_in)
        program.ask(Session.invalidate)
    assert warnings_in(caplog) == []


@pytest.mark.parametrize("kind", ["began", "in the token"])
def test_a_late_change_is_lost_with_the_word_for_a_token(
    kind: str, disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """What is said of a change after the headers speaks of the token."""
    program = Program(disk if kind == "began" else CookieStore())
    if kind == "in the token":
        program.ask(put("n", 1))
    request = program._manager.begin(program.token)
    request.session.get("n")
    request.response_headers(200, [], origin=lambda: ELSEWHERE)
    request.session["n"] = 2
    request.close()
    (warning,) = warnings_in(caplog)
    lost = "the browser has no token for it" if kind == "began" else "it lives in the token"
    assert lost in warning


def test_the_warning_of_a_late_use_names_the_header(
    disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A session that is first used after the headers asks for Vary: X-Session-Token."""
    for headers in ([("Vary", "Cookie")], [("Vary", "Accept, x-session-token")]):
        request = manager_of(disk).begin()
        request.response_headers(200, headers, origin=lambda: ELSEWHERE)
        request.session.get("n")
        request.close()
    (warning,) = warnings_in(caplog)
    assert "without Vary: X-Session-Token" in warning


# Caches.


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], ["no-store"]),
        (["public, max-age=60"], ["public, max-age=60, no-store"]),
        (["no-cache"], ["no-cache, no-store"]),
        (["private", "max-age=60"], ["private", "max-age=60, no-store"]),
        (["No-Store"], ["No-Store"]),
    ],
    ids=str,
)
def test_no_cache_stores_a_token(before: list[str], after: list[str], disk: DiskStore) -> None:
    """Caches know Set-Cookie, and no header of ours: the whole response is not stored."""
    headers = [("Cache-Control", value) for value in before]
    request = manager_of(disk).begin()
    request.session["n"] = 1
    sent = request.response_headers(200, headers, origin=lambda: ELSEWHERE)
    request.close()
    assert [value for name, value in sent if name == "Cache-Control"] == after


# Cookies and tokens are two things.


@pytest.mark.parametrize("name", ["glimr_session", "token", "_token.glimr_session"])
def test_no_cookie_is_a_token_and_no_token_a_cookie(name: str, store: SessionStore) -> None:
    """What is signed for one does not verify as the other, whatever the names."""
    as_cookie = manager_of(store, transport="cookie", cookie=name).binding.cookie
    cookie = as_cookie.set("x", ELSEWHERE).partition(";")[0].partition("=")[2]
    as_token = manager_of(store, cookie=name).binding.cookie
    token = as_token.set("x", ELSEWHERE)
    assert as_cookie.read(f"{name}={cookie}").verified
    assert as_token.read(token).verified
    assert as_token.read(cookie).verified == ()
    assert as_cookie.read(f"{name}={token}").verified == ()


@pytest.mark.parametrize("other", [{"cookie": "other"}, {"secret_keys": [OTHER_KEY]}])
def test_a_token_of_another_name_or_key_does_not_verify(other: dict[str, Any]) -> None:
    """The setting ``cookie`` tells the tokens of two applications apart."""
    token = manager_of(CookieStore()).binding.cookie.set("x", ELSEWHERE)
    assert manager_of(CookieStore(), **other).binding.cookie.read(token).verified == ()


def test_keys_are_rotated_as_for_cookies(disk: DiskStore) -> None:
    """A token of the former key verifies, and one of a newer key is left alone for a while."""
    former, newer = "the former key of this test, long", "the newer key of this test, long"
    program = Program(disk, secret_keys=[former])
    program.ask(put("n", 1))
    rotated = Program(disk, program.token, secret_keys=[newer, former])
    assert rotated.read() == {"n": 1}
    rotated.ask(log_in)
    behind = Program(disk, rotated.token, secret_keys=[former], rotation_grace=60)
    assert behind.ask(put("n", 2)) is None


def test_sessions_move_to_another_store(disk: DiskStore) -> None:
    """A token of the store before leads to the session, and is replaced."""
    before = InMemory().store()
    program = Program(before)
    program.ask(put("n", 1))
    moved = Program(MovingStore(disk, before), program.token)
    assert moved.read() == {"n": 1}
    assert moved.token not in ("", program.token)


def test_without_a_store_nothing_is_sent() -> None:
    """A site whose store is not configured yet forgets, and varies with the right header."""
    config = SessionConfig(transport="header", secret_keys=[KEY])
    manager = SessionManager(config, None, SessionManager.from_config()._fallback)
    request = manager.begin("anything")
    request.session["n"] = 1
    sent = request.response_headers(200, [], origin=lambda: ELSEWHERE)
    request.close()
    assert sent == [("Vary", TOKEN_HEADER)]
