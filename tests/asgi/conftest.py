"""What the tests of the ASGI door share: the stores, and that no request leaves anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from glimr_session import CookieStore, DiskStore, SessionStore
from tests.support.actors import living_session_actors
from tests.support.memory import InMemory

from .apps import LIFETIME


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[DiskStore]:
    with closing(DiskStore(tmp_path / "sessions", lifetime=LIFETIME)) as store:
        yield store


@pytest.fixture(params=["disk", "functions"])
def server_store(request: pytest.FixtureRequest) -> SessionStore:
    """The stores on the server: one read in line, one in a thread."""
    if request.param == "disk":
        found: SessionStore = request.getfixturevalue("disk")
        return found
    return InMemory().store()


@pytest.fixture(params=["cookie", "disk", "functions"])
def store(request: pytest.FixtureRequest) -> SessionStore:
    if request.param == "disk":
        found: SessionStore = request.getfixturevalue("disk")
        return found
    return CookieStore(lifetime=LIFETIME) if request.param == "cookie" else InMemory().store()


@pytest.fixture(autouse=True)
def _no_session_left(_nothing_left: None) -> Iterator[None]:
    """Fail the test if it leaves a session actor running."""
    yield
    left = living_session_actors()
    for actor in left:
        actor.actor_ref.stop()
    assert left == []
