"""What the tests of the disk store share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a place for a store, which makes the directory and its parent."""
    return tmp_path / "var" / "sessions"
