"""A command that sees a file system, read-only but for one directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .browser import program
from .commands import BIN
from .documents import ROOT


def confined(folder: Path, files: Path, writable: Path, user: str) -> list[str]:
    """Return a prefix: runs a command in /srv/shop as a user, who can write ``writable`` alone.

    A mount namespace makes everything read-only; the user has no capability, and gets none. What
    is in ``folder`` becomes /srv/shop, with this Python's environment, and ``files`` the directory
    ``writable``.
    """
    unshare, setpriv = program("unshare"), program("setpriv")
    user, _, group = user.partition(":")
    become = f"{setpriv} --reuid {user} --regid {group or user} --clear-groups --no-new-privs"
    probe = [unshare, "--mount", *become.split(), sys.executable, "-c", "import glimr_session"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        missing = f"needs root, mounts, and a Python that others can run: {done.stderr}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    hidden = any(ROOT.is_relative_to(folder) for folder in ("/srv", "/var/lib", "/tmp"))
    keep, give_back = "", ""
    if hidden:  # below one of the directories that are empty in there
        keep = f"mount --bind {ROOT} /mnt"
        give_back = f"mkdir -p {ROOT} && mount --bind /mnt {ROOT}"
    script = f"""\
set -e
{keep}
mount -t tmpfs -o mode=755 none /srv
mkdir /srv/shop
cp {folder}/app.py {folder}/session.toml /srv/shop
chmod 644 /srv/shop/*
ln -s {BIN.parent} /srv/shop/.venv
mount -t tmpfs -o mode=755 none /var/lib
mkdir -p {writable}
mount --bind {files} {writable}
mount -t tmpfs -o mode=1777 none /tmp
{give_back}
mount -o remount,ro /srv
mount -o remount,ro /var/lib
mount -o remount,bind,ro /
cd /srv/shop
exec {become} --bounding-set=-all --inh-caps=-all "$@"
"""
    return [unshare, "--mount", "--propagation=private", "/bin/sh", "-c", script, "sh"]


def places_that_can_be_written(prefix: list[str], *paths: str) -> list[str]:
    """Return which of these directories the confined user can write."""
    test = 'for path; do if [ -w "$path" ]; then echo "$path"; fi; done'
    done = subprocess.run(
        [*prefix, "/bin/sh", "-c", test, "sh", *paths], capture_output=True, text=True, check=True
    )
    return done.stdout.split()
