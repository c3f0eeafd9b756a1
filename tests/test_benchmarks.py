"""The benchmarks run; what they measure is for them to say, and not for a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "case", ["ask(Get)", "cookie store", "disk store: read only", "hostile header: semicolons"]
)
def test_a_case_compares_its_arms_and_prints_a_row(case: str, tmp_path: Path) -> None:
    """The arms gave the same answers, or there would be no table; a missed bound is named."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--only", case, "--directory", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stderr == ""
    (row,) = (line for line in done.stdout.splitlines() if case in line and " us" in line)
    assert done.returncode == row.rstrip().endswith("NO")


def test_a_case_that_there_is_not_is_an_error() -> None:
    """A misspelt name must not look like a run in which every bound was met."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--only", "no such case"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2
