"""Serves the sign-up site on waitress: ``make demo``, or ``PORT=8765 make demo``.

The settings are in session.toml beside this file; GLIMR_SESSION_STORE and its like in
the environment beat them. What the site writes is in ``var`` of the repository.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import waitress
from app import make_app

from glimr_session import SessionConfig, SessionError

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
KEY_FILE = REPOSITORY / "var" / "secret_key"
KEYS = "GLIMR_SESSION_SECRET_KEYS"


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    os.chdir(REPOSITORY)  # which the directory in session.toml is relative to
    try:
        config = SessionConfig.from_toml(HERE / "session.toml", with_key(os.environ))
        app = make_app(config)
    except (SessionError, OSError) as error:
        sys.exit(f"The sessions cannot be set up: {error}")
    port = os.environ.get("PORT") or "8000"
    try:
        listener = socket.create_server(("127.0.0.1", int(port)))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        sys.exit(f"Port {port} cannot be used: {reason}. Take another one: PORT=8765 make demo")
    except (OverflowError, ValueError):
        sys.exit(f"PORT is a number from 0 (any that is free) to 65535, not {port!r}")
    with listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # four threads are plenty
        print(f"Open {url} in a browser. Store: {config.store}. Ctrl-C stops.", flush=True)
        waitress.serve(app, sockets=[listener])


def with_key(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment with a key to sign cookies; the first start makes one."""
    if environ.get(KEYS):
        return environ
    KEY_FILE.parent.mkdir(parents=True, exist_ok=True)
    KEY_FILE.touch(mode=0o600)  # who reads the key can forge cookies
    if not KEY_FILE.read_text("ascii"):
        KEY_FILE.write_text(secrets.token_hex(), "ascii")
    return {**environ, KEYS: KEY_FILE.read_text("ascii")}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    with contextlib.suppress(KeyboardInterrupt):
        main()
