"""The page that the package index makes of the README works outside the repository."""

from __future__ import annotations

import zipfile
from email.message import Message
from email.parser import BytesParser
from html.parser import HTMLParser
from typing import Final

import pytest
from readme_renderer import markdown
from trove_classifiers import classifiers

from tests.release.conftest import PROJECT, Distributions
from tests.release.test_version import VERSION
from tests.support.documents import ROOT

HOST: Final = "glimr-session/glimr-session"
# Where GitHub shows a file, shows a folder, and gives a file away, of this version.
PLACES: Final = (
    f"https://github.com/{HOST}/blob/v{VERSION}/",
    f"https://github.com/{HOST}/tree/v{VERSION}/",
    f"https://raw.githubusercontent.com/{HOST}/v{VERSION}/",
)


class Page(HTMLParser):
    """The links and the pictures of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.pictures: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note where a link leads, or where a picture is from."""
        if tag == "a":
            self.links.append(dict(attrs).get("href") or "")
        if tag == "img":
            self.pictures.append(dict(attrs).get("src") or "")

    def handle_data(self, data: str) -> None:
        """Note a piece of text."""
        self.text += data


@pytest.fixture(scope="module")
def metadata(distributions: Distributions) -> Message:
    """What the wheel tells the index."""
    name = f"glimr_session-{VERSION}.dist-info/METADATA"
    return BytesParser().parsebytes(zipfile.ZipFile(distributions.wheel).read(name))


@pytest.fixture(scope="module")
def page(metadata: Message) -> Page:
    """The page that the index makes of the README."""
    html = markdown.render(str(metadata.get_payload()))
    assert html is not None
    return Page(html)


def test_every_link_leads_somewhere(page: Page) -> None:
    """Each link is an https address; those into the repository lead to files of this version."""
    links = [link for link in page.links if not link.startswith("#user-content-")]
    assert len(links) > 10
    assert [link for link in links if not link.startswith("https://")] == []
    into = [link for link in links if link.startswith(PLACES[:2])]
    assert len(into) > 10
    for link in into:
        _, _, path = link.partition(f"/v{VERSION}/")
        file = ROOT / path.partition("#")[0]
        assert file.is_dir() if link.startswith(PLACES[1]) else file.is_file(), link


def test_every_picture_shows(page: Page) -> None:
    """Each picture is fetched from the files of this version."""
    assert page.pictures
    for picture in page.pictures:
        assert picture.startswith(PLACES[2])
        assert (ROOT / picture.removeprefix(PLACES[2])).is_file()


def test_the_page_says_how_to_install_from_the_index(page: Page) -> None:
    """It installs the package by its name: its reader has no copy of the repository."""
    assert "pip install glimr-session" in page.text
    assert "pip install ." not in page.text


def test_every_classifier_is_known_to_the_index() -> None:
    """An upload with a classifier that the index does not know is refused."""
    assert set(PROJECT["project"]["classifiers"]) <= set(classifiers)


def test_each_extra_names_its_packages(metadata: Message) -> None:
    """The wheel offers the extras of pyproject.toml, and each of them brings something."""
    extras = PROJECT["project"]["optional-dependencies"]
    assert metadata.get_all("Provides-Extra") == sorted(extras)
    requires = metadata.get_all("Requires-Dist") or []
    for extra, packages in extras.items():
        brought = [line for line in requires if line.endswith(f"extra == '{extra}'")]
        assert len(brought) == len(packages)


def test_the_core_brings_four_packages(metadata: Message) -> None:
    """Without an extra no framework, no client of a server and no command's library comes."""
    requires = metadata.get_all("Requires-Dist") or []
    core = {line.partition("<")[0].partition(">")[0] for line in requires if "extra ==" not in line}
    assert core == {"pykka", "itsdangerous", "diskcache", "msgspec"}
