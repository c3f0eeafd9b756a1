"""Beaker: a WSGI middleware with one file for each session.

Its serializer is pickle. It saves whatever was used, changed or not: the time of the last use
is stored with the data. There is a second file for each session, as a lock. It is taken to
read and again to write, and not held in between: of two requests at the same time one loses
its changes. After ``regenerate_id()`` the old file stays, and the old cookie opens it.
"""

from operator import itemgetter, methodcaller
from pathlib import Path

import beaker.middleware

from ..sites import LIFETIME, Site, bare_client
from ..worker import SECRET, Verbs, wsgi_client, wsgi_site


def files(directory: Path) -> Site:
    """Return the site with Beaker's files."""
    settings = {
        "session.type": "file",
        "session.data_dir": str(directory / "beaker"),
        "session.secret": SECRET,
        "session.timeout": LIFETIME,
        "session.auto": True,
        "session.httponly": True,
        "session.secure": True,
    }
    site = wsgi_site(itemgetter("beaker.session"), Verbs(methodcaller("regenerate_id")))
    client = wsgi_client(beaker.middleware.SessionMiddleware(site, settings))
    return Site("Beaker (files)", client, bare_client())
