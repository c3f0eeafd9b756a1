"""Serves the sign-up site on waitress: ``make demo``, or ``PORT=8765 make demo``.

``HOST=0.0.0.0 make demo`` serves it to other machines too, over plain HTTP. The settings are
in session.toml beside this file; GLIMR_SESSION_STORE and its like in the environment beat
them. What the site writes is in ``var`` of the repository.

``STORE=redis make demo`` keeps the sessions on Redis: on the server that
GLIMR_SESSION_REDIS_URL names, or on one of its own, which ends with the site. ``STORE=sql``
keeps them in the database that GLIMR_SESSION_SQL_URL names, or in a file of SQLite.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import waitress
from app import make_app

from glimr_session import SessionConfig, SessionError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
KEY_FILE = REPOSITORY / "var" / "secret_key"
KEYS = "GLIMR_SESSION_SECRET_KEYS"
REDIS = "GLIMR_SESSION_REDIS_URL"
SQL = "GLIMR_SESSION_SQL_URL"
SECURE = "GLIMR_SESSION_COOKIE_SECURE"
LOOPBACK = {"127.0.0.1", "localhost", "::1"}  # where no Secure is needed for plain HTTP


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    host = os.environ.get("HOST") or "127.0.0.1"
    insecure = host not in LOOPBACK and not os.environ.get(SECURE)
    environ = {**os.environ, SECURE: "false"} if insecure else dict(os.environ)
    store = os.environ.get("STORE") or "disk"
    if store != "disk":
        environ["GLIMR_SESSION_STORE"] = store
    with contextlib.ExitStack() as ended_with_the_site:
        try:
            environ[KEYS] = secret_key()
            if store == "redis" and not environ.get(REDIS):
                environ[REDIS] = ended_with_the_site.enter_context(redis_server())
            if store == "sql" and not environ.get(SQL):
                environ[SQL] = sqlite_file()
            config = SessionConfig.from_toml(HERE / "session.toml", environ)
            app = make_app(config)
        except (SessionError, OSError) as error:
            sys.exit(f"The sessions cannot be set up: {error}")
        serve(app, config, host, insecure=insecure)


def serve(app: WSGIApplication, config: SessionConfig, host: str, *, insecure: bool) -> None:
    """Serve the site until an exception ends it."""
    with listen(host, os.environ.get("PORT") or "8000") as listener:
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # four threads are plenty
        if insecure:
            print(
                "Cookies are sent without Secure, or browsers would not send them back over plain "
                "HTTP: do this only in a network whose people you trust."
            )
        url = f"http://{reachable(host)}:{listener.getsockname()[1]}"
        print(f"Open {url} in a browser. Store: {config.store}. Ctrl-C stops.", flush=True)
        waitress.serve(app, sockets=[listener])


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """Start a Redis server that keeps nothing, for as long as the site runs; return its URL."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        sys.exit(
            f"redis-server is not installed. Install it, or set {REDIS} to the URL of a server."
        )
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/redis.sock"
        command = [program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", directory]
        with subprocess.Popen(  # noqa: S603  # the command is ours
            command, stdout=subprocess.DEVNULL, start_new_session=True
        ) as server:
            try:
                while not os.path.exists(path) and server.poll() is None:  # noqa: PTH110
                    time.sleep(0.01)
                yield f"unix://{path}"
            finally:
                server.terminate()


def sqlite_file() -> str:
    """Return the URL of a database in ``var``, with the table for sessions in it."""
    from glimr_session import SqlStore  # an extra

    file = REPOSITORY / "var" / "sessions.sqlite"
    file.parent.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{file}"
    SqlStore.create_table(url)
    return url


def listen(host: str, port: str) -> socket.socket:
    """Return a socket that listens there, or end with a line that says why not."""
    try:
        family = socket.getaddrinfo(host, None)[0][0]
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server((host, int(port)), family=family, dualstack_ipv6=both)
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            sys.exit(
                f"HOST is a name or an address of this machine, not {host!r}. "
                "0.0.0.0 is all of its addresses: HOST=0.0.0.0 make demo"
            )
        reason = os.strerror(error.errno or 0)
        sys.exit(f"Port {port} cannot be used: {reason}. Take another one: PORT=8765 make demo")
    except (OverflowError, ValueError):
        sys.exit(f"PORT is a number from 0 (any that is free) to 65535, not {port!r}")


def reachable(host: str) -> str:
    """Return the host for a URL; for all addresses of this machine, one that others reach."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # sends nothing; any address elsewhere will do
            except OSError:  # there is no network
                return "127.0.0.1"
            host = probe.getsockname()[0]
    return f"[{host}]" if ":" in host else host


def secret_key() -> str:
    """Return the key that signs the cookies; the first start makes one."""
    if given := os.environ.get(KEYS):
        return given
    KEY_FILE.parent.mkdir(parents=True, exist_ok=True)
    KEY_FILE.touch(mode=0o600)  # who reads the key can forge cookies
    if not KEY_FILE.read_text("ascii"):
        KEY_FILE.write_text(secrets.token_hex(), "ascii")
    return KEY_FILE.read_text("ascii")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    with contextlib.suppress(KeyboardInterrupt):
        main()
