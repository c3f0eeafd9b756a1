"""What a session is made of, by itself: the signature, JSON, a row in a database.

A request cannot take less than its parts, and these are the parts, each at its barest:
HMAC and JSON as the libraries give them, a ``diskcache.Cache`` with the settings of the
store, and SQLite itself with one SELECT or UPDATE by the number of a row. All of them
have as many rows, with values of the same size, and keys of the same length. What they
leave out is what makes a session of a row: the cookie, the signature, JSON, the merging
of changes, the expiry. Requests are counted minus the same application without sessions.

What these cases do not show: other requests that write at the same time (``contention``),
a store with millions of sessions in it (``growth``), and the wait for the disk itself
(``durability``): no side asks for its bytes to have reached it when a request ends.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import itsdangerous

from glimr_session import CookieStore, DiskStore, SessionStore, StoredSession, generate_id
from glimr_session.cookies import SessionCookie, Signatures
from glimr_session.payload import decode_stored, encode_stored
from glimr_session.state import Changes

from ..barerows import PAGE, BareRows
from ..case import Case, Place, Side, Target, Timed, require_equal
from ..measure import Arm
from ..ours import SECRET, glimr_site
from ..sample import SAMPLE
from ..site import VISITORS, bare_site, fill, in_turn, prove, visiting

__all__ = ["PLACES", "SECONDS", "cases"]

PLACES: Final = ("tmpfs", "disk")
SECONDS: Final = 12

_CACHES: Final = (
    "2.3 to 2.5 on a calm machine, and up to 3 when others on the host take the processor's "
    "caches: a request walks through more code than a loop of gets"
)
_SECONDS: Final = 3.4  # of a case

_OURS: Final = "glimr_session"
_GET: Final = "diskcache: get"
_TRANSACTION: Final = "diskcache: get and set in a transaction"


def cases(place: Place) -> Iterator[Case]:
    """Yield a request on each store beside its parts."""
    yield from _disk(place.directory)
    yield from _cookie()


def _disk(directory: Path) -> Iterator[Case]:
    with (
        closing(DiskStore(directory / "ours")) as store,
        closing(BareRows(directory / "diskcache")) as rows,
        closing(_connect(directory / "sqlite.db", rows.value)) as bare,
    ):
        requests = _requests(store)
        opening, committing = _opening(store), _committing(store)
        selecting, updating = _selecting(bare), _updating(bare)
        require_equal(
            "one row",
            written=rows.value,
            got=rows.get(),
            transacted=rows.transact(),
            selected=selecting(),
            updated=updating(),
        )
        require_equal("one session", kept=SAMPLE, opened=opening())
        commits = [committing() for _ in range(PAGE)]  # all to one session
        require_equal(
            "commits", expected=[100_000 + number for number in range(PAGE)], made=commits
        )
        yield Timed(
            name="a request that reads, disk store",
            group="limits",
            seconds=_SECONDS,
            sides={
                _OURS: requests["/read"],
                "DiskStore: open": Side(opening),
                _GET: Side(rows.get),
                "SQLite: SELECT by rowid": Side(selecting),
            },
            targets=[
                Target(
                    "read only: at most 2.5 bare gets",
                    yardstick=_GET,
                    limit=2.5,
                    known_miss=_CACHES,
                )
            ],
        )
        yield Timed(
            name="a request that reads and writes, disk store",
            group="limits",
            seconds=_SECONDS,
            sides={
                _OURS: requests["/visit"],
                "DiskStore: open and commit": Side(committing),
                _TRANSACTION: Side(rows.transact),
                "diskcache: set": Side(rows.set),
                "SQLite: SELECT and UPDATE by rowid": Side(updating),
            },
            targets=[
                Target(
                    "read and write: at most 1.5 times a bare transaction with a get and a set",
                    yardstick=_TRANSACTION,
                    limit=1.5,
                )
            ],
        )


def _cookie() -> Iterator[Case]:
    store = CookieStore()
    cookie = SessionCookie(Signatures([SECRET], "limits"))
    wires = [_begin(store) for _ in range(VISITORS)]
    headers = in_turn([cookie.set(wire, secure=True).partition(";")[0] for wire in wires], PAGE)
    to_sign, to_open = in_turn(wires, PAGE), in_turn(wires, PAGE)
    key = hashlib.sha256(SECRET.encode()).digest()
    signer = itsdangerous.Signer(key, key_derivation="none", digest_method=hashlib.sha256)
    message = wires[0].encode()[:400].ljust(400, b".")
    stored = StoredSession(data=SAMPLE, revision=1)

    def digest() -> bytes:
        return hmac.digest(key, message, "sha256")

    def sign() -> bytes:
        return signer.get_signature(message)

    def convert() -> Mapping[str, object]:
        decoded = decode_stored(encode_stored(stored))
        assert decoded is not None
        return decoded.data

    def read() -> str:
        received = cookie.read(next(headers))
        assert received is not None
        return received.value

    def set_cookie() -> str:
        return cookie.set(next(to_sign), secure=True)

    def commit() -> str:
        base = store.open(next(to_open))
        assert base is not None
        edits = {"visits": base.data["visits"] + 1}
        return store.commit(Changes(base, base.id, edits=edits))

    require_equal("a signature", digest=base64.urlsafe_b64encode(digest())[:-1], sign=sign())
    require_equal("JSON and back", put=SAMPLE, came=convert())
    require_equal("a cookie", put=wires[0], read=read())
    again = cookie.read(set_cookie().partition(";")[0])
    require_equal("a cookie set", put=wires[0], read=again and again.value)
    kept = store.open(commit())
    require_equal("a commit", put={**SAMPLE, "visits": 100_001}, kept=kept and dict(kept.data))
    yield Timed(
        name="a request that reads and writes, cookie store",
        group="limits",
        seconds=_SECONDS,
        sides={
            _OURS: _requests(store)["/visit"],
            "CookieStore: open and commit": Side(commit),
            "a cookie read and verified": Side(read),
            "a cookie signed and set": Side(set_cookie),
            "itsdangerous: signature of 400 bytes": Side(sign),
            "HMAC-SHA-256 of 400 bytes": Side(digest),
            "JSON encoded and decoded": Side(convert),
        },
    )


def _requests(store: SessionStore) -> dict[str, Side]:
    """Give for each page a request of one visitor's after the other, five for each."""
    ours, bare = glimr_site(store), bare_site()
    prove(glimr=ours, bare=bare)
    cookies = fill(ours)
    return {
        page: Side(visiting(ours, page, cookies, PAGE), visiting(bare, page, cookies, PAGE))
        for page in ("/read", "/visit")
    }


def _begin(store: SessionStore) -> str:
    wire = store.commit(Changes(None, generate_id(), edits=SAMPLE))
    assert type(wire) is str
    return wire


def _opening(store: DiskStore) -> Arm:
    wires = in_turn([_begin(store) for _ in range(VISITORS)], PAGE)

    def opened() -> object:
        found = store.open(next(wires))
        assert found is not None
        return found.data

    return opened


def _committing(store: DiskStore) -> Arm:
    wires = in_turn([_begin(store) for _ in range(VISITORS)], PAGE)

    def commit() -> object:
        base = store.open(next(wires))
        assert base is not None
        visits: int = base.data["visits"]
        kept = store.commit(Changes(base, base.id, edits={"visits": visits + 1}))
        assert kept
        return visits

    return commit


def _connect(file: Path, value: bytes) -> sqlite3.Connection:
    """Make a database with the settings of the store, and rows with this value."""
    connection = sqlite3.connect(file, isolation_level=None)
    for setting in ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = 8192"):
        connection.execute(f"PRAGMA {setting}")
    connection.execute("CREATE TABLE Sessions (number INTEGER PRIMARY KEY, value BLOB)")
    connection.execute("BEGIN")
    rows = [(value,)] * VISITORS
    connection.executemany("INSERT INTO Sessions (value) VALUES (?)", rows)
    connection.execute("COMMIT")
    return connection


def _selecting(connection: sqlite3.Connection) -> Arm:
    numbers = in_turn(range(1, VISITORS + 1), PAGE)

    def select() -> object:
        statement = "SELECT value FROM Sessions WHERE number = ?"
        return connection.execute(statement, (next(numbers),)).fetchone()[0]

    return select


def _updating(connection: sqlite3.Connection) -> Arm:
    numbers = in_turn(range(1, VISITORS + 1), PAGE)

    def update() -> object:
        number = next(numbers)
        statement = "SELECT value FROM Sessions WHERE number = ?"
        (value,) = connection.execute(statement, (number,)).fetchone()
        connection.execute("UPDATE Sessions SET value = ? WHERE number = ?", (value, number))
        return value

    return update
