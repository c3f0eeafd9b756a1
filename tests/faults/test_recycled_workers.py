"""Workers that are replaced often: what is due once in a while is done all the same."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from glimr_session import DiskStore
from glimr_session.testing.contract import begin
from tests.support.disk import query
from tests.support.servers import PATIENCE, Client, running

EXPIRED: Final = 300
INTERVAL: Final = {"GLIMR_SESSION_GC": "interval", "GLIMR_SESSION_GC_INTERVAL": "60"}


COLLECTED_AT: Final = "SELECT value FROM Settings WHERE key = 'glimr_session_collected_at'"


def expire_all(directory: Path) -> None:
    """Begin several hundred sessions, and have them expired for years."""
    store = DiskStore(directory)
    for _ in range(EXPIRED):
        begin(store)
    store.close()
    query(directory, "UPDATE Cache SET store_time = 1, access_time = 1, expire_time = 1")


def rows(directory: Path) -> int:
    """Count the rows of the database, expired ones too."""
    ((number,),) = query(directory, "SELECT count(*) FROM Cache")
    return int(number)


def test_workers_that_are_replaced_often_collect(tmp_path: Path) -> None:
    """Expired sessions are removed once in an interval, however soon its processes end."""
    directory = tmp_path / "sessions"
    expire_all(directory)
    with running("gunicorn", tmp_path, settings="max_requests = 20\n", environ=INTERVAL) as server:
        client = Client(server)
        workers: set[int] = set()
        deadline = time.monotonic() + 3 * PATIENCE
        while rows(directory) > 1 or len(workers) < 4:
            assert time.monotonic() < deadline, rows(directory)
            workers.add(client.get("/count")["pid"])
        ((collected_at,),) = query(directory, COLLECTED_AT)
        while len(workers) < 8:
            workers.add(client.get("/count")["pid"])
        assert query(directory, COLLECTED_AT) == [(collected_at,)]
