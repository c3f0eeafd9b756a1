"""Real servers as processes: started on a free port, asked, watched and ended."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from .serving import DIRECTORY, SESSIONS

__all__ = ["SERVERS", "Server", "home", "serving"]

_APPLICATION: Final = "benchmarks.serving:make"
_ROOT: Final = Path(__file__).resolve().parents[1]
_PATIENCE: Final = 20.0  # seconds to start, and to end


def _waitress(port: int) -> list[str]:
    # It passes on what a proxy says of the request only if it knows the proxy.
    return [
        *("waitress", "--threads=4", f"--listen=127.0.0.1:{port}", "--call"),
        *("--trusted-proxy=127.0.0.1", "--trusted-proxy-headers=x-forwarded-proto"),
        _APPLICATION,
    ]


def _gunicorn(workers: int, threads: int) -> Callable[[int], list[str]]:
    def arguments(port: int) -> list[str]:
        return [
            *("gunicorn", "--worker-class=gthread", f"--workers={workers}", f"--threads={threads}"),
            *(f"--bind=127.0.0.1:{port}", "--log-level=warning", f"{_APPLICATION}()"),
        ]

    return arguments


SERVERS: Final[Mapping[str, Callable[[int], list[str]]]] = {
    "waitress, 4 threads": _waitress,
    "gunicorn, 4 threads": _gunicorn(1, 4),
    "gunicorn, 2 x 2 threads": _gunicorn(2, 2),
}
"""Each as its users start it: the arguments of ``python -m`` for a port."""


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    port: int
    processes: tuple[int, ...]

    def url(self, path: str) -> str:
        """Give the address of a page."""
        return f"http://127.0.0.1:{self.port}{path}"

    def story(self, paths: tuple[str, ...]) -> list[tuple[int, str]]:
        """Ask for pages on one connection, as a browser that keeps its cookie."""
        cookie, told = "", []
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE)
        try:
            for path in paths:
                headers = {"X-Forwarded-Proto": "https", **({"Cookie": cookie} if cookie else {})}
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                told.append((answer.status, answer.read().decode()))
                cookie = (answer.headers["Set-Cookie"] or cookie).partition(";")[0]
        finally:
            connection.close()
        return told

    def cpu_seconds(self) -> float:
        """Give the processor time that its processes have had."""
        ticks = 0
        for process in self.processes:
            fields = _stat(process)
            ticks += int(fields[11]) + int(fields[12])  # user, system
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(kind: str, sites: Mapping[str, str], directory: Path) -> Iterator[dict[str, Server]]:
    """Start a server of a kind for each site; they end with the block.

    ``sites`` gives for each name what its sessions are kept in, and ``home`` where.
    """
    with ExitStack() as ending:
        started = {
            name: ending.enter_context(_started(kind, port, sessions, home(directory, name)))
            for port, (name, sessions) in zip(_free_ports(len(sites)), sites.items(), strict=True)
        }
        for port, process, log in started.values():
            _await(port, process, log)
        yield {
            name: Server(port, _tree(process.pid)) for name, (port, process, _) in started.items()
        }


def home(directory: Path, name: str) -> Path:
    """Give the directory of the server of a site."""
    return directory / name.replace(" ", "-")


_Started: TypeAlias = tuple[int, "subprocess.Popen[bytes]", Path]
"""Its port, its first process, and what it writes to its log."""


@contextmanager
def _started(kind: str, port: int, sessions: str, directory: Path) -> Iterator[_Started]:
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *SERVERS[kind](port)],
            env={
                **os.environ,
                "PYTHONPATH": str(_ROOT),
                SESSIONS: sessions,
                DIRECTORY: str(directory / "sessions"),
                "XDG_RUNTIME_DIR": str(directory),  # or all gunicorns share one control socket
            },
            cwd=directory,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield port, process, log
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_ports(number: int) -> list[int]:
    """Give so many ports, each another one."""
    with ExitStack() as ending:
        free = [ending.enter_context(socket.socket()) for _ in range(number)]
        for one in free:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in free]


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers."""
    deadline = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            Server(port, ()).story(("/fill",))
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"the server does not answer: {log.read_text('utf-8', 'replace')}")


def _tree(process: int) -> tuple[int, ...]:
    """Give a process and its children. gunicorn's workers are the master's own."""
    children = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if int(_stat(int(directory.name))[1]) == process:
                children.append(int(directory.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return (process, *children)


def _stat(process: int) -> list[str]:
    """Give the fields of proc(5)'s stat from the third on: a name can have blanks in it."""
    return Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()
