"""One request in a web framework, with our sessions and with those of the framework.

Requests are counted as in the module ``requests``: both run in the same framework, and are counted
minus the same page in it without sessions. Ours are in the cookie beside sessions in a cookie, and
on disk beside those in files and databases; in Django they cannot be in the cookie. There they run
with Django's own middleware, and with the middleware that belongs to them.

We promise to be ahead of each, and to take at most half as long as files and databases. Nothing is
promised of a page that uses no session in Pyramid and in Django, whose own sessions then do nothing
at all.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from glimr_session import CookieStore, DiskStore

from ..results import OURS, Place, Result, Target
from ..rivals import django, flask, pyramid
from ..sites import IN_A_ROW, Site
from .requests import compare

_PAGES: Final = ("untouched", "read only", "read and write", "log in")

_NO_DISK: Final = "theirs does no input and output; in Django ours cannot be in the cookie"
_MEMORY: Final = "theirs reads the memory of its own process, the cache that Django begins with"
_COPIES: Final = (
    "ours goes through an actor, and compares each value with what it was; theirs replaces the "
    "whole session, and loses what a request beside it has done"
)
_KNOWN_MISSES: Final = {
    ("Flask, cookie", "read only", "Flask"): "it is at the limit",
    ("Flask, disk", "log in", "Flask-Session (files)"): _COPIES,
    ("Pyramid, cookie", "read only", "Pyramid"): "it is at the limit",
    ("Pyramid, cookie", "read and write", "Pyramid"): _COPIES,
    ("Pyramid, cookie", "log in", "Pyramid"): _COPIES,
    ("Django, disk", "read only", "Django (files)"): "a small file is read as fast as a row",
    ("Django, disk", "read and write", "Django (files)"): "it is at the limit",
    ("Django, disk", "read and write", "Django (cached_db)"): _MEMORY,
    ("Django, disk", "read only", "Django (cached_db)"): _MEMORY,
    **{("Django, disk", page, "Django (signed cookies)"): _NO_DISK for page in _PAGES},
}
"""Why a promise is not kept; see docs/benchmarks.md."""


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
        yield from _beside("Django, disk", sites, place, _PAGES[1:], IN_A_ROW)


def _beside(
    name: str,
    sites: Sequence[Site],
    place: Place,
    promised: Sequence[str] = _PAGES,
    in_a_row: int = 1,
) -> Iterator[Result]:
    ours = [site.name for site in sites if site.name.startswith(OURS)]
    targets = {
        page: [
            Target(
                side="" if side == OURS else side,  # ours come first
                against=site.name,
                limit=0.5 if site.forgets else 1,
                known_miss=_KNOWN_MISSES.get((name, page, site.name), ""),
            )
            for side in ours
            for site in sites
            if site.name not in ours
        ]
        for page in promised
    }
    yield from compare(name, sites, targets, _PAGES, place, in_a_row, seconds=5)
