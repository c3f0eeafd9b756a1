"""The site that the arms of a case serve, the visitors who ask for its pages, and a proof.

The proof comes before any timing: a story of requests to which all the sites have to give
the same answers, from the first visit to what the cookie from before a login is worth.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, cycle, repeat
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from .asking import Answer, Ask, wsgi
from .case import require_equal
from .measure import Arm
from .pages import ERRORS, LOGGED_IN, OLD, PAGES, Page, Verbs, pages_with
from .sample import SAMPLE

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = [
    "BARE_PAGES",
    "LIFETIME",
    "PAGES",
    "VISITORS",
    "Answer",
    "Page",
    "Rival",
    "ask_bare",
    "bare_site",
    "begin",
    "browsing",
    "fill",
    "in_turn",
    "prove",
    "prove_same",
    "site",
    "visiting",
]

T = TypeVar("T")

VISITORS: Final = 3_000
"""How many sessions there are. They come in turns, so that every request brings another
cookie than those before it: what an arm remembers of the last thousand is no help."""

LIFETIME: Final = 7_200
"""Seconds that an idle session lasts, with everybody: our default."""

BARE_PAGES: Final = pages_with(Verbs(regenerate=lambda _session: None))
"""The pages where there are no sessions, but a plain dict."""


def site(
    find: Callable[[WSGIEnvironment], MutableMapping[str, Any]],
    pages: Mapping[str, Page] = PAGES,
) -> WSGIApplication:
    """Make the application; ``find`` gets the session of a request."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        body = pages[environ["PATH_INFO"]](find(environ)).encode()
        start_response(
            "200 OK",
            [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))],
        )
        return [body]

    return application


def bare_site() -> WSGIApplication:
    """Make the application without sessions: its pages get one dict, for all requests."""
    shared = dict(SAMPLE)
    return site(lambda _environ: shared, BARE_PAGES)


@cache
def ask_bare() -> Ask:
    """Ask that application: the same one for all who are counted minus it."""
    return wsgi(bare_site())


@dataclass(frozen=True, kw_only=True)
class Rival:
    """The site with somebody's sessions, and on the same framework without any.

    ``forgets``: whether the cookie from before a login is worth nothing after it. Where
    the session lives in the cookie that cannot be, and some do not promise it elsewhere.
    """

    name: str
    ask: Ask
    ask_bare: Ask
    forgets: bool


def in_turn(things: Sequence[T], in_a_row: int = 1) -> Iterator[T]:
    """Give one thing after the other, each so many times, for ever."""
    return chain.from_iterable(repeat(thing, in_a_row) for thing in cycle(things))


def browsing(ask: Ask, paths: Sequence[str], jar: list[str], in_a_row: int = 1) -> Arm:
    """Make an arm in which a visitor asks for some pages, one after the other.

    The next visitor comes after so many times. The jar has the cookie that each was last
    given, so that arms with one jar are visited by the same people.
    """
    turns = in_turn(range(len(jar)), in_a_row)

    def browse() -> None:
        visitor = next(turns)
        for path in paths:
            cookie = ask(path, jar[visitor]).cookie
            if cookie:
                jar[visitor] = cookie

    return browse


def visiting(
    application: WSGIApplication, path: str, cookies: Sequence[str], in_a_row: int = 1
) -> Arm:
    """Make an arm that asks for a page, with each cookie so many times before the next."""
    return browsing(wsgi(application), (path,), list(cookies), in_a_row)


def begin(ask: Ask, visitors: int = VISITORS) -> list[str]:
    """Begin a session with the sample for each visitor; give the jar of their cookies."""
    return [ask("/fill", "").cookie for _ in range(visitors)]


def fill(application: WSGIApplication) -> list[str]:
    """Begin a session with the sample for each visitor; give their cookies."""
    return begin(wsgi(application))


def prove(**sites: WSGIApplication) -> None:
    """See that all these sites read, write and keep the same in their sessions."""
    told = {name: _told(wsgi(application), _VISITS) for name, application in sites.items()}
    require_equal("the story of a session", expected=_VISITS, **told)


def prove_same(rivals: Sequence[Rival]) -> None:
    """See that these rivals do the same with their sessions, and without them.

    They read, write and keep; what they flash is shown once; and a login carries all on
    to another cookie. What the old one is worth then is as they declare it.
    """
    story = [*_VISITS, *_FORM, *_LOGIN]
    for rival in rivals:
        told, told_bare = _told(rival.ask, story), _told(rival.ask_bare, story)
        require_equal(f"the story of {rival.name}", expected=story, told=told, bare=told_bare)
        left = "{}" if rival.forgets else _shown(_VISITED)
        before = _last_cookie(rival.ask, _VISITS)
        after = rival.ask("/login", before).cookie
        if after in ("", before):
            raise RuntimeError(f"{rival.name}: a login sets no other cookie than {before!r}")
        worth = [rival.ask("/show", cookie).body.decode() for cookie in (after, before)]
        require_equal(
            f"{rival.name}, cookies after and before",
            expected=[_shown(_LOGGED_IN), left],
            told=worth,
        )


def _shown(data: Mapping[str, object]) -> str:
    return json.dumps(data, sort_keys=True)


_Story: TypeAlias = list[tuple[str, str]]

_VISITED: Final = {**SAMPLE, "visits": 100_002}
_LOGGED_IN: Final = {**_VISITED, "user": LOGGED_IN}

_VISITS: Final[_Story] = [
    ("/fill", "filled"),
    ("/ignore", "ignored"),
    ("/read", "100000"),
    ("/visit", "100000"),
    ("/visit", "100001"),
    ("/show", _shown(_VISITED)),
]
_FORM: Final[_Story] = [
    ("/form", "see the form again"),
    ("/form-again", "\n".join(f"{field}: {OLD[field]}: {ERRORS.get(field, '')}" for field in OLD)),
    ("/form-again", "\n".join(f"{field}: : " for field in OLD)),
    ("/show", _shown(_VISITED)),
]
_LOGIN: Final[_Story] = [
    ("/login", "logged in"),
    ("/read", "100002"),
    ("/show", _shown(_LOGGED_IN)),
]


def _told(ask: Ask, story: _Story) -> _Story:
    """Ask for the pages of a story as one visitor; give what came."""
    told, cookie = [], ""
    for path, _ in story:
        answer = ask(path, cookie)
        cookie = answer.cookie or cookie
        if answer.status != "200 OK":
            raise RuntimeError(f"{path} was answered with {answer}")
        told.append((path, answer.body.decode()))
    return told


def _last_cookie(ask: Ask, story: _Story) -> str:
    cookie = ""
    for path, _ in story:
        cookie = ask(path, cookie).cookie or cookie
    return cookie
