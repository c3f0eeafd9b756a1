"""What the tests of a release share: the sdist and the wheel, built as a release builds them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.support.documents import ROOT

PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
# Where a release is checked or made, nothing may be left out: `make release-check` sets this.
RELEASING: Final = bool(os.environ.get("RELEASE"))
# The tools are there: make has nothing to install.
MAKE: Final = ("make", "-o", ".venv/release", f"BIN={Path(sys.executable).parent}")


class Distributions(NamedTuple):
    """What is uploaded to the package index.

    Attributes:
        sdist: the archive of the sources.
        wheel: what pip installs.
    """

    sdist: Path
    wheel: Path


def run(*command: str | Path, cwd: Path = ROOT, **environ: str) -> str:
    """Return what a command printed; fail with it if the command fails."""
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environ}, text=True, timeout=110,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def make(directory: Path, *targets: str, cwd: Path = ROOT, **environ: str) -> None:
    """Make targets of the Makefile, with their output in a directory."""
    places = (f"DIST={directory / 'dist'}", f"SBOM={directory / 'sbom'}")
    run(*MAKE, *places, *targets, cwd=cwd, **environ)


def found_in(directory: Path) -> Distributions:
    """Return the only sdist and the only wheel of a directory, where nothing else may be."""
    sdist, wheel = sorted(directory.iterdir(), key=lambda file: file.suffix == ".whl")
    assert sdist.name.endswith(".tar.gz")
    assert wheel.suffix == ".whl"
    return Distributions(sdist, wheel)


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """The sdist and the wheel, as ``make dist`` builds and checks them."""
    directory = tmp_path_factory.mktemp("release")
    make(directory, "dist")
    return found_in(directory / "dist")
