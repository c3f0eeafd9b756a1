"""Warnings that requests can cause: one per cause and minute, so that no flood fills a log."""

from __future__ import annotations

import logging
import time
from typing import Final

__all__ = ["forget_warnings", "logger", "warn"]

logger: Final = logging.getLogger("glimr_session")

_PERIOD: Final = 60.0  # seconds

_last: Final[dict[str, float]] = {}  # by cause: the format strings of this package
_suppressed: Final[dict[str, int]] = {}


def warn(message: str, *args: object, once: bool = False) -> None:
    """Log a warning, unless the same cause was logged less than a minute ago.

    The next warning of a cause tells how many were not logged. Call it while no lock is held
    and nothing is half done: a log filter may use the session.

    Args:
        message: the format string; it is the cause, so it must not vary with the request.
        args: what is put into it.
        once: once per process instead, for what does not change while it runs.
    """
    now = time.monotonic() if not once else 0.0
    if now - _last.get(message, -_PERIOD) < _PERIOD:
        _suppressed[message] = _suppressed.get(message, 0) + 1
        return
    _last[message] = now  # before logging: a filter that causes it again does not recurse
    more = _suppressed.pop(message, 0)
    if more:
        logger.warning(f"{message} (and {more} more times)", *args)  # a number
    else:
        logger.warning(message, *args)


def forget_warnings() -> None:
    """Log every cause again, as between two tests."""
    _last.clear()
    _suppressed.clear()
