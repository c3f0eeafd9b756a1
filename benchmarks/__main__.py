"""Measure glimr_session against what people use, case by case.

The exit status is 1 if a target was missed that is not known to be, or a case failed.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from . import plots, report, table
from .machine import IN_MEMORY, Machine, file_system
from .report import Failure, Report, Told
from .run import MODULES, Begun, Failed, Finished, Job, jobs_for, run

__all__ = ["main"]

_QUICK: Final = 0.1  # of the time that a full run takes
_SHARED_MEMORY: Final = Path("/dev/shm")


def main(arguments: Sequence[str] | None = None) -> int:
    """Give the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if options.again:
        try:
            told = report.read(options.again)
        except (OSError, ValueError) as error:
            parser.error(f"--again {options.again}: {error}")
        _write(told, options.output or options.again.parent, console)
        return 0
    places = _places(options, parser, console)
    jobs = jobs_for(options.only, places)
    if options.list:
        for job in jobs:
            text = _text(job.module).splitlines()[0]
            console.print(f"{job.module:<13} {job.place:<7} {job.seconds:>4.0f} s  {text}")
        console.print(f"{sum(job.seconds for job in jobs):.0f} s together")
        return 0
    machine = Machine.here(places)
    console.print(f"{machine}\n")
    start = time.monotonic()
    results, failures = _run(jobs, options.only, options.quick, console)
    if not results and not failures:
        console.print(f"No case has {options.only!r} in its name; --list shows what there is.")
        return 2
    told = Report(machine, options.quick, time.monotonic() - start, results, failures)
    console.print(f"\n{table.summary(told)}\n{told.seconds:.0f} s")
    if options.output:
        _write(told, options.output, console)
    return 1 if told.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="smaller, with fewer rounds, at one place unless more are named: less to rely on",
    )
    parser.add_argument(
        "--only",
        default="",
        metavar="TEXT",
        help='run the cases with this in their "module: name"; with a colon in it, other modules '
        "are not even set up",
    )
    parser.add_argument(
        "--place",
        action="append",
        choices=("tmpfs", "disk"),
        help="put stores there (may be given twice; default: both, one after the other)",
    )
    parser.add_argument(
        "--tmpfs",
        type=Path,
        metavar="DIR",
        help=f"a directory in memory (default: {_SHARED_MEMORY})",
    )
    parser.add_argument(
        "--disk",
        type=Path,
        metavar="DIR",
        help="a directory on a disk (default: where the system puts temporary files)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write results.json, results.md and plots there"
    )
    parser.add_argument(
        "--list", action="store_true", help="list the modules of cases, run nothing"
    )
    parser.add_argument(
        "--again",
        type=Path,
        metavar="FILE",
        help="run nothing; write the table and the plots of a results.json again",
    )
    return parser


def _places(
    options: argparse.Namespace, parser: argparse.ArgumentParser, console: Console
) -> dict[str, Path]:
    """Give where stores can be put; leave with status 2 if what was asked for cannot be."""
    wanted = options.place or ("tmpfs", "disk")
    places: dict[str, Path] = {}
    if "tmpfs" in wanted:
        directory: Path = options.tmpfs or _SHARED_MEMORY
        if _usable(directory) and file_system(directory) in IN_MEMORY:
            places["tmpfs"] = directory
        elif options.tmpfs or options.place:
            parser.error(f"{directory} is no directory on a tmpfs that can be written to")
        else:
            console.print(f"There is no tmpfs at {directory}: left out. --tmpfs DIR names another.")
    if "disk" in wanted:
        directory = options.disk or Path(tempfile.gettempdir())
        if not _usable(directory):
            parser.error(f"{directory} is no directory that can be written to")
        if file_system(directory) in IN_MEMORY:
            parser.error(
                f"{directory} is in memory and not on a disk. Name a directory on a disk with "
                "--disk DIR, or leave the disk out with --place tmpfs."
            )
        places["disk"] = directory
    if options.quick and not options.place:
        return dict(list(places.items())[:1])
    return places


def _usable(directory: Path) -> bool:
    return directory.is_dir() and os.access(directory, os.W_OK | os.X_OK)


def _run(
    jobs: Sequence[Job], only: str, quick: bool, console: Console
) -> tuple[list[Told], list[Failure]]:
    """Run all jobs, and tell what comes out as it does."""
    results: list[Told] = []
    failures: list[Failure] = []
    speed = _QUICK if quick else 1.0
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("of about"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=sum(job.seconds * speed for job in jobs))
        before = 0.0
        for job in jobs:
            begun, told = time.monotonic(), len(results) + len(failures)
            bar.update(task, description=f"{job.module}, {job.place}")
            for event in run(job, only=only, quick=quick):
                match event:
                    case Begun(name):
                        bar.update(task, description=f"{job.module}, {job.place}: {name}")
                    case Finished(result):
                        results.append(Told(job.module, job.place, result))
                        console.print(f"{table.block(results[-1])}\n")
                    case Failed(trace):
                        failures.append(Failure(job.module, job.place, trace))
                        console.print(f"{job.module}, {job.place}: FAILED\n{trace}\n", style="red")
                    case None:  # some time has passed
                        passed = min(time.monotonic() - begun, job.seconds * speed)
                        bar.update(task, completed=before + passed)
            if len(results) + len(failures) > told:
                console.print(f"{job.module}, {job.place}: {time.monotonic() - begun:.0f} s\n")
            before += job.seconds * speed
            bar.update(task, completed=before)
    return results, failures


def _write(told: Report, directory: Path, console: Console) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    report.write(told, directory)
    texts = {module: _text(module) for module in MODULES}
    (directory / "results.md").write_text(table.markdown(told, texts), "utf-8")
    drawn = plots.draw(told, directory)
    console.print(f"Written to {directory}: results.json, results.md, {', '.join(drawn)}")


def _text(module: str) -> str:
    return inspect.cleandoc(import_module(f"{__package__}.cases.{module}").__doc__ or "")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)  # as shells have it
