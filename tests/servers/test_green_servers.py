"""gevent and eventlet: greenlets in place of threads, patched in after the import.

With gunicorn's --preload the application is made before a worker changes what a lock, a thread
and a pause are. A lock from before would stop all greenlets of the worker, and gunicorn would
kill it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.servers import ROOT, Client, Server, needed, running

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

REQUESTS: Final = 160
AT_ONCE: Final = 40
ROUNDS: Final = 3

SITE: Final = "tests.servers.test_green_servers:slow_site"

ENVIRON: Final = {
    "GLIMR_SESSION_GC_CHANCE": "1.0",  # collect after each request
    # diskcache imports Django if it is installed, and gevent fails at settings without a module.
    "DJANGO_SETTINGS_MODULE": "django.conf.global_settings",
    # eventlet imports dnspython if it is installed, which imports httpcore2, and that trio: it
    # fails where sockets are eventlet's.
    "EVENTLET_NO_GREENDNS": "yes",
}


def slow_site(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Count in the session, and let other greenlets run while it is open."""
    count = environ["glimr.session"].increment("count")
    time.sleep(0.01)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [b'{"found": %d}' % count]


def statuses(server: Server) -> Counter[object]:
    """Ask often, from many threads, and count the answers."""

    def ask(_: int) -> object:
        try:
            with Client(server).open("/") as response:
                response.read()
                return response.status
        except OSError as error:
            return type(error).__name__

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return Counter(threads.map(ask, range(REQUESTS)))


@pytest.mark.parametrize("server", ["gunicorn preload", "gunicorn"])
def test_greenlets_are_served(server: str, tmp_path: Path) -> None:
    """A worker with greenlets answers all requests, and collects after each."""
    needed("gevent")
    with running(
        server,
        tmp_path,
        app=SITE,
        processes=1,
        threads=1,
        settings='worker_class = "gevent"\n',
        environ=ENVIRON,
    ) as started:
        for _ in range(ROUNDS):
            assert statuses(started) == {200: REQUESTS}


LATE: Final = """
import sys, tempfile, threading, time
from glimr_session import DiskStore, SessionConfig, SessionMiddleware
from glimr_session._request.cleanup import collect
from tests.support.wsgi_client import Browser

def site(environ, start_response):
    count = environ["glimr.session"].increment("count")
    time.sleep(0.001)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(count).encode()]

store = DiskStore(tempfile.mkdtemp() + "/sessions")
config = SessionConfig(secret_keys=["a key for tests that is long enough"], gc=lambda: True)
app = SessionMiddleware(site, config, store=store)
if "used" in sys.argv:
    assert Browser().get(app).body == b"1"  # the cleanup worker is a thread from now on
if "gevent" in sys.argv:
    from gevent import monkey
    monkey.patch_all()
else:
    import eventlet
    eventlet.monkey_patch()

answers = []
def ask():
    for _ in range(5):
        answers.append(Browser().get(app).body)

threads = [threading.Thread(target=ask) for _ in range(40)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert answers == [b"1"] * 200, answers
deadline = time.monotonic() + 10
while not collect(store):
    assert time.monotonic() < deadline, "the cleanup worker is busy for ever"
    time.sleep(0.01)
store.close()
print("served")
"""


@pytest.mark.parametrize("before", ["made", "used"])
@pytest.mark.parametrize("kind", ["gevent", "eventlet"])
def test_an_application_may_patch_late(kind: str, before: str) -> None:
    """A store works on when greenlets are patched in after it was made, or even used."""
    needed(kind)
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LATE, kind, before],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env={**os.environ, **ENVIRON},
    )
    assert ran.stdout == "served\n", ran.stderr
