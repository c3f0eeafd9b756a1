"""A Django site on a real server with several processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.servers import Client, running

from .conftest import MIDDLEWARE
from .server_site import AT_ONCE


@pytest.mark.parametrize("middleware", MIDDLEWARE)
def test_five_requests_at_once_lose_nothing(middleware: str, tmp_path: Path) -> None:
    """All have read the session before any of them changes it, in threads of two processes."""
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    with running(
        "gunicorn",
        tmp_path,
        app="tests.frameworks.django.server_site:application()",
        threads=AT_ONCE,
        environ={"SESSION_MIDDLEWARE": MIDDLEWARE[middleware], "MEETING": str(meeting)},
    ) as server:
        client = Client(server)
        client.get("/begin")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(client.get, [f"/add/item{number}" for number in range(AT_ONCE)]))
        found = client.get("/read")
    cart = found.pop("cart")
    items = [f"item{number}" for number in range(AT_ONCE)]
    assert sorted(cart) == items
    assert found == {**dict.fromkeys(items, True), "added": AT_ONCE}
