"""The benchmarks run and tell the truth; what they measure is for them to say, not for a test."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks import plots, report, table
from benchmarks.case import Place, Result, Side, Target, Timed
from benchmarks.cases import conversation
from benchmarks.machine import Machine
from benchmarks.measure import Spread
from benchmarks.report import Report, Told
from benchmarks.run import Event, Failed, Finished, Job, run

ROOT = Path(__file__).parent.parent


def benchmarks(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_a_run_tells_of_each_side_and_each_target_and_writes_what_it_told(tmp_path: Path) -> None:
    """The sides gave the same answers, or there would be no table."""
    done = benchmarks("--quick", "--only", "hostile: header: semi", "--output", tmp_path)
    assert done.stderr == ""
    assert re.search(r"^  64 kB +[\d.]+ +[\d.]+$", done.stdout, re.MULTILINE)
    told = report.read(tmp_path / "results.json")
    ((_, verdict),) = told.verdicts
    assert done.returncode == (0 if verdict.met else 1)
    assert "header: semicolons" in (tmp_path / "results.md").read_text("utf-8")


def test_a_case_that_there_is_not_is_an_error() -> None:
    """A misspelt name must not look like a run in which every target was met."""
    assert benchmarks("--quick", "--only", "no such module: case").returncode == 2


def test_a_whole_run_takes_less_than_ten_minutes() -> None:
    """Each module says how long it takes; the sum is what the user was told."""
    done = benchmarks("--list")
    assert done.returncode == 0
    assert int(done.stdout.splitlines()[-1].partition(" ")[0]) <= 600


def test_memory_is_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores that were meant for a disk are not put into memory without a word."""
    monkeypatch.setattr(program, "file_system", lambda _: "tmpfs")
    with pytest.raises(SystemExit, match="2"):
        program.main(["--place", "disk", "--disk", str(tmp_path), "--list"])


def test_a_side_that_does_other_work_is_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However fast it is."""
    monkeypatch.setattr(conversation, "_with_dict", lambda: "nothing")
    with pytest.raises(RuntimeError, match="different work"):
        next(conversation.cases(Place("memory", tmp_path)))


def test_a_module_that_fails_is_told_with_its_traceback(tmp_path: Path) -> None:
    """It runs in a process of its own, so that the others still run."""
    (failed,) = [event for event in run(Job("no_such_module", "memory", tmp_path, 1)) if event]
    assert isinstance(failed, Failed)
    assert "ModuleNotFoundError" in failed.trace
    assert list(tmp_path.iterdir()) == []


def case(*targets: Target, name: str = "read and write", sides: Sequence[str] = ()) -> Timed:
    arms = {side: Side(lambda: None) for side in sides or ("glimr_session", "another")}
    return Timed(name=name, group="a group", sides=arms, targets=targets)


def result(*targets: Target, name: str = "read and write", sides: Sequence[str] = ()) -> Result:
    """Give what three rounds tell in which every side takes twice as long as the one before."""
    of = case(*targets, name=name, sides=sides)
    figures = {
        side: {figure: [2**number * by for by in (10.0, 20.0, 60.0)] for figure in FIGURES}
        for number, side in enumerate(of.sides)
    }
    return Result.of(of, figures, notes="a note")


FIGURES = ("wall", "cpu", "median", "p99", "rate")

MET = Target("at most as dear", "another", 1)
MISSED = Target("a third as dear", "another", 0.3)
KNOWN = Target("a third as dear", "another", 0.3, known_miss="that is not to be had")


def test_what_is_compared_is_the_ratio_of_each_round() -> None:
    """The spread of the figures, which the machine makes, is not in it."""
    told = result(Target("twice as fast", "another", 2, unit="x faster", at_least=True))
    assert told.sides["another"]["wall"].median == 40
    assert told.ratios["another"]["wall"] == Spread(0.5, 0.5, 0.5)
    (verdict,) = told.verdicts
    assert verdict.value.median == 2
    assert verdict.met


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (Finished(result(MET)), 0),
        (Finished(result(MET, KNOWN)), 0),
        (Finished(result(MET, MISSED)), 1),
        (Failed("Traceback\nRuntimeError: it broke"), 1),
    ],
    ids=["met", "missed, as known", "missed", "failed"],
)
def test_the_exit_status_tells_of_what_was_missed(
    event: Event, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target that is missed fails the run, unless it says why it is known to be."""

    def told(*_: object, **__: object) -> Iterator[Event]:
        yield event

    monkeypatch.setattr(program, "run", told)
    arguments = ["--only", "memory:", "--place", "disk", "--disk", str(tmp_path)]
    monkeypatch.setattr(program, "file_system", lambda _: "a disk's")
    assert program.main(arguments) == status


def whole_report(tmp_path: Path) -> Report:
    everybody = ("glimr_session", "Flask", "Django (files)")
    stores = ("disk store", "cookie store", "without a session")
    counts = ("1 million", "100 thousand", "1 thousand", "SQLite, 1 million", "SQLite, 1 thousand")
    told: dict[tuple[str, str], list[tuple[str, Sequence[str]]]] = {
        ("requests", "memory"): [("read and write, cookie", everybody)],
        ("requests", "disk"): [("read and write, disk", everybody)],
        ("conversation", "memory"): [
            ("conversation, alone", everybody),
            ("conversation, beside 8 busy threads", everybody),
        ],
        ("growth", "disk"): [("open, of all", counts), ("open, by size", ("0.3 kB", "30 kB"))],
        ("servers", "disk"): [("waitress, 4 threads: a page", stores)],
        ("collecting", "disk"): [("requests, a thread collects", ("collecting", "not collecting"))],
    }
    return Report(
        machine=Machine.here({"disk": tmp_path}),
        quick=False,
        seconds=400.0,
        results=[
            Told(module, place, result(name=name, sides=sides))
            for (module, place), cases in told.items()
            for name, sides in cases
        ]
        + [Told("memory", "memory", result(MET, MISSED, KNOWN))],
        failures=[report.Failure("growth", "tmpfs", "Traceback\nRuntimeError: it broke\n")],
    )


def test_what_was_written_can_be_read_again(tmp_path: Path) -> None:
    """Tables and plots can be made of an old run."""
    written = whole_report(tmp_path)
    assert report.read(report.write(written, tmp_path)) == written


def test_the_table_tells_of_all_that_was_missed(tmp_path: Path) -> None:
    """And of what failed, and of why something is known to be missed."""
    text = table.markdown(whole_report(tmp_path), {"requests": "What it does not show."})
    for words in ("**missed**", "that is not to be had", "it broke", "What it does not show."):
        assert words in text


def test_the_plots_of_one_run_are_the_same_each_time(tmp_path: Path) -> None:
    """A plot that has changed in the history of the project shows other results."""
    told = whole_report(tmp_path)
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        directory.mkdir()
        names = plots.draw(told, directory)
    assert names == [
        "one-request.svg",
        "conversation.svg",
        "growth.svg",
        "servers.svg",
        "collecting.svg",
    ]
    for name in names:
        assert (first / name).read_text("utf-8") == (second / name).read_text("utf-8")
