"""The web application that the arms of a case serve, and the requests they get.

A page is a function of a mapping, so that the very same ones run on any session, and on
a plain dict where there is none.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from itertools import chain, cycle, repeat
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from .case import require_equal
from .measure import Arm
from .sample import SAMPLE

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = [
    "PAGES",
    "VISITORS",
    "Answer",
    "Page",
    "bare_site",
    "fill",
    "in_turn",
    "prove",
    "site",
    "visiting",
]

T = TypeVar("T")

VISITORS: Final = 3_000
"""How many sessions there are. They come in turns, so that every request brings another
cookie than those before it: what an arm remembers of the last thousand is no help."""

Page: TypeAlias = Callable[[MutableMapping[str, Any]], str]


def _fill(session: MutableMapping[str, Any]) -> str:
    session.update(SAMPLE)
    return "filled"


def _ignore(_session: MutableMapping[str, Any]) -> str:
    return "ignored"


def _read(session: MutableMapping[str, Any]) -> str:
    return str(session["visits"])


def _visit(session: MutableMapping[str, Any]) -> str:
    visits = session["visits"]
    session["visits"] = visits + 1
    return str(visits)


def _show(session: MutableMapping[str, Any]) -> str:
    # Beaker keeps times of its own under names with an underscore.
    shown = {key: value for key, value in session.items() if not key.startswith("_")}
    return json.dumps(shown, sort_keys=True)


PAGES: Final[dict[str, Page]] = {
    "/fill": _fill,
    "/ignore": _ignore,
    "/read": _read,
    "/show": _show,
    "/visit": _visit,
}


class Answer(NamedTuple):
    """What a server would have sent."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def cookie(self) -> str:
        """The cookie that it sets, as the next request sends it, or ""."""
        for name, value in self.headers:
            if name.lower() == "set-cookie":
                return value.partition(";")[0].strip()
        return ""


def site(find: Callable[[WSGIEnvironment], MutableMapping[str, Any]]) -> WSGIApplication:
    """Make the application; ``find`` gets the session of a request."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        body = PAGES[environ["PATH_INFO"]](find(environ)).encode()
        start_response(
            "200 OK",
            [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))],
        )
        return [body]

    return application


def bare_site() -> WSGIApplication:
    """Make the application without sessions: its pages get one dict, for all requests."""
    shared = dict(SAMPLE)
    return site(lambda _environ: shared)


# What a server hands over for a GET, behind a proxy that speaks HTTPS.
_ENVIRON: Final[WSGIEnvironment] = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "QUERY_STRING": "",
    "SERVER_NAME": "example.org",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "HTTP_HOST": "example.org",
    "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101",
    "HTTP_ACCEPT": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "HTTP_ACCEPT_LANGUAGE": "en-US,en;q=0.5",
    "HTTP_ACCEPT_ENCODING": "gzip, deflate, br",
    "HTTP_CONNECTION": "keep-alive",
    "HTTP_X_FORWARDED_PROTO": "https",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.input": io.BytesIO(),
    "wsgi.errors": io.StringIO(),
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}


def _serve(application: WSGIApplication, path: str, cookie: str) -> Answer:
    """Do for one request what a server does, apart from the sending."""
    started: list[Any] = []

    def start_response(*status_and_headers: Any) -> Callable[[bytes], None]:
        started[:] = status_and_headers
        return started.append

    body = application({**_ENVIRON, "PATH_INFO": path, "HTTP_COOKIE": cookie}, start_response)
    try:
        content = b"".join(body)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()
    return Answer(started[0], started[1], content)


def in_turn(things: Sequence[T], in_a_row: int = 1) -> Iterator[T]:
    """Give one thing after the other, each so many times, for ever."""
    return chain.from_iterable(repeat(thing, in_a_row) for thing in cycle(things))


def visiting(
    application: WSGIApplication, path: str, cookies: Sequence[str], in_a_row: int = 1
) -> Arm:
    """Make an arm that asks for a page, with each cookie so many times before the next."""
    turns = in_turn(cookies, in_a_row)

    def visit() -> Answer:
        return _serve(application, path, next(turns))

    return visit


def fill(application: WSGIApplication) -> list[str]:
    """Begin a session with the sample for each visitor; give their cookies."""
    return [_serve(application, "/fill", "").cookie for _ in range(VISITORS)]


def prove(**sites: WSGIApplication) -> None:
    """See that all these sites read, write and keep the same in their sessions."""
    stories = {}
    for name, application in sites.items():
        cookie, pages = _serve(application, "/fill", "").cookie, []
        for path in ("/ignore", "/read", "/visit", "/visit", "/show"):
            answer = _serve(application, path, cookie)
            cookie = answer.cookie or cookie
            pages.append((answer.status, answer.body))
        stories[name] = pages
    shown = json.dumps({**SAMPLE, "visits": 100_002}, sort_keys=True).encode()
    bodies = (b"ignored", b"100000", b"100000", b"100001", shown)
    require_equal("the story of a session", expected=[("200 OK", b) for b in bodies], **stories)
