"""Django's settings for these tests, and what they share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import django
import pytest
from django.conf import settings
from django.test.utils import override_settings

KEY: Final = "a key for the tests of Django, long enough"

MIDDLEWARE: Final = {
    "django's": "django.contrib.sessions.middleware.SessionMiddleware",
    "ours": "glimr_session.django.SessionMiddleware",
}

if not settings.configured:
    settings.configure(
        SECRET_KEY=KEY,
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="tests.frameworks.django.site",
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": "file:tests_frameworks_django?mode=memory&cache=shared",
                "OPTIONS": {"uri": True},
            }
        },
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.sessions",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        SESSION_ENGINE="glimr_session.django",
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        STATIC_URL="/static/",
        USE_TZ=True,
        LOGGING_CONFIG=None,
    )
    django.setup()


@pytest.fixture(scope="session")
def database() -> Iterator[None]:
    """Tables in memory, and two people."""
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.db import connections

    call_command("migrate", verbosity=0)
    User.objects.create_superuser("ada", password="correct horse")
    User.objects.create_user("grace", password="battery staple")
    yield
    connections.close_all()


@pytest.fixture
def people(database: None) -> Any:
    from django.contrib.auth.models import User

    return User.objects


@pytest.fixture
def glimr(tmp_path: Path) -> dict[str, Any]:
    """GLIMR_SESSION, as the tests have it."""
    return {"disk": {"directory": str(tmp_path / "sessions")}, "gc": "never"}


@pytest.fixture(autouse=True)
def _settings(glimr: dict[str, Any]) -> Iterator[None]:
    with override_settings(GLIMR_SESSION=glimr):
        yield


def site_with(name: str, **more: Any) -> override_settings:
    """Return the settings of a site with this middleware for sessions."""
    return override_settings(
        MIDDLEWARE=[
            MIDDLEWARE[name],
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        **more,
    )


@pytest.fixture(params=MIDDLEWARE)
def middleware(request: pytest.FixtureRequest) -> Iterator[str]:
    """Django's own middleware, and ours."""
    with site_with(request.param):
        yield request.param


@pytest.fixture
def ours() -> Iterator[None]:
    """Our middleware."""
    with site_with("ours"):
        yield
