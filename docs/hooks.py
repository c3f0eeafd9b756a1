"""What MkDocs does not do by itself: pages from the top of the repository, and links out of docs/.

On GitHub a link is a path in the repository. Here it leads to the page made of that file, or,
where the site has none, to the file on GitHub.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[1]
TOP: Final = {
    name: f"{name.removesuffix('.md').lower()}.md"
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
}
FENCED: Final = re.compile(r"(^ *```.*?^ *```$)", re.DOTALL | re.MULTILINE)
LINK: Final = re.compile(r"(?<=\]\()(?!https?://|#)([^)#\s]+)(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the top of the repository."""
    for name, page in TOP.items():
        text = (ROOT / name).read_text("utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let each link lead to a page of the site, or to GitHub."""
    uri = page.file.src_uri
    source = next((name for name, top in TOP.items() if top == uri), f"docs/{uri}")

    def target(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[0]))
        found = TOP.get(path, path.removeprefix("docs/") if path.startswith("docs/") else "")
        if path == "docs/decisions":
            found = "decisions/README.md"
        if files.get_file_from_path(found) or source == path:
            return posixpath.relpath(found, posixpath.dirname(uri) or ".")
        if not (ROOT / path).exists():
            raise PluginError(f"{source} links to {link[0]}, which does not exist")
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"{config.extra['repository']}/{kind}/main/{path}"

    parts = FENCED.split(markdown)
    return "".join(
        part if number % 2 else LINK.sub(target, part) for number, part in enumerate(parts)
    )


def on_post_page(output: str, **_: object) -> str:
    """Leave out the private modules that a public name comes from, where a pointer rests on it."""
    return re.sub(r' title="[^"]*glimr_session\._[^"]*"', "", output)
