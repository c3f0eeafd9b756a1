"""The embedded store: sessions in a directory of this machine."""

from __future__ import annotations

import functools
import logging
import math
import os
import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ..ids import storage_key
from ..payload import StoredSession, checked_items, decode_stored, encode_stored
from ..store import DEFAULT_LIFETIME, MOVED, Data, Duration, Moved, seconds
from .database import PAGE
from .lending import Lender, lent
from .rows import Connection, Found, Row, another_number, checksum, first_number

if TYPE_CHECKING:
    from ..state import Changes

__all__ = ["DiskStore", "disk_store"]

logger = logging.getLogger("glimr_session")

# SQLite has no integers of more bits, and one more is added.
_MOST_COMMITS: Final = 2**62

# Rows outlive their sessions by this many seconds, so that a clock which steps forward
# by less, and back again, has destroyed nothing: not by two hours, as with a mistaken
# time zone, nor by four, from two hours behind to two ahead.
_GRACE: Final = 5 * 3600.0


# Sessions that are collected in one step, some 20 us each; where each step waits for the
# disk, ten times as many.
_STEPS: Final = {"process": 10, "power": 100}

_PER_STEP: Final = 2  # operations

# A row is in the table and in two indexes, and seldom on a page that is in the log already.
_ENTRIES: Final = 3

# A rest is so many times as long as its step, so that one commit in so many finds the lock
# taken, and within these bounds, in seconds.
_RESTS: Final = 40
_LEAST_REST: Final = 0.008
_MOST_REST: Final = 0.1


class DiskStore(Lender):
    """Keeps sessions in a directory of this machine, for any number of processes.

    ``directory`` is made with mode 0700 if it is missing; its parents must exist or be
    possible to make. ``lifetime`` is the idle and ``absolute_lifetime`` the absolute
    timeout, in seconds or as a ``timedelta``; 0 is no absolute timeout. ``timeout`` is
    how long to wait for another writer before ``StoreUnavailable``, likewise.
    ``durability`` is what an acknowledged commit outlives: "process", the death of this
    process, or "power", that of the machine, at the cost of a wait for the disk.

    A directory that others can read or that cannot be written is a ConfigError here, and
    a damaged database StoreUnavailable, not an error of the first request. While it is
    in use, both are StoreUnavailable, and a database that was deleted is made anew within
    a second. It must be on a local file system: SQLite's locks do not hold on a network
    one.
    """

    kind = "disk"
    atomic = True

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        lifetime: Duration = DEFAULT_LIFETIME,
        absolute_lifetime: Duration = timedelta(0),
        timeout: Duration = 5.0,
        durability: str = "process",
    ) -> None:
        self.lifetime = seconds("lifetime", lifetime)
        self.absolute_lifetime = seconds("absolute_lifetime", absolute_lifetime, zero=True)
        super().__init__(directory, timeout=timeout, durability=durability)
        self._margin = self.lifetime / 10
        self._step = _STEPS[durability]

    @lent("read")
    def open(self, connection: Connection, cookie_value: str) -> StoredSession | None:
        session_id, number = cookie_value, 0
        if len(cookie_value) > _ID:
            session_id, number = _parted(cookie_value)
        key, first = _place(session_id)
        row = connection.find(key, number or first)
        if row is None:
            return None
        found = self._checked(row, time.time())
        if found is not None:
            found.id = session_id
        return found

    def commit(self, changes: Changes) -> str | Moved | None:
        base = changes.base
        value = None
        if base is not None and base.revision and not changes.invalidated:
            # What is to be written, if nobody came between, is made before the line, so that
            # nobody there waits for it.
            value = _merged(base, changes, base.revision)
        return self._commit(changes, value)

    @lent("write")
    def _commit(
        self, connection: Connection, changes: Changes, value: bytes | None
    ) -> str | Moved | None:
        now = time.time()
        base = changes.base
        if base is None:
            return self._begin(connection, changes, now)
        if value is not None and self._swap(connection, base, changes, value, now):
            return _whole(changes.id, base.row)
        with connection.transaction():
            key = storage_key(base.id)
            number = base.row or first_number(key)
            again = connection.find_again(number)
            if again is None and not base.row:
                again = connection.find(key, number)
            if again is None:
                return None
            found = self._checked(again, now)
            if found is None:
                return None
            current = again[-1]
            if changes.invalidated:
                connection.remove(found.row, current)
                return self._begin(connection, changes, now)
            now = _used(found, now)
            elsewhere = current != key
            if changes.moved:
                if elsewhere:
                    # Another request has given the session an id that this one's browser
                    # must not get: to merge a login would log in whoever has got it.
                    return None
                current = storage_key(changes.id)
            row = self._row(
                current,
                _merged(found, changes, base.revision),
                revision=found.revision + 1,
                created=now if changes.moved else found.created,
                now=now,
            )
            connection.replace(found.row, row)
        return MOVED if elsewhere else _whole(changes.id, found.row)

    @lent("write")
    def touch(self, connection: Connection, session_id: str) -> bool:
        now = time.time()
        with connection.transaction():
            found = self._find(connection, session_id, now)
            if found is None:
                return False
            now = _used(found, now)
            connection.renew(found.row, now, self._collect(found.created, now))
        return True

    @lent("read")
    def load(self, connection: Connection, session_id: str) -> tuple[Data, Data]:
        found = self._find(connection, session_id, time.time())
        return ({}, {}) if found is None else (found.data, found.flash)

    @lent("write")
    def save(self, connection: Connection, session_id: str, data: Data, flash: Data) -> None:
        now = time.time()
        key = storage_key(session_id)
        with connection.transaction():
            found = self._find(connection, session_id, now)
            if found is not None:
                now = _used(found, now)
            revision = 1 if found is None else found.revision + 1
            row = self._row(
                key,
                _encoded(checked_items(data), checked_items(flash), set_in=revision),
                revision=revision,
                created=now if found is None else found.created,
                now=now,
            )
            if found is None:
                connection.insert(another_number(), row)
            else:
                connection.replace(found.row, row)

    @lent("write")
    def destroy(self, connection: Connection, session_id: str) -> None:
        key, number = _place(session_id)
        with connection.transaction():
            row = connection.find(key, number)
            if row is not None:
                connection.remove(row[0], key)

    def gc(self) -> int:
        """Remove what has expired, in steps that nobody notices; see SessionStore.gc.

        A step holds the lock for a fraction of a millisecond. As long as this process uses
        the store, or another one writes, each is followed by a rest, and some thousand
        sessions are collected in a second; else ten times as many, or more.
        """
        total = 0
        expected: object = None
        while (found := self._collectable()) is not None:
            started, operations = time.perf_counter(), self._operations
            number = self._collect_some()
            if number < self._step:
                self._push_on_some()
            if (*found, operations) != expected:
                took = time.perf_counter() - started
                time.sleep(min(max(_LEAST_REST, _RESTS * took), _MOST_REST))
            connection, version, changed = found
            expected = (connection, version, changed + number, operations + _PER_STEP)
            total += number
        return total

    def cookie_value(self, session_id: str, data: Data, flash: Data) -> str:
        return session_id

    @lent("read")
    def _collectable(self, connection: Connection) -> tuple[int, int, int] | None:
        return connection.collectable(time.time())

    @lent("write")
    def _collect_some(self, connection: Connection) -> int:
        number = connection.collect(*self._collecting())
        self._logged += _ENTRIES * number
        return number

    @lent("write")
    def _push_on_some(self, connection: Connection) -> None:
        connection.push_on(*self._collecting())

    def _collecting(self) -> tuple[float, float, float, int]:
        idle, absolute = self.lifetime + _GRACE, (self.absolute_lifetime or math.inf) + _GRACE
        return time.time(), idle, absolute, self._step

    def _find(self, connection: Connection, session_id: str, now: float) -> StoredSession | None:
        row = connection.find(*_place(session_id))
        return None if row is None else self._checked(row, now)

    def _checked(self, row: Found, now: float) -> StoredSession | None:
        """Give the session in a row, if it is readable and has not expired."""
        number, created, seen, revision, collected, value, tag, key = row
        stored = None
        try:  # to fail here is faster than to look at the type of each
            absolute = self.absolute_lifetime
            ended = now >= seen + self.lifetime or (absolute and now >= created + absolute)
            if (
                tag == checksum(key, value)
                and type(revision) is int
                and 0 <= revision < _MOST_COMMITS
                and created + collected > 0
            ):
                stored = decode_stored(value)
        except TypeError:
            ended = False
        if stored is None:
            logger.warning(
                "The stored session %s is unreadable and counts as absent.",
                key.hex()[:8] if type(key) is bytes else "without a name",
            )
            return None
        if ended:
            return None
        stored.row, stored.created, stored.seen = number, created, seen
        stored.revision, stored.collected = revision, collected
        return stored

    def _swap(
        self,
        connection: Connection,
        base: StoredSession,
        changes: Changes,
        value: bytes,
        now: float,
    ) -> bool:
        """Commit onto the very version that the request opened, if nobody came between.

        One statement and no transaction: half the time of the other way, which is there
        for all other cases.
        """
        if now >= self._end(base.created):
            return False
        seen, now = now - self.lifetime, _used(base, now)
        created = now if changes.moved else base.created
        collected = self._collect(created, now)
        key = _place(changes.id)[0]
        swap = (base.row, base.revision, now, value, seen, checksum(key, value))
        self._logged += len(value) // PAGE
        if changes.moved or collected - base.collected >= self._margin:
            return connection.swap((*swap, key, created, collected))
        return connection.swap(swap)

    def _begin(self, connection: Connection, changes: Changes, now: float) -> str:
        data, flash = changes.replay({}, {})
        if not data and not flash:
            return ""
        key = storage_key(changes.id)
        value = _encoded(data, flash, set_in=1)
        row = self._row(key, value, revision=1, created=now, now=now)
        connection.insert(first_number(key), row)
        return changes.id

    def _row(self, key: bytes, value: bytes, *, revision: int, created: float, now: float) -> Row:
        self._logged += _ENTRIES + len(value) // PAGE
        return Row(key, created, now, revision, self._collect(created, now), value)

    def _end(self, created: float) -> float:
        """Give the time of the absolute timeout."""
        return created + self.absolute_lifetime if self.absolute_lifetime else math.inf

    def _collect(self, created: float, now: float) -> float:
        """Give the time from which a session that is used now may be collected.

        With a margin, so that a session in use need not be pushed on at each commit.
        """
        return min(now + self.lifetime + self._margin, self._end(created)) + _GRACE


# What goes over the wire is an id, and behind it the number of the row where that cannot be
# told from the id: a session that has moved to another id keeps its number.
_ID: Final = 64  # digits
_NUMBERED: Final = re.compile("([0-9a-f]{64})~([0-7]?[0-9a-f]{1,15})", re.ASCII)  # 63 bits


@functools.lru_cache(1024)  # a request asks three times, and a page's requests again
def _place(session_id: str) -> tuple[bytes, int]:
    """Give the key of a session, and the number that its row has, if it has not moved."""
    key = storage_key(session_id)
    return key, first_number(key)


def _whole(session_id: str, number: int) -> str:
    if number == _place(session_id)[1]:
        return session_id
    whole = f"{session_id}~{number:x}"
    return whole if _NUMBERED.fullmatch(whole) else session_id  # an id from elsewhere


def _parted(cookie_value: str) -> tuple[str, int]:
    """Give the id and the number, or 0, in a cookie value; the signature vouches for both."""
    numbered = _NUMBERED.fullmatch(cookie_value)
    return (numbered[1], int(numbered[2], 16)) if numbered else (cookie_value, 0)


def _used(found: StoredSession, now: float) -> float:
    """Give the time of a use of a session: not before its last one.

    A clock that was set back would say so, and when it is right again the session would
    have been idle for as long as the clock was wrong. (If the last use is far in the
    future, it was that one which was wrong.)
    """
    return found.seen if now < found.seen < now + _GRACE else now


def _merged(found: StoredSession, changes: Changes, revision: int) -> bytes:
    """Replay changes onto a stored session that may have moved on since a revision."""
    if not found.flash:
        data, flash = changes.replay(found.data, found.flash)
        return _encoded(data, flash, set_in=found.revision + 1)
    newer = {key for key, set_in in found.flashed.items() if set_in > revision}
    data, flash = changes.replay(found.data, found.flash, newer=newer)
    flashed = {
        key: found.revision + 1 if key in changes.flash else found.flashed.get(key, 0)
        for key in flash
    }
    return encode_stored(StoredSession(data=data, flash=flash, flashed=flashed))


def _encoded(data: Data, flash: Data, *, set_in: int) -> bytes:
    """Encode what is in no column of its own; all of the flash was set in one revision."""
    return encode_stored(
        StoredSession(data=data, flash=flash, flashed=dict.fromkeys(flash, set_in))
    )


disk_store = DiskStore
