"""Requests to a whole application, in a given order of steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from .._session.changes import Changes
from .._session.serialization import StoredSession
from ..stores.base import AnySession, CommitResult, Data, SessionInfo, SessionStore

__all__ = ["Steps"]

_VERBS: Final = ("opens", "commits", "ends")
_DECLARED: Final = (
    "kind",
    "server_side",
    "atomic",
    "expires_by_itself",
    "finds_by_id",
    "max_cookie_size",
    "overlap",
    "lists_sessions",
    "ends_owners",
)


class Steps(SessionStore):
    """A store around another store; in it, requests wait for their turn.

        steps = Steps(store)
        app = SessionMiddleware(my_app, config, store=steps)
        answers = steps.run(
            "buy opens, logout opens, logout commits, buy commits",
            buy=lambda: client(app).post("/buy"),
            logout=lambda: client(app).post("/logout"),
        )

    A request "opens" when its session is first used and "commits" when it is written or
    touched; it "ends" other sessions when it calls ``destroy`` or ``destroy_all``. A step that a
    request never takes is skipped when the request has ended. Each request runs in a thread, and
    its client must call the application in that thread, as test clients do. Calls that are not
    part of a run pass freely.

    Args:
        store: the store to use.
        patience: seconds a request waits for its turn.
    """

    def __init__(self, store: SessionStore, *, patience: float = 10.0) -> None:
        self._store = store
        self._timeout = patience
        self._moved_on = threading.Condition()
        self._ahead: list[tuple[str, str]] = []
        self._started: set[str] = set()
        self._timed_out: list[TimeoutError] = []
        self._thread = threading.local()
        for name in _DECLARED:
            setattr(self, name, getattr(store, name))
        self.lifetime = store.lifetime
        self.absolute_lifetime = store.absolute_lifetime

    def run(self, order: str, /, **requests: Callable[[], Any]) -> dict[str, Any]:
        """Run all requests, each in a thread, in this order of steps.

        Args:
            order: steps, separated by commas: the name of a request, and what it does.
            requests: by name, a function that makes the request.

        Returns:
            What each function returned, by name.

        Raises:
            TimeoutError: a request waited too long for the step of another one.
            ValueError: the order names no request, no step, or a step twice; or a request
                took none of its steps.
            Exception: a request raised it.
        """
        ahead = [_parsed(step, requests) for step in order.split(",")]
        if len(set(ahead)) < len(ahead):
            raise ValueError(f"{order!r} names a step twice; a request opens and commits once")
        self._ahead, self._started, self._timed_out = ahead, set(), []
        answers: dict[str, Any] = {}
        errors: list[BaseException] = []

        def perform(name: str, request: Callable[[], Any]) -> None:
            self._thread.name = name
            try:
                answers[name] = request()
            except BaseException as error:  # noqa: BLE001  # raised below
                errors.append(error)
            finally:
                self._go_on(lambda step: step[0] != name)

        threads = [threading.Thread(target=perform, args=item) for item in requests.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._timed_out or errors:
            raise [*self._timed_out, *errors][0]
        for name in {name for name, _ in ahead} - self._started:
            raise ValueError(
                f"{name} took none of its steps: it did not use its session, or its client "
                "does not call the application in the thread that it is called in"
            )
        return answers

    def open(self, cookie_value: str) -> StoredSession | None:
        with self._turn("opens"):
            return self._store.open(cookie_value)

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        with self._turn("commits"):
            return self._store.commit(changes, wait=wait)

    def touch(self, cookie_value: str) -> bool:
        with self._turn("commits"):
            return self._store.touch(cookie_value)

    def has_moved(self, cookie_value: str) -> bool:
        return self._store.has_moved(cookie_value)

    def load(self, session_id: str) -> tuple[Data, Data]:
        return self._store.load(session_id)

    def save(self, session_id: str, data: Data, flash: Data) -> None:
        self._store.save(session_id, data, flash)

    def destroy(self, session_id: str) -> None:
        with self._turn("ends"):
            self._store.destroy(session_id)

    def sessions(self, owner: str | int) -> list[SessionInfo]:
        return self._store.sessions(owner)

    def destroy_all(self, owner: str | int, *, except_: AnySession | None = None) -> int:
        with self._turn("ends"):
            return self._store.destroy_all(owner, except_=except_)

    def all_sessions(self, *, records: bool = False) -> Iterator[SessionInfo]:
        return self._store.all_sessions(records=records)

    def handle_of(self, session: AnySession) -> str:
        return self._store.handle_of(session)

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
                lambda: step not in self._ahead or self._ahead[0] == step, self._timeout
            ):
                error = TimeoutError(
                    f"{' '.join(step)}: waited {self._timeout:g} s in vain for "
                    f"{' '.join(self._ahead[0])}"
                )
                self._timed_out.append(error)  # the application may make an answer of it
                raise error
            mine = step in self._ahead
            self._started.add(step[0])
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
