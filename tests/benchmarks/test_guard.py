"""The guard finds what has grown, names it, and finds the same each time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from benchmarks import guard
from glimr_session._request.request_session import RequestSession
from glimr_session._session.messages import Put
from glimr_session._session.state import SessionState
from glimr_session.stores.disk.queries import SessionConnection

ROOT = Path(__file__).parents[2]

Spoil: TypeAlias = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def budgets() -> dict[str, dict[str, int]]:
    """Return what was counted here and now."""
    return {name: counts._asdict() for name, counts in counted().items()}


def counted(spoil: Spoil | None = None) -> dict[str, guard.Counts]:
    """Return what a fresh process counts: the memory of an old one is different."""
    name = "" if spoil is None else spoil.__name__
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from tests.benchmarks import test_guard; test_guard.print_counted({name!r})",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return {name: guard.Counts(**counts) for name, counts in json.loads(done.stdout).items()}


def print_counted(spoil: str) -> None:
    """Print what is counted, in the fresh process."""
    with pytest.MonkeyPatch.context() as monkeypatch, guard.cases() as cases:
        if spoil:
            globals()[spoil](monkeypatch)
        print(json.dumps({case.name: guard.count(case)._asdict() for case in cases}))


def test_what_is_counted_is_the_same_each_time(budgets: dict[str, dict[str, int]]) -> None:
    """Two processes count the same to the instruction, whatever else the machine does."""
    again = counted()
    for name, counts in again.items():
        for figure in ("instructions", "calls", "sqlite"):
            assert counts._asdict()[figure] == budgets[name][figure], (name, figure)
    assert guard.grown(again, budgets) == []


def test_every_case_counts_something(budgets: dict[str, dict[str, int]]) -> None:
    """A case that did nothing could not grow."""
    for name, figures in budgets.items():
        idle = {"sqlite"} if not name.startswith("disk") or name.endswith("untouched") else set()
        assert {figure for figure, value in figures.items() if not value} == idle, name


def one_more_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the transition of a put four times instead of once."""
    apply = Put.apply

    def apply_often(self: Put, state: SessionState) -> Any:
        return [apply(self, state) for _ in range(4)][-1]

    monkeypatch.setattr(Put, "apply", apply_often)


def one_more_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one more statement before each write of a row."""
    update = SessionConnection.update_if_unchanged

    def count_first(self: SessionConnection, *arguments: Any, **more: Any) -> bool:
        self.execute("SELECT count(*) FROM Settings").fetchone()
        return update(self, *arguments, **more)

    monkeypatch.setattr(SessionConnection, "update_if_unchanged", count_first)


def a_log_of_every_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep some text for each request."""
    make = RequestSession.__init__

    def remember(self: RequestSession, *arguments: Any) -> None:
        make(self, *arguments)
        self._log = "x" * 500 + str(id(self))  # type: ignore[attr-defined]

    monkeypatch.setattr(RequestSession, "__init__", remember)


@pytest.mark.parametrize(
    ("spoil", "name", "figure"),
    [
        (one_more_call, "cookie: read and write", "instructions"),
        (one_more_call, "cookie: read and write", "calls"),
        (one_more_statement, "disk: read and write", "sqlite"),
        (a_log_of_every_request, "disk: untouched", "bytes"),
    ],
)
def test_the_guard_names_what_has_grown(
    spoil: Spoil, name: str, figure: str, budgets: dict[str, dict[str, int]]
) -> None:
    """It names the case and the figure; the cases that do not run the changed code are silent."""
    lines = guard.grown(counted(spoil), budgets)
    assert any(line.startswith(f"{name}: ") and f" {figure}, " in line for line in lines), lines
    assert (spoil is a_log_of_every_request) == any("cookie: untouched" in line for line in lines)


def test_a_case_without_a_budget_is_reported(budgets: dict[str, dict[str, int]]) -> None:
    """A new case cannot be forgotten."""
    others = {name: counts for name, counts in budgets.items() if name != "disk: log in"}
    (line,) = guard.grown(counted(), others)
    assert line.startswith("disk: log in: there is no budget")


def test_the_command_fails_if_something_has_grown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status is 1; on another version of Python than was recorded, nothing is compared."""
    recorded = json.loads(guard.BUDGETS.read_text("utf-8"))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.guard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    if recorded["python"] != f"{sys.version_info.major}.{sys.version_info.minor}":
        assert "nothing is compared" in done.stdout
        return
    one_more_call(monkeypatch)
    assert guard.main([]) == 1
    assert "cookie: read and write" in capsys.readouterr().out.partition("has grown:")[2]
