"""The database under the disk store, with the same settings and nothing around it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import diskcache

from glimr_session import StoredSession, generate_id
from glimr_session.ids import storage_key
from glimr_session.payload import encode_stored

from .sample import SAMPLE
from .site import VISITORS, in_turn

__all__ = ["PAGE", "BareRows"]

PAGE: Final = 5
"""A visitor's browser sends so many requests for a page, then it is the next one's turn.
Of the five, one brings a cookie that was not verified lately."""


class BareRows:
    """A ``diskcache.Cache`` with a row of the sample for each visitor, who come in turns."""

    def __init__(self, directory: Path, *, synchronous: int = 1) -> None:
        self._cache = diskcache.Cache(
            str(directory),
            timeout=5,
            eviction_policy="none",
            cull_limit=0,
            sqlite_synchronous=synchronous,
        )
        self.value = encode_stored(StoredSession(data=SAMPLE, revision=1))
        keys = [storage_key(generate_id()) for _ in range(VISITORS)]
        with self._cache.transact():
            for key in keys:
                self._cache.set(key, self.value)
        self._keys = in_turn(keys, PAGE)

    def get(self) -> object:
        """Give a value."""
        return self._cache.get(next(self._keys))

    def set(self) -> object:
        """Write a value."""
        return self._cache.set(next(self._keys), self.value)

    def transact(self) -> object:
        """Read a value and write it, in a transaction."""
        key = next(self._keys)
        with self._cache.transact():
            value = self._cache.get(key)
            self._cache.set(key, value)
        return value

    def close(self) -> None:
        """Close the database."""
        self._cache.close()
