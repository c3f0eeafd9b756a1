"""A site that does to its session what the request says, step by step.

    GET /?[["needs", "user"], ["gate", 40001], ["put", "colour", "red"]]

A step is a method of Session and its arguments, or one of those that ``perform`` lists.
So a test writes down what each of its requests does, and where it waits for the others.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

from glimr_session import Json, Session

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Step: TypeAlias = Sequence[Any]


def site(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer in JSON: which process it was, and what each step of Session gave.

    The steps after "stream" are done while the body streams.
    """
    session: Session = environ["glimr.session"]
    steps: list[Step] = json.loads(unquote(environ["QUERY_STRING"]))
    late = steps.index(["stream"]) if ["stream"] in steps else len(steps)
    found = perform(session, steps[:late])
    start_response("200 OK", [("Content-Type", "application/json")])
    if late < len(steps):
        return stream(session, steps[late + 1 :], found)
    return [answer(found)]


def stream(session: Session, steps: list[Step], found: list[Json]) -> Iterator[bytes]:
    """Send the headers first, with a chunk that means nothing to JSON."""
    yield b" "
    yield answer(found + perform(session, steps))


def answer(found: list[Json]) -> bytes:
    return json.dumps({"pid": os.getpid(), "found": found}).encode()


def perform(session: Session, steps: list[Step]) -> list[Json]:
    """Do the steps in order.

    - needs KEY: leave out the rest if the session has no such key
    - gate PORT: wait until the test opens the gate; leave out the rest if it does not
    - shown: give all flash that this request was shown
    - end_others OWNER: end all sessions of an owner but this one; give how many
    - work: take a moment, as handlers do, so that others come in between
    """
    found: list[Json] = []
    for verb, *arguments in steps:
        if verb == "needs":
            if arguments[0] not in session:
                break
        elif verb == "gate":
            if not let_through(*arguments):
                break
        elif verb == "end_others":
            found.append(session.store.destroy_all(*arguments, except_=session))
        elif verb == "work":
            time.sleep(0.002)
        elif verb == "shown":
            found.append(dict(session.state().loaded_flash))
        else:
            found.append(getattr(session, verb)(*arguments))
    return found


def let_through(port: int) -> bool:
    """Knock at the gate of a test, with the process id, and wait for the word."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"%d\n" % os.getpid())
        return connection.recv(1) == b"!"
