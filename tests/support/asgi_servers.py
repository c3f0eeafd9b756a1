"""Real ASGI servers, started for a test and ended with it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.support.servers import PATIENCE, ROOT, Server, needed
from tests.support.services import free_port

__all__ = ["GRACE", "SERVERS", "SITE", "running_asgi"]

SITE: Final = "tests.support.asgi_apps:application"

GRACE: Final = 2  # seconds that requests in flight have at the end of a server

# Where "{port}" and others stand, the test's own are put in.
SERVERS: Final[Mapping[str, tuple[str, ...]]] = {
    "uvicorn": (
        *("uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--workers", "{processes}"),
        *("--timeout-graceful-shutdown", "{grace}", "--no-access-log"),
    ),
    "hypercorn": (
        *("hypercorn", "--bind", "127.0.0.1:{port}", "--workers", "{processes}"),
        *("--graceful-timeout", "{grace}", "--worker-class", "asyncio"),
    ),
    "hypercorn trio": (
        *("hypercorn", "--bind", "127.0.0.1:{port}", "--workers", "{processes}"),
        *("--graceful-timeout", "{grace}", "--worker-class", "trio"),
    ),
    "granian": (
        *("granian", "--host", "127.0.0.1", "--port", "{port}", "--workers", "{processes}"),
        *("--workers-kill-timeout", "{grace}", "--interface", "asgi", "--no-access-log"),
    ),
}


@contextmanager
def running_asgi(
    name: str,
    directory: Path,
    *,
    store: str = "disk",
    processes: int = 1,
    environ: Mapping[str, str] | None = None,
    failing: bool = False,
) -> Iterator[Server]:
    """Start a server with ``asgi_apps.application``, wait until all of it serves, and end it.

    The arguments are those of ``tests.support.servers.running``.
    """
    program = SERVERS[name][0]
    needed(program)
    port = free_port()
    words = {"port": port, "processes": processes, "grace": GRACE}
    log = directory / "log"
    variables = {
        **{key: value for key, value in os.environ.items() if not key.startswith("GLIMR_")},
        "GLIMR_SESSION_STORE": store,
        "GLIMR_SESSION_DISK_DIRECTORY": str(directory / "sessions"),
        "GLIMR_SESSION_SECRET_KEYS": "a key for tests that is long enough",
        "GLIMR_SESSION_GC_CHANCE": "0.5",
        **(environ or {}),
    }
    with ExitStack() as stack:
        process = subprocess.Popen(
            [sys.executable, "-m", *(word.format(**words) for word in SERVERS[name]), SITE],
            cwd=ROOT,
            env=variables,
            stdout=stack.enter_context(log.open("wb")),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        stack.callback(_end, process)
        _wait_for_workers(process, port, log, processes)
        yield Server(process, port, log, processes, variables)
    assert failing or "Traceback" not in log.read_text(), log.read_text()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    with suppress(ProcessLookupError):  # workers that have outlived it
        os.killpg(process.pid, signal.SIGKILL)


# What a worker says when it serves; hypercorn says it before it does.
_SERVES: Final = re.compile(
    r"Application startup complete|Started worker-\d|Running on http://127\.0\.0\.1:\d+ "
)


def _wait_for_workers(
    process: subprocess.Popen[bytes], port: int, log: Path, processes: int
) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            if len(_SERVES.findall(log.read_text())) >= processes:
                return
        time.sleep(0.02)
    raise AssertionError(f"the server does not listen:\n{log.read_text()}")
