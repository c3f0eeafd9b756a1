"""One request to an application inside the process: called as a server would call it.

What a server does around that, from the socket to the last byte, is left out: it is the
same with and without sessions.
"""

from __future__ import annotations

import io
from collections.abc import Callable, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment
    from starlette.types import ASGIApp

__all__ = ["Answer", "Ask", "asgi", "wsgi"]


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


Ask: TypeAlias = Callable[[str, str], Answer]
"""Send one request: for a path, with a cookie, "" for none."""

# What a browser sends with a GET, by way of a proxy that speaks HTTPS.
_HEADERS: Final = {
    "host": "example.org",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101",
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "accept-language": "en-US,en;q=0.5",
    "accept-encoding": "gzip, deflate, br",
    "connection": "keep-alive",
    "x-forwarded-proto": "https",
}

_ENVIRON: Final[WSGIEnvironment] = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "QUERY_STRING": "",
    "SERVER_NAME": "example.org",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in _HEADERS.items()},
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.input": io.BytesIO(),
    "wsgi.errors": io.StringIO(),
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}

_SCOPE: Final[dict[str, Any]] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.4"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "root_path": "",
    "query_string": b"",
    "server": ("example.org", 80),
    "client": ("127.0.0.1", 50_000),
}
_RAW_HEADERS: Final = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]


def wsgi(application: WSGIApplication) -> Ask:
    """Ask a WSGI application: call it, join its body, close it."""

    def ask(path: str, cookie: str) -> Answer:
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

    return ask


def asgi(application: ASGIApp) -> Ask:
    """Ask an ASGI application, without an event loop.

    Nothing that is asked here waits for anything: the stores are cookies or memory, and
    the request has no body. So the first step of the coroutine is its last, and there is
    nothing for a loop to do, whose own cost would only be noise. An application that does
    wait is refused.
    """

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    def ask(path: str, cookie: str) -> Answer:
        sent: list[MutableMapping[str, Any]] = []

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        scope = {
            **_SCOPE,
            "path": path,
            "raw_path": path.encode(),
            "headers": [*_RAW_HEADERS, (b"cookie", cookie.encode("latin-1"))],
        }
        _finish(application(scope, receive, send))
        start, *chunks = sent
        return Answer(
            _STATUS[start["status"]],
            [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]],
            b"".join([chunk["body"] for chunk in chunks]),
        )

    return ask


_STATUS: Final = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


def _finish(awaitable: Any) -> None:
    """Run a coroutine that waits for nothing; RuntimeError if it does wait."""
    coroutine = awaitable.__await__()
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("the application waits for something, and there is no event loop here")
