"""What Django demands of each of its session engines, demanded of the configured one."""

from __future__ import annotations

from importlib import import_module

from django.conf import settings
from django.test import TestCase
from sessions_tests.tests import SessionTestsMixin  # type: ignore[import-not-found]  # Django's


class ConfiguredEngineTests(SessionTestsMixin, TestCase):  # type: ignore[misc]  # not typed
    backend = import_module(settings.SESSION_ENGINE).SessionStore
