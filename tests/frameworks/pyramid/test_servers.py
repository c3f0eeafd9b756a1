"""A Pyramid application on real servers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.servers import Client, running


@pytest.mark.parametrize("server", ["waitress", "gunicorn"])
def test_five_requests_at_once(server: str, tmp_path: Path) -> None:
    """Each has put its key into a nested dict, counted and flashed, and all of it is there."""
    app = "tests.frameworks.pyramid.threaded:application()"
    with running(server, tmp_path, app=app, threads=5) as started:
        client = Client(started)
        client.get("/begin")
        names = ["one", "two", "three", "four", "five"]
        with ThreadPoolExecutor(5) as pool:
            list(pool.map(lambda name: client.get(f"/see/{name}"), names))
        found = client.get("/found")
    assert found["seen"] == dict.fromkeys(names, True)
    assert found["count"] == 5
    assert sorted(found["_f_"]) == sorted(names)
