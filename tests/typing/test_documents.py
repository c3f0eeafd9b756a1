"""Every program in the README and in docs passes mypy and pyright, but on the pages of UNTYPED."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.documents import blocks_of, free_names
from tests.typing.test_typing import HERE, ROOT, run

DOCS: Final = ROOT / "docs"
READER: Final = "of_the_reader"
UNTYPED: Final = {
    "docs/django.md": "Django has no types",
    "docs/flask.md": "its blocks go on with the application of the first one",
    "docs/pyramid.md": "Pyramid and WebTest have no types",
    "docs/wsgi.md": "Bottle has no types",
}
PAGES: Final = [
    page
    for page in ("README.md", *sorted(str(file.relative_to(ROOT)) for file in DOCS.rglob("*.md")))
    if page not in UNTYPED
]
PROGRAMS: Final = {
    f"block_{number}.py": block
    for number, block in enumerate(block for page in PAGES for block in blocks_of(page))
    if block.language == "python" and "from django" not in block.code
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each block as a program, which imports what its reader has already."""
    folder = tmp_path_factory.mktemp("documents")
    shutil.copy(HERE / f"{READER}.py", folder)
    (folder / "shop").mkdir()
    (folder / "shop" / "app.py").write_text('from flask import Flask\n\napp = Flask("shop")\n')
    for name, block in PROGRAMS.items():
        names = ", ".join(sorted(free_names(block.code)))
        first = f"from {READER} import {names}" if names else ""
        (folder / name).write_text(f"# pyright: strict\n{first}\n{block.code}", "utf-8")
    return folder


def place(program: str, line: int) -> str:
    """Return where in the documentation a line of a program is from."""
    block = PROGRAMS.get(program)
    return program if block is None else f"{block.page}:{block.line + line - 3}"


def test_mypy_accepts_every_block(folder: Path) -> None:
    """``mypy --strict`` reports nothing."""
    printed = run(
        "mypy", "--strict", "--config-file=", "--no-error-summary", "--python-version=3.11",
        f"--cache-dir={ROOT / 'build' / 'mypy-documents'}", *PROGRAMS, folder=folder,
    )  # fmt: skip
    found = re.findall(r"^(\S+?):(\d+): error: (.*)", printed, re.MULTILINE)
    assert [f"{place(program, int(line))}: {text}" for program, line, text in found] == []


def test_pyright_accepts_every_block(folder: Path) -> None:
    """Pyright in its strict mode reports nothing."""
    printed = run(
        "pyright", "--outputjson", "--pythonpath", sys.executable, *PROGRAMS, folder=folder
    )
    found = [
        (Path(entry["file"]).name, entry["range"]["start"]["line"] + 1, entry["message"])
        for entry in json.loads(printed)["generalDiagnostics"]
    ]
    assert [f"{place(program, line)}: {text}" for program, line, text in found] == []


def test_no_block_is_missed() -> None:
    """The pages have as many blocks as fences that open one."""
    for page in PAGES:
        fences = re.findall(r"^ *```", (ROOT / page).read_text("utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(blocks_of(page)), page
    assert len(PROGRAMS) > 40
