"""Storage in memory for a store made of five functions, which can be pulled out."""

from __future__ import annotations

from glimr_session import Json, SessionStore, new

__all__ = ["InMemory"]

Parts = tuple[dict[str, Json], dict[str, Json]]


class InMemory:
    """Storage for a store from five functions, which can be pulled out."""

    def __init__(self) -> None:
        self.sessions: dict[str, Parts] = {}
        self.down = False

    def _reach(self) -> dict[str, Parts]:
        if self.down:
            raise ConnectionError("the cable is out")
        return self.sessions

    def load(self, session_id: str) -> Parts:
        return self._reach().get(session_id, ({}, {}))

    def save(self, session_id: str, data: dict[str, Json], flash: dict[str, Json]) -> None:
        self._reach()[session_id] = (data, flash)

    def destroy(self, session_id: str) -> None:
        self._reach().pop(session_id, None)

    def gc(self) -> None:
        self._reach()

    def store(self) -> SessionStore:
        """Return a store on this storage."""
        return new(
            load=self.load,
            save=self.save,
            destroy=self.destroy,
            gc=self.gc,
            cookie_value=lambda session_id, data, flash: session_id,
        )
