"""WSGI applications for tests, the stores they run on, and what they leave behind."""

from __future__ import annotations

import io
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, NoReturn, TypeAlias
from wsgiref.validate import validator

import pytest

from glimr_session import (
    DiskStore,
    Json,
    Session,
    SessionConfig,
    SessionMiddleware,
    SessionStore,
    StoreUnavailable,
    new,
)
from tests.support.wsgi_client import Browser

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


KEY = "a key for tests that is long enough"


LIFETIME = 1000.0


CONFIG = SessionConfig(secret_keys=[KEY], gc="never", lifetime=LIFETIME)


TEXT = ("Content-Type", "text/plain")


Change: TypeAlias = Callable[[Session], object]


Wrap: TypeAlias = "Callable[[WSGIApplication, SessionStore], WSGIApplication]"


def session_of(environ: WSGIEnvironment) -> Session:
    session: Session = environ["glimr.session"]
    return session


def nothing(session: Session) -> None:
    """Leave the session alone."""


def bare(app: WSGIApplication, store: SessionStore) -> WSGIApplication:
    return SessionMiddleware(app, CONFIG, store=store)


def validated(app: WSGIApplication, store: SessionStore) -> WSGIApplication:
    """Have the standard library check both sides of the middleware in each request."""
    return validator(SessionMiddleware(validator(app), CONFIG, store=store))


class Recorded:
    """A store from five functions that keeps sessions in a dict and records every call."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.sessions: dict[str, tuple[dict[str, Json], dict[str, Json]]] = {}
        self.down = False
        self.while_loading: Callable[[], object] = lambda: None
        self.store = new(
            load=self._load,
            save=self._save,
            destroy=self._destroy,
            gc=lambda: 0,
            cookie_value=lambda session_id, data, flash: session_id,
        )

    def _load(self, session_id: str) -> tuple[dict[str, Json], dict[str, Json]]:
        self._note("load")
        self.while_loading()
        return self.sessions.get(session_id, ({}, {}))

    def _save(self, session_id: str, data: dict[str, Json], flash: dict[str, Json]) -> None:
        self._note("save")
        self.sessions[session_id] = data, flash

    def _destroy(self, session_id: str) -> None:
        self._note("destroy")
        self.sessions.pop(session_id, None)

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if self.down:
            raise StoreUnavailable("the store is down")


def answering(change: Change = nothing, headers: Iterable[tuple[str, str]] = ()) -> WSGIApplication:
    """Return an application that does something to its session and answers with a list."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        change(session_of(environ))
        start_response("200 OK", [TEXT, *headers])
        return [b"answer"]

    return app


def streaming(early: Change = nothing, late: Change = nothing) -> WSGIApplication:
    """Return an application that changes its session before and after the first chunk."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        early(session_of(environ))
        yield b"first"
        late(session_of(environ))
        yield b"second"

    return app


def put(key: str, value: Json) -> Change:
    return lambda session: session.put(key, value)


def data_of(browser: Browser, store: SessionStore) -> dict[str, Json]:
    """Return the data that the next request of this browser finds."""
    found: dict[str, Json] = {}
    browser.get(bare(answering(lambda session: found.update(session.all())), store))
    return found


def browser_with(store: SessionStore, **data: Json) -> Browser:
    """Return a browser that has a session with this data."""
    browser = Browser()
    browser.get(bare(answering(lambda session: session.update(data)), store))
    assert data_of(browser, store) == data
    return browser


def rows(store: DiskStore) -> int:
    """Count the sessions in the database, expired ones too."""
    with closing(sqlite3.connect(store.directory / "cache.db")) as connection:
        number: int = connection.execute("SELECT COUNT(*) FROM Cache").fetchone()[0]
    return number


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the messages of this package at WARNING or above."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "glimr_session" and record.levelno >= logging.WARNING
    ]


def visit(environ: WSGIEnvironment) -> None:
    session_of(environ).increment("visits")


def a_list(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])
    visit(environ)
    return [b"one", b"two"]


def a_tuple(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])
    visit(environ)
    return (b"one", b"two")


def an_empty_list(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])
    visit(environ)
    return []


def a_list_of_its_own_kind(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    class Lazy(list[bytes]):
        def __iter__(self) -> Iterator[bytes]:
            visit(environ)
            return super().__iter__()

    start_response("200 OK", [TEXT])
    return Lazy([b"one", b"two"])


def a_generator(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    def chunks() -> Iterator[bytes]:
        visit(environ)
        yield b"one"
        yield b"two"

    start_response("200 OK", [TEXT])
    return chunks()


def a_late_generator(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [TEXT])
    visit(environ)
    yield b"one"
    yield b"two"


def an_empty_generator(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [TEXT])
    visit(environ)
    yield from ()


def an_empty_first_chunk(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    start_response("200 OK", [TEXT])
    visit(environ)
    yield b""
    yield b"onetwo"


class AnIterator:
    def __init__(self, environ: WSGIEnvironment, start_response: StartResponse) -> None:
        self._environ = environ
        self._chunks = iter([b"one", b"two"])
        start_response("200 OK", [TEXT])

    def __iter__(self) -> Iterator[bytes]:
        visit(self._environ)
        return self._chunks


def write(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    send = start_response("200 OK", [TEXT])
    visit(environ)
    send(b"one")
    send(b"two")
    return []


def write_and_a_list(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    send = start_response("200 OK", [TEXT])
    visit(environ)
    send(b"one")
    return [b"two"]


def write_and_a_generator(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    send = start_response("200 OK", [TEXT])
    visit(environ)
    send(b"one")
    return (chunk for chunk in [b"two"])


def a_file(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [TEXT])
    visit(environ)
    wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](io.BytesIO(b"onetwo"), 3)
    return wrapped


class Exploded(BaseException):
    """An error like KeyboardInterrupt or SystemExit, which no ``except Exception`` catches."""


def explode() -> NoReturn:
    raise Exploded


class Closing:
    """A body of two chunks that counts how often it is closed, and calls back then."""

    def __init__(self, on_close: Callable[[], object] = lambda: None) -> None:
        self.closed = 0
        self._chunks = iter([b"first", b"second"])
        self._on_close = on_close

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        self.closed += 1
        self._on_close()


def closing_app(early: Change, on_close: Change, bodies: list[Closing]) -> WSGIApplication:
    """Return an application whose body does something to the session when it is closed."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        session = session_of(environ)
        start_response("200 OK", [TEXT])
        early(session)
        bodies.append(Closing(lambda: on_close(session)))
        return bodies[-1]

    return app


def leave(app: WSGIApplication, browser: Browser, chunks: int) -> None:
    """Close the response after some chunks, as servers do when the client is gone."""
    response = browser.begin(app)
    for _ in range(chunks):
        assert response.read_chunk() is not None
    response.close()
