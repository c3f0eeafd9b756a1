"""One WSGI request in this process, with the sessions of each library.

Every site is counted minus the same page on its own framework without sessions. Before
anything is timed, all sites have to give the same answers. With cookies every request is
another visitor's. On disk a visitor sends five requests in a row, as for a page and what is on
it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from glimr_session import CookieStore, DiskStore

from ..measure import Arm, minus, time_arms
from ..results import Place, Result, Target
from ..rivals import beaker, django, flask, starlette
from ..sites import IN_A_ROW, PAGES, Site, begin, browse, glimr_site, prove_same
from ..worker import VISITORS

_COOKIE_TARGETS: Final[Mapping[str, Sequence[Target]]] = {
    "read only": [Target(against="Flask", limit=0.35)],
    "read and write": [
        Target(against="Flask", limit=0.33),
        Target(against="Django (signed cookies)", limit=1),
        Target(against="Starlette", limit=1),
    ],
}

_AT_THE_LIMIT: Final = (
    "it is at the limit, since ours is processor time and theirs the file system's, and the two "
    "change from run to run"
)
_DISK_TARGETS: Final[Mapping[str, Sequence[Target]]] = {
    "read and write": [
        Target(against=name, limit=0.1, known_miss=_AT_THE_LIMIT)
        for name in ("Beaker (files)", "Flask-Session (files)", "Django (files)")
    ],
}


def run(place: Place) -> Iterator[Result]:
    """Yield each page with cookies, then each page on disk."""
    directory = place.directory
    signed, files = django.cookies_and_files(directory)
    in_cookie = [glimr_site(CookieStore()), flask.cookies(), starlette.cookies(), signed]
    ours = glimr_site(DiskStore(directory / "ours"))
    on_disk = [ours, beaker.files(directory), flask.files(directory), files]
    for store, sites, targets, in_a_row in (
        ("cookie", in_cookie, _COOKIE_TARGETS, 1),
        ("disk", on_disk, _DISK_TARGETS, IN_A_ROW),
    ):
        yield from compare(store, sites, targets, tuple(PAGES), place, in_a_row)


def compare(
    store: str,
    sites: Sequence[Site],
    targets: Mapping[str, Sequence[Target]],
    pages: Sequence[str],
    place: Place,
    in_a_row: int = 1,
    seconds: float = 7,
) -> Iterator[Result]:
    """Yield what a session adds to each page; the sites have to give the same answers."""
    prove_same(sites)
    visitors = VISITORS // 20 if place.quick else VISITORS
    cookies = {site.name: begin(site.client, visitors=visitors) for site in sites}
    for page in pages:
        paths = PAGES[page]
        arms: dict[object, Arm] = {}
        for site in sites:
            arms[site.name] = browse(site.client, paths, cookies[site.name], in_a_row)
            arms[site.bare] = browse(site.bare, paths, [*cookies[site.name]], in_a_row)
        taken = time_arms(arms, 0.3 if place.quick else seconds)
        yield Result(
            case=f"{store}: {page}",
            unit="us",
            rounds={site.name: minus(taken[site.name], taken[site.bare]) for site in sites},
            targets=targets.get(page, ()),
        )
