"""An actor that notes what happens to it, for the tests of CallingThreadActor."""

from __future__ import annotations

import threading
from typing import Any, NoReturn, TypeAlias

import pykka

__all__ = ["Log", "Runtime", "fail", "recorder"]

Runtime: TypeAlias = type[pykka.Actor]


class Log:
    """What an actor has done, to be read by a test."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.failed = threading.Event()


def recorder(runtime: Runtime) -> type[pykka.Actor]:
    """Make an actor that notes everything that happens to it, and does as it is told."""

    class Recorder(runtime):  # type: ignore[misc, valid-type]
        greeting = "hello"

        def __init__(self, log: Log, **fails: Exception) -> None:
            super().__init__()
            self.log = log
            self.fails = fails

        def on_start(self) -> None:
            self.log.events.append("started")
            self._fail("on_start")

        def on_stop(self) -> None:
            self.log.events.append("stopped")
            self._fail("on_stop")

        def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
            self.log.events.append(("failed", exception_type, exception_value))
            self.log.failed.set()
            self._fail("on_failure")

        def _fail(self, where: str) -> None:
            if where in self.fails:
                raise self.fails[where]

        def on_receive(self, message: Any) -> Any:
            if callable(message):
                return message(self)
            self.log.events.append(message)
            return f"got {message}"

        def method(self, number: int, *, factor: int = 1) -> int:
            return number * factor

        def trouble(self) -> NoReturn:
            raise ValueError("trouble")

    return Recorder


def fail(_: Any) -> NoReturn:
    """Raise, as a message to a recorder."""
    raise ZeroDivisionError("as the test wants")
