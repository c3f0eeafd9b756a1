"""``glimr-session check``: whether sessions will work, and what of them is insecure."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from glimr_session import DiskStore, SessionStore, new
from glimr_session.testing.contract import Clock, begin
from tests.cli.conftest import KEY, Run, Site, settled

SECURE = f"""\
secret_keys = ["{KEY}"]
absolute_lifetime = 10080
encrypt = true
"""


def written(folder: Path, *lines: str) -> None:
    file = folder / "session.toml"
    file.write_text("\n".join(lines) + "\n" + SECURE + '[disk]\ndirectory = "sessions"\n', "utf-8")
    file.chmod(0o600)


def findings(output: str) -> list[str]:
    """Return what was found, but that this test runs as root, which it may."""
    lines = [line for line in output.splitlines()[:-1] if not line.startswith("settings: ")]
    return [line for line in lines if "root" not in line and not line.endswith("works.")]


def test_a_site_that_works_is_status_0(site: Site, run: Run) -> None:
    """On each store."""
    done = run("check")
    assert done.exit_code == 0
    assert f"The store '{site.store.kind}' works." in done.stdout
    assert "0 errors" in done.stdout


def test_what_was_read_is_said(folder: Path, run: Run) -> None:
    """The file, and the directory of the disk store; and that it was made, in a wrong folder."""
    written(folder)
    told = f"settings: {folder}/session.toml, and the environment; sessions on the disk are in "
    assert run("check").stdout.splitlines()[0] == f"{told}{folder}/sessions, made anew"
    assert run("check").stdout.splitlines()[0] == f"{told}{folder}/sessions"
    (folder / "session.toml").unlink()
    env = {"GLIMR_SESSION_STORE": "cookie"}
    assert run("check", env=env).stdout.startswith("settings: the environment alone\n")


def test_nothing_is_left_of_the_check(site: Site, run: Run) -> None:
    """The session that it begins is ended, and no other one."""
    begin(site.store)
    run("check")
    assert len(list(site.store.all_sessions())) == 1


def test_a_secure_site_has_nothing_to_be_said(folder: Path, run: Run) -> None:
    """No warnings, and no notes."""
    written(folder)
    assert findings(run("check").stdout) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("cookie_secure = false", "warning: cookie_secure = false:"),
        ('cookie_samesite = "None"', 'warning: cookie_samesite = "None":'),
        ("lifetime = 43201\nabsolute_lifetime = 50000", "warning: lifetime is over 30 days:"),
        ("disk_mode = \"0755\"", "warning: [disk] mode:"),
        ("absolute_lifetime = 0", "note: absolute_lifetime is not set:"),
        ("encrypt = false", "note: encrypt is not set: whoever"),
        ('gc = "never"', 'note: gc = "never":'),
        ('store = "cookie"', "note: [cookie] revocations is not set:"),
        ('store = "cookie"\nencrypt = false', "note: encrypt is not set: users"),
        ('move_from = "cookie"', "note: move_from is set:"),
    ],
)  # fmt: skip
def test_what_is_insecure_is_said(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch, line: str, found: str
) -> None:
    """As a warning, or as a note; the site works all the same."""
    names = [part.partition(" =")[0] for part in line.splitlines()]
    rest = [part for part in SECURE.splitlines() if part.partition(" =")[0] not in names]
    monkeypatch.setattr(f"{__name__}.SECURE", "\n".join(rest) + "\n")
    written(folder, *line.splitlines())
    done = run("check")
    assert done.exit_code == 0
    assert any(text.startswith(found) for text in findings(done.stdout)), done.stdout


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("secret_keys = []\nencrypt = false", "error: secret_keys is empty"),
        ('metrics = "prometheus"', "error: metrics: prometheus_client is not installed"),
        ('gc = "nowhere:policy"', "error: gc: nowhere:policy cannot be imported"),
        ('store = "nowhere:store"', "error: store: nowhere:store cannot be imported"),
        ('store = "redis"\nredis_url = "redis://127.0.0.1:1/0"', "error: "),
        ('store = "sql"\nsql_url = "postgresql://u:p@127.0.0.1:1/x"', "error: "),
        ('store = "sql"\nsql_url = "sqlite:///empty.sqlite"', "error: "),
    ],
)
def test_what_cannot_work_is_status_1(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch, line: str, found: str
) -> None:
    """One error, and it says what to do; it is no traceback."""
    find = importlib.util.find_spec

    def without_prometheus(name: str, *rest: Any) -> Any:
        return None if name == "prometheus_client" else find(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without_prometheus)
    names = [part.partition(" =")[0] for part in line.splitlines()]
    rest = [part for part in SECURE.splitlines() if part.partition(" =")[0] not in names]
    monkeypatch.setattr(f"{__name__}.SECURE", "\n".join(rest) + "\n")
    written(folder, *line.splitlines())
    done = run("check")
    assert done.exit_code == 1
    errors = [text for text in findings(done.stdout) if text.startswith("error")]
    assert len(errors) == 1, done.stdout
    assert errors[0].startswith(found)
    assert "works" not in done.stdout


def test_settings_that_cannot_be_read_are_status_1(folder: Path, run: Run) -> None:
    """Short keys, say; the key is not quoted."""
    (folder / "session.toml").write_text('secret_keys = ["short and bad"]')
    done = run("check")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "secret_keys[0] has 13 characters" in done.stderr
    assert "short and bad" not in done.output


def test_a_directory_that_is_open_to_others_is_an_error(folder: Path, run: Run) -> None:
    """As it is for the site."""
    written(folder)
    (folder / "sessions").mkdir(mode=0o755)
    (folder / "sessions").chmod(0o755)
    done = run("check")
    assert done.exit_code == 1
    assert "is open to others" in done.stdout


@pytest.mark.parametrize(
    ("name", "mode", "level"),
    [
        ("session.toml", 0o604, "warning"),
        ("session.toml", 0o602, "error"),
        ("session.env", 0o604, "warning"),
        ("session.toml", 0o640, ""),
    ],
)
def test_a_file_with_keys_that_others_can_read_is_found(
    folder: Path, run: Run, name: str, mode: int, level: str
) -> None:
    """That of the settings, and that of the key beside it; the group may read it."""
    written(folder)
    (folder / "session.env").touch(0o600)
    (folder / name).chmod(mode)
    found = findings(run("check").stdout)
    assert [text.partition(":")[0] for text in found] == ([level] if level else [])
    assert not level or name in found[0]


def test_settings_without_keys_may_be_read_by_all(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are kept with the code; a password in a URL is a key."""
    monkeypatch.setattr(f"{__name__}.SECURE", "absolute_lifetime = 10080\nencrypt = true\n")
    env = {"GLIMR_SESSION_SECRET_KEYS": KEY}
    written(folder)
    (folder / "session.toml").chmod(0o644)
    assert findings(run("check", env=env).stdout) == []
    written(folder, 'sql_url = "postgresql://shop:secret@127.0.0.1/shop"')
    (folder / "session.toml").chmod(0o644)
    (found,) = findings(run("check", env=env).stdout)
    assert "passwords" in found


def test_a_clock_that_is_behind_is_found(folder: Path, run: Run, clock: Clock) -> None:
    """By the sessions that were used in the future."""
    with settled(folder, "disk", "encrypt = true\n") as site:
        begin(site.store)
        clock.advance(-3600)
        (found,) = findings(run("check").stdout)
        assert found.startswith("warning: The clock of this machine is behind")


def lossy() -> SessionStore:
    """Return a store that keeps nothing."""
    return new(
        load=lambda _: ({}, {}),
        save=lambda *_: None,
        destroy=lambda _: None,
        gc=lambda: 0,
        cookie_value=lambda session_id, *_: session_id,
    )


class Immortal(DiskStore):
    """A store that ends nothing."""

    def destroy(self, session_id: str) -> None:
        pass


def immortal() -> SessionStore:
    return Immortal("sessions")


@pytest.mark.parametrize(
    ("factory", "found"),
    [
        ("lossy", "The store does not return a session that it was given."),
        ("immortal", "The store still has a session that was ended."),
    ],
)
def test_a_store_that_does_not_keep_its_promises_is_found(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch, factory: str, found: str
) -> None:
    """It is tried with a real session."""
    monkeypatch.setattr(f"{__name__}.SECURE", SECURE.replace("encrypt = true\n", ""))
    written(folder, f'store = "{__name__}:{factory}"')
    done = run("check")
    assert done.exit_code == 1
    assert f"error: {found}" in done.stdout
