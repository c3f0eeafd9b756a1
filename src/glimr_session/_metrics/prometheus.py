"""PrometheusMetrics: counters and a histogram in a registry of prometheus_client."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from .base import BUCKETS, DURATION, EVENTS, SessionMetrics, missing_extra

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Histogram

__all__ = ["PrometheusMetrics"]


class PrometheusMetrics(SessionMetrics):
    """Counts in a registry of ``prometheus_client``. All that use one registry share its counters.

    Multiprocess mode works: set ``PROMETHEUS_MULTIPROC_DIR``, as prometheus_client says.

    Args:
        registry: None is the registry that ``prometheus_client`` exposes.

    Raises:
        ConfigError: ``prometheus_client`` is not installed.

    Example:
        >>> from prometheus_client import CollectorRegistry
        >>> registry = CollectorRegistry()
        >>> PrometheusMetrics(registry).count("opened", "disk")
        >>> registry.get_sample_value("glimr_session_opened_total", {"store": "disk"})
        1.0
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._registry = registry
        self._counters, self._duration = _collectors_in(registry)
        self._of_store: dict[str, dict[str, Counter]] = {}
        self._of_operation: dict[tuple[str, str], Histogram] = {}

    def __reduce__(
        self,
    ) -> tuple[type[PrometheusMetrics], tuple[CollectorRegistry | None]]:
        return type(self), (self._registry,)

    def __deepcopy__(self, memo: object) -> PrometheusMetrics:
        return self  # a registry is one place, whoever counts in it

    def count(self, event: str, store: str, amount: int = 1) -> None:
        counters = self._of_store.get(store)
        if counters is None:  # all of them, so that those which never happen are 0
            counters = {name: counter.labels(store) for name, counter in self._counters.items()}
            self._of_store[store] = counters
        counters[event].inc(amount)

    def time(self, operation: str, store: str, seconds: float) -> None:
        duration = self._of_operation.get((store, operation))
        if duration is None:
            duration = self._duration.labels(store, operation)
            self._of_operation[store, operation] = duration
        duration.observe(seconds)


_lock: Final = threading.Lock()
_collectors: Final = WeakKeyDictionary[
    "CollectorRegistry", tuple[dict[str, "Counter"], "Histogram"]
]()


def _collectors_in(registry: CollectorRegistry | None) -> tuple[dict[str, Counter], Histogram]:
    """Return the counters and the histogram of a registry, which takes each name once."""
    try:
        from prometheus_client import REGISTRY, Counter, Histogram
    except ImportError as error:
        raise missing_extra("prometheus", error) from None
    registry = REGISTRY if registry is None else registry
    with _lock:
        found = _collectors.get(registry)
        if found is None:
            counters = {
                event: Counter(_name(name), description, ["store"], registry=registry)
                for event, (name, _, description) in EVENTS.items()
            }
            duration = Histogram(
                f"{_name(DURATION.name)}_seconds",
                DURATION.description,
                ["store", "operation"],
                registry=registry,
                buckets=BUCKETS,
            )
            found = _collectors[registry] = counters, duration
    return found


def _name(name: str) -> str:
    return name.replace(".", "_")
