"""The cookie store against Flask's own sessions, which live in a signed cookie too.

Both sides are counted minus the same application without sessions. For Flask that is
one without a secret key, its own way to have none: with a key, Flask would verify and
decode the cookie of every request, used or not, and the difference would hide that.
The page and the data are the same in all four arms, and each request brings a cookie
that was not seen for thousands of requests, as after every write it is a new one.

What this does not show: Flask signs with SHA-1 and writes no expiry, we sign with
SHA-256 and write one; Flask's encoding knows a few types that are not JSON; and the
handle is Flask's context-local proxy there. That is what each side ships.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import flask

from glimr_session import CookieStore

from .case import Bound, Case, Side, Timed, ratio
from .measure import Clock
from .ours import SECRET, glimr_site
from .sample import SAMPLE
from .site import PAGES, Page, bare_site, fill, prove, visiting

__all__ = ["cases"]


def cases(_directory: Path) -> Iterator[Case]:
    """Yield a request that reads a key and writes a key."""
    ours, bare = glimr_site(CookieStore()), bare_site()
    theirs, theirs_bare = _flask_site(SECRET), _flask_site(None)
    prove(glimr=ours, bare=bare, flask=theirs, flask_bare=theirs_bare)
    cookies, their_cookies = fill(ours), fill(theirs)
    yield Timed(
        name="cookie store: read and write",
        ours=Side(visiting(ours, "/visit", cookies), visiting(bare, "/visit", cookies)),
        yardstick_name="Flask's own",
        yardstick=Side(
            visiting(theirs, "/visit", their_cookies),
            visiting(theirs_bare, "/visit", their_cookies),
        ),
        compare=ratio,
        bound=Bound(0.4, "times"),
        clock=Clock.PROCESSOR,
    )


def _flask_site(secret: str | None) -> flask.Flask:
    """Make the site on Flask, with its sessions if there is a secret to sign them with."""
    application = flask.Flask(__name__)
    application.secret_key = secret
    session = dict(SAMPLE) if secret is None else flask.session

    def view(page: Page) -> str:
        return page(session)

    for path, page in PAGES.items():
        application.add_url_rule(path, path, view, defaults={"page": page})
    return application
