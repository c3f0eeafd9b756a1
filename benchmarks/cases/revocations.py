"""One WSGI request in this process, with sessions in cookies that can be ended, and plain ones.

Each session belongs to somebody whose sessions were ended before: so each request with
``[cookie] revocations = "disk"`` reads a record, which is there, and one that writes reads it
twice. The site and the pages are the same on both sides. Both are counted minus the page without
sessions.
"""

import time
from collections.abc import Iterator
from itertools import cycle
from typing import Final

from glimr_session import CommitResult, CookieStore, DiskStore
from glimr_session._ids import owner_key
from glimr_session._session.changes import Changes
from glimr_session._session.serialization import Owner
from glimr_session.stores.revocations import RevocableStore

from ..results import Place, Result, Target
from ..sites import glimr_site
from .requests import compare

_PLAIN: Final = "plain"
_PAGES: Final = ("untouched", "read only", "read and write", "log in")
_OWNERS: Final = 100


def run(place: Place) -> Iterator[Result]:
    """Yield each page."""
    revocable = RevocableStore(_Owned(), DiskStore(place.directory / "revocations"))
    for owner in range(_OWNERS):
        revocable.destroy_all(owner)
    sites = [
        glimr_site(revocable)._replace(name="with revocations", forgets=True),
        glimr_site(_Owned())._replace(name=_PLAIN),
    ]
    targets = {
        "read only": [Target(against=_PLAIN, limit=2.3)],
        "read and write": [Target(against=_PLAIN, limit=2.8)],
    }
    yield from compare("revocations, cookie", sites, targets, _PAGES, place)


class _Owned(CookieStore):
    """Gives each session to somebody when it begins, after the last revocation."""

    def __init__(self) -> None:
        super().__init__()
        self._owners = cycle(range(_OWNERS))

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        if changes.base is None:
            owner = Owner(owner_key(next(self._owners)), time.time() + 3600)
            changes = changes._replace(owner=owner)
        return super().commit(changes, wait=wait)
