"""What a session is at one moment of a request.

Nothing in here is changed in place: a state that has been handed out stays what it was.
"""

from __future__ import annotations

from collections.abc import Mapping

from .changes import EMPTY, Changes, Edit
from .serialization import Record, StoredSession
from .values import Json

__all__ = ["SessionState"]


class SessionState(Record, frozen=True):
    """A session at one moment of a request.

    The mappings belong to the session: read them, do not change them.

    Attributes:
        id: the session's id.
        data: the values, by key.
        loaded_flash: what the request before left, and this one may read.
        flash: what the next request will read.
        changes: what this request did.
    """

    id: str
    data: Mapping[str, Json]
    loaded_flash: Mapping[str, Json]
    flash: Mapping[str, Json]
    changes: Changes

    @classmethod
    def new(cls, session_id: str) -> SessionState:
        """Return the state of a new session that no store knows."""
        return cls(session_id, EMPTY, EMPTY, EMPTY, Changes(None, session_id))

    @classmethod
    def opened(cls, stored: StoredSession) -> SessionState:
        """Return the state of a stored session. Its flash counts as consumed: a change."""
        flash = stored.flash
        changes = Changes(stored, stored.id, False, EMPTY, EMPTY, flash)
        return cls(stored.id, stored.data, flash, EMPTY, changes)

    @property
    def dirty(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.changes)

    @property
    def invalidated(self) -> bool:
        """Whether the stored session has to be destroyed."""
        return self.changes.invalidated

    def with_data(self, data: Mapping[str, Json], edits: Mapping[str, Edit]) -> SessionState:
        """Return the state with other data, which the edits have led to."""
        changes = self.changes.with_edits(edits)
        return SessionState(self.id, data, self.loaded_flash, self.flash, changes)

    def with_flash(self, values: Mapping[str, Json]) -> SessionState:
        """Return the state with these values left for the next request."""
        if not values:
            return self
        changes = self.changes
        return self._replace(
            flash={**self.flash, **values},
            changes=changes._replace(flash={**changes.flash, **values}),
        )

    def committed(self) -> SessionState:
        """Return the state after its changes have been committed: there are none left."""
        before, new_session = self.changes.base, self.changes.invalidated
        if before is None or new_session:
            base = StoredSession(id=self.id, data={**self.data}, flash={**self.flash})
        else:
            base = StoredSession(
                id=self.id,
                data={**self.data},
                flash={**self.flash},
                created_at=before.created_at if before.id == self.id else 0.0,
                marks=before.marks,
            )
        return self._replace(changes=Changes(base, self.id))
