"""The stores, and that no actor is left: as for Starlette."""

from __future__ import annotations

from tests.frameworks.starlette.conftest import (
    _no_session_left,
    _nothing_in_the_environment,
    disk,
    store,
)

__all__ = ["_no_session_left", "_nothing_in_the_environment", "disk", "store"]
