"""Check that requests do not take more work than was recorded: counted, not timed.

    python -m benchmarks.guard            # exit status 1, and a name, if something has grown
    python -m benchmarks.guard --record   # what is counted now becomes the budget

One call of each case is counted: the instructions of the Python interpreter, the calls of
functions in Python and in C, the steps of SQLite's virtual machine, and the most bytes that were
allocated at a time. All are the same in each run of one version of Python, on any machine and
however busy it is. Waits and what happens inside a call of C code are not counted.
"""

import argparse
import asyncio
import gc
import json
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

from glimr_session import CookieStore, DiskStore

from .internals import Get, Put, SessionActor, TakeChanges, connection_of, opened
from .measure import Arm
from .rivals.asgi import AsgiClient, Run, ours
from .sites import PAGES, begin, browse, glimr_site
from .worker import SAMPLE

BUDGETS: Final = Path(__file__).with_name("budgets.json")

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


class Case(NamedTuple):
    """A name, the work, and the store whose database does a part of it, if there is one."""

    name: str
    arm: Arm
    store: DiskStore | None = None


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Return all cases; their stores are removed after the block."""
    with (
        tempfile.TemporaryDirectory(prefix="guard-") as directory,
        closing(DiskStore(Path(directory) / "sessions")) as disk,
        asyncio.Runner() as runner,
    ):
        on_loop = runner.get_loop().run_until_complete
        yield [
            Case("actor: a conversation", _converse),
            *_requests("cookie", CookieStore(), None),
            *_requests("disk", disk, disk),
            *_on_event_loop("cookie", CookieStore(), None, on_loop),
            *_on_event_loop("disk", disk, disk, on_loop),
        ]


def _converse() -> None:
    ref = SessionActor.start(opened(SAMPLE))
    ref.tell(Put("visits", 1))
    ref.ask(Get("visits", None), timeout=5.0)
    ref.ask(TakeChanges(), timeout=5.0)
    ref.stop()


def _requests(name: str, store: CookieStore | DiskStore, disk: DiskStore | None) -> Iterator[Case]:
    client = glimr_site(store).client
    for page, paths in PAGES.items():
        yield Case(f"{name}: {page}", browse(client, paths, begin(client, visitors=1)), disk)
    yield Case(f"{name}: first visit", lambda: client("/fill", ""), disk)


def _on_event_loop(
    name: str, store: CookieStore | DiskStore, disk: DiskStore | None, on_loop: Run
) -> Iterator[Case]:
    client = AsgiClient(ours(store), on_loop)
    for page in ("untouched", "read only", "read and write"):
        arm = browse(client, PAGES[page], begin(client, visitors=1))
        yield Case(f"{name}, event loop: {page}", arm, disk)


def count(case: Case) -> Counts:
    """Return what one call takes, without the cycle collector."""
    for _ in range(_WARM_UP):
        case.arm()
    gc.collect()
    gc.disable()
    counted = [_once(case) for _ in range(_TIMES)]
    gc.enable()
    return Counts(*(min(figures) for figures in zip(*counted, strict=True)))


def _once(case: Case) -> Counts:
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

    tracer = sys.gettrace()  # a measurement of coverage, perhaps
    sys.settrace(trace)
    case.arm()
    sys.settrace(tracer)
    sys.setprofile(profile)
    case.arm()
    sys.setprofile(None)
    if case.store is not None:
        connection = connection_of(case.store)
        connection.set_progress_handler(step, 1)
        case.arm()
        connection.set_progress_handler(None, 1)
    tracemalloc.start()
    case.arm()
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    case.arm()
    memory = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return Counts(instructions, calls, steps, memory)


def grown(counted: Mapping[str, Counts], budgets: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return a line for each figure of each case that is over its budget, or has none."""
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
    """Count all cases, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__)
    parser.add_argument("--record", action="store_true", help="make what is counted the budget")
    record: bool = parser.parse_args(arguments).record
    with cases() as listed:
        counted = {case.name: count(case) for case in listed}
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if record:
        figures = {name: counts._asdict() for name, counts in counted.items()}
        text = json.dumps({"python": version, "cases": figures}, indent=2)
        BUDGETS.write_text(f"{text}\n", "utf-8")
        return 0
    recorded = json.loads(BUDGETS.read_text("utf-8"))
    for name, counts in counted.items():
        print(f"{name:32}", *(f"{value:>7,} {key}" for key, value in counts._asdict().items()))
    if recorded["python"] != version:
        print(f"The budgets are for Python {recorded['python']}; on {version} nothing is compared.")
        return 0
    lines = grown(counted, recorded["cases"])
    if lines:
        print("\nThe work has grown:", *lines, sep="\n  ")
        print("Find out why. If it is worth it: make guard-record, and say so in the commit.")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
