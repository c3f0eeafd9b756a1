"""The simulation agrees with the formulas of queueing theory, where there are any."""

from __future__ import annotations

import pytest

from benchmarks.queueing import Load, Times, constant, exponential, simulate

SERVICE = 0.001  # seconds
MANY = 10_000  # threads: no request waits for one


def single(times: Times, busy: float, channels: int = 1) -> Load:
    """Return a load of requests that do nothing but one call."""
    rate = busy * channels / SERVICE
    return Load(1, MANY, rate, times, channels=channels, calls=1)


@pytest.mark.parametrize("busy", [0.3, 0.7])
@pytest.mark.parametrize(
    ("times", "factor"),
    [(exponential(SERVICE), 1.0), (constant(SERVICE), 0.5)],
    ids=["M/M/1", "M/D/1"],
)
def test_the_mean_wait_is_that_of_the_formula(times: Times, factor: float, busy: float) -> None:
    """Pollaczek and Khinchine: half as long where every call takes the same time."""
    outcome = simulate(single(times, busy), requests=60_000)
    assert outcome.utilisation == pytest.approx(busy, rel=0.03)
    assert outcome.wait == pytest.approx(factor * busy * SERVICE / (1 - busy), rel=0.08)


def test_two_channels_wait_as_erlang_says() -> None:
    """For M/M/2 the wait is the service times the square of rho over one less that square."""
    outcome = simulate(single(exponential(SERVICE), 0.7, channels=2), requests=60_000)
    assert outcome.wait == pytest.approx(SERVICE * 0.49 / 0.51, rel=0.08)


def test_machines_add_up_and_the_answers_take_their_way() -> None:
    """Four machines are a load as one with four times the requests; the network is added."""
    one = Load(1, MANY, 400, constant(SERVICE), network=0.002, page=constant(0.01))
    four = one._replace(machines=4, rate=100)
    outcomes = [simulate(load, requests=15_000) for load in (one, four)]
    assert outcomes[0].utilisation == pytest.approx(0.8, rel=0.03)
    assert outcomes[1].utilisation == pytest.approx(0.8, rel=0.03)
    assert outcomes[1].wait == pytest.approx(outcomes[0].wait, rel=0.1)
    assert outcomes[0].session == pytest.approx(
        2 * (2 * 0.002 + SERVICE + outcomes[0].wait), rel=0.01
    )


def test_requests_wait_for_threads() -> None:
    """A machine whose threads are all making pages lets requests wait, not the server."""
    page = exponential(0.01)
    few = Load(1, 1, 70, constant(0), page=page, calls=1)
    outcome = simulate(few, requests=30_000)
    assert outcome.wait == 0.0
    # One thread and exponential pages are an M/M/1 queue of their own.
    assert outcome.thread_wait == pytest.approx(0.01 * 0.7 / 0.3, rel=0.1)
    assert simulate(few._replace(threads=MANY), requests=5_000).thread_wait == 0.0


def test_the_same_seed_gives_the_same_figures() -> None:
    """A table that changes shows other costs, not other luck."""
    load = single(exponential(SERVICE), 0.5)
    assert simulate(load, requests=2_000) == simulate(load, requests=2_000)
    assert simulate(load, requests=2_000) != simulate(load, requests=2_000, seed=2)
