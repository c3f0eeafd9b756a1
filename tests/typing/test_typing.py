"""The types of the public names let users write what works, and report what does not."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
PROGRAMS: Final = ["accepted.py", "accepted_store.py", "refused.py"]

Lines = dict[str, set[int]]


def run(checker: str, *arguments: str | Path, folder: Path = HERE) -> str:
    """Run a checker and return what it prints; skip without it, or fail in CI."""
    if importlib.util.find_spec(checker) is None:
        reason = f"{checker} is not installed: it is in the group lint"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    done = subprocess.run(
        [sys.executable, "-m", checker, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def reported_by_mypy() -> Lines:
    """Return the lines of each program that ``mypy --strict`` reports."""
    found: Lines = {program: set() for program in PROGRAMS}
    cache = ROOT / "build" / "mypy-typing"
    printed = run(
        "mypy", "--strict", "--config-file=", "--no-error-summary", "--python-version=3.11",
        f"--cache-dir={cache}", "--explicit-package-bases", *PROGRAMS,
    )  # fmt: skip
    for program, line in re.findall(r"^(\S+?):(\d+): error: ", printed, re.MULTILINE):
        found[program].add(int(line))
    return found


def reported_by_pyright(folder: Path) -> Lines:
    """Return the lines of each program that pyright reports; they ask for its strict mode.

    They are checked in a folder of their own: the project's settings leave out the one with
    mistakes.
    """
    found: Lines = {program: set() for program in PROGRAMS}
    for program in PROGRAMS:
        shutil.copy(HERE / program, folder)
    printed = run(
        "pyright", "--outputjson", "--pythonpath", sys.executable, *PROGRAMS, folder=folder
    )
    for diagnostic in json.loads(printed)["generalDiagnostics"]:
        program = Path(diagnostic["file"]).name
        found[program].add(diagnostic["range"]["start"]["line"] + 1)
    return found


def marked() -> Lines:
    """Return the lines of each program that are marked as errors."""
    return {
        program: {
            number
            for number, line in enumerate((HERE / program).read_text().splitlines(), start=1)
            if line.endswith("# error")
        }
        for program in PROGRAMS
    }


def test_the_programs_have_marks() -> None:
    """Only the program with mistakes has marks, and it has many."""
    marks = marked()
    assert len(marks.pop("refused.py")) > 40
    assert set().union(*marks.values()) == set()


def test_mypy_reports_the_marked_lines_and_no_others() -> None:
    """``mypy --strict`` reports each mistake, and nothing of what users may write."""
    assert reported_by_mypy() == marked()


def test_pyright_reports_the_marked_lines_and_no_others(tmp_path: Path) -> None:
    """Pyright reports each mistake, and nothing of what users may write."""
    assert reported_by_pyright(tmp_path) == marked()
