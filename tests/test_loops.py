"""_loops: threads and events for asyncio, and for other event loops."""

from __future__ import annotations

import contextvars
import subprocess
import sys
import threading
from functools import partial
from typing import Any

import anyio
import pytest

from glimr_session._loops import in_thread, new_event, on_asyncio
from tests.support.asgi_client import LOOPS

on_each = pytest.mark.parametrize("loop", LOOPS)

name: contextvars.ContextVar[str] = contextvars.ContextVar("name")


@on_each
def test_the_kind_of_loop_is_known(loop: str) -> None:
    """Also where the other kind has been imported; without a loop it is not asyncio's."""

    async def work() -> bool:
        return on_asyncio()

    assert LOOPS[loop](work) is (loop == "asyncio")
    assert on_asyncio() is False


@on_each
def test_a_function_runs_in_a_thread(loop: str) -> None:
    """With its arguments and the task's context; its result and its error come back."""

    def function(a: int, *, b: int) -> tuple[int, str, bool]:
        return a + b, name.get(), threading.current_thread() is threading.main_thread()

    async def work() -> Any:
        name.set("of the task")
        with pytest.raises(ZeroDivisionError):
            await in_thread(divmod, 1, 0)
        return await in_thread(function, 1, b=2)

    assert LOOPS[loop](work) == (3, "of the task", False)


@on_each
def test_the_loop_goes_on_beside_a_thread(loop: str) -> None:
    """The function waits for another task of the loop."""
    gate = threading.Event()

    async def work() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(partial(in_thread, gate.wait, 20))
            await anyio.sleep(0)
            gate.set()
        assert gate.is_set()

    LOOPS[loop](work)


@on_each
def test_an_event_wakes_whoever_waits(loop: str) -> None:
    """All tasks that wait, and those that come later; one that is cancelled is no matter."""
    events: list[str] = []

    async def work() -> None:
        event = new_event()

        async def wait(name: str) -> None:
            await event.wait()
            events.append(name)

        with anyio.move_on_after(0):
            await wait("cancelled")
        async with anyio.create_task_group() as group:
            group.start_soon(wait, "a")
            group.start_soon(wait, "b")
            await anyio.sleep(0)
            assert events == []
            event.set()
        await wait("late")

    LOOPS[loop](work)
    assert [*sorted(events[:2]), *events[2:]] == ["a", "b", "late"]


def test_without_anyio_asyncio_is_enough() -> None:
    """anyio is imported on other loops alone, and asyncio by nobody who has no loop."""
    program = """
import sys
from glimr_session._loops import in_thread, new_event, on_asyncio
assert not on_asyncio()
assert "asyncio" not in sys.modules
sys.modules["anyio"] = None
import asyncio
async def work():
    event = new_event()
    event.set()
    await event.wait()
    return await in_thread(int, "5")
print(asyncio.run(work()))
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("5\n", "")
