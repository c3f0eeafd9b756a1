"""One request in a web framework, with our sessions and with those of the framework.

Requests are counted as in the module ``requests``: both run in the same framework, and are counted
minus the same page in it without sessions. Ours are in the cookie beside sessions in a cookie, and
on disk beside those in files and databases; in Django they cannot be in the cookie. There they run
with Django's own middleware, and with the middleware that belongs to them.

We promise to be ahead of each, and to take at most half as long as files and databases. Nothing is
promised of a page that uses no session in Pyramid, whose own sessions then do nothing at all.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from glimr_session import CookieStore, DiskStore

from ..results import OURS, Place, Result, Target
from ..rivals import django, flask, pyramid
from ..sites import IN_A_ROW, Site
from .requests import compare

_PAGES: Final = ("untouched", "read only", "read and write", "log in")


def run(place: Place) -> Iterator[Result]:
    """Yield each page of each framework."""
    directory = place.directory
    in_cookie = [flask.glimr(CookieStore()), flask.cookies()]
    yield from _beside("Flask, cookie", in_cookie, place)
    on_disk = [flask.glimr(DiskStore(directory / "flask")), flask.files(directory)]
    yield from _beside("Flask, disk", on_disk, place, in_a_row=IN_A_ROW)
    in_cookie = [pyramid.glimr(), pyramid.cookies()]
    yield from _beside("Pyramid, cookie", in_cookie, place, promised=_PAGES[1:])
    with django.everywhere(directory) as sites:
        yield from _beside("Django, disk", sites, place, in_a_row=IN_A_ROW)


def _beside(
    name: str,
    sites: Sequence[Site],
    place: Place,
    promised: Sequence[str] = _PAGES,
    in_a_row: int = 1,
) -> Iterator[Result]:
    ours = [site.name for site in sites if site.name.startswith(OURS)]
    targets = [
        Target(
            side="" if side == OURS else side,  # ours come first
            against=site.name,
            limit=0.5 if site.forgets else 1,
        )
        for side in ours
        for site in sites
        if site.name not in ours
    ]
    yield from compare(
        name, sites, dict.fromkeys(promised, targets), _PAGES, place, in_a_row, seconds=5
    )
