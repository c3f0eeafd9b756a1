"""``glimr-session init`` and ``key``: settings and a key for a new site."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from glimr_session import SessionConfig
from tests.cli.conftest import Run


def sourced(file: Path) -> dict[str, str]:
    """Return the variables that a shell has after reading a file."""
    script = 'set -a; . "$0"; env -0'
    done = subprocess.run(
        ["/bin/sh", "-c", script, file], env={}, capture_output=True, text=True, check=True
    )
    found = dict(line.split("=", 1) for line in done.stdout.split("\0") if "=" in line)
    return {name: value for name, value in found.items() if name.startswith("GLIMR_")}


def test_a_new_site_works(folder: Path, run: Run) -> None:
    """What is written is what the check is content with."""
    done = run("init", "--yes")
    assert done.exit_code == 0
    environ = sourced(folder / "session.env")
    config = SessionConfig.from_toml("session.toml", environ)
    assert (config.store, len(config.secret_keys)) == ("disk", 1)
    assert run("check", env=environ).exit_code == 0


def test_the_key_is_in_a_file_of_its_own_that_nobody_else_can_read(folder: Path, run: Run) -> None:
    """It is not printed, and not in the settings, which may be kept with the code."""
    done = run("init", "--yes")
    secret = folder / "session.env"
    assert secret.stat().st_mode & 0o777 == 0o600
    (key,) = sourced(secret).values()
    assert key not in done.output + (folder / "session.toml").read_text("utf-8")


def test_each_site_has_another_key(folder: Path, run: Run) -> None:
    """Of 256 bits, in hexadecimal; ``key`` prints one more."""
    keys = {run("key").stdout.strip() for _ in range(3)}
    assert len(keys) == 3
    assert all(len(bytes.fromhex(key)) == 32 for key in keys)


@pytest.mark.parametrize("there", ["session.toml", "session.env"])
def test_nothing_is_overwritten(folder: Path, run: Run, there: str) -> None:
    """Neither of the files is written if one of them exists, be it a link to nowhere."""
    file = folder / there
    for is_link in (False, True):
        file.unlink(missing_ok=True)
        if is_link:
            file.symlink_to("nowhere")
        else:
            file.touch()
        done = run("init", "--yes")
        assert done.exit_code == 1
        assert f"{there} exists" in done.stderr
        assert [found.name for found in folder.iterdir()] == [there]


def test_a_file_that_comes_in_between_is_not_overwritten(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two may begin a site at once."""
    (folder / "session.env").write_text("mine")
    monkeypatch.setattr("os.path.lexists", lambda _: False)
    done = run("init", "--yes")
    assert done.stderr == "Error: session.env cannot be written: File exists.\n"
    assert (folder / "session.env").read_text() == "mine"
    assert not (folder / "session.toml").exists()


def test_questions_are_asked(folder: Path, run: Run) -> None:
    """And their answers are the settings."""
    url = "postgresql://shop:pa%26ss@127.0.0.1/shop?a=1&b=$HOME"
    done = run("init", input=f"mongodb\nsql\n{url}\n30\n600\ny\n")
    assert done.exit_code == 0
    assert "Where are sessions kept? (disk, redis, sql, cookie) [disk]:" in done.stdout
    assert "[120]:" in done.stdout
    environ = sourced(folder / "session.env")
    config = SessionConfig.from_toml("session.toml", environ)
    assert (config.store, config.sql_url, config.encrypt) == ("sql", url, True)
    assert [str(config.lifetime), str(config.absolute_lifetime)] == ["0:30:00", "10:00:00"]
    assert "shop" not in (folder / "session.toml").read_text("utf-8")
    assert "sql-schema" in done.stderr


def test_what_an_option_says_is_not_asked(folder: Path, run: Run) -> None:
    """The rest is."""
    given = ["--store", "disk", "--directory", "/var/lib/shop", "--lifetime", "15", "--encrypt"]
    done = run("init", *given, "--config", "shop.toml", input="0\n")
    assert done.stdout.count("?") == 1
    config = SessionConfig.from_toml("shop.toml", sourced(folder / "shop.env"))
    assert (config.disk_directory, config.encrypt) == ("/var/lib/shop", True)
    assert [str(config.lifetime), str(config.absolute_lifetime)] == ["0:15:00", "0:00:00"]


def test_the_key_can_be_printed_instead(folder: Path, run: Run) -> None:
    """As lines for an environment, alone on standard output."""
    done = run("init", "--yes", "--store", "redis", "--print-key")
    names = [line.partition("=")[0] for line in done.stdout.splitlines()]
    assert names == ["GLIMR_SESSION_SECRET_KEYS", "GLIMR_SESSION_REDIS_URL"]
    assert [found.name for found in folder.iterdir()] == ["session.toml"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("", "Next: set -a; . ./session.env; set +a; glimr-session check\n"),
        ("--print-key", "Next: put these lines into the environment of the site; glimr-session "),
        ("--config a.toml", ". ./a.env; set +a; glimr-session check --config a.toml\n"),
        ("--config {}/a.toml", ". {0}/a.env; set +a; glimr-session check --config {0}/a.toml\n"),
        ("--store sql --url sqlite:////a/b", "sql-schema sqlite | sqlite3 /a/b\n"),
        ("--store sql --url mysql://u:p@h/d", "sql-schema mysql | mysql ...\n"),
        ("--store sql", "The URL in session.env is an example: edit it.\n"),
        ("--store sql --print-key", "The URL that is printed is an example: edit it.\n"),
    ],
)
def test_the_next_step_is_said(folder: Path, run: Run, options: str, told: str) -> None:
    """As it has to be typed here."""
    done = run("init", "--yes", *options.format(folder).split())
    assert done.exit_code == 0
    assert told.format(folder) in done.stderr


def test_a_url_of_ones_own_is_no_example(folder: Path, run: Run) -> None:
    """The file marks the other one."""
    done = run("init", "--yes", "--store", "redis", "--url", "redis://db/0")
    assert "example" not in done.stderr + (folder / "session.env").read_text("utf-8")
    run("init", "--yes", "--store", "redis", "--config", "a.toml")
    assert (folder / "a.env").read_text("utf-8").startswith("# The URL is an example: edit it.\n")


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        ("--store disk --url redis://h/0", 2, "--url is not for --store disk"),
        ("--store redis --directory x", 2, "--directory is not for --store redis"),
        ("--store sql --url mongodb://u:secret@h/x", 1, "[sql] url: "),
        ("--store sql --url sqlite://", 1, "[sql] url: "),
        ("--store redis --url http://u:secret@h", 1, "redis_url: "),
        ("--lifetime 0", 2, "0 is not a positive number of minutes"),
        ("--lifetime nan", 2, "nan is not a positive number of minutes"),
        ("--absolute-lifetime -1", 2, "-1 is not a number of minutes, or 0 for none"),
    ],
)
def test_an_option_that_is_wrong_writes_nothing(
    folder: Path, run: Run, options: str, status: int, told: str
) -> None:
    """And says what is right; a password is not repeated."""
    done = run("init", "--yes", *options.split())
    assert done.exit_code == status
    assert told in done.stderr
    assert "secret" not in done.stderr
    assert list(folder.iterdir()) == []


def test_settings_that_are_wrong_are_not_written(folder: Path, run: Run) -> None:
    """The error is the one that the site would have had."""
    done = run("init", "--yes", "--lifetime", "60", "--absolute-lifetime", "30")
    assert done.exit_code == 1
    assert "absolute_lifetime" in done.stderr
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(folder: Path, run: Run) -> None:
    """In a sentence."""
    done = run("init", "--yes", "--config", "missing/session.toml")
    assert done.exit_code == 1
    assert (
        done.stderr == "Error: missing/session.env cannot be written: No such file or directory.\n"
    )


def test_an_input_that_ends_writes_nothing(folder: Path, run: Run) -> None:
    """As in a script that gives no answers; ^C is in test_command.py."""
    done = run("init", input="disk\n")
    assert done.exit_code == 1
    assert done.stderr.endswith("Error: No answer, and so nothing was done.\n")
    assert list(folder.iterdir()) == []
