"""A WSGI server and a browser for tests: in this process, one chunk at a time."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING
from wsgiref.util import FileWrapper, setup_testing_defaults

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

Headers = list[tuple[str, str]]


class Cookies:
    """What a browser keeps of the Set-Cookie headers it gets."""

    def __init__(self, header: str = "") -> None:
        self._values: dict[str, str] = {}
        self.take([("Set-Cookie", header)])

    def take(self, headers: Iterable[tuple[str, str]]) -> None:
        """Keep the cookies of a response, and drop those that it ends."""
        for name, value in headers:
            if name.lower() == "set-cookie":
                for cookie, morsel in SimpleCookie(value).items():
                    self._values[cookie] = morsel.value
                    if morsel["max-age"] == "0":
                        del self._values[cookie]

    def header(self) -> str:
        """Return the value of the Cookie header, "" if there is none to send."""
        return "; ".join(f"{name}={value}" for name, value in self._values.items())


class Response:
    """One request as a WSGI server handles it (PEP 3333), step by step.

    ``started`` counts the calls of ``start_response``. The headers leave with the first
    chunk that is not empty, or at the end, and only then the browser has its cookie.
    """

    def __init__(self, app: WSGIApplication, environ: WSGIEnvironment, cookies: Cookies) -> None:
        self.environ = environ
        self.status = ""
        self.headers: Headers = []
        self.started = 0
        self.sent = False
        self.body = b""
        self._app = app
        self._cookies = cookies

    def begin(self) -> Response:
        """Call the application."""
        self.iterable = self._app(self.environ, self.start_response)
        self._chunks: Iterator[bytes] | None = None
        return self

    def read_chunk(self) -> bytes | None:
        """Send the next chunk and return it; return None after the last one."""
        if self._chunks is None:
            self._chunks = iter(self.iterable)
        chunk = next(self._chunks, None)
        if chunk is None:
            self._send_headers()
        else:
            self.write(chunk)
        return chunk

    def close(self) -> None:
        """Close the body: at its end, or as soon as the client has left."""
        close = getattr(self.iterable, "close", None)
        if close is not None:
            close()

    def finish(self) -> Response:
        """Send everything that is still to come."""
        try:
            while self.read_chunk() is not None:
                pass
        finally:
            self.close()
        return self

    def start_response(
        self, status: str, headers: Headers, exc_info: OptExcInfo | None = None, /
    ) -> Callable[[bytes], object]:
        self.started += 1
        if exc_info is not None:
            if self.sent and exc_info[1] is not None:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self.status:
            raise AssertionError("the server's start_response was called twice")
        self.status = status
        self.headers = headers
        return self.write

    def write(self, chunk: bytes) -> None:
        if chunk:
            self._send_headers()
            self.body += chunk

    def values(self, name: str) -> list[str]:
        """Return the values of all headers of this name."""
        return [value for header, value in self.headers if header.lower() == name.lower()]

    @property
    def set_cookie(self) -> str | None:
        """The one Set-Cookie header, if there is one."""
        found = self.values("Set-Cookie")
        assert len(found) <= 1
        return found[0] if found else None

    def _send_headers(self) -> None:
        if not self.status:
            raise AssertionError("there is no start_response, and the body has begun")
        if not self.sent:
            self.sent = True
            self._cookies.take(self.headers)


class Browser:
    """Asks applications, with the cookies it has been given."""

    def __init__(self, cookie_header: str = "") -> None:
        self.cookies = Cookies(cookie_header)

    def request(
        self, app: WSGIApplication, method: str = "GET", extra: Mapping[str, str] | None = None
    ) -> Response:
        """Make a request that has not begun. ``extra`` goes into its environ."""
        environ: WSGIEnvironment = {
            "REQUEST_METHOD": method,
            "QUERY_STRING": "",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": io.StringIO(),
            "wsgi.file_wrapper": FileWrapper,
            **(extra or {}),
        }
        if header := self.cookies.header():
            environ["HTTP_COOKIE"] = header
        setup_testing_defaults(environ)
        return Response(app, environ, self.cookies)

    def begin(self, app: WSGIApplication) -> Response:
        """Make a request whose body is still to be read and closed."""
        return self.request(app).begin()

    def get(self, app: WSGIApplication, method: str = "GET") -> Response:
        """Make a whole request."""
        return self.request(app, method).begin().finish()
