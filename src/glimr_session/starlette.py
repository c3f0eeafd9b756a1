"""From Starlette's SessionMiddleware to ours: its settings, and its cookies."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from datetime import timedelta
from typing import Any, Final, Literal, TypedDict

from itsdangerous import BadSignature, TimestampSigner

from ._validation import check_secret_keys, to_seconds
from .config import SessionConfig
from .errors import ConfigError
from .stores.base import SessionStore
from .stores.moving import ForeignSessions

__all__ = ["StarletteSettings", "config_of", "signed_cookies"]

_COOKIE: Final = "session"
_MAX_AGE: Final = timedelta(days=14)


class StarletteSettings(TypedDict, total=False):
    """What Starlette's SessionMiddleware takes, and ours, too.

    Attributes:
        secret_key: signs the cookie.
        session_cookie: its name; "session" is the default.
        max_age: the idle timeout in seconds, 14 days by default; None: the cookie ends with the
            browser, and the session 14 days after its last use. A store has a ``lifetime`` of its
            own instead.
        path: the cookie's path.
        same_site: "lax", "strict" or "none".
        https_only: True: always Secure. Otherwise except for plain HTTP on this machine's names.
        domain: the cookie's domain; None: this host alone.
        partitioned: whether the cookie is for pages that are embedded in one site only.
    """

    secret_key: object
    session_cookie: str
    max_age: float | None
    path: str
    same_site: Literal["lax", "strict", "none"]
    https_only: bool
    domain: str | None
    partitioned: bool


def config_of(
    settings: StarletteSettings, config: object = None, store: SessionStore | None = None
) -> SessionConfig:
    """Return the configuration that Starlette's settings ask for: sessions in the cookie.

    Args:
        settings: Starlette's.
        config: what else was given to configure the middleware; None is right.
        store: where the sessions are kept, if not in the cookie. Its own lifetime holds.

    Raises:
        ConfigError: a setting cannot work; the message names it as Starlette does.

    Example:
        >>> config_of({"secret_key": "oUv7 - 32 characters, made at random"}).cookie
        'session'
    """
    unknown = settings.keys() - StarletteSettings.__annotations__.keys()
    if unknown:
        known = ", ".join(StarletteSettings.__annotations__)
        raise ConfigError(
            f"{min(unknown)}: no setting of Starlette's SessionMiddleware, which are {known}. "
            "Others go into config: SessionMiddleware(app, SessionConfig(...))"
        )
    if config is not None:
        raise ConfigError(
            f"{min(settings)}: give config, or Starlette's settings, and not both. "
            f"In config it is {_NAMES[min(settings)]}"
        )
    key = str(settings.get("secret_key", ""))
    max_age = settings.get("max_age", _MAX_AGE)
    if "max_age" in settings and max_age and store is not None and store.lifetime:
        raise ConfigError(
            f"max_age: the store has a lifetime of its own, {store.lifetime:g} s; remove max_age, "
            f"and give the store what it said: {type(store).__name__}(..., lifetime={max_age})"
        )
    same_site = settings.get("same_site", "lax")
    try:
        check_secret_keys([key])
        return SessionConfig(
            store="cookie",
            secret_keys=[key],
            cookie=settings.get("session_cookie", _COOKIE),
            lifetime=to_seconds("max_age", _MAX_AGE if max_age is None else max_age),
            expire_on_close=max_age is None,
            cookie_path=settings.get("path", "/"),
            cookie_samesite=same_site.title() if isinstance(same_site, str) else same_site,
            cookie_secure=settings.get("https_only", False) or "auto",
            cookie_domain=settings.get("domain") or "",
            cookie_partitioned=settings.get("partitioned", False),
        )
    except ConfigError as error:
        message = str(error).replace("set GLIMR_SESSION_SECRET_KEYS to it", "pass it as secret_key")
        raise ConfigError(_renamed(message)) from None


_NAMES: Final = {
    "secret_key": "secret_keys",
    "session_cookie": "cookie",
    "max_age": "lifetime",
    "path": "cookie_path",
    "same_site": "cookie_samesite",
    "https_only": "cookie_secure",
    "domain": "cookie_domain",
    "partitioned": "cookie_partitioned",
}
_THEIRS: Final = {ours: theirs for theirs, ours in _NAMES.items()}


def _renamed(message: str) -> str:
    """Return an error message with the names that Starlette has for the settings."""
    ours = r"\b(secret_keys|cookie_\w+|cookie(?=:| =))"
    return re.sub(ours, lambda found: _THEIRS[found[0]], message.replace("[0]", ""))


def signed_cookies(config: SessionConfig) -> ForeignSessions:
    """Return Starlette's own sessions: ``move_from = "glimr_session.starlette:signed_cookies"``.

    They are in a cookie ``session`` that one of ``secret_keys`` has signed, and last as long as the
    configured ``lifetime``.
    """
    signers = [TimestampSigner(key) for key in config.secret_keys]
    lifetime = to_seconds("lifetime", config.lifetime)

    def load(value: str) -> dict[str, Any] | None:
        for signer in signers:
            try:
                data = json.loads(b64decode(signer.unsign(value, max_age=int(lifetime))))
            except (BadSignature, ValueError):
                continue
            return data if isinstance(data, dict) else None
        return None

    return ForeignSessions(_COOKIE, load, lifetime=lifetime)
