"""DiskStore: sessions as rows of a database that diskcache has made."""

from __future__ import annotations

import math
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from datetime import timedelta
from typing import Any, Final, TypeVar

from ..._ids import (
    handle_of,
    join_cookie_value,
    key_and_number,
    number_for,
    number_of,
    owner_key,
    split_cookie_value,
    storage_key,
)
from ..._log import logger
from ..._loops import in_thread, sleep
from ..._session.changes import Changes
from ..._session.sealing import why_unreadable
from ..._session.serialization import StoredSession
from ..._validation import Duration, check_durability, check_mode, to_seconds
from ...errors import StoreUnavailable
from .._versions import (
    ARRIVAL,
    CLOCK_GRACE,
    EXPIRY_MARGIN,
    LEAVING,
    REMEMBERED,
    TOMBSTONE,
    Marks,
    adopted,
    begun,
    belongs_to,
    decode_content,
    gives_way,
    has_left,
    is_leaving,
    last_use,
    merged,
    same_session,
)
from ..base import (
    DEFAULT_LIFETIME,
    AnySession,
    CommitResult,
    SessionInfo,
    SessionStore,
    info_of,
    is_record,
    named,
    time_left,
)
from .database import Database
from .directory import Directory, expand_directory
from .pool import WouldBlock
from .queries import Found, Row, SessionConnection, checksum

__all__ = ["DiskStore", "disk_store"]

R = TypeVar("R")

_MAX_REVISION: Final = 2**62  # SQLite's integers have 63 bits, and one is added

# Sessions that gc removes at a time, some 20 us each; where each batch waits for the disk,
# ten times as many.
_BATCH_SIZE: Final = {"process": 10, "power": 100}

# A pause is so many times as long as its batch, so that one commit in so many finds the
# lock taken; and within these bounds, in seconds.
_PAUSE_FACTOR: Final = 40
_MIN_PAUSE: Final = 0.008
_MAX_PAUSE: Final = 0.1

# Seconds between two attempts of an event loop to write.
_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.005

# Writers of an event loop that wait, for each of which the pauses grow by their length: so many
# attempts take the same part of the loop's time, however many wait.
_CROWD: Final = 10

# A row is in the table and in two indexes, and seldom on a page that is in the log already;
# diskcache's triggers change its Settings.
_PAGES_PER_ROW: Final = 3

_SCANNED: Final = 200  # rows that a list of all sessions reads at a time


class DiskStore(SessionStore):
    """Keeps sessions in a directory of this machine, for any number of processes.

    The directory must be on a local file system: SQLite's locks do not hold on a network one.
    A plain ``diskcache.Cache`` can open it and finds each session under its hashed id.

    A directory that others can read, or that cannot be written, is an error here and not of the
    first request; while the store is in use it is StoreUnavailable. A database that cannot be
    opened, because it is damaged, say, or because the disk is full, is logged as an error here;
    the store tries again at each use, and raises StoreUnavailable until that works. A database
    that was deleted is made anew within a second.

    Args:
        directory: made if it is missing; ``~`` and ``$NAME`` are expanded.
        lifetime: the idle timeout, in seconds or as a ``timedelta``.
        absolute_lifetime: the absolute timeout, likewise; 0 is none.
        timeout: how long to wait for another writer, likewise.
        durability: which failure an acknowledged commit survives: "process", the death of
            this process, or "power", that of the machine, at the cost of a wait for the disk.
        mode: the most that the directory's permissions may be, in octal. Others than "0700" are
            for platforms that insist on them; what they mean is in the guide.

    Raises:
        ConfigError: a setting or the directory is wrong.

    Example:
        >>> import tempfile
        >>> store = DiskStore(tempfile.mkdtemp(), lifetime=600)
        >>> store.save("0" * 64, {"n": 1}, {})
        >>> store.load("0" * 64)
        ({'n': 1}, {})
    """

    kind = "disk"
    atomic = True
    keeps_marks = True
    lists_sessions = True
    ends_owners = True
    seals = True

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        lifetime: Duration = DEFAULT_LIFETIME,
        absolute_lifetime: Duration = timedelta(0),
        timeout: Duration = 5.0,
        durability: str = "process",
        mode: str = "0700",
    ) -> None:
        self.directory = expand_directory(directory)
        self.lifetime = to_seconds("lifetime", lifetime)
        self.absolute_lifetime = to_seconds("absolute_lifetime", absolute_lifetime, allow_zero=True)
        check_durability("durability", durability)
        self._timeout = to_seconds("timeout", timeout)
        self._durability = durability
        self._rules = Directory(self.directory, check_mode("mode", mode))
        self._database = self._open_database()
        self._batch_size = _BATCH_SIZE[durability]
        self._waits_for_disk = durability == "power"
        # Keys and reasons, to be told when nothing is held.
        self._unreadable: deque[tuple[object, str]] = deque()
        self._stops_gc = False
        self._waiting = 0  # tasks of event loops, for another writer

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the database: pickled for another process, or copied, it opens its own."""
        return {name: value for name, value in vars(self).items() if name != "_database"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._database = self._open_database()

    def open(self, cookie_value: str) -> StoredSession | None:
        found = self._database.read(self._open, cookie_value)
        if self._unreadable:
            self._tell_unreadable()
        return found

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        if not wait:
            try:
                return self._commit_now(changes)
            except WouldBlock:
                return CommitResult.BUSY
        result = self._database.write(self._commit, changes, self._prepared(changes))
        if self._unreadable:
            self._tell_unreadable()
        return result

    def _commit_now(self, changes: Changes) -> CommitResult:
        return self._database.write_now(self._commit, changes, self._prepared(changes))

    def touch(self, cookie_value: str) -> bool:
        touched = self._database.write(self._touch, cookie_value)
        if self._unreadable:
            self._tell_unreadable()
        return touched

    def has_moved(self, cookie_value: str) -> bool:
        return self._database.read(self._has_moved, cookie_value)

    def destroy(self, session_id: str) -> None:
        self._database.write(self._destroy, session_id)

    def sessions(self, owner: str | int) -> list[SessionInfo]:
        return self._database.read(self._sessions, owner_key(owner))

    def destroy_all(self, owner: str | int, *, except_: AnySession | None = None) -> int:
        name = "" if except_ is None else named(except_)
        kept = number_of(name) or number_of(self.handle_of(name))
        return self._database.write(self._destroy_all, owner_key(owner), kept)

    def all_sessions(self, *, records: bool = False) -> Iterator[SessionInfo]:
        after = 0
        while rows := self._database.read(SessionConnection.scan, after, _SCANNED):
            after = rows[-1][0]
            yield from self._infos(rows, time.time(), records)

    def handle_of(self, session: AnySession) -> str:
        return self._database.read(self._handle_of, named(session))

    def find(self, cookie_value: str) -> tuple[StoredSession | None, bool]:
        return self._database.read(self._find, cookie_value)

    def leave(self, stored: StoredSession) -> StoredSession | None:
        return self._database.write(self._leave, stored)

    def forget_left(self, stored: StoredSession) -> None:
        self._database.write(self._forget_left, stored)

    def adopt(self, stored: StoredSession) -> bool:
        return self._database.write(self._adopt, stored)

    def copy(self, stored: StoredSession) -> bool:
        """Keep a session of another store as it is there, with its number and its revision.

        For backups: whatever is here under its number is replaced, unless it is the same.

        Returns:
            Whether something was written.
        """
        return self._database.write(self._copy, stored)

    def gc(self) -> int:
        """Remove expired sessions in small batches; see SessionStore.gc.

        A batch holds the lock for a fraction of a millisecond. While this process uses the
        store, or another one writes, a pause follows each batch, and some thousand sessions
        are removed in a second; else ten times as many, or more.
        """
        database = self._database
        removed = 0
        expected: object = None
        while (token := database.read(SessionConnection.has_expired, time.time())) is not None:
            if self._stops_gc:
                self._stops_gc = False
                database.write(SessionConnection.forget_collection)  # another process goes on
                break
            seen, started = (token, database.operations), time.perf_counter()
            batch = database.write(self._remove_expired)
            own_operations = 1
            if batch < self._batch_size:
                database.write(self._correct_expiry)
                own_operations += 1
            if seen != expected:
                took = time.perf_counter() - started
                time.sleep(min(max(_MIN_PAUSE, _PAUSE_FACTOR * took), _MAX_PAUSE))
            # What is seen next, by its own read, if nobody else uses the store.
            expected = (token, seen[1] + own_operations + 1)
            removed += batch
        while removed and (orphans := database.read(SessionConnection.orphans, self._batch_size)):
            database.write(SessionConnection.forget_orphans, orphans)
        return removed

    def claim_gc(self, interval: float) -> float:
        """Return 0.0 to one caller of all processes per interval; see SessionStore.claim_gc."""
        found = self._database.read(SessionConnection.collected_at)
        now = time.time()
        wait = time_left(found, interval, now)
        if wait > 0:
            return wait
        claimed = self._database.write(SessionConnection.claim_collection, now, found)
        return 0.0 if claimed else interval

    def stop_gc(self) -> None:
        """Have a ``gc`` at work stop after its batch, and let another process claim the rest."""
        self._stops_gc = True

    def close(self) -> None:
        self._database.close()

    @property
    def opens_at_once(self) -> bool:
        return self._database.is_open  # readers never wait for a writer

    async def aopen(self, cookie_value: str) -> StoredSession | None:
        if self.opens_at_once:
            return self.open(cookie_value)
        return await super().aopen(cookie_value)

    async def acommit(self, changes: Changes) -> CommitResult:
        if self.commits_at_once:
            return await self._write_when_free(lambda: self._commit_now(changes))
        return await super().acommit(changes)

    async def atouch(self, cookie_value: str) -> bool:
        if self.commits_at_once:
            write = self._database.write_now
            return await self._write_when_free(lambda: write(self._touch, cookie_value))
        return await super().atouch(cookie_value)

    async def ahas_moved(self, cookie_value: str) -> bool:
        if self.opens_at_once:
            return self.has_moved(cookie_value)
        return await super().ahas_moved(cookie_value)

    @property
    def commits_at_once(self) -> bool:
        """Whether a write takes microseconds, unless another writer holds the lock."""
        return not self._waits_for_disk and self._database.is_open

    async def _write_when_free(self, write: Callable[[], R]) -> R:
        """Return what a write returns; while another writer has the lock, other tasks run.

        No thread waits for the lock: those of an event loop are few, and the application's too.

        Raises:
            StoreUnavailable: another writer has held the lock for too long.
        """
        deadline, pause = time.monotonic() + self._timeout, _FIRST_PAUSE
        while True:
            try:
                result = write()
                break
            except WouldBlock:
                if time.monotonic() >= deadline:
                    raise self._database.held_too_long() from None
            self._waiting += 1
            try:
                await sleep(pause * (1 + self._waiting / _CROWD))
            finally:
                self._waiting -= 1
            pause = min(1.5 * pause, _LONGEST_PAUSE)
        if self._database.claim_checkpoint():
            with suppress(StoreUnavailable):  # the commit is done all the same
                await in_thread(self._database.checkpoint)
        return result

    def _tell_unreadable(self) -> None:
        with suppress(IndexError):  # another thread tells of them too
            while True:
                key, why = self._unreadable.popleft()
                logger.warning(
                    "The stored session %s is unreadable and counts as absent.%s",
                    key.hex()[:8] if type(key) is bytes else "without a name",
                    why,
                )

    def _open_database(self) -> Database:
        return Database(self._rules, timeout=self._timeout, durability=self._durability)

    # The operations; each runs on a connection of the pool.

    def _open(self, connection: SessionConnection, cookie_value: str) -> StoredSession | None:
        session_id, rowid = split_cookie_value(cookie_value)
        key, number = key_and_number(session_id)
        row = connection.find(key, rowid or number)
        return None if row is None else self._readable(row, session_id, time.time())

    def _commit(
        self, connection: SessionConnection, changes: Changes, value: bytes | None
    ) -> CommitResult:
        now = time.time()
        base = changes.base
        if base is None:
            return self._begin(connection, changes, now)
        if value is not None and self._update_if_unchanged(connection, base, changes, value, now):
            return CommitResult.stored(join_cookie_value(changes.id, base.marks.number))
        with connection.transaction():
            key, number = key_and_number(base.id)
            row = connection.find_by_rowid(number if base.marks is None else base.marks.number)
            if row is None or row[-1] != key:
                # An earlier commit of this request may have begun a session of its own.
                own = connection.find_by_key(key)
                if own is not None:
                    row, base = own, base._replace(marks=None)
            found = None if row is None else self._readable(row, base.id, now)
            if row is None or found is None or not _same_session(found, base):
                login = changes.id_changed or changes.invalidated
                if row is not None and login and self._is_tombstone(row, now):
                    return self._begin_login(connection, changes, now)
                return CommitResult.GONE
            current_key, rowid = row[-1], found.marks.number
            if changes.invalidated:
                result = self._begin(connection, changes, now)
                if result is CommitResult.EMPTY:
                    self._end(connection, rowid, current_key, found.marks.revision)
                else:
                    connection.replace(rowid, self._tombstone(current_key, found, now))
                return result
            now = last_use(found, now)
            moved = current_key != key
            if changes.id_changed:
                if moved:
                    # Another request has given the session an id that this one's browser
                    # must not get: merging a login would log in whoever has it.
                    return self._begin_login(connection, changes, now)
                current_key = storage_key(changes.id)
            created_at = now if changes.id_changed else found.created_at
            revision = found.marks.revision + 1
            since = 0 if base.marks is None else base.marks.revision
            merged = self._merged(found, changes, since, current_key)
            self._database.note_logged(_PAGES_PER_ROW, len(merged))
            lifetime = changes.lifetime_on(found) or self.lifetime
            connection.replace(
                rowid, self._row(current_key, merged, revision, created_at, now, lifetime)
            )
            if changes.owner is not None:
                connection.give(rowid, changes.owner_bytes)
        if base.marks is not None and found.marks.revision != since:
            if value is not None:
                self.note("conflict")
            self.note("merged")
        if moved:
            return CommitResult.MOVED
        return CommitResult.stored(join_cookie_value(changes.id, rowid))

    def _touch(self, connection: SessionConnection, cookie_value: str) -> bool:
        with connection.transaction():
            session_id, rowid = split_cookie_value(cookie_value)
            key, number = key_and_number(session_id)
            row = connection.find(key, rowid or number)
            found = None if row is None else self._readable(row, session_id, time.time())
            if row is None or found is None:
                return False
            if self.sealer is None or self.sealer.is_current(row[5]):
                now, lifetime = last_use(found, time.time()), found.lifetime or self.lifetime
                purge_after = self._purge_after(found.created_at, now, lifetime)
                connection.extend_expiry(found.marks.number, now, purge_after)
                return True
        return self._commit(connection, Changes(found, found.id), None).outcome == "stored"

    def _has_moved(self, connection: SessionConnection, cookie_value: str) -> bool:
        session_id, rowid = split_cookie_value(cookie_value)
        key, number = key_and_number(session_id)
        row = connection.find_by_rowid(rowid or number)
        if row is None:
            return False
        now = time.time()
        return self._is_tombstone(row, now) or (row[-1] != key and self._is_recent(row, now))

    def _destroy(self, connection: SessionConnection, cookie_value: str) -> None:
        """Remove a row also if it is unreadable, or has expired by a clock that may be ahead."""
        with connection.transaction():
            row = _row_of(connection, cookie_value)
            if row is None:
                return
            value, revision = _version(row)
            if value != TOMBSTONE and not has_left(value):  # a mark, that it has ended
                self._end(connection, row[0], row[-1], revision)

    def _sessions(self, connection: SessionConnection, owner: str) -> list[SessionInfo]:
        rows = connection.owned(bytes.fromhex(owner))
        found = [info for info in self._infos(rows, time.time()) if info.owner_key == owner]
        return sorted(found, key=lambda info: -info.last_used_at)

    def _destroy_all(self, connection: SessionConnection, owner: str, kept: int | None) -> int:
        now = time.time()
        ended = 0
        with connection.transaction():
            for row in connection.owned(bytes.fromhex(owner)):
                if row[0] == kept:
                    continue
                # Whatever the time is: a clock that is ahead would let it come back.
                found = self._in_row(row, "", -math.inf)[0]
                value, revision = _version(row)
                if belongs_to(found, owner, value):
                    self._end(connection, row[0], row[-1], revision)
                    ended += found is None or self._in_row(row, "", now)[0] is not None
        self._database.note_logged(_PAGES_PER_ROW * ended)
        return ended

    def _infos(self, rows: list[Found], now: float, records: bool = False) -> Iterator[SessionInfo]:
        for row in rows:
            found = self._in_row(row, "", now)[0]
            if found is not None and (records or not is_record(found)):
                yield info_of(found, len(row[5]))

    def _handle_of(self, connection: SessionConnection, name: str) -> str:
        row = _row_of(connection, name)
        return (
            ""
            if row is None or self._in_row(row, "", time.time())[0] is None
            else handle_of(row[0])
        )

    def _find(
        self, connection: SessionConnection, cookie_value: str
    ) -> tuple[StoredSession | None, bool]:
        row = _row_of(connection, cookie_value)
        if row is None:
            return None, False
        named_by_handle = number_of(cookie_value) is not None
        session_id = "" if named_by_handle else split_cookie_value(cookie_value)[0]
        return self._in_row(row, session_id, time.time())

    def _in_row(self, row: Found, session_id: str, now: float) -> tuple[StoredSession | None, bool]:
        """Return the session in a row, and whether it is leaving, or has left."""
        value, _ = _version(row)
        if has_left(value):
            return None, True
        leaving = is_leaving(value)
        if leaving:
            value = value.removeprefix(LEAVING)
            row = (*row[:5], value, checksum(row[-1], value), row[-1])
        return self._readable(row, session_id, now), leaving

    def _leave(self, connection: SessionConnection, stored: StoredSession) -> StoredSession | None:
        marks: Marks = stored.marks
        now, lifetime = time.time(), stored.lifetime or self.lifetime
        if now >= self._absolute_end(stored.created_at):
            return None
        # Not a use: who moves a session need not be its user.
        revision, last_used_at = marks.revision + 1, stored.last_used_at
        unchanged = Changes(stored, stored.id)
        value = LEAVING + self._merged(stored, unchanged, marks.revision, marks.key)
        purge_after = self._purge_after(stored.created_at, last_used_at, lifetime)
        self._database.note_logged(_PAGES_PER_ROW, len(value))
        if not connection.update_if_unchanged(
            (
                last_used_at,
                revision,
                value,
                checksum(marks.key, value),
                marks.key,
                stored.created_at,
                purge_after,
            ),
            (marks.number, marks.revision, now - lifetime, math.inf),
        ):
            return None
        left = marks._replace(revision=revision, purge_after=purge_after)
        return stored._replace(last_used_at=last_used_at, marks=left)

    def _forget_left(self, connection: SessionConnection, stored: StoredSession) -> None:
        marks: Marks = stored.marks
        with connection.transaction():
            row = connection.find_by_rowid(marks.number)
            if row is None:
                return
            value, revision = _version(row)
            if is_leaving(value) and same_session(marks.revision, revision):
                connection.replace(row[0], self._mark(row[-1], revision + 1, LEAVING))

    def _adopt(self, connection: SessionConnection, stored: StoredSession) -> bool:
        now = time.time()
        created_at, last_used_at = stored.created_at or now, stored.last_used_at or now
        lifetime = stored.lifetime or self.lifetime
        if now >= min(last_used_at + lifetime, self._absolute_end(created_at)):
            return False
        key, number = key_and_number(stored.id)
        revision = secrets.randbits(48)
        if isinstance(stored.marks, Marks):
            key, number = stored.marks.key, stored.marks.number
            revision = stored.marks.revision + ARRIVAL
        value = self._sealed(adopted(stored, revision), key)
        purge_after = self._purge_after(created_at, last_used_at, lifetime)
        adoptee = Row(key, created_at, last_used_at, revision, purge_after, value)
        with connection.transaction():
            self._database.note_logged(_PAGES_PER_ROW, len(value))
            row = connection.find_by_rowid(number) or connection.find_by_key(key)
            if row is None:
                number = connection.insert(number, adoptee)
            elif gives_way(*_version(row), stored):
                number = row[0]
                connection.replace(number, adoptee)
            else:
                return False
            if stored.owner is not None:
                connection.give(number, stored.owner_bytes)
        return True

    def _copy(self, connection: SessionConnection, stored: StoredSession) -> bool:
        marks: Marks = stored.marks
        row = connection.find_by_rowid(marks.number)
        if row is not None:
            value, revision = _version(row)
            same = revision == marks.revision and row[2] == stored.last_used_at
            if same and not value.startswith(LEAVING):
                return False
        lifetime = stored.lifetime or self.lifetime
        purge_after = self._purge_after(stored.created_at, stored.last_used_at, lifetime)
        value = self._sealed(adopted(stored, marks.revision), marks.key)
        times = (stored.created_at, stored.last_used_at, marks.revision, purge_after)
        copy = Row(marks.key, *times, value)
        with connection.transaction():
            self._database.note_logged(_PAGES_PER_ROW, len(value))
            other = connection.find_by_key(marks.key)
            if other is not None and other[0] != marks.number:  # of an older one with its id
                connection.remove(other[0], marks.key)
            if row is None:
                connection.insert(marks.number, copy)
            else:
                connection.replace(marks.number, copy)
            connection.give(marks.number, stored.owner_bytes)
        return True

    def _end(self, connection: SessionConnection, rowid: int, key: bytes, revision: int) -> None:
        """End a session, by no login: mostly nothing is left of it."""
        if self.remembers_ends:
            connection.replace(rowid, self._mark(key, revision + 1, TOMBSTONE))
        else:
            connection.remove(rowid, key)

    def _mark(self, key: bytes, revision: int, value: bytes) -> Row:
        """Return what a session has left that is not here any more."""
        return Row(key, 0.0, 0.0, revision, time.time() + REMEMBERED, value)

    def _remove_expired(self, connection: SessionConnection) -> int:
        removed = connection.remove_expired(*self._cleanup_arguments())
        self._database.note_logged(_PAGES_PER_ROW * removed)
        return removed

    def _correct_expiry(self, connection: SessionConnection) -> None:
        connection.correct_expiry(*self._cleanup_arguments())

    def _cleanup_arguments(self) -> tuple[float, float, float, int]:
        idle, absolute = (
            self.lifetime + CLOCK_GRACE,
            (self.absolute_lifetime or math.inf) + CLOCK_GRACE,
        )
        return time.time(), idle, absolute, self._batch_size

    def _begin(self, connection: SessionConnection, changes: Changes, now: float) -> CommitResult:
        # At random: an id from elsewhere may be saved, destroyed and saved again, and a
        # request that opened the first session must not take the second for it.
        revision = secrets.randbits(48)
        value = begun(changes, revision)
        if value is None:
            return CommitResult.EMPTY
        key = storage_key(changes.id)
        value = self._sealed(value, key)
        row = self._row(key, value, revision, now, now, changes.lifetime_on(None) or self.lifetime)
        self._database.note_logged(_PAGES_PER_ROW, len(row.value))
        if not changes.owner_bytes:
            connection.insert(number_for(key), row)
        else:
            with nullcontext() if connection.in_transaction else connection.transaction():
                connection.give(connection.insert(number_for(key), row), changes.owner_bytes)
        return CommitResult.stored(changes.id)

    def _begin_login(
        self, connection: SessionConnection, changes: Changes, now: float
    ) -> CommitResult:
        """Begin a session of what a login has written, where another login was faster."""
        result = self._begin(connection, changes, now)
        return CommitResult.GONE if result is CommitResult.EMPTY else result

    def _update_if_unchanged(
        self,
        connection: SessionConnection,
        base: StoredSession,
        changes: Changes,
        value: bytes,
        now: float,
    ) -> bool:
        """Commit onto the very version that the request opened; return whether it was there.

        One statement and no transaction: half the time of the other way.
        """
        marks: Marks = base.marks
        if now >= self._absolute_end(base.created_at):
            return False
        used_after, now = now - (base.lifetime or self.lifetime), last_use(base, now)
        created_at = now if changes.id_changed else base.created_at
        key = key_and_number(changes.id)[0]
        lifetime = changes.lifetime_on(base) or self.lifetime
        purge_after = self._purge_after(created_at, now, lifetime)
        value_only = (now, marks.revision + 1, value, checksum(key, value))
        unchanged = (marks.number, marks.revision, used_after, now)
        margin = EXPIRY_MARGIN * lifetime
        if changes.id_changed or not 0 <= purge_after - marks.purge_after < margin:
            self._database.note_logged(_PAGES_PER_ROW, len(value))
            return connection.update_if_unchanged(
                (*value_only, key, created_at, purge_after), unchanged
            )
        self._database.note_logged(0, len(value))  # one page of the table, which write() counts
        return connection.update_if_unchanged(value_only, unchanged)

    # Rows.

    def _prepared(self, changes: Changes) -> bytes | None:
        """Return what is to be written unless another commit comes in between.

        Encoded before taking the write lock. None where that has to be decided under the lock.
        """
        base = changes.base
        if base is None or base.marks is None or changes.invalidated or changes.owner is not None:
            return None
        return self._merged(base, changes, base.marks.revision, key_and_number(changes.id)[0])

    def _merged(self, found: StoredSession, changes: Changes, since: int, key: bytes) -> bytes:
        marks: Marks = found.marks
        return self._sealed(merged(found, marks.flashed, marks.revision + 1, changes, since), key)

    def _sealed(self, value: bytes, key: bytes) -> bytes:
        sealer = self.sealer
        return value if sealer is None or not sealer.seals else sealer.seal(value, key)

    def _readable(self, row: Found, session_id: str, now: float) -> StoredSession | None:
        """Return the session in a row, if it is readable and has not expired."""
        rowid, created_at, last_used_at, revision, purge_after, value, tag, key = row
        content = None
        expired: object = False
        intact = False
        try:  # hot path: failing here is faster than checking the type of each
            intact = tag == checksum(key, value)
            if (
                intact
                and type(revision) is int
                and 0 <= revision < _MAX_REVISION
                and created_at + purge_after > 0
            ):
                content = decode_content(value, key, self.sealer)
                absolute = self.absolute_lifetime
                expired = content is not None and (
                    now >= last_used_at + (content.lifetime or self.lifetime)
                    or (absolute and now >= created_at + absolute)
                )
        except TypeError:
            content = None
        if content is None:
            if not (intact and (value == TOMBSTONE or value.startswith(LEAVING))):
                self._unreadable.append((key, why_unreadable(value, self.sealer)))
            return None
        if expired:
            return None
        return StoredSession(
            id=session_id,
            data=content.data,
            flash=content.flash,
            created_at=created_at,
            last_used_at=last_used_at,
            lifetime=content.lifetime or 0.0,
            expire_on_close=content.expire_on_close,
            owner=content.owner,
            marks=Marks(rowid, key, revision, purge_after, content.flashed),
        )

    def _row(
        self,
        key: bytes,
        value: bytes,
        revision: int,
        created_at: float,
        now: float,
        lifetime: float,
    ) -> Row:
        purge_after = self._purge_after(created_at, now, lifetime)
        return Row(key, created_at, now, revision, purge_after, value)

    def _tombstone(self, key: bytes, found: StoredSession, now: float) -> Row:
        """Return a row that says when the session in its place was ended by a login."""
        # Never used, so that gc() removes it whatever the lifetimes are.
        end = now + (REMEMBERED if self.remembers_ends else self.overlap)
        return Row(key, now, 0.0, found.marks.revision + 1, end, TOMBSTONE)

    def _is_tombstone(self, row: Found, now: float) -> bool:
        return row[5] == TOMBSTONE and self._is_recent(row, now)

    def _is_recent(self, row: Found, now: float) -> bool:
        """Whether the id in a row was made, or its session ended, less than ``overlap`` ago."""
        return isinstance(row[1], int | float) and abs(now - row[1]) < self.overlap

    def _absolute_end(self, created_at: float) -> float:
        return created_at + self.absolute_lifetime if self.absolute_lifetime else math.inf

    def _purge_after(self, created_at: float, now: float, lifetime: float) -> float:
        """Return the time after which the row of a session that is used now may be removed."""
        idle_end = now + (1 + EXPIRY_MARGIN) * lifetime
        return min(idle_end, self._absolute_end(created_at)) + CLOCK_GRACE


def _same_session(found: StoredSession, base: StoredSession) -> bool:
    """Whether a row still has the session that was opened, and not one saved under its id since."""
    if base.marks is None:
        return True
    return same_session(found.marks.revision, base.marks.revision)


def _version(row: Found) -> tuple[bytes, int]:
    """Return the value and the revision of a row, or what is no value if it is damaged."""
    _, _, _, revision, _, value, tag, key = row
    intact = type(value) is bytes and type(revision) is int and 0 <= revision < _MAX_REVISION
    if intact and tag == checksum(key, value):
        return value, revision
    return b"damaged", 0


def _row_of(connection: SessionConnection, name: str) -> Found | None:
    """Return the row of an id, a cookie value or a handle."""
    number = number_of(name)
    if number is not None:
        return connection.find_by_rowid(number)
    session_id, rowid = split_cookie_value(name)
    key, number = key_and_number(session_id)
    return connection.find(key, rowid or number)


disk_store = DiskStore
