"""No secret leaves by a log line, a repr, a str or a traceback.

A session id is in none of them, a short hash at most. The same goes for keys, for cookies as
they come over the wire, and for what is kept in a session.
"""

from __future__ import annotations

import base64
import logging
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from glimr_session import (
    CommitResult,
    ConfigError,
    CookieStore,
    DiskStore,
    Session,
    SessionClosed,
    SessionConfig,
    SessionError,
    SessionMiddleware,
    SessionStore,
    SessionTooLarge,
    StoreUnavailable,
    generate_id,
)
from glimr_session._request.cleanup import Policy, collect
from glimr_session._request.manager import SessionManager
from glimr_session._request.origin import Origin
from glimr_session._request.signing import CookieSigner
from glimr_session._session.messages import Invalidate, Regenerate
from tests.support.actors import stop_cleanup_worker
from tests.support.cookies import make_cookie
from tests.support.wsgi_client import Browser, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


KEY = "SIGNING-KEY-f3b1c6a7e95d40278ab3"


OLD_KEY = "RETIRED-KEY-0d9e8c7b6a5f41324354"


REMOVED_KEY = "REMOVED-KEY-6c4f18d02be97a53e1f0"


# Kept in sessions. Unlike anything that a message could hold by chance.
TYPED = "STORED-VALUE-9f41c07d"


FLASHED = "FLASHED-VALUE-5b82ae16"


HUGE = "HUGE-VALUE-77aa10c4-" * 400


HTTPS = Origin(https=True, host="testserver")


PIECE = 12
"""Shorter pieces than this of a secret tell nothing: a session's hash has 8 digits."""


class Secrets:
    """The secrets that must not be seen, and all that was seen."""

    def __init__(self) -> None:
        self.hidden: set[str] = {KEY, OLD_KEY, TYPED, FLASHED, HUGE[:20]}
        self.shown: list[str] = []

    def hide(self, *secrets: str) -> None:
        self.hidden |= {secret for secret in secrets if secret}

    def show(self, *things: object) -> None:
        """Record everything that these things show of themselves."""
        for thing in things:
            self.shown += [repr(thing), str(thing), f"{thing}"]
            if isinstance(thing, BaseException):
                # With all causes and contexts; as log records are formatted, too.
                self.shown.append("".join(traceback.format_exception(thing)))

    def seen(self) -> set[str]:
        """Return the secrets of which a piece is in what was shown."""
        shown = "\n".join(self.shown)
        return {
            secret
            for secret in self.hidden
            for spelling in spellings(secret)
            for start in range(max(1, len(spelling) - PIECE + 1))
            if spelling[start : start + PIECE] in shown
        }


def spellings(secret: str) -> Iterator[str]:
    """Return a secret as it is, and as it looks inside of a longer text in base64."""
    yield secret
    for shift in range(3):
        inside = base64.urlsafe_b64encode(b"-" * shift + secret.encode())[4:-4]
        if len(inside) >= PIECE:
            yield inside.decode()


@pytest.fixture
def secrets(caplog: pytest.LogCaptureFixture) -> Iterator[Secrets]:
    """Fail if a secret was shown, or is in any log record of this test."""
    secrets = Secrets()
    with caplog.at_level(logging.DEBUG):
        yield secrets
        for name in ("glimr_session", "pykka"):  # both are heard at this level
            assert logging.getLogger(name).isEnabledFor(logging.DEBUG)
            assert logging.getLogger(name).propagate
    records = caplog.get_records("call")
    for record in records:
        secrets.shown.append(logging.Formatter().format(record))
        # What structured logs send: the arguments, and the exception by itself.
        secrets.shown.append(repr(vars(record)))
        if record.exc_info is not None:
            secrets.show(record.exc_info[1])
    assert secrets.seen() == set()


@pytest.fixture(params=["disk", "cookie"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    store = DiskStore(tmp_path / "sessions") if request.param == "disk" else CookieStore()
    yield store
    stop_cleanup_worker()  # it uses the store
    store.close()


def config(gc: str | Policy = "never", **settings: Any) -> SessionConfig:
    return SessionConfig(secret_keys=[KEY, OLD_KEY], gc=gc, **settings)


class Site:
    """An application that does all that goes wrong, and a browser that asks for it."""

    def __init__(self, store: SessionStore, secrets: Secrets, **settings: Any) -> None:
        self.secrets = secrets
        self.store = store
        self.served = SessionMiddleware(self.app, config(**settings), store=store)
        self.browser = Browser()
        secrets.show(self.served, store, config(**settings))

    def app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        session: Session = environ["glimr.session"]
        path = environ["PATH_INFO"].strip("/")
        self.session = session
        self.secrets.show(session)
        handler: Callable[[Session], object] = getattr(self, path)
        handler(session)
        self.secrets.hide(session.id)
        self.secrets.show(session)
        start_response("200 OK", [])
        yield b"first"
        if path.endswith("late"):
            if path == "gone_late":
                self.store.destroy(session.id)
            session.put("late", TYPED)
        if path == "late_regenerate":
            with pytest.raises(SessionClosed) as caught:
                session.regenerate()
            self.secrets.show(caught.value)

    def get(self, path: str, cookies: str | None = None) -> Response | None:
        """Ask for a page, with these cookies if they are given.

        Return the response, or show the exception and return None.
        """
        extra = {"PATH_INFO": f"/{path}"}
        if cookies is not None:
            self.browser = Browser()
            extra["HTTP_COOKIE"] = cookies
            self.hide(cookies)
        try:
            response = self.browser.request(self.served, extra=extra).begin().finish()
        except (SessionError, RuntimeError) as error:
            self.secrets.show(error)
            return None
        self.hide(self.browser.cookies.header())
        return response

    def hide(self, cookies: str) -> None:
        """Hide the values of a Cookie header, and what they are made of."""
        for cookie in cookies.split("; "):
            value = cookie.partition("=")[2]
            parts = [value, *value.split(".")]
            self.secrets.hide(*(part for part in parts if len(part) >= PIECE))

    # The pages.

    def read(self, session: Session) -> None:
        session.get("typed")

    def put(self, session: Session) -> None:
        session.put("typed", TYPED)
        session.flash("flashed", FLASHED)

    def late(self, session: Session) -> None:
        self.read(session)

    def gone(self, session: Session) -> None:
        session.put("typed", TYPED)
        self.store.destroy(session.id)  # a logout beside this request

    gone_late = read

    late_regenerate = read

    def login(self, session: Session) -> None:
        self.secrets.hide(session.id)
        session.regenerate()

    def logout(self, session: Session) -> None:
        self.secrets.hide(session.id)
        session.invalidate()

    def huge(self, session: Session) -> None:
        session.put("huge", HUGE)

    def fail(self, session: Session) -> None:
        session.put("typed", TYPED)
        try:
            session.increment("typed")
        except TypeError as error:
            raise RuntimeError("the application failed") from error

    def misuse(self, session: Session) -> None:
        session.put("typed", TYPED)
        untyped: Any = session
        wrongs: list[Callable[[], object]] = [
            lambda: untyped.put("typed", {TYPED}),
            lambda: untyped.put("typed", [TYPED, float("nan")]),
            lambda: untyped.put("typed", f"{TYPED}\ud800"),
            lambda: untyped.put("typed", {"inner": {b"": TYPED}}),
            lambda: untyped.update({"typed": TYPED, "other": object()}),
            lambda: untyped.flash("typed", (TYPED, object())),
            lambda: untyped["missing"],
            lambda: untyped.increment("typed"),
        ]
        for wrong in wrongs:
            try:
                wrong()
            except (TypeError, ValueError, KeyError) as error:
                self.secrets.show(error)
            else:
                raise AssertionError("it should have been refused")


def test_a_whole_story_tells_no_secret(store: SessionStore, secrets: Secrets) -> None:
    """No log line, repr or traceback of a whole story holds a secret."""
    site = Site(store, secrets, gc=lambda: True)
    for path in (
        "put", "read", "read", "login", "read", "late", "late_regenerate", "misuse", "fail",
        "put", "gone", "put", "gone_late", "put", "logout", "read",
    ):  # fmt: skip
        assert (site.get(path) is None) is (path == "fail")
        with pytest.raises(SessionClosed) as late:
            site.session.put("typed", TYPED)
        secrets.show(late.value)
    assert len(secrets.hidden) > 10  # the ids and cookies of the story are among them


def test_a_cookie_that_is_not_ours_tells_no_secret(store: SessionStore, secrets: Secrets) -> None:
    """A cookie that does not verify shows nowhere, nor do two that do."""
    site = Site(store, secrets)
    site.get("put")
    good = site.browser.cookies.header()
    site.get("put", "")
    other = site.browser.cookies.header()
    removed = CookieSigner([REMOVED_KEY], f"glimr_session.{store.kind}.glimr_session")
    secrets.hide("FORGED-VALUE-4be1", REMOVED_KEY)
    for cookies in (
        f"{good}x",
        good[:-5],
        good.replace("=", "=x", 1),
        f"glimr_session={removed.sign('FORGED-VALUE-4be1')}",
        "glimr_session=FORGED-VALUE-4be1",
        f"{good}; {other}",
    ):
        assert site.get("put", cookies) is not None
        assert site.browser.cookies.header()  # a new session: the old one was not opened


def test_unreadable_stored_bytes_tell_no_secret(
    secrets: Secrets, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names an unreadable session by a hash alone."""
    store = DiskStore(tmp_path / "sessions")
    site = Site(store, secrets)
    site.get("put")
    with closing(sqlite3.connect(store.directory / "cache.db")) as database:
        database.execute("UPDATE Cache SET value = substr(value, 1, length(value) - 1)")
        database.commit()
    assert site.get("read") is not None
    assert "unreadable" in caplog.text
    store.close()


def test_a_cookie_of_ours_with_unreadable_bytes_tells_no_secret(secrets: Secrets) -> None:
    """A signed cookie that holds no session shows nowhere."""
    store = CookieStore()
    site = Site(store, secrets)
    site.get("put")
    for bad in (base64.urlsafe_b64encode(TYPED.encode()).decode().rstrip("="), TYPED, "x"):
        cookies = make_cookie(config(), store).set(bad, HTTPS).partition(";")[0]
        assert site.get("put", cookies) is not None
        assert site.browser.cookies.header()


def test_an_outage_tells_no_secret(
    secrets: Secrets, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The errors of a broken database and all their causes hold no secret."""
    store = DiskStore(tmp_path / "sessions")
    site = Site(store, secrets)
    site.get("put")
    store.close()
    for file in store.directory.iterdir():
        file.write_bytes(TYPED.encode() * 500)
    for cookies in (None, ""):
        response = site.get("read" if cookies is None else "put", cookies)
        assert response is not None
        assert response.status == "503 Service Unavailable"
        secrets.show(response.headers, response.body)
    assert caplog.text.count("session could not be read or committed") == 2
    assert collect(store)
    stop_cleanup_worker()  # after what it has been told
    assert "Collecting expired sessions failed" in caplog.text
    with pytest.raises(StoreUnavailable) as caught:
        store.save("f" * 64, {"typed": TYPED}, {})
    secrets.hide("f" * 64)
    secrets.show(caught.value)
    store.close()


def test_a_session_that_is_too_large_tells_no_secret(secrets: Secrets) -> None:
    """SessionTooLarge holds the size of the session and none of its values."""
    site = Site(CookieStore(), secrets)
    response = site.get("huge")
    assert response is not None
    assert response.status == "500 Internal Server Error"
    secrets.show(response.headers, response.body)
    with pytest.raises(SessionTooLarge) as caught:
        CookieStore().cookie_value("e" * 64, {"huge": HUGE}, {})
    secrets.hide("e" * 64)
    secrets.show(caught.value)
    with pytest.raises(SessionTooLarge) as caught:
        make_cookie(config(), CookieStore()).set(HUGE, HTTPS)
    secrets.show(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"secret_keys": [KEY, OLD_KEY[:31]]},
        {"secret_keys": KEY},
        {"secret_keys": [KEY, 5]},
        {"secret_keys": [KEY], "lifetime": -1},
        {"secret_key": KEY},
        {"secrets": {"keys": [KEY]}},
    ],
    ids=lambda settings: f"{settings}".replace(KEY, "KEY").replace(OLD_KEY[:31], "SHORT"),
)
def test_a_wrong_configuration_tells_no_key(settings: dict[str, Any]) -> None:
    """The error for a wrong configuration quotes no key."""
    secrets = Secrets()
    with pytest.raises(ConfigError) as caught:
        make_cookie(SessionConfig.from_mapping(settings), CookieStore())
    secrets.show(caught.value)
    assert secrets.seen() == set()


def test_a_key_does_not_show_in_what_is_made_of_it() -> None:
    """Configuration, signer, cookie, manager and middleware do not show their keys."""
    secrets = Secrets()
    cookie = make_cookie(config(), CookieStore())
    secrets.show(config(), cookie, CookieSigner([KEY], "salt"), vars(cookie))
    manager = SessionManager.from_config(config(), CookieStore())
    secrets.show(manager, vars(manager))
    secrets.show(SessionMiddleware(lambda environ, start_response: [], config(store="cookie")))
    assert secrets.seen() == set()


@pytest.fixture
def opened() -> Iterator[Session]:
    session = Session.start(generate_id(), {"typed": TYPED}, {"flashed": FLASHED})
    session.put("more", TYPED)
    yield session
    session.stop()


SHOWN: dict[str, Callable[[Session], object]] = {
    "the session": lambda session: session,
    "its state": lambda session: session.state(),
    "its changes": lambda session: session.state().changes,
    "the stored session": lambda session: session.state().changes.base,
    "the message that regenerates": lambda session: Regenerate(session.id),
    "the message that invalidates": lambda session: Invalidate(session.id),
    "the result of a commit": lambda session: CommitResult.stored(session.id),
    "a cookie that was read": lambda session: CookieSigner([KEY], "salt").unsign(
        CookieSigner([KEY], "salt").sign(session.id)
    ),
}


@pytest.mark.parametrize("what", SHOWN)
def test_no_repr_holds_a_session_id(opened: Session, what: str) -> None:
    """The repr of what holds a session's id shows its hash at most."""
    secrets = Secrets()
    secrets.hidden = {opened.id}
    secrets.show(SHOWN[what](opened))
    assert secrets.seen() == set()


def test_this_file_would_notice() -> None:
    """Secrets.seen() finds a secret, a piece of one, and one in the cause of an error."""
    failure = RuntimeError("without a secret")
    failure.__cause__ = ValueError(KEY)
    encoded = base64.urlsafe_b64encode(f'{{"typed":"{TYPED}"}}'.encode())
    for thing in (KEY, f"...{KEY[5:20]}...", [TYPED], encoded, failure):
        secrets = Secrets()
        secrets.show(thing)
        assert secrets.seen() != set()
