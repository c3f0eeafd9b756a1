"""One request in process, with everybody's sessions: in cookies, and on the server.

Each side is counted minus the same page on its own framework without sessions, so that
what is compared is the session, and not the framework. The pages, the data and the
answers are the same, as is proved before anything is timed. What somebody's sessions do
less than ours, or more, is told in their module in ``benchmarks/rivals``.

In cookies every request is another visitor's, for after each write the cookie is a new
one. On the server a visitor sends five requests in a row, as for a page and what is on it,
so that one of the five brings a cookie that was not seen lately.

An untouched session costs some microseconds, the difference of two much larger figures:
a quotient of two such is mostly noise, and so that promise is held to their difference.

What these cases do not show: a server, whose own cost comes on top, the same for all;
other requests at the same time, be it that they wait or that they undo each other's
work; stores with millions of sessions; forms with bodies, which are parsed the same with
and without sessions; and the wait for the disk itself: nobody here asks for bytes to have
reached it when a request ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from glimr_session import CookieStore, DiskStore

from ..asking import Ask
from ..case import Case, Place, Side, Target, Timed
from ..measure import Arm
from ..ours import ours
from ..rivals import beaker, django, flask, flask_session, starlette, starsessions
from ..site import VISITORS, Rival, begin, browsing, prove_same

__all__ = ["PLACES", "SECONDS", "cases"]

PLACES: Final = ("memory", "tmpfs", "disk")
SECONDS: Final = 36

_IN_COOKIES: Final = (
    flask.in_cookies,
    beaker.in_cookies,
    django.in_cookies,
    starlette.in_cookies,
    starsessions.in_cookies,
)
_ON_SERVER: Final = (
    beaker.on_server,
    flask_session.on_server,
    django.on_server,
    starsessions.on_server,
)

_SECONDS: Final = 4.8  # of a case
_PAGE: Final = 5  # requests
_QUICK_VISITORS: Final = 1_100  # more than any side remembers

_KINDS: Final = {
    "untouched": ("/ignore",),
    "read only": ("/read",),
    "read and write": ("/visit",),
    "form with errors": ("/form", "/form-again"),
    "log in": ("/login",),
}
"""What a visitor asks for. The form is sent, and then shown again: two requests."""


def _untouched(beaker_name: str) -> list[Target]:
    return [
        Target("at most 3 us more than no session", "", 3.0, figure="cpu"),
        Target("cheaper than Beaker's", beaker_name, 0.0, unit="more", figure="cpu"),
    ]


# Nobody waits for anything here, so that on a busy machine the processor's time tells more.
_COOKIE_TARGETS: Final = {
    "untouched": _untouched("Beaker (cookie)"),
    "read only": [Target("at most 0.35 of Flask's", "Flask", 0.35, figure="cpu")],
    "read and write": [
        Target("at most 0.33 of Flask's", "Flask", 0.33, figure="cpu"),
        Target("ahead of Django's", "Django (signed cookies)", 1.0, figure="cpu"),
        Target("ahead of Starlette's", "Starlette", 1.0, figure="cpu"),
    ],
}


def _server_targets(place: str) -> dict[str, list[Target]]:
    miss = _MISSED_IN_MEMORY if place == "tmpfs" else _AT_THE_LIMIT
    return {
        "untouched": _untouched("Beaker (file)"),
        "read and write": [
            Target(f"at most 1/10 of {name}", name, 0.1, known_miss=miss)
            for name in ("Beaker (file)", "Flask-Session (files)", "Django (files)")
        ],
    }


# On a disk a file costs two to three times as much, though nobody waits for it.
_AT_THE_LIMIT: Final = (
    "it is at the limit, and falls to one side or the other from run to run: ours is processor "
    "time, 45 to 80 us as other machines on the same host leave it, and theirs is the file "
    "system's, 300 to 700 us as it has to wait for its journal"
)
_MISSED_IN_MEMORY: Final = (
    "a file in memory costs its system calls and no more: a tenth of any of theirs is less "
    "than a bare diskcache transaction takes, with one get and one set"
)


def cases(place: Place) -> Iterator[Case]:
    """Yield what a request costs: in memory with cookies, elsewhere on the server."""
    visitors = _QUICK_VISITORS if place.quick else VISITORS
    with ExitStack() as stack:
        if place.name == "memory":
            rivals = [ours(CookieStore())]
            for in_cookies in _IN_COOKIES:
                rivals += stack.enter_context(in_cookies())
            yield from _requests("cookie", rivals, _COOKIE_TARGETS, visitors)
        else:
            store = DiskStore(place.directory / "ours")
            stack.callback(store.close)
            rivals = [ours(store)]
            for on_server in _ON_SERVER:
                rivals += stack.enter_context(on_server(place.directory))
            yield from _requests(
                "disk", rivals, _server_targets(place.name), visitors, in_a_row=_PAGE
            )


def _requests(
    store: str,
    rivals: Sequence[Rival],
    targets: Mapping[str, Sequence[Target]],
    visitors: int,
    *,
    in_a_row: int = 1,
) -> Iterator[Case]:
    """Yield a case for each kind of request."""
    prove_same(rivals)
    jars = {rival.name: begin(rival.ask, visitors) for rival in rivals}
    for name, paths in _KINDS.items():
        yield Timed(
            name=f"{name}, {store}",
            group="requests",
            sides=_sides(rivals, jars, paths, in_a_row),
            targets=targets.get(name, ()),
            seconds=_SECONDS,
        )


def _sides(
    rivals: Sequence[Rival], jars: Mapping[str, list[str]], paths: Sequence[str], in_a_row: int
) -> dict[str, Side]:
    bare: dict[Ask, Arm] = {}  # one arm for each framework
    sides = {}
    for rival in rivals:
        jar = jars[rival.name]
        if rival.ask_bare not in bare:
            bare[rival.ask_bare] = browsing(rival.ask_bare, paths, [*jar], in_a_row)
        arm = browsing(rival.ask, paths, jar, in_a_row)
        sides[rival.name] = Side(arm, bare[rival.ask_bare])
    return sides
