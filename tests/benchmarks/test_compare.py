"""Two versions of the package are compared in one run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from benchmarks.worker import CASES

ROOT = Path(__file__).parents[2]


def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.compare", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_a_version_is_compared_with_itself() -> None:
    """Every case has a line with two times and their ratio, which is about one."""
    done = compare(sys.executable, "--seconds", "0.05")
    assert (done.returncode, done.stderr) == (0, "")
    pattern = r"^(\S.*?) +([\d.]+) +([\d.]+) +([\d.]+) \([\d.]+ to [\d.]+\)$"
    rows = re.findall(pattern, done.stdout, re.MULTILINE)
    assert [row[0] for row in rows] == list(CASES)
    for case, old, new, ratio in rows:
        assert float(old) > 0, case
        assert float(new) > 0, case
        assert 0.2 < float(ratio) < 5, case


def test_a_comparison_can_be_of_some_cases() -> None:
    """With a part of the names, the other cases are left out."""
    done = compare(sys.executable, "--seconds", "0.1", "--only", "cookie: read")
    assert done.stdout.count("cookie: read") == 2
    assert "disk" not in done.stdout


def test_a_worker_that_cannot_start_is_an_error(tmp_path: Path) -> None:
    """An interpreter without the package ends the comparison before anything is measured."""
    (tmp_path / "python").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    done = compare(str(tmp_path / "python"))
    assert done.returncode != 0
    assert "us" not in done.stdout
