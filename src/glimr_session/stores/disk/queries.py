"""The disk store's statements on diskcache's table, and the connection that runs them."""

from __future__ import annotations

import secrets
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeAlias

__all__ = ["Found", "Row", "SessionConnection", "checksum"]

# diskcache's columns, used in its own sense: store_time is when the id was made, access_time
# when the session was last used, access_count counts commits, and expire_time is when the
# row may be removed. Of these only expire_time is in an index; moving its entry takes as
# long as the rest of a commit together. tag is a checksum: SQLite has none, and with one
# page of a file in the place of another it returns the wrong session, or parts of two.
#
# A session keeps its rowid for life, whatever its id: a request that opened it before a
# login finds it again after. Rowids are as good as random; SQLite's own choice would give
# that of a deleted row to the next one. Only an id that is saved again gets its rowid again,
# and the revision tells the two sessions apart.
#
# A known rowid needs one lookup, in the table. The key index is only used when the rowid is
# unknown, or to confirm that a session really does not exist.
_COLUMNS: Final = """
    rowid, store_time, access_time, access_count, expire_time, value, tag, key FROM Cache
"""
_FIND: Final = f"SELECT {_COLUMNS} WHERE rowid = ? AND raw = 1"
_FIND_BY_KEY: Final = f"SELECT {_COLUMNS} WHERE key = ? AND raw = 1"
_INSERT: Final = """
    INSERT INTO Cache (key, store_time, access_time, access_count, expire_time, value, tag,
        rowid, raw, mode)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, 1)
"""
_REPLACE: Final = """
    UPDATE Cache SET key = ?, store_time = ?, access_time = ?, access_count = ?,
        expire_time = ?, value = ?, tag = ?, mode = 1, filename = NULL
    WHERE rowid = ?
"""
_UPDATE_VALUE: Final = """
    UPDATE Cache SET access_time = ?, access_count = ?, value = ?, tag = ?
    WHERE rowid = ? AND access_count = ? AND access_time > ? AND access_time <= ?
"""
_UPDATE_ROW: Final = """
    UPDATE Cache SET access_time = ?, access_count = ?, value = ?, tag = ?,
        key = ?, store_time = ?, expire_time = ?
    WHERE rowid = ? AND access_count = ? AND access_time > ? AND access_time <= ?
"""
_VALUE_ONLY: Final = 4  # columns of the former
_TOUCH: Final = "UPDATE Cache SET access_time = ?, expire_time = ? WHERE rowid = ?"
_DELETE: Final = "DELETE FROM Cache WHERE rowid = ? AND key = ?"
_DELETE_KEY: Final = "DELETE FROM Cache WHERE key = ? AND raw = 1"
_NEIGHBOURS: Final = 100  # a page of the index has 92 entries
_BEFORE: Final = """
    SELECT key FROM Cache INDEXED BY Cache_key_raw WHERE key < ? AND key >= x'' AND raw = 1
    ORDER BY key DESC LIMIT ?
"""
_AFTER: Final = """
    SELECT key FROM Cache INDEXED BY Cache_key_raw WHERE key > ? AND raw = 1 ORDER BY key LIMIT ?
"""
_COUNT: Final = "SELECT count(*) FROM Cache NOT INDEXED WHERE typeof(key) = 'blob' AND raw = 1"
_EXPIRED: Final = "SELECT 1 FROM Cache WHERE expire_time < ? LIMIT 1"
# A row's expire_time was computed with the lifetimes of its day; today's have a say too.
# coalesce: a tampered row may have NULL times.
_REMOVE_EXPIRED: Final = """
    DELETE FROM Cache WHERE rowid IN
    (SELECT rowid FROM Cache WHERE expire_time < ? ORDER BY expire_time LIMIT ?)
    AND coalesce(min(access_time + ?, store_time + ?), 0) < ?
"""
# In diskcache's table of its settings: it reads this one, keeps it, and makes nothing of it.
_COLLECTED_AT: Final = "glimr_session_collected_at"
_FIND_COLLECTED_AT: Final = "SELECT value FROM Settings WHERE key = ?"
_CLAIM_COLLECTION: Final = """
    INSERT INTO Settings (key, value) VALUES (?, ?)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value
    WHERE value IS ? OR typeof(value) NOT IN ('real', 'integer')
"""
_FORGET_COLLECTION: Final = "DELETE FROM Settings WHERE key = ?"
# Who sessions belong to, by their rowid: a table of our own beside diskcache's, made by the first
# session that belongs to somebody.
_OWNERS: Final = "glimr_session_owners"
_MAKE_OWNERS: Final = (
    f"CREATE TABLE IF NOT EXISTS {_OWNERS} (number INTEGER PRIMARY KEY, owner BLOB NOT NULL)",
    f"CREATE INDEX IF NOT EXISTS {_OWNERS}_owner ON {_OWNERS} (owner)",
)
_HAS_OWNERS: Final = f"SELECT 1 FROM sqlite_master WHERE name = '{_OWNERS}'"  # noqa: S608
_GIVE: Final = f"INSERT OR REPLACE INTO {_OWNERS} (number, owner) VALUES (?, ?)"  # noqa: S608
_TAKE: Final = f"DELETE FROM {_OWNERS} WHERE number = ?"  # noqa: S608
_TAKE_EXPIRED: Final = f"""
    DELETE FROM {_OWNERS} WHERE number IN
    (SELECT rowid FROM Cache WHERE expire_time < ? ORDER BY expire_time LIMIT ?)
    AND number NOT IN (SELECT rowid FROM Cache
        WHERE rowid = number AND coalesce(min(access_time + ?, store_time + ?), 0) >= ?)
"""  # noqa: S608
# Without a session: plain diskcache removes rows, and knows nothing of this table.
_ORPHANS: Final = f"""
    SELECT number FROM {_OWNERS} WHERE number NOT IN (SELECT rowid FROM Cache) LIMIT ?
"""  # noqa: S608
_TAKE_ORPHAN: Final = f"{_TAKE} AND number NOT IN (SELECT rowid FROM Cache)"  # noqa: S608
_OWNED: Final = f"""
    SELECT {_COLUMNS} WHERE rowid IN (SELECT number FROM {_OWNERS} WHERE owner = ?) AND raw = 1
"""  # noqa: S608
_SCAN: Final = f"SELECT {_COLUMNS} WHERE rowid > ? AND raw = 1 ORDER BY rowid LIMIT ?"
_CORRECT_EXPIRY: Final = """
    UPDATE Cache SET expire_time = min(access_time + ?, store_time + ?) WHERE rowid IN
    (SELECT rowid FROM Cache WHERE expire_time < ? ORDER BY expire_time LIMIT ?)
"""

_ADD_TO_COUNT: Final = "UPDATE Settings SET value = value + ? WHERE key = 'count'"


class Row(NamedTuple):
    """A session as it is stored. Times are seconds since the epoch."""

    key: bytes
    created_at: float
    last_used_at: float
    revision: int
    purge_after: float
    value: bytes


Found: TypeAlias = tuple[Any, ...]
"""A row as it was read: rowid, the times and the revision of ``Row``, value, checksum, key.

Each can be of any type: someone who can write the file can plant anything."""


Written: TypeAlias = (
    tuple[float, int, bytes, int] | tuple[float, int, bytes, int, bytes, float, float]
)
"""Last use, revision, value and checksum of a row; and, where an index has to change too, its
key, the making of the id, and the time after which it may be removed."""

Unchanged: TypeAlias = tuple[int, int, float, float]
"""Rowid, revision, and the times between which a row was last used."""


class SessionConnection(sqlite3.Connection):
    """A connection to the database, with an operation for each of the statements."""

    def find(self, key: bytes, rowid: int) -> Found | None:
        """Return the row under a key; most likely it has this rowid."""
        found = self.find_by_rowid(rowid)
        if found is not None and found[-1] == key:
            return found
        return self.find_by_key(key) or self._find_or_verify_absent(key)

    def find_by_rowid(self, rowid: int) -> Found | None:
        """Return a row, whatever its key is by now."""
        found: Found | None = self.execute(_FIND, (rowid,)).fetchone()
        return found

    def insert(self, rowid: int, row: Row) -> int:
        """Insert a row, replacing any row with the same key; random rowid if it is taken.

        Returns:
            The rowid.
        """
        fields = (*row, checksum(row.key, row.value))
        try:
            self.execute(_INSERT, (*fields, rowid))
        except sqlite3.IntegrityError:
            with nullcontext() if self.in_transaction else self.transaction():
                self.execute(_DELETE_KEY, (row.key,))
                rowid = secrets.randbits(63) or 1
                self.execute(_INSERT, (*fields, rowid))
        return rowid

    def replace(self, rowid: int, row: Row) -> None:
        """Replace everything in a row, the key included."""
        self.execute(_REPLACE, (*row, checksum(row.key, row.value), rowid))

    def update_if_unchanged(self, written: Written, unchanged: Unchanged) -> bool:
        """Update a row if it is still at a revision; return whether it was: optimistic locking.

        Fails too if the row's last use is not between the two times of ``unchanged``: it has
        expired, or we would move last-used backwards.
        """
        statement = _UPDATE_VALUE if len(written) == _VALUE_ONLY else _UPDATE_ROW
        return self.execute(statement, written + unchanged).rowcount == 1

    def extend_expiry(self, rowid: int, now: float, purge_after: float) -> None:
        """Record a use of a row and leave its value alone."""
        self.execute(_TOUCH, (now, purge_after, rowid))

    def remove(self, rowid: int, key: bytes) -> None:
        """Delete a row that was found in the same transaction."""
        if self.execute(_DELETE, (rowid, key)).rowcount != 1:
            raise sqlite3.DatabaseError("malformed: the index leads to another session")
        if self._has_owners():
            self.execute(_TAKE, (rowid,))

    def give(self, rowid: int, owner: bytes) -> None:
        """Record who a session belongs to, in the transaction that writes it; b"" is nobody."""
        if owner:
            for statement in _MAKE_OWNERS:
                self.execute(statement)
            self.execute(_GIVE, (rowid, owner))
        elif self._has_owners():
            self.execute(_TAKE, (rowid,))

    def owned(self, owner: bytes) -> list[Found]:
        """Return the rows of an owner."""
        if self._has_owners():
            return self.execute(_OWNED, (owner,)).fetchall()
        self.find_by_rowid(0)  # a damaged file is no empty list
        return []

    def orphans(self, limit: int) -> list[tuple[int]]:
        """Return rowids of the table of owners that no session has."""
        return self.execute(_ORPHANS, (limit,)).fetchall() if self._has_owners() else []

    def forget_orphans(self, orphans: list[tuple[int]]) -> None:
        """Forget who these rowids belonged to, unless they have a session by now."""
        with self.transaction():
            self.executemany(_TAKE_ORPHAN, orphans)

    def scan(self, after: int, limit: int) -> list[Found]:
        """Return the next rows whose rowid is larger, in the order of rowids."""
        return self.execute(_SCAN, (after, limit)).fetchall()

    def _has_owners(self) -> bool:
        return self.execute(_HAS_OWNERS).fetchone() is not None

    def has_expired(self, now: float) -> tuple[int, int] | None:
        """Return None if no row has expired, else a token.

        The token stays equal until another connection writes.
        """
        if self.execute(_EXPIRED, (now,)).fetchone() is None:
            return None
        ((version,),) = self.execute("PRAGMA data_version")
        return id(self), version

    def remove_expired(self, now: float, idle: float, absolute: float, limit: int) -> int:
        """Delete up to ``limit`` expired rows; return how many there were.

        Rows that were used less than ``idle`` seconds ago and made less than ``absolute``
        seconds ago are left; ``correct_expiry`` is for them.
        """
        arguments = (now, limit, idle, absolute, now)
        if not self._has_owners():
            return self.execute(_REMOVE_EXPIRED, arguments).rowcount
        with self.transaction():
            self.execute(_TAKE_EXPIRED, arguments)
            return self.execute(_REMOVE_EXPIRED, arguments).rowcount

    def correct_expiry(self, now: float, idle: float, absolute: float, limit: int) -> None:
        """Recompute ``expire_time`` of rows past it but still alive under today's lifetimes."""
        self.execute(_CORRECT_EXPIRY, (idle, absolute, now, limit))

    def collected_at(self) -> object:
        """Return when a collection was last claimed, or None; a tampered file can have anything."""
        found = self.execute(_FIND_COLLECTED_AT, (_COLLECTED_AT,)).fetchone()
        return None if found is None else found[0]

    def claim_collection(self, now: float, found: object) -> bool:
        """Claim a collection, unless somebody has since ``found``; return whether it is ours."""
        return self.execute(_CLAIM_COLLECTION, (_COLLECTED_AT, now, found)).rowcount == 1

    def forget_collection(self) -> None:
        """Have the next one who asks claim a collection."""
        self.execute(_FORGET_COLLECTION, (_COLLECTED_AT,))

    def checkpoint(self, *, restart: bool = False) -> tuple[int, int]:
        """Move the write-ahead log into the database; others read and write meanwhile.

        Args:
            restart: have the next commit begin the log anew: other writers wait while what they
                have added meanwhile is moved. Nothing is waited for here.

        Returns:
            The pages in the log, and how many of them are in the database: the same number if
            all are, and the log was begun anew if that was asked for. 0 and -1 while another
            connection does it.
        """
        mode = "RESTART" if restart else "PASSIVE"
        busy, pages, moved = self.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        if pages < 0:
            return 0, -1
        return pages, min(moved, pages - busy)

    def shorten_log(self, size: int) -> None:
        """Cut the log to a size in bytes, by a commit that begins it anew and changes nothing.

        It stays as it is if another commit was faster.
        """
        self.execute(f"PRAGMA journal_size_limit = {size}")
        try:
            with self.transaction():
                for change in (1, -1):  # the same value would not be written
                    self.execute(_ADD_TO_COUNT, (change,))
        finally:
            self.execute("PRAGMA journal_size_limit = -1")

    def find_by_key(self, key: bytes) -> Found | None:
        """Return the row under a key."""
        found: Found | None = self.execute(_FIND_BY_KEY, (key,)).fetchone()
        if found is not None and found[-1] != key:
            raise sqlite3.DatabaseError("malformed: the index leads to another session")
        return found

    def _find_or_verify_absent(self, key: bytes) -> Found | None:
        """Return the row under a key, or None if the index shows that there is none.

        With one page of an index in the place of another, SQLite finds nothing and reports
        no error. But then the neighbours of the key are out of order, or too few:
        sqlite3.DatabaseError. Takes 0.2 ms; only cookies of ended sessions come here.
        """
        with nullcontext() if self.in_transaction else self.transaction("BEGIN"):
            found = self.find_by_key(key)
            if found is not None:
                return found
            before = [other for (other,) in self.execute(_BEFORE, (key, _NEIGHBOURS))]
            after = [other for (other,) in self.execute(_AFTER, (key, _NEIGHBOURS))]
            count = None
            if len(before) < _NEIGHBOURS and len(after) < _NEIGHBOURS:
                ((count,),) = self.execute(_COUNT)
        keys = [*reversed(before), key, *after]
        if (
            any(type(other) is not bytes for other in keys)
            or any(lower >= upper for lower, upper in pairwise(keys))
            or (count is not None and len(keys) != count + 1)
        ):
            raise sqlite3.DatabaseError("malformed: the index is out of order")
        return None

    @contextmanager
    def transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
        """Take the write lock; COMMIT, or ROLLBACK after an exception."""
        self.execute(begin)
        try:
            yield
        except BaseException:
            if self.in_transaction:  # SQLite itself rolls back when the disk is full
                self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")


def checksum(key: bytes, value: bytes) -> int:
    """Return the CRC-32 of a value, which is right under this key and no other."""
    return zlib.crc32(key + value)
