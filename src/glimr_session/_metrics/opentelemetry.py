"""OpenTelemetryMetrics: counters, a histogram and spans of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .base import BUCKETS, DURATION, EVENTS, SessionMetrics, missing_extra

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["OpenTelemetryMetrics"]

_SCOPE: Final = "glimr_session"

_ERRORS: Final = {
    "outage": "StoreUnavailable",
    "too_large": "SessionTooLarge",
}


class OpenTelemetryMetrics(SessionMetrics):
    """Counts and traces with OpenTelemetry.

    Each operation of the store is a span, as "glimr_session.commit", within the span of the
    request. Its attributes are the kind of the store and the outcome; an outage is an error.

    Args:
        meter_provider: None is the one that ``set_meter_provider`` was called with, or will be.
        tracer_provider: None is the one of ``set_tracer_provider``, likewise.

    Raises:
        ConfigError: ``opentelemetry-api`` is not installed.
    """

    def __init__(
        self,
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
    ) -> None:
        try:
            from opentelemetry import context, metrics, trace
        except ImportError as error:
            raise missing_extra("otel", error) from None
        self._providers = meter_provider, tracer_provider
        self._context, self._trace = context, trace
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        self._counters = {
            event: meter.create_counter(*instrument) for event, instrument in EVENTS.items()
        }
        self._duration = meter.create_histogram(
            *DURATION, explicit_bucket_boundaries_advisory=BUCKETS
        )

    def __reduce__(
        self,
    ) -> tuple[type[OpenTelemetryMetrics], tuple[MeterProvider | None, TracerProvider | None]]:
        return type(self), self._providers

    def __deepcopy__(self, memo: object) -> OpenTelemetryMetrics:
        return self  # it is where metrics go to, and holds nothing of a store

    def count(self, event: str, store: str, amount: int = 1) -> None:
        self._counters[event].add(amount, {"store": store})

    def time(self, operation: str, store: str, seconds: float) -> None:
        self._duration.record(seconds, {"store": store, "operation": operation})

    def trace(self, operation: str, store: str) -> Callable[[str], object]:
        context, trace = self._context, self._trace
        span = self._tracer.start_span(
            f"{_SCOPE}.{operation}", attributes={f"{_SCOPE}.store": store}
        )
        token = context.attach(trace.set_span_in_context(span))

        def end(outcome: str) -> None:
            context.detach(token)
            if span.is_recording():
                span.set_attribute(f"{_SCOPE}.outcome", outcome)
                if outcome in _ERRORS:
                    span.set_attribute("error.type", _ERRORS[outcome])
                    span.set_status(trace.StatusCode.ERROR)
            span.end()

        return end
