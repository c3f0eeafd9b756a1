"""Source distributions: what a project hands out, with the tests that its wheels leave out."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Final, NoReturn

import pytest

from tests.support.servers import needed

CACHE: Final = Path(__file__).parents[2] / "build" / "judges"
PATIENCE: Final = 120.0  # seconds for pip


def source(name: str, module: str) -> Path:
    """Return the unpacked source distribution of a project, of the version that is installed.

    Tests of another version would ask for what the installed code does not promise. Fetched once,
    into ``build/judges/<name>-<version>``. Skips the test, or fails it in CI, if the project is
    not installed or its source distribution cannot be had.

    Args:
        name: the project's name on the package index.
        module: what it is imported as.
    """
    needed(module)
    project = f"{name}=={version(name)}"
    directory = CACHE / project.replace("==", "-")
    if not directory.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        # Without it, a suite that has no settings of its own for pytest would get those of ours.
        (CACHE / "pytest.ini").write_text("[pytest]\n")
        with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
            (archive,) = _download(name, project, Path(temporary))
            with tarfile.open(archive) as files:
                files.extractall(temporary, filter="data")
            archive.unlink()
            (unpacked,) = Path(temporary).iterdir()
            unpacked.rename(directory)
    return directory


def _download(name: str, project: str, directory: Path) -> list[Path]:
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--no-binary", name, "--dest", str(directory), project,
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        _missing(project, "pip took too long")
    archives = [*directory.glob("*.tar.gz")]
    if not archives:
        _missing(project, done.stderr.strip()[-500:] or "it has no source distribution")
    return archives


def _missing(project: str, problem: str) -> NoReturn:
    reason = f"the tests of {project} cannot be downloaded: {problem}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
