"""A Django site whose views are what a test tells them to do."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import Client
from django.urls import path

Action: TypeAlias = Callable[[Any], Any]
AsyncAction: TypeAlias = Callable[[Any], Awaitable[Any]]

_actions: dict[str, Any] = {}


def view(request: HttpRequest, name: str) -> Any:
    """Do what the test wants; an answer that is no response is sent as JSON."""
    found = _actions[name](request)
    return found if hasattr(found, "status_code") else JsonResponse(found, safe=False)


async def async_view(request: HttpRequest, name: str) -> Any:
    found = await _actions[name](request)
    return found if hasattr(found, "status_code") else JsonResponse(found, safe=False)


def count(request: Any, key: str) -> HttpResponse:
    """Add one to a number in a dict, as people do, and to one of our own."""
    counts = request.session.setdefault("counts", {})
    counts[key] = counts.get(key, 0) + 1
    request.session.modified = True
    return JsonResponse({"counts": counts, "visits": request.session.increment("visits")})


def read(request: Any) -> HttpResponse:
    return JsonResponse(dict(request.session))


urlpatterns = [
    path("admin/", admin.site.urls),
    path("do/<name>", view),
    path("async/<name>", async_view),
    path("count/<key>", count),
    path("read", read),
]


def browser(**options: Any) -> Any:
    """Return Django's test client, which has no types."""
    return Client(**options)


def visit(client: Any, action: Action, **headers: Any) -> Any:
    """Have the site do something in a request of its own; return the response."""
    name = secrets.token_hex(8)
    _actions[name] = action
    try:
        return client.get(f"/do/{name}", **headers)
    finally:
        del _actions[name]


async def avisit(client: Any, action: AsyncAction) -> Any:
    """As ``visit``, for an event loop."""
    name = secrets.token_hex(8)
    _actions[name] = action
    try:
        return await client.get(f"/async/{name}")
    finally:
        del _actions[name]


def data_of(client: Any) -> dict[str, Any]:
    """Return what the next request of this browser finds in its session."""
    found: dict[str, Any] = client.get("/read").json()
    return found
