"""One WSGI request in this process, with sessions that are encrypted and with plain ones.

The site, the store and the pages are the same on both sides, which have to give the same answers.
Both are counted minus the page without sessions, so the ratios are those of what a session adds.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from glimr_session import CookieStore, DiskStore, SessionStore

from ..results import Place, Result, Target
from ..sites import IN_A_ROW, Site, glimr_site
from ..worker import CONFIG
from .requests import compare

_PLAIN: Final = "plain"
_PAGES: Final = ("read only", "read and write", "log in")


def run(place: Place) -> Iterator[Result]:
    """Yield each page with sessions in cookies, then on disk."""
    disk = [DiskStore(place.directory / name) for name in ("encrypted", _PLAIN)]
    for name, stores, in_a_row, limit in (
        ("cookie", [CookieStore(), CookieStore()], 1, 1.4),
        ("disk", disk, IN_A_ROW, 1.3),
    ):
        targets = {page: [Target(against=_PLAIN, limit=limit)] for page in _PAGES}
        sites = [_encrypted(stores[0]), glimr_site(stores[1])._replace(name=_PLAIN)]
        pages = _PAGES[:2] if place.quick else _PAGES
        yield from compare(f"encryption, {name}", sites, targets, pages, place, in_a_row)


def _encrypted(store: SessionStore) -> Site:
    replace(CONFIG, encrypt=True).equip(store)
    return glimr_site(store)._replace(name="encrypted")
