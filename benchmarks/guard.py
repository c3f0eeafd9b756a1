"""See that the hot path has not grown: counted, not timed, so that no noise can fool it.

    python -m benchmarks.guard            # exit status 1, and a name, if something has grown
    python -m benchmarks.guard --record   # what it takes now is what it may take from now on

One call of each case is counted: the instructions that Python's interpreter executes, the
calls of functions, in Python and in C, the steps of SQLite's virtual machine, and the most
memory that was allocated at a time. All are the same in each run of one version of Python,
on any machine and however busy it is. ``budgets.json`` has what was recorded.

What this does not see: what happens inside a call of C code, such as more bytes to sign or
a slower system call, and waits. Those are for the benchmarks.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple, TypeAlias

from glimr_session import CookieStore, DiskStore, SessionStore, StoredSession, generate_id
from glimr_session.actor import SessionActor
from glimr_session.messages import Finish, Get, Put
from glimr_session.state import SessionState

from .measure import Arm
from .ours import ours
from .sample import SAMPLE
from .site import begin, browsing

__all__ = ["BUDGETS", "Counts", "cases", "count", "grown", "main"]

BUDGETS: Final = Path(__file__).with_name("budgets.json")

Budgets: TypeAlias = Mapping[str, Mapping[str, int]]

# Another patch release of Python or of a library may take a little more or less.
_MARGINS: Final = {"instructions": 0.02, "calls": 0.02, "sqlite": 0.02, "bytes": 0.05}

_WARM_UP: Final = 20  # calls: what is made once, and remembered, is not counted
_TIMES: Final = 5  # the least of them counts: once a second the store looks at its file


class Counts(NamedTuple):
    """What one call takes."""

    instructions: int
    calls: int
    sqlite: int
    bytes: int


class Counted(NamedTuple):
    """A case: its name, the work, and the store whose database has to do with it."""

    name: str
    arm: Arm
    store: DiskStore | None = None


@contextmanager
def cases() -> Iterator[list[Counted]]:
    """Give all cases; their stores are gone afterwards."""
    with ExitStack() as ending:
        directory = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="guard-")))
        disk = DiskStore(directory / "sessions")
        ending.callback(disk.close)
        yield [
            Counted("actor: a conversation", _converse),
            *_requests("cookie", CookieStore(), None),
            *_requests("disk", disk, disk),
        ]


def _converse() -> None:
    stored = StoredSession(id=_ID, data=dict(SAMPLE))
    ref = SessionActor.start(SessionState.opened(stored))
    ref.tell(Put("visits", 1))
    ref.ask(Get("visits", None), timeout=5.0)
    ref.ask(Finish(), timeout=5.0)


_ID: Final = generate_id()

_PAGES: Final[Mapping[str, Sequence[str]]] = {
    "untouched": ("/ignore",),
    "read only": ("/read",),
    "read and write": ("/visit",),
    "log in": ("/login",),
    "form with errors": ("/form", "/form-again"),
}


def _requests(name: str, store: SessionStore, disk: DiskStore | None) -> Iterator[Counted]:
    ask = ours(store).ask
    for page, paths in _PAGES.items():
        yield Counted(f"{name}: {page}", browsing(ask, paths, begin(ask, 1)), disk)

    def first_visit() -> None:
        ask("/fill", "")

    yield Counted(f"{name}: first visit", first_visit, disk)


def count(case: Counted) -> Counts:
    """Count what one call takes, without the cycle collector, which comes when it likes."""
    for _ in range(_WARM_UP):
        case.arm()
    gc.collect()
    gc.disable()
    try:
        counted = [_once(case) for _ in range(_TIMES)]
    finally:
        gc.enable()
    return Counts(*(min(figures) for figures in zip(*counted, strict=True)))


def _once(case: Counted) -> Counts:
    instructions = calls = steps = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal instructions
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        instructions += event == "opcode"
        return trace

    def profile(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    sys.settrace(trace)
    try:
        case.arm()
    finally:
        sys.settrace(None)
    sys.setprofile(profile)
    try:
        case.arm()
    finally:
        sys.setprofile(None)
    if case.store is not None:
        database = case.store._database
        connection = database.borrow()
        database.give_back(connection)  # to be lent again, as the last one that came back
        connection.set_progress_handler(step, 1)
        case.arm()
        connection.set_progress_handler(None, 1)
    tracemalloc.start()
    try:
        case.arm()
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        case.arm()
        memory = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    return Counts(instructions, calls, steps, memory)


def grown(counted: Mapping[str, Counts], budgets: Budgets) -> list[str]:
    """Give a line for each figure of each case that is over its budget, or has none."""
    lines = []
    for name, counts in counted.items():
        if name not in budgets:
            lines.append(f"{name}: there is no budget for it")
            continue
        for figure, value in counts._asdict().items():
            budget = budgets[name][figure]
            if value > budget * (1 + _MARGINS[figure]):
                more = f"{value / budget - 1:.1%} more than" if budget else "and it took"
                lines.append(f"{name}: {value:,} {figure}, {more} {budget:,}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__)
    parser.add_argument("--record", action="store_true", help="take what is counted as the budget")
    record: bool = parser.parse_args(arguments).record
    with cases() as listed:
        counted = {case.name: count(case) for case in listed}
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if record:
        told = {"python": version, "cases": {name: c._asdict() for name, c in counted.items()}}
        BUDGETS.write_text(json.dumps(told, indent=2) + "\n", "utf-8")
        return 0
    recorded = json.loads(BUDGETS.read_text("utf-8"))
    for name, counts in counted.items():
        print(
            f"{name:30}", *(f"{value:>7,} {figure}" for figure, value in counts._asdict().items())
        )
    if recorded["python"] != version:
        print(f"The budgets are for Python {recorded['python']}; on {version} nothing is compared.")
        return 0
    lines = grown(counted, recorded["cases"])
    if lines:
        print("\nThe hot path has grown:", *lines, sep="\n  ")
        print("Find out why. If it is worth it: make guard-record, and say so in the commit.")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
