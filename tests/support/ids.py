"""Names for parameters that are the same in each run, so that several processes can share them."""

from __future__ import annotations

import re

__all__ = ["name_of"]


def name_of(value: object) -> str:
    """Return a value's repr without an address in memory, and not longer than a line."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))[:80]
