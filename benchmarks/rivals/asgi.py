"""ASGI: our sessions, Starlette's and those of starsessions, around one application.

The application has no framework; it gets its session as Starlette's ``request.session`` does.

Starlette's sessions are JSON in a signed cookie, which is verified and decoded in every request,
used or not. There is no session id, so a login is a write like any other.

starsessions has a store behind an interface that is awaited: a signed cookie, a dict of its
process, or Redis, by redis-py's asyncio client. The application loads the session where it uses
it, which its documentation offers beside loading all of them, and which is the cheaper way. A
session that was loaded is written, changed or not, and replaced as a whole: of two requests at
the same time one loses its changes. The dict has no expiry and no other process sees it. After a
login the old cookie still opens what it opened before.

All have the same idle timeout, and cookies that are Secure, HttpOnly and SameSite=Lax.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import redis.asyncio
import starsessions
from starlette.middleware.sessions import SessionMiddleware as StarletteMiddleware
from starlette.requests import HTTPConnection
from starsessions.stores import redis as starsessions_redis

from glimr_session import CookieStore, DiskStore, SessionStore
from glimr_session.asgi import SessionMiddleware, session_of
from glimr_session.stores.redis import RedisStore

from ..measure import Arm
from ..sites import BARE, LIFETIME, cycled
from ..worker import CONFIG, SAMPLE, SECRET, Answer, respond

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = [
    "APPLICATIONS",
    "BATCH",
    "COUNT",
    "PLACE",
    "WITHOUT",
    "AsgiClient",
    "Run",
    "application",
    "ours",
    "prefix",
]

WITHOUT: Final = "without sessions"

BATCH: Final = 20
"""Requests that an arm sends, one after the other, each time that it runs the event loop."""

PLACE: Final = "BENCHMARK_PLACE"
"""The environment variable with the directory or the URL that ``application`` takes."""

COUNT: Final = "/count"
"""The page that adds one to the visits, in the way that the library has for it."""

Run: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Any]
"""Runs a coroutine on an event loop until it is done, and returns its result."""

_SCOPE: Final[Mapping[str, Any]] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.4"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "https",
    "root_path": "",
    "query_string": b"",
    "server": ("127.0.0.1", 8000),
    "client": ("127.0.0.1", 50_000),
}
_HEADERS: Final = (
    (b"host", b"example.org"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br"),
)


class AsgiClient:
    """Sends GET requests to an application in this process, on an event loop."""

    def __init__(self, application: ASGIApp, run: Run) -> None:
        self._application = application
        self._run = run

    def __call__(self, path: str, cookie: str) -> Answer:
        """Send one request, and return its answer."""
        answer: Answer = self._run(self.get(path, cookie))
        return answer

    async def get(self, path: str, cookie: str) -> Answer:
        """As a call, for those who run on the event loop themselves."""
        sent: list[MutableMapping[str, Any]] = []

        async def send(message: Message) -> None:
            sent.append(message)

        headers = [*_HEADERS, (b"cookie", cookie.encode())] if cookie else [*_HEADERS]
        scope = {**_SCOPE, "path": path, "raw_path": path.encode(), "headers": headers}
        await self._application(scope, _receive, send)
        start, *bodies = sent
        status = HTTPStatus(start["status"])
        body = b"".join(message["body"] for message in bodies).decode()
        for name, value in start["headers"]:
            if name == b"set-cookie":
                return Answer(_line(status), value.decode().partition(";")[0], body)
        return Answer(_line(status), "", body)

    def browse(self, path: str, cookies: list[str], in_a_row: int = 1) -> Arm:
        """Return an arm that requests a page ``BATCH`` times; see ``sites.browse``."""
        visitors = cycled(range(len(cookies)), in_a_row)

        async def visit() -> None:
            for _ in range(BATCH):
                visitor = next(visitors)
                cookie = (await self.get(path, cookies[visitor])).cookie
                if cookie:
                    cookies[visitor] = cookie

        return lambda: self._run(visit())


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


def _line(status: HTTPStatus) -> str:
    return f"{status:d} {status.phrase}"


def _add_one(connection: HTTPConnection) -> None:
    connection.session["visits"] += 1


def _site(
    load: Callable[[HTTPConnection], Awaitable[None]] | None = None,
    regenerate: Callable[[HTTPConnection], object] | None = None,
    count: Callable[[HTTPConnection], object] = _add_one,
) -> ASGIApp:
    """Return the application with all pages.

    Args:
        load: loads the session of a request; None where that is done before the application.
        regenerate: changes its id; None if it has none.
        count: adds one to its visits.
    """

    async def answer(scope: Scope, _receive: Receive, send: Send) -> None:
        path = scope["path"]
        session = None
        if path != "/ignore":
            connection = HTTPConnection(scope)
            if load:
                await load(connection)
            session = connection.session
            if path == "/login" and regenerate:
                regenerate(connection)
            elif path == COUNT:
                count(connection)
                path = "/read"
        body = respond(path, session, BARE).encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer


def _without() -> ASGIApp:
    """Return the application without sessions: all its requests have one dict."""
    shared = dict(SAMPLE)
    bare = _site()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        scope["session"] = shared
        await bare(scope, receive, send)

    return answer


def ours(store: SessionStore) -> SessionMiddleware:
    """Return the application with glimr_session."""

    def regenerate(connection: HTTPConnection) -> None:
        session_of(connection).regenerate()

    def count(connection: HTTPConnection) -> None:
        session_of(connection).increment("visits")

    return SessionMiddleware(_site(None, regenerate, count), CONFIG, store=store)


def _starlette(_where: str) -> ASGIApp:
    return StarletteMiddleware(_site(), SECRET, max_age=LIFETIME, https_only=True)


def _starsessions(store: starsessions.SessionStore) -> ASGIApp:
    site = _site(starsessions.load_session, starsessions.regenerate_session_id)
    return starsessions.SessionMiddleware(site, store, LIFETIME, rolling=True)


def _starsessions_on_redis(url: str) -> ASGIApp:
    client = redis.asyncio.Redis.from_url(url)
    return _starsessions(starsessions_redis.RedisStore(connection=client))


APPLICATIONS: Final[Mapping[str, Callable[[str], ASGIApp]]] = {
    WITHOUT: lambda _where: _without(),
    "glimr_session (cookie)": lambda _where: ours(CookieStore()),
    "glimr_session (disk)": lambda where: ours(DiskStore(where)),
    "glimr_session (Redis)": lambda where: ours(RedisStore(where)),
    "Starlette": _starlette,
    "starsessions (cookie)": lambda _where: _starsessions(starsessions.CookieStore(SECRET)),
    "starsessions (memory)": lambda _where: _starsessions(starsessions.InMemoryStore()),
    "starsessions (Redis)": _starsessions_on_redis,
}
"""For each side a function from the directory or the URL of its store to its application."""


def application() -> ASGIApp:
    """Return one application with all sides, for a server: the path begins with their number.

    One process has them all, so that what else it holds, and what a start costs, is the same
    for each.
    """
    place = os.environ[PLACE]
    numbered = {str(number): side for number, side in enumerate(APPLICATIONS)}
    made: dict[str, ASGIApp] = {}

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        _, number, page = f"/0{scope['path']}".rsplit("/", 2)  # the first one is the default
        if number not in made:
            made[number] = APPLICATIONS[numbered[number]](place)
        await made[number]({**scope, "path": f"/{page}"}, receive, send)

    return answer


def prefix(side: str) -> str:
    """Return what the path of a side begins with in ``application``."""
    return f"/{[*APPLICATIONS].index(side)}"
