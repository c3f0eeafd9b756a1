"""Other processes than forked ones, other interpreters than the first, and the end of each."""

from __future__ import annotations

import copy
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import pytest

from glimr_session import CookieStore, DiskStore, SessionConfig, SessionMiddleware, SessionStore
from glimr_session.testing.contract import begin, content
from tests.support.server_apps import site
from tests.support.servers import Client, running
from tests.support.wsgi_client import Browser

Kind: TypeAlias = Literal["spawn", "forkserver"]

PATIENCE: Final = 30.0
"""Seconds that another process may take."""

KEY: Final = "the key of the tests of interpreters"


class Labelled(DiskStore):
    """A store that an application has derived, with an attribute of its own."""

    label: str


def in_another_process(kind: Kind, work: Callable[..., None], *args: Any) -> Any:
    """Have a process that is not forked from this one do some work; return what it puts."""
    context = get_context("spawn") if kind == "spawn" else get_context("forkserver")
    answers: Queue[Any] = context.Queue()
    process = context.Process(target=work, args=(answers, *args))
    process.start()
    answer = answers.get(timeout=PATIENCE)
    process.join(PATIENCE)
    assert process.exitcode == 0
    return answer


def settings_of(store: SessionStore) -> dict[str, Any]:
    """Return what a store was made with, and what an application has added."""
    names = ("directory", "lifetime", "absolute_lifetime", "_timeout", "_durability", "label")
    return {name: getattr(store, name, None) for name in names}


def read_and_write(answers: Queue[Any], store: SessionStore, cookie_value: str) -> None:
    """Tell what a store has for a session, and begin another one in it."""
    answers.put((os.getpid(), content(store, cookie_value), begin(store), settings_of(store)))
    store.close()


@pytest.mark.parametrize("kind", ["spawn", "forkserver"])
@pytest.mark.parametrize("of", [DiskStore, Labelled, CookieStore])
def test_a_store_can_be_sent_to_another_process(
    kind: Kind, of: type[SessionStore], tmp_path: Path
) -> None:
    """A store goes on in a process that did not inherit it, with the same settings."""
    store: SessionStore
    if of is CookieStore:
        store = CookieStore(lifetime=timedelta(hours=3), absolute_lifetime=4 * 3600)
    else:
        disk = Labelled if of is Labelled else DiskStore
        store = disk(
            tmp_path / "sessions",
            lifetime=timedelta(hours=3),
            absolute_lifetime=4 * 3600,
            timeout=7,
            durability="power",
        )
    if isinstance(store, Labelled):
        store.label = "of the shop"
    cookie_value = begin(store)
    pid, found, begun, settings = in_another_process(kind, read_and_write, store, cookie_value)
    assert pid != os.getpid()
    assert found is not None
    assert found == content(store, cookie_value) == content(store, begun)
    assert settings == settings_of(store)
    assert settings["label"] == ("of the shop" if of is Labelled else None)
    store.close()


def test_a_copy_of_a_disk_store_has_connections_of_its_own(tmp_path: Path) -> None:
    """A store that was copied or pickled shares no connection with the one it came from."""
    store = DiskStore(tmp_path / "sessions")
    cookie_value = begin(store)
    for copied in (copy.copy(store), copy.deepcopy(store), pickle.loads(pickle.dumps(store))):
        assert copied._database is not store._database
        assert content(copied, cookie_value) == content(store, cookie_value)
        copied.close()
    store.close()


def serve(answers: Queue[Any], config: SessionConfig) -> None:
    """Answer two requests of a browser."""
    app = SessionMiddleware(site, config)
    browser = Browser()
    bodies = [
        browser.request(app, extra={"PATH_INFO": "/count"}).begin().finish().body for _ in range(2)
    ]
    answers.put(bodies)


@pytest.mark.parametrize("kind", ["spawn", "forkserver"])
def test_a_configuration_can_be_sent_to_another_process(kind: Kind, tmp_path: Path) -> None:
    """A process that did not inherit it serves with a configuration, its keys included."""
    config = SessionConfig(disk_directory=tmp_path / "sessions", secret_keys=[KEY], gc="interval")
    assert pickle.loads(pickle.dumps(config)) == config
    _, second = in_another_process(kind, serve, config)
    assert b'"found": 2' in second


# What happens in an interpreter that is about to end. A store that collects says when it began,
# and goes on until it is stopped, or for half a second, or for ever.
COLLECTING: Final = """
import os, sys, tempfile, threading, time
from glimr_session import DiskStore
from glimr_session._request.cleanup import collect

class Store(DiskStore):
    begun = threading.Event()
    stopped = threading.Event()

    def gc(self):
        super().gc()
        self.begun.set()
        if kind == "stopped":
            self.stopped.wait(30)
        elif kind == "busy":
            time.sleep(0.5)
        while kind == "for ever":
            time.sleep(0.01)
        return 0

    def stop_gc(self):
        self.stopped.set()

with tempfile.TemporaryDirectory() as directory:
    store = Store(directory + "/sessions")
    store.save("0" * 64, {"n": 1}, {})
    assert store.load("0" * 64) == ({"n": 1}, {})
    if kind != "unused":
        assert collect(store)
        assert store.begun.wait(30)
    if kind == "idle":
        deadline = time.monotonic() + 30
        while any(thread.name == "CleanupWorker" for thread in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.001)
    store.close()
"""

MAIN: Final = """
import sys
kind = sys.argv[1]
"""

# As mod_wsgi and uWSGI make and end an interpreter.
SUB_INTERPRETERS: Final = """
import _testcapi, sys
for _ in range(3):
    code = f"import sys; sys.path[:] = {sys.path!r}; kind = {sys.argv[1]!r}\\n" + COLLECTING
    assert _testcapi.run_in_subinterp(code) == 0
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("kind", ["unused", "idle", "busy", "stopped", "for ever"])
def test_an_interpreter_ends_whatever_its_cleanup_worker_does(kind: str) -> None:
    """The exit code is 0 and nothing is said at the end, during a collection too."""
    ran = run(MAIN + COLLECTING, kind)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


in_sub_interpreters = pytest.mark.skipif(
    sys.version_info[:2] == (3, 12), reason="Python 3.12 cannot import msgspec in a second one"
)


@in_sub_interpreters
@pytest.mark.parametrize("kind", ["unused", "idle", "busy", "stopped"])
def test_a_sub_interpreter_ends_with_its_cleanup_worker(kind: str) -> None:
    """A sub-interpreter that has used a store and collected it ends; so do those after it."""
    pytest.importorskip("_testcapi")
    ran = run(f"COLLECTING = {COLLECTING!r}" + SUB_INTERPRETERS, kind)
    of_decimal = re.compile(r".*mpd_setminalloc: .* a second time\n+")  # whoever imports it twice
    assert (ran.returncode, ran.stdout, of_decimal.sub("", ran.stderr)) == (0, "", "")


@pytest.mark.parametrize("interpreters", [pytest.param(3, marks=in_sub_interpreters), 1])
def test_uwsgi_serves_several_applications(interpreters: int, tmp_path: Path) -> None:
    """Three applications of one process, each in an interpreter or all in one, share sessions."""
    settings = "manage-script-name = true\n"
    if interpreters == 1:
        settings += "single-interpreter = true\n"
    for name in ("shop", "forum"):
        file = tmp_path / f"{name}.py"
        file.write_text(
            "from tests.support.server_apps import make_application\n"
            "application = make_application()\n"
        )
        settings += f"mount = /{name}={file}\n"
    with running(
        "uwsgi", tmp_path, settings=settings, environ={"GLIMR_SESSION_GC_CHANCE": "1"}
    ) as server:
        client = Client(server)
        paths = ["/count", "/shop/count", "/forum/count"] * 10
        assert [client.get(path)["found"] for path in paths] == [*range(1, 31)]
        assert server.stop() < 5
        assert server.process.returncode == 0
    log = server.log.read_text()
    assert len(set(re.findall(r"on interpreter (0x\w+)", log))) == interpreters
    if interpreters == 1:  # with several, Python 3.11 ends so whatever they have served
        assert "Fatal" not in log
