"""SessionMiddleware: every shape a WSGI application can have, and what its browser gets."""

from __future__ import annotations

import io
import logging
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias
from wsgiref.handlers import SimpleHandler
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
from pykka import ActorRegistry

from glimr_session import (
    ConfigError,
    CookieStore,
    DiskStore,
    Json,
    Session,
    SessionClosed,
    SessionConfig,
    SessionMiddleware,
    SessionStore,
    SessionTooLarge,
    StoreUnavailable,
    new,
    setup,
)

from .conftest import Clock
from .wsgi_client import Browser, Headers

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
    """Have the standard library check both sides of the middleware, in each request."""
    return validator(SessionMiddleware(validator(app), CONFIG, store=store))


@pytest.fixture(params=[bare, validated], ids=lambda wrap: wrap.__name__)
def wrap(request: pytest.FixtureRequest) -> Wrap:
    """The middleware by itself, and between two validators."""
    chosen: Wrap = request.param
    return chosen


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[DiskStore]:
    with closing(DiskStore(tmp_path / "sessions", lifetime=LIFETIME)) as store:
        yield store


@pytest.fixture(params=["disk", "cookie"])
def store(request: pytest.FixtureRequest) -> SessionStore:
    if request.param == "disk":
        found: SessionStore = request.getfixturevalue("disk")
        return found
    return CookieStore(lifetime=LIFETIME)


class Recorded:
    """A store from five functions that keeps sessions in a dict and notes every call."""

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
    """Make an application that does something to its session and answers with a list."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        change(session_of(environ))
        start_response("200 OK", [TEXT, *headers])
        return [b"answer"]

    return app


def streaming(early: Change = nothing, late: Change = nothing) -> WSGIApplication:
    """Make an application that changes its session before and after the first chunk."""

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
    """Give the data that the next request of this browser finds."""
    found: dict[str, Json] = {}
    browser.get(bare(answering(lambda session: found.update(session.all())), store))
    return found


def browser_with(store: SessionStore, **data: Json) -> Browser:
    """Give a browser that has a session with this data."""
    browser = Browser()
    browser.get(bare(answering(lambda session: session.update(data)), store))
    assert data_of(browser, store) == data
    return browser


def rows(store: DiskStore) -> int:
    """Count the sessions in the database, of whatever age."""
    with closing(sqlite3.connect(store.directory / "cache.db")) as connection:
        number: int = connection.execute("SELECT COUNT(*) FROM Cache").fetchone()[0]
    return number


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Give the messages of this package that somebody should read."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "glimr_session" and record.levelno >= logging.WARNING
    ]


# Every shape an application can have. Each counts its visits as late as it may, which
# for most is after its own start_response.


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


SHAPES = (
    a_list,
    a_tuple,
    an_empty_list,
    a_list_of_its_own_kind,
    a_generator,
    a_late_generator,
    an_empty_generator,
    an_empty_first_chunk,
    AnIterator,
    write,
    write_and_a_list,
    write_and_a_generator,
    a_file,
)
EMPTY = (an_empty_list, an_empty_generator)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_every_shape_keeps_its_session(
    shape: WSGIApplication, wrap: Wrap, store: SessionStore
) -> None:
    """The session is saved and its cookie sent, and the body arrives as it was made."""
    browser = Browser()
    app = wrap(shape, store)
    for visits in (1, 2, 3):
        response = browser.get(app)
        assert (response.status, response.started, response.sent) == ("200 OK", 1, True)
        assert response.values("Content-Type") == ["text/plain"]
        assert response.body == (b"" if shape in EMPTY else b"onetwo")
        assert data_of(browser, store) == {"visits": visits}


def test_head_is_answered_as_get_without_a_body(wrap: Wrap, store: SessionStore) -> None:
    """A HEAD request has its session too, and the headers that GET would get."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        visit(environ)
        start_response("200 OK", [TEXT, ("Content-Length", "6")])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"answer"]

    browser = Browser()
    head = browser.get(wrap(app, store), "HEAD")
    assert (head.body, head.values("Content-Length")) == (b"", ["6"])
    assert head.set_cookie is not None
    assert data_of(browser, store) == {"visits": 1}
    get = Browser().get(wrap(app, store))
    assert [name for name, _ in head.headers] == [name for name, _ in get.headers]


class Exploded(BaseException):
    """As KeyboardInterrupt and SystemExit: what no ``except Exception`` would catch."""


def explode() -> NoReturn:
    raise Exploded


# When the headers leave.


@pytest.mark.parametrize(
    "body", [[b"one"], (b"one",), FileWrapper(io.BytesIO(b"one"))], ids=["list", "tuple", "file"]
)
def test_list_tuple_and_file_are_handed_on(body: Iterable[bytes], store: SessionStore) -> None:
    """The server gets the very object, its headers sent before: for length and sendfile."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        visit(environ)
        return body

    response = Browser().begin(bare(app, store))
    assert response.iterable is body
    assert response.started == 1
    assert response.set_cookie is not None


def test_the_server_can_tell_the_length_of_a_list(disk: DiskStore) -> None:
    """A server that looks at the length of the body still sets Content-Length by it."""
    environ = Browser().request(a_list).environ
    sent = io.BytesIO()
    handler = SimpleHandler(io.BytesIO(), sent, io.StringIO(), environ)
    handler.run(bare(answering(put("a", 1)), disk))
    head, _, body = sent.getvalue().partition(b"\r\n\r\n")
    assert b"Content-Length: 6" in head.split(b"\r\n")
    assert body == b"answer"


@pytest.mark.parametrize("offered", [FileWrapper, None], ids=["offered", "not offered"])
def test_the_file_wrapper_is_left_alone(offered: type[FileWrapper] | None) -> None:
    """The application finds the server's own wsgi.file_wrapper, or none."""
    found: list[object] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        found.append(environ.get("wsgi.file_wrapper"))
        start_response("200 OK", [TEXT])
        return [b"answer"]

    request = Browser().request(bare(app, CookieStore()))
    del request.environ["wsgi.file_wrapper"]
    if offered is not None:
        request.environ["wsgi.file_wrapper"] = offered
    request.begin().finish()
    assert found == [offered]


def test_a_file_is_closed_once(disk: DiskStore) -> None:
    """Whoever wrapped a file finds it closed after the response, by the server."""
    closed: list[str] = []

    class File(io.BytesIO):
        def close(self) -> None:
            if not self.closed:
                closed.append("closed")
            super().close()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        return FileWrapper(File(b"answer"))

    response = Browser().begin(bare(app, disk))
    assert closed == []
    response.finish()
    assert closed == ["closed"]


def test_headers_wait_for_the_first_chunk(store: SessionStore) -> None:
    """The server's start_response is called when a chunk is there, and once."""
    response = Browser().begin(bare(a_generator, store))
    assert response.started == 0
    assert response.read_chunk() == b"one"
    assert response.started == 1
    assert response.set_cookie is not None
    assert response.finish().body == b"onetwo"
    assert response.started == 1


def test_headers_wait_for_write(store: SessionStore) -> None:
    """With write(), the server's start_response is called by the first one."""
    started: list[int] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        send = start_response("200 OK", [TEXT])
        visit(environ)
        started.append(request.started)
        send(b"one")
        started.append(request.started)
        assert request.body == b"one"
        assert request.set_cookie is not None
        return []

    request = Browser().request(bare(app, store))
    request.begin().finish()
    assert started == [0, 1]


def test_a_stream_is_not_held_up(wrap: Wrap, disk: DiskStore) -> None:
    """Each chunk reaches the server before the application makes the next one."""
    events: list[str] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        visit(environ)
        for chunk in (b"one", b"two"):
            events.append(f"made {chunk.decode()}")
            yield chunk

    response = Browser().begin(wrap(app, disk))
    while (chunk := response.read_chunk()) is not None:
        events.append(f"sent {chunk.decode()}")
    response.close()
    assert events == ["made one", "sent one", "made two", "sent two"]


@pytest.mark.parametrize("change", [nothing, put("a", 1)], ids=["untouched", "changed"])
@pytest.mark.parametrize("lazily", [False, True], ids=["list", "generator"])
def test_the_header_list_of_the_application_stays_as_it_is(lazily: bool, change: Change) -> None:
    """An application may keep one header list for all responses: a new one is sent."""
    kept: Headers = [TEXT, ("Vary", "Accept"), ("Cache-Control", "public")]
    before = list(kept)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", kept)
        change(session_of(environ))
        return (chunk for chunk in [b"answer"]) if lazily else [b"answer"]

    response = Browser().get(bare(app, CookieStore()))
    assert kept == before
    assert response.headers is not kept
    assert response.values("Content-Type") == ["text/plain"]


# start_response, once and again.


def test_start_response_twice_fails(wrap: Wrap, disk: DiskStore) -> None:
    """A second start_response without exc_info is an error of the application."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        visit(environ)
        start_response("200 OK", [TEXT])
        start_response("204 No Content", [])
        return []

    request = Browser().request(wrap(app, disk))
    with pytest.raises(AssertionError, match="exc_info"):
        request.begin()
    assert request.started == 0
    assert rows(disk) == 0


def test_a_configuration_without_keys_leaves_nothing_behind(tmp_path: Path) -> None:
    """It is refused before the store it asks for is made."""
    directory = tmp_path / "sessions"
    with pytest.raises(ConfigError, match="secret_keys is empty"):
        SessionMiddleware(answering(), SessionConfig(disk_directory=directory))
    assert not directory.exists()


@pytest.mark.parametrize("lazily", [False, True], ids=["list", "generator"])
def test_a_response_that_never_begins_changes_nothing(
    lazily: bool, wrap: Wrap, disk: DiskStore
) -> None:
    """The server answers with an error, and the session is as it was."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        session_of(environ)["basket"] = 2
        return (chunk for chunk in [b"answer"]) if lazily else [b"answer"]

    browser = browser_with(disk, basket=1)
    with pytest.raises(AssertionError, match="start_response"):
        browser.request(wrap(app, disk)).begin().finish()
    assert data_of(browser, disk) == {"basket": 1}


@pytest.mark.parametrize("lazily", [False, True], ids=["list", "generator"])
def test_exc_info_replaces_headers_that_have_not_left(
    lazily: bool, wrap: Wrap, store: SessionStore
) -> None:
    """An application that mends its own error sends the page for that, and its session."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT, ("X-First", "1")])
        visit(environ)
        try:
            explode()
        except Exploded:
            start_response("404 Not Found", [TEXT, ("X-Second", "2")], sys.exc_info())
        return (chunk for chunk in [b"sorry"]) if lazily else [b"sorry"]

    browser = Browser()
    response = browser.get(wrap(app, store))
    assert (response.status, response.body) == ("404 Not Found", b"sorry")
    assert (response.values("X-First"), response.values("X-Second")) == ([], ["2"])
    assert response.started == 1
    assert data_of(browser, store) == {"visits": 1}


def test_exc_info_after_the_headers_ends_the_response(wrap: Wrap, disk: DiskStore) -> None:
    """The server raises the error again, as PEP 3333 says, and later changes are dropped."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        visit(environ)
        yield b"first"
        visit(environ)
        try:
            explode()
        except Exploded:
            start_response("500 Error", [TEXT], sys.exc_info())
        yield b"never"

    browser = Browser()
    response = browser.begin(wrap(app, disk))
    with pytest.raises(Exploded):
        response.finish()
    assert (response.status, response.body) == ("200 OK", b"first")
    assert data_of(browser, disk) == {"visits": 1}


@pytest.mark.parametrize("lazily", [False, True], ids=["list", "generator"])
def test_without_start_response_the_server_complains(
    lazily: bool, wrap: Wrap, disk: DiskStore
) -> None:
    """An application that never calls start_response begins no session either."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        visit(environ)
        return (chunk for chunk in [b"answer"]) if lazily else [b"answer"]

    request = Browser().request(wrap(app, disk))
    with pytest.raises(AssertionError, match="start_response"):
        request.begin().finish()
    assert request.started == 0
    assert rows(disk) == 0


# Errors.


def raising_before(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    visit(environ)
    explode()


def raising_after(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    visit(environ)
    start_response("200 OK", [TEXT])
    explode()


def raising_in_the_first_chunk(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    start_response("200 OK", [TEXT])
    visit(environ)
    yield explode()


@pytest.mark.parametrize(
    "app", [raising_before, raising_after, raising_in_the_first_chunk], ids=lambda app: app.__name__
)
def test_an_error_commits_nothing(app: WSGIApplication, wrap: Wrap, disk: DiskStore) -> None:
    """Nothing is written, a new session or a known one, and nothing sent."""
    for browser, data in ((Browser(), {}), (browser_with(disk, visits=7), {"visits": 7})):
        before = rows(disk)
        request = browser.request(wrap(app, disk))
        with pytest.raises(Exploded):
            request.begin().finish()
        assert request.started == 0
        assert rows(disk) == before
        assert data_of(browser, disk) == data


def test_an_error_in_the_middle_drops_later_changes(wrap: Wrap, disk: DiskStore) -> None:
    """What was committed before the headers stays; what came after does not."""

    def write_and_explode(session: Session) -> None:
        session["late"] = True
        explode()

    browser = Browser()
    response = browser.begin(wrap(streaming(put("early", True), write_and_explode), disk))
    with pytest.raises(Exploded):
        response.finish()
    assert response.body == b"first"
    assert data_of(browser, disk) == {"early": True}


class Closing:
    """A body of two chunks that notes when it is closed, and then does as it is told."""

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
    """Make an application whose body does something to the session when it is closed."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        session = session_of(environ)
        start_response("200 OK", [TEXT])
        early(session)
        bodies.append(Closing(lambda: on_close(session)))
        return bodies[-1]

    return app


def test_close_may_write_to_the_session(wrap: Wrap, disk: DiskStore) -> None:
    """The application's close() is called first, once, and what it writes is committed."""
    bodies: list[Closing] = []
    app = wrap(closing_app(put("early", 1), put("closed", 2), bodies), disk)
    browser = Browser()
    browser.get(app)
    assert bodies[0].closed == 1
    assert data_of(browser, disk) == {"early": 1, "closed": 2}


def test_an_error_in_close_drops_later_changes(wrap: Wrap, disk: DiskStore) -> None:
    """An error of close() reaches the server, and the session still ends."""

    def write_and_explode(session: Session) -> None:
        session["late"] = True
        explode()

    browser = Browser()
    response = browser.begin(wrap(closing_app(put("early", True), write_and_explode, []), disk))
    with pytest.raises(Exploded):
        response.finish()
    assert response.body == b"firstsecond"
    assert ActorRegistry.get_all() == []
    assert data_of(browser, disk) == {"early": True}


def test_close_is_called_after_an_error_too(wrap: Wrap) -> None:
    """The application's close() is called, whatever kept its body from being sent."""
    recorded = Recorded()
    bodies: list[Closing] = []
    recorded.down = True
    response = Browser().begin(wrap(closing_app(put("a", 1), nothing, bodies), recorded.store))
    with pytest.raises(StoreUnavailable):
        response.finish()
    assert bodies[0].closed == 1


def test_a_file_is_closed_when_its_headers_cannot_leave() -> None:
    """A file that the server never gets to see is closed by the middleware."""
    recorded = Recorded()
    recorded.down = True
    file = io.BytesIO(b"answer")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [TEXT])
        visit(environ)
        return FileWrapper(file)

    with pytest.raises(StoreUnavailable):
        Browser().begin(bare(app, recorded.store))
    assert file.closed


# A client that leaves.


def leave(app: WSGIApplication, browser: Browser, chunks: int) -> None:
    """Close the response after some chunks, as servers do when the client is gone."""
    response = browser.begin(app)
    for _ in range(chunks):
        assert response.read_chunk() is not None
    response.close()


@pytest.mark.parametrize("chunks", [0, 1])
def test_a_client_that_leaves_keeps_its_session(chunks: int, wrap: Wrap, disk: DiskStore) -> None:
    """A known session is committed when the body closes, however little was sent."""
    browser = browser_with(disk, name="Ada")
    bodies: list[Closing] = []
    leave(wrap(closing_app(put("early", 1), put("closed", 2), bodies), disk), browser, chunks)
    assert bodies[0].closed == 1
    assert ActorRegistry.get_all() == []
    assert data_of(browser, disk) == {"name": "Ada", "early": 1, "closed": 2}


@pytest.mark.parametrize("chunks", [0, 1])
def test_a_client_that_leaves_ends_a_generator(chunks: int, wrap: Wrap, disk: DiskStore) -> None:
    """A generator that is closed early runs its finally, which may write to the session."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [TEXT])
        try:
            yield b"first"
            yield b"second"
        finally:
            visit(environ)

    browser = browser_with(disk, visits=1)
    leave(wrap(app, disk), browser, chunks)
    # One that has never begun has no finally to run.
    assert data_of(browser, disk) == {"visits": 1 + chunks}


def test_a_client_that_leaves_before_its_cookie_gets_no_session(
    wrap: Wrap, disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """No session is left behind whose id the browser has not got, and a warning says so."""
    leave(wrap(closing_app(put("early", 1), nothing, []), disk), Browser(), 0)
    assert rows(disk) == 0
    assert len(warnings_in(caplog)) == 1


def test_a_client_that_leaves_is_logged_out_all_the_same(wrap: Wrap, disk: DiskStore) -> None:
    """invalidate() destroys what is stored, though nobody waits for the answer."""
    browser = browser_with(disk, user="ada")
    leave(wrap(closing_app(lambda session: session.invalidate(), nothing, []), disk), browser, 0)
    assert rows(disk) == 0


def test_a_client_that_leaves_before_its_new_id_is_not_logged_in_with_the_old(
    wrap: Wrap, disk: DiskStore
) -> None:
    """What was put after regenerate() is never found under the id from before it.

    Otherwise whoever planted that id has only to wait for a login that is broken off.
    """

    def log_in(session: Session) -> None:
        session.regenerate()
        session["user"] = "ada"

    browser = browser_with(disk, basket=1)
    leave(wrap(closing_app(log_in, nothing, []), disk), browser, 0)
    assert "user" not in data_of(browser, disk)


# Late changes.


@pytest.mark.parametrize("known", [False, True], ids=["begun by this request", "known"])
def test_a_late_change_is_saved_where_it_can_be(known: bool, wrap: Wrap, disk: DiskStore) -> None:
    """What changes while the body streams is committed when the body closes."""
    browser = browser_with(disk, early=True) if known else Browser()
    browser.get(wrap(streaming(put("early", True), put("late", True)), disk))
    assert data_of(browser, disk) == {"early": True, "late": True}


def test_a_late_change_after_write_is_saved(wrap: Wrap, disk: DiskStore) -> None:
    """write() sends the headers, so what changes after it is late, though a list returns."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        send = start_response("200 OK", [TEXT])
        visit(environ)
        send(b"one")
        visit(environ)
        return [b"two"]

    browser = Browser()
    browser.get(wrap(app, disk))
    assert data_of(browser, disk) == {"visits": 2}


def test_a_session_first_touched_late_is_saved_if_it_is_known(wrap: Wrap, disk: DiskStore) -> None:
    """A known session can be opened while the body streams."""
    browser = browser_with(disk, early=True)
    browser.get(wrap(streaming(late=put("late", True)), disk))
    assert data_of(browser, disk) == {"early": True, "late": True}


def begin_and_forget(session: Session) -> None:
    session["draft"] = 1
    session.forget("draft")


@pytest.mark.parametrize(
    "early",
    [nothing, lambda session: session.get("a"), begin_and_forget],
    ids=["untouched", "read", "begun and emptied"],
)
def test_a_late_change_never_creates_a_session(
    early: Change, wrap: Wrap, disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a cookie in the browser the change is lost, and a warning says so."""
    browser = Browser()
    response = browser.get(wrap(streaming(early, put("late", True)), disk))
    assert response.set_cookie is None
    assert rows(disk) == 0
    assert len(warnings_in(caplog)) == 1
    assert "lost" in warnings_in(caplog)[0]


def test_a_late_change_after_a_logout_is_lost(
    wrap: Wrap, disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Once the cookie has been ended there is no session to change, and a warning says so."""
    browser = browser_with(disk, user="ada")
    app = wrap(streaming(lambda session: session.invalidate(), put("late", True)), disk)
    browser.get(app)
    assert browser.cookies.header() == ""
    assert rows(disk) == 0
    assert len(warnings_in(caplog)) == 1


def test_a_late_change_of_the_cookie_is_lost(wrap: Wrap, caplog: pytest.LogCaptureFixture) -> None:
    """The cookie store cannot save what changes after the headers, and a warning says so."""
    store = CookieStore()
    browser = Browser()
    browser.get(wrap(streaming(put("early", True), put("late", True)), store))
    assert len(warnings_in(caplog)) == 1
    assert "lost" in warnings_in(caplog)[0]
    assert data_of(browser, store) == {"early": True}


def test_a_late_logout_destroys_the_session(wrap: Wrap, disk: DiskStore) -> None:
    """invalidate() while the body streams ends what is stored, and begins nothing."""

    def log_out(session: Session) -> None:
        session.invalidate()
        session["after"] = 1

    browser = browser_with(disk, user="ada")
    browser.get(wrap(streaming(put("seen", 1), log_out), disk))
    assert rows(disk) == 0


def regenerating_after_write(
    environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    send = start_response("200 OK", [TEXT])
    visit(environ)
    send(b"one")
    session_of(environ).regenerate()
    return []


@pytest.mark.parametrize("early", [nothing, put("a", 1)], ids=["untouched", "changed"])
@pytest.mark.parametrize(
    "late",
    [
        lambda early: streaming(early, lambda session: session.regenerate()),
        lambda early: closing_app(early, lambda session: session.regenerate(), []),
        lambda early: regenerating_after_write,
    ],
    ids=["in the body", "in close", "after write"],
)
def test_a_late_regenerate_is_refused(
    late: Callable[[Change], WSGIApplication], early: Change, wrap: Wrap, store: SessionStore
) -> None:
    """The new id could not reach the browser any more, so regenerate() raises."""
    browser = browser_with(store, a=1)
    with pytest.raises(SessionClosed, match="regenerate"):
        browser.get(wrap(late(early), store))
    assert data_of(browser, store)["a"] == 1


def test_regenerate_in_close_is_refused_though_nothing_was_sent(
    wrap: Wrap, disk: DiskStore
) -> None:
    """When the client has left before the headers, a new id cannot reach it either."""
    app = wrap(closing_app(nothing, lambda session: session.regenerate(), []), disk)
    with pytest.raises(SessionClosed, match="regenerate"):
        leave(app, browser_with(disk, a=1), 0)


USES: dict[str, Change] = {
    "get": lambda session: session.get("a"),
    "put": lambda session: session.put("a", 1),
    "in": lambda session: "a" in session,
    "increment": lambda session: session.increment("a"),
    "all": lambda session: session.all(),
    "id": lambda session: session.id,
    "flash": lambda session: session.flash("a", 1),
    "invalidate": lambda session: session.invalidate(),
    "regenerate": lambda session: session.regenerate(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("early", [nothing, put("a", 1)], ids=["untouched", "used"])
def test_a_session_is_closed_after_its_response(
    early: Change, use: Change, disk: DiskStore
) -> None:
    """Whoever keeps the handle gets SessionClosed, and no store is asked."""
    for app in (answering(early), streaming(early)):
        response = Browser().get(bare(app, disk))
        with pytest.raises(SessionClosed):
            use(session_of(response.environ))


def test_a_session_is_closed_when_its_list_is_handed_on(disk: DiskStore) -> None:
    """A list has nothing left to run, so its session ends before the server sends it."""
    response = Browser().begin(bare(answering(put("a", 1)), disk))
    assert ActorRegistry.get_all() == []
    with pytest.raises(SessionClosed):
        session_of(response.environ).get("a")


# What caches are told.


def cookie_words(values: list[str]) -> list[str]:
    """Give the words of some Vary headers that let a response vary by its cookie."""
    words = [word.strip().lower() for value in values for word in value.split(",")]
    return [word for word in words if word in ("cookie", "*")]


@pytest.mark.parametrize(
    "own",
    [
        [],
        ["Accept-Encoding"],
        ["Accept, Accept-Language"],
        ["Accept", "Accept-Language"],
        ["cookie"],
        ["Accept, COOKIE"],
        ["Cookie", "Accept"],
        ["*"],
    ],
    ids=str,
)
@pytest.mark.parametrize("touch", [lambda session: session.get("a"), put("a", 1)], ids=["r", "w"])
def test_a_touched_response_varies_by_cookie(
    own: list[str], touch: Change, wrap: Wrap, store: SessionStore
) -> None:
    """Vary: Cookie joins what the application says itself, and is said once."""
    response = Browser().get(wrap(answering(touch, [("Vary", value) for value in own]), store))
    values = response.values("Vary")
    assert len(cookie_words(values)) == 1
    assert ", ".join(values).startswith(", ".join(own))
    assert len(values) == max(len(own), 1)


@pytest.mark.parametrize("own", [[], ["Accept-Encoding"]], ids=str)
def test_an_untouched_response_does_not_vary_by_cookie(own: list[str], store: SessionStore) -> None:
    """A page that did not look at its session can be cached for everybody."""
    browser = browser_with(store, a=1)
    headers = [("Vary", value) for value in own]
    response = browser.get(bare(answering(nothing, headers), store))
    assert response.headers == [TEXT, *headers]


@pytest.mark.parametrize(
    ("own", "sent"),
    [
        ([], ["no-store"]),
        (["no-store"], ["no-store"]),
        (["no-cache"], ["no-cache"]),
        (["public, max-age=60"], ['public, max-age=60, no-cache="Set-Cookie"']),
        (["private"], ['private, no-cache="Set-Cookie"']),
        (["public", "max-age=60"], ["public", 'max-age=60, no-cache="Set-Cookie"']),
        (["max-age=60", "No-Store"], ["max-age=60", "No-Store"]),
    ],
    ids=str,
)
def test_a_cookie_is_never_cached(
    own: list[str], sent: list[str], wrap: Wrap, store: SessionStore
) -> None:
    """With Set-Cookie a response is not stored, or by the application's rule without it."""
    app = answering(put("a", 1), [("Cache-Control", value) for value in own])
    response = Browser().get(wrap(app, store))
    assert response.set_cookie is not None
    assert response.values("Cache-Control") == sent


@pytest.mark.parametrize("own", [[], ["public"]], ids=str)
@pytest.mark.parametrize("touch", [nothing, lambda session: session.get("a")], ids=["-", "read"])
def test_without_a_cookie_caching_is_the_application_s_own(
    touch: Change, own: list[str], store: SessionStore
) -> None:
    """Cache-Control stays as it is on a response that sets no cookie."""
    browser = browser_with(store, a=1)
    app = answering(touch, [("Cache-Control", value) for value in own])
    response = browser.get(bare(app, store))
    assert response.set_cookie is None
    assert response.values("Cache-Control") == own


def test_a_response_to_an_outage_varies_by_cookie() -> None:
    """An application's own page for an outage depended on the session too."""
    recorded = Recorded()
    browser = browser_with(recorded.store, a=1)
    recorded.down = True

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            session_of(environ).get("a")
        except StoreUnavailable:
            start_response("503 Service Unavailable", [TEXT])
        return [b"later"]

    response = browser.get(bare(app, recorded.store))
    assert (response.status, response.set_cookie) == ("503 Service Unavailable", None)
    assert response.values("Vary") == ["Cookie"]


# When the cookie is set.


def test_an_untouched_request_costs_nothing(wrap: Wrap, caplog: pytest.LogCaptureFixture) -> None:
    """No actor is started, no store asked, and no cookie read: a forged one is not noticed."""
    recorded = Recorded()
    actors: list[object] = []

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        repr(session_of(environ))
        start_response("200 OK", [TEXT])
        actors.extend(ActorRegistry.get_all())
        return [b"answer"]

    response = Browser("glimr_session=forged").get(wrap(app, recorded.store))
    assert response.headers == [TEXT]
    assert recorded.calls == []
    assert actors == []
    assert warnings_in(caplog) == []


def test_reading_sets_no_cookie(wrap: Wrap, store: SessionStore) -> None:
    """A request that only reads a session sends no cookie, whether there is one or not."""
    look = wrap(answering(lambda session: session.get("a")), store)
    assert Browser().get(look).set_cookie is None
    assert browser_with(store, a=1).get(look).set_cookie is None


def test_a_new_session_sets_the_cookie_once(wrap: Wrap, disk: DiskStore) -> None:
    """The first change sets the cookie; further ones go to the store, under the same id."""
    browser = Browser()
    app = wrap(a_list, disk)
    assert browser.get(app).set_cookie is not None
    before = browser.cookies.header()
    assert browser.get(app).set_cookie is None
    assert browser.cookies.header() == before
    assert rows(disk) == 1


def test_regenerate_sets_a_new_cookie(wrap: Wrap, disk: DiskStore) -> None:
    """After regenerate() the data goes on under a new id, and the old one is dead."""
    browser = browser_with(disk, a=1)
    old = Browser(browser.cookies.header())
    response = browser.get(wrap(answering(lambda session: session.regenerate()), disk))
    assert response.set_cookie is not None
    assert browser.cookies.header() != old.cookies.header()
    assert data_of(browser, disk) == {"a": 1}
    assert data_of(old, disk) == {}
    assert rows(disk) == 1


@pytest.mark.parametrize("change", [lambda session: session.get("a"), put("a", 1)], ids=["r", "w"])
def test_the_cookie_is_refreshed_after_a_tenth_of_its_lifetime(
    change: Change, wrap: Wrap, disk: DiskStore, clock: Clock
) -> None:
    """A session in use gets a younger cookie, not in every response but once in a tenth."""
    browser = browser_with(disk, a=1)
    app = wrap(answering(change), disk)
    clock.advance(LIFETIME / 10 - 1)
    assert browser.get(app).set_cookie is None
    clock.advance(1)
    refreshed = browser.get(app).set_cookie
    assert refreshed is not None
    assert f"Max-Age={LIFETIME:.0f}" in refreshed
    clock.advance(LIFETIME / 10 - 1)
    assert browser.get(app).set_cookie is None


def test_reading_keeps_a_session_alive(wrap: Wrap, store: SessionStore, clock: Clock) -> None:
    """A session that is only read lives on in the store, and idle it ends."""
    browser = browser_with(store, a=1)
    look = wrap(answering(lambda session: session.get("a")), store)
    for _ in range(3):
        clock.advance(LIFETIME * 0.6)
        browser.get(look)
    assert data_of(browser, store) == {"a": 1}
    clock.advance(LIFETIME)
    assert data_of(browser, store) == {}


def test_a_logout_ends_the_cookie(store: SessionStore) -> None:
    """invalidate() ends the cookie where it was set: Max-Age=0, the same path and domain."""
    config = SessionConfig(
        secret_keys=[KEY], gc="never", cookie_path="/shop", cookie_domain="example.org"
    )

    def app(change: Change) -> WSGIApplication:
        return SessionMiddleware(answering(change), config, store=store)

    browser = Browser()
    begun = browser.get(app(put("user", "ada"))).set_cookie
    old = Browser(browser.cookies.header())
    ended = browser.get(app(lambda session: session.invalidate())).set_cookie
    assert begun is not None
    assert ended is not None
    assert ended.startswith("glimr_session=;")
    assert "Max-Age=0" in ended
    for attribute in ("Path=/shop", "Domain=example.org"):
        assert attribute in begun
        assert attribute in ended
    assert browser.cookies.header() == ""
    found: list[Json] = []
    old.get(app(lambda session: found.append(session.get("user"))))
    # A copy of a cookie that holds everything cannot be called back.
    assert found == [None if store.server_side else "ada"]


def test_a_login_after_a_logout_begins_another_session(wrap: Wrap, disk: DiskStore) -> None:
    """invalidate() and then a put: a new id with the new data alone."""

    def switch(session: Session) -> None:
        session.invalidate()
        session["user"] = "bob"

    browser = browser_with(disk, user="ada", basket=1)
    old = Browser(browser.cookies.header())
    assert browser.get(wrap(answering(switch), disk)).set_cookie is not None
    assert data_of(browser, disk) == {"user": "bob"}
    assert data_of(old, disk) == {}


def test_a_session_that_ended_beside_the_request_stays_ended(wrap: Wrap, disk: DiskStore) -> None:
    """A request that a logout overtakes writes nothing and sends no cookie at all."""
    browser = browser_with(disk, user="ada")
    app = wrap(closing_app(put("late", True), nothing, []), disk)
    slow = Browser(browser.cookies.header()).begin(app)
    browser.get(bare(answering(lambda session: session.invalidate()), disk))
    assert slow.finish().set_cookie is None
    assert rows(disk) == 0


@pytest.mark.parametrize(
    ("extra", "secure"),
    [
        ({}, False),  # 127.0.0.1
        ({"HTTP_HOST": "localhost:8000"}, False),
        ({"HTTP_HOST": "LocalHost"}, False),
        ({"HTTP_HOST": "[::1]:8000"}, False),
        ({"HTTP_HOST": "[::1]"}, False),
        ({"HTTP_HOST": "", "SERVER_NAME": "localhost"}, False),
        ({"HTTP_HOST": "localhost", "wsgi.url_scheme": "https"}, True),
        ({"HTTP_HOST": "localhost", "HTTP_X_FORWARDED_PROTO": "http"}, True),
        ({"HTTP_HOST": "example.org"}, True),
        ({"HTTP_HOST": "localhost.example.org"}, True),
        ({"HTTP_HOST": "[2001:db8::1]:8000"}, True),
    ],
    ids=str,
)
def test_the_cookie_is_secure_but_on_this_machine(
    extra: dict[str, str], secure: bool, store: SessionStore
) -> None:
    """Secure is left out only for plain HTTP to a name of this very machine."""
    request = Browser().request(bare(a_list, store), extra=extra)
    set_cookie = request.begin().finish().set_cookie
    assert set_cookie is not None
    assert ("; Secure" in set_cookie) is secure


# Whose session it is.


@pytest.mark.parametrize("kind", ["disk", "functions"])
def test_an_unknown_id_is_never_adopted(kind: str, wrap: Wrap, disk: DiskStore) -> None:
    """A cookie that we signed for a session that is gone begins another one, with its own id."""
    store = disk if kind == "disk" else Recorded().store
    browser = browser_with(store, a=1)
    ids: list[str] = []
    remember = wrap(answering(lambda session: ids.append(session.id)), store)
    browser.get(remember)
    store.destroy(ids[0])
    browser.get(remember)
    browser.get(wrap(answering(put("b", 2)), store))
    browser.get(remember)
    assert ids[1] != ids[0] != ids[2]
    assert store.open(ids[0]) is None
    assert data_of(browser, store) == {"b": 2}


def foreign(cookie: str, kind: str) -> str:
    """Give a Cookie header that looks like ours and is not."""
    name, _, value = cookie.partition("=")
    if kind == "made up":
        value = "0" * 64
    elif kind == "truncated":
        value = value[:-1]
    elif kind == "changed":
        value = ("b" if value[0] == "a" else "a") + value[1:]
    elif kind == "empty":
        value = ""
    else:
        other = SessionConfig(secret_keys=["another key, which is long enough too"], gc="never")
        browser = Browser()
        browser.get(SessionMiddleware(answering(put("a", 1)), other, store=CookieStore()))
        return browser.cookies.header()
    return f"{name}={value}"


@pytest.mark.parametrize("kind", ["made up", "truncated", "changed", "empty", "another key"])
def test_a_forged_cookie_makes_an_anonymous_request(
    kind: str, wrap: Wrap, caplog: pytest.LogCaptureFixture
) -> None:
    """It never reaches the store, nothing is created, and one log line does not repeat it."""
    recorded = Recorded()
    cookie = browser_with(recorded.store, a=1).cookies.header()
    forged = foreign(cookie, kind)
    caplog.clear()
    recorded.calls.clear()
    found: list[dict[str, Json]] = []
    app = wrap(answering(lambda session: found.append(session.all())), recorded.store)
    response = Browser().request(app, extra={"HTTP_COOKIE": forged}).begin().finish()
    assert found == [{}]
    assert response.set_cookie is None
    assert recorded.calls == []
    assert len(recorded.sessions) == 1
    ours = [record for record in caplog.records if record.name == "glimr_session"]
    assert len(ours) == 1
    value = forged.partition("=")[2]
    assert not value or value not in ours[0].getMessage()
    assert cookie.partition("=")[2].partition(".")[0] not in ours[0].getMessage()


def test_a_cookie_of_another_store_is_forged(
    disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Changing one word of the configuration leaves old cookies without a meaning."""
    browser = browser_with(CookieStore(), a=1)
    assert data_of(browser, disk) == {}
    assert len(warnings_in(caplog)) == 1
    assert rows(disk) == 0


# A store that is down, or full.


def test_an_outage_is_not_absence(wrap: Wrap) -> None:
    """A session that cannot be opened raises in the handler, and is there afterwards."""
    recorded = Recorded()
    browser = browser_with(recorded.store, a=1)
    recorded.down = True
    request = browser.request(wrap(answering(put("b", 2)), recorded.store))
    with pytest.raises(StoreUnavailable):
        request.begin()
    assert request.started == 0
    recorded.down = False
    assert data_of(browser, recorded.store) == {"a": 1}


@pytest.mark.parametrize(
    "shape", [a_list, a_generator, write, a_file], ids=lambda app: app.__name__
)
def test_a_failed_commit_sends_nothing(shape: WSGIApplication, wrap: Wrap, tmp_path: Path) -> None:
    """While another writer holds the database no header leaves, and nothing is overwritten."""
    with (
        closing(DiskStore(tmp_path / "held", lifetime=LIFETIME, timeout=0.02)) as store,
        closing(sqlite3.connect(store.directory / "cache.db")) as other,
    ):
        browser = browser_with(store, visits=7)
        other.execute("BEGIN IMMEDIATE")
        request = browser.request(wrap(shape, store))
        with pytest.raises(StoreUnavailable, match=r"0\.02 s"):
            request.begin().finish()
        other.rollback()
        assert request.started == 0
        assert request.body == b""
        assert data_of(browser, store) == {"visits": 7}


def test_an_outage_at_the_end_ends_the_session_too(wrap: Wrap) -> None:
    """A late commit that fails raises in close(), and no actor is left."""
    recorded = Recorded()

    def pull_the_plug(session: Session) -> None:
        session["late"] = True
        recorded.down = True

    response = Browser().begin(wrap(streaming(put("a", 1), pull_the_plug), recorded.store))
    with pytest.raises(StoreUnavailable):
        response.finish()
    assert response.body == b"firstsecond"
    assert ActorRegistry.get_all() == []


@pytest.mark.parametrize("shape", [answering, streaming], ids=lambda make: make.__name__)
def test_a_session_too_large_for_its_cookie_is_refused_before_the_headers(
    shape: Callable[[Change], WSGIApplication], wrap: Wrap
) -> None:
    """SessionTooLarge, no header, and the browser keeps the session it had."""
    store = CookieStore()
    browser = browser_with(store, a=1)
    request = browser.request(wrap(shape(put("b", "x" * 4096)), store))
    with pytest.raises(SessionTooLarge):
        request.begin().finish()
    assert request.started == 0
    assert data_of(browser, store) == {"a": 1}


# Threads of one request.


def test_two_threads_open_a_session_once(wrap: Wrap) -> None:
    """Threads that touch the session at the same moment get the same one, asked for once."""
    recorded = Recorded()
    browser = browser_with(recorded.store, a=1)
    ready = threading.Barrier(2)
    both_loading = threading.Barrier(2)
    ids: list[str] = []

    def meet() -> None:
        """Wait a little for another thread that loads as well: there must be none."""
        try:
            both_loading.wait(0.05)
        except threading.BrokenBarrierError:
            return

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def touch() -> None:
            ready.wait(5)
            visit(environ)
            ids.append(session_of(environ).id)

        threads = [threading.Thread(target=touch) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        start_response("200 OK", [TEXT])
        return [b"answer"]

    recorded.calls.clear()
    recorded.while_loading = meet
    response = browser.request(wrap(app, recorded.store)).begin()
    recorded.while_loading = lambda: None
    response.finish()
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert data_of(browser, recorded.store) == {"a": 1, "visits": 2}


# Which store it is.


class Stores(NamedTuple):
    given: DiskStore
    configured: DiskStore
    by_config: DiskStore
    config: SessionConfig


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    """One store for each way to name one."""
    directory = tmp_path / "by config"
    with (
        closing(DiskStore(tmp_path / "given")) as given,
        closing(DiskStore(tmp_path / "configured")) as configured,
        closing(DiskStore(directory)) as by_config,
    ):
        config = SessionConfig(secret_keys=[KEY], gc="never", disk_directory=directory)
        yield Stores(given, configured, by_config, config)


def test_store_beats_setup_beats_config(stores: Stores) -> None:
    """The argument is used before the configured store, and that before the configuration."""

    def counts() -> tuple[int, int, int]:
        return rows(stores.given), rows(stores.configured), rows(stores.by_config)

    by_config = SessionMiddleware(a_list, stores.config)
    Browser().get(by_config)
    assert counts() == (0, 0, 1)
    setup(stores.configured)
    Browser().get(SessionMiddleware(a_list, stores.config))
    Browser().get(by_config)  # setup() counts for every request from then on
    assert counts() == (0, 2, 1)
    Browser().get(SessionMiddleware(a_list, stores.config, store=stores.given))
    assert counts() == (1, 2, 1)
    by_config._fallback.close()


def test_without_a_store_sessions_are_forgotten(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The application still serves, within a request its session works, and one warning tells."""
    monkeypatch.delenv("GLIMR_SESSION_SECRET_KEYS", raising=False)
    found: list[tuple[Json, Json]] = []

    def count(session: Session) -> None:
        found.append((session.get("visits"), session.increment("visits")))

    app = validator(SessionMiddleware(validator(answering(count))))
    browser = Browser()
    for _ in range(3):
        response = browser.get(app)
        assert (response.status, response.body) == ("200 OK", b"answer")
        assert response.set_cookie is None
    assert found == [(None, 1)] * 3
    assert len(warnings_in(caplog)) == 1
    assert "setup()" in warnings_in(caplog)[0]


def test_without_a_store_threads_are_warned_once_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """First requests that come at the same moment give one warning all the same."""
    monkeypatch.delenv("GLIMR_SESSION_SECRET_KEYS", raising=False)
    app = SessionMiddleware(answering())
    others: list[threading.Thread] = []
    warned: list[str] = []

    def meanwhile(record: logging.LogRecord) -> bool:
        """Ask again from another thread, while the first one is still warning."""
        warned.append(record.getMessage())
        if len(warned) == 1:
            others.append(threading.Thread(target=Browser().get, args=(app,)))
            others[0].start()
            others[0].join(0.2)  # or it waits for us
        return False

    logger = logging.getLogger("glimr_session")
    logger.addFilter(meanwhile)
    try:
        Browser().get(app)
        others[0].join(5)
    finally:
        logger.removeFilter(meanwhile)
    assert len(warned) == 1


def test_setup_after_the_middleware_still_counts(
    monkeypatch: pytest.MonkeyPatch, disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A store may be set up after the middleware was made, and then nothing is forgotten."""
    monkeypatch.setenv("GLIMR_SESSION_SECRET_KEYS", KEY)
    monkeypatch.setenv("GLIMR_SESSION_GC", "never")
    app = SessionMiddleware(a_list)
    setup(disk)
    browser = Browser()
    browser.get(app)
    assert data_of(browser, disk) == {"visits": 1}
    assert warnings_in(caplog) == []


def test_a_configuration_without_keys_fails_at_the_start(
    monkeypatch: pytest.MonkeyPatch, disk: DiskStore
) -> None:
    """What cannot work is an error of the boot, not of the first request."""
    monkeypatch.delenv("GLIMR_SESSION_SECRET_KEYS", raising=False)
    with pytest.raises(ConfigError, match="secret_keys"):
        SessionMiddleware(a_list, SessionConfig(gc="never"), store=disk)
    with pytest.raises(ConfigError, match="secret_keys"):
        SessionMiddleware(a_list, store=disk)


def test_a_request_may_collect(disk: DiskStore) -> None:
    """The policy is asked after a request that committed, and after no other."""
    asked: list[Any] = []

    def policy() -> bool:
        asked.append(rows(disk))
        return False

    config = SessionConfig(secret_keys=[KEY], gc=policy)
    browser = Browser()
    for change in (nothing, lambda session: session.get("a"), put("a", 1)):
        browser.get(SessionMiddleware(answering(change), config, store=disk))
    assert asked == [1]
