"""The stores that the tests of hostile input run on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from glimr_session import CookieStore, DiskStore, SessionStore


@pytest.fixture(params=["cookie", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    store = CookieStore() if request.param == "cookie" else DiskStore(tmp_path / "sessions")
    yield store
    store.close()
