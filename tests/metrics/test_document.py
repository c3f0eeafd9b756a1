"""What docs/metrics.md says is what happens."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi.testclient import TestClient
from flask import Flask, session
from prometheus_client import REGISTRY

from glimr_session._metrics.base import DURATION, EVENTS
from glimr_session._metrics.prometheus import PrometheusMetrics
from tests.support.documents import Block, blocks_of

PAGE: Final = "docs/metrics.md"
SETTINGS, FLASK, PROCESSES, ALERTS, READY, AREADY = blocks_of(PAGE)
TEXT: Final = (Path(__file__).parents[2] / PAGE).read_text("utf-8")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the settings of the page, and a key, for its programs."""
    (tmp_path / "session.toml").write_text(SETTINGS.code, "utf-8")
    monkeypatch.setenv("GLIMR_SESSION_SECRET_KEYS", "a key for tests that is long enough")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(block: Block, directory: Path) -> dict[str, Any]:
    """Run a program of the page, and return its names."""
    program = directory / "program.py"
    program.write_text(block.code, "utf-8")
    return runpy.run_path(str(program))


def test_a_site_exposes_its_metrics(site: Path) -> None:
    """What its requests did is at /metrics."""
    app: Flask = run(FLASK, site)["app"]

    @app.get("/")
    def visits() -> str:
        session["visits"] = session.get("visits", 0) + 1
        return str(session["visits"])

    committed = {"store": "disk"}
    before = REGISTRY.get_sample_value("glimr_session_committed_total", committed) or 0
    client = app.test_client()
    assert [client.get("/").text for _ in range(2)] == ["1", "2"]
    text = client.get("/metrics").text
    assert f'glimr_session_committed_total{{store="disk"}} {before + 2}' in text


def test_the_program_for_several_processes_runs(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it returns for several: tests/metrics/test_processes.py."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(site))
    assert run(PROCESSES, site)["metrics_of_all_processes"]() == b""


@pytest.mark.parametrize("block", [READY, AREADY], ids=["flask", "fastapi"])
def test_a_probe_is_told_whether_the_store_works(
    block: Block, site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """200, and 503 when the disk cannot be read."""
    names = run(block, site)
    app = names["app"]
    client = TestClient(app) if block is AREADY else app.test_client()
    assert client.get("/ready").status_code == 200
    names["store"].close()
    for file in names["store"].inner.directory.iterdir():
        file.unlink()
    names["store"].inner.directory.rmdir()
    names["store"].inner.directory.write_text("no directory", "utf-8")
    assert client.get("/ready").status_code == 503
    if block is READY:
        assert "The session store is not ready: " in caplog.text


def test_every_metric_is_in_the_table() -> None:
    """With both of its names, and no other."""
    table = TEXT.partition("## What is measured")[2].partition("## Dashboard")[0]
    rows = re.findall(r"^\| `(\w+)` \| `([\w.]+)` \|", table, re.MULTILINE)
    totals = [(f"{name.replace('.', '_')}_total", name) for name, _, _ in EVENTS.values()]
    assert rows == [
        *totals,
        (f"{DURATION.name.replace('.', '_')}_seconds", DURATION.name),
    ]


def test_the_alerts_ask_for_what_is_exposed() -> None:
    """Their metrics exist."""
    PrometheusMetrics().count("opened", "disk")
    PrometheusMetrics().time("commit", "disk", 0.1)
    names = set(re.findall(r"glimr_session_\w+", ALERTS.code))
    exposed = {sample.name for family in REGISTRY.collect() for sample in family.samples}
    assert len(names) == 2
    assert names <= exposed
