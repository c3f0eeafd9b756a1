"""The session of a request is an actor: it is told things, and asked about them.

    python examples/actor_style.py

Any thread of the request may talk to it. Messages are handled one at a time, in the
order in which each thread sent them.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple
from wsgiref.types import StartResponse, WSGIEnvironment
from wsgiref.util import setup_testing_defaults

from glimr_session import Session, SessionClosed, SessionConfig, SessionMiddleware
from glimr_session.mailbox import CallingThreadActor


class Visited(NamedTuple):
    """Somebody has opened a page. Messages are best immutable: two threads hold them."""

    path: str


class Visits(NamedTuple):
    """How often was this page opened?"""

    path: str


class Statistics(CallingThreadActor):
    """An actor of our own, shared by all requests of the process: no lock, no thread."""

    def __init__(self) -> None:
        super().__init__()
        self._visits: Counter[str] = Counter()

    def on_receive(self, message: Visited | Visits) -> int | None:
        match message:
            case Visited(path):
                self._visits[path] += 1
                return None
            case Visits(path):
                return self._visits[path]


statistics = Statistics.start()


def shop(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer one request: put tea into the basket, and weigh it."""
    session: Session = environ["glimr.session"]
    statistics.tell(Visited(environ["PATH_INFO"]))

    # Writes tell: they do not wait, and return nothing.
    session.put("basket", ["tea"])
    session.put("coupon", "SPRING")

    # Reads ask. What this thread has told before is in the answer.
    print("In the basket:", session.get("basket"))

    # One message each, so no other thread comes between the reading and the writing.
    print("Coupon, which is good for one use:", session.pull("coupon"))
    print("Coupon, the second time:", session.pull("coupon", "none"))
    print("Pages seen in this session:", session.increment("pages"))

    # A thread of the same request uses the same session, at the same time.
    other = threading.Thread(target=weigh, args=(session,))
    other.start()
    weigh(session)
    other.join()  # before the response, which the session ends with
    print("Grams weighed by two threads:", session.get("grams"))

    body = b"Thank you.\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def weigh(session: Session) -> None:
    """Add a gram a thousand times."""
    for _ in range(1000):
        session.increment("grams")


def visit(app: SessionMiddleware, cookie: str) -> tuple[Session, str]:
    """Serve one request as a server would; return its session and the browser's cookie."""
    environ: WSGIEnvironment = {"PATH_INFO": "/basket", "HTTP_COOKIE": cookie}
    setup_testing_defaults(environ)

    def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> Any:
        nonlocal cookie
        cookie = dict(headers).get("Set-Cookie", cookie).partition(";")[0]
        print("Answer:", status)

    app(environ, start_response)
    return environ["glimr.session"], cookie


def main() -> None:
    """Serve two requests of one browser."""
    config = SessionConfig(store="cookie", secret_keys=[secrets.token_hex()])
    app = SessionMiddleware(shop, config)
    session, cookie = visit(app, cookie="")
    session, cookie = visit(app, cookie)
    try:
        session["basket"] = []
    except SessionClosed as error:
        print("After the response:", error)
    print("Visits of all sessions:", statistics.ask(Visits("/basket")))
    statistics.stop()


if __name__ == "__main__":
    main()
