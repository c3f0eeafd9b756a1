"""The example sites in processes of their own, and a real browser to look at them with."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.common import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.expected_conditions import presence_of_element_located
from selenium.webdriver.support.wait import WebDriverWait

from .servers import listening

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


def copy_of_examples(repository: Path) -> Path:
    """Copy all examples into an empty repository: what they write goes there."""
    ignored = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(EXAMPLES, repository / "examples", ignore=ignored))


@contextmanager
def on_gunicorn(site: Path) -> Iterator[str]:
    """Serve a site by the command in its README, on a free port; return its URL.

    The site is one of ``copy_of_examples``. It must log no error.
    """
    (told,) = re.findall(
        r"^ {4}gunicorn (.*)$", (site / "README.md").read_text("utf-8"), re.MULTILINE
    )
    log, settings = site / "log", site / "control.py"
    settings.write_text("control_socket_disable = True\n")  # one file for all of a user's servers
    gunicorn = [sys.executable, "-W", "error", "-m", "gunicorn", "--config", str(settings)]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*gunicorn, "--bind", "127.0.0.1:0", *shlex.split(told)],
            cwd=site.parents[1],
            env=environment(),
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            yield f"http://127.0.0.1:{listening(process, log)}"
        finally:
            process.terminate()
            process.wait(10)
    said = log.read_text()
    assert process.returncode == 0, said
    assert not re.search(r"\[(ERROR|WARNING)\]|Traceback", said), said


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


def found(browser: Chrome, selector: str) -> WebElement:
    """Return the element, once the page with it is there."""
    return WebDriverWait(browser, 10).until(
        presence_of_element_located((By.CSS_SELECTOR, selector))
    )


def shown(browser: Chrome, selector: str) -> list[str]:
    """Return the texts of all such elements of the page as it is."""
    return [element.text for element in browser.find_elements(By.CSS_SELECTOR, selector)]


def wait_for_text(browser: Chrome, selector: str, text: str) -> None:
    """Wait until there is one such element, with this text."""
    WebDriverWait(browser, 10, ignored_exceptions=[StaleElementReferenceException]).until(
        lambda _: shown(browser, selector) == [text], f"{selector} does not read {text!r}"
    )


def type_in(browser: Chrome, **fields: str) -> None:
    """Fill in the fields of these names, and press the button of their form."""
    for name, value in fields.items():
        element = found(browser, f"[name={name}]")
        element.clear()
        element.send_keys(value)
    form = f"form:has([name={next(iter(fields))}])"
    found(browser, f"{form} :is(button, [type=submit])").click()


def session_id(cookie: dict[str, str]) -> str:
    """Return the id in a signed cookie: all of its value but the time and the signature."""
    return cookie["value"].rpartition(".")[0].rpartition(".")[0]


def complaints(browser: Chrome) -> list[str]:
    """Return what the browser has reported about the pages: scripts and styles it refused."""
    entries = browser.get_log("browser")  # type: ignore[no-untyped-call]  # selenium is not typed
    return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]
