"""What the documentation says is what happens."""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import fields
from pathlib import Path

import pytest

from glimr_session import Session, SessionConfig
from tests.support import documents
from tests.support.documents import ROOT, block, blocks_of

README = (ROOT / "README.md").read_text("utf-8")
GUIDE = (ROOT / "docs/guide.md").read_text("utf-8")


def test_the_first_example_works_as_it_stands(tmp_path: Path) -> None:
    """The command of the README serves the two files of the README."""
    (tmp_path / "app.py").write_text(block("# app.py").code, "utf-8")
    (tmp_path / "session.toml").write_text(block('# session.toml\nstore = "disk"').code, "utf-8")
    (command,) = re.findall(r"&& (waitress-serve .*)", README)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program, *arguments = command.replace("8000", str(port)).split()
    server = subprocess.Popen(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=tmp_path,
        env={**os.environ, "GLIMR_SESSION_SECRET_KEYS": secrets.token_hex(32)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        cookie = ""
        for visit in (1, 2, 3):
            body, cookie = fetch(f"http://127.0.0.1:{port}/", cookie)
            assert body == f"Visit {visit}\n"
    finally:
        server.terminate()
        server.communicate(timeout=10)


def fetch(url: str, cookie: str) -> tuple[str, str]:
    """Return the body and the cookie to send next; wait until the server is up."""
    request = urllib.request.Request(url, headers={"Cookie": cookie} if cookie else {})
    deadline = time.monotonic() + 15
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                new = response.headers.get("Set-Cookie", cookie)
                return response.read().decode(), new.partition(";")[0]
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def test_every_setting_is_in_the_guide() -> None:
    """The table of settings has each setting, and nothing else."""
    table = GUIDE.partition("## Settings")[2].partition("## Stores")[0]
    names = {
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", row)
    }
    names = {re.sub(r"^\[(\w+)\] ", r"\1_", name) for name in names}
    assert names == {field.name for field in fields(SessionConfig)}


def test_every_verb_is_in_the_guide() -> None:
    """The guide names each public method of a session."""
    inherited = {"items", "keys", "values", "pop", "popitem"}
    plumbing = {"start", "state", "stop", "error", "old"}
    verbs = {name for name in dir(Session) if not name.startswith("_")} - inherited - plumbing
    assert {verb for verb in verbs if not re.search(rf"\b{verb}\b", GUIDE)} == set()


@pytest.mark.parametrize("path", ["SECURITY.md", "docs/guarantees.md"])
def test_every_test_that_is_cited_exists(path: str) -> None:
    """A promise names tests, and each of them can be run."""
    cited = set(re.findall(r"`(test_\w+)`", (ROOT / path).read_text("utf-8")))
    files = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("src/glimr_session/testing/*.py")]
    tests = {
        name for file in files for name in re.findall(r"def (test_\w+)\(", file.read_text("utf-8"))
    }
    assert cited
    assert cited - tests == set()


PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "tests/README.md"]
PAGES += sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md"))


def headings_of(path: Path) -> set[str]:
    """Return the anchors that GitHub makes for the headings of a page."""
    text = re.sub(r"^ *```.*?^ *```$", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-")
        for line in re.findall(r"^#+ (.*)", text, re.MULTILINE)
    }


@pytest.mark.parametrize("path", PAGES)
def test_links_lead_somewhere(path: str) -> None:
    """A link leads to a file that exists, and to a heading of it, as GitHub shows them.

    The links of the site are tested in tests/docs.
    """
    for target in re.findall(r"\]\(([^)]+)\)", (ROOT / path).read_text("utf-8")):
        if not target.startswith("https://"):
            file, _, heading = target.partition("#")
            page = (ROOT / path).parent / file if file else ROOT / path
            assert page.exists(), target
            assert not heading or heading in headings_of(page), target


@pytest.mark.parametrize("path", PAGES)
def test_blocks_of_code_are_run(path: str) -> None:
    """A page with blocks of code is in the lists of ``documents.py``, or has a test of its own."""
    if path in {*documents.PAGES, *documents.HOW_TO} or not blocks_of(path):
        return
    tests = [file.read_text("utf-8") for file in ROOT.glob("tests/**/*.py")]
    assert [text for text in tests if f'"{path}"' in text and "blocks_of(" in text], path


def test_every_target_of_make_that_a_page_names_exists() -> None:
    """``make docs``, ``make bench-quick``: in blocks of code and in the text."""
    named = set[str]()
    for path in PAGES:
        text = (ROOT / path).read_text("utf-8")
        named |= set(re.findall(r"(?:`|^ {4}(?:\w+=\w+ )*)make ([a-z-]+)", text, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert {"demo", "bench-quick"} <= named
    assert named - set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) == set()


def test_every_module_is_in_the_map_of_the_house() -> None:
    """CONTRIBUTING.md has a row for each module, and names no module that is gone."""
    table = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    table = table.partition("## The house")[2].partition("A verb is written")[0]
    named = set(re.findall(r"`(\w+\.py)`", table))
    modules = {file.name for file in (ROOT / "src").rglob("*.py")}
    assert modules == named


def test_every_page_of_decisions_is_found_from_another_page() -> None:
    """A decision that nothing links to would not be read."""
    pages = {page: page.read_text("utf-8") for page in ROOT.glob("docs/decisions/*.md")}
    texts = [*pages.values(), *((ROOT / path).read_text("utf-8") for path in PAGES[:5])]
    texts += [(ROOT / "docs/benchmarks.md").read_text("utf-8")]
    for page in pages:
        assert any(page.name in text for text in texts if text is not pages[page]), page
