# pyright: strict
"""A store of one's own: no checker may report anything here. See ``test_typing.py``."""

from __future__ import annotations

from glimr_session import CommitResult, Json, SessionStore, StoredSession
from glimr_session._session.changes import Changes


class MemoryStore(SessionStore):
    """Keeps sessions in a dict; one request at a time."""

    kind = "memory"
    atomic = True

    def __init__(self) -> None:
        self.lifetime = 600.0
        self._kept: dict[str, tuple[dict[str, Json], dict[str, Json]]] = {}

    def open(self, cookie_value: str) -> StoredSession | None:
        """Return the session."""
        found = self._kept.get(cookie_value)
        return None if found is None else StoredSession(id=cookie_value, data=found[0])

    def commit(self, changes: Changes, *, wait: bool = True) -> CommitResult:
        """Replay the changes."""
        base = changes.base
        data, flash = ({}, {}) if base is None else self._kept.pop(base.id, ({}, {}))
        data, flash = changes.replay(data, flash)
        if not data and not flash:
            return CommitResult.EMPTY
        self._kept[changes.id] = data, flash
        return CommitResult.stored(changes.id)

    def gc(self) -> int:
        """Remove nothing."""
        return 0
