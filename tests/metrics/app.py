"""A site that counts, for a server of several processes, with its metrics at /metrics."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from glimr_session import SessionConfig, SessionMiddleware

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def count(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer in JSON: which process it was, and how many requests the session has had."""
    found = environ["glimr.session"].increment("count")
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"pid": os.getpid(), "found": found}).encode()]


def metrics(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer with what all processes have counted."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [generate_latest(registry)]


_sessions = SessionMiddleware(count, SessionConfig.from_env(os.environ))


def site(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer a request for the metrics, or for a page that counts in its session."""
    app = metrics if environ["PATH_INFO"] == "/metrics" else _sessions
    return app(environ, start_response)
