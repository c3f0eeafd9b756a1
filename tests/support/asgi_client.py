"""An ASGI server and a browser for tests: in this process, on any event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, Self, TypeAlias, TypeVar

import anyio
import trio

from glimr_session.asgi import ASGIApp, Message
from tests.support.wsgi_client import Cookies

__all__ = ["LOOPS", "Browser", "Exchange", "OnSend"]

T = TypeVar("T")

OnSend: TypeAlias = Callable[[Message], Awaitable[object]]
"""Called with each message that the server is sent, and before the browser has it."""


def _on_asyncio(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return asyncio.run(work())


def _on_trio(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    result: T = trio.run(work)
    return result


LOOPS: Final = {"asyncio": _on_asyncio, "trio": _on_trio}
"""Functions that run a coroutine function on an event loop, by the name of the loop."""

_STARTS: Final = ("http.response.start", "websocket.accept", "websocket.http.response.start")


class Exchange:
    """One request, or one websocket, as an ASGI server handles it.

    The server is strict: it refuses what the specification of ASGI forbids.

    Args:
        app: the application.
        scope: of the connection.
        incoming: what the client sends. After that it says no more; a websocket's closes.
        cookies: of the browser.
        on_send: may wait, as for a client that reads slowly, or raise, as for one that has left.

    Attributes:
        sent: all messages that have reached the server.
        left: set by ``leave``; an asynchronous event.
    """

    def __init__(
        self,
        app: ASGIApp,
        scope: dict[str, Any],
        incoming: Iterable[Message],
        cookies: Cookies,
        on_send: OnSend | None,
    ) -> None:
        self.scope = scope
        self.sent: list[Message] = []
        self._app, self._cookies, self._on_send = app, cookies, on_send
        self._incoming = [*incoming]
        self._left: anyio.Event | None = None

    async def run(self) -> Self:
        """Call the application, and wait until it has returned."""
        self._left = anyio.Event()
        await self._app(self.scope, self.receive, self.send)
        return self

    def leave(self) -> None:
        """Let the client leave: whoever waits for its next message is told."""
        assert self._left is not None
        self._left.set()

    async def receive(self) -> Message:
        if self._incoming:
            return self._incoming.pop(0)
        if self.scope["type"] == "websocket":
            return {"type": "websocket.disconnect", "code": 1001}
        assert self._left is not None
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self._check(message)
        if self._on_send is not None:
            await self._on_send(message)
        self.sent.append(message)
        if message["type"] in _STARTS:
            self._cookies.take(self.headers)

    def _check(self, message: Message) -> None:
        kind = message["type"]
        assert kind.startswith(self.scope["type"])
        assert not self.complete, f"{kind} after the end"
        if kind in _STARTS:
            assert self.start is None, "it has started already"
            for header in message.get("headers", ()):
                name, value = header
                assert type(name) is type(value) is bytes
                assert name == name.lower()
        elif "body" in kind:
            assert self.start is not None, f"{kind} before the start"

    @property
    def start(self) -> Message | None:
        """The message that the response has begun with."""
        return next((message for message in self.sent if message["type"] in _STARTS), None)

    @property
    def complete(self) -> bool:
        """Whether the response has ended."""
        last = self.sent[-1] if self.sent else {"type": ""}
        ends = "body" in last["type"] and not last.get("more_body")
        return ends or last["type"] == "websocket.close"

    @property
    def status(self) -> int:
        """The status of the response; 101 for a websocket that was accepted."""
        assert self.start is not None
        status: int = self.start.get("status", 101)
        return status

    @property
    def body(self) -> bytes:
        """What the client has been sent."""
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def texts(self) -> list[str]:
        """What the client of a websocket has been sent."""
        return [message["text"] for message in self.sent if message["type"] == "websocket.send"]

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers of the response, as text."""
        headers = () if self.start is None else self.start.get("headers", ())
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]

    def values(self, name: str) -> list[str]:
        """Return the values of all headers of this name."""
        return [value for header, value in self.headers if header == name.lower()]

    @property
    def set_cookie(self) -> str | None:
        """The one Set-Cookie header, if there is one."""
        found = self.values("Set-Cookie")
        assert len(found) <= 1
        return found[0] if found else None


class Browser:
    """Asks applications, with the cookies it has been given."""

    def __init__(self, cookie_header: str = "") -> None:
        self.cookies = Cookies(cookie_header)

    def twin(self) -> Browser:
        """Return another browser with the same cookies."""
        twin = Browser()
        for pair in filter(None, self.cookies.header().split("; ")):
            twin.cookies.take([("Set-Cookie", pair)])
        return twin

    def request(
        self,
        app: ASGIApp,
        path: str = "/",
        headers: Iterable[tuple[bytes, bytes]] = (),
        *,
        extra: Mapping[str, Any] | None = None,
        on_send: OnSend | None = None,
    ) -> Exchange:
        """Make a request that has not begun. ``extra`` goes into its scope."""
        scope = self._scope("http", path, headers)
        scope |= {"method": "GET", **(extra or {})}
        incoming = [{"type": "http.request", "body": b"", "more_body": False}]
        return Exchange(app, scope, incoming, self.cookies, on_send)

    async def get(
        self, app: ASGIApp, path: str = "/", headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> Exchange:
        """Make a whole request."""
        return await self.request(app, path, headers).run()

    def websocket(
        self, app: ASGIApp, texts: Iterable[str] = (), *, on_send: OnSend | None = None
    ) -> Exchange:
        """Make a websocket that has not begun, whose client says this and closes."""
        scope = self._scope("websocket", "/", ())
        said = [{"type": "websocket.receive", "text": text} for text in texts]
        incoming = [{"type": "websocket.connect"}, *said]
        return Exchange(app, scope, incoming, self.cookies, on_send)

    def _scope(
        self, kind: str, path: str, headers: Iterable[tuple[bytes, bytes]]
    ) -> dict[str, Any]:
        cookie = self.cookies.header().encode()
        own = [(b"cookie", cookie)] if cookie else []
        return {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": "2.5"},
            "http_version": "1.1",
            "scheme": "http" if kind == "http" else "ws",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 50000),
            "headers": [(b"host", b"127.0.0.1:8000"), *own, *headers],
        }
