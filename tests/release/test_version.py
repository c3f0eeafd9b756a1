"""The version: written once, and the same in the changelog, the tag and the policy."""

from __future__ import annotations

import datetime
import os
import re
import sys
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import glimr_session
from tests.release.conftest import PROJECT, RELEASING, run
from tests.support.documents import ROOT

VERSION: Final = glimr_session.__version__
CHANGELOG: Final = (ROOT / "CHANGELOG.md").read_text("utf-8")
POLICY: Final = (ROOT / "docs/releases.md").read_text("utf-8")
HEADINGS: Final = re.findall(r"^## (.+)", CHANGELOG, re.MULTILINE)
KINDS: Final = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_version_is_one_that_the_package_index_takes() -> None:
    """It is written as PEP 440 writes it, so that files, tags and headings agree."""
    assert str(Version(VERSION)) == VERSION


def test_the_changelog_begins_with_this_version() -> None:
    """The first heading is the version, with its day, or with the word that it has none yet."""
    version, day = HEADINGS[0].split(" - ")
    assert version == VERSION
    if day != "unreleased":
        datetime.date.fromisoformat(day)


def test_the_changelog_goes_down() -> None:
    """Each heading is a version with its day, later ones first."""
    versions = [Version(heading.partition(" - ")[0]) for heading in HEADINGS]
    assert versions == sorted(set(versions), reverse=True)
    for heading in HEADINGS[1:]:
        datetime.date.fromisoformat(heading.partition(" - ")[2])


def test_changes_are_sorted_by_kind() -> None:
    """Below a version stand the kinds of Keep a Changelog, each once."""
    for section in re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (.+)", section, re.MULTILINE)
        assert kinds
        assert set(kinds) <= KINDS
        assert len(kinds) == len(set(kinds))


def test_the_recipe_tags_this_version(tmp_path: Path) -> None:
    """The lines of the recipe, run as they stand, give the tag that the workflow waits for."""
    (tag,) = re.findall(r"^( *git tag .*)$", POLICY, re.MULTILINE)
    run("git", "init", "--quiet", cwd=tmp_path)
    for setting in ("user.name=Tests", "user.email=tests@example.org", "tag.gpgSign=false"):
        run("git", "config", *setting.split("="), cwd=tmp_path)
    run("git", "commit", "--quiet", "--allow-empty", "--message", "first", cwd=tmp_path)
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    for name in ("src", "pyproject.toml", "README.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    run("sh", "-euc", tag, cwd=tmp_path)
    assert run("git", "tag", "--list", "v*", cwd=tmp_path).split() == [f"v{VERSION}"]


@pytest.mark.skipif(not RELEASING, reason="no release is being made: `make release-check`")
class TestReleasing:
    """What holds at the commit that is tagged, and need not hold before."""

    def test_the_day_is_in_the_changelog(self) -> None:
        """Nothing is called unreleased any more."""
        assert "unreleased" not in CHANGELOG.lower()

    def test_everything_is_committed(self) -> None:
        """What was tested is what will be tagged."""
        assert run("git", "status", "--porcelain") == ""

    def test_the_tag_is_the_version(self) -> None:
        """In the workflow that a tag has started, it is the tag of this version."""
        if os.environ.get("GITHUB_REF_TYPE") != "tag":
            pytest.skip("no tag has started this")
        assert os.environ["GITHUB_REF_NAME"] == f"v{VERSION}"


def test_the_policy_names_each_supported_python() -> None:
    """The Pythons of the policy are those of the classifiers, and pip refuses older ones."""
    (row,) = re.findall(r"^\| Python \| (.*?) \|", POLICY, re.MULTILINE)
    assert row.split(", ") == pythons()
    assert PROJECT["project"]["requires-python"] == f">={pythons()[0]}"


def pythons() -> list[str]:
    """Return the supported versions of Python, oldest first."""
    prefix = "Programming Language :: Python :: 3."
    return [
        classifier.rpartition(" ")[2]
        for classifier in PROJECT["project"]["classifiers"]
        if classifier.startswith(prefix)
    ]


def test_each_supported_python_is_in_the_matrix() -> None:
    """What is called supported is tested: by `make matrix`, on each push."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (matrix,) = re.findall(r"^PYTHONS \?= (.*)", makefile, re.MULTILINE)
    assert matrix.split() == pythons()


@pytest.mark.parametrize("extra", sorted(PROJECT["project"]["optional-dependencies"]))
def test_the_policy_says_what_each_extra_needs(extra: str) -> None:
    """The table names each package that an extra brings, and the oldest version of it."""
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", POLICY, re.MULTILINE))
    for text in PROJECT["project"]["optional-dependencies"][extra]:
        requirement = Requirement(text)
        if requirement.name == "glimr-session":
            assert f"`{next(iter(requirement.extras))}`" in rows[extra]
            continue
        (oldest,) = (entry.version for entry in requirement.specifier if entry.operator == ">=")
        assert f"{requirement.name} {oldest}" in rows[extra].lower()
