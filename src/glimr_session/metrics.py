"""Metrics, traces and health of a store, for Prometheus, OpenTelemetry or your own.

Set ``metrics = "prometheus"`` or ``"opentelemetry"``; see docs/metrics.md.
"""

from __future__ import annotations

from ._metrics.base import SessionMetrics
from ._metrics.health import Health, acheck_health, check_health
from ._metrics.metered import MeteredStore
from ._metrics.opentelemetry import OpenTelemetryMetrics
from ._metrics.prometheus import PrometheusMetrics

__all__ = [
    "Health",
    "MeteredStore",
    "OpenTelemetryMetrics",
    "PrometheusMetrics",
    "SessionMetrics",
    "acheck_health",
    "check_health",
]
