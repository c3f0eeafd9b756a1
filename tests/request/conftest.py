"""What the tests of requests share: stores, and that no session is left running."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from glimr_session import DiskStore
from tests.support.actors import living_session_actors
from tests.support.wsgi_apps import LIFETIME


@pytest.fixture
def no_session_left(_nothing_left: None) -> Iterator[None]:
    """Fail the test if it leaves a session actor running."""
    yield
    left = living_session_actors()
    for actor in left:
        actor.actor_ref.stop()
    assert left == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[DiskStore]:
    with closing(DiskStore(tmp_path / "sessions", lifetime=LIFETIME)) as store:
        yield store
