"""StoreWithServer: a store of cookies, and a store on the server beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .._session.sealing import Sealer
from ..errors import ConfigError
from .base import SessionStore, sealer_of

__all__ = ["StoreWithServer"]

_DECLARED: Final = (
    "kind",
    "server_side",
    "max_cookie_size",
    "lifetime",
    "absolute_lifetime",
    "overlap",
)


class StoreWithServer(SessionStore):
    """Keeps sessions in cookies, with the help of a store on the server.

    Args:
        setting: what error messages name.
        store: the store of the cookies.
        server: the store on the server.

    Raises:
        ConfigError: one of the two is of another kind.
    """

    def __init__(self, setting: str, store: SessionStore, server: SessionStore) -> None:
        if store.server_side:
            raise ConfigError(f'{setting} is for store = "cookie", and not for {store.kind!r}')
        if not (server.server_side and server.atomic and server.keeps_marks):
            raise ConfigError(
                f"{setting}: the store {server.kind!r} does not commit in one atomic step; use "
                '"disk", "redis" or "sql"'
            )
        self._store, self._server = store, server
        for name in _DECLARED:
            setattr(self, name, getattr(store, name))
        self.seals = store.seals and server.seals  # type: ignore[misc]
        self.expires_by_itself = (  # type: ignore[misc]
            store.expires_by_itself and server.expires_by_itself
        )

    @property
    def sealer(self) -> Sealer | None:
        return sealer_of(self._store, self._server)

    @sealer.setter
    def sealer(self, sealer: Sealer | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._store.sealer = self._server.sealer = sealer

    @property
    def note(self) -> Callable[[str], object]:
        return self._server.note

    @note.setter
    def note(self, note: Callable[[str], object]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._store.note = self._server.note = note

    def gc(self) -> int:
        return self._store.gc() + self._server.gc()

    def claim_gc(self, interval: float) -> float:
        return self._server.claim_gc(interval)

    def stop_gc(self) -> None:
        self._store.stop_gc()
        self._server.stop_gc()

    def close(self) -> None:
        self._store.close()
        self._server.close()

    @property
    def opens_at_once(self) -> bool:
        return self._store.opens_at_once and self._server.opens_at_once
