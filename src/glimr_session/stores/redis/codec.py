"""Entries and commands in the words of Redis, and what its answers mean.

A session is one string, ``{prefix}{number:016x}``: a header of fixed length, and JSON. The
server's own expiry is the idle timeout.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
import time
from collections.abc import Callable
from typing import Any, Final

import redis
from redis import exceptions

from ..._log import warn
from ...errors import StoreUnavailable
from .._commands import (
    MADE,
    NONCE_SIZE,
    Command,
    Entry,
    Extend,
    Find,
    Insert,
    Owned,
    Register,
    Swap,
)

__all__ = ["ERRORS", "LOST", "SCRIPTS", "Codec", "bare"]

ERRORS: Final = (redis.RedisError, exceptions.RedisClusterException, OSError)
"""What redis-py raises when it has no answer, or one that is an error."""

LOST: Final = (redis.ConnectionError, redis.ReadOnlyError)
"""The connection was lost, perhaps with the answer; or the server has become a replica, and the
next connection may lead to its master."""

# Errors of that kind that say otherwise.
_HOPELESS: Final = (
    redis.AuthenticationError,
    exceptions.BusyLoadingError,
    exceptions.MaxConnectionsError,
)

_NONCES: Final = 6 * NONCE_SIZE

# Format and revision, which a swap compares; when the id was made and the session last used;
# the key; the marks of the last commits.
_FORMAT: Final = b"g1"
_HEADER: Final = struct.Struct(f">2sQdd32s{_NONCES}s")
_EXPECTED: Final = struct.Struct(">2sQ")
_USED: Final = struct.Struct(">d")
_USED_AT: Final = _EXPECTED.size + _USED.size
_KEY_AT: Final = _USED_AT + _USED.size

# Returns 1 if it was made, else what is there. "" expects that nothing is, or removes it.
_SWAP: Final = f"""
if redis.call('GETRANGE', KEYS[1], 0, {_EXPECTED.size - 1}) ~= ARGV[1] then
  return redis.call('GET', KEYS[1])
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
"""
# A server that is full refuses SETRANGE, but not in a script that has already written.
_EXTEND: Final = f"""
if redis.call('GETRANGE', KEYS[1], {_KEY_AT}, {_KEY_AT + 31}) ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('SETRANGE', KEYS[1], {_USED_AT}, ARGV[2])
return 1
"""

# The numbers of an owner's sessions, each with the time until which it is listed.
_REGISTER: Final = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], 'GT', now + ARGV[2], ARGV[1])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
redis.call('PEXPIRE', KEYS[1], math.ceil((last - now) * 1000))
return 1
"""

# EVALSHA names a script by its SHA-1.
_HASHES: Final = {
    script: hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
    for script in (_SWAP, _EXTEND, _REGISTER)
}
SCRIPTS: Final = {name: script for script, name in _HASHES.items()}
"""The scripts, by the hash that stands for each."""


class Codec:
    """Commands in Redis' words, and what its answers mean.

    Args:
        prefix: of the keys.
        place: where the server is, as messages name it.
    """

    note: Callable[[str], object] = staticmethod(lambda event: None)  # noqa: ARG005
    """See SessionStore.note."""

    def __init__(self, prefix: str, place: str) -> None:
        self.prefix = prefix
        self.place = place

    def words(self, command: Command) -> tuple[Any, ...]:
        """Return a command of Redis; a script is in it by its hash."""
        if isinstance(command, Insert):
            return self._script(_SWAP, command.entry.number, b"", *_written(command.entry))
        if isinstance(command, Swap):
            expected = _EXPECTED.pack(_FORMAT, command.revision)
            return self._script(_SWAP, command.number, expected, *_written(command.after))
        if isinstance(command, Extend):
            used, milliseconds = _USED.pack(command.last_used_at), _until(command.purge_after)
            return self._script(_EXTEND, command.number, command.key, used, milliseconds)
        if isinstance(command, Owned):
            return "ZRANGE", self._owner_key(command.owner), 0, -1
        if isinstance(command, Register):
            owner, member = self._owner_key(command.owner), f"{command.number:016x}"
            return "EVALSHA", _HASHES[_REGISTER], 1, owner, member, math.ceil(command.seconds)
        if isinstance(command, Find):
            raise TypeError("Redis has no index of keys")
        return "GET", self.key(command.number)

    def result(self, command: Command, answer: Any, *, again: bool) -> Any:
        """Return what the answer to a command means.

        Args:
            command: the command.
            answer: Redis' answer.
            again: whether it was sent before, and that answer was lost.
        """
        if isinstance(command, Extend):
            return answer == 1
        if isinstance(command, Owned):
            return [int(member, 16) for member in answer]
        if isinstance(command, Register):
            return None
        if isinstance(command, Insert):
            return MADE if answer == 1 else self._entry(command.entry.number, answer)
        if isinstance(command, Swap) and (
            answer == 1 or (again and answer is None and command.after is None)
        ):
            return MADE
        return self._entry(command.number, answer)  # type: ignore[union-attr]  # no Find

    def next_attempt(
        self, words: tuple[Any, ...], error: Exception, *, again: bool
    ) -> tuple[tuple[Any, ...], bool]:
        """Return what to send after an error, and whether an answer may have been lost.

        Args:
            words: what was sent.
            error: what came of it.
            again: whether an answer had been lost before: two attempts are enough.

        Raises:
            StoreUnavailable: there is nothing to send.
        """
        if isinstance(error, exceptions.NoScriptError) and words[0] == "EVALSHA":
            return ("EVAL", SCRIPTS[words[1]], *words[2:]), again  # the server was restarted since
        if again or not isinstance(error, LOST) or isinstance(error, _HOPELESS):
            raise self.outage(error) from bare(error)
        self.note("retry")
        return words, True

    def outage(self, error: Exception) -> StoreUnavailable:
        """Return the error that a request is told of."""
        reason = str(error).rstrip(".") or type(error).__name__
        if isinstance(error, redis.OutOfMemoryError):
            reason = f"it is full, and only reads and removes until it has memory again: {reason}"
        elif isinstance(error, redis.ReadOnlyError):
            reason = f"it is a replica, and only reads: {reason}"
        elif "WRONGTYPE" in reason:
            reason = (
                f"a key that begins with {self.prefix!r} is no session; set [redis] prefix to "
                f"what no other program uses: {reason}"
            )
        return StoreUnavailable(f"the session store on {self.place} could not answer: {reason}")

    def key(self, number: int) -> str:
        """Return the key of a session."""
        return f"{self.prefix}{number:016x}"

    def number(self, key: bytes | str) -> int | None:
        """Return the number in a key, or None if it is not one of a session."""
        name = key.decode("utf-8", "replace") if isinstance(key, bytes) else key
        digits = name.removeprefix(self.prefix)
        is_ours = digits != name and re.fullmatch("[0-9a-f]{16}", digits, re.ASCII)
        return int(digits, 16) if is_ours else None

    def _owner_key(self, owner: bytes) -> str:
        return f"{self.prefix}owner:{owner.hex()}"

    def _script(self, script: str, number: int, *arguments: Any) -> tuple[Any, ...]:
        return "EVALSHA", _HASHES[script], 1, self.key(number), *arguments

    def _entry(self, number: int, value: bytes | None) -> Entry | None:
        if value is None:
            return None
        if value[:2] != _FORMAT or len(value) < _HEADER.size:
            if re.match(rb"g[2-9]", value):
                raise StoreUnavailable(
                    f"the session store on {self.place} was written by a later version of "
                    "glimr_session; update this one"
                )
            warn(
                "%s has a value of another program's under %s; it counts as absent.",
                self.place,
                self.key(number),
            )
            return Entry(number, b"", 0.0, 0.0, -1, 0.0, b"", value)
        _, revision, created_at, last_used_at, key, commits = _HEADER.unpack_from(value)
        rest = value[_HEADER.size :]
        return Entry(number, key, created_at, last_used_at, revision, 0.0, commits, rest)


def _written(entry: Entry | None) -> tuple[bytes, int]:
    """Return the value of an entry, and its milliseconds to live; b"" to remove it."""
    if entry is None:
        return b"", 0
    header = _HEADER.pack(
        _FORMAT, entry.revision, entry.created_at, entry.last_used_at, entry.key, entry.commits
    )
    return header + entry.value, _until(entry.purge_after)


def _until(end: float) -> int:
    return max(round((end - time.time()) * 1000), 1)


def bare(error: BaseException) -> BaseException:
    """Return an error without tracebacks: the variables of redis-py's functions have passwords."""
    found: BaseException | None = error
    while found is not None:
        found.__traceback__ = None
        found = found.__cause__ or found.__context__
    return error
