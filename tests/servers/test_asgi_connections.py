"""Ten thousand open connections of one process, each with a session."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from tests.support.servers import ROOT

CONNECTIONS: Final = 10_000
BYTES: Final = 8000  # that a session may take beyond the task of its connection
POOL: Final = 32  # threads that an event loop has at most


def measure(kind: str, directory: Path) -> Any:
    """Return what streams take in a process of their own."""
    program = [sys.executable, "-m", "tests.servers.asgi_connections", kind]
    arguments = [str(directory / kind), str(CONNECTIONS), "rss"]
    done = subprocess.run([*program, *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def test_ten_thousand_streams_have_a_session_each(tmp_path: Path) -> None:
    """A session that is open takes at most 8 kB, and no thread, and no actor stays at its end."""
    bare, found = (measure(kind, tmp_path) for kind in ("bare", "sessions"))
    assert (bare["actors"], found["actors"]) == (0, found["connections"])
    assert (found["bytes"] - bare["bytes"]) / CONNECTIONS <= BYTES
    assert found["threads"] <= 1 + POOL
    assert found["actors afterwards"] == 0
