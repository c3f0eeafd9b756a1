"""Sites with sessions, their visitors, and the proof that all sites do the same work."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import chain, cycle, repeat
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeVar

from glimr_session import Session, SessionMiddleware, SessionStore, flash_errors, flash_old

from . import worker
from .measure import Arm
from .results import OURS
from .worker import SAMPLE, VISITORS, Client, Verbs, wsgi_client, wsgi_site

PAGES: Final = {
    "untouched": ("/ignore",),
    "read only": ("/read",),
    "read and write": ("/visit",),
    "log in": ("/login",),
    "form with errors": ("/form", "/form-again"),
}
"""The paths that a visitor requests, one after the other."""

IN_A_ROW: Final = 5
"""Requests that a visitor of a disk store sends in a row, as for a page and what is on it."""

LIFETIME: Final = 7_200
"""Seconds that an idle session lasts with every library: the default of glimr_session."""

BARE: Final = Verbs(regenerate=lambda _session: None)
"""The verbs of a plain dict, where there are no sessions."""

T = TypeVar("T")


class Site(NamedTuple):
    """A site with the sessions of a library, and on the same framework without sessions.

    ``forgets`` says whether the cookie from before a login is worth nothing afterwards. Where
    the session is in the cookie that cannot be, and not every library does it elsewhere.
    """

    name: str
    client: Client
    bare: Client
    forgets: bool = False


def glimr_site(store: SessionStore) -> Site:
    """Return the site with glimr_session."""

    def flash(session: Session, errors: Mapping[str, str], old: Mapping[str, str]) -> None:
        flash_errors(session, errors)
        flash_old(session, old)

    def flashed(session: Session) -> Any:
        return lambda field: (str(session.old(field)), str(session.error(field)))

    site = wsgi_site(itemgetter("glimr.session"), Verbs(Session.regenerate, flash, flashed))
    client = wsgi_client(SessionMiddleware(site, worker.CONFIG, store=store))
    return Site(OURS, client, bare_client(), forgets=store.server_side)


@cache
def bare_client() -> Client:
    """Return a client of the WSGI site without sessions: all its pages have one dict."""
    shared = dict(SAMPLE)
    return wsgi_client(wsgi_site(lambda _environ: shared, BARE))


def begin(client: Client, path: str = "/fill", visitors: int = VISITORS) -> list[str]:
    """Begin a session for each visitor, and return their cookies."""
    return [client(path, "").cookie for _ in range(visitors)]


def cycled(things: Sequence[T], in_a_row: int = 1) -> Iterator[T]:
    """Return an endless iterator that yields each thing so many times before the next."""
    return chain.from_iterable(repeat(thing, in_a_row) for thing in cycle(things))


def browse(client: Client, paths: Sequence[str], cookies: list[str], in_a_row: int = 1) -> Arm:
    """Return an arm in which a visitor requests some pages, one after the other.

    The next visitor comes after so many times. ``cookies`` is kept up to date.
    """
    visitors = cycled(range(len(cookies)), in_a_row)

    def visit() -> None:
        visitor = next(visitors)
        for path in paths:
            cookie = client(path, cookies[visitor]).cookie
            if cookie:
                cookies[visitor] = cookie

    return visit


def prove_same(sites: Sequence[Site]) -> None:
    """Raise RuntimeError unless all sites give the same answers, with sessions and without.

    They read, write and keep; what they flash is shown once; a login moves the session to
    another cookie. What the old cookie is worth afterwards is as the site declares.
    """
    for site in sites:
        cookie = _require(site.name, site.client, _VISITS)
        _require(f"{site.name}, bare", site.bare, [*_VISITS, *_FORM, *_LOGIN])
        cookie = _require(site.name, site.client, _FORM, cookie)
        before = cookie
        after = _require(site.name, site.client, _LOGIN, before)
        if after == before:
            raise RuntimeError(f"{site.name}: a login sets no other cookie than {before!r}")
        left = {} if site.forgets else _VISITED
        _require(f"{site.name}, old cookie", site.client, [("/show", _shown(left))], before)


def _require(name: str, client: Client, story: Sequence[tuple[str, str]], cookie: str = "") -> str:
    """Request the pages of a story, require these answers, and return the last cookie."""
    for path, expected in story:
        answer = client(path, cookie)
        if (answer.status, answer.body) != ("200 OK", expected):
            raise RuntimeError(f"{name}: {path} was answered with {answer}, not {expected!r}")
        cookie = answer.cookie or cookie
    return cookie


def _shown(data: Mapping[str, object]) -> str:
    return json.dumps(data, sort_keys=True)


_VISITED: Final = {**SAMPLE, "visits": 100_002}

_VISITS: Final = [
    ("/fill", "filled"),
    ("/ignore", "ignored"),
    ("/read", "100000"),
    ("/visit", "100000"),
    ("/visit", "100001"),
    ("/show", _shown(_VISITED)),
]
_OLD: Final = worker.OLD
_FORM: Final = [
    ("/form", "see the form again"),
    ("/form-again", "\n".join(f"{k}: {v}: {worker.ERRORS.get(k, '')}" for k, v in _OLD.items())),
    ("/form-again", "\n".join(f"{key}: : " for key in _OLD)),
    ("/show", _shown(_VISITED)),
]
_LOGIN: Final = [
    ("/login", "logged in"),
    ("/read", "100002"),
    ("/show", _shown({**_VISITED, "user": worker.LOGGED_IN})),
]
