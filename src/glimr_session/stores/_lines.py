"""Lines: the threads and tasks of a process that commit to one session, one at a time."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from weakref import WeakValueDictionary

from ._commands import Acquire, Entry

__all__ = ["Lines", "Turn"]

# Seconds that a thread waits for others of its process that commit to the same session. Then
# it goes on, and may meet them: nobody waits for one that has died.
_PATIENCE: Final = 0.5


class _Line:
    """Those of a process who commit to one session, after a conflict: one at a time."""

    def __init__(self, lock: Any) -> None:
        self.lock: Final = lock  # of threading, or of asyncio
        self.latest: Entry | None = None


class Turn:
    """Holds a line for as long as it is referenced, so that no exception leaves it held."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        self.held = False

    def leave(self, entry: Entry | None) -> None:
        """Tell the next one in the line what is stored now."""
        self._line.latest = entry

    def newer(self, entry: Entry | None) -> Entry | None:
        """Return what the one before has left, if that is newer than an entry."""
        latest = self._line.latest
        if latest is None or (entry is not None and entry.revision >= latest.revision):
            return entry
        return latest

    def __del__(self) -> None:
        if self.held:
            self._line.lock.release()


class Lines:
    """The lines of a process. A line exists while somebody stands in it."""

    def __init__(self) -> None:
        # By process too: a child inherits the lines of its parent, whose threads it has not.
        self._lines: WeakValueDictionary[tuple[int, ...], _Line] = WeakValueDictionary()

    def acquire(self, command: Acquire) -> Turn | None:
        """Stand in the line of a session; None if there is none, and it is to be busy."""
        line = self._line(command, (os.getpid(),), threading.Lock)
        if line is None:
            return None
        turn = Turn(line)
        turn.held = line.lock.acquire(timeout=_PATIENCE)
        return turn

    async def aacquire(self, command: Acquire) -> Turn | None:
        """As ``acquire``, among the tasks of the running event loop."""
        line = self._line(command, (os.getpid(), id(asyncio.get_running_loop())), asyncio.Lock)
        if line is None:
            return None
        turn = Turn(line)
        with suppress(TimeoutError):
            await asyncio.wait_for(line.lock.acquire(), _PATIENCE)
            turn.held = True
        return turn

    def _line(
        self, command: Acquire, place: tuple[int, ...], new_lock: Callable[[], Any]
    ) -> _Line | None:
        place = (*place, command.number)
        line = self._lines.get(place)
        if line is None and not command.only_if_busy:
            line = self._lines.setdefault(place, _Line(new_lock()))
        return line
