"""A soak of one process: many requests on an event loop, a tenth of which are cancelled.

    python -m tests.faults.asgi_soak disk DIRECTORY 100000

It prints in JSON what was answered, what the sessions hold in the end, and what is left.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TextIO

from glimr_session import CookieStore, DiskStore, SessionConfig, SessionStore
from glimr_session.asgi import (
    ASGIApp,
    Message,
    Receive,
    Scope,
    Send,
    SessionMiddleware,
    session_of,
)
from tests.support.actors import living_session_actors, stop_cleanup_worker

BROWSERS: Final = 20  # at once
ROUNDS: Final = 25  # requests of a session
THREADS: Final = 4  # of the event loop, for commits that wait for the lock
WARM_UP: Final = 0.1  # of all requests, until it is counted first what is left
CANCELLED: Final = 0.1  # of all requests
MAX_STEPS: Final = 11  # of the loop, after which they are cancelled; a request takes some more

COUNT: Final = "/count"
STREAM: Final = "/stream"  # counts once more while the body is sent
LATE: Final = "late"
ALL: Final = "/all"


async def site(scope: Scope, receive: Receive, send: Send) -> None:
    """Count a request under the key that it asks for, and let others run between all steps."""
    session = session_of(scope)
    key = scope["path"]
    if key == ALL:
        scope["found"].update(session)
        return
    await asyncio.sleep(0)
    number = session.increment(key)
    await asyncio.sleep(0)
    if number % 5 == 0:
        await session.save()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(2):
        await send({"type": "http.response.body", "body": b"chunk", "more_body": True})
    if key == STREAM:
        session.increment(LATE)
    await send({"type": "http.response.body", "body": b""})


class Browser:
    """Sends requests of one session, and knows which of them were answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.cookie = b""
        self.started: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()

    async def ask(self, key: str = COUNT) -> None:
        scope = {
            "type": "http",
            "path": key,
            "headers": [(b"cookie", self.cookie)] if self.cookie else [],
            "server": ("localhost", 80),
        }
        await self._app(scope, _receive, partial(self._send, key))

    async def read(self) -> dict[str, Any]:
        """Return all that the session holds."""
        found: dict[str, Any] = {}
        headers = [(b"cookie", self.cookie)]
        scope = {"type": "http", "path": ALL, "headers": headers, "found": found}
        await self._app(scope, _receive, partial(self._send, ALL))
        return found

    async def ask_and_cancel(self, key: str) -> None:
        """Send a request, and cancel it at one of its steps, unless it has ended by then."""
        request = asyncio.create_task(self.ask(key))
        for _ in range(random.randrange(MAX_STEPS)):
            await asyncio.sleep(0)
        request.cancel()
        with suppress(asyncio.CancelledError):
            await request
        self.cancelled[key] += request.cancelled()

    async def _send(self, key: str, message: Message) -> None:
        await asyncio.sleep(0)
        if message["type"] == "http.response.start":
            self.started[key] += 1
            for name, value in message["headers"]:
                if name == b"set-cookie":
                    self.cookie = value.partition(b";")[0]
        await asyncio.sleep(0)


async def _receive() -> Message:
    return {"type": "http.disconnect"}


async def browse(app: ASGIApp, requests: int, *, tabs: int, results: TextIO) -> None:
    """Use one session after the other, in so many tabs at once; write down what was answered."""
    for _ in range(requests // ROUNDS):
        browser = Browser(app)
        await browser.ask()
        await asyncio.gather(
            *[_use(browser, tab, ROUNDS // tabs, streams=tabs > 1) for tab in range(tabs)]
        )
        kept = (browser.cookie.decode(), browser.started, browser.cancelled)
        results.write(json.dumps(kept) + "\n")


async def _use(browser: Browser, tab: int, requests: int, *, streams: bool) -> None:
    for number in range(requests):
        if random.random() < CANCELLED:
            await browser.ask_and_cancel(f"/{tab}/{number}")
        elif streams and number % 5 == 0:
            await browser.ask(STREAM)
        else:
            await browser.ask()


def left() -> dict[str, int]:
    """Count what the process holds, once Python's collector has been called.

    Caches of a bounded size are emptied first.
    """
    counts = {"actors before collecting": len(living_session_actors())}
    for found in gc.get_objects():
        if type(found) is functools._lru_cache_wrapper:  # some objects lie about their class
            found.cache_clear()
    gc.collect()
    return {
        **counts,
        "actors": len(living_session_actors()),
        "blocks": sys.getallocatedblocks(),
        "files": len([*Path("/proc/self/fd").iterdir()]),
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
    }


async def soak(
    app: ASGIApp, store: SessionStore, requests: int, *, tabs: int, file: Path
) -> list[dict[str, int]]:
    """Serve a tenth of the requests, then the rest; return what was left after each."""
    found = []
    peak = 0

    async def watch_threads() -> None:
        nonlocal peak
        while True:
            peak = max(peak, threading.active_count())
            await asyncio.sleep(0.001)

    with file.open("w") as results:
        for share in (WARM_UP, 1 - WARM_UP):
            each = round(requests * share) // BROWSERS
            executor = ThreadPoolExecutor(THREADS)
            asyncio.get_running_loop().set_default_executor(executor)
            watching = asyncio.create_task(watch_threads())
            await asyncio.gather(
                *[browse(app, each, tabs=tabs, results=results) for _ in range(BROWSERS)]
            )
            watching.cancel()
            await asyncio.wait([watching])
            executor.shutdown()  # commits of requests that were cancelled
            stop_cleanup_worker()
            store.close()
            found.append({**left(), "peak of threads": peak})
    return found


async def check(app: ASGIApp, file: Path) -> dict[str, Any]:
    """Compare what was answered with what the sessions hold."""
    totals: Counter[str] = Counter()
    wrong = []
    with file.open() as lines:
        for line in lines:
            cookie, started, cancelled = json.loads(line)
            browser = Browser(app)
            browser.cookie = cookie.encode()
            found = await browser.read()
            expected = {**started, **({LATE: started[STREAM]} if STREAM in started else {})}
            unknown = {key for key in cancelled if key not in started}  # made once, or not at all
            made = {key for key in unknown if found.get(key) == 1}
            if found != {**expected, **dict.fromkeys(made, 1)}:
                wrong.append((expected, cancelled, found))
            totals.update(
                requests=sum(started.values()) + len(unknown),
                cancelled=sum(cancelled.values()),
                unanswered=len(unknown),
                made=len(made),
            )
    return {**totals, "wrong": wrong[:3]}


# Holds the disk store's write lock for a tenth of the time, until it is ended.
HOLD: Final = """
import sqlite3, sys, time
other = sqlite3.connect(sys.argv[1], isolation_level=None)
while True:
    other.execute("BEGIN IMMEDIATE")
    time.sleep(0.002)
    other.execute("ROLLBACK")
    time.sleep(0.018)
"""


@contextmanager
def locked_now_and_then(directory: Path) -> Iterator[None]:
    """Let another process hold the write lock now and then."""
    command = [sys.executable, "-c", HOLD, str(directory / "cache.db")]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.kill()


def main(kind: str, directory: Path, requests: int) -> None:
    disk = kind == "disk"
    store = DiskStore(directory) if disk else CookieStore()
    secret = "a key for tests that is long enough"
    app = SessionMiddleware(site, SessionConfig(store=kind, secret_keys=[secret]), store=store)
    file = directory.with_suffix(".answers")
    started = time.process_time()
    with locked_now_and_then(directory) if disk else nullcontext():
        first, last = asyncio.run(soak(app, store, requests, tabs=2 if disk else 1, file=file))
    seconds = round(time.process_time() - started, 1)
    found = asyncio.run(check(app, file))
    print(json.dumps({"first": first, "last": last, "seconds": seconds, **found}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
