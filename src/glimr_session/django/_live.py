"""The data of a session, with what Django keeps in it of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from django.contrib.sessions.backends.base import SessionBase

from .._request.live_session import LiveSession
from .._request.request_session import RequestSession
from .._session.values import Json

__all__ = ["EXPIRY", "DjangoLiveSession", "seconds_left"]

EXPIRY: Final = "_session_expiry"
"""Where ``SessionBase.set_expiry`` leaves its value: seconds, or a date in ISO format."""

# A session without data is no session to a store, and one to Django once it was saved.
_CREATED: Final = "_glimr_session_created"

_SOON: Final = 0.001  # seconds: the shortest lifetime that a store is given


class DjangoLiveSession(LiveSession):
    """The session as a dict.

    Args:
        request: the session of the request.
        login_keys: as for LiveSession.
        owner_keys: likewise.
        on_close: whether cookies end with the browser where the session does not say.
    """

    def __init__(
        self,
        request: RequestSession,
        login_keys: Collection[str],
        owner_keys: Sequence[str],
        *,
        on_close: bool,
    ) -> None:
        super().__init__(request, login_keys, owner_keys)
        self._on_close = on_close

    @property
    def dirty(self) -> bool:
        """Whether the session was told of changes that are not committed."""
        return not self.request.closed and self.session.state().dirty

    @property
    def leaves_flash(self) -> bool:
        """Whether there is flash for the next request."""
        return not self.request.closed and bool(self.session.state().flash)

    def create(self) -> None:
        """Let the next commit keep the session, even if nothing is in it."""
        if not self:
            self.session.put(_CREATED, True)

    def write(self) -> None:
        super().write()
        if self.request.finished:
            return
        # What set_expiry() said, for the store.
        expiry, state = self.get(EXPIRY), self.session.state()
        lifetime = max(seconds_left(expiry), _SOON) if expiry else 0.0
        if lifetime != state.lifetime and (state.dirty or not isinstance(expiry, str)):
            self.session.expire_after(lifetime or None)
        on_close = self._on_close if expiry is None else expiry == 0
        said = state.expire_on_close
        if on_close != (self._on_close if said is None else said):
            self.session.expire_on_close(on_close)

    def _take(self, found: Mapping[str, Json]) -> None:
        super()._take({key: value for key, value in found.items() if key != _CREATED})


def seconds_left(expiry: Any) -> float:
    """Return for how long a session is kept that ``set_expiry`` was called for."""
    seconds: float = SessionBase().get_expiry_age(expiry=expiry)
    return seconds
