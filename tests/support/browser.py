"""The sign-up site in a process of its own, and a real browser to look at it with."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SITE = EXAMPLES / "signup" / "serve.py"


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment without settings of its own, and with these."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("GLIMR_SESSION_")
    }
    return inherited | settings


@contextmanager
def serving(script: Path = SITE, **settings: str) -> Iterator[str]:
    """Run the site on a free port, from a directory that is not its own; return its URL.

    In the end it is sent SIGTERM, and has to leave without a complaint.
    """
    with subprocess.Popen(
        [sys.executable, script],
        cwd="/",
        env=environment(**{"PORT": "0", **settings}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            greeting = process.stdout.readline()
            url = re.search(r"http://127\.0\.0\.1:\d+", greeting)
            assert url is not None, greeting + process.stdout.read()
            yield url[0]
        finally:
            process.terminate()
            rest = process.communicate(timeout=10)[0]
    assert (process.returncode, rest) == (0, ""), f"it ended with {process.returncode}: {rest}"


def copy_of_site(repository: Path, store: str = "disk") -> Path:
    """Copy the site into an empty repository, with this one word in its session.toml.

    What it writes without any settings then goes there. Returns the copy's serve.py.
    """
    site = repository / "examples" / "signup"
    shutil.copytree(SITE.parent, site, ignore=shutil.ignore_patterns("__pycache__"))
    settings = site / "session.toml"
    before = settings.read_text("utf-8")
    assert before.count('store = "disk"') == 1
    settings.write_text(before.replace('store = "disk"', f'store = "{store}"'), "utf-8")
    return site / "serve.py"


def program(*names: str) -> str:
    """Find a program under one of its names; without it, skip, or fail where CI is set."""
    for name in names:
        if found := shutil.which(name):
            return found
    missing = f"{names[0]} is not installed"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


@contextmanager
def chromium(profile: Path) -> Iterator[Chrome]:
    """Start a headless Chromium that knows nothing yet; it ends with the block."""
    options = ChromeOptions()
    options.binary_location = program("chromium", "chromium-browser", "google-chrome")
    for flag in (
        "--headless=new",
        "--no-sandbox",  # it would not start as root otherwise
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # With a path, selenium looks for no driver to download.
    browser = Chrome(options, ChromeService(executable_path=program("chromedriver")))
    try:
        yield browser
    finally:
        browser.quit()


def complaints(browser: Chrome) -> list[str]:
    """Return what the browser has reported about the pages: scripts and styles it refused."""
    entries = browser.get_log("browser")  # type: ignore[no-untyped-call]  # selenium is not typed
    return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]
