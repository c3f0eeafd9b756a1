"""Functions that run at once, one step at a time, in every order that there is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

PATIENCE: Final = 20.0  # seconds


class Schedule:
    """Runs functions in threads, of which one at a time goes on from a step to the next.

    Args:
        choices: which of the functions goes on, at each step where several could: its place
            among them. The first one, where there is no choice left.
    """

    def __init__(self, choices: list[int]) -> None:
        self._choices = choices
        self.made: list[tuple[int, int]] = []  # each choice, and among how many
        self._local = threading.local()
        self._turns: dict[str, threading.Semaphore] = {}
        self._stopped = threading.Semaphore(0)
        self.time = 0  # steps so far

    def step(self) -> None:
        """Wait for the next turn; returns at once in a thread of nobody's."""
        name = getattr(self._local, "name", None)
        if name is not None:
            self._stopped.release()
            assert self._turns[name].acquire(timeout=PATIENCE)
            self.time += 1

    def run(self, functions: dict[str, Callable[[], Any]], *, switches: int = 1000) -> None:
        """Run all functions.

        Args:
            functions: by name.
            switches: how often at most a function is made to wait that could go on.

        Raises:
            BaseException: one of the functions raised it.
        """
        waiting = dict.fromkeys(functions)
        errors: list[BaseException] = []

        def perform(name: str) -> None:
            self._local.name = name
            assert self._turns[name].acquire(timeout=PATIENCE)
            try:
                functions[name]()
            except BaseException as error:  # noqa: BLE001  # raised below
                errors.append(error)
            finally:
                del waiting[name]
                self._stopped.release()

        self._turns = {name: threading.Semaphore(0) for name in functions}
        threads = [threading.Thread(target=perform, args=(name,)) for name in functions]
        for thread in threads:
            thread.start()
        current = ""
        while waiting:
            able = [*waiting]
            if current in waiting:
                others = [name for name in able if name != current] if switches else []
                able = [current, *others]
            chosen = able[self._choose(len(able))]
            if current in waiting and chosen != current:
                switches -= 1
            current = chosen
            self._turns[current].release()
            assert self._stopped.acquire(timeout=PATIENCE)
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def _choose(self, number: int) -> int:
        place = len(self.made)
        choice = self._choices[place] % number if place < len(self._choices) else 0
        self.made.append((choice, number))
        return choice


def schedules(limit: int) -> Iterator[Schedule]:
    """Give a schedule for each order of the steps, until all or so many have been tried.

    Run each one before the next is asked for, with the same functions.
    """
    choices: list[int] | None = []
    for _ in range(limit):
        if choices is None:
            return
        schedule = Schedule(choices)
        yield schedule
        made = schedule.made
        while made and made[-1][0] + 1 == made[-1][1]:
            made.pop()
        choices = [*(choice for choice, _ in made[:-1]), made[-1][0] + 1] if made else None
    raise AssertionError(f"there are more than {limit} orders")
