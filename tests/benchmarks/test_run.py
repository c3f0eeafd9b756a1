"""The benchmarks run, require the same work of all sides, and report what they missed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.plots import draw
from benchmarks.results import OURS, Place, Report, Result, Target
from benchmarks.rivals import beaker
from benchmarks.sites import bare_client, prove_same
from benchmarks.worker import wsgi_client

ROOT = Path(__file__).parents[2]

KNOWN = "a file costs what it costs"


def run(
    *arguments: object, program: str = "benchmarks", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", program, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.parametrize(
    "module",
    [
        "requests",
        "frameworks",
        "limits",
        "contention",
        "growth",
        "collecting",
        "process",
        "encryption",
    ],
)
def test_a_module_of_cases_runs(module: str, tmp_path: Path) -> None:
    """Each module ends without an error, which means that its sides did the same work."""
    done = run("--quick", "--only", module, "--directory", tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert f"\n{module}: " in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_results_and_the_plots_are_written(tmp_path: Path) -> None:
    """A run writes one document with all figures, and the plots that it has figures for."""
    done = run("--quick", "--only", "conversation", "--output", tmp_path)
    assert done.returncode == 0, done.stdout
    assert {file.name for file in tmp_path.iterdir()} == {"results.md", "conversation.svg"}
    text = (tmp_path / "results.md").read_text("utf-8")
    for words in ("A quick run", "Pykka ThreadingActor", "at most 0.025 times"):
        assert words in text


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_the_servers_serve_their_sessions(tmp_path: Path) -> None:
    """A real server is measured with both stores and without sessions."""
    done = run("--quick", "--only", "servers", "--directory", tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    for side in ("disk store", "cookie store", "without sessions"):
        assert f"  {side} " in done.stdout


def test_without_wrk_the_servers_are_skipped_aloud(tmp_path: Path) -> None:
    """The output begins and ends with what is missing, and the run passes."""
    done = run("--quick", "--only", "servers", "--output", tmp_path, PATH=str(tmp_path))
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert "apt-get install wrk" in lines[0]
    assert "apt-get install wrk" in lines[-1]
    assert "**Not measured: the case `servers`" in (tmp_path / "results.md").read_text("utf-8")


def test_an_unknown_module_is_an_error() -> None:
    """A misspelt name does not look like a run that met every target."""
    assert run("--quick", "--only", "request").returncode == 2


def test_a_site_that_gives_other_answers_is_not_timed(tmp_path: Path) -> None:
    """A site without sessions is refused, since a login gives it no other cookie."""
    site = beaker.files(tmp_path)
    prove_same([site])
    with pytest.raises(RuntimeError, match="Beaker"):
        prove_same([site._replace(client=bare_client())])
    with pytest.raises(RuntimeError, match="was answered with"):
        prove_same(
            [site._replace(bare=wsgi_client(lambda _environ, start: (start("200 OK", []), [])[1]))]
        )


def result(limit: float, known_miss: str = "") -> Result:
    """Return a result in which our side takes a third of the other one in each round."""
    return Result(
        case="cookie: read and write",
        unit="us",
        rounds={OURS: [10, 20, 60], "another": [30, 60, 180]},
        targets=[Target(against="another", limit=limit, known_miss=known_miss)],
    )


def test_the_ratio_is_that_of_each_round() -> None:
    """The spread of the figures, which comes from the machine, is not in the ratio."""
    (target,) = (measured := result(0.5)).targets
    assert measured.value(target) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert "| cookie: read and write | another | 60 (45 to 120) | us | 0.333 |" in report(measured)


def report(*results: Result, quick: bool = False) -> str:
    """Return the document of a run."""
    return Report(place=Place(ROOT, quick), seconds=60, results=results).markdown()


@pytest.mark.parametrize(
    ("measured", "quick", "failed"),
    [
        (result(0.4), False, False),
        (result(0.3, KNOWN), False, False),
        (result(0.3), False, True),
        (result(0.3), True, False),
    ],
    ids=["met", "known miss", "missed", "missed in a quick run"],
)
def test_a_full_run_fails_if_it_misses_a_target(
    measured: Result, quick: bool, failed: bool
) -> None:
    """A known miss does not fail a run, and neither does anything that a quick run misses."""
    assert Report(place=Place(ROOT, quick), seconds=1, results=[measured]).failed is failed


def test_the_document_says_what_was_missed() -> None:
    """A missed target stands out, and a known one has its reason beside it."""
    text = report(result(0.3), result(0.3, KNOWN))
    assert "at most 0.3 times another | 0.333 | **MISSED** |" in text
    assert f"| 0.333 | missed: {KNOWN} |" in text


def test_a_plot_of_the_same_results_is_the_same_file(tmp_path: Path) -> None:
    """A plot that changes in the history of the project shows other results."""
    (first, second) = (tmp_path / "first", tmp_path / "second")
    for directory in (first, second):
        directory.mkdir()
        assert draw([result(0.4)], directory) == ["one-request.svg"]
    assert (first / "one-request.svg").read_bytes() == (second / "one-request.svg").read_bytes()
