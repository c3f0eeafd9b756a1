"""Scripts that fork. Each runs in a process of its own, for pytest's should not be forked.

python -m tests.support.forks tests.stores.disk.test_pool SCRIPT DIRECTORY
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

import pytest

__all__ = ["PATIENCE", "Flag", "Script", "fork", "reap", "run"]

Script: TypeAlias = Callable[[Path], None]

ROOT: Final = Path(__file__).parents[2]

PATIENCE: Final = 30  # seconds: what a script may take before it counts as hanging


def run(script: Script, directory: Path, *, patience: float = PATIENCE) -> None:
    """Run a script in a new process, and end all it has started if it hangs."""
    with subprocess.Popen(
        [sys.executable, "-m", __name__, script.__module__, script.__name__, str(directory)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            pytest.fail(f"hangs after {patience} s: {output.decode()}")
    assert process.returncode == 0, output.decode()


def fork(work: Callable[[], object]) -> int:
    """Do some work in a child; return its process id."""
    pid = os.fork()
    if pid:
        return pid
    run_child(work)
    return 0  # never reached


def run_child(work: Callable[[], object]) -> None:
    """Do some work in the child that this process is, and end it."""
    signal.alarm(PATIENCE // 3)  # ends a child that hangs, and with it the wait of its parent
    failed = 1
    try:
        work()
        failed = 0
    except BaseException:  # noqa: BLE001  # the parent is told by the exit code
        traceback.print_exc()
    finally:
        os._exit(failed)


def reap(children: list[int]) -> None:
    """Wait for children, each of which must have done its work."""
    for pid in children:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code == 0, f"a child ended with {code}" + " (it hung)" * (code == -signal.SIGALRM)


class Flag:
    """Raised in one process and seen in another."""

    def __init__(self) -> None:
        self._ends = os.pipe()

    def raise_(self) -> None:
        os.write(self._ends[1], b"!")

    def wait(self) -> None:
        """Wait until it is raised, once for each call."""
        assert os.read(self._ends[0], 1) == b"!"


if __name__ == "__main__":
    module, name, place = sys.argv[1:]
    getattr(importlib.import_module(module), name)(Path(place))
