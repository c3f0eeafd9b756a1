"""Commands of the documentation, run as a reader would, with paths and ports of the test."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PATIENCE: Final = 40.0  # seconds
BIN: Final = Path(sys.executable).parent


def environment(**variables: str) -> dict[str, str]:
    """Return an environment without settings of ours, with the programs of this Python."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GLIMR_SESSION_", "FLASK_"))
    }
    return {**inherited, "PATH": f"{BIN}:{os.environ['PATH']}", **variables}


def replaced(text: str, replacements: Mapping[str, str]) -> str:
    """Return a text with each of these replaced; each has to be in it."""
    for old, new in replacements.items():
        assert old in text, f"{old!r} is not in {text!r}"
        text = text.replace(old, new)
    return text


def run_shell(
    command: str, folder: Path, replacements: Mapping[str, str] | None = None, **variables: str
) -> str:
    """Run a command by the shell and return what it prints; it must succeed without a complaint."""
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", replaced(command, replacements or {})],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@contextmanager
def served(
    folder: Path, command: str | Sequence[str], **variables: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run a server on a free port in the place of 8000; yield its URL and its process.

    In the end it is sent SIGTERM.
    """
    words = command.split() if isinstance(command, str) else list(command)
    words = [re.sub(r"\b8000\b", "0", word) for word in words]
    log = folder / "server.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            words,
            cwd=folder,
            env=environment(**variables),
            stdout=output,
            stderr=output,
            text=True,
        ) as server,
    ):
        try:
            deadline = time.monotonic() + PATIENCE
            while not (
                found := re.search(r"http://(?:127\.0\.0\.1|0\.0\.0\.0):(\d+)", log.read_text())
            ):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
            yield f"http://127.0.0.1:{found[1]}", server
        finally:
            server.terminate()
            server.wait(PATIENCE)
