"""The setting ``metrics``: what it puts around a store, and what is loaded without it."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client import REGISTRY

import glimr_session
from glimr_session import ConfigError, CookieStore, DiskStore, SessionConfig, SessionMiddleware
from glimr_session._request import cleanup
from glimr_session._request.manager import SessionManager
from glimr_session.asgi import SessionMiddleware as ASGISessionMiddleware
from glimr_session.metrics import MeteredStore, SessionMetrics
from glimr_session.stores.moving import MovingStore
from glimr_session.testing import read_session, seed_session
from tests.metrics.readers import Counting
from tests.support.asgi_client import Browser as ASGIBrowser
from tests.support.wsgi_client import Browser

SETTINGS: Final[dict[str, Any]] = {
    "secret_keys": ["a key for tests that is long enough"],
    "gc": "never",
}

counting = Counting()


def factory() -> SessionMetrics:
    return counting


def factory_of_settings(config: SessionConfig) -> SessionMetrics:
    assert config.metrics.endswith("factory_of_settings")
    return counting


def factory_of_nothing() -> object:
    return object()


@pytest.fixture(autouse=True)
def _count_anew() -> None:
    counting.__init__()  # type: ignore[misc]


def configured(name: str = "factory", **settings: Any) -> SessionConfig:
    metrics = f"{__name__}:{name}" if name.startswith("factory") else name
    return SessionConfig(**{**SETTINGS, "metrics": metrics, **settings})


def visits(environ: Any, start_response: Any) -> list[bytes]:
    visit = environ["glimr.session"].increment("visits")
    start_response("200 OK", [])
    return [str(visit).encode()]


UNUSED: Final = """
import sys
from glimr_session import SessionConfig
from glimr_session._request.manager import SessionManager

config = SessionConfig(secret_keys=["a key for tests that is long enough"], disk_directory={!r})
manager = SessionManager.from_config(config)
print(type(manager.binding.store).__name__)
print(type(config.make_store()).__name__)
unused = ("prometheus_client", "opentelemetry", "glimr_session.metrics", "glimr_session._metrics")
print([name for name in sys.modules if name.startswith(unused)])
"""


def test_without_the_setting_nothing_is_wrapped_or_loaded(tmp_path: Path) -> None:
    """The store is the store, and no module of the metrics' is there."""
    code = UNUSED.format(str(tmp_path / "sessions"))
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.splitlines() == ["DiskStore", "DiskStore", "[]"]


@pytest.mark.parametrize("name", ["factory", "factory_of_settings"])
def test_a_factory_of_the_application_makes_the_metrics(name: str) -> None:
    """It is called with the configuration, if it takes an argument."""
    store = configured(name, store="cookie").make_store()
    store.open(store.cookie_value("an id", {"a": 1}, {}))
    assert counting.events == {"opened": 1}


def test_a_factory_of_something_else_is_a_wrong_setting() -> None:
    """The error names it."""
    with pytest.raises(ConfigError, match=r"metrics: .*factory_of_nothing returned .*no SessionM"):
        configured("factory_of_nothing", store="cookie").make_store()


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("prometheus", "prometheus_client", "prometheus"),
        ("opentelemetry", "opentelemetry", "otel"),
    ],
)
def test_a_missing_package_is_told_with_the_command_that_installs_it(
    name: str, package: str, extra: str
) -> None:
    """When the store is made."""
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from glimr_session import SessionConfig\n"
        f"SessionConfig(store='cookie', metrics={name!r}).make_store()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stderr.splitlines()[-1].endswith(
        f"ConfigError: metrics: {package} is not installed. "
        f"Run: pip install 'glimr-session[{extra}]'"
    )


def test_requests_of_an_application_are_counted(tmp_path: Path) -> None:
    """The first begins a session, the second opens it."""
    app = SessionMiddleware(visits, configured(disk_directory=tmp_path / "sessions"))
    browser = Browser()
    assert [browser.get(app).body for _ in range(2)] == [b"1", b"2"]
    assert counting.events == {"opened": 1, "committed": 2}


def test_requests_of_an_event_loop_are_counted(tmp_path: Path) -> None:
    """Likewise."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        visit = scope["session"].get("visits", 0) + 1
        scope["session"]["visits"] = visit
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(visit).encode()})

    async def work() -> None:
        config = configured(disk_directory=tmp_path / "sessions")
        site, browser = ASGISessionMiddleware(app, config), ASGIBrowser()
        for _ in range(2):
            await browser.get(site)

    asyncio.run(work())
    assert counting.events == {"opened": 1, "committed": 2}


def test_a_store_that_is_passed_in_is_measured(tmp_path: Path) -> None:
    """By the manager of its application, once."""
    disk = DiskStore(tmp_path / "sessions")
    for store in (disk, configured().metered(disk)):
        binding = SessionManager.from_config(configured(), store).binding
        assert isinstance(binding.store, MeteredStore)
        assert binding.store.inner is disk


def test_the_store_of_setup_is_measured(tmp_path: Path) -> None:
    """It is bound once, and another one when ``setup`` is called again."""
    manager = SessionManager.from_config(configured(store="cookie"))
    assert manager.binding.store.kind == "cookie"
    stores = [DiskStore(tmp_path / "one"), DiskStore(tmp_path / "two")]
    for store in stores:
        glimr_session.setup(store)
        binding = manager.binding
        assert isinstance(binding.store, MeteredStore)
        assert binding.store.inner is store
        assert manager.binding is binding


def test_a_move_is_measured_as_one_store(tmp_path: Path) -> None:
    """Around both of them."""
    config = configured(move_from="cookie", disk_directory=tmp_path / "sessions")
    store = config.make_store()
    assert isinstance(store, MeteredStore)
    assert isinstance(store.inner, MovingStore)


def test_the_store_inside_gets_the_keys_that_encrypt(tmp_path: Path) -> None:
    """Whoever is given it."""
    disk = DiskStore(tmp_path / "sessions")
    SessionManager.from_config(configured(encrypt=True), configured(encrypt=True).metered(disk))
    assert disk.sealer is not None


def test_expired_sessions_are_collected_and_counted(tmp_path: Path) -> None:
    """By the worker that requests start."""
    disk = DiskStore(tmp_path / "sessions", lifetime=0.001)
    app = SessionMiddleware(visits, configured(gc=lambda: True), store=disk)
    Browser().get(app)
    for thread in list(cleanup._slot._threads):
        thread.join(10)
    assert counting.operations["gc"] == 1


def test_sessions_are_seeded_and_read(tmp_path: Path) -> None:
    """As in the tests of an application that is not measured."""
    app = SessionMiddleware(visits, configured(disk_directory=tmp_path / "sessions"))
    cookie = seed_session(app, {"visits": 6})
    assert read_session(app, cookie.value).data == {"visits": 6}


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module that makes a site when it is imported, whose sessions Prometheus counts."""
    (tmp_path / "counted_site.py").write_text(
        "from glimr_session import CookieStore, SessionConfig, SessionMiddleware\n"
        "def app(environ, start_response): ...\n"
        "config = SessionConfig(secret_keys=['a key for tests that is long enough'],\n"
        "                       metrics='prometheus')\n"
        "site = SessionMiddleware(app, config, store=CookieStore())\n"
        "admin = SessionMiddleware(app, config, store=CookieStore())\n",
        "utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("counted_site")
    del sys.modules["counted_site"]


def test_an_application_can_be_made_twice_and_be_loaded_again(application: Any) -> None:
    """All count in one registry, which has each name once."""
    labels = {"store": "cookie"}
    before = REGISTRY.get_sample_value("glimr_session_opened_total", labels) or 0
    again = importlib.reload(application)
    for site in (application.site, again.site, again.admin):
        store = site._manager.binding.store
        store.open(CookieStore().cookie_value("an id", {"a": 1}, {}))
    assert REGISTRY.get_sample_value("glimr_session_opened_total", labels) == before + 3


def test_opentelemetry_can_be_set_up_after_the_store(tmp_path: Path) -> None:
    """What is measured then arrives where its global providers send it."""
    code = """
from opentelemetry import metrics, trace
from glimr_session import CookieStore, SessionConfig
store = SessionConfig(store="cookie", metrics="opentelemetry").make_store()
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
metrics.set_meter_provider(MeterProvider([reader]))
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
store.open(store.cookie_value("an id", {"a": 1}, {}))
print("glimr_session.opened" in reader.get_metrics_data().to_json())
print([span.name for span in exporter.get_finished_spans()])
"""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == ["True", "['glimr_session.open']"]


DJANGO: Final = """
import sys
import tempfile
import django
from django.conf import settings
from prometheus_client import REGISTRY
from glimr_session import DiskStore, setup

if {given}:
    setup(DiskStore(tempfile.mkdtemp()))
settings.configure(
    SECRET_KEY="a key for tests that is long enough", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"],
    SESSION_ENGINE="glimr_session.django", MIDDLEWARE=[{middleware!r}], LOGGING_CONFIG=None,
    GLIMR_SESSION={{"metrics": "prometheus", "disk": {{"directory": tempfile.mkdtemp()}},
                    "gc": "never", "move_from": {former!r}}},
    SESSION_FILE_PATH=tempfile.mkdtemp(),
)
django.setup()
from django.http import HttpResponse
from django.test import Client
from django.urls import path

def visits(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))

urlpatterns = [path("", visits)]
client = Client()
print([client.get("/").content for _ in range(2)])
for event in ("opened", "committed"):
    print(REGISTRY.get_sample_value(f"glimr_session_{{event}}_total", {{"store": "disk"}}))
"""


@pytest.mark.parametrize(
    ("middleware", "given", "former"),
    [
        ("glimr_session.django", False, "django.contrib.sessions.backends.file"),
        ("django.contrib.sessions.middleware", True, ""),
    ],
    ids=["moved", "setup()"],
)
def test_djangos_sessions_are_counted(middleware: str, given: bool, former: str) -> None:
    """Once each: of a store of the settings and of ``setup()``, and while sessions are moved."""
    code = DJANGO.format(given=given, former=former, middleware=f"{middleware}.SessionMiddleware")
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout.splitlines() == ["[b'1', b'2']", "1.0", "2.0"], ran.stderr
