"""Which session the cookies of a request lead to."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .._session.serialization import StoredSession
from .cookie import ReceivedCookies
from .signing import VerifiedCookie
from .steps import Steps

__all__ = ["Lookup", "look_up"]


class Lookup(NamedTuple):
    """What the store says of the cookies of a request.

    Attributes:
        received: the cookies.
        cookie: that of the session which is used, if there is one.
        stored: that session.
        new_id: the id of a new session, where there is none. One that the store does not know
            is never adopted: it may be an attacker's, who waits for somebody to log in with it.
        behind: whether there is none here, but the browser may have a newer one: a login has
            moved it a moment ago, or a newer key may have signed its cookie.
        ambiguous: whether there is none because there are two.
    """

    received: ReceivedCookies
    cookie: VerifiedCookie | None = None
    stored: StoredSession | None = None
    new_id: str = ""
    behind: bool = False
    ambiguous: bool = False


def look_up(received: ReceivedCookies, new_id: Callable[[], str]) -> Steps[Lookup]:
    """Look for the sessions of the cookies that verify. Those that are gone do not count.

    Raises:
        StoreUnavailable: the store cannot be read.
    """
    living: list[tuple[VerifiedCookie, StoredSession]] = []
    for cookie in received.verified:
        stored = yield "open", cookie.value
        if stored is not None:
            living.append((cookie, stored))
    if len(living) > 1:  # one session in two cookies: the newer one
        living.sort(key=lambda found: found[0].issued_at)
        living = list({found[1].id: found for found in living}.values())
    if len(living) == 1:
        return Lookup(received, *living[0])
    behind = not living and received.newer
    if not living and not behind:
        for cookie in received.verified:
            behind = yield "has_moved", cookie.value
            if behind:
                break
    return Lookup(received, new_id=new_id(), behind=behind, ambiguous=bool(living))
