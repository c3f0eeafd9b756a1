"""A request on the disk store beside its parts, and with a large session.

The least that keeps a session on a disk is one row of a ``diskcache.Cache`` with the settings
of the store: one ``get``, or a transaction with a ``get`` and a ``set``. A request adds the
cookie, the signature, JSON and the merging of changes. It is counted minus the same request
without sessions.

The large session has 20 kB in 2,800 small lists and dicts. It has no target.
"""

from collections.abc import Iterator
from typing import Final

from glimr_session import DiskStore

from ..measure import minus, time_arms
from ..results import OURS, Place, Result, Target
from ..sites import IN_A_ROW, begin, browse, glimr_site, prove_same
from ..stores import BARE_GET, BARE_TRANSACTION, bare_rows

_CACHES: Final = (
    "2.3 to 2.5 on a calm machine, and up to 4 while others on the host use the processor's "
    "caches, since a request runs through more code than a loop of gets"
)
_FEW: Final = 100  # large sessions
_TARGETS: Final = {
    "read only": Target(against=BARE_GET, limit=2.5, known_miss=_CACHES),
    "read and write": Target(against=BARE_TRANSACTION, limit=1.5),
}


def run(place: Place) -> Iterator[Result]:
    """Yield a request that reads and one that writes, then both with a large session."""
    seconds = 0.4 if place.quick else 8
    site = glimr_site(DiskStore(place.directory / "ours"))
    prove_same([site])
    bare = dict(zip(_TARGETS, bare_rows(place.directory / "diskcache"), strict=True))
    for size, cookies in (
        ("limits", begin(site.client)),
        ("large session", begin(site.client, "/fill-large", _FEW)),
    ):
        for page, paths in (("read only", ["/read"]), ("read and write", ["/visit"])):
            arms = {
                OURS: browse(site.client, paths, cookies, IN_A_ROW),
                "without": browse(site.bare, paths, [*cookies], IN_A_ROW),
            }
            target = _TARGETS[page]
            if size == "limits":
                arms[target.against] = bare[page]
            rounds = time_arms(arms, seconds)
            rounds[OURS] = minus(rounds[OURS], rounds.pop("without"))
            targets = [target] if size == "limits" else []
            yield Result(case=f"{size}, {page}", unit="us", rounds=rounds, targets=targets)
