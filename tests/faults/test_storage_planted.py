"""What others have written into the database behind a good cookie."""

from __future__ import annotations

import os
import pickle
import sqlite3
from pathlib import Path
from typing import Any, Final

import pytest

from glimr_session import DiskStore, SessionMiddleware
from glimr_session.stores.disk.queries import checksum
from tests.support.server_apps import site
from tests.support.wsgi_client import Browser

from .storage import warnings
from .storage_process import CONFIG

# What others have written into it.


class Planted:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self._path),))


PLANT: Final = {
    "value": "UPDATE Cache SET value = :bait, mode = :mode, raw = 1",
    "checked value": "UPDATE Cache SET value = :bait, mode = :mode, tag = :tag",
    "key": "UPDATE Cache SET key = :bait, mode = :mode, raw = :mode % 2",
    "another key": "INSERT INTO Cache (key, raw, expire_time, mode, value)"
    " VALUES (:bait, :mode % 2, 1.0, :mode, :bait)",
    "setting": "INSERT OR REPLACE INTO Settings VALUES ('disk_min_file_size', :bait)",
}


@pytest.mark.parametrize("mode", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("where", PLANT)
def test_a_pickle_planted_behind_a_cookie_is_never_executed(
    directory: Path, tmp_path: Path, where: str, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A pickle behind a good cookie does no harm to requests, to gc, or to a new start.

    The cookie is a good one, signed by us: what is behind it has been exchanged.
    """
    store = DiskStore(directory)
    browser = Browser()
    app = SessionMiddleware(site, CONFIG, store=store)

    def ask(path: str) -> Any:
        response = browser.request(app, extra={"PATH_INFO": path}).begin().finish()
        assert response.status == "200 OK"
        return response.body

    ask("/login")
    trap = tmp_path / "executed"
    bait = pickle.dumps(Planted(trap))
    connection = sqlite3.connect(directory / "cache.db")
    ((key,),) = connection.execute("SELECT key FROM Cache")
    tag = checksum(key, bait)
    connection.execute(PLANT[where], {"bait": bait, "mode": mode, "tag": tag})
    connection.commit()
    connection.close()
    if "value" in where:
        assert b"ada" not in ask("/session")
        assert any("unreadable" in warning for warning in warnings(caplog))
    ask("/session")
    ask("/count")
    ask("/login")
    ask("/logout")
    store.gc()
    store.close()
    DiskStore(directory).close()
    assert not trap.exists()
