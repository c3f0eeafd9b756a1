"""Keys that are rotated while workers of two configurations answer the same browsers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimr_session import CookieStore, DiskStore, Json, Session, SessionConfig, SessionStore
from glimr_session._request.manager import SessionManager
from glimr_session._request.origin import Origin
from glimr_session._request.signing import CookieSigner
from tests.conftest import Clock
from tests.support.wsgi_apps import LIFETIME, rows, warnings_in
from tests.support.wsgi_client import Cookies, Headers

pytestmark = pytest.mark.usefixtures("no_session_left")

OLD = "the old key of this test, long enough"

NEW = "the new key of this test, long enough"

GRACE = 300.0

HTTPS = Origin(https=True, host="testserver")

NAME = "glimr_session"

ENDED = f"{NAME}=; HttpOnly; Max-Age=0; Path=/; SameSite=Lax; Secure"

STEPS = {"old": [OLD], "old, new": [OLD, NEW], "new, old": [NEW, OLD], "new": [NEW]}


@pytest.fixture(params=["disk", "cookie"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[SessionStore]:
    if request.param == "cookie":
        yield CookieStore(lifetime=LIFETIME)
    else:
        with closing(DiskStore(tmp_path / "sessions", lifetime=LIFETIME)) as found:
            yield found


def worker(store: SessionStore, *keys: str, grace: float = 0.0) -> SessionManager:
    """Return what answers in one process of a site."""
    config = SessionConfig(
        secret_keys=keys, gc="never", lifetime=LIFETIME, rotation_grace=grace, cookie=NAME
    )
    return SessionManager.from_config(config, store)


def ask(
    asked: SessionManager, cookies: Cookies, change: Callable[[Session], object], *others: str
) -> Headers:
    """Make a whole request, with other cookies behind the browser's; return its headers."""
    request = asked.begin([cookies.header(), *others])
    change(request.session)
    headers = request.response_headers(200, [], origin=lambda: HTTPS)
    request.close()
    cookies.take(headers)
    return [*headers]


def set_cookies(headers: Headers) -> list[str]:
    return [value for name, value in headers if name == "Set-Cookie"]


def data_of(asked: SessionManager, cookies: Cookies) -> dict[str, Json]:
    found: dict[str, Json] = {}
    ask(asked, cookies, lambda session: found.update(session.all()))
    return found


def read(session: Session) -> None:
    session.get("user")


def write(session: Session) -> None:
    session["written"] = True


def count(session: Session) -> None:
    session.increment("count")


def log_in(session: Session) -> None:
    session.regenerate()
    session["user"] = "ada"


def visitor(asked: SessionManager, **data: Json) -> Cookies:
    """Return the cookies of a browser that has a session with this data."""
    cookies = Cookies()
    ask(asked, cookies, lambda session: session.update(data))
    return cookies


def cookie(value: str) -> Cookies:
    return Cookies(f"{NAME}={value}")


def signed(store: SessionStore, key: str, at: float, clock: Clock) -> str:
    """Return what a worker with this key would have set for a session nobody knows."""
    now, clock.now = clock.now, at
    signer = CookieSigner([key], f"glimr_session.{store.kind}.{NAME}")
    value = signer.sign("0" * 64)
    clock.now = now
    return value


# The recipe.


@pytest.mark.parametrize(
    ("before", "after"),
    [("old", "old, new"), ("old, new", "new, old"), ("new, old", "new")],
)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from(["count", "log in", "read", "wait and read"])),
        max_size=8,
    )
)
def test_no_session_is_lost_between_two_steps(
    before: str,
    after: str,
    store: SessionStore,
    clock: Clock,
    requests: list[tuple[bool, str]],
) -> None:
    """Workers of two steps that follow one another serve one browser in any order."""
    workers = worker(store, *STEPS[before]), worker(store, *STEPS[after])
    cookies = visitor(workers[0], count=0)
    expected: dict[str, Json] = {"count": 0}
    counted = 0
    for which, what in requests:
        if what == "count":
            counted += 1
            expected["count"] = counted
            ask(workers[which], cookies, count)
        elif what == "log in":
            expected["user"] = "ada"
            ask(workers[which], cookies, log_in)
        elif what == "wait and read":
            clock.advance(LIFETIME / 5)
        assert data_of(workers[which], cookies) == expected


@pytest.mark.parametrize("first", [0.0, 0.09, 0.11])
def test_the_old_key_can_go_after_a_lifetime(
    first: float, store: SessionStore, clock: Clock
) -> None:
    """A session from before the second step is used in it, and after the third: it lives on."""
    cookies = visitor(worker(store, OLD, NEW), user="ada")
    both, new = worker(store, NEW, OLD), worker(store, NEW)
    for part in (first, 0.5 - first, 0.5):
        clock.advance(part * LIFETIME)
        assert data_of(both, cookies) == {"user": "ada"}
    clock.advance(1)
    assert data_of(new, cookies) == {"user": "ada"}


# A key that signs before all workers verify with it, and no grace.


def test_without_a_grace_a_cookie_of_an_unknown_key_is_replaced(store: SessionStore) -> None:
    """By default a request whose cookie does not verify begins a session, with its cookie."""
    ahead = worker(store, NEW, OLD)
    cookies = visitor(ahead, user="ada")
    assert set_cookies(ask(worker(store, OLD), cookies, write))
    assert data_of(ahead, cookies) == {"written": True}


# The grace.


@pytest.mark.parametrize("since", [0.0, GRACE])
def test_a_cookie_of_a_newer_key_is_left_alone(
    since: float, store: SessionStore, clock: Clock
) -> None:
    """A worker without the new key answers anonymously, keeps nothing, and sets no cookie."""
    ahead, behind = worker(store, NEW, OLD), worker(store, OLD, grace=GRACE)
    cookies = visitor(ahead, user="ada")
    sent = cookies.header()
    clock.advance(since)
    assert data_of(behind, cookies) == {}
    for change in (read, write, lambda session: session.flash("notice", "Saved.")):
        assert set_cookies(ask(behind, cookies, change)) == []
    assert cookies.header() == sent
    assert data_of(ahead, cookies) == {"user": "ada"}
    shown: list[Json] = []
    ask(ahead, cookies, lambda session: shown.append(session.get_flash("notice")))
    assert shown == [""]
    if isinstance(store, DiskStore):
        assert rows(store) == 1


def test_no_session_is_lost_in_the_grace(store: SessionStore) -> None:
    """A browser whose requests alternate between both workers keeps its session."""
    ahead, behind = worker(store, NEW, OLD), worker(store, OLD, grace=GRACE)
    cookies = visitor(behind, count=0)
    for number in range(3):
        ask(behind, cookies, count)  # after the first round in vain
        ask(ahead, cookies, log_in)
        ask(ahead, cookies, count)
        assert data_of(ahead, cookies) == {"count": number + 2, "user": "ada"}


@pytest.mark.parametrize("since", [-61.0, GRACE + 1, LIFETIME])
def test_a_cookie_from_outside_of_the_grace_is_replaced(
    since: float, store: SessionStore, clock: Clock
) -> None:
    """A cookie that is older than the grace, or from the future, is replaced by the first write."""
    asked = worker(store, NEW, grace=GRACE)
    cookies = cookie(signed(store, OLD, clock.now - since, clock))
    assert len(set_cookies(ask(asked, cookies, write))) == 1
    assert data_of(asked, cookies) == {"written": True}


@pytest.mark.parametrize("since", [-60.0, -1.0])
def test_the_clock_of_another_machine_may_be_a_minute_ahead(
    since: float, store: SessionStore, clock: Clock
) -> None:
    """A cookie from a little in the future is one of a moment ago."""
    cookies = cookie(signed(store, NEW, clock.now - since, clock))
    assert set_cookies(ask(worker(store, OLD, grace=GRACE), cookies, write)) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda value, stamp, signature: "forged",
        lambda value, stamp, signature: f".{stamp}.{signature}",
        lambda value, stamp, signature: f"{stamp}.{signature}",
        lambda value, stamp, signature: f"{value}.{signature}",
        lambda value, stamp, signature: f"{value}.{stamp}",
        lambda value, stamp, signature: f"{value}..{signature}",
        lambda value, stamp, signature: f"{value}.{stamp}.{signature[1:]}",
        lambda value, stamp, signature: f"{value}.{stamp}.A{signature}",
        lambda value, stamp, signature: f"{value}.{stamp}.+{signature[1:]}",
        lambda value, stamp, signature: f"{value}.{stamp}.{signature}.",
        lambda value, stamp, signature: f"{value}.{stamp.upper()}.{signature}",
        lambda value, stamp, signature: f"{value}.0x{stamp}.{signature}",
        lambda value, stamp, signature: f"{value}.-{stamp}.{signature}",
        lambda value, stamp, signature: f"{value}.{stamp}z.{signature}",
        lambda value, stamp, signature: f"{value} {value}.{stamp}.{signature}",
    ],
)
def test_a_cookie_without_the_form_of_ours_is_replaced(
    damage: Callable[[str, str, str], str], store: SessionStore, clock: Clock
) -> None:
    """A cookie that nobody with a key has made gets no grace."""
    clock.now = float(0x19D3F1A8C00 // 1000)  # its digits have letters
    parts = signed(store, NEW, clock.now, clock).split(".")
    asked = worker(store, OLD, grace=GRACE)
    header = f"{NAME}={damage(parts[0], parts[1], parts[2])}"
    assert len(set_cookies(ask(asked, Cookies(), write, header))) == 1


def test_a_login_in_the_grace_gets_its_cookie(store: SessionStore) -> None:
    """A login in a worker without the new key is one of what it wrote, for all workers."""
    ahead, behind = worker(store, NEW, OLD), worker(store, OLD, grace=GRACE)
    cookies = visitor(ahead, basket=1)
    assert len(set_cookies(ask(behind, cookies, log_in))) == 1
    for asked in (ahead, behind):
        assert data_of(asked, cookies) == {"user": "ada"}


def test_a_logout_in_the_grace_ends_the_cookie(store: SessionStore) -> None:
    """A logout in a worker without the new key ends the cookie, whoever has signed it."""
    cookies = visitor(worker(store, NEW, OLD), user="ada")
    behind = worker(store, OLD, grace=GRACE)
    assert set_cookies(ask(behind, cookies, Session.invalidate)) == [ENDED]


def test_a_logout_in_the_grace_can_leave_a_notice(store: SessionStore) -> None:
    """What a logout puts is a session of its own, and its cookie replaces the other one."""

    def log_out(session: Session) -> None:
        session.invalidate()
        session["notice"] = "Goodbye."

    ahead, behind = worker(store, NEW, OLD), worker(store, OLD, grace=GRACE)
    cookies = visitor(ahead, user="ada")
    assert len(set_cookies(ask(behind, cookies, log_out))) == 1
    assert data_of(ahead, cookies) == {"notice": "Goodbye."}


def test_a_dead_cookie_beside_one_of_a_newer_key_is_not_ended(
    store: SessionStore, clock: Clock
) -> None:
    """No cookie is ended where that could end the one that is left alone."""
    behind = worker(store, OLD, grace=GRACE)
    newer = f"{NAME}={signed(store, NEW, clock.now, clock)}"
    dead = signed(store, OLD, clock.now, clock)
    assert set_cookies(ask(behind, cookie(dead), read, newer)) == []
    assert set_cookies(ask(behind, cookie(dead), write, newer)) == []
    assert set_cookies(ask(behind, cookie(dead), read)) == [ENDED]


def test_a_login_that_keeps_nothing_ends_no_cookie_in_the_grace(
    store: SessionStore, clock: Clock
) -> None:
    """A login that was taken back leaves no session, and the newer cookie stays."""

    def log_in_and_forget(session: Session) -> None:
        log_in(session)
        session.forget("user")

    behind = worker(store, OLD, grace=GRACE)
    newer = f"{NAME}={signed(store, NEW, clock.now, clock)}"
    dead = signed(store, OLD, clock.now, clock)
    assert set_cookies(ask(behind, cookie(dead), log_in_and_forget, newer)) == []


@pytest.mark.parametrize("others", [["{newer}", "forged"], ["forged", "{newer}"]])
def test_a_forged_cookie_beside_one_of_a_newer_key_changes_nothing(
    others: list[str], store: SessionStore, clock: Clock
) -> None:
    """One cookie that a newer key may have signed is enough, wherever it stands."""
    newer = signed(store, NEW, clock.now, clock)
    headers = [f"{NAME}={other.format(newer=newer)}" for other in others]
    assert set_cookies(ask(worker(store, OLD, grace=GRACE), Cookies(), write, *headers)) == []


def test_a_living_session_beside_a_cookie_of_a_newer_key_is_used(
    store: SessionStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The grace is for requests none of whose cookies leads to a session."""
    behind = worker(store, OLD, grace=GRACE)
    newer = f"{NAME}={signed(store, NEW, clock.now, clock)}"
    cookies = visitor(behind, user="ada")
    ask(behind, cookies, write, newer)
    assert data_of(behind, cookies) == {"user": "ada", "written": True}
    (warning,) = warnings_in(caplog)
    assert "counts as absent" in warning


def test_two_living_sessions_beside_a_cookie_of_a_newer_key_are_nobody_s(
    store: SessionStore, clock: Clock
) -> None:
    """Two living sessions are as ambiguous with a third cookie as without: a write begins anew."""
    behind = worker(store, OLD, grace=GRACE)
    newer = f"{NAME}={signed(store, NEW, clock.now, clock)}"
    cookies, others = visitor(behind, user="ada"), visitor(behind, user="eve")
    assert set_cookies(ask(behind, cookies, write, others.header(), newer))
    assert data_of(behind, cookies) == {"written": True}


def test_a_request_in_the_grace_is_cached_as_an_anonymous_one(store: SessionStore) -> None:
    """The headers are those of any request that used its session and sets no cookie."""
    cookies = visitor(worker(store, NEW), user="ada")
    behind = worker(store, OLD, grace=GRACE)
    assert ask(behind, cookies, write) == ask(behind, Cookies(), read) == [("Vary", "Cookie")]


def test_a_write_after_the_headers_in_the_grace_is_told(
    store: SessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    """What a stream writes late in the grace is lost as what it writes early, and a log says so."""
    cookies = visitor(worker(store, NEW), user="ada")
    request = worker(store, OLD, grace=GRACE).begin(cookies.header())
    write(request.session)
    assert request.response_headers(200, [], origin=lambda: HTTPS) == [("Vary", "Cookie")]
    write(request.session)
    request.close()
    assert "the change is lost" in warnings_in(caplog)[-1]


def test_the_grace_is_told_with_what_to_do(
    store: SessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Any number of such requests is one warning, which says what to do and quotes no cookie."""
    cookies = visitor(worker(store, NEW), user="ada")
    behind = worker(store, OLD, grace=GRACE)
    for _ in range(3):
        ask(behind, cookies, write)
    (warning,) = warnings_in(caplog)
    assert "Put the new key behind the old one in secret_keys everywhere" in warning
    assert cookies.header().partition("=")[2] not in caplog.text


def test_a_cookie_that_verifies_is_not_looked_at_for_its_form(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The grace costs nothing where a cookie verifies."""
    asked = worker(store, NEW, grace=GRACE)
    cookies = visitor(asked, user="ada")
    monkeypatch.setattr(CookieSigner, "may_be_newer", lambda *_: pytest.fail("looked at"))
    assert data_of(asked, cookies) == {"user": "ada"}
