"""What a response carries, when its session is committed, and what is kept of failures."""

from __future__ import annotations

import dataclasses
import gc
import io
import weakref
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, NoReturn
from wsgiref.util import FileWrapper

import pytest
from pyramid.events import NewResponse
from pyramid.httpexceptions import HTTPForbidden, HTTPFound, HTTPServiceUnavailable
from pyramid.response import FileIter, FileResponse, Response
from pyramid.testing import DummyRequest
from webtest import TestApp

from glimr_session import CookieStore, DiskStore, SessionClosed, SessionStore
from glimr_session.pyramid import session_factory
from tests.support.actors import living_session_actors
from tests.support.wsgi_apps import CONFIG, LIFETIME, Recorded, warnings_in
from tests.support.wsgi_client import Browser

from .sites import browser, changing, putting


def test_the_cookie_has_its_attributes(store: SessionStore) -> None:
    """HttpOnly and SameSite=Lax, as old as the session may get, and Secure unless on localhost."""
    site = browser(store, put=putting("a", 1))
    morsel = SimpleCookie(site.get("/put").headers["Set-Cookie"])["glimr_session"]
    assert (morsel["httponly"], morsel["samesite"], morsel["path"]) == (True, "Lax", "/")
    assert (morsel["max-age"], morsel["secure"]) == (str(int(LIFETIME)), "")
    site.reset()
    elsewhere = site.get("/put", extra_environ={"HTTP_HOST": "shop.example"})
    assert "; Secure" in elsewhere.headers["Set-Cookie"]


def test_headers_for_caches(store: SessionStore) -> None:
    """A response that used its session varies by cookie, one that sets it must not be stored."""
    site = browser(store, put=putting("a", 1), unused=lambda request: {})
    written, read, unused = site.get("/put"), site.get("/all"), site.get("/unused")
    assert (written.headers["Vary"], written.headers["Cache-Control"]) == ("Cookie", "no-store")
    assert read.headers["Vary"] == "Cookie"
    assert {"Set-Cookie", "Cache-Control"}.isdisjoint(read.headers)
    assert {"Set-Cookie", "Vary", "Cache-Control"}.isdisjoint(unused.headers)


def test_the_application_s_own_headers_stay(store: SessionStore) -> None:
    """Its cookies, its Vary and its length are sent as it has set them, with ours beside them."""

    def view(request: Any) -> object:
        request.session["a"] = 1
        response = Response(b"answer", vary=["Accept"])
        response.set_cookie("theme", "dark")
        return response

    answer = browser(store, view=view).get("/view")
    assert answer.headers["Vary"] == "Accept, Cookie"
    assert answer.headers["Content-Length"] == "6"
    names = [value.partition("=")[0] for value in answer.headers.getall("Set-Cookie")]
    assert names == ["theme", "glimr_session"]


def test_files_do_not_touch_the_store(tmp_path: Path) -> None:
    """Static views answer without a call of the store, for a visitor who has a session too."""
    (tmp_path / "style.css").write_text("p {}")
    recorded = Recorded()

    def static(config: Any) -> None:
        config.add_static_view("static", str(tmp_path))

    site = browser(recorded.store, static, put=putting("a", 1))
    site.get("/put")
    recorded.calls.clear()
    answer = site.get("/static/style.css")
    assert answer.text == "p {}"
    assert {"Set-Cookie", "Vary"}.isdisjoint(answer.headers)
    assert recorded.calls == []


@pytest.mark.parametrize("wrapper", [FileWrapper, None])
def test_a_file_reaches_the_server_as_it_is(
    store: SessionStore, tmp_path: Path, wrapper: object
) -> None:
    """Servers look at the very object, to send it without reading it; the session is kept."""
    (tmp_path / "book.txt").write_text("a book")

    def download(request: Any) -> object:
        request.session["a"] = 1
        return FileResponse(str(tmp_path / "book.txt"), request)

    client = Browser()
    response = client.request(
        browser(store, download=download).app,
        extra={"PATH_INFO": "/download"},
    )
    if wrapper is None:
        del response.environ["wsgi.file_wrapper"]
    response.begin()
    assert type(response.iterable) is (FileWrapper if wrapper else FileIter)
    assert response.finish().body == b"a book"
    assert response.set_cookie


# Who commits when.


def test_callbacks_of_the_application_may_use_the_session(store: SessionStore) -> None:
    """What response callbacks change is kept; finished callbacks can still read."""
    seen: list[object] = []

    def view(request: Any) -> object:
        request.session["a"] = 1
        request.add_response_callback(lambda request, _: request.session.update(b=2))
        request.add_finished_callback(lambda request: seen.append(dict(request.session)))
        return {}

    site = browser(store, view=view)
    site.get("/view")
    assert site.get("/all").json == {"a": 1, "b": 2} == seen[0]


def test_a_change_after_the_commit_is_an_error(store: SessionStore) -> None:
    """A subscriber of NewResponse comes too late, and is told so."""

    def late(config: Any) -> None:
        config.add_subscriber(
            lambda event: event.request.session.update(b=2),
            NewResponse,
        )

    with pytest.raises(SessionClosed):
        browser(store, late, put=putting("a", 1)).get("/put")


@pytest.mark.parametrize("returned", [True, False], ids=["returned", "raised"])
@pytest.mark.parametrize("kind", [HTTPForbidden, HTTPFound], ids=lambda kind: kind.__name__)
def test_a_response_below_500_keeps_its_session(
    store: SessionStore, kind: type[Any], returned: bool
) -> None:
    """A redirect or a 403 commits, whether it was returned or raised."""

    def view(request: Any) -> object:
        request.session["a"] = 1
        response = kind(location="/all") if kind is HTTPFound else kind()
        if returned:
            return response
        raise response

    site = browser(store, view=view)
    assert site.get("/view", status="*").status_int == kind.code
    assert site.get("/all").json == {"a": 1}


def _return_503(_request: Any) -> object:
    return Response(status=503)


def _raise_503(_request: Any) -> NoReturn:
    raise HTTPServiceUnavailable


def _fail(_request: Any) -> NoReturn:
    raise LookupError("of the application")


@pytest.mark.parametrize("fail", [_return_503, _raise_503, _fail], ids=lambda f: f.__name__[1:])
def test_failures_keep_nothing(store: SessionStore, fail: Any) -> None:
    """An error of 500 and above, and an exception, change nothing and consume no flash."""

    def view(request: Any) -> object:
        request.session["a"] = 2
        request.session["list"].append("x")
        request.session.pop_flash()
        return fail(request)

    def begin(session: Any) -> None:
        session.update({"a": 1, "list": []})
        session.flash("hello")

    site = browser(store, begin=changing(begin), fail=view)
    site.get("/begin")
    try:
        answer = site.get("/fail", status=503)
    except LookupError:
        pass
    else:
        assert "Set-Cookie" not in answer.headers
    assert site.get("/all").json == {"a": 1, "list": [], "_f_": ["hello"]}


@pytest.mark.parametrize("stream", [True, False], ids=["generator", "list"])
def test_a_failure_with_a_wrong_value_stays_that_failure(disk: DiskStore, stream: bool) -> None:
    """Nothing is kept, so nothing is asked of the values either."""

    def view(request: Any) -> object:
        request.session["wrong"] = object()
        return Response(status=500, app_iter=iter([b"failed"]) if stream else [b"failed"])

    assert browser(disk, view=view).get("/view", status=500).body == b"failed"


def test_commit_on_error_keeps_what_failures_did(store: SessionStore) -> None:
    """With that setting a response of 500 and above commits as any other one."""

    def view(request: Any) -> object:
        request.session["a"] = 1
        return Response(status=503)

    site = browser(store, settings=dataclasses.replace(CONFIG, commit_on_error=True), view=view)
    site.get("/view", status=503)
    assert site.get("/all").json == {"a": 1}


def test_an_exception_view_s_answer_counts(store: SessionStore) -> None:
    """An exception that a view answers with a status below 500 keeps what was done."""

    def views(config: Any) -> None:
        config.add_exception_view(lambda request: Response(status=404), context=LookupError)

    def view(request: Any) -> object:
        request.session["a"] = 1
        raise LookupError

    site = browser(store, views, view=view)
    site.get("/view", status=404)
    assert site.get("/all").json == {"a": 1}


# Streamed bodies.


def _streaming(late: Any) -> Any:
    """Return a view whose body changes the session before its second chunk."""

    def chunks(session: Any) -> Iterator[bytes]:
        yield b"first"
        late(session)
        yield b"second"

    def view(request: Any) -> object:
        request.session["early"] = 1
        response = Response(content_length=11)
        content_length = response.content_length
        response.app_iter = chunks(request.session)
        response.content_length = content_length
        return response

    return view


def test_changes_of_a_streamed_body(store: SessionStore, caplog: pytest.LogCaptureFixture) -> None:
    """They are committed at its end; a session in a cookie has left, and a warning says so."""
    site = browser(
        store,
        put=putting("list", [0]),
        stream=_streaming(lambda session: session["list"].append(1)),
    )
    site.get("/put")
    answer = site.get("/stream")
    assert (answer.body, answer.headers["Content-Length"]) == (b"firstsecond", "11")
    if isinstance(store, CookieStore):
        assert site.get("/all").json == {"list": [0], "early": 1}
        assert "it lives in the cookie" in warnings_in(caplog)[0]
    else:
        assert site.get("/all").json == {"list": [0, 1], "early": 1}


@pytest.mark.parametrize("read_first", [True, False])
def test_a_client_that_leaves_ends_the_body(disk: DiskStore, read_first: bool) -> None:
    """What was changed until then is kept, and the application's body is closed."""
    closed: list[object] = []

    class Chunks:
        def __init__(self, session: Any) -> None:
            self._session = session

        def __iter__(self) -> Iterator[bytes]:
            self._session["late"] = 2
            yield b"first"
            yield b"second"

        def close(self) -> None:
            closed.append(self)

    def stream(request: Any) -> object:
        request.session["early"] = 1
        return Response(app_iter=Chunks(request.session))

    site = browser(disk, stream=stream)
    client = Browser()
    response = client.request(site.app, extra={"PATH_INFO": "/stream"}).begin()
    if read_first:
        response.read_chunk()
    response.close()
    assert len(closed) == 1
    found = client.request(site.app, extra={"PATH_INFO": "/all"})
    found.environ["HTTP_COOKIE"] = dict(response.headers)["Set-Cookie"].partition(";")[0]
    late = b', "late": 2' if read_first else b""
    assert found.begin().finish().body == b'{"early": 1' + late + b"}"


@pytest.mark.parametrize("dropped", [True, False], ids=["dropped", "left"])
def test_a_body_that_is_not_closed_keeps_its_changes(disk: DiskStore, dropped: bool) -> None:
    """They are committed when a server has read the last chunk, or has dropped the body."""
    site = browser(
        disk,
        put=putting("a", 0),
        stream=_streaming(lambda session: session.update(late=2)),
    )
    cookie = site.get("/put").headers["Set-Cookie"].partition(";")[0]
    response = Browser(cookie).request(site.app, extra={"PATH_INFO": "/stream"}).begin()
    assert [response.read_chunk(), response.read_chunk()] == [b"first", b"second"]
    if dropped:
        del response
    else:
        assert response.read_chunk() is None
    assert site.get("/all").json == {"a": 0, "early": 1, "late": 2}


def test_a_body_that_fails_keeps_nothing_more(disk: DiskStore) -> None:
    """What was committed with the headers stays; what came after them does not."""

    def fail(session: Any) -> NoReturn:
        session["late"] = 2
        raise LookupError("of the application")

    site = browser(disk, put=putting("a", 0), stream=_streaming(fail))
    site.get("/put")
    with pytest.raises(LookupError):
        site.get("/stream")
    assert site.get("/all").json == {"a": 0, "early": 1}


def test_a_streamed_error_keeps_nothing(disk: DiskStore) -> None:
    """A body of a response of 500 and above changes nothing either."""

    def stream(request: Any) -> object:
        def chunks() -> Iterator[bytes]:
            request.session["a"] = 2
            yield b"failed"

        return Response(status=500, app_iter=chunks())

    site = browser(disk, put=putting("a", 1), stream=stream)
    site.get("/put")
    assert site.get("/stream", status=500).body == b"failed"
    assert site.get("/all").json == {"a": 1}


def test_a_session_first_used_while_the_body_streams(
    disk: DiskStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A change is kept where there is a session, and a warning names Vary."""

    def stream(request: Any) -> object:
        def chunks() -> Iterator[bytes]:
            yield b"first"
            request.session["late"] = 2
            yield b"second"

        return Response(app_iter=chunks())

    site = browser(disk, put=putting("a", 1), stream=stream)
    site.get("/put")
    assert site.get("/stream").body == b"firstsecond"
    assert any("Vary: Cookie" in message for message in warnings_in(caplog))
    assert site.get("/all").json == {"a": 1, "late": 2}


# Nobody's leak.


def test_a_session_that_was_never_closed_is_collected(store: SessionStore) -> None:
    """A request that is opened and dropped leaves no actor, without the garbage collector."""
    session = session_factory(CONFIG, store=store)(request := DummyRequest())
    session["a"] = 1
    seen = weakref.ref(session)
    gc.disable()
    try:
        del session, request
        assert seen() is None
        assert living_session_actors() == []
    finally:
        gc.enable()


@pytest.mark.parametrize("chunks", [0, 1])
def test_a_body_that_is_never_closed_leaves_no_actor(store: SessionStore, chunks: int) -> None:
    """A client may drop a response that it has read in part, or not at all."""

    def stream(request: Any) -> object:
        request.session["a"] = 1
        return Response(app_iter=iter([b"one", b"two"]))

    site = browser(store, stream=stream)
    gc.disable()
    try:
        response = Browser().request(site.app, extra={"PATH_INFO": "/stream"}).begin()
        for _ in range(chunks):
            response.read_chunk()
        assert living_session_actors() != []
        del response
        assert living_session_actors() == []
    finally:
        gc.enable()


def test_webtest_leaves_no_actor(store: SessionStore) -> None:
    """The response of Pyramid's usual test client may live on: the session has ended."""

    def stream(request: Any) -> object:
        request.session["a"] = 1
        return Response(app_iter=(chunk for chunk in (b"one", b"two")))

    site: TestApp = browser(store, put=putting("a", 1), stream=stream)
    kept = [site.get("/put"), site.get("/stream")]
    assert living_session_actors() == []
    assert [answer.status_int for answer in kept] == [200, 200]


def test_an_open_file_as_body(store: SessionStore) -> None:
    """A file object counts as finished too."""

    def view(request: Any) -> object:
        request.session["a"] = 1
        return Response(app_iter=io.BytesIO(b"one\ntwo\n"))

    site = browser(store, view=view)
    assert site.get("/view").body == b"one\ntwo\n"
    assert site.get("/all").json == {"a": 1}
