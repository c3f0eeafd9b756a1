"""What the tests of the middleware share: the stores, and the middleware between validators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from glimr_session import CookieStore, DiskStore, SessionStore
from tests.support.actors import living_session_actors
from tests.support.wsgi_apps import LIFETIME, Wrap, bare, validated


@pytest.fixture(params=[bare, validated], ids=lambda wrap: wrap.__name__)
def wrap(request: pytest.FixtureRequest) -> Wrap:
    """The middleware by itself, and between two validators."""
    chosen: Wrap = request.param
    return chosen


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[DiskStore]:
    with closing(DiskStore(tmp_path / "sessions", lifetime=LIFETIME)) as store:
        yield store


@pytest.fixture(params=["disk", "cookie"])
def store(request: pytest.FixtureRequest) -> SessionStore:
    if request.param == "disk":
        found: SessionStore = request.getfixturevalue("disk")
        return found
    return CookieStore(lifetime=LIFETIME)


@pytest.fixture(autouse=True)
def _no_session_left(_nothing_left: None) -> Iterator[None]:
    """Fail the test if it leaves a session actor running."""
    yield
    left = living_session_actors()
    for actor in left:
        actor.actor_ref.stop()
    assert left == []
