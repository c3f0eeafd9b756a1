"""The disk store against Beaker's files, and against its own database used bare.

Every cost is counted minus that of the same application without sessions. The bare
arms are a ``diskcache.Cache`` with the settings of the store, as many rows, keys of the
same length and values of the same size; what they leave out is what makes a session of
a row: the cookie, the signature, JSON, the merging of changes, the expiry.

Beaker signs its cookie too (``secret``), has the same idle timeout, and keeps its
default serializer, pickle, which is faster than its JSON. Reads are not compared with
it, for it writes on every read.

What these cases do not show: other requests writing at the same time, a store with
millions of sessions in it, and the wait for the disk itself: no side asks for its bytes
to have reached it when a request ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import beaker.middleware
import diskcache

from glimr_session import DiskStore
from glimr_session.ids import generate_id, storage_key
from glimr_session.payload import StoredSession, encode_stored

from .case import Bound, Case, Side, Timed, ratio, require_equal
from .measure import Clock
from .ours import SECRET, glimr_site
from .sample import SAMPLE
from .site import VISITORS, bare_site, fill, in_turn, prove, site, visiting

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["cases"]

# A visitor's browser sends five requests for a page, then it is the next one's turn. Of
# the five, one brings a cookie that was not verified lately.
_PAGE: Final = 5

_DURABLE_BATCH: Final = 20.0  # milliseconds: some ten waits for the disk


def cases(directory: Path) -> Iterator[Case]:
    """Yield a request that reads and writes, against each yardstick, and one that reads."""
    store = DiskStore(directory / "ours")
    ours, bare, theirs = glimr_site(store), bare_site(), _beaker_site(directory / "beaker")
    prove(glimr=ours, bare=bare, beaker=theirs)
    cookies, their_cookies = fill(ours), fill(theirs)
    written = Side(
        visiting(ours, "/visit", cookies, _PAGE), visiting(bare, "/visit", cookies, _PAGE)
    )
    yield Timed(
        name="disk store: read and write",
        ours=written,
        yardstick_name="Beaker file",
        yardstick=Side(
            visiting(theirs, "/visit", their_cookies, _PAGE),
            visiting(bare, "/visit", their_cookies, _PAGE),
        ),
        compare=ratio,
        bound=Bound(0.125, "times"),
    )
    rows = _Rows(directory / "bare")
    require_equal("one row", written=rows.value, got=rows.get(), transacted=rows.transact())
    yield Timed(
        name="disk store: read and write",
        ours=written,
        yardstick_name="bare transaction",
        yardstick=Side(rows.transact),
        compare=ratio,
        bound=Bound(2, "times"),
    )
    yield Timed(
        name="disk store: read only",
        ours=Side(visiting(ours, "/read", cookies, _PAGE), visiting(bare, "/read", cookies, _PAGE)),
        yardstick_name="bare get",
        yardstick=Side(rows.get),
        compare=ratio,
        bound=Bound(4, "times"),
        clock=Clock.PROCESSOR,
    )
    rows.cache.close()
    store.close()
    durable = DiskStore(directory / "durable", durability="power")
    durable_site = glimr_site(durable)
    cookies = fill(durable_site)
    rows = _Rows(directory / "bare-durable", synchronous=2)
    yield Timed(
        name="disk store: durability power",
        ours=Side(
            visiting(durable_site, "/visit", cookies, _PAGE),
            visiting(bare, "/visit", cookies, _PAGE),
        ),
        yardstick_name="bare transaction, FULL",
        yardstick=Side(rows.transact),
        compare=ratio,
        bound=Bound(2, "times"),
        batch=_DURABLE_BATCH,
    )
    rows.cache.close()
    durable.close()


def _beaker_site(directory: Path) -> WSGIApplication:
    settings = {
        "session.type": "file",
        "session.data_dir": str(directory),
        "session.secret": SECRET,
        "session.timeout": 7200,
        "session.httponly": True,
        "session.auto": True,  # what was changed is saved without a call
    }
    application: WSGIApplication = beaker.middleware.SessionMiddleware(
        site(itemgetter("beaker.session")), settings
    )
    return application


class _Rows:
    """The database under the store, with the same settings and nothing around it."""

    def __init__(self, directory: Path, *, synchronous: int = 1) -> None:
        self.cache = diskcache.Cache(
            str(directory),
            timeout=5,
            eviction_policy="none",
            cull_limit=0,
            sqlite_synchronous=synchronous,
        )
        self.value = encode_stored(StoredSession(data=SAMPLE, revision=1))
        keys = [storage_key(generate_id()) for _ in range(VISITORS)]
        with self.cache.transact():
            for key in keys:
                self.cache.set(key, self.value)
        self._keys = in_turn(keys, _PAGE)

    def get(self) -> object:
        return self.cache.get(next(self._keys))

    def transact(self) -> object:
        key = next(self._keys)
        with self.cache.transact():
            value = self.cache.get(key)
            self.cache.set(key, value)
        return value
