"""Each command beside a real server, while browsers count in their sessions."""

from __future__ import annotations

import json
from pathlib import Path

from glimr_session.testing.requests import begin, belong_to, content, put
from tests.cli.conftest import KEY, Run, Site
from tests.cli.test_move import Visitors
from tests.support.servers import Client, running


def test_commands_beside_a_site_that_counts(site: Site, run: Run, folder: Path) -> None:
    """They see what is there, end what they are told to, and disturb nobody else."""
    mine = [begin(site.store, put("n", n), belong_to(7)) for n in range(3)]
    environ = {
        "GLIMR_SESSION_STORE": site.store.kind,
        "GLIMR_SESSION_SQL_URL": f"sqlite:///{folder}/sessions.sqlite",
        "GLIMR_SESSION_SECRET_KEYS": KEY,
    }
    with (
        running("waitress", folder, store=site.store.kind, environ=environ) as server,
        Visitors(server, 4),
    ):
        for _ in range(3):
            assert run("check").exit_code == 0
            assert json.loads(run("stats", "--json").stdout)["sessions"] == 7
            assert run("list").stderr == "7 sessions.\n"
            assert run("gc").exit_code == 0
        handle = site.store.handle_of(mine[0])
        assert run("show", handle).exit_code == 0
        assert run("destroy", handle).exit_code == 0
        assert run("logout", "7").stdout == "2 sessions ended.\n"
        assert [content(site.store, cookie) for cookie in mine] == [None] * 3
        assert run("backup", "copies").stdout.startswith("4 sessions: 4 copied")


def test_a_browser_whose_session_is_ended_begins_anew(site: Site, run: Run, folder: Path) -> None:
    """From the next request on, in every process of the site."""
    environ = {
        "GLIMR_SESSION_STORE": site.store.kind,
        "GLIMR_SESSION_SQL_URL": f"sqlite:///{folder}/sessions.sqlite",
        "GLIMR_SESSION_SECRET_KEYS": KEY,
    }
    with running("waitress", folder, store=site.store.kind, environ=environ) as server:
        client = Client(server)
        assert [client.get("/count")["found"] for _ in range(3)] == [1, 2, 3]
        (info,) = site.store.all_sessions()
        assert run("destroy", info.handle).exit_code == 0
        assert client.get("/count")["found"] == 1
