"""docs/command-line.md: every command of the page does what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from glimr_session import SessionConfig, SqlStore
from glimr_session._cli.program import program
from glimr_session.testing.requests import begin, belong_to, put
from tests.cli.conftest import Run
from tests.cli.test_command import PROGRAM
from tests.cli.test_init import sourced
from tests.support.documents import blocks_of

BLOCKS: Final = blocks_of("docs/command-line.md")
COMMANDS: Final = [
    (command, expected)
    for block in BLOCKS
    for command, expected in re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", block.code, re.MULTILINE)
]

# What is another one each time.
_VARY: Final = {
    r"session-[0-9a-f]{16}": "HANDLE",
    r"\d{4}-\d\d-\d\d \d\d:\d\d": "TIME",
    r"^[0-9a-f]{6}(\.\.\.|[0-9a-f]{58})$": "KEY",
    r"\d+ B": "SIZE",
    r" {2,}": "  ",
    r" +$": "",
    r"^note: This ran as root.*\n": "",
    r"\d notes?": "NOTES",
    r"/\S*/(session\.toml|var/sessions)": r"/FOLDER/\1",
}


def alike(text: str) -> str:
    """Return an output with words in the place of what is another one each time."""
    for pattern, word in _VARY.items():
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return text


def test_the_page_is_true(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its order, in one folder; with three sessions, of which two belong to one user."""
    assert {block.language for block in BLOCKS} == {"console"}
    handles: list[str] = []
    for command, expected in COMMANDS:
        if command.startswith("glimr-session stats"):
            store = SessionConfig.from_toml("session.toml").make_store()
            for cart in ("book", "film", ""):
                owner = [belong_to("ada", device="phone")] if cart else []
                begin(store, put("cart", cart), *owner)
            handles = [info.handle for info in store.sessions("ada")]
            store.close()
        if command.startswith("glimr-session move"):
            url = f"sqlite:///{folder}/sessions.sqlite"
            SqlStore.create_table(url)
            for name, value in {"STORE": "sql", "MOVE_FROM": "disk", "SQL_URL": url}.items():
                monkeypatch.setenv(f"GLIMR_SESSION_{name}", value)
        if command.startswith("GLIMR_"):  # a new server, after the loss of the former one
            url = f"sqlite:///{folder}/new.sqlite"
            SqlStore.create_table(url)
            monkeypatch.setenv("GLIMR_SESSION_SQL_URL", url)
        asked = re.sub(r"session-\w{16}", handles[0], command) if handles else command
        assert alike(said(asked, run, monkeypatch)) == alike(expected), command


def said(command: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a line of the page; return all that it says."""
    if command.startswith("set -a; . "):
        for name, value in sourced(Path("session.env").absolute()).items():
            monkeypatch.setenv(name, value)
        return ""
    if command.startswith("glimr-session "):
        return run(*command.split()[1:]).output
    path = f"{PROGRAM.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_the_page_has_each_command() -> None:
    """And no other."""
    text = "\n".join(block.code for block in BLOCKS)
    page = (Path(__file__).parents[2] / "docs/command-line.md").read_text("utf-8")
    named = set(re.findall(r"glimr-session ([a-z-]+)", page))
    assert named == set(program.commands)
    assert text.count("$ ") >= len(program.commands) - 3  # completion, man and sql-schema
