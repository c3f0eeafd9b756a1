"""What a commit survives: the wait for the disk that it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glimr_session.testing.contract import Request, begin, increment

from .storage import able
from .storage_process import StoreProcess

# What a commit outlives.


@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_commit_is_on_the_disk_if_that_is_asked_for(
    tmp_path: Path, directory: Path, durability: str
) -> None:
    """A commit waits for the disk with durability "power", and never with "process"."""
    trace = tmp_path / "trace"
    able("strace", "-o", str(trace), "true")
    prefix = ["strace", "-f", "-e", "trace=fsync,fdatasync", "-o", str(trace)]
    with StoreProcess(prefix=prefix) as store:
        store.make(directory, durability=durability)
        cookie_value = begin(store)
        commits: list[Callable[[], Any]] = [
            lambda: begin(store),
            lambda: Request(store, cookie_value).commit(increment("n")),  # in one statement
            lambda: store.save(cookie_value, {"n": 1}, {}),  # in a transaction
            lambda: store.destroy(begin(store)),
        ]
        for commit in commits:
            for _ in range(5):
                before = syncs(trace)
                commit()
                if durability == "power":
                    assert syncs(trace) > before
                else:
                    assert syncs(trace) == before


def syncs(trace: Path) -> int:
    """Count the calls that have returned."""
    return sum("sync(" in line for line in trace.read_text().splitlines())
