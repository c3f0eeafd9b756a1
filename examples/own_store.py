"""A store of one's own, from five functions: a dict in the memory of the process.

    python examples/own_store.py

With this directory on the path of Python, a session.toml asks for it in one line:
``store = "own_store:memory_store"``. It is for sites of one process that may forget
everybody when that ends. Of two requests of one session at the same time, the later may
undo the earlier: a subclass of SessionStore can do better in its ``commit``.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.util import setup_testing_defaults

from glimr_session import (
    Json,
    Session,
    SessionConfig,
    SessionMiddleware,
    SessionStore,
    decode_payload,
    encode_payload,
    new,
)


class Entry(NamedTuple):
    """A stored session, and when it ends."""

    payload: str
    ends: float


def memory_store(
    *, lifetime: float = 7200.0, clock: Callable[[], float] = time.monotonic
) -> SessionStore:
    """Make a store that forgets a session ``lifetime`` seconds after its last use."""
    entries: dict[str, Entry] = {}
    lock = threading.Lock()

    def load(session_id: str) -> tuple[dict[str, Json], dict[str, Json]]:
        """Return data and flash; both empty for what is unknown or has ended."""
        with lock:
            entry = entries.get(session_id)
        if entry is None or entry.ends <= clock():
            return {}, {}
        return decode_payload(entry.payload)

    def save(session_id: str, data: dict[str, Json], flash: dict[str, Json]) -> None:
        """Keep the session as text, so that no two requests hold the same list."""
        entry = Entry(encode_payload(data, flash), clock() + lifetime)
        with lock:
            entries[session_id] = entry

    def destroy(session_id: str) -> None:
        """Remove a session at once; one that is not there is fine."""
        with lock:
            entries.pop(session_id, None)

    def gc() -> int:
        """Remove what has ended, and return the number."""
        now = clock()
        with lock:
            ended = [session_id for session_id, entry in entries.items() if entry.ends <= now]
            for session_id in ended:
                del entries[session_id]
        return len(ended)

    def cookie_value(session_id: str, _data: dict[str, Json], _flash: dict[str, Json]) -> str:
        """Send the id: everything else stays here."""
        return session_id

    return new(load=load, save=save, destroy=destroy, gc=gc, cookie_value=cookie_value)


def counter(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Count the visits of this browser."""
    session: Session = environ["glimr.session"]
    body = f"Visit {session.increment('visits')}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def visit(app: SessionMiddleware, cookie: str) -> str:
    """Serve one request as a server would; return the browser's cookie."""
    environ: WSGIEnvironment = {"HTTP_COOKIE": cookie}
    setup_testing_defaults(environ)

    def start_response(_status: str, headers: list[tuple[str, str]], *_: object) -> Any:
        nonlocal cookie
        cookie = dict(headers).get("Set-Cookie", cookie).partition(";")[0]

    print(b"".join(app(environ, start_response)).decode(), end="")
    return cookie


def main() -> None:
    """Visit three times, the last time after the session has ended."""
    now = 0.0
    store = memory_store(lifetime=60, clock=lambda: now)
    app = SessionMiddleware(
        counter, SessionConfig(secret_keys=[secrets.token_hex()], gc="never"), store=store
    )
    cookie = visit(app, cookie="")
    visit(app, cookie)
    now = 60.0
    print("A minute later:")
    visit(app, cookie)
    print("Collected:", store.gc())


if __name__ == "__main__":
    main()
