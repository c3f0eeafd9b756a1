"""The page about Django, run as it stands there."""

from __future__ import annotations

import tempfile
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from django.conf import global_settings
from django.contrib.sessions.backends.db import SessionStore as DatabaseSession
from django.http import HttpResponse
from django.shortcuts import redirect
from django.test.utils import override_settings
from django.urls import path

from glimr_session.django import SessionMiddleware, SessionStore
from tests.support.documents import ROOT, Block, blocks_of

from .conftest import MIDDLEWARE

SETTINGS, VIEW, TEST, MOVING = blocks_of("docs/django.md")
DJANGO: Final = MIDDLEWARE["django's"]


def run(code: Block, **names: Any) -> dict[str, Any]:
    exec(compile(code.code, f"{code.page}:{code.line}", "exec"), names)
    return names


@contextmanager
def settings_of(code: Block, project: Path) -> Iterator[None]:
    found = run(code, MIDDLEWARE=["first", DJANGO, "last"])
    assert found["MIDDLEWARE"][0::2] == ["first", "last"]
    more = {name: value for name, value in found.items() if name.isupper() and name != "MIDDLEWARE"}
    with override_settings(
        MIDDLEWARE=found["MIDDLEWARE"][1:2], BASE_DIR=project, ROOT_URLCONF=__name__, **more
    ):
        yield


def add(request: Any, product: str) -> HttpResponse:
    answer: HttpResponse = run(VIEW, redirect=redirect)["add_to_cart"](request, product)
    return answer


urlpatterns = [
    path("add/<product>", add),
    path("cart", lambda request: HttpResponse(), name="cart"),
]


def test_every_fence_says_its_language() -> None:
    """And each of them is run here."""
    text = (ROOT / "docs/django.md").read_text("utf-8")
    assert text.count("```") == 2 * len(blocks_of("docs/django.md"))
    assert len(text.splitlines()) < 150


@pytest.mark.parametrize("middleware", ["as it stands", DJANGO])
def test_the_settings_the_view_and_the_test(
    middleware: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: None
) -> None:
    """The test of the page passes on the view of the page, with our middleware and Django's."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with settings_of(SETTINGS, tmp_path):
        chosen = {} if middleware == "as it stands" else {"MIDDLEWARE": [middleware]}
        with override_settings(**chosen):
            suite = unittest.defaultTestLoader.loadTestsFromTestCase(run(TEST)["CartTests"])
            result = unittest.TestResult()
            suite.run(result)
    assert (result.testsRun, result.errors, result.failures) == (1, [], [])


def test_the_settings_that_move(tmp_path: Path, database: None) -> None:
    """A session of Django's database is found, and is in the directory from then on."""
    former = DatabaseSession()
    former["n"] = 1
    former.save()
    with settings_of(MOVING, tmp_path):
        session = SessionStore(former.session_key)
        assert session["n"] == 1
        session.save()
    assert not DatabaseSession().exists(former.session_key)
    assert (tmp_path / "var" / "sessions").is_dir()


def test_the_middleware_is_a_subclass_as_the_page_says() -> None:
    """And the default of Django is never Secure."""
    assert DJANGO.endswith(SessionMiddleware.__bases__[0].__name__)
    assert global_settings.SESSION_COOKIE_SECURE is False
