"""Fixtures and settings that all tests share."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from pykka import ActorRegistry

import glimr_session
from glimr_session._log import forget_warnings

for part in ("contract", "owners", "requests"):
    pytest.register_assert_rewrite(f"glimr_session.testing.{part}")

from glimr_session.testing.contract import Clock as Clock  # noqa: E402

# Examples are drawn anew on each run; a failure prints what repeats it.
settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# For measuring coverage, which the first examples reach.
settings.register_profile("few", settings.get_profile("default"), max_examples=20)
settings.load_profile("default")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock in place of time.time, for this package and for diskcache."""
    stopped = Clock(float(int(time.time())))
    monkeypatch.setattr(time, "time", stopped)
    return stopped


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """No test may leave an actor running or a store configured."""
    assert ActorRegistry.get_all() == []
    forget_warnings()
    yield
    left = ActorRegistry.get_all()
    ActorRegistry.stop_all(timeout=5)
    glimr_session.reset()
    assert left == []
