"""The sign-up site of FastAPI, on uvicorn and in a real browser."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.support.browser import (
    chromium,
    complaints,
    copy_of_examples,
    environment,
    found,
    shown,
    type_in,
    wait_for_text,
)
from tests.support.servers import PATIENCE, listening

from .test_example_sites import ADA, LOG_OUT, WIDTHS, fits, page_for, resize, the_cookie

# Notes for each frame that is painted while the page loads how many rows it shows.
FRAMES = """
window.painted = [];
const look = () => {
  if (document.readyState !== "loading") return;
  window.painted.push(document.querySelectorAll("tbody tr").length);
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""


@contextmanager
def on_uvicorn(site: Path, workers: int) -> Iterator[str]:
    """Serve the site by the command in its README, on a free port; return its URL.

    The site is one of ``copy_of_examples``. It must log no more than its requests.
    """
    (told,) = re.findall(
        r"^ {4}uvicorn (.*) --workers 2$", (site / "README.md").read_text("utf-8"), re.MULTILINE
    )
    log = site / "log"
    # uvicorn's parent of several workers leaves its socket open to the end.
    warnings = ["-W", "error", "-W", "ignore::ResourceWarning"]
    command = [sys.executable, *warnings, "-m", "uvicorn", *shlex.split(told)]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*command, "--port", "0", "--workers", str(workers)],
            cwd=site.parents[1],
            env=environment(),
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            port = listening(process, log)
            deadline = time.monotonic() + PATIENCE
            while log.read_text().count("startup complete") < workers:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.01)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(PATIENCE)
    assert [line for line in log.read_text().splitlines() if not line.startswith("INFO:")] == []


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The site, which was started for the first time, with its sessions on disk."""
    repository = tmp_path_factory.mktemp("site")
    example = copy_of_examples(repository) / "signup_fastapi"
    with on_uvicorn(example, request.param) as found:
        yield found
    written = {path.name for path in (repository / "var" / "signup_fastapi").iterdir()}
    assert written == {"secret_key", "sessions"}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A browser for all tests: each start takes seconds."""
    with chromium(tmp_path_factory.mktemp("browser") / "profile") as browser:
        resize(browser, WIDTHS["desktop"])
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": FRAMES})
        yield browser


@pytest.fixture
def browser(started: Chrome) -> Iterator[Chrome]:
    """A browser with one tab and no cookies, that finds nothing to complain about."""
    first = started.current_window_handle
    yield started
    assert complaints(started) == []
    started.delete_all_cookies()
    for tab in set(started.window_handles) - {first}:
        started.switch_to.window(tab)
        started.close()
    started.switch_to.window(first)


def fits_everywhere(browser: Chrome) -> bool:
    """Whether the page is no wider than the window, on a desktop and on a phone."""
    fitting = []
    for width in reversed(WIDTHS.values()):
        resize(browser, width)
        fitting.append(fits(browser))
    return all(fitting)


def click(browser: Chrome, times: int) -> None:
    """Click the counter, once its websocket is open."""
    for _ in range(times):
        found(browser, "#click:enabled").click()


def test_the_story_of_a_new_user(url: str, browser: Chrome) -> None:
    """A user errs, signs up, is welcomed once and logs out, which ends it in every tab."""
    browser.get(url)
    assert fits_everywhere(browser)
    found(browser, "a.button").click()
    type_in(browser, **ADA | {"email": "ada"})
    email = found(browser, "[name=email][aria-invalid=true]")
    assert browser.title == "Error: Sign up"
    error = browser.find_element(By.ID, email.get_attribute("aria-describedby") or "")
    assert "e-mail address" in error.text
    assert shown(browser, ".error") == [error.text]
    assert browser.switch_to.active_element == email
    assert email.get_attribute("value") == "ada"
    assert found(browser, "[name=name]").get_attribute("value") == ADA["name"]
    assert found(browser, "[name=password]").get_attribute("value") == ""
    assert ADA["password"] not in browser.page_source
    assert fits_everywhere(browser)
    before = the_cookie(browser)

    browser.refresh()  # does not send the form again
    assert shown(browser, ".error") == []
    type_in(browser, **ADA)
    wait_for_text(browser, "[role=status]", "Welcome, Ada Lovelace!")
    assert fits_everywhere(browser)
    browser.refresh()
    wait_for_text(browser, "h1", "Hello, Ada Lovelace")
    assert shown(browser, "[role=status]") == []
    signed_in = the_cookie(browser)
    assert before["value"].partition(".")[0] != signed_in["value"].partition(".")[0]
    assert "Hello, Ada Lovelace" in page_for(signed_in, url)
    assert "Hello" not in page_for(before, url)

    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    browser.get(f"{url}/dashboard")
    found(browser, "a.button").click()
    wait_for_text(browser, "h1", "Hello, Ada Lovelace")
    found(browser, LOG_OUT).click()
    wait_for_text(browser, "[role=status]", "You are signed out.")
    assert the_cookie(browser)["value"].partition(".")[0] != signed_in["value"].partition(".")[0]
    for title in ("A session of your own", "Sign up"):  # in place of the dashboard
        browser.back()
        wait_for_text(browser, "h1", title)
        assert "Ada" not in browser.page_source
    browser.switch_to.window(first)
    browser.refresh()
    wait_for_text(browser, "h1", "A session of your own")
    assert "Hello" not in page_for(signed_in, url)


def test_two_tabs_count_together(url: str, browser: Chrome) -> None:
    """Each tab has a websocket that was there before the other's clicks, and the sum is right."""
    browser.get(url)
    click(browser, 1)
    wait_for_text(browser, "#clicks", "1")
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    browser.get(url)
    click(browser, 2)
    wait_for_text(browser, "#clicks", "3")
    browser.switch_to.window(first)
    click(browser, 3)
    wait_for_text(browser, "#clicks", "6")
    browser.refresh()
    wait_for_text(browser, "#clicks", "6")


@pytest.mark.parametrize("url", [1], ids=["one worker"], indirect=True)
def test_the_dashboard_streams(url: str, browser: Chrome) -> None:
    """The first row is seen before the last one has come, and all visits are there in the end."""
    browser.get(f"{url}/signup")
    type_in(browser, **ADA)
    wait_for_text(browser, "h1", "Hello, Ada Lovelace")
    browser.get(f"{url}/dashboard")
    paths = ["/dashboard", "/", "/signup"]
    assert shown(browser, "tbody td:first-child") == paths
    assert shown(browser, "#end") == ["That is all of them."]
    assert {1, 2} <= set(browser.execute_script("return window.painted"))
    assert fits_everywhere(browser)


@pytest.mark.parametrize("url", [1], ids=["one worker"], indirect=True)
class TestWithoutABrowser:
    def test_a_form_of_another_site_is_refused(self, url: str) -> None:
        """A form without the session's token is answered by a page, and nobody is signed up."""
        with httpx.Client(base_url=url) as client:
            client.get("/signup")
            answer = client.post("/signup", data=ADA)
            assert answer.status_code == 403
            assert "This form has expired" in answer.text
            assert "Hello" not in client.get("/").text

    def test_a_form_that_is_too_large_is_refused(self, url: str) -> None:
        """It would not fit into a cookie."""
        assert httpx.post(f"{url}/signup", data={"name": "N" * 1000}).status_code == 413

    def test_a_websocket_of_another_site_is_refused(self, url: str) -> None:
        """Its handshake is answered with 403."""
        with (
            pytest.raises(InvalidStatus, match="403"),
            connect(f"{url.replace('http', 'ws')}/counter", origin=Origin("http://example.org")),
        ):
            pass

    def test_who_is_not_signed_in_is_sent_to_the_form(self, url: str) -> None:
        """The dashboard answers with a redirect."""
        answer = httpx.get(f"{url}/dashboard")
        assert (answer.status_code, answer.headers["Location"]) == (303, "/signup")

    def test_no_cache_and_no_other_site_gets_at_a_page(self, url: str) -> None:
        """A page may be neither stored nor framed, and has its styles and scripts from the site."""
        for path, status in (("/", 200), ("/signup", 200), ("/nothing", 404), ("/dashboard", 303)):
            answer = httpx.get(url + path)
            assert answer.status_code == status
            assert "no-store" in answer.headers["Cache-Control"]
            assert answer.headers["Content-Security-Policy"] == (
                "default-src 'self'; form-action 'self'; frame-ancestors 'none'"
            )


@pytest.mark.parametrize("store", ["disk", "cookie"])
def test_the_store_is_one_word_in_the_environment(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user signs up and out on each store, and only the disk store writes sessions."""
    monkeypatch.setenv("STORE", "" if store == "disk" else store)
    path = copy_of_examples(tmp_path) / "signup_fastapi" / "asgi.py"
    spec = spec_from_file_location("site_of_this_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    client = TestClient(module.create_app())
    home = client.post("/signup", data=ADA | {"csrf_token": token_in(client.get("/signup").text)})
    assert "Welcome, Ada Lovelace!" in home.text
    home = client.post("/logout", data={"csrf_token": token_in(home.text)})
    assert "You are signed out." in home.text
    written = {path.name for path in (tmp_path / "var" / "signup_fastapi").iterdir()}
    assert written == {"secret_key"} | ({"sessions"} if store == "disk" else set())


def token_in(page: str) -> str:
    """Return the token of a page's form."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None
    return found[1]
