"""The documentation site: it builds without a warning, its links hold, it loads nothing else."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import threading
from functools import cache, partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

import pytest

from tests.support.browser import chromium, complaints, found
from tests.support.documents import ROOT

LOADING: Final = {
    "audio": "src", "embed": "src", "iframe": "src", "img": "src", "input": "src", "link": "href",
    "object": "data", "script": "src", "source": "src", "track": "src", "video": "src",
}  # fmt: skip
NOT_LOADED: Final = {"canonical", "next", "prev", "edit", "license"}  # what a link is to its page


SOURCE: Final = "https://github.com/glimr-session/glimr-session"

# A build that asks another host finds nobody.
WITHOUT_NETWORK: Final = {
    **os.environ,
    "NO_MKDOCS_2_WARNING": "1",
    **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9"),
}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as ``make docs`` does, once for all processes of this run of the tests."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, log = shared / "site", shared / "site.log"
    with (shared / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not log.exists():
            command = [
                sys.executable,
                "-m",
                "mkdocs",
                "build",
                "--strict",
                "--site-dir",
                str(folder),
            ]
            with log.open("wb") as output:
                subprocess.run(command, cwd=ROOT, env=WITHOUT_NETWORK, stderr=output, check=False)
    said = log.read_text("utf-8")
    assert "Documentation built" in said, said
    assert "WARNING" not in said, said
    return folder


class Page(NamedTuple):
    """What is in a page.

    Attributes:
        ids: what a link can lead to.
        links: where its links lead.
        loaded: what a browser fetches to show it.
        text: its paragraphs, but for code.
    """

    ids: set[str]
    links: list[str]
    loaded: list[str]
    text: str


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page(set(), [], [], "")
        self.words: list[str] = []
        self.code = self.paragraph = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.code |= tag == "code"
        self.paragraph |= tag == "p"
        if "id" in attributes:
            self.page.ids.add(attributes["id"])
        if tag == "a" and "href" in attributes:
            self.page.links.append(attributes["href"])
        if attributes.get("rel") not in NOT_LOADED and LOADING.get(tag) in attributes:
            self.page.loaded.append(attributes[LOADING[tag]])
        for part in attributes.get("srcset", "").split(","):
            self.page.loaded.extend(part.split()[:1])

    def handle_endtag(self, tag: str) -> None:
        self.code &= tag != "code"
        self.paragraph &= tag != "p"

    def handle_data(self, data: str) -> None:
        if self.paragraph and not self.code:
            self.words.append(data)


@cache
def page_at(file: Path) -> Page:
    parser = _Parser()
    parser.feed(file.read_text("utf-8"))
    return parser.page._replace(text="".join(parser.words))


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def test_each_document_is_a_page(site: Path) -> None:
    """Those at the top of the repository too."""
    documents = {page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")}
    expected = {page.with_suffix(".html") for page in documents if page.name != "README.md"}
    expected |= {page.with_name("index.html") for page in documents if page.name == "README.md"}
    expected |= {
        Path(f"{name}.html") for name in ("readme", "changelog", "contributing", "security")
    }
    built = {page.relative_to(site) for page in pages(site)}
    assert built == expected | {Path("404.html")}


def test_every_link_leads_somewhere(site: Path) -> None:
    """To a page of the site and an anchor in it, or to another host; pictures and scripts exist."""
    dead = []
    for page in pages(site):
        for link in page_at(page).links + page_at(page).loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            path = unquote(parts.path)
            base = site if path.startswith("/") else page.parent  # 404.html is shown anywhere
            target = (base / path.lstrip("/")).resolve() if path else page
            if target.is_dir():
                target /= "index.html"
            anchor = unquote(parts.fragment)
            if not target.exists() or (
                anchor and target.suffix == ".html" and anchor not in page_at(target).ids
            ):
                dead.append(f"{page.relative_to(site)} -> {link}")
    assert dead == []


def test_links_to_the_repository_are_to_files_of_it(site: Path) -> None:
    """What the site has no page of is on GitHub, at the same path."""
    found = set()
    for page in pages(site):
        for link in page_at(page).links:
            path = re.fullmatch(
                r"https://github\.com/glimr-session/glimr-session/(?:blob|tree)/main/([^#?]+).*",
                link,
            )
            if path:
                found.add(path[1])
    assert "examples/signup/app.py" in found
    assert {path for path in found if not (ROOT / path).exists()} == set()


def test_nothing_of_another_host_is_loaded(site: Path) -> None:
    """No font, script, style or picture: what a page shows is in the site."""
    outside = [
        f"{page.relative_to(site)}: {address}"
        for page in pages(site)
        for address in page_at(page).loaded
        if urlsplit(address).netloc
    ]
    assert outside == []
    for style in site.rglob("*.css"):
        text = style.read_text("utf-8")
        assert re.findall(r"(?:@import\s|url\()\s*[\"']?(?:https?:)?//[^)]*", text) == []


def test_a_browser_asks_no_other_host(site: Path, tmp_path: Path) -> None:
    """Its scripts fetch nothing from elsewhere, and complain of nothing."""
    handler = partial(_Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, chromium(tmp_path) as browser:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        try:
            for page in ("index.html", "reference/session.html"):
                browser.get(f"{url}{page}")
                found(browser, ".md-search__input").send_keys("regenerate")
                found(browser, ".md-search-result__item")
                fetched: list[str] = browser.execute_script(
                    "return performance.getEntriesByType('resource').map(entry => entry.name)"
                )
                assert fetched
                assert [name for name in fetched if not name.startswith(url)] == []
            assert complaints(browser) == []
        finally:
            server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def test_the_reference_shows_no_private_name(site: Path) -> None:
    """Neither as a heading, nor as a path, nor in a signature; and no page is without content."""
    for page in sorted((site / "reference").glob("*.html")):
        text = page.read_text("utf-8")
        article = text.partition("<article")[2].partition("</article>")[0]
        signatures = re.findall(r"doc-signature.*?>(.*?)</div>", article, re.DOTALL)
        for signature in signatures:
            assert re.findall(r"\b_[a-z]\w*", re.sub(r"<[^>]*>", "", signature)) == [], page
        assert re.findall(r"glimr_session(?:\.\w+)*\._[a-z]\w*", article) == [], page
        if page.name != "index.html":
            assert signatures, page


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    """Whatever ``from glimr_session import *`` gives has a heading there."""
    import glimr_session

    headings = {
        heading.rpartition(".")[2]
        for page in (site / "reference").glob("*.html")
        for heading in page_at(page).ids
        if heading.startswith("glimr_session")
    }
    assert {name for name in glimr_session.__all__ if name not in headings} == set()


def test_markdown_is_read_as_on_github(site: Path) -> None:
    """No list, table, heading or fence has stayed text for want of an empty line before it."""
    left = [
        f"{page.relative_to(site)}: {line}"
        for page in pages(site)
        for line in page_at(page).text.splitlines()
        if re.match(r"\s*(?:[-*] \S|\d+\. \S|\|.*\||#{1,6} \S|```)", line)
    ]
    assert left == []
