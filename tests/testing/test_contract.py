"""StoreContract: what it needs, and what it asks for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_visitors_need_nothing_for_tests_alone() -> None:
    """Visitor works without pytest, and the contract says how to get it."""
    script = """
import sys
for name in ("pytest", "hypothesis"):
    sys.modules[name] = None
import glimr_session.testing
assert glimr_session.testing.Visitor
try:
    glimr_session.testing.StoreContract
except ImportError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "StoreContract needs pytest" in result.stdout
    assert "pip install 'glimr-session[testing]'" in result.stdout


def test_the_contract_asks_for_a_store(tmp_path: Path) -> None:
    """A suite without a store fails and says what to do, and one with a store passes."""
    (tmp_path / "test_mine.py").write_text(
        """
import pytest
from glimr_session import CookieStore
from glimr_session.testing import StoreContract
from glimr_session.testing.contract import ABSOLUTE, LIFETIME

class TestNothing(StoreContract):
    pass

class TestCookies(StoreContract):
    @pytest.fixture
    def store(self):
        return CookieStore(lifetime=LIFETIME, absolute_lifetime=ABSOLUTE)

    @pytest.fixture
    def broken(self, store):
        return store
"""
    )
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert "override the fixture `store`" in result.stdout
    assert "FAILED test_mine.py::TestNothing" in result.stdout or "ERROR" in result.stdout
    assert "::TestCookies" not in result.stdout
    assert " passed" in result.stdout
