"""A small ASGI site for real servers to serve, on asyncio or trio.

``application`` has its sessions, as the environment configures them.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, unquote

import anyio

from glimr_session._request.live_session import LiveSession
from glimr_session.asgi import (
    AsgiSession,
    Message,
    Receive,
    Scope,
    Send,
    SessionMiddleware,
    session_of,
)
from tests.support.actors import living_session_actors
from tests.support.concurrency_app import Step, answer

__all__ = ["EVENTS", "application", "site"]

EVENTS: Final = 3  # that /events sends

Handler: TypeAlias = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """A request, and how its response is sent."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.session: AsgiSession = session_of(scope)
        self.receive = receive
        self._scope = scope
        self._send = send

    @functools.cached_property
    def query(self) -> str:
        found: bytes = self._scope["query_string"]
        return found.decode()

    async def start(self, content_type: bytes = b"text/plain") -> None:
        headers = [(b"content-type", content_type)]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    async def chunk(self, body: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def reply(self, found: Any) -> None:
        """Answer in JSON: which process it was, and what it found."""
        await self.start(b"application/json")
        await self.chunk(json.dumps({"pid": os.getpid(), "found": found}).encode(), more=False)

    async def gate(self) -> None:
        """Wait until the test opens the gate of the query."""
        await let_through(int(parse_qs(self.query)["gate"][0]))


async def let_through(port: int) -> bool:
    """Knock at the gate of a test, with the process id, and wait for the word."""
    async with await anyio.connect_tcp("127.0.0.1", port) as connection:
        await connection.send(b"%d\n" % os.getpid())
        try:
            return await connection.receive(1) == b"!"
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return False


async def site(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the paths of ROUTES, and a websocket that counts."""
    if scope["type"] == "lifespan":
        await live(receive, send)
    elif scope["type"] == "websocket":
        await count_messages(session_of(scope), receive, send)
    else:
        await ROUTES[scope["path"]](Exchange(scope, receive, send))


async def live(receive: Receive, send: Send) -> None:
    """Acknowledge the start and the end of the server."""
    while True:
        message: Message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def count_messages(session: AsgiSession, receive: Receive, send: Send) -> None:
    """Count messages in the session, and answer each with its number, once that is committed."""
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        number = session.increment("messages")
        await session.save()
        await send({"type": "websocket.send", "text": str(number)})


async def perform_steps(exchange: Exchange) -> None:
    """Do what the query says: the scenes of ``concurrency_app``, step by step."""
    session = exchange.session
    steps: list[Step] = json.loads(unquote(exchange.query))
    late = steps.index(["stream"]) if ["stream"] in steps else len(steps)
    found = await perform(session, steps[:late])
    await exchange.start(b"application/json")
    if late < len(steps):
        await exchange.chunk(b" ")
        found += await perform(session, steps[late + 1 :])
        await session.save()  # the client need not wait for what follows the last chunk
    await exchange.chunk(answer(found), more=False)


async def perform(session: AsgiSession, steps: list[Step]) -> list[Any]:
    """As ``concurrency_app.perform``, for an event loop."""
    found: list[Any] = []
    for verb, *arguments in steps:
        if verb == "needs":
            if arguments[0] not in session:
                break
        elif verb == "gate":
            if not await let_through(*arguments):
                break
        elif verb == "end_others":
            store = session.store
            found.append(await store.adestroy_all(*arguments, except_=session))
        elif verb == "work":
            await anyio.sleep(0.002)
        elif verb == "clear":
            LiveSession.clear(session)  # Session's; that of AsgiSession logs out
            found.append(None)
        elif verb == "shown":
            found.append(dict(session.session.state().loaded_flash))
        else:
            found.append(getattr(session, verb)(*arguments))
    return found


async def count(exchange: Exchange) -> None:
    await exchange.reply(exchange.session.increment("count"))


async def login(exchange: Exchange) -> None:
    exchange.session.regenerate()
    exchange.session["user"] = "ada"
    await exchange.reply(None)


async def logout(exchange: Exchange) -> None:
    exchange.session.invalidate()
    await exchange.reply(None)


async def flash(exchange: Exchange) -> None:
    exchange.session.flash("notice", "saved")
    await exchange.reply(None)


async def shown(exchange: Exchange) -> None:
    await exchange.reply(exchange.session.get_flash("notice"))


async def everything(exchange: Exchange) -> None:
    await exchange.reply(dict(exchange.session))


async def health(exchange: Exchange) -> None:
    """Answer without a session, also in an outage."""
    await exchange.reply(None)


async def slow(exchange: Exchange) -> None:
    """Change two keys, wait at the gate, and answer."""
    exchange.session.update(early=1, late=1)
    await exchange.gate()
    await exchange.reply(None)


async def stream(exchange: Exchange) -> None:
    """Send one chunk, wait at the gate, change the session, and send another chunk."""
    exchange.session["streamed"] = "early"
    await exchange.start()
    await exchange.chunk(b"first")
    await exchange.gate()
    exchange.session["streamed"] = "late"
    await exchange.chunk(b"second", more=False)


async def events(exchange: Exchange) -> None:
    """Send server-sent events; each is counted and committed before it is sent."""
    exchange.session.setdefault("events", 0)
    await exchange.start(b"text/event-stream")
    for _ in range(EVENTS):
        number = exchange.session.increment("events")
        await exchange.session.save()
        await exchange.chunk(b"data: %d\n\n" % number)
    await exchange.chunk(b"", more=False)


async def until_left(exchange: Exchange) -> None:
    """Stream until the client has left, then change the session and return."""
    exchange.session["streamed"] = "early"
    await exchange.start()
    await exchange.chunk(b"first")
    while (await exchange.receive())["type"] != "http.disconnect":
        pass
    exchange.session["streamed"] = "late"


async def until_cancelled(exchange: Exchange) -> None:
    """Stream for ever in a task that is cancelled when the client has left, as Starlette does."""
    async with anyio.create_task_group() as group:

        async def produce() -> None:
            exchange.session["streamed"] = "early"
            await exchange.start()
            await exchange.chunk(b"first")
            exchange.session["streamed"] = "late"
            await anyio.sleep_forever()

        group.start_soon(produce)
        while (await exchange.receive())["type"] != "http.disconnect":
            pass
        group.cancel_scope.cancel()


async def actors(exchange: Exchange) -> None:
    """Answer with the number of sessions' actors that live in this process."""
    await exchange.reply(len(living_session_actors()))


ROUTES: Final[dict[str, Handler]] = {
    "/": perform_steps,
    "/actors": actors,
    "/count": count,
    "/events": events,
    "/flash": flash,
    "/health": health,
    "/login": login,
    "/logout": logout,
    "/session": everything,
    "/shown": shown,
    "/slow": slow,
    "/stream": stream,
    "/until-cancelled": until_cancelled,
    "/until-left": until_left,
}


@functools.cache
def _with_sessions() -> SessionMiddleware:
    return SessionMiddleware(site)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the site with sessions; they are configured when the server starts."""
    await _with_sessions()(scope, receive, send)
