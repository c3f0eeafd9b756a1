"""What the tests of the disk store share."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from glimr_session import _forks


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a place for a store, which makes the directory and its parent."""
    return tmp_path / "var" / "sessions"


@pytest.fixture
def nothing_open() -> None:
    """Close what earlier tests have left to Python's collector: it holds off forks."""
    gc.collect()
    assert not _forks._holds
