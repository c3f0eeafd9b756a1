"""The judges' own judge: suites are run as they are, and no outcome of a test is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from .suites import Outcome, judge, run_pytest

SUITE: Final = """
import os
import unittest

import pytest


class TestOfPytest:
    @pytest.mark.parametrize("number", [1, 2])
    def test_one(self, number):
        assert number == 1


class OfUnittest(unittest.TestCase):
    def tearDown(self):
        raise RuntimeError("at the end")

    def test_two(self):
        pass


def test_three():
    assert os.environ["JUDGES_STORE"] == "disk"


@pytest.mark.skip(reason="not here")
def test_four():
    assert False
"""


@pytest.fixture
def outcome(tmp_path: Path) -> Outcome:
    """Run a suite of two modules: one with every kind of outcome, one that cannot be imported."""
    suite = tmp_path / "suite"
    (suite / "tests").mkdir(parents=True)
    (suite / "pytest.ini").write_text("[pytest]\n")
    (suite / "tests" / "test_all.py").write_text(SUITE)
    (suite / "tests" / "test_broken.py").write_text("import there_is_no_such_module\n")
    return run_pytest(suite, store="disk", tmp_path=tmp_path)


def test_a_run_tells_each_failure_apart(outcome: Outcome) -> None:
    """Failures, errors of a teardown and of an import are found; skipped tests did not pass."""
    assert outcome.passed == 2
    assert outcome.failed == {
        "tests/test_all.py::TestOfPytest::test_one[2]": "assert 2 == 1",
        "tests/test_all.py::OfUnittest::test_two": "RuntimeError: at the end",
        "tests.test_broken": "collection failure",
    }


def test_an_exact_list_is_accepted() -> None:
    """A suite passes the judge if exactly the excluded tests failed."""
    judge(Outcome(2, {"a": "error"}), {"a": "reason"}, at_least=2)


@pytest.mark.parametrize(
    ("outcome", "excluded", "complaint"),
    [
        (Outcome(2, {"a": "error", "b": "why"}), {"a": "reason"}, "1 tests fail.*\nb\n    why"),
        (Outcome(2, {"a": "error"}), {"a": "reason", "b": "reason"}, r"excluded, but.*\['b'\]"),
        (Outcome(1, {"a": "error"}), {"a": "reason"}, "only 1 of 2"),
    ],
    ids=["a new failure", "an exclusion that passes", "too few"],
)
def test_anything_else_is_refused(
    outcome: Outcome, excluded: dict[str, str], complaint: str
) -> None:
    """A failure that is not excluded, an exclusion too many and a missing test are all errors."""
    with pytest.raises(AssertionError, match=complaint):
        judge(outcome, excluded, at_least=2)
