"""Requests to a whole application, in a given order of steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from ..payload import StoredSession
from ..state import Changes
from ..store import Data, Moved, SessionStore

__all__ = ["Steps"]

_VERBS: Final = ("opens", "commits")


class Steps(SessionStore):
    """A store around another one, where requests wait for their turn.

        steps = Steps(store)
        app = SessionMiddleware(my_app, config, store=steps)
        answers = steps.run(
            "buy opens, logout opens, logout commits, buy commits",
            buy=lambda: client(app).post("/buy"),
            logout=lambda: client(app).post("/logout"),
        )

    A request "opens" where its session is first used and "commits" where it is written,
    or only touched; a step that it never takes is skipped when it has ended. Each request
    is run in a thread, and its client must call the application in that thread, as test
    clients do. What is not part of a run passes freely. ``patience`` is how many seconds
    a request waits for its turn.
    """

    def __init__(self, store: SessionStore, *, patience: float = 10.0) -> None:
        self._store = store
        self._patience = patience
        self._moved_on = threading.Condition()
        self._ahead: list[tuple[str, str]] = []
        self._taken: set[str] = set()
        self._in_vain: list[TimeoutError] = []
        self._thread = threading.local()
        for name in ("kind", "server_side", "atomic", "largest"):
            setattr(self, name, getattr(store, name))
        self.lifetime = store.lifetime
        self.absolute_lifetime = store.absolute_lifetime

    def run(self, order: str, /, **requests: Callable[[], Any]) -> dict[str, Any]:
        """Run all requests, each in a thread, in this order of steps; give what they gave.

        Raises TimeoutError if a request waited in vain for another one's step, what a
        request raised, and ValueError for an order that names no request or no step or
        one twice, and for a request that took none of its steps.
        """
        ahead = [_parsed(step, requests) for step in order.split(",")]
        if len(set(ahead)) < len(ahead):
            raise ValueError(f"{order!r} names a step twice; a request opens and commits once")
        self._ahead, self._taken, self._in_vain = ahead, set(), []
        answers: dict[str, Any] = {}
        errors: list[BaseException] = []

        def take(name: str, request: Callable[[], Any]) -> None:
            self._thread.name = name
            try:
                answers[name] = request()
            except BaseException as error:  # noqa: BLE001  # raised below
                errors.append(error)
            finally:
                self._go_on(lambda step: step[0] != name)

        threads = [threading.Thread(target=take, args=item) for item in requests.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._in_vain or errors:
            raise [*self._in_vain, *errors][0]
        for name in {name for name, _ in ahead} - self._taken:
            raise ValueError(
                f"{name} took none of its steps: it did not use its session, or its client "
                "does not call the application in the thread that it is called in"
            )
        return answers

    def open(self, cookie_value: str) -> StoredSession | None:
        with self._turn("opens"):
            return self._store.open(cookie_value)

    def commit(self, changes: Changes) -> str | Moved | None:
        with self._turn("commits"):
            return self._store.commit(changes)

    def touch(self, session_id: str) -> bool:
        with self._turn("commits"):
            return self._store.touch(session_id)

    def load(self, session_id: str) -> tuple[Data, Data]:
        return self._store.load(session_id)

    def save(self, session_id: str, data: Data, flash: Data) -> None:
        self._store.save(session_id, data, flash)

    def destroy(self, session_id: str) -> None:
        self._store.destroy(session_id)

    def gc(self) -> int:
        return self._store.gc()

    def cookie_value(self, session_id: str, data: Data, flash: Data) -> str:
        return self._store.cookie_value(session_id, data, flash)

    def close(self) -> None:
        self._store.close()

    @contextmanager
    def _turn(self, verb: str) -> Iterator[None]:
        """Wait until it is this request's turn, and let the next one go on after it."""
        step = (getattr(self._thread, "name", ""), verb)
        with self._moved_on:
            if not self._moved_on.wait_for(
                lambda: step not in self._ahead or self._ahead[0] == step, self._patience
            ):
                error = TimeoutError(
                    f"{' '.join(step)}: waited {self._patience:g} s in vain for "
                    f"{' '.join(self._ahead[0])}"
                )
                self._in_vain.append(error)  # the application may make an answer of it
                raise error
            mine = step in self._ahead
            self._taken.add(step[0])
        try:
            yield
        finally:
            if mine:
                self._go_on(lambda other: other != step)

    def _go_on(self, keep: Callable[[tuple[str, str]], bool]) -> None:
        with self._moved_on:
            self._ahead = [step for step in self._ahead if keep(step)]
            self._moved_on.notify_all()


def _parsed(step: str, requests: dict[str, Callable[[], Any]]) -> tuple[str, str]:
    name, _, verb = step.strip().partition(" ")
    if name not in requests or verb not in _VERBS:
        raise ValueError(
            f"{step.strip()!r} is no step: write a request, {' or '.join(requests)}, and what "
            f"it does, {' or '.join(_VERBS)}"
        )
    return name, verb
