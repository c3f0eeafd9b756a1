"""Listing, showing and ending sessions from the command line, and counting them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest

from glimr_session import CookieStore
from glimr_session.stores.revocations import RevocableStore
from glimr_session.testing.requests import begin, belong_to, content, flash, put
from tests.cli.conftest import Run, Site, settled
from tests.conftest import Clock

NOBODY: Final = "session-00000000000000ff"


def handles(output: str) -> list[str]:
    return re.findall(r"^session-\w{16}(?= )", output, re.MULTILINE)


def test_the_sessions_of_an_owner_are_listed(site: Site, run: Run) -> None:
    """Those of no one else, the one that was used last first; the end of the owner's hash too."""
    mine = [begin(site.store, put("n", n), belong_to(7, device="phone")) for n in range(2)]
    begin(site.store, put("n", 3), belong_to(8))
    found = run("list", "--owner", "7")
    assert found.exit_code == 0
    expected = [info.handle for info in site.store.sessions(7)]
    assert handles(found.stdout) == expected
    assert sorted(expected) == sorted(map(site.store.handle_of, mine))
    assert found.stdout.count("5db40916") == 2
    assert found.stderr == "2 sessions.\n"
    assert len(handles(run("list").stdout)) == 3
    assert run("list", "--owner", "9").stdout == ""


def test_what_is_noted_of_a_session_is_shown_when_asked_for(site: Site, run: Run) -> None:
    """With --reveal, and not without."""
    begin(site.store, put("cart", "book"), flash("x", 1), belong_to(7, device="phone"))
    assert "phone" not in run("list", "--owner", "7").output
    assert '{"device": "phone"}' in run("list", "--owner", "7", "--reveal").stdout


def test_a_session_is_shown(site: Site, run: Run, clock: Clock) -> None:
    """Whose it is, its times, and how much is in it; its values only with --reveal."""
    begin(site.store, put("cart", "book"), flash("x", 1), belong_to(7, device="phone"))
    (info,) = site.store.sessions(7)
    clock.advance(7000)
    shown = run("show", info.handle)
    assert shown.exit_code == 0
    rows = dict(
        re.split(r"  +", line.strip(), maxsplit=1) for line in shown.stdout.splitlines()[1:]
    )
    assert rows["owner"] == "5db40916"
    assert rows["last used"].endswith("(2 h ago)")
    assert rows["holds"] == "1 value, 1 of flash"
    assert "book" not in shown.output
    revealed = run("show", info.handle, "--reveal").stdout
    assert '{"cart": "book"}' in revealed
    assert '{"device": "phone"}' in revealed


def test_a_session_that_is_over_is_not_shown(site: Site, run: Run) -> None:
    """Nor ended: that is status 1, and a sentence."""
    for command in ("show", "destroy"):
        done = run(command, NOBODY)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == "Error: There is no such session: it has ended, or there was none.\n"


def test_one_session_is_ended(site: Site, run: Run) -> None:
    """By its handle; the others go on."""
    one, other = (begin(site.store, put("n", n)) for n in range(2))
    assert run("destroy", site.store.handle_of(one)).stdout == "1 session ended.\n"
    assert content(site.store, one) is None
    assert content(site.store, other) == ({"n": 1}, {})


def test_an_id_is_no_handle_and_is_not_quoted(site: Site, run: Run) -> None:
    """Somebody may have taken it from a browser."""
    cookie_value = begin(site.store)
    for command in ("show", "destroy"):
        done = run(command, cookie_value)
        assert done.exit_code == 2
        assert cookie_value not in done.output
        assert 'as "list" prints it' in done.stderr
    assert content(site.store, cookie_value) is not None


def test_an_owner_is_logged_out_everywhere(site: Site, run: Run) -> None:
    """All sessions of the owner end, and no other."""
    mine = [begin(site.store, put("n", n), belong_to("ada")) for n in range(3)]
    other = begin(site.store, put("n", 4), belong_to("bob"))
    assert run("logout", "ada").stdout == "3 sessions ended.\n"
    assert [content(site.store, one) for one in mine] == [None] * 3
    assert content(site.store, other) == ({"n": 4}, {})
    again = run("logout", "ada")
    assert (again.exit_code, again.stdout) == (0, "0 sessions ended.\n")
    assert again.stderr.startswith("No session belongs to that owner")


@pytest.mark.parametrize(
    "command",
    ["stats", "list", f"show {NOBODY}", f"destroy {NOBODY}", "logout 7", "gc", "backup copies",
     "move disk sql --site-stopped"],
)  # fmt: skip
def test_no_database_is_made(folder: Path, run: Run, command: str) -> None:
    """In a wrong folder, say: the directory is named, as it was looked for."""
    with settled(folder, "sql"):
        env = {"GLIMR_SESSION_STORE": "disk", "GLIMR_SESSION_DISK_DIRECTORY": "wrong"}
        before = set(folder.iterdir())
        done = run(*command.split(), env=env)
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"There is no database in {folder}/wrong." in done.stderr
    assert {file.name for file in set(folder.iterdir()) - before} <= {"__pycache__"}


def test_sessions_are_counted(site: Site, run: Run, clock: Clock) -> None:
    """Their number, ages, sizes and owners, for people and as JSON."""
    begin(site.store, put("text", "x" * 1000))
    clock.advance(2 * 3600 - 60)
    for owner in (7, 7, 8):
        begin(site.store, put("n", owner), belong_to(owner))
    counted = json.loads(run("stats", "--json").stdout)
    sizes = [info.size for info in site.store.all_sessions()]
    assert counted == {
        "store": site.store.kind,
        "sessions": 4,
        "bytes": {"all": sum(sizes), "mean": round(sum(sizes) / 4), "largest": max(sizes)},
        "last_used": {"hour": 3, "day": 4, "week": 4},
        "created": {"hour": 3, "day": 4, "week": 4},
        "owners": {
            "number": 2,
            "sessions": 3,
            "most": [
                {"owner": "5db40916", "sessions": 2},
                {"owner": counted["owners"]["most"][1]["owner"], "sessions": 1},
            ],
        },
    }
    rows = dict(
        re.split(r"  +", row.strip(), maxsplit=1) for row in run("stats").stdout.splitlines()
    )
    assert rows["sessions"] == "4"
    assert rows["owners"] == "2, with 3 sessions"
    assert rows["last used"] == "3 in the last hour, 4 in the last day, 4 in the last week"
    assert rows["most"].startswith("5db40916 has 2, ")


def test_an_empty_store_is_counted(site: Site, run: Run) -> None:
    """Nothing is divided by nothing."""
    assert json.loads(run("stats", "--json").stdout)["bytes"]["mean"] == 0
    assert run("stats").exit_code == 0


def test_what_has_expired_is_removed(site: Site, run: Run, clock: Clock) -> None:
    """And its number told."""
    for n in range(3):
        begin(site.store, put("n", n))
    clock.advance(48 * 3600)
    begin(site.store)
    assert run("gc").stdout == "3 expired sessions removed.\n"
    assert run("gc").stdout == "0 expired sessions removed.\n"
    assert len(list(site.store.all_sessions())) == 1


@pytest.mark.parametrize(
    "command",
    ["stats", "list", f"show {NOBODY}", f"destroy {NOBODY}", "logout 7", "backup copies"],
)
def test_what_a_store_of_cookies_cannot_do_is_said(command: str, run: Run) -> None:
    """In a sentence that names the stores that can."""
    env = {"GLIMR_SESSION_STORE": "cookie"}
    done = run(*command.split(), env=env)
    assert (done.exit_code, done.stdout) == (1, "")
    assert 'store = "disk", "redis" or "sql"' in done.stderr.replace("Use ", "")
    assert len(done.stderr.splitlines()) == 1


def test_a_record_of_revocations_is_no_session(site: Site, run: Run) -> None:
    """It is neither listed nor counted, and no command shows it or ends it."""
    store = RevocableStore(CookieStore(), site.store)
    store.destroy_all(7)
    (record,) = site.store.all_sessions(records=True)
    assert handles(run("list").stdout) == []
    assert json.loads(run("stats", "--json").stdout)["sessions"] == 0
    for command in ("show", "destroy"):
        assert "no such session" in run(command, record.handle).stderr
    assert [*site.store.all_sessions(records=True)] == [record]
