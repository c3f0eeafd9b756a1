"""What the tests of Pyramid's door share: the stores, and that no session is left."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from glimr_session import CookieStore, DiskStore, SessionStore
from tests.support.actors import living_session_actors
from tests.support.wsgi_apps import LIFETIME

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # WebOb imports cgi, and Pyramid 2.0 pkg_resources
    import pyramid.config  # noqa: F401  # before the tests do
    import webtest  # noqa: F401


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
