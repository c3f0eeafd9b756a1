"""Several processes count together: Prometheus' multiprocess mode, under gunicorn."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.servers import Client, running, seen_by_all


@pytest.mark.parametrize("name", ["gunicorn", "gunicorn preload"])
def test_the_workers_of_a_site_count_together(name: str, tmp_path: Path) -> None:
    """Whichever worker is asked for the metrics, and wherever the application was made."""
    (tmp_path / "counted").mkdir()
    environ = {
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "counted"),
        "GLIMR_SESSION_METRICS": "prometheus",
    }
    settings = 'wsgi_app = "tests.metrics.app:site"\n'
    with running(name, tmp_path, settings=settings, environ=environ) as server:
        first = Client(server)
        assert first.get("/")["found"] == 1
        cookie = first.cookies.header()
        answers = seen_by_all(server, lambda: Client(server, cookie).get("/"))
        requests = 2 + len(answers)
        assert first.get("/")["found"] == requests
        with first.open("/metrics") as response:
            text = response.read().decode()
        counted = dict(
            re.findall(r'^(glimr_session_\w+)\{store="disk"\} (\S+)$', text, re.MULTILINE)
        )
    assert float(counted["glimr_session_committed_total"]) == requests
    assert float(counted["glimr_session_opened_total"]) == requests - 1
    assert float(counted["glimr_session_outages_total"]) == 0
    times = 'glimr_session_operation_duration_seconds_count{operation="commit",store="disk"}'
    assert f"{times} {float(requests)}" in text
