"""The rows that the disk store keeps in diskcache's table, and the statements on them."""

from __future__ import annotations

import secrets
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeAlias

__all__ = ["Connection", "Found", "Row", "Swap", "another_number", "checksum", "first_number"]

# diskcache's columns, in its own sense: store_time is when the id was made, access_time
# when the session was last used, access_count counts commits, and expire_time is when
# the row may be collected. Of these, only expire_time is in an index, and to move an
# entry of that takes as long as the rest of a commit together. tag is a checksum: SQLite
# has none, and with one page of a file in the place of another it gives one session for
# another, or what is made of two.
#
# A session keeps its rowid for all its life, whatever id it goes by: who opened it
# before a login finds it again after. Numbers are as good as random, so that none is ever
# used for two sessions, as SQLite's own choice would be.
#
# A number that is known leads down the table alone, and not by way of the index of keys:
# each of them is a page, and with a million sessions it is in no cache. The index is there
# for numbers that are not known, and for what is not found: to be absent takes evidence.
_COLUMNS: Final = """
    rowid, store_time, access_time, access_count, expire_time, value, tag, key FROM Cache
"""
_FIND: Final = f"SELECT {_COLUMNS} WHERE rowid = ? AND raw = 1"
_FIND_BY_KEY: Final = f"SELECT {_COLUMNS} WHERE key = ? AND raw = 1"
_INSERT: Final = """
    INSERT INTO Cache (rowid, key, raw, mode,
        store_time, access_time, access_count, expire_time, value, tag)
    VALUES (?, ?, 1, 1, ?, ?, ?, ?, ?, ?)
"""
_REPLACE: Final = """
    UPDATE Cache SET key = ?2, mode = 1, filename = NULL,
        store_time = ?3, access_time = ?4, access_count = ?5, expire_time = ?6, value = ?7, tag = ?8
    WHERE rowid = ?1
"""
_SWAP: Final = """
    UPDATE Cache SET access_time = ?3, access_count = ?2 + 1, value = ?4, tag = ?6
    WHERE rowid = ?1 AND access_count = ?2 AND access_time > ?5 AND access_time <= ?3
"""
_SWAP_ALL: Final = """
    UPDATE Cache SET access_time = ?3, access_count = ?2 + 1, value = ?4, tag = ?6,
        key = ?7, store_time = ?8, expire_time = ?9
    WHERE rowid = ?1 AND access_count = ?2 AND access_time > ?5 AND access_time <= ?3
"""
_FEW: Final = 6  # parameters of the former
_TOUCH: Final = "UPDATE Cache SET access_time = ?, expire_time = ? WHERE rowid = ?"
_DELETE: Final = "DELETE FROM Cache WHERE rowid = ? AND key = ?"
_DELETE_KEY: Final = "DELETE FROM Cache WHERE key = ? AND raw = 1"
# More than fit on a page of the index: 92 of them.
_NEIGHBOURS: Final = 100
_BEFORE: Final = """
    SELECT key FROM Cache INDEXED BY Cache_key_raw WHERE key < ? AND key >= x'' AND raw = 1
    ORDER BY key DESC LIMIT ?
"""
_AFTER: Final = """
    SELECT key FROM Cache INDEXED BY Cache_key_raw WHERE key > ? AND raw = 1 ORDER BY key LIMIT ?
"""
_NUMBER: Final = "SELECT count(*) FROM Cache NOT INDEXED WHERE typeof(key) = 'blob' AND raw = 1"
_COLLECTABLE: Final = "SELECT 1 FROM Cache WHERE expire_time < ? LIMIT 1"
# A row's expire_time was computed with the lifetimes of that day; today's have a say too.
# A planted row without times has none.
_COLLECT: Final = """
    DELETE FROM Cache WHERE rowid IN
    (SELECT rowid FROM Cache WHERE expire_time < ?1 ORDER BY expire_time LIMIT ?4)
    AND coalesce(min(access_time + ?2, store_time + ?3), 0) < ?1
"""
_PUSH_ON: Final = """
    UPDATE Cache SET expire_time = min(access_time + ?2, store_time + ?3) WHERE rowid IN
    (SELECT rowid FROM Cache WHERE expire_time < ?1 ORDER BY expire_time LIMIT ?4)
"""


class Row(NamedTuple):
    """A session as it is stored. Times are seconds since the epoch."""

    key: bytes
    created: float
    seen: float
    revision: int
    collected: float
    value: bytes


Found: TypeAlias = tuple[Any, ...]
"""The number of a row, its fields, its checksum, and its key.

Of any type: whoever can write the file can plant anything."""


Swap: TypeAlias = (
    tuple[int, int, float, bytes, float, int]
    | tuple[int, int, float, bytes, float, int, bytes, float, float]
)
"""Number, revision, time, value, ``seen`` and checksum: see ``Connection.swap``. And if what is
in an index changes too: key, and the times when it was made and may be collected."""


class Connection(sqlite3.Connection):
    """A connection, and what a store says on it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cursor = self.cursor()  # for what each request says: a new one takes 0.3 us

    def close(self) -> None:
        """Close it for good: a cursor that failed would keep the file open."""
        self._cursor.close()
        super().close()

    def find(self, key: bytes, number: int) -> Found | None:
        """Give the row under a key, which most likely has this number."""
        found: Found | None = self._cursor.execute(_FIND, (number,)).fetchone()
        if found is not None and found[-1] == key:
            return found
        found = self._find_by_key(key)
        return self._find_surely(key) if found is None else found

    def find_again(self, number: int) -> Found | None:
        """Give a row that was found before, under whatever key it is now."""
        found: Found | None = self._cursor.execute(_FIND, (number,)).fetchone()
        return found

    def insert(self, number: int, row: Row) -> None:
        """Begin a row, in place of one that has its key; if the number is taken, at random."""
        fields = (*row, checksum(row.key, row.value))
        try:
            self.execute(_INSERT, (number, *fields))
        except sqlite3.IntegrityError:
            with nullcontext() if self.in_transaction else self.transaction():
                self.execute(_DELETE_KEY, (row.key,))
                self.execute(_INSERT, (another_number(), *fields))

    def replace(self, number: int, row: Row) -> None:
        """Replace everything in a row, the key included."""
        self.execute(_REPLACE, (number, *row, checksum(row.key, row.value)))

    def swap(self, swap: Swap) -> bool:
        """Replace the value of a row if it is at this revision still: compare and swap.

        It must have been used after ``seen``, or has expired, and not after now, or a use
        would be forgotten. If it goes by another key by now, it is at another revision too.
        """
        statement = _SWAP if len(swap) == _FEW else _SWAP_ALL
        return self._cursor.execute(statement, swap).rowcount == 1

    def renew(self, number: int, now: float, collected: float) -> None:
        """Push a row on and leave its value alone."""
        self.execute(_TOUCH, (now, collected, number))

    def remove(self, number: int, key: bytes) -> None:
        """Delete a row that was found; in the same transaction."""
        if self.execute(_DELETE, (number, key)).rowcount != 1:
            raise sqlite3.DatabaseError("malformed: the index leads to another session")

    def collectable(self, now: float) -> tuple[int, int, int] | None:
        """Tell whether there is something to collect: None if not, or the present version.

        That is the same again, but for the last of its numbers, which counts the rows that
        were changed here, as long as nobody else has written.
        """
        if self.execute(_COLLECTABLE, (now,)).fetchone() is None:
            return None
        ((version,),) = self.execute("PRAGMA data_version")
        return id(self), version, self.total_changes

    def collect(self, now: float, idle: float, absolute: float, most: int) -> int:
        """Delete so many of the rows that may be collected, at most; give their number.

        Those that were used less than ``idle`` seconds ago and made less than
        ``absolute`` ago are left: ``push_on`` is for them.
        """
        return self._cursor.execute(_COLLECT, (now, idle, absolute, most)).rowcount

    def push_on(self, now: float, idle: float, absolute: float, most: int) -> None:
        """Put right when rows may be collected that should have been by now."""
        self.execute(_PUSH_ON, (now, idle, absolute, most))

    def checkpoint(self) -> None:
        """Move what is in the log to where it belongs; others read and write meanwhile."""
        self.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _find_by_key(self, key: bytes) -> Found | None:
        found: Found | None = self._cursor.execute(_FIND_BY_KEY, (key,)).fetchone()
        if found is not None and found[-1] != key:
            raise sqlite3.DatabaseError("malformed: the index leads to another session")
        return found

    def _find_surely(self, key: bytes) -> Found | None:
        """Give the row under a key, or None if the index is good evidence of its absence.

        With one page of an index in the place of another SQLite finds nothing, and no
        fault. But the neighbours of the key are out of order then, or not all that there
        are: sqlite3.DatabaseError. This takes 0.2 ms, and is for those who come with a
        session that has ended.
        """
        with nullcontext() if self.in_transaction else self.transaction("BEGIN"):
            found = self._find_by_key(key)
            if found is not None:
                return found
            before = [one for (one,) in self.execute(_BEFORE, (key, _NEIGHBOURS))]
            after = [one for (one,) in self.execute(_AFTER, (key, _NEIGHBOURS))]
            number = None
            if len(before) < _NEIGHBOURS and len(after) < _NEIGHBOURS:
                ((number,),) = self.execute(_NUMBER)
        keys = [*reversed(before), key, *after]
        if (
            any(type(one) is not bytes for one in keys)
            or any(one >= other for one, other in pairwise(keys))
            or (number is not None and len(keys) != number + 1)
        ):
            raise sqlite3.DatabaseError("malformed: the index is out of order")
        return None

    @contextmanager
    def transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
        """Take the write lock, and COMMIT, or ROLLBACK after an exception."""
        self.execute(begin)
        try:
            yield
        except BaseException:
            if self.in_transaction:  # SQLite itself rolls back when the disk is full
                self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")


def first_number(key: bytes) -> int:
    """Give the number of a session that a request began under this key: 1 to 2**63 - 1.

    So that the request that began it can find it again, if a login moves it while the
    body of its response is on its way.
    """
    return int.from_bytes(key[:8]) >> 1 or 1


def another_number() -> int:
    """Give a number at random, for a session that is saved under an id from elsewhere."""
    return secrets.randbits(63) or 1


def checksum(key: bytes, value: bytes) -> int:
    """Give the CRC-32 of a value, which is right under this key and no other."""
    return zlib.crc32(key + value)
