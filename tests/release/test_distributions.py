"""The sdist and the wheel: what is in them, and that others get the same bytes."""

from __future__ import annotations

import os
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

import pytest

from tests.release.conftest import Distributions, found_in, make, run
from tests.release.test_version import VERSION
from tests.support.documents import ROOT

# What only the repository needs: its workflows, its hooks, what CI runs.
LEFT_OUT: Final = (".ci/", ".github/", ".pre-commit-config.yaml")


def files_of_the_repository() -> set[str]:
    """Return the files that Git keeps or would keep; skip the test in an unpacked sdist."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout: which files belong to it is not known")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    return {file for file in listed if (ROOT / file).is_file()}


def names_in(sdist: Path) -> set[str]:
    """Return the names of the files in an sdist, without the folder that they are all in."""
    with tarfile.open(sdist) as archive:
        names = {member.name for member in archive.getmembers() if member.isfile()}
    folder = f"glimr_session-{VERSION}/"
    assert all(name.startswith(folder) for name in names)
    return {name.removeprefix(folder) for name in names}


def test_the_sdist_has_what_it_takes_to_build_and_to_test(distributions: Distributions) -> None:
    """Each file of the repository is in it, apart from those of its host; no cache is."""
    wanted = {file for file in files_of_the_repository() if not file.startswith(LEFT_OUT)}
    assert names_in(distributions.sdist) == wanted | {"PKG-INFO"}


def test_the_wheel_has_the_package_and_nothing_else(distributions: Distributions) -> None:
    """Its files are those of the package, the license, the command and metadata."""
    names = set(zipfile.ZipFile(distributions.wheel).namelist())
    information = f"glimr_session-{VERSION}.dist-info"
    package = {file for file in names_in(distributions.sdist) if file.startswith("src/")}
    assert names == {file.removeprefix("src/") for file in package} | {
        f"{information}/{name}"
        for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    }
    assert "glimr_session/py.typed" in names


def test_the_same_sources_give_the_same_bytes(distributions: Distributions, tmp_path: Path) -> None:
    """A wheel and an sdist are the same to a byte when somebody else builds them, elsewhere."""
    copy = tmp_path / "copy"
    with tarfile.open(distributions.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
        (tmp_path / f"glimr_session-{VERSION}").rename(copy)
        of_release = str(archive.getmembers()[0].mtime)
    for file in copy.rglob("*"):
        if file.is_file():
            file.chmod(0o600 | file.stat().st_mode & 0o100)
            os.utime(file, (1, 1_000_000_000))
    elsewhere = {"SOURCE_DATE_EPOCH": of_release, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "1"}
    make(tmp_path, "dist", cwd=copy, **elsewhere)
    again = found_in(tmp_path / "dist")
    assert again.wheel.read_bytes() == distributions.wheel.read_bytes()
    assert again.sdist.read_bytes() == distributions.sdist.read_bytes()


def test_tests_run_from_an_unpacked_sdist(distributions: Distributions, tmp_path: Path) -> None:
    """Who has only the sdist finds the target there, and its tests test what is in it."""
    with tarfile.open(distributions.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / f"glimr_session-{VERSION}"
    assert "tests/" in run("make", "--dry-run", "test", cwd=folder)
    tests = ("tests/test_session_as_mapping.py", "tests/session/test_state.py")
    tested = run(sys.executable, "-m", "pytest", *tests, cwd=folder, PYTHONPATH=str(folder / "src"))
    assert " passed" in tested
    assert f"rootdir: {folder}\n" in tested
