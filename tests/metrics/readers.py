"""What was measured, as the tests read it, wherever it was sent to."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest

from glimr_session._metrics.base import EVENTS
from glimr_session.metrics import OpenTelemetryMetrics, PrometheusMetrics, SessionMetrics

DURATION: Final = "glimr_session_operation_duration_seconds"


class Counting(SessionMetrics):
    """Remembers all that it is told."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.outcomes: list[tuple[str, str]] = []

    def count(self, event: str, store: str, amount: int = 1) -> None:
        self.events[event] += amount

    def time(self, operation: str, store: str, seconds: float) -> None:
        assert seconds >= 0
        self.operations[operation] += 1

    def trace(self, operation: str, store: str) -> Any:
        return lambda outcome: self.outcomes.append((operation, outcome))


class Failing(SessionMetrics):
    """Raises an error whatever it is told."""

    def count(self, event: str, store: str, amount: int = 1) -> None:
        raise OSError("no space for a counter")

    def time(self, operation: str, store: str, seconds: float) -> None:
        raise OSError("no space for a histogram")

    def trace(self, operation: str, store: str) -> Any:
        raise OSError("no space for a span")


class Backend:
    """A place that metrics are sent to, and what has arrived there."""

    metrics: SessionMetrics

    @abstractmethod
    def events(self, store: str) -> dict[str, float]:
        """Return the events that were counted of a store, and how often."""

    @abstractmethod
    def timed(self, operation: str, store: str) -> float:
        """Return how often an operation was timed."""

    @abstractmethod
    def text(self) -> str:
        """Return all that has arrived."""


class Prometheus(Backend):
    """The registry of ``prometheus_client``."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = PrometheusMetrics(self.registry)

    def events(self, store: str) -> dict[str, float]:
        found = {}
        for event, (name, _, _) in EVENTS.items():
            value = self.registry.get_sample_value(
                f"{name.replace('.', '_')}_total", {"store": store}
            )
            if value:
                found[event] = value
        return found

    def timed(self, operation: str, store: str) -> float:
        labels = {"store": store, "operation": operation}
        return self.registry.get_sample_value(f"{DURATION}_count", labels) or 0

    def text(self) -> str:
        return generate_latest(self.registry).decode()


class OpenTelemetry(Backend):
    """The SDK of OpenTelemetry."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.metrics = OpenTelemetryMetrics(
            MeterProvider(metric_readers=[self.reader]), self.tracers
        )

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def points(self, name: str) -> list[Any]:
        """Return what has arrived of an instrument."""
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in ([] if data is None else data.resource_metrics)
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def events(self, store: str) -> dict[str, float]:
        return {
            event: point.value
            for event, (name, _, _) in EVENTS.items()
            for point in self.points(name)
            if point.attributes == {"store": store}
        }

    def timed(self, operation: str, store: str) -> float:
        attributes = {"store": store, "operation": operation}
        points = self.points("glimr_session.operation.duration")
        assert all(isinstance(point, HistogramDataPoint) for point in points)
        return float(sum(point.count for point in points if point.attributes == attributes))

    def text(self) -> str:
        data = self.reader.get_metrics_data()
        assert data is not None
        return data.to_json() + "".join(span.to_json() for span in self.spans)


BACKENDS: Final[dict[str, Callable[[], Backend]]] = {
    "prometheus": Prometheus,
    "opentelemetry": OpenTelemetry,
}
