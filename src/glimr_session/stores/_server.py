"""ServerStore: how sessions are opened and committed on a server, whatever server it is.

The algorithm is written once, as generators of commands, for threads and for event loops. A
store runs the commands: it reads an entry, and swaps one for another if nobody was faster.
"""

from __future__ import annotations

import math
import secrets
import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Final, TypeGuard, TypeVar

from .._ids import (
    handle_of,
    join_cookie_value,
    key_and_number,
    number_for,
    number_of,
    owner_key,
    split_cookie_value,
    storage_key,
)
from .._log import logger
from .._loops import on_asyncio
from .._session.changes import Changes
from .._session.sealing import why_unreadable
from .._session.serialization import StoredSession
from .._validation import Duration, to_seconds
from ..errors import ConfigError, StoreUnavailable
from ._commands import (
    MADE,
    NONCE_SIZE,
    NONCES,
    Acquire,
    AsyncExecutor,
    Entry,
    Executor,
    Extend,
    Find,
    Insert,
    Lock,
    Made,
    Owned,
    Read,
    Register,
    Steps,
    Swap,
)
from ._lines import Lines, Turn
from ._versions import (
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
from .base import AnySession, CommitResult, SessionInfo, SessionStore, info_of, is_record, named

__all__ = ["ServerStore", "missing_extra", "told_at_start"]

R = TypeVar("R")

_MAX_REVISION: Final = 2**62

_MAX_CONFLICTS: Final = 2  # of one commit, before the entry is locked


class ServerStore(SessionStore):
    """Keeps sessions on a server that swaps an entry for another in one atomic step.

    A subclass gives an ``Executor``. An operation that was told of an outage is over; a commit
    that is tried again after a lost answer finds its own mark in the entry, and is not made
    twice.
    """

    atomic = True
    keeps_marks = True
    lists_sessions = True
    ends_owners = True
    seals = True

    asks_own_clock: ClassVar[bool] = True
    """Whether this machine's clock says that a session has expired; else the server's does."""

    def __init__(self, lifetime: Duration, absolute_lifetime: Duration, timeout: Duration) -> None:
        self.lifetime = to_seconds("lifetime", lifetime)
        self.absolute_lifetime = to_seconds("absolute_lifetime", absolute_lifetime, allow_zero=True)
        self._timeout = to_seconds("timeout", timeout)
        self._lines = Lines()

    @abstractmethod
    def _executor(self) -> Executor: ...

    def _async_executor(self) -> AsyncExecutor | None:
        """Return one for the running event loop of asyncio; None: a thread does it."""
        return None

    def _loop_executor(self) -> AsyncExecutor | None:
        return self._async_executor() if on_asyncio() else None

    def open(self, cookie_value: str) -> StoredSession | None:
        return self._run(self._open(cookie_value))

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        return self._run(self._commit(changes))

    def touch(self, cookie_value: str) -> bool:
        return self._run(self._touch(cookie_value))

    def has_moved(self, cookie_value: str) -> bool:
        return self._run(self._has_moved(cookie_value))

    def destroy(self, session_id: str) -> None:
        self._run(self._destroy(session_id))

    def sessions(self, owner: str | int) -> list[SessionInfo]:
        return self._run(self._sessions(owner_key(owner)))

    def destroy_all(self, owner: str | int, *, except_: AnySession | None = None) -> int:
        return self._run(self._destroy_all(owner_key(owner), except_))

    def all_sessions(self, *, records: bool = False) -> Iterator[SessionInfo]:
        for batch in self._scan():
            now = time.time()
            for entry in batch:
                found = self._in_entry(entry, "", now)[0]
                if found is not None and (records or not is_record(found)):
                    yield info_of(found, len(entry.value))

    @abstractmethod
    def _scan(self) -> Iterator[list[Entry]]:
        """Yield all entries in batches, in no order."""

    def handle_of(self, session: AnySession) -> str:
        return self._run(self._handle_of(named(session)))

    def find(self, cookie_value: str) -> tuple[StoredSession | None, bool]:
        return self._run(self._find(cookie_value))

    def leave(self, stored: StoredSession) -> StoredSession | None:
        return self._run(self._leave(stored))

    def forget_left(self, stored: StoredSession) -> None:
        self._run(self._forget_left(stored))

    def adopt(self, stored: StoredSession) -> bool:
        return self._run(self._adopt(stored))

    async def aopen(self, cookie_value: str) -> StoredSession | None:
        executor = self._loop_executor()
        if executor is None:
            return await super().aopen(cookie_value)
        return await self._arun(self._open(cookie_value), executor)

    async def acommit(self, changes: Changes) -> CommitResult:
        executor = self._loop_executor()
        if executor is None:
            return await super().acommit(changes)
        return await self._arun(self._commit(changes), executor)

    async def atouch(self, cookie_value: str) -> bool:
        executor = self._loop_executor()
        if executor is None:
            return await super().atouch(cookie_value)
        return await self._arun(self._touch(cookie_value), executor)

    async def ahas_moved(self, cookie_value: str) -> bool:
        executor = self._loop_executor()
        if executor is None:
            return await super().ahas_moved(cookie_value)
        return await self._arun(self._has_moved(cookie_value), executor)

    async def asessions(self, owner: str | int) -> list[SessionInfo]:
        executor = self._loop_executor()
        if executor is None:
            return await super().asessions(owner)
        return await self._arun(self._sessions(owner_key(owner)), executor)

    async def adestroy_all(self, owner: str | int, *, except_: AnySession | None = None) -> int:
        executor = self._loop_executor()
        if executor is None:
            return await super().adestroy_all(owner, except_=except_)
        return await self._arun(self._destroy_all(owner_key(owner), except_), executor)

    async def adestroy(self, session_id: str) -> None:
        executor = self._loop_executor()
        if executor is None:
            return await super().adestroy(session_id)
        return await self._arun(self._destroy(session_id), executor)

    # The two drivers.

    def _run(self, steps: Steps[R]) -> R:
        executor = self._executor()
        try:
            command = next(steps)
            while True:
                try:
                    result = (
                        self._lines.acquire(command)
                        if type(command) is Acquire
                        else executor.execute(command)
                    )
                except StoreUnavailable as error:
                    command = steps.throw(error)
                else:
                    command = steps.send(result)
        except StopIteration as done:
            returned: R = done.value
            return returned
        finally:
            steps.close()
            executor.close()

    async def _arun(self, steps: Steps[R], executor: AsyncExecutor) -> R:
        # asyncio.CancelledError ends the steps too, and the commit was made once or not at all.
        try:
            command = next(steps)
            while True:
                try:
                    result = (
                        await self._lines.aacquire(command)
                        if type(command) is Acquire
                        else await executor.execute(command)
                    )
                except StoreUnavailable as error:
                    command = steps.throw(error)
                else:
                    command = steps.send(result)
        except StopIteration as done:
            returned: R = done.value
            return returned
        finally:
            steps.close()
            await executor.close()

    # The operations.

    def _open(self, cookie_value: str) -> Steps[StoredSession | None]:
        session_id, number = split_cookie_value(cookie_value)
        entry = yield from self._locate(session_id, number)
        return None if entry is None else self._readable(entry, session_id, time.time())

    def _find(self, cookie_value: str) -> Steps[tuple[StoredSession | None, bool]]:
        entry = yield from self._named(cookie_value)
        if entry is None:
            return None, False
        named_by_handle = number_of(cookie_value) is not None
        session_id = "" if named_by_handle else split_cookie_value(cookie_value)[0]
        return self._in_entry(entry, session_id, time.time())

    def _in_entry(
        self, entry: Entry, session_id: str, now: float
    ) -> tuple[StoredSession | None, bool]:
        """Return the session in an entry, and whether it is leaving, or has left."""
        if has_left(entry.value):
            return None, True
        leaving = is_leaving(entry.value)
        if leaving:
            entry = entry._replace(value=entry.value.removeprefix(LEAVING))
        return self._readable(entry, session_id, now), leaving

    def _leave(self, stored: StoredSession) -> Steps[StoredSession | None]:
        nonce = secrets.token_bytes(NONCE_SIZE)
        after = self._after(stored, Changes(stored, stored.id), nonce, None)
        if after is None or time.time() >= self._absolute_end(stored.created_at):
            return None
        # Not a use: who moves a session need not be its user.
        created_at, last_used_at = stored.created_at, stored.last_used_at
        purge_after = self._purge_after(created_at, last_used_at, stored.lifetime or self.lifetime)
        after = after._replace(last_used_at=last_used_at, purge_after=purge_after)
        leaving = after._replace(value=LEAVING + after.value)
        yield from self._registering(after, stored.lifetime or self.lifetime)
        present = yield Swap(after.number, stored.marks.revision, leaving)
        if present is not MADE and not (present is not None and present.has_made(nonce)):
            return None
        return self._readable(after, stored.id, time.time())

    def _forget_left(self, stored: StoredSession) -> Steps[None]:
        marks: Marks = stored.marks
        entry: Entry | Made | None = yield Read(marks.number)
        while (
            isinstance(entry, Entry)
            and is_leaving(entry.value)
            and same_session(marks.revision, entry.revision)
        ):
            left = self._mark(entry.number, entry.key, entry.revision + 1, b"", LEAVING)
            entry = yield Swap(entry.number, entry.revision, left)

    def _adopt(self, stored: StoredSession) -> Steps[bool]:
        now = time.time()
        created_at, last_used_at = stored.created_at or now, stored.last_used_at or now
        lifetime = stored.lifetime or self.lifetime
        if now >= min(last_used_at + lifetime, self._absolute_end(created_at)):
            return False
        key, number = key_and_number(stored.id)
        nonce, revision, commits = secrets.token_bytes(NONCE_SIZE), secrets.randbits(48), b""
        if isinstance(stored.marks, Marks):
            number, revision = stored.marks.number, stored.marks.revision + ARRIVAL
            key, commits = stored.marks.key, stored.marks.commits[: NONCE_SIZE * (NONCES - 1)]
        entry = Entry(
            number,
            key,
            created_at,
            last_used_at,
            revision,
            self._purge_after(created_at, last_used_at, lifetime),
            nonce + commits,
            self._sealed(adopted(stored, revision), key),
            stored.owner_bytes,
        )
        yield from self._registering(entry, lifetime)
        present: Entry | Made | None = yield Insert(entry)
        while not (isinstance(present, Made) or (present is not None and present.has_made(nonce))):
            if present is None:  # it has just gone
                present = yield Insert(entry)
            elif gives_way(present.value, present.revision, stored):
                entry = entry._replace(number=present.number)
                present = yield Swap(present.number, present.revision, entry)
            else:
                return False
        return True

    def _touch(self, cookie_value: str) -> Steps[bool]:
        session_id, number = split_cookie_value(cookie_value)
        entry = yield from self._locate(session_id, number)
        stored = None if entry is None else self._readable(entry, session_id, time.time())
        if entry is None or stored is None:
            return False
        if self.sealer is not None and not self.sealer.is_current(entry.value):
            result = yield from self._commit(Changes(stored, session_id))
            return result.outcome == "stored"
        marks: Marks = stored.marks
        now = last_use(stored, time.time())
        lifetime = stored.lifetime or self.lifetime
        purge_after = self._purge_after(stored.created_at, now, lifetime)
        if stored.owner is not None and self._must_register(stored, Changes(stored, stored.id)):
            yield self._registration(stored.owner_bytes, marks.number, lifetime)
        extended: bool = yield Extend(marks.number, marks.key, now, purge_after)
        return extended

    def _has_moved(self, cookie_value: str) -> Steps[bool]:
        session_id, number = split_cookie_value(cookie_value)
        key, own_number = key_and_number(session_id)
        now = time.time()
        for place in {number or own_number: None, own_number: None}:
            entry: Entry | None = yield Read(place)
            if entry is not None and (
                self._is_tombstone(entry, now) or (entry.key != key and self._is_recent(entry, now))
            ):
                return True
        return False

    def _destroy(self, cookie_value: str) -> Steps[None]:
        """Remove an entry also if it is unreadable, or has expired by a clock that may be ahead."""
        entry = yield from self._named(cookie_value)
        by_handle = number_of(cookie_value) is not None
        key = entry.key if entry is not None else b""
        while (
            isinstance(entry, Entry)
            and (by_handle or entry.key == key)
            and not self._is_mark(entry)
        ):
            after = self._end(entry.number, entry.key, entry.revision + 1, b"")
            entry = yield from self._swap_end(Swap(entry.number, entry.revision, after))

    def _sessions(self, owner: str) -> Steps[list[SessionInfo]]:
        found = []
        for number in (yield Owned(bytes.fromhex(owner))):
            entry: Entry | None = yield Read(number)
            stored = None if entry is None else self._in_entry(entry, "", time.time())[0]
            if entry is not None and _is_of(stored, owner):
                found.append(info_of(stored, len(entry.value)))
        return sorted(found, key=lambda info: -info.last_used_at)

    def _destroy_all(self, owner: str, except_: AnySession | None) -> Steps[int]:
        kept = "" if except_ is None else named(except_)
        if number_of(kept) is None:
            kept = yield from self._handle_of(kept)
        ended = 0
        followed = set[int]()  # numbers of sessions that another one was begun in place of
        while True:
            known = len(followed)
            for number in (yield Owned(bytes.fromhex(owner))):
                if handle_of(number) == kept:
                    continue
                entry: Entry | Made | None = yield Read(number)
                while isinstance(entry, Entry):
                    # Whatever the time is: a clock that is ahead would let it come back.
                    found = self._in_entry(entry, "", -math.inf)[0]
                    if found is None and self.registers_owners:  # the list may say too much
                        break
                    if not belongs_to(found, owner, entry.value):
                        break
                    alive = found is None or self._in_entry(entry, "", time.time())[0] is not None
                    after = self._end(number, entry.key, entry.revision + 1, b"")
                    entry = yield from self._swap_end(Swap(number, entry.revision, after))
                    ended += alive and entry is MADE
                if isinstance(entry, Entry) and self._is_tombstone(entry, time.time()):
                    followed.add(number)
            if len(followed) == known:  # else the other one may have been begun behind the list
                return ended

    def _handle_of(self, name: str) -> Steps[str]:
        entry = yield from self._named(name)
        if entry is None or self._in_entry(entry, "", time.time())[0] is None:
            return ""
        return handle_of(entry.number)

    def _commit(self, changes: Changes) -> Steps[CommitResult]:
        base = changes.base
        nonce = secrets.token_bytes(NONCE_SIZE)
        if base is None:
            return (yield from self._begin(changes, nonce))
        key = key_and_number(base.id)[0]
        turn: Turn | None = None
        found: StoredSession | None = base
        entry: Entry | None = None
        if base.marks is not None:
            turn = yield Acquire(base.marks.number, only_if_busy=True)
        if turn is not None or base.marks is None or base.marks.key != key:
            entry = yield from self._present(base, turn)
            found = self._judge(entry, base)
        login: CommitResult | None = None
        conflicts, deadline = 0, time.monotonic() + self._timeout
        while found is not None and time.time() < self._absolute_end(found.created_at):
            marks: Marks = found.marks
            moved = marks.key != key
            if moved and changes.id_changed and not changes.invalidated:
                # Another request has given the session an id that this one's browser must
                # not get: merging a login would log in whoever has it.
                return (yield from self._begin_login(changes, nonce))
            if changes.invalidated:
                login = login or (yield from self._begin_in_place(changes, nonce, marks))
            after = self._after(found, changes, nonce, login)
            lifetime = found.lifetime or self.lifetime
            used_after = time.time() - lifetime if self.asks_own_clock else -math.inf
            swap = Swap(marks.number, marks.revision, after, used_after)
            if after is not None and after.owner and self._must_register(found, changes):
                own_lifetime = changes.lifetime_on(found) or self.lifetime
                yield self._registration(after.owner, marks.number, own_lifetime)
            ends = login is CommitResult.EMPTY
            present: Any = (yield from self._swap_end(swap)) if ends else (yield swap)
            if present is MADE or (present is not None and present.has_made(nonce)):
                if turn is not None:
                    turn.leave(after)
                    if login is None and (
                        base.marks is None or marks.revision != base.marks.revision
                    ):
                        self.note("merged")
                if login is not None:
                    return login
                if moved:
                    return CommitResult.MOVED
                return CommitResult.stored(join_cookie_value(changes.id, marks.number))
            conflicts += 1
            if time.monotonic() >= deadline:
                raise StoreUnavailable("other writers of the same session never paused")
            entry = present
            if turn is None:
                own: Turn = yield Acquire(marks.number)
                turn, entry = own, own.newer(entry)
            elif conflicts > _MAX_CONFLICTS:
                entry = yield Lock(marks.number)
            if entry is None or entry.key != key:
                entry = yield from self._own(base, entry, marks.number)
            found = self._judge(entry, base)
            if found is not None:
                self.note("conflict")
        return (yield from self._ended(changes, nonce, entry, login))

    def _begin(self, changes: Changes, nonce: bytes) -> Steps[CommitResult]:
        # At random: an id from elsewhere may be saved, destroyed and saved again, and a
        # request that opened the first session must not take the second for it.
        revision = secrets.randbits(48)
        value = begun(changes, revision)
        if value is None:
            return CommitResult.EMPTY
        now = time.time()
        key = storage_key(changes.id)
        purge_after = self._purge_after(now, now, changes.lifetime_on(None) or self.lifetime)
        value = self._sealed(value, key)
        owner = changes.owner_bytes
        entry = Entry(number_for(key), key, now, now, revision, purge_after, nonce, value, owner)
        yield from self._registering(entry, changes.lifetime_on(None) or self.lifetime)
        present: Entry | Made | None = yield Insert(entry)
        while not (isinstance(present, Made) or (present is not None and present.has_made(nonce))):
            if present is None:  # it has just gone
                present = yield Insert(entry)
            elif present.key == key:  # saved again under its id
                entry = entry._replace(number=present.number)
                present = yield Swap(present.number, present.revision, entry)
            else:
                entry = entry._replace(number=secrets.randbits(63) or 1)
                yield from self._registering(entry, changes.lifetime_on(None) or self.lifetime)
                present = yield Insert(entry)
        return CommitResult.stored(join_cookie_value(changes.id, entry.number))

    def _begin_login(self, changes: Changes, nonce: bytes) -> Steps[CommitResult]:
        """Begin a session of what a login has written, where another login was faster."""
        result = yield from self._begin(changes, nonce)
        return CommitResult.GONE if result is CommitResult.EMPTY else result

    def _begin_in_place(self, changes: Changes, nonce: bytes, marks: Marks) -> Steps[CommitResult]:
        """Begin the session that follows one which is about to end; nobody knows its id yet."""
        try:
            return (yield from self._begin(changes, nonce))
        except StoreUnavailable:
            with suppress(StoreUnavailable):  # full, say: a logout needs no space
                present: Entry | Made | None = yield Swap(marks.number, marks.revision, None)
                while isinstance(present, Entry):
                    present = yield Swap(marks.number, present.revision, None)
            raise

    def _ended(
        self, changes: Changes, nonce: bytes, entry: Entry | None, login: CommitResult | None
    ) -> Steps[CommitResult]:
        """Return the result where the session has ended; what a logout has begun goes too."""
        by_login = entry is not None and self._is_tombstone(entry, time.time())
        if by_login and (changes.id_changed or changes.invalidated):
            if login is None:
                return (yield from self._begin_login(changes, nonce))
            return CommitResult.GONE if login is CommitResult.EMPTY else login
        if login is not None and login is not CommitResult.EMPTY:
            yield from self._destroy(login.cookie_value)
        return CommitResult.GONE

    # Entries.

    def _named(self, name: str) -> Steps[Entry | None]:
        """Return the entry of an id, a cookie value or a handle."""
        number = number_of(name)
        if number is None:
            return (yield from self._locate(*split_cookie_value(name)))
        entry: Entry | None = yield Read(number)
        return entry

    def _registering(self, entry: Entry, lifetime: float) -> Steps[None]:
        if any(entry.owner) and self.registers_owners:  # not those of records
            yield self._registration(entry.owner, entry.number, lifetime)

    def _must_register(self, found: StoredSession, changes: Changes) -> bool:
        """Whether a use of a session renews what is registered: once per tenth of its life."""
        if not self.registers_owners or is_record(found):
            return False
        tenth = (found.lifetime or self.lifetime) / 10
        return (
            changes.owner is not None
            or changes.lifetime is not None
            or time.time() // tenth != found.last_used_at // tenth
        )

    def _registration(self, owner: bytes, number: int, lifetime: float) -> Register:
        # More than 1.1 lifetimes: it is renewed once per tenth, and clocks differ.
        return Register(owner, number, 2 * lifetime)

    def _locate(self, session_id: str, number: int) -> Steps[Entry | None]:
        """Return the entry of an id; most likely it has this number."""
        key, own_number = key_and_number(session_id)
        entry: Entry | None = yield Read(number or own_number)
        if entry is None or entry.key != key:
            entry = yield from self._elsewhere(key, own_number, number or own_number)
        return entry

    def _elsewhere(self, key: bytes, own_number: int, number: int) -> Steps[Entry | None]:
        """Return the entry of a key that is not under a number, as far as the store can find it."""
        entry: Entry | None = None
        if self.finds_by_id:
            entry = yield Find(key)
        elif own_number != number:
            entry = yield Read(own_number)
        return entry if entry is not None and entry.key == key else None

    def _present(self, base: StoredSession, turn: Turn | None) -> Steps[Entry | None]:
        """Return the entry of the session that a request has opened, as it is now."""
        key, own_number = key_and_number(base.id)
        number = own_number if base.marks is None else base.marks.number
        entry = None if turn is None else turn.newer(None)
        # Another process may have written since, and this request may have opened that.
        opened = -1 if base.marks is None else base.marks.revision
        if entry is None or not same_session(entry.revision, opened):
            entry = yield Read(number)
        if entry is None or entry.key != key:
            entry = yield from self._own(base, entry, number)
        return entry

    def _own(self, base: StoredSession, entry: Entry | None, number: int) -> Steps[Entry | None]:
        """Return the entry that an earlier commit of the request has begun, or the given one."""
        key, own_number = key_and_number(base.id)
        own = yield from self._elsewhere(key, own_number, number)
        return entry if own is None else own

    def _judge(self, entry: Entry | None, base: StoredSession) -> StoredSession | None:
        """Return the session in an entry, if it is the one that a request has opened."""
        found = None if entry is None else self._readable(entry, base.id, time.time())
        if entry is None or found is None:
            return None
        marks: Marks | None = base.marks
        other = marks is not None and marks.number == entry.number
        if other and not same_session(entry.revision, marks.revision):  # type: ignore[union-attr]
            return None
        return found

    def _readable(self, entry: Entry, session_id: str, now: float) -> StoredSession | None:
        """Return the session in an entry, if it is readable and has not expired."""
        content = None
        if 0 <= entry.revision < _MAX_REVISION:
            content = decode_content(entry.value, entry.key, self.sealer)
        if content is None:
            if entry.value != TOMBSTONE and not entry.value.startswith(LEAVING):
                logger.warning(
                    "The stored session %s is unreadable and counts as absent.%s",
                    entry.key.hex()[:8],
                    why_unreadable(entry.value, self.sealer),
                )
            return None
        lifetime = content.lifetime or self.lifetime
        if now >= self._absolute_end(entry.created_at) or (
            self.asks_own_clock and now >= entry.last_used_at + lifetime
        ):
            return None
        return StoredSession(
            id=session_id,
            data=content.data,
            flash=content.flash,
            created_at=entry.created_at,
            last_used_at=entry.last_used_at,
            lifetime=content.lifetime or 0.0,
            expire_on_close=content.expire_on_close,
            owner=content.owner,
            marks=Marks(
                entry.number,
                entry.key,
                entry.revision,
                entry.purge_after,
                content.flashed,
                entry.commits,
            ),
        )

    def _after(
        self, found: StoredSession, changes: Changes, nonce: bytes, login: CommitResult | None
    ) -> Entry | None:
        """Return the entry after a commit, or None where nothing is left."""
        marks: Marks = found.marks
        commits = nonce + marks.commits[: NONCE_SIZE * (NONCES - 1)]
        now, revision = time.time(), marks.revision + 1
        if login is CommitResult.EMPTY:
            return self._end(marks.number, marks.key, revision, commits)
        if login is not None:  # never used, so that gc() removes it whatever the lifetimes are
            end = now + (REMEMBERED if self.remembers_ends else self.overlap)
            return Entry(marks.number, marks.key, now, 0.0, revision, end, commits, TOMBSTONE)
        now = last_use(found, now)
        moves = changes.id_changed
        created_at = now if moves else found.created_at
        lifetime = changes.lifetime_on(found) or self.lifetime
        purge_after = self._purge_after(created_at, now, lifetime)
        if not moves and 0 <= purge_after - marks.purge_after < EXPIRY_MARGIN * lifetime:
            purge_after = marks.purge_after  # it is in an index; a store that has none says 0.0
        base = changes.base
        opened: Marks | None = None if base is None else base.marks
        since = opened.revision if opened is not None and opened.number == marks.number else 0
        value = merged(found, marks.flashed, revision, changes, since)
        key = key_and_number(changes.id)[0] if moves else marks.key
        value = self._sealed(value, key)
        owner = changes.owner_on(found)
        owner_bytes = b"" if owner is None else bytes.fromhex(owner.key)
        return Entry(
            marks.number, key, created_at, now, revision, purge_after, commits, value, owner_bytes
        )

    def _sealed(self, value: bytes, key: bytes) -> bytes:
        sealer = self.sealer
        return value if sealer is None or not sealer.seals else sealer.seal(value, key)

    def _end(self, number: int, key: bytes, revision: int, commits: bytes) -> Entry | None:
        """Return what is left of a session that has ended, and by no login: mostly nothing."""
        if not self.remembers_ends:
            return None
        return self._mark(number, key, revision, commits, TOMBSTONE)

    def _mark(self, number: int, key: bytes, revision: int, commits: bytes, value: bytes) -> Entry:
        return Entry(number, key, 0.0, 0.0, revision, time.time() + REMEMBERED, commits, value)

    def _is_mark(self, entry: Entry) -> bool:
        return entry.value == TOMBSTONE or has_left(entry.value)

    def _swap_end(self, swap: Swap) -> Steps[Any]:
        """End a session; on a server that is full too, which cannot keep a mark."""
        try:
            return (yield swap)
        except StoreUnavailable:
            if swap.after is None:
                raise
            return (yield swap._replace(after=None))

    def _purge_after(self, created_at: float, now: float, lifetime: float) -> float:
        """Return when the server may remove a session that is used now."""
        end = self._absolute_end(created_at)
        if self.asks_own_clock:  # which may be wrong
            return min(now + (1 + EXPIRY_MARGIN) * lifetime, end) + CLOCK_GRACE
        return min(now + lifetime, end)

    def _absolute_end(self, created_at: float) -> float:
        return created_at + self.absolute_lifetime if self.absolute_lifetime else math.inf

    def _is_tombstone(self, entry: Entry, now: float) -> bool:
        return entry.value == TOMBSTONE and self._is_recent(entry, now)

    def _is_recent(self, entry: Entry, now: float) -> bool:
        """Whether the id of an entry was made, or its session ended, less than ``overlap`` ago."""
        return abs(now - entry.created_at) < self.overlap


def _is_of(stored: StoredSession | None, owner: str) -> TypeGuard[StoredSession]:
    return stored is not None and stored.owner is not None and stored.owner.key == owner


@contextmanager
def told_at_start() -> Iterator[None]:
    """Log an outage: a site whose workers are replaced goes on without its store, and with it."""
    try:
        yield
    except StoreUnavailable as error:
        logger.error(  # the message says all
            "%s. The site starts without its sessions, and they are tried again at each use.",
            str(error).rstrip("."),
        )


def missing_extra(extra: str, error: ImportError) -> ConfigError:
    """Return the error for a store whose packages are missing."""
    return ConfigError(
        f"store: {error.name} is not installed. Run: pip install 'glimr-session[{extra}]'"
    )
