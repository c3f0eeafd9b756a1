"""Ours among other middleware, mounted applications, and other sessions."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware as StarletteSessions
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from glimr_session import DiskStore, SessionStore
from glimr_session.asgi import SessionMiddleware, session_of

from .sites import KEY, client_of, make_app, put, show, values


class Visits(BaseHTTPMiddleware):
    """Counts requests in the session before and after the page."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        session_of(request).increment("before")
        response = await call_next(request)
        session_of(request).increment("after")
        return response


class Reader(BaseHTTPMiddleware):
    """Reads the session once the page has answered."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-read"] = ",".join(request.session)
        return response


def their_cookie(client: TestClient) -> bytes:
    """Return what Starlette's own cookie holds, which everybody can read."""
    value = client.cookies.get("session") or ""
    return b64decode(value.partition(".")[0])


def test_a_base_http_middleware_inside_uses_the_session(store: SessionStore) -> None:
    """Before the page and after it: what it does then is still in the headers."""
    client = client_of(store, inside=[Middleware(Visits)])
    client.get("/put?a=1")
    assert values(client) == {"a": "1", "before": 2, "after": 1}


def test_a_base_http_middleware_outside_reads_the_session(store: SessionStore) -> None:
    """After the page has answered; the session is committed by then."""
    client = client_of(store, outside=[Middleware(Reader)])
    assert client.get("/put?a=1").headers["x-read"] == "a"
    assert values(client) == {"a": "1"}


def test_a_base_http_middleware_outside_lets_late_changes_be(disk: DiskStore) -> None:
    """A stream is passed on by it chunk by chunk, and ours sees the end."""

    async def stream(request: Request) -> Response:
        request.session["early"] = 1

        async def chunks() -> AsyncIterator[str]:
            yield "one"
            request.session["late"] = 1

        return StreamingResponse(chunks())

    for place in ("outside", "inside"):
        arguments: dict[str, Any] = {place: [Middleware(Reader)]}
        client = client_of(disk, stream, **arguments)
        assert client.get("/stream").text == "one"
        assert values(client) == {"early": 1, "late": 1}


def test_gzip_around_it_keeps_both_in_vary(store: SessionStore) -> None:
    """Accept-Encoding and Cookie."""
    for place in ("outside", "inside"):
        arguments: dict[str, Any] = {place: [Middleware(GZipMiddleware, minimum_size=1)]}
        client = client_of(store, **arguments)
        answer = client.get("/put?a=1")
        assert set(answer.headers["vary"].split(", ")) == {"Accept-Encoding", "Cookie"}
        assert values(client) == {"a": "1"}


def test_a_mounted_application_has_the_same_session(store: SessionStore) -> None:
    """It needs no middleware of its own."""
    client = client_of(store, Mount("/inner", Starlette(routes=[Route("/put", put)])))
    client.get("/put?a=1")
    assert client.get("/inner/put?b=2").json() == {"a": "1", "b": "2"}
    assert values(client) == {"a": "1", "b": "2"}


def test_the_same_middleware_twice_is_one_session(store: SessionStore) -> None:
    """The inner one passes through: one session in the scope, one cookie."""

    async def use(request: Request) -> Response:
        request.scope["glimr.session"]["b"] = 2
        return JSONResponse(dict(request.session))

    client = client_of(store, Mount("/inner", make_app(store, use)))
    client.get("/put?a=1")
    answer = client.get("/inner/use")
    assert answer.json() == values(client) == {"a": "1", "b": 2}
    assert len(answer.headers.get_list("set-cookie")) <= 1
    assert len(client.cookies) == 1


def test_a_second_session_beside_the_first(store: SessionStore) -> None:
    """With a key and a cookie of its own; ``request.session`` is the outer one."""

    async def both(request: Request) -> Response:
        session_of(request).increment("visits")
        request.scope["admin.session"].increment("visits", 10)
        return JSONResponse(request.scope["admin.session"].all())

    second = {"key": "admin.session", "cookie": "admin", "secret_keys": [KEY], "gc": "never"}
    inner = Middleware(SessionMiddleware, config=second, store=store)
    client = client_of(store, both, inside=[inner])
    client.get("/both")
    assert client.get("/both").json() == {"visits": 20}
    assert values(client) == {"visits": 2}
    assert {*client.cookies} == {"glimr_session", "admin"}


def test_starlette_s_sessions_in_a_mounted_application_are_its_own(store: SessionStore) -> None:
    """It sees none of ours, and ours none of its; each has its cookie."""
    sessions = Middleware(StarletteSessions, secret_key=KEY)
    inner = Starlette(routes=[Route("/put", put), Route("/show", show)], middleware=[sessions])
    client = client_of(store, Mount("/inner", inner))
    client.get("/put?ours=1")
    assert client.get("/inner/put?theirs=1").json() == {"theirs": "1"}
    assert client.get("/inner/show").json() == {"theirs": "1"}
    assert values(client) == {"ours": "1"}
    assert their_cookie(client) == b'{"theirs": "1"}'


def test_starlette_s_sessions_around_ours_see_nothing_of_it(store: SessionStore) -> None:
    """Its cookie, which everybody can read, would hold what is on our server."""
    client = client_of(store, outside=[Middleware(StarletteSessions, secret_key=KEY)])
    answer = client.get("/put?ours=1")
    assert values(client) == {"ours": "1"}
    assert {*client.cookies} == {"glimr_session"}
    assert len(answer.headers.get_list("set-cookie")) == 1


def test_starlette_s_sessions_around_ours_keep_what_is_theirs(store: SessionStore) -> None:
    """What was put outside of ours is in its cookie, and ours is what the pages see."""

    class Outside(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
            request.session["theirs"] = 1
            return await call_next(request)

    around = [Middleware(StarletteSessions, secret_key=KEY), Middleware(Outside)]
    client = client_of(store, outside=around)
    assert client.get("/put?ours=1").json() == {"ours": "1"}
    assert values(client) == {"ours": "1"}
    assert their_cookie(client) == b'{"theirs": 1}'


@pytest.mark.parametrize("chunks", [1, 2])
def test_ours_stays_in_the_scope_once_the_headers_have_left(disk: DiskStore, chunks: int) -> None:
    """Also with Starlette's around it: a stream and a background task find ours."""

    async def stream(request: Request) -> Response:
        request.session["early"] = 1

        async def produce() -> AsyncIterator[str]:
            for number in range(chunks):
                session_of(request)[f"late{number}"] = 1
                yield "chunk"

        return StreamingResponse(produce())

    client = client_of(disk, stream, outside=[Middleware(StarletteSessions, secret_key=KEY)])
    client.get("/stream")
    assert values(client) == {"early": 1, **{f"late{number}": 1 for number in range(chunks)}}
