"""The command ``glimr-session``; what it does is in ``_cli``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

__all__ = ["main"]

_EXTRA: Final = ("click", "rich")

_INTERRUPTED: Final = 130  # as shells have it: 128 and the number of SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    Args:
        arguments: those of the command line, without its name.
    """
    try:
        from ._cli.program import program

        program.main(arguments, "glimr-session")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 1
    except KeyboardInterrupt:  # before the command has begun, or after it
        return _INTERRUPTED
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        print("Run: pip install 'glimr-session[cli]'", file=sys.stderr)
        return 1
    return 0
