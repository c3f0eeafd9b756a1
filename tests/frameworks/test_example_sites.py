"""The sign-up sites of the frameworks, on gunicorn and in a real browser."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import django
import httpx
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.support.browser import (
    chromium,
    complaints,
    copy_of_examples,
    environment,
    found,
    on_gunicorn,
    shown,
    type_in,
    wait_for_text,
)

SITES = ["signup_flask", "signup_django"]
WIDTHS = {"desktop": 1280, "phone": 375}
ADA = {"name": "Ada Lovelace", "email": "ada@example.org", "password": "correct horse battery"}
GRACE = {"name": "Grace Hopper", "email": "grace@example.org", "password": "a ship in port is safe"}

TICKET = "form[action='/basket'] button"
LOG_OUT = "form[action='/logout'] button"


class Site(NamedTuple):
    """A site that is being served."""

    url: str
    var: Path
    admin_password: str  # "" where there is no admin


@pytest.fixture(scope="module", params=SITES)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A site that was started for the first time."""
    name: str = request.param
    if name == "signup_django" and django.VERSION < (5, 2):
        pytest.skip("the example refers to errors as Django does from 5.2 on")
    repository = tmp_path_factory.mktemp(name)
    example = copy_of_examples(repository) / name
    password = first_start(example) if name == "signup_django" else ""
    with on_gunicorn(example) as url:
        yield Site(url, repository / "var" / name, password)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    """A browser that knows nothing yet, and finds nothing to complain about."""
    with chromium(tmp_path / "profile") as started:
        yield started
        assert complaints(started) == []


def first_start(site: Path) -> str:
    """Make the database of the Django site; return the password of the admin that is printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", site / "manage.py", "first_start"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    printed = re.search(r"/admin/ is admin, with the password (\S{32,})$", done.stdout.strip())
    assert printed is not None
    return printed[1]


def the_cookie(browser: Chrome) -> dict[str, Any]:
    """Return the browser's only cookie: no script can read it, and no other site sends it."""
    (cookie,) = browser.get_cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    assert browser.execute_script("return document.cookie") == ""
    return cookie


def page_for(cookie: dict[str, Any], url: str) -> str:
    """Return the home page as somebody sees it who has copied this cookie."""
    answer = httpx.get(url, cookies={cookie["name"]: cookie["value"]})
    assert answer.status_code == 200
    return answer.text


def resize(browser: Chrome, width: int) -> None:
    """Give the page this width: a window cannot be as narrow as a phone."""
    size = {"width": width, "height": 700, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def fits(browser: Chrome) -> bool:
    """Whether the page is no wider than the window."""
    return bool(
        browser.execute_script(
            "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
    )


def test_the_first_start_makes_a_key_for_its_owner_alone(site: Site) -> None:
    """A site writes below its own directory of var alone, and nobody else reads what is there."""
    assert httpx.get(f"{site.url}/signup").status_code == 200
    key = site.var / "secret_key"
    assert len(key.read_text()) == 64
    assert [stat.S_IMODE(path.stat().st_mode) for path in (site.var, key)] == [0o700, 0o600]
    assert {path.name for path in site.var.iterdir()} <= {"secret_key", "sessions", "db.sqlite3"}
    assert [path.name for path in site.var.parent.iterdir()] == [site.var.name]


def test_a_form_of_another_site_is_refused(site: Site) -> None:
    """A form without the session's token is answered by a page of the site, and changes nothing."""
    with httpx.Client(base_url=site.url) as client:
        answer = client.post("/basket")
        assert answer.status_code in {400, 403}
        assert 'href="/static/style.css"' in answer.text
        assert '<strong id="tickets">0</strong>' in client.get("/").text


def test_no_cache_and_no_other_site_gets_at_a_page(site: Site) -> None:
    """A page may be neither stored nor framed, and has its styles and scripts from the site."""
    for path, status in (("/", 200), ("/signup", 200), ("/nothing", 404)):
        answer = httpx.get(site.url + path)
        assert answer.status_code == status
        assert "no-store" in answer.headers["Cache-Control"]
        assert answer.headers["Content-Security-Policy"] == (
            "default-src 'self'; form-action 'self'; frame-ancestors 'none'"
        )


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_the_story_of_a_new_user(site: Site, width: int, browser: Chrome) -> None:
    """A user signs up, is welcomed once and logs out, and nothing is left to the next one."""
    ada = ADA | {"email": f"ada{width}@example.org"}
    grace = GRACE | {"email": f"grace{width}@example.org"}
    resize(browser, width)
    url = site.url
    browser.get(url)
    assert fits(browser)
    found(browser, TICKET).click()
    wait_for_text(browser, "#tickets", "1")

    found(browser, "a.button").click()
    found(browser, "[name=email]")
    assert browser.title == "Sign up"
    type_in(browser, **ada | {"email": "ada"})
    email = found(browser, "[name=email][aria-invalid=true]")
    assert browser.title == "Error: Sign up"
    assert email.accessible_name == "E-mail"
    error = browser.find_element(By.ID, email.get_attribute("aria-describedby") or "")
    assert "e-mail address" in error.text
    assert 0 <= error.rect["y"] - (email.rect["y"] + email.rect["height"]) < 20
    assert shown(browser, ".error") == [error.text]
    WebDriverWait(browser, 10).until(
        lambda _: browser.switch_to.active_element == email, "the faulty field has no focus"
    )
    assert fits(browser)
    assert email.get_attribute("value") == "ada"
    assert found(browser, "[name=name]").get_attribute("value") == ada["name"]
    assert found(browser, "[name=password]").get_attribute("value") == ""
    assert ada["password"] not in browser.page_source
    before = the_cookie(browser)

    browser.refresh()  # does not send the form again
    assert browser.title == "Sign up"
    assert shown(browser, ".error") == []
    type_in(browser, **ada)
    wait_for_text(browser, "[role=status]", "Welcome, Ada Lovelace!")
    assert ada["email"] in found(browser, "main").text
    wait_for_text(browser, "#tickets", "1")
    assert fits(browser)
    browser.refresh()
    wait_for_text(browser, "h1", "Hello, Ada Lovelace")
    assert shown(browser, "[role=status]") == []
    signed_in = the_cookie(browser)
    assert "Hello, Ada Lovelace" in page_for(signed_in, url)
    assert "Hello" not in page_for(before, url)
    assert before["value"].partition(".")[0] != signed_in["value"].partition(".")[0]

    found(browser, LOG_OUT).click()
    wait_for_text(browser, "[role=status]", "You are signed out.")
    wait_for_text(browser, "#tickets", "0")
    browser.back()
    wait_for_text(browser, "h1", "A session of your own")
    old = page_for(signed_in, url)
    assert "Hello" not in old
    assert '<strong id="tickets">0</strong>' in old

    browser.get(f"{url}/signup")
    type_in(browser, **grace)
    wait_for_text(browser, "h1", "Hello, Grace Hopper")
    wait_for_text(browser, "#tickets", "0")
    assert "Hello" not in page_for(signed_in, url)


@pytest.mark.parametrize("site", ["signup_django"], indirect=True)
def test_the_admin_of_the_django_site(site: Site, browser: Chrome) -> None:
    """The superuser logs in to the admin and out of it, and leaves the next user nothing."""
    url = site.url
    browser.get(url)
    found(browser, TICKET).click()
    wait_for_text(browser, "#tickets", "1")
    before = the_cookie(browser)

    browser.get(f"{url}/admin/")
    type_in(browser, username="admin", password="wrong")
    assert "correct username and password" in found(browser, ".errornote").text
    type_in(browser, username="admin", password=site.admin_password)
    found(browser, "a[href='/admin/auth/user/']").click()
    assert "admin" in found(browser, "#result_list").text
    signed_in = the_cookie(browser)
    assert "Hello, admin" in page_for(signed_in, url)
    assert "Hello" not in page_for(before, url)

    found(browser, "#logout-form button").click()
    wait_for_text(browser, "h1", "Logged out")
    browser.get(url)
    wait_for_text(browser, "h1", "A session of your own")
    wait_for_text(browser, "#tickets", "0")
    assert "Hello" not in page_for(signed_in, url)
