"""A signal handler that raises, at any line and any instruction of a request.

The next request works, and so does the rest of the one that was interrupted.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import pytest

import glimr_session
from glimr_session import DiskStore, SessionMiddleware
from tests.support.wsgi_apps import CONFIG, TEXT, session_of
from tests.support.wsgi_client import Browser

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PACKAGE: Final = str(Path(glimr_session.__file__).parent)

LONGEST: Final = 2.0  # seconds for a request: less than any timeout of the package


class TooLong(Exception):
    """What a signal handler of the application raises."""


class Interrupter:
    """Raises TooLong at one of the steps that the code of this package takes.

    Args:
        at: the number of the step, a line or an instruction.
    """

    def __init__(self, at: int) -> None:
        self.steps_left = at
        self.raised = False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        if event in ("line", "opcode") and not self.raised:
            self.steps_left -= 1
            if self.steps_left == 0:
                self.raised = True
                raise TooLong
        return self


def interrupted(work: Callable[[], object], at: int) -> bool:
    """Do some work that is interrupted at a step; return whether it was that long."""
    interrupter = Interrupter(at)
    before = sys.gettrace()
    sys.settrace(interrupter)
    try:
        work()
    except TooLong:
        pass  # not kept: its traceback would keep the frames
    finally:
        sys.settrace(before)
    return interrupter.raised


def listed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    session = session_of(environ)
    session["n"] = session.get("n", 0) + 1
    session.increment("m")
    session.flash("notice", "Saved.")
    start_response("200 OK", [TEXT])
    return [b"done"]


def streamed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    yield from listed(environ, start_response)
    session_of(environ).increment("late")


def catching(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """An application that catches the interruption of its own code, and answers."""
    session = session_of(environ)
    try:
        session["n"] = session.get("n", 0) + 1
        session.pull("n")
    except TooLong:
        session["too long"] = True
    start_response("200 OK", [TEXT])
    return [b"done"]


def logging_in(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    session_of(environ).regenerate()
    session_of(environ)["user"] = "anna"
    start_response("200 OK", [TEXT])
    return [b"done"]


# What is interrupted in a __del__, or between open() and its with, is told and not raised.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("app", "known", "stride"),
    [
        (streamed, True, 1),
        (streamed, True, 29),
        (listed, False, 41),
        (catching, True, 41),
        (logging_in, True, 41),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.timeout(300)
def test_a_request_that_is_interrupted_anywhere_does_not_harm_the_next(
    app: WSGIApplication, known: bool, stride: int, tmp_path: Path
) -> None:
    """At each step of a request, one after the other: the next request is answered at once.

    A request that opens a connection has so many steps that some of them have to do.
    """
    with closing(DiskStore(tmp_path / "sessions")) as store:
        site = SessionMiddleware(app, CONFIG, store=store)
        first = Browser()
        first.get(site)

        def request() -> None:
            browser = first if known else Browser()
            assert browser.get(site).body == b"done"

        step = 1 - stride
        reached = True
        while reached:
            step += stride
            if stride > 1:
                store.close()  # so that a connection is opened in the request
            reached = interrupted(request, step)
            started = time.monotonic()
            if step // stride % 50:
                request()
            else:
                thread = threading.Thread(target=request, daemon=True)
                thread.start()
                thread.join(LONGEST)
                assert not thread.is_alive()
            assert time.monotonic() - started < LONGEST, f"after step {step}"
        assert step > 1000
