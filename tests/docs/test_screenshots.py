"""docs/assets/: the pictures of the demo."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from PIL import Image

from tests.support.browser import program
from tests.support.commands import run_shell
from tests.support.documents import ROOT

ASSETS = ROOT / "docs" / "assets"
LARGEST = 20_000  # bytes


def test_the_script_takes_every_picture_that_is_shown(tmp_path: Path) -> None:
    """The demo still has these pages, and each picture is small and is on the first page."""
    program("chromium", "chromium-browser", "google-chrome")
    run_shell(f"{sys.executable} -m docs.screenshots {tmp_path}", ROOT)
    pictures = {file.name for file in ASSETS.iterdir()}
    assert {file.name for file in tmp_path.iterdir()} == pictures
    shown = re.findall(r"\(assets/(\S+)\)", (ROOT / "docs/index.md").read_text("utf-8"))
    assert set(shown) == pictures
    for name in pictures:
        assert (ASSETS / name).stat().st_size < LARGEST
        with Image.open(ASSETS / name) as kept, Image.open(tmp_path / name) as taken:
            assert kept.width == taken.width
            assert abs(kept.height - taken.height) < 100  # fonts differ
