"""What a session is in the middle of a request: what the store gave, and the changes since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .changes import ABSENT, EMPTY, Added, Changes, Edit, Kept, add_flash, result_of
from .serialization import StoredSession
from .values import Json

__all__ = ["SessionState"]


class SessionState:
    """A session in the middle of a request. Only its actor changes it.

    Everything follows from the session as the store gave it and the changes since, so there
    is nothing to keep in step: an exception at any instruction leaves a change made or not
    made.

    Attributes:
        changes: what this request did.
        loaded_flash: what the request before left, and this one may read.
        unread: the part of it that is consumed when it is read; with ``flash_until_read``.
    """

    __slots__ = ("changes", "loaded_flash", "unread")

    def __init__(
        self, changes: Changes, loaded_flash: Mapping[str, Json], unread: dict[str, Json]
    ) -> None:
        self.changes = changes
        self.loaded_flash = loaded_flash
        self.unread = unread

    @classmethod
    def new(cls, session_id: str) -> SessionState:
        """Return the state of a new session that no store knows."""
        return cls(Changes(None, session_id), EMPTY, {})

    @classmethod
    def opened(cls, stored: StoredSession, *, flash_until_read: bool = False) -> SessionState:
        """Return the state of a stored session.

        Its flash counts as consumed, which is a change; with ``flash_until_read`` when it is
        read.
        """
        flash = stored.flash
        if flash_until_read:
            return cls(Changes(stored, stored.id), flash, {**flash})
        return cls(Changes(stored, stored.id, consumed=flash), flash, {})

    def __repr__(self) -> str:
        return f"SessionState(changes={self.changes!r}, loaded_flash={self.loaded_flash!r})"

    @property
    def id(self) -> str:
        """The session's id."""
        return self.changes.id

    @property
    def data(self) -> dict[str, Json]:
        """The values, by key: a new dict, whose values belong to the session."""
        return self.changes.replay_data(self._stored_data)

    @property
    def flash(self) -> dict[str, Json]:
        """What the next request will read: a new dict."""
        base = self.changes.base
        return self.changes.replay_flash(EMPTY if base is None else base.flash)

    @property
    def lifetime(self) -> float:
        """The session's own idle timeout in seconds, 0 for the store's."""
        return self.changes.lifetime_on(self.changes.base)

    @property
    def expire_on_close(self) -> bool | None:
        """Whether the cookie ends with the browser; None for the configuration's."""
        return self.changes.expire_on_close_on(self.changes.base)

    @property
    def dirty(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.changes)

    @property
    def invalidated(self) -> bool:
        """Whether the stored session has to be destroyed."""
        return self.changes.invalidated

    def get(self, key: str, default: Any) -> Any:
        """Return the value of a key, or the default."""
        changes = self.changes
        if key in changes.edits:
            value = result_of(changes.edits[key])
            return default if value is ABSENT else value
        return self._stored_data.get(key, default)

    def edit(self, key: str, edit: Edit) -> None:
        """Change a key."""
        self.changes.edits[key] = self.changes.compose(key, edit)

    def leave_flash(self, key: str, value: Json | Added) -> None:
        """Leave a value for the next request."""
        flash = self.changes.flash
        both = type(value) is Added and key in flash
        flash[key] = add_flash(flash[key], value) if both else value  # type: ignore[arg-type]

    def read_flash(self, key: str, default: Any) -> Any:
        """Return what the request before left, or the default."""
        if key in self.unread:
            self.changes = self.changes._replace(
                consumed={**self.changes.consumed, key: self.unread[key]}
            )
            del self.unread[key]
        return self.loaded_flash.get(key, default)

    def keep_flash(self, keys: Iterable[str]) -> None:
        """Leave flash that was shown for the next request too, beside what is new."""
        shown, base = self.loaded_flash, self.changes.base
        stored = EMPTY if base is None or self.changes.invalidated else base.flash
        consumed, flash = {**self.changes.consumed}, {**self.changes.flash}
        for key in keys:
            if key in consumed and shown.get(key) is consumed[key]:
                del consumed[key]  # so it stays, unless there is a new one by then
            elif key in shown and key not in flash and (key in consumed or key not in stored):
                flash[key] = Kept(shown[key])  # from now(), or removed by an earlier commit
            self.unread.pop(key, None)
        self.changes = self.changes._replace(consumed=consumed, flash=flash)

    def take_changes(self) -> Changes:
        """Return the changes, and go on as if they had been committed."""
        changes = self.changes
        base = changes.base
        if changes:
            before = None if changes.invalidated else base
            base = StoredSession(
                id=changes.id,
                data=self.data,
                flash=self.flash,
                created_at=before.created_at if before and before.id == changes.id else 0.0,
                marks=before.marks if before else None,
                lifetime=self.lifetime,
                expire_on_close=self.expire_on_close,
                owner=changes.owner_on(base),
            )
        self.changes = Changes(base, changes.id)
        return changes

    def snapshot(self) -> SessionState:
        """Return a copy that later messages do not change."""
        changes = self.changes
        return SessionState(
            changes._replace(edits={**changes.edits}, flash={**changes.flash}),
            self.loaded_flash,
            {**self.unread},
        )

    @property
    def _stored_data(self) -> Mapping[str, Json]:
        base = self.changes.base
        return EMPTY if base is None or self.changes.cleared else base.data
