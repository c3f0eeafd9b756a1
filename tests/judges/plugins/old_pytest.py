"""Gives pytest back a private name that the tests of Flask 3.1 import, and pytest 9.2 renamed."""

from __future__ import annotations

from _pytest import compat, monkeypatch

if not hasattr(monkeypatch, "notset"):
    monkeypatch.notset = compat.NOTSET  # type: ignore[attr-defined]
