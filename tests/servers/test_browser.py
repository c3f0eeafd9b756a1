"""The sign-up site in a real browser: what a new user of ``make demo`` sees."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.expected_conditions import presence_of_element_located
from selenium.webdriver.support.wait import WebDriverWait

from tests.support.browser import chromium, complaints, copy_of_site, serving
from tests.test_examples import Visitor

COOKIE = "glimr_session"


def found(browser: Chrome, selector: str) -> WebElement:
    """Return the element, once the page with it is there."""
    return WebDriverWait(browser, 10).until(
        presence_of_element_located((By.CSS_SELECTOR, selector))
    )


def shown(browser: Chrome, selector: str) -> list[str]:
    """Return the texts of all such elements of the page as it is."""
    return [element.text for element in browser.find_elements(By.CSS_SELECTOR, selector)]


def type_in(browser: Chrome, **fields: str) -> None:
    """Fill in the form and send it."""
    for name, value in fields.items():
        element = found(browser, f"#{name}")
        element.clear()
        element.send_keys(value)
    found(browser, "form button").click()


def session_id(cookie: dict[str, str]) -> str:
    """Return the id in a cookie: all of its value but the time and the signature."""
    return cookie["value"].rpartition(".")[0].rpartition(".")[0]


@pytest.mark.parametrize("store", ["disk", "cookie"])
def test_the_story_of_a_new_user(store: str, tmp_path: Path) -> None:
    """A user signs up, is welcomed once and logs out, and the old cookie is dead.

    On the cookie store a copied cookie outlives the logout: its documented limit.
    """
    site = copy_of_site(tmp_path / "repository", store)
    with serving(site) as url, chromium(tmp_path / "profile") as browser:
        browser.get(url)
        assert browser.get_cookies() == []  # nothing was kept for a page without a form
        found(browser, "a.button").click()

        type_in(browser, name="Ada Lovelace", email="ada", password="correct horse battery")
        email = found(browser, "#email[aria-invalid=true]")
        error = browser.find_element(By.ID, email.get_attribute("aria-describedby") or "")
        assert "e-mail address" in error.text
        assert 0 <= error.rect["y"] - (email.rect["y"] + email.rect["height"]) < 20
        assert shown(browser, ".error") == [error.text]
        assert email.get_attribute("value") == "ada"
        assert found(browser, "#name").get_attribute("value") == "Ada Lovelace"
        assert found(browser, "#password").get_attribute("value") == ""
        assert "correct horse battery" not in browser.page_source
        before = browser.get_cookie(COOKIE)

        type_in(browser, email="ada@example.org", password="correct horse battery")
        assert found(browser, ".message").text == "Welcome, Ada Lovelace!"
        assert "ada@example.org" in found(browser, "main").text
        browser.refresh()
        assert found(browser, "h1").text == "Hello, Ada Lovelace"
        assert shown(browser, ".message") == []

        cookie = browser.get_cookie(COOKIE)
        assert cookie is not None
        assert before is not None
        assert session_id(cookie) != session_id(before)
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
        assert browser.execute_script("return document.cookie") == ""

        found(browser, "form button").click()
        assert found(browser, ".message").text == "You are signed out."
        assert shown(browser, "form") == []
        browser.back()
        assert found(browser, "h1").text != "Hello, Ada Lovelace"

        browser.delete_all_cookies()
        browser.add_cookie(cookie)
        browser.get(url)
        if store == "cookie":
            assert shown(browser, "h1") == ["Hello, Ada Lovelace"]
        else:
            assert shown(browser, "h1") == ["A session of your own"]
            # For a minute after a login or a goodbye an old cookie is not replaced: the browser
            # may just have been given the new one.
            found(browser, "a.button").click()
            found(browser, "form")
            kept = browser.get_cookie(COOKIE)
            assert kept is not None
            assert session_id(kept) == session_id(cookie)
        assert complaints(browser) == []


def test_the_story_of_a_user_with_two_devices(tmp_path: Path) -> None:
    """A user sees both devices, logs the other one out, and then all others by a new password."""
    site = copy_of_site(tmp_path / "repository")
    with serving(site) as url, chromium(tmp_path / "profile") as browser:
        other = Visitor(url)
        other.sign_up()
        browser.get(f"{url}/signup")
        type_in(
            browser, name="Ada Lovelace", email="ada@example.org", password="correct horse battery"
        )
        found(browser, "a[href='/devices']").click()
        assert found(browser, "h1").text == "Your devices"
        assert shown(browser, ".devices strong") == ["Chrome on Linux", "Unknown browser"]
        assert shown(browser, ".here") == ["This one"]
        assert other.is_known()
        found(browser, ".devices button").click()
        assert found(browser, ".message").text == "That device is logged out."
        assert shown(browser, ".devices strong") == ["Chrome on Linux"]
        assert not other.is_known()

        third = Visitor(url)
        third.sign_up()
        found(browser, "#current").send_keys("correct horse battery")
        found(browser, "#password").send_keys("a better battery staple")
        found(browser, "form[action='/password'] button").click()
        assert "all other devices are logged out" in found(browser, ".message").text
        assert not third.is_known()
        assert browser.execute_script(
            "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
        assert complaints(browser) == []
