"""The benchmarks on real servers run, and notice what would make their figures worthless."""

from __future__ import annotations

import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.costs import Cost
from benchmarks.one_session import Counter, Turn
from benchmarks.scale import LIVE, limits, load, machines, rate

from .test_run import run

THREADS = 4


@pytest.mark.parametrize("module", ["redis", "postgresql"])
def test_the_cases_of_a_server_run(module: str, tmp_path: Path) -> None:
    """All sides do the same work there, and no increment is lost."""
    done = run("--quick", "--only", module, "--directory", tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    if "NOT MEASURED" in done.stdout and not os.environ.get("CI"):
        pytest.skip(done.stdout.splitlines()[-1])
    for case in ("open and commit", "read only", "read and write", "threads on one session"):
        assert case in done.stdout


def test_without_its_server_a_case_is_skipped_aloud(tmp_path: Path) -> None:
    """The output ends with what is missing, the document has it too, and the run passes."""
    done = run("--quick", "--only", "redis", "--output", tmp_path, PATH=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    reason = "the case `redis`, because redis-server is not installed"
    assert done.stdout.splitlines()[-1] == f"NOT MEASURED: {reason}."
    assert f"**Not measured: {reason}**" in (tmp_path / "results.md").read_text("utf-8")


class InMemory(Counter):
    """A counter in this process, with a lock around each increment, or without one.

    Between its read and its write every other thread gets a chance.
    """

    def __init__(self, *, locked: bool) -> None:
        super().__init__()
        self._lock = threading.Lock() if locked else None
        self._value = 0

    def begin(self) -> None:
        self._value = 0

    def increment(self) -> None:
        if self._lock is None:
            self._add()
        else:
            with self._lock:
                self._add()

    def value(self) -> int:
        return self._value

    def _add(self) -> None:
        value = self._value
        threading.Event().wait(0.001)
        self._value = value + 1
        self.conflicts.append(None)


def test_a_lost_increment_stops_the_case() -> None:
    """Figures of a store that loses updates are worth nothing, however good they are."""
    with ThreadPoolExecutor(THREADS) as pool:
        assert Turn("locked", InMemory(locked=True), pool).take(0.1, THREADS) > 0
        with pytest.raises(RuntimeError, match=r"unlocked: \d+ of \d+ were lost"):
            Turn("unlocked", InMemory(locked=False), pool).take(0.1, THREADS)


def test_an_attempt_more_than_the_conflicts() -> None:
    """A counter with one conflict for each increment makes two attempts."""
    with ThreadPoolExecutor(THREADS) as pool:
        turn = Turn("locked", InMemory(locked=True), pool)
        turn.take(0.05, THREADS)
    assert turn.attempts == [2]


COST = Cost("Redis", web=100, web_read=50, server=20, server_read=10, size=500)


def test_machines_are_for_the_processor_and_for_the_memory() -> None:
    """Whichever needs more decides; a store that has no server needs none."""
    assert machines(COST, LIVE[0]) == 1
    assert machines(COST, LIVE[1]) == math.ceil(500 * 1e8 / (32e9 * 0.6)) == 3
    slow = COST._replace(server=2_000)
    assert machines(slow, LIVE[1]) == math.ceil(rate(LIVE[1]) * 0.002 / (8 * 0.6))
    assert machines(Cost("disk", web=100, web_read=50), LIVE[1]) == 0


def test_a_server_at_its_limit_is_busy_for_the_share_that_it_may_be() -> None:
    """The limit is the load at which the simulation finds the server as busy."""
    requests, by_requests, by_memory = limits(COST)
    assert requests * COST.server / 1e6 == pytest.approx(0.6)
    assert rate(1) * by_requests == pytest.approx(requests)
    assert by_memory == pytest.approx(32e9 * 0.6 / 500)
    assert limits(COST._replace(store="PostgreSQL"))[0] == pytest.approx(8 * requests)
    assert load(COST, 7).machines == 7


def test_the_tables_of_the_page_on_scale_are_printed() -> None:
    """The program measures each store that has a server here, and computes the rest."""
    done = run("--quick", program="benchmarks.scale")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    for words in ("## Measured", "| cookie | ", "100,000,000 live sessions"):
        assert words in done.stdout
