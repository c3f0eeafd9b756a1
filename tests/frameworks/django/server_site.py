"""A Django site for a real server, whose requests wait for each other."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

from tests.support.servers import PATIENCE

AT_ONCE = 5


def begin(request: Any) -> JsonResponse:
    request.session["cart"] = {}
    return JsonResponse({})


def add(request: Any, item: str) -> JsonResponse:
    """Read the session, wait until all others have too, and change it."""
    assert request.session["cart"] == {}
    meeting = Path(os.environ["MEETING"])
    (meeting / item).touch()
    deadline = time.monotonic() + PATIENCE
    while len([*meeting.iterdir()]) < AT_ONCE:
        assert time.monotonic() < deadline, "the others never came"
        time.sleep(0.005)
    request.session["cart"][item] = os.getpid()
    request.session[item] = True
    request.session.increment("added")
    return JsonResponse({})


def read(request: Any) -> JsonResponse:
    return JsonResponse(dict(request.session))


urlpatterns = [path("begin", begin), path("add/<item>", add), path("read", read)]


def application() -> Any:
    """Return the site; the store is set by the environment."""
    settings.configure(
        SECRET_KEY="a key for the tests of Django, long enough",
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[os.environ["SESSION_MIDDLEWARE"]],
        SESSION_ENGINE="glimr_session.django",
    )
    django.setup()
    return get_wsgi_application()
