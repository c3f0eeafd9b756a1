"""Forks: what must not be halfway done at one, and who does not tell of them."""

from __future__ import annotations

import sys
import threading
from typing import Final

__all__ = ["forking", "may_fork_unseen"]

forking: Final = threading.Lock()
"""Held while this process forks; hold it for what a child must not find halfway done."""


def may_fork_unseen() -> bool:
    """Tell whether this is a process that forks without running Python's hooks.

    The master of uWSGI does, unless its option py-call-uwsgi-fork-hooks is set. What it
    starts or opens before, its workers cannot use.
    """
    uwsgi = sys.modules.get("uwsgi")  # there in its processes only
    return uwsgi is not None and uwsgi.worker_id() == 0
