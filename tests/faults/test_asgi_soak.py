"""Many requests on an event loop, a tenth of them cancelled: nothing is lost, nothing is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.faults.asgi_soak import THREADS
from tests.support.servers import ROOT

# The whole: SOAK_REQUESTS=100000, for two minutes.
REQUESTS: Final = int(os.environ.get("SOAK_REQUESTS", "10000"))

BLOCKS: Final = 1000
"""Blocks of memory that may differ by chance between a tenth of the requests and all of them."""


CLEANUP: Final = 2
"""Threads that collect expired sessions: one, and the one before may be about to end."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["cookie", "disk"])
def test_cancelled_requests_leave_nothing(kind: str, tmp_path: Path) -> None:
    """Each answered request was committed once, each other one once or not at all.

    No actor, task or file stays, not even until Python's collector is called; no more threads
    than the event loop was given; and memory does not grow with the number of requests.
    """
    soak = subprocess.run(
        [sys.executable, "-m", "tests.faults.asgi_soak", kind, tmp_path / "soak", str(REQUESTS)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
    )
    found = json.loads(soak.stdout)
    first, last = found["first"], found["last"]
    assert found["wrong"] == []
    assert found["requests"] >= 0.9 * REQUESTS
    assert found["cancelled"] >= 0.08 * REQUESTS
    assert last["actors before collecting"] == 0
    assert last["blocks"] - first["blocks"] < BLOCKS
    assert last["peak of threads"] <= 1 + THREADS + CLEANUP
    measured = ("blocks", "peak of threads")
    assert last == {**first, **{key: last[key] for key in measured}}
    assert (last["tasks"], last["threads"], last["actors"]) == (1, 1, 0)
