"""Stores with many sessions in them, what is done to them, and the least that does the same."""

import json
import random
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from unittest.mock import patch

import diskcache

from glimr_session import SessionStore, generate_id

from .internals import begun, edited, storage_key
from .measure import Arm
from .sites import IN_A_ROW, cycled
from .worker import SAMPLE, VISITORS

BARE_GET: Final = "diskcache: get"
BARE_TRANSACTION: Final = "diskcache: get and set in a transaction"


def populate(
    store: SessionStore, sessions: int, *, sample: int = 0, hours_ago: int = 0
) -> list[str]:
    """Begin so many sessions, and return the cookie values of some of them, drawn at random.

    They are begun in the order of their keys, which SQLite writes four times as fast.

    Args:
        store: The store.
        sessions: How many to begin.
        sample: How many cookie values to return, at most.
        hours_ago: How far back the clock is set meanwhile. Sessions of yesterday have expired.
    """
    ids = sorted((generate_id() for _ in range(sessions)), key=storage_key)
    drawn = set(random.Random(sessions).sample(ids, min(sample, sessions)))
    values: list[str] = []
    now = time.time
    with patch("time.time", lambda: now() - hours_ago * 3600):
        for session_id in ids:
            result = store.commit(begun(session_id, SAMPLE))
            if session_id in drawn:
                values.append(result.cookie_value)
    random.Random(sessions).shuffle(values)
    return values


def opening(store: SessionStore, values: Sequence[str]) -> Arm:
    """Return an arm that opens a session."""
    turns = cycled(values)

    def opened() -> None:
        if store.open(next(turns)) is None:
            raise RuntimeError("a session is not there")

    return opened


def committing(store: SessionStore, values: Sequence[str]) -> Arm:
    """Return an arm that opens a session and commits one more visit."""
    turns = cycled(values)

    def commit() -> None:
        base = store.open(next(turns))
        if base is None or not store.commit(edited(base, {"visits": base.data["visits"] + 1})):
            raise RuntimeError("a session is not there")

    return commit


def bare_rows(directory: Path) -> tuple[Arm, Arm]:
    """Return a get, and a get and a set in a transaction, on a bare ``diskcache.Cache``.

    It has the settings of the store, and a row for each visitor.
    """
    cache = diskcache.Cache(str(directory), timeout=5, eviction_policy="none", cull_limit=0)
    keys = [secrets.token_bytes(32) for _ in range(VISITORS)]
    with cache.transact(retry=True):
        for key in keys:
            cache.set(key, json.dumps(SAMPLE).encode())
    visitors = cycled(keys, IN_A_ROW)

    def get() -> object:
        return cache.get(next(visitors))

    def transact() -> None:
        key = next(visitors)
        with cache.transact(retry=True):
            cache.set(key, cache.get(key))

    return get, transact
