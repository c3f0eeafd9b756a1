"""The wheel, installed into a clean environment of each supported Python, and tried there."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.release import visits
from tests.release.conftest import RELEASING, Distributions, run
from tests.release.test_version import VERSION, pythons
from tests.support.documents import blocks_of

PYENV: Final = Path.home() / ".pyenv" / "versions"


def interpreter(version: str) -> str:
    """Return the program of a version of Python; skip the test where it is not installed.

    The machine of CI has one Python, and its script can install no other; where a release is
    checked or made, each has to be there.
    """
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    found = [str(program) for program in PYENV.glob(f"{version}.*/bin/python{version}")]
    if program := shutil.which(f"python{version}"):
        found.insert(0, program)
    for program in found:
        # A shim of pyenv is there for versions that it does not select.
        if subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0:
            return program
    reason = f"Python {version} is not installed"
    if RELEASING:
        pytest.fail(reason)
    pytest.skip(reason)


def environment(directory: Path, python: str, *packages: str | Path) -> Path:
    """Return the `bin` of a new environment in which nothing is but these packages."""
    run(python, "-m", "venv", "--without-pip", directory)
    pip = (sys.executable, "-m", "pip", "--python", directory / "bin" / "python")
    run(*pip, "install", "--quiet", *packages)
    return directory / "bin"


def readme(first_line: str) -> str:
    """Return the only block of the README that begins with this line."""
    (found,) = (block.code for block in blocks_of("README.md") if block.code.startswith(first_line))
    return found


@pytest.mark.parametrize("version", pythons())
def test_the_wheel_works(version: str, distributions: Distributions, tmp_path: Path) -> None:
    """The program of the README counts visits, on the disk and in the cookie, with the core alone.

    And the command can be called: it works, or says which extra it wants.
    """
    programs = environment(tmp_path / "environment", interpreter(version), distributions.wheel)
    program = readme("# app.py")
    settings = readme("# session.toml")
    for store in ("disk", "cookie"):
        site = tmp_path / store
        site.mkdir()
        (site / "app.py").write_text(program, "utf-8")
        (site / "session.toml").write_text(settings.replace('"disk"', f'"{store}"', 1), "utf-8")
        shutil.copy(visits.__file__, site)
        key = secrets.token_hex(32)
        printed = run(
            programs / "python", "-W", "error", "visits.py",
            cwd=site, GLIMR_SESSION_SECRET_KEYS=key, PYTHONPATH="",
        ).splitlines()  # fmt: skip
        assert printed[:3] == ["Visit 1", "Visit 2", "Visit 3"]
        assert Path(printed[3]).is_relative_to(tmp_path)
        assert printed[4:] == ["[]"]
        assert (site / "var/sessions/cache.db").exists() == (store == "disk")
    told = subprocess.run(
        [programs / "glimr-session", "--help"], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in told.stderr
    assert (
        "glimr-session[cli]" in told.stderr if told.returncode else "Usage" in told.stdout.title()
    )


def test_the_command_works_with_its_extra(distributions: Distributions, tmp_path: Path) -> None:
    """With the extra of the command, its help lists what it can do."""
    programs = environment(tmp_path / "cli", sys.executable, f"{distributions.wheel}[cli]")
    assert "sql-schema" in run(programs / "glimr-session", "--help", PYTHONPATH="")


def test_the_sdist_builds_in_a_clean_environment(
    distributions: Distributions, tmp_path: Path
) -> None:
    """Pip builds it with what pyproject.toml says that this takes, and nothing else."""
    programs = environment(tmp_path / "sources", sys.executable, distributions.sdist)
    ask = "import glimr_session; print(glimr_session.__version__)"
    assert run(programs / "python", "-c", ask, cwd=tmp_path, PYTHONPATH="").strip() == VERSION
