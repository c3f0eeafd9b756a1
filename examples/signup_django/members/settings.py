"""The settings of the site. What it writes is in ``var/signup_django`` of the repository."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2]
VAR = EXAMPLES.parent / "var" / "signup_django"
VAR.mkdir(mode=0o700, parents=True, exist_ok=True)  # the users are in here


def secret_key() -> str:
    """Return the key that signs the cookies; the first start makes one."""
    if given := os.environ.get("SECRET_KEY"):
        return given
    file = VAR / "secret_key"
    if not file.exists():
        made = VAR / f"secret_key.{os.getpid()}"
        made.touch(mode=0o600)  # who reads the key can forge cookies
        made.write_text(secrets.token_hex(), "ascii")
        with contextlib.suppress(FileExistsError):  # several workers start at once
            file.hardlink_to(made)
        made.unlink()
    return file.read_text("ascii")


SECRET_KEY = secret_key()
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
ROOT_URLCONF = "members.urls"
LOGIN_REDIRECT_URL = "home"
USE_TZ = True

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "members",
]
MIDDLEWARE = [
    "members.headers.security_headers",
    "django.middleware.security.SecurityMiddleware",
    "glimr_session.django.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

SESSION_ENGINE = "glimr_session.django"
GLIMR_SESSION = {"store": "disk", "disk": {"directory": str(VAR / "sessions")}}
CSRF_USE_SESSIONS = True
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

TEMPLATES = [
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
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": VAR / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
STATIC_URL = "/static/"
STATICFILES_DIRS = [EXAMPLES / "signup" / "static"]  # the style is that of the first demo
