"""Compare two versions of glimr_session, installed in two environments, in one run.

    python -m benchmarks.compare OTHER_PYTHON

OTHER_PYTHON is the interpreter of an environment that has the old version; the new one is that
of the interpreter which runs this. Each serves requests in a process of its own. The two take
turns in batches of about ten milliseconds, on one processor and in alternating order, so that
noise of the machine reaches both alike. Each round gives one ratio of the two times.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final

from .measure import BATCH, in_turn, spread
from .worker import CASES

_WORKER: Final = Path(__file__).with_name("worker.py")
_PACKAGE: Final = "import glimr_session; print(glimr_session.__file__)"


class _Worker:
    """A process that serves batches of requests."""

    def __init__(self, python: str, directory: Path, stack: ExitStack) -> None:
        command = [python, "-P", str(_WORKER), str(directory)]
        self._process = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(self._process.kill)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self._process.pid, {max(os.sched_getaffinity(0))})

    def run(self, case: str, requests: int) -> tuple[float, str]:
        """Return the microseconds of one of so many requests, and the last response's body."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([case, requests]), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} has ended")
        taken, body = json.loads(line)
        return taken / requests / 1000, body


def compare(case: str, old: _Worker, new: _Worker, seconds: float) -> dict[str, list[float]]:
    """Return the microseconds of a request with each version, round by round."""
    for requests in (2, 20):  # begin the sessions, then see how long a request takes
        (old_us, old_body), (new_us, new_body) = (w.run(case, requests) for w in (old, new))
        if old_body != new_body:
            raise RuntimeError(f"{case}: {old_body!r} is not {new_body!r}")
    size = max(1, round(2 * BATCH / (old_us + new_us)))
    batches = {"old": lambda: old.run(case, size)[0], "new": lambda: new.run(case, size)[0]}
    return in_turn(batches, rounds=4, seconds=seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("other", metavar="OTHER_PYTHON", help="interpreter with the old version")
    parser.add_argument("--only", default="", help="the cases whose names contain this")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each case; default: 4")
    options = parser.parse_args(arguments)
    pythons = {"old": options.other, "new": sys.executable}
    for name, python in pythons.items():
        package = subprocess.check_output([python, "-P", "-c", _PACKAGE], text=True)
        print(f"{name}: {package.strip()}")
    print(f"\n{'case':28} {'old us':>9} {'new us':>9} {'new / old':>9} (quartiles)")
    with tempfile.TemporaryDirectory(prefix="compare-") as directory, ExitStack() as stack:
        old, new = (_Worker(pythons[name], Path(directory, name), stack) for name in pythons)
        for case in CASES:
            if options.only in case:
                taken = compare(case, old, new, options.seconds)
                ratios = [new_us / old_us for old_us, new_us in zip(*taken.values(), strict=True)]
                low, middle, high = spread(ratios)
                print(f"{case:28} {median(taken['old']):9.1f} {median(taken['new']):9.1f}", end=" ")
                print(f"{middle:9.3f} ({low:.3f} to {high:.3f})", flush=True)


if __name__ == "__main__":
    main()
