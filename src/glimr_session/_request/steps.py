"""How a request uses its store: steps that are written once, and run by threads or awaited."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal, TypeAlias, TypeVar

from ..errors import StoreUnavailable
from ..stores.base import SessionStore
from .cleanup import Policy, amaybe_collect, maybe_collect

__all__ = ["Steps", "arun", "run"]

R = TypeVar("R")

Call: TypeAlias = tuple[Literal["open", "commit", "touch", "has_moved", "destroy", "collect"], Any]
"""An operation of the store and its argument; "collect" asks the policy whether to collect."""

Steps: TypeAlias = Generator[Call, Any, R]
"""Yields what to call, and is sent what the call returned."""


def run(steps: Steps[R], store: SessionStore, policy: Policy, *, wait: bool = True) -> R:
    """Run the steps on a store.

    Args:
        steps: what to call.
        store: whose operations they are.
        policy: says whether to collect.
        wait: as for ``SessionStore.commit``.

    Raises:
        StoreUnavailable, SessionTooLarge: as the store does. The frames of a store that is not
            available are dropped: they hold ids and cookie values, and some loggers print
            locals with tracebacks.
    """
    result: Any = None
    while True:
        try:
            operation, argument = steps.send(result)
        except StopIteration as done:
            returned: R = done.value
            return returned
        try:
            if operation == "commit":
                result = store.commit(argument, wait=wait)
            elif operation == "collect":
                maybe_collect(policy, store)
            else:
                result = getattr(store, operation)(argument)
        except StoreUnavailable as error:
            del argument, result, steps
            raise error.with_traceback(None)  # noqa: B904  # it is the same error


async def arun(steps: Steps[R], store: SessionStore, policy: Policy) -> R:
    """Run the steps on a store without blocking the event loop; raises as ``run`` does."""
    result: Any = None
    while True:
        try:
            operation, argument = steps.send(result)
        except StopIteration as done:
            returned: R = done.value
            return returned
        try:
            if operation == "collect":
                await amaybe_collect(policy, store)
            else:
                result = await getattr(store, f"a{operation}")(argument)
        except StoreUnavailable as error:
            del argument, result, steps
            raise error.with_traceback(None)  # noqa: B904  # it is the same error
