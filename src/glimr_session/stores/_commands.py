"""Entries, and the commands that a store on a server runs on them."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from .._session.serialization import Record

__all__ = [
    "MADE",
    "NONCES",
    "NONCE_SIZE",
    "Acquire",
    "AsyncExecutor",
    "Command",
    "Entry",
    "Executor",
    "Extend",
    "Find",
    "Insert",
    "Lock",
    "Made",
    "Owned",
    "Read",
    "Register",
    "Steps",
    "Swap",
]

R = TypeVar("R")

NONCE_SIZE: Final = 6
"""Bytes of the random mark of a commit, by which it knows that it was made."""

NONCES: Final = 6
"""Of how many of its last commits an entry keeps the marks."""


class Entry(Record, frozen=True):
    """A session as a server keeps it. Times are seconds since the epoch.

    Attributes:
        number: what it is kept under, for life.
        key: the SHA-256 of its id.
        created_at: when the id was made.
        last_used_at: when it was last used.
        revision: counts commits, from a random number on.
        purge_after: when the server may remove it.
        commits: the marks of its last commits, the latest first.
        value: the rest, as JSON; ``TOMBSTONE`` if a login has ended it.
        owner: what stands for its owner, 32 bytes; b"" if it belongs to nobody.
    """

    number: int
    key: bytes
    created_at: float
    last_used_at: float
    revision: int
    purge_after: float
    commits: bytes
    value: bytes
    owner: bytes = b""

    def __repr__(self) -> str:
        """Show nothing of the value."""
        return f"Entry({self.key.hex()[:8]}, revision={self.revision}, {len(self.value)} bytes)"

    def has_made(self, nonce: bytes) -> bool:
        """Whether one of its last commits was this one."""
        commits = self.commits
        return any(
            commits[start : start + NONCE_SIZE] == nonce
            for start in range(0, len(commits), NONCE_SIZE)
        )


class Made(Record, frozen=True):
    """A swap or an insertion was made."""


MADE: Final = Made()


class Read(Record, frozen=True):
    """Return the entry under a number, or None."""

    number: int


class Find(Record, frozen=True):
    """Return the entry under a key, or None: for stores that have such an index."""

    key: bytes


class Lock(Record, frozen=True):
    """As ``Read``; nobody else writes it before these steps have swapped it or ended."""

    number: int


class Insert(Record, frozen=True):
    """Keep an entry if there is none under its number and its key; ``MADE``, or that one."""

    entry: Entry


class Swap(Record, frozen=True):
    """Keep ``after`` if an entry is at a revision; ``MADE``, or the entry that is there, or None.

    Attributes:
        number: of the entry.
        revision: which it must be at.
        after: what is kept instead; None removes it. (If it is not there, and the answer to
            an earlier attempt was lost, that one has removed it: ``MADE``.)
        used_after: a store that asks the clock of this machine lets nobody change an entry
            that was last used before, for it has expired.
    """

    number: int
    revision: int
    after: Entry | None
    used_after: float = -math.inf


class Extend(Record, frozen=True):
    """Record a use of an entry with this key, and leave its value; return whether it is there."""

    number: int
    key: bytes
    last_used_at: float
    purge_after: float


class Owned(Record, frozen=True):
    """Return the numbers of an owner's entries; some may be there no more, or another's."""

    owner: bytes


class Register(Record, frozen=True):
    """List an entry under its owner for some seconds: where there is no index of owners.

    It comes before the entry is written, so that no entry is missing from the list.
    """

    owner: bytes
    number: int
    seconds: float


class Acquire(Record, frozen=True):
    """Wait until no other thread of the process commits to a session; return a ``Turn``.

    With ``only_if_busy``, None if none does.
    """

    number: int
    only_if_busy: bool = False


Command: TypeAlias = Read | Find | Lock | Insert | Swap | Extend | Owned | Register

Steps: TypeAlias = Generator[Any, Any, R]
"""Yields commands, is sent their results, and returns its own."""


class Executor(Protocol):
    """Runs the commands of one operation."""

    def execute(self, command: Command) -> Any:
        """Return the result of a command; StoreUnavailable if it cannot be had."""

    def close(self) -> None:
        """Give back what the operation has used."""


class AsyncExecutor(Protocol):
    """As ``Executor``, for an event loop."""

    async def execute(self, command: Command) -> Any:
        """Return the result of a command; StoreUnavailable if it cannot be had."""

    async def close(self) -> None:
        """Give back what the operation has used."""
