"""Redis and PostgreSQL servers of the benchmarks: those of the tests, on this machine's loopback.

They do not sync to the disk, so that the disk, which is the same for all sides, does not hide
what differs between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

import pytest

from tests.support.services import DatabaseServer, RedisServer, postgresql_server, redis_server

__all__ = [
    "DatabaseServer",
    "NotInstalled",
    "RedisServer",
    "postgresql_server",
    "redis_server",
    "started",
]

S = TypeVar("S")


class NotInstalled(Exception):
    """A server cannot be started here. The message says what is missing."""


@contextmanager
def started(server: AbstractContextManager[S]) -> Iterator[S]:
    """Start a server of the tests, which skip or fail if it is not installed.

    Raises:
        NotInstalled: the program, a package or the user who runs it is missing.
    """
    with ExitStack() as stack:
        try:
            running = stack.enter_context(server)
        except (pytest.skip.Exception, pytest.fail.Exception) as error:
            raise NotInstalled(str(error)) from None
        yield running
