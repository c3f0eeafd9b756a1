"""Measure glimr_session beside other libraries, and write results.md and plots.

The exit status is 1 if a case failed or, in a full run, if a target was missed that is not
known to be.
"""

import argparse
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

from .cases import CASES, run_module
from .plots import draw
from .results import Place, Report, Result

_NO_WRK: Final = (
    "the case `servers`, because wrk is not installed. Install it with `apt-get install wrk` or "
    "`brew install wrk`"
)
_ROOM: Final = 3e9  # bytes, most of them for a million sessions


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all cases, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="in a minute, to see that it works")
    parser.add_argument("--only", choices=CASES, help="run this module of cases alone")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write the results")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="where to put the stores")
    options = parser.parse_args(arguments)
    modules = [options.only] if options.only else list(CASES)
    skipped = []
    if "servers" in modules and shutil.which("wrk") is None:
        modules.remove("servers")
        skipped.append(_NO_WRK)
        print(f"NOT MEASURED: {_NO_WRK}.\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=options.directory) as directory:
        place = Place(Path(directory), options.quick)
        if not place.quick and shutil.disk_usage(directory).free < _ROOM:
            parser.error(f"{_ROOM / 1e9:g} GB have to be free in {place.directory.parent}")
        report = _run(modules, place, skipped)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "results.md").write_text(report.markdown(), "utf-8")
        print(f"Written to {options.output}: results.md", *draw(report.results, options.output))
    for reason in report.skipped:
        print(f"NOT MEASURED: {reason}.")
    return 1 if report.failed else 0


def _run(modules: Sequence[str], place: Place, skipped: Sequence[str]) -> Report:
    """Run each module in a fresh process, so that none finds what another left in memory."""
    start = time.monotonic()
    results: list[Result] = []
    errors: list[str] = []
    missing = [*skipped]
    spawn = multiprocessing.get_context("spawn")
    for module in modules:
        begun = time.monotonic()
        with ProcessPoolExecutor(1, mp_context=spawn) as executor:
            measured, error, lacking = executor.submit(run_module, module, place).result()
        for result in measured:
            print(result)
        print(f"{module}: {time.monotonic() - begun:.0f} s\n", flush=True)
        results += measured
        if error:
            print(error, flush=True)
            errors.append(f"{module}\n{error}")
        if lacking:
            missing.append(lacking)
    return Report(place, time.monotonic() - start, results, missing, errors)


if __name__ == "__main__":
    sys.exit(main())
