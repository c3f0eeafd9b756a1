"""The workflow that publishes: what it may do, and that what it runs is there and works."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.release.conftest import MAKE, Distributions, make, run
from tests.release.test_version import VERSION, pythons
from tests.support.documents import ROOT

FILE: Final = ROOT / ".github/workflows/release.yml"
SIGNING: Final = {"id-token": "write"}

if not FILE.exists():
    assert (ROOT / "PKG-INFO").exists(), "only an sdist has no workflows"
    pytest.skip("an sdist has no workflows", allow_module_level=True)

TEXT: Final = FILE.read_text("utf-8")
# YAML reads `on` as true.
WORKFLOW: Final[dict[Any, Any]] = yaml.safe_load(TEXT)
JOBS: Final[dict[str, dict[str, Any]]] = WORKFLOW["jobs"]
STEPS: Final = [(job, step) for job in JOBS for step in JOBS[job].get("steps", [])]
RUN: Final = {
    command.strip(): job
    for job, step in STEPS
    for command in step.get("run", "").splitlines()
    if command.strip()
}


def uses(job: str) -> list[str]:
    """Return the actions of a job, without their versions."""
    return [step["uses"].partition("@")[0] for step in JOBS[job]["steps"] if "uses" in step]


def needs(job: str) -> set[str]:
    """Return the jobs that must have passed before a job begins."""
    before = set(JOBS[job].get("needs", []))
    return before.union(*map(needs, before))


def test_a_tag_of_a_version_starts_it_and_nothing_else() -> None:
    """No push to a branch, no pull request and no schedule publishes."""
    assert WORKFLOW[True] == {"push": {"tags": ["v*"]}}


def test_each_job_has_the_rights_that_it_needs() -> None:
    """The workflow has none; who runs code of the repository reads, who publishes runs none."""
    assert WORKFLOW["permissions"] == {}
    assert {job: JOBS[job]["permissions"] for job in JOBS} == {
        "check": {"contents": "read"},
        "build": {"contents": "read"},
        "attest": {**SIGNING, "attestations": "write"},
        "publish": SIGNING,
        "announce": {"contents": "write"},
    }
    for job in ("attest", "publish", "announce"):
        assert "actions/checkout" not in uses(job)
    (checkout,) = (step for _, step in STEPS if "actions/checkout" in step.get("uses", ""))
    assert checkout["with"]["persist-credentials"] is False


def test_nothing_is_published_that_was_not_checked() -> None:
    """The tests have passed and the files are signed before the index gets them."""
    assert needs("publish") == {"check", "build", "attest"}
    assert "publish" in needs("announce")
    called = ROOT / JOBS["check"]["uses"]
    assert "workflow_call" in yaml.safe_load(called.read_text("utf-8"))[True]


def test_provenance_and_sbom_are_attested() -> None:
    """Both statements are signed, for each file; the index gets its own with the upload."""
    assert {"actions/attest-build-provenance", "actions/attest-sbom"} <= set(uses("attest"))
    signed = [step["with"] for _, step in STEPS if "attest-" in step.get("uses", "")]
    assert {inputs["subject-path"] for inputs in signed} == {"dist/*"}
    (upload,) = (step for step in JOBS["publish"]["steps"] if "pypi-publish" in step["uses"])
    assert upload["with"] == {"attestations": True}
    assert JOBS["publish"]["environment"]["name"] == "pypi"


def test_no_password_is_needed() -> None:
    """The index trusts this workflow: no secret is stored that could be stolen."""
    assert "secrets." not in TEXT


def test_each_action_is_pinned_and_says_its_version() -> None:
    """An action is a commit, which nobody can move, with the version for those who read it."""
    lines = re.findall(r"uses: +(?!\./)(.*)", TEXT)
    assert lines
    for line in lines:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_an_auditor_of_workflows_has_no_complaint() -> None:
    """Zizmor finds no injection, no credentials left behind, no rights too many."""
    zizmor = Path(sys.executable).with_name("zizmor")
    audit = ("--offline", "--no-config", "--strict-collection", "--min-severity=medium")
    run(zizmor, *audit, FILE)


def test_each_target_of_make_exists() -> None:
    """Make knows each target that the workflow calls."""
    targets = [target for command in RUN for target in re.findall(r"^make ([a-z-]+)$", command)]
    assert targets == ["release-check", "sbom"]
    for target in targets:
        run(*MAKE, "-o", ".venv/test", "--dry-run", target)


def test_it_runs_nothing_else() -> None:
    """Beside make there is one command: it makes the release on GitHub, and needs its files."""
    others = [command for command in RUN if not command.startswith("make ")]
    (release,) = others
    assert release.startswith('gh release create "$GITHUB_REF_NAME" --verify-tag ')
    assert subprocess.run(["sh", "-nc", release], check=False).returncode == 0


def test_each_supported_python_is_set_up() -> None:
    """The machine that checks a release has every Python that the release supports."""
    (setup,) = (step["with"] for _, step in STEPS if "setup-python" in step.get("uses", ""))
    assert sorted(setup["python-version"].split()) == pythons()


def test_the_sbom_lists_what_an_installation_brings(distributions: Distributions) -> None:
    """It is CycloneDX, names this version, each package of the core, and no path of a machine."""
    directory = distributions.wheel.parents[1]
    make(directory, "-o", "dist", "sbom")  # of the wheel that is there
    text = (directory / "sbom/glimr-session.cdx.json").read_text("utf-8")
    bom = json.loads(text)
    assert bom["bomFormat"] == "CycloneDX"
    described = bom["metadata"]["component"]
    assert (described["name"], described["version"]) == ("glimr-session", VERSION)
    assert "timestamp" in bom["metadata"]
    packages = {component["name"]: component for component in bom["components"]}
    assert packages.keys() == {"pykka", "itsdangerous", "diskcache", "msgspec"}
    for name, component in packages.items():
        assert component["purl"] == f"pkg:pypi/{name}@{component['version']}"
    assert str(directory) not in text
    assert str(ROOT) not in text


def test_uploaded_files_are_where_make_puts_them() -> None:
    """What a later job downloads is what `make sbom` writes where it is told no other place."""
    paths = {
        step["with"]["name"]: step["with"]["path"]
        for _, step in STEPS
        if "upload-artifact" in step.get("uses", "")
    }
    printed = run(*MAKE, "--dry-run", "sbom")
    assert f"--outdir {paths['dist'].rstrip('/')}\n" in printed
    assert f"--output-file {paths['sbom']} " in printed
