"""Pykka's own test-suite, run on CallingThreadActor.

The tests come from the source distribution of the Pykka that is installed. It is downloaded
once, into ``build/pykka-suite``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from glimr_session.mailbox import CallingThreadActor

ROOT: Final = Path(__file__).parents[1]
CACHE: Final = ROOT / "build" / "pykka-suite"
VERSION: Final = version("pykka")


class Exclusion(NamedTuple):
    """Why a test of Pykka's cannot pass, and how it fails."""

    reason: str
    failure: str


# Needs an actor that goes on by itself while the sender goes on.
_NEEDS_A_THREAD: Final = (
    "tell() makes the actor wait for an event that the test sets after it; the test waits in "
    "tell() itself, for it is the one that runs the handler"
)
_NO_EXCEPTION: Final = (
    "an exception that is no Exception is raised in the thread that sent the message; Pykka's "
    "threads have no caller to raise it in, and stop every actor of the process"
)

# Every test of Pykka's that is left out.
EXCLUDED: Final = {
    "tests/test_actor.py::test_messages_left_in_queue_after_actor_stops_receive_an_error": (
        Exclusion(_NEEDS_A_THREAD, r"Timeout")
    ),
    "tests/test_actor.py::test_stop_requests_left_in_queue_after_actor_stops_are_handled": (
        Exclusion(_NEEDS_A_THREAD, r"Timeout")
    ),
    "tests/test_actor.py::test_all_actors_are_stopped_on_base_exception": (
        Exclusion(_NO_EXCEPTION, r"^BaseException")
    ),
    "tests/test_logging.py::test_base_exception_is_logged": (
        Exclusion(_NO_EXCEPTION, r"^BaseException")
    ),
    "tests/test_ref.py::test_ask_can_timeout_if_blocked_too_long": (
        Exclusion(
            "ask(timeout=0) of an idle actor runs the handler and has the reply at once",
            r"DID NOT RAISE .*Timeout",
        )
    ),
}

# What is written behind Pykka's conftest.py.
ADDITION: Final = '''

from types import SimpleNamespace
from unittest import mock

from glimr_session.mailbox import CallingThreadActor

CALLING_THREAD = Runtime(
    name="calling-thread",
    actor_class=CallingThreadActor,
    event_class=threading.Event,
    future_class=ThreadingFuture,
    sleep_func=time.sleep,
)


@pytest.fixture(scope="session", params=[pytest.param(CALLING_THREAD, id="calling-thread")])
def runtime(request):
    return request.param


@pytest.fixture
def mocker():
    """What Pykka's tests use of pytest-mock."""
    def patch_object(*args, **kwargs):
        return mock.patch.object(*args, **kwargs).start()

    yield SimpleNamespace(
        Mock=mock.Mock,
        MagicMock=mock.MagicMock,
        NonCallableMock=mock.NonCallableMock,
        patch=SimpleNamespace(object=patch_object),
    )
    mock.patch.stopall()
'''


def source_distribution() -> Path:
    """Return the archive of the installed Pykka; skip, or fail in CI, where there is none."""
    archive = CACHE / f"pykka-{VERSION}.tar.gz"
    if not archive.exists():
        command = [
            sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:",
            "--quiet", "--dest", str(CACHE), f"pykka=={VERSION}",
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
            problem = "" if archive.exists() else done.stderr.strip() or "pip told nothing"
        except subprocess.TimeoutExpired:
            problem = "pip took too long"
        if problem:
            reason = f"the tests of Pykka {VERSION} cannot be downloaded: {problem[-500:]}"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
    return archive


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with Pykka's tests in it, changed to run on CallingThreadActor alone."""
    directory = tmp_path_factory.mktemp("pykka-suite")
    top = f"pykka-{VERSION}/"
    with tarfile.open(source_distribution()) as archive:
        for member in archive.getmembers():
            if member.name.startswith(f"{top}tests/"):
                member.name = member.name.removeprefix(top)
                archive.extract(member, directory, filter="data")
    with (directory / "tests" / "conftest.py").open("a") as conftest:
        conftest.write(ADDITION)
    (directory / "pytest.ini").write_text("[pytest]\n")  # not the settings of this project
    return directory


class Result(NamedTuple):
    """How a run ended: the names of the tests that passed, and the failures of the others."""

    passed: set[str]
    failed: dict[str, str]


def run(suite: Path, *arguments: str) -> Result:
    """Run pytest on Pykka's tests in a process of its own."""
    report = suite / "report.xml"
    report.unlink(missing_ok=True)
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
            f"--junit-xml={report}", "-o", "junit_family=xunit1", *arguments,
        ],
        cwd=suite,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout + done.stderr
    passed: set[str] = set()
    failed: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('file')}::{(case.get('name') or '').partition('[')[0]}"
        if len(case) == 0:
            passed.add(name)
        else:
            failed[name] = "\n".join(outcome.get("message") or "" for outcome in case)
    return Result(passed, failed)


def test_pykka_s_own_tests_pass(suite: Path) -> None:
    """Every test of Pykka's passes that is not excluded above."""
    result = run(suite, "--timeout=60", *(f"--deselect={name}" for name in EXCLUDED), "tests")
    assert result.failed == {}
    assert len(result.passed) > 130  # none was left out in silence


def test_every_excluded_test_fails(suite: Path) -> None:
    """No exclusion outlives its reason: each excluded test is there, and fails as it says."""
    result = run(suite, "--timeout=3", *EXCLUDED)
    assert result.passed == set()
    assert result.failed.keys() == EXCLUDED.keys()
    for name, exclusion in EXCLUDED.items():
        assert re.search(exclusion.failure, result.failed[name]), (name, exclusion.reason)


def test_the_docstring_names_every_excluded_test() -> None:
    """Users of CallingThreadActor read in its docstring which promises of Pykka's it lacks."""
    names = {name.rpartition("::")[2] for name in EXCLUDED}
    assert set(re.findall(r"``(test_\w+)``", CallingThreadActor.__doc__ or "")) == names
