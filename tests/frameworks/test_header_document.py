"""docs/header.md: every block of code is run."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from werkzeug.serving import make_server

from glimr_session import CookieStore, SessionConfig, SessionMiddleware
from tests.frameworks.header_doors import HEADER, over_wsgi, wsgi_site
from tests.support.documents import ROOT, Block, blocks_of

BLOCKS: Final = blocks_of("docs/header.md")

SETTINGS, SITE, CLIENT, SHELL, CORS, BOTH, A_TEST = BLOCKS

KEY: Final = "a key for tests that is long enough"


def run(block: Block, **names: Any) -> dict[str, Any]:
    """Run a block with these names; return all names that it leaves."""
    exec(compile(block.code, f"{block.page}:{block.line}", "exec", dont_inherit=True), names)
    return names


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of the site of the page, which is served."""
    monkeypatch.setenv("GLIMR_SESSION_TRANSPORT", "header")
    monkeypatch.setenv("GLIMR_SESSION_SECRET_KEYS", KEY)
    monkeypatch.setenv("GLIMR_SESSION_DISK_DIRECTORY", str(tmp_path / "sessions"))
    app = run(SITE, __name__="site")["app"]
    server = make_server("127.0.0.1", 0, app)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    yield server.port
    server.shutdown()
    thread.join()
    server.server_close()
    app.extensions["glimr_session"][2].binding.store.close()


def test_the_page_is_short_and_each_block_is_run() -> None:
    """At most 150 lines; each fence is one of the blocks above."""
    text = (ROOT / "docs/header.md").read_text("utf-8")
    assert text.count("\n") <= 150
    assert text.count("```") == 2 * len(BLOCKS)
    assert CORS.code.count(HEADER) == 2


def test_the_setting() -> None:
    """session.toml asks for the header."""
    config = SessionConfig.from_mapping(tomllib.loads(SETTINGS.code), {})
    assert config.transport == "header"


def test_the_client_talks_to_the_site(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program logs in and orders; it keeps its token, and drops it at a logout."""
    program = tmp_path / "client.py"
    program.write_text(CLIENT.code.replace("8000", str(port)) + "    first = client.auth.token\n"
                       '    assert client.post("/logout").text == "Bye.\\n"\n'
                       "    last = client.auth.token\n")  # fmt: skip
    names = runpy.run_path(str(program))
    assert capsys.readouterr().out == "Order 1 of ada\n\n"
    assert names["first"]
    assert names["last"] == ""


def test_the_recipe_for_curl(port: int, tmp_path: Path) -> None:
    """The shell logs in, keeps the header in a file that is its own, and orders."""
    if shutil.which("curl") is None:
        assert not os.environ.get("CI"), "curl is not installed"
        pytest.skip("curl is not installed")
    script = SHELL.code.replace("8000", str(port))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=20,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("Order 1 of ada\n", "")
    assert (tmp_path / "token").stat().st_mode & 0o77 == 0


def test_cookie_and_header_in_one_application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two middlewares of the page give each request two sessions."""
    monkeypatch.chdir(tmp_path)

    def my_app(environ: Any, start_response: Any) -> list[bytes]:
        environ["glimr.session"]["n"] = environ["api.session"]["n"] = 1
        start_response("200 OK", [])
        return [b"done"]

    application = run(BOTH, my_app=my_app)["application"]
    answer = over_wsgi(application).get("/")
    for middleware in (application, application._app):
        middleware._manager.binding.store.close()
    assert answer.headers[HEADER]
    assert answer.headers["Set-Cookie"].startswith("glimr_session=")


def test_the_test_of_the_page() -> None:
    """A test begins with a token, and looks into the session behind it."""
    config = SessionConfig(transport="header", secret_keys=[KEY], gc="never")
    app = SessionMiddleware(wsgi_site, config, store=CookieStore())
    run(A_TEST, app=app)["test_somebody_who_is_logged_in"]()
