"""Log filters, formatters and handlers that use the session while something is logged."""

from __future__ import annotations

import contextvars
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from glimr_session import DiskStore, Session, SessionConfig, SessionMiddleware
from tests.support.wsgi_apps import CONFIG, TEXT, session_of
from tests.support.wsgi_client import Browser

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

pytestmark = pytest.mark.timeout(20)  # a lock that is held while logging hangs for ever

current: contextvars.ContextVar[Session | None] = contextvars.ContextVar("current", default=None)


def user() -> Any:
    session = current.get()
    return "-" if session is None else session.get("user", "-")


class AddUser(logging.Filter):
    """Adds the user to each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.user = user()
        return True


class Formats(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{user()} {super().format(record)}"


class Counts(logging.Handler):
    """Writes to the session: how much was logged."""

    def emit(self, record: logging.LogRecord) -> None:
        session = current.get()
        if session is not None and session.is_open:
            session.increment("logged")


class Keeps(logging.Handler):
    """Keeps what it formats."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def logging_to(handler: logging.Handler) -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        current.set(None)


def filtering() -> Keeps:
    handler = Keeps()
    handler.addFilter(AddUser())
    handler.setFormatter(logging.Formatter("%(user)s %(message)s"))
    return handler


def formatting() -> Keeps:
    handler = Keeps()
    handler.setFormatter(Formats())
    return handler


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    session = session_of(environ)
    current.set(session)
    user = session.get("user", "nobody")
    if environ["PATH_INFO"] == "/login":
        session.regenerate()
        session["user"] = user = "anna"
    if environ["PATH_INFO"] == "/wrong":
        with pytest.raises(TypeError):
            session.increment("user")
    start_response("200 OK", [TEXT])
    return [user.encode()]


def get(browser: Browser, site: SessionMiddleware, path: str = "/") -> bytes:
    return browser.request(site, extra={"PATH_INFO": path}).begin().finish().body


@pytest.mark.parametrize("make", [filtering, formatting, Counts])
def test_what_is_logged_in_a_request_can_use_its_session(
    make: Callable[[], logging.Handler], tmp_path: Path
) -> None:
    """Forged cookies, unreadable rows, errors and moved sessions are logged and answered."""
    handler = make()
    with closing(DiskStore(tmp_path / "sessions")) as store, logging_to(handler):
        site = SessionMiddleware(app, CONFIG, store=store)
        browser = Browser()
        assert get(browser, site, "/login") == b"anna"
        assert get(browser, site, "/wrong") == b"anna"
        with closing(sqlite3.connect(tmp_path / "sessions/cache.db")) as database, database:
            database.execute("UPDATE Cache SET value = x'00'")
        assert get(browser, site) == b"nobody"  # unreadable
        assert get(Browser("glimr_session=forged"), site) == b"nobody"
    if isinstance(handler, Keeps):
        lines = [line for line in handler.lines if "cookie" in line or "unreadable" in line]
        assert [line.partition(" ")[0] for line in lines] == ["-", "-"]


def test_a_filter_sees_the_user_where_the_session_is_open(tmp_path: Path) -> None:
    """What the application itself logs has the user of its session."""
    handler = filtering()

    def talking(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = app(environ, start_response)
        logging.getLogger("site").info("a page")
        return body

    config = SessionConfig(secret_keys=CONFIG.secret_keys, disk_directory=tmp_path / "sessions")
    with logging_to(handler):
        browser, site = Browser(), SessionMiddleware(talking, config)
        get(browser, site, "/login")
        get(browser, site)
    assert [line for line in handler.lines if "a page" in line] == ["anna a page", "anna a page"]
