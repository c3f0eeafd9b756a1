"""The dashboard for Grafana shows what is exposed."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from glimr_session._metrics import base
from glimr_session._metrics.base import EVENTS
from tests.metrics.readers import BACKENDS, DURATION
from tests.support.documents import ROOT

DASHBOARD: Final[dict[str, Any]] = json.loads(
    (ROOT / "examples/grafana/glimr_session.json").read_text("utf-8")
)
QUERIES: Final = [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())
]
VARIABLE: Final = next(
    found for found in DASHBOARD["templating"]["list"] if found["type"] == "query"
)


def exposed() -> dict[str, set[str]]:
    """Return the names that Prometheus reads, and their labels."""
    backend = BACKENDS["prometheus"]()
    backend.metrics.count("opened", "disk")
    backend.metrics.time("open", "disk", 0.1)
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(backend.text())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_each_panel_asks_for_something() -> None:
    """It has a title, a description, a place and queries, and no two have one number."""
    panels = DASHBOARD["panels"]
    assert len(panels) > 8
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        assert panel["targets"]
        assert set(panel["gridPos"]) == {"x", "y", "w", "h"}
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.parametrize("query", [*QUERIES, VARIABLE["query"]])
def test_each_query_asks_for_what_is_exposed(query: str) -> None:
    """Its metrics exist, and have the labels that it names."""
    known = exposed()
    names = set(re.findall(r"\bglimr_session_\w+", query))
    assert names
    assert names <= set(known)
    labels = set(re.findall(r"(\w+)=~?\"", query))
    labels |= {label for by in re.findall(r"by \(([\w, ]+)\)", query) for label in by.split(", ")}
    for name in names:
        assert labels <= known[name], name
    assert query.count("(") == query.count(")")


def test_each_metric_is_on_the_dashboard() -> None:
    """Nothing is measured that nobody would see."""
    shown = set(re.findall(r"\bglimr_session_\w+", " ".join(QUERIES)))
    assert shown == set(exposed()) - {f"{DURATION}_sum"}


def test_opentelemetrys_names_become_those_of_prometheus() -> None:
    """By OpenTelemetry's rules, so that the dashboard reads both: dots, units, and totals."""
    translated = {f"{name.replace('.', '_')}_total" for name, _, _ in EVENTS.values()}
    assert all(unit.startswith("{") for _, unit, _ in EVENTS.values())  # and is left out
    name, unit, _ = base.DURATION
    assert unit == "s"
    duration = f"{name.replace('.', '_')}_seconds"
    translated |= {f"{duration}_bucket", f"{duration}_count", f"{duration}_sum"}
    assert translated == set(exposed())
