"""No command prints an id, a key, a cookie value, a value or an owner, in whatever it says."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

import pytest

from glimr_session._cli.program import program
from glimr_session._ids import owner_key, storage_key
from glimr_session.testing.requests import Request, begin, belong_to, flash, put, regenerate
from tests.cli.conftest import KEY, Run, Site

OWNER: Final = "ada@example.org"
VALUE: Final = "4111 1111 1111 1111"
NOTED: Final = "a phone in Stockholm"
NAME: Final = "credit_card"
PASSWORD: Final = "hunter2hunter2"

COMMANDS: Final = [
    "--help",
    "check",
    "stats",
    "stats --json",
    "gc",
    "list",
    "list --owner {owner}",
    "show {handle}",
    "backup copies",
    "move {other} {store} --site-stopped",
    "move {store} {other}",
    "init --yes --config new.toml",
    "completion bash",
    "man",
    "sql-schema sqlite",
    "destroy {handle}",
    "logout {owner}",
    # What goes wrong.
    "show {cookie}",
    "destroy {cookie}",
    "show {gone}",
    "check --config weak.toml",
    "stats --config down.toml",
    "check --config down.toml",
    "stats --config sql.toml",
    "check --config sql.toml",
    "list --config wrong.toml",
    "backup sessions",
    "frobnicate",
]


@pytest.fixture
def secrets(site: Site, folder: Path) -> dict[str, str]:
    """What must not be printed, by what it is."""
    weak = "changeme-" + KEY
    (folder / "weak.toml").write_text(f'secret_keys = ["{weak}"]\n')
    keys = f'secret_keys = ["{KEY}"]\n'
    url = f"redis://shop:{PASSWORD}@127.0.0.1:1/0"
    (folder / "down.toml").write_text(f'{keys}store = "redis"\nredis_url = "{url}"\n')
    (folder / "wrong.toml").write_text(f'{keys}store = "sql"\nsql_url = "nosql://a:{PASSWORD}@b"\n')
    url = f"postgresql://shop:{PASSWORD}@127.0.0.1:1/shop"
    (folder / "sql.toml").write_text(f'{keys}store = "sql"\nsql_url = "{url}"\n')
    for file in folder.glob("*.toml"):
        file.chmod(0o644)  # which the check has to say
    login = put(NAME, VALUE), flash("notice", VALUE), belong_to(OWNER, device=NOTED)
    first = begin(site.store, *login)
    moved = Request(site.store, first).commit(regenerate)
    plain = begin(site.store, *login)
    return {
        "cookie value": moved,
        "id": moved.partition("~")[0],
        "former id": first,
        "another id": plain,
        "hash of an id": storage_key(plain).hex(),
        "key": KEY,
        "weak key": weak,
        "password": PASSWORD,
        "owner": OWNER,
        "hash of the owner": owner_key(OWNER)[:9],
        "value": VALUE,
        "noted": NOTED,
        "name of a value": NAME,
    }


def test_no_command_prints_a_secret(
    site: Site, run: Run, secrets: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Nor what it logs, on any way through it; a new key is printed by ``key`` alone."""
    (handle, gone) = (info.handle for info in site.store.sessions(OWNER))
    site.store.destroy(gone)
    names = {
        "handle": handle,
        "gone": gone,
        "cookie": secrets["cookie value"],
        "owner": OWNER,
        "store": site.store.kind,
        "other": {"disk": "sql", "sql": "disk"}[site.store.kind],
    }
    ran = set()
    for command in COMMANDS:
        arguments = shlex.split(command.format(**names))
        done = run(*arguments)
        assert done.exit_code in (0, 1, 2), (command, done.exception)
        assert done.output, command
        ran.add(arguments[0])
        said = done.output + caplog.text
        found = [what for what, secret in secrets.items() if secret in said]
        assert found == [], f"{command}: {found} in {said}"
    assert ran >= program.commands.keys() - {"key"}


def test_reveal_prints_values_and_nothing_else(
    site: Site, run: Run, secrets: dict[str, str]
) -> None:
    """It is for who has to see what is in a session; ids are not known to stores."""
    (handle, _) = (info.handle for info in site.store.sessions(OWNER))
    for command in (["show", handle], ["list"], ["list", "--owner", OWNER]):
        said = run(*command, "--reveal").output
        assert NOTED in said
        assert (VALUE in said) == (command[0] == "show")
        shown = {"value", "noted", "name of a value"}
        assert [what for what in secrets if secrets[what] in said and what not in shown] == []
