"""What the tests of FastAPI share: the stores, and that no actor is left."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from glimr_session import CookieStore, DiskStore, SessionStore
from tests.support.actors import living_session_actors

from .sites import LIFETIME


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
    """Fail the test if it leaves a session actor running.

    The traceback of an exception holds the request in a cycle, until Python's collector comes.
    """
    yield
    if living_session_actors():
        gc.collect()
    left = living_session_actors()
    for actor in left:
        actor.actor_ref.stop()
    assert left == []
