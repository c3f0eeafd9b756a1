"""Take the pictures of the demo that the documentation shows: ``python -m docs.screenshots``.

It needs what the browser tests need, Chromium and its driver, and Pillow to make the files small.
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
from pathlib import Path
from typing import Final

import httpx
from PIL import Image
from selenium.webdriver import Chrome

from tests.support.browser import chromium, copy_of_site, found, serving, type_in, wait_for_text

ASSETS: Final = Path(__file__).parent / "assets"
WIDTH: Final = 760  # of the window, in pixels
MARGIN: Final = 220  # pixels: of the window itself too
COLOURS: Final = 64
PASSWORD: Final = "correct horse battery"  # noqa: S105


def main(folder: Path = ASSETS) -> None:
    """Use the site as somebody new does, and take a picture of each page on the way."""
    with (
        tempfile.TemporaryDirectory() as directory,
        serving(copy_of_site(Path(directory) / "repository")) as url,
        chromium(Path(directory) / "profile") as browser,
    ):
        browser.set_window_size(WIDTH, 800)
        browser.get(f"{url}/signup")
        type_in(browser, name="Ada Lovelace", email="ada", password=PASSWORD)
        found(browser, "#email[aria-invalid=true]")
        take(browser, folder / "sign-up.png")
        type_in(browser, email="ada@example.org", password=PASSWORD)
        wait_for_text(browser, ".message", "Welcome, Ada Lovelace!")
        take(browser, folder / "welcome.png")
        sign_up_with_a_phone(url)
        browser.get(f"{url}/devices")
        found(browser, ".devices li + li")
        take(browser, folder / "devices.png")


def sign_up_with_a_phone(url: str) -> None:
    """Let the same user have a second device."""
    agent = {"User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Safari/604.1"}
    with httpx.Client(base_url=url, headers=agent) as phone:
        (token,) = re.findall(r'name="csrf_token" value="(.*?)"', phone.get("/signup").text)
        form = {"name": "Ada Lovelace", "email": "ada@example.org", "csrf_token": token}
        phone.post("/signup", data={**form, "password": PASSWORD})


def take(browser: Chrome, file: Path) -> None:
    """Save a picture of the whole page, with few colours."""
    browser.execute_script("document.activeElement.blur()")  # no caret
    browser.set_window_size(WIDTH, found(browser, "main").size["height"] + MARGIN)
    picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ASSETS)
