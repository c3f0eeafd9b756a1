"""Open many streams of server-sent events in one process, and measure what they take.

    python -m tests.servers.asgi_connections sessions DIRECTORY 10000
    python -m tests.servers.asgi_connections bare DIRECTORY 10000

It prints in JSON the bytes that Python has given them, the threads, and how long the event loop
was held up at most while they began. With "rss" behind it, memory is what the system has given.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any, Final

from glimr_session import DiskStore, SessionConfig
from glimr_session.asgi import (
    ASGIApp,
    Message,
    Receive,
    Scope,
    Send,
    SessionMiddleware,
    session_of,
)
from tests.support.actors import living_session_actors

BATCH: Final = 100  # connections that begin at once, as a server accepts them
TICK: Final = 0.001


class Stream:
    """Streams events to everybody until it is told to stop."""

    def __init__(self, *, sessions: bool) -> None:
        self._sessions = sessions
        self.stop = asyncio.Event()
        self.open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._sessions:
            session = session_of(scope)
            session["user"] = "ada"
            session.increment("visits")
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        self.open += 1
        await self.stop.wait()
        await send({"type": "http.response.body", "body": b""})


async def begin(app: ASGIApp, number: int) -> list[asyncio.Task[None]]:
    """Open connections; each is a task that does not end."""

    async def receive() -> Message:
        return await asyncio.Future()

    async def send(message: Message) -> None:
        await asyncio.sleep(0)

    tasks = []
    for start in range(0, number, BATCH):
        for _ in range(start, min(start + BATCH, number)):
            scope = {
                "type": "http",
                "path": "/",
                "headers": [(b"host", b"localhost")],
                "server": ("localhost", 80),
            }
            tasks.append(asyncio.create_task(_serve(app, scope, receive, send)))
        await asyncio.sleep(0)
    return tasks


async def _serve(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


async def watch_lag(found: list[float]) -> None:
    """Write down by how much each tick is late."""
    while True:
        due = time.perf_counter() + TICK
        await asyncio.sleep(TICK)
        found.append(time.perf_counter() - due)


def memory() -> int:
    gc.collect()
    if tracemalloc.is_tracing():
        return tracemalloc.get_traced_memory()[0]
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def measure(directory: Path, number: int, *, sessions: bool) -> dict[str, Any]:
    stream = Stream(sessions=sessions)
    app: ASGIApp = stream
    if sessions:
        config = SessionConfig(secret_keys=["a key for tests that is long enough"])
        app = SessionMiddleware(stream, config, store=DiskStore(directory))
    warm = await begin(app, 2 * BATCH)
    lags: list[float] = []
    while stream.open < len(warm):
        await asyncio.sleep(TICK)
    before = memory()
    watching = asyncio.create_task(watch_lag(lags))
    started = time.perf_counter()
    tasks = await begin(app, number)
    while stream.open < len(warm) + number:
        await asyncio.sleep(0)
    seconds = time.perf_counter() - started
    watching.cancel()
    found = {
        "bytes": memory() - before,
        "connections": stream.open,
        "threads": threading.active_count(),
        "actors": len(living_session_actors()),
        "worst lag in ms": round(1000 * max(lags), 1),
        "microseconds each": round(1e6 * seconds / number),
    }
    stream.stop.set()
    await asyncio.gather(*warm, *tasks)
    return {**found, "actors afterwards": len(living_session_actors())}


if __name__ == "__main__":
    kind, place, count, *rest = sys.argv[1:]
    if not rest:
        tracemalloc.start()
    print(json.dumps(asyncio.run(measure(Path(place), int(count), sessions=kind == "sessions"))))
