"""SessionMetrics: what receives the metrics of a store, wherever they go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, NamedTuple

from ..errors import ConfigError

__all__ = ["BUCKETS", "DURATION", "EVENTS", "Instrument", "SessionMetrics", "missing_extra"]


class Instrument(NamedTuple):
    """A counter or a histogram, as OpenTelemetry names it.

    Attributes:
        name: OpenTelemetry's. Prometheus' is made of it by OpenTelemetry's own rules, so that one
            dashboard reads both.
        unit: what is counted, or the unit of the values.
        description: what it says.
    """

    name: str
    unit: str
    description: str


EVENTS: Final = {
    "opened": Instrument("glimr_session.opened", "{session}", "Sessions that were opened."),
    "committed": Instrument("glimr_session.committed", "{commit}", "Commits that were made."),
    "merged": Instrument(
        "glimr_session.merged",
        "{commit}",
        "Commits that were made in a session which another commit had changed meanwhile.",
    ),
    "moved": Instrument(
        "glimr_session.moved",
        "{commit}",
        "Commits to a session that a login had given another id meanwhile.",
    ),
    "gone": Instrument(
        "glimr_session.gone",
        "{commit}",
        "Commits that found their session ended, and wrote nothing.",
    ),
    "conflict": Instrument(
        "glimr_session.conflicts",
        "{conflict}",
        "Attempts to commit that failed because another commit was faster.",
    ),
    "retry": Instrument(
        "glimr_session.retries",
        "{retry}",
        "Commands that were sent to the store's server again because an answer was lost.",
    ),
    "outage": Instrument(
        "glimr_session.outages",
        "{operation}",
        "Operations that failed because the store was not available.",
    ),
    "too_large": Instrument(
        "glimr_session.too_large", "{commit}", "Commits that were refused because of their size."
    ),
    "collected": Instrument(
        "glimr_session.collected", "{session}", "Expired sessions that were removed."
    ),
}
"""What is counted, by event."""

DURATION: Final = Instrument(
    "glimr_session.operation.duration", "s", "How long the operations of the store took."
)

# Seconds: a read of the disk store takes 20 us, and a server is waited for some seconds.
BUCKETS: Final = (
    *(0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)


class SessionMetrics(ABC):
    """Receives what happens in a store.

    The methods are called by every thread and event loop, and after each operation, so they must
    not wait for anything. An exception of theirs is logged, and the request goes on.

    Example:
        >>> class Printed(SessionMetrics):
        ...     def count(self, event, store, amount=1):
        ...         print(event, store, amount)
        ...     def time(self, operation, store, seconds):
        ...         pass
        >>> from glimr_session import CookieStore
        >>> from glimr_session.metrics import MeteredStore
        >>> store = MeteredStore(CookieStore(), Printed())
        >>> found = store.open(store.cookie_value("an id", {"n": 1}, {}))
        opened cookie 1
    """

    @abstractmethod
    def count(self, event: str, store: str, amount: int = 1) -> None:
        """Count an event.

        Args:
            event: "opened", "committed", "merged", "moved", "gone", "conflict", "retry",
                "outage", "too_large" or "collected".
            store: the kind of the store, as "disk".
            amount: how often it happened.
        """

    @abstractmethod
    def time(self, operation: str, store: str, seconds: float) -> None:
        """Record how long an operation took, whether it succeeded or not.

        Args:
            operation: the method of the store, as "open" or "commit"; ``aopen`` is "open" too.
            store: the kind of the store.
            seconds: how long it took.
        """

    def trace(self, operation: str, store: str) -> Callable[[str], object]:
        """Begin a span; return a function that ends it, and is given the outcome.

        The outcome is "found", "absent", one of ``CommitResult.outcome``, "done", or, of an
        operation that raised an error, "outage", "too_large" or "failed".

        Args:
            operation: as for ``time``.
            store: the kind of the store.
        """
        return _not_traced


def _not_traced(outcome: str) -> None:
    """Do nothing: there are no traces."""


def missing_extra(extra: str, error: ImportError) -> ConfigError:
    """Return the error for metrics whose package is missing."""
    return ConfigError(
        f"metrics: {error.name} is not installed. Run: pip install 'glimr-session[{extra}]'"
    )
