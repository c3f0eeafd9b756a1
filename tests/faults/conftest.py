"""Stores in processes of their own, for the tests of storage faults."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .storage import able
from .storage_process import Processes


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    """Lend stores in processes of their own."""
    processes = Processes()
    yield processes
    processes.end()


@pytest.fixture(scope="module")
def bound_processes() -> Iterator[Processes]:
    """Lend stores in processes that permissions hold for, root or not."""
    prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    if os.geteuid() == 0:
        able(*prefix, "true")
    processes = Processes(prefix if os.geteuid() == 0 else [])
    yield processes
    processes.end()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a place for a store, which makes the directory."""
    return tmp_path / "sessions"
