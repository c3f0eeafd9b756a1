"""The command ``glimr-session``; what it does is in ``_cli``."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
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

        if getattr(sys, "stdout", None) is None:
            raise OSError(errno.EBADF, "it is closed")  # noqa: TRY301  # told below
        try:
            program.main(arguments, "glimr-session")
        finally:
            sys.stdout.flush()
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 1
    except KeyboardInterrupt:  # before the command has begun, or after it
        return _INTERRUPTED
    except OSError as error:
        if error.filename is not None or error.errno is None:  # not of the output
            raise
        return _unwritten(error)
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        print("Run: pip install 'glimr-session[cli]'", file=sys.stderr)
        return 1
    return 0


def _unwritten(error: OSError) -> int:
    """Print that something could not be printed, unless its reader has gone."""
    if error.errno != errno.EPIPE:
        told = f"Error: standard output cannot be written: {error.strerror}."
        with suppress(OSError):
            print(told, file=sys.stderr, flush=True)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError, ValueError):
            stream.flush()
            continue
        with suppress(OSError, AttributeError, ValueError):
            os.dup2(nowhere, stream.fileno())  # Python writes at the exit what is left
    return 1
