"""GlimrSession: sessions for Flask, in place of Flask's own. See docs/flask.md."""

from __future__ import annotations

import copy
import functools
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import flask
from flask import Flask, Request, Response
from flask.sessions import SecureCookieSessionInterface, SessionInterface, SessionMixin
from itsdangerous import BadData
from werkzeug.exceptions import ServiceUnavailable

from ._request.live_session import LiveSession, owner_keys
from ._request.manager import SessionManager
from ._request.origin import Origin
from ._request.request_session import RequestSession
from ._session.serialization import StoredSession, encode_value
from ._session.values import Json, validate_value
from ._validation import check_framework_keys
from .config import SessionConfig
from .errors import ConfigError, SessionError, SessionTooLarge, StoreUnavailable
from .stores.base import SessionStore
from .stores.moving import ForeignSessions

__all__ = ["FlaskSession", "GlimrSession", "session", "signed_cookies"]

# When one of these changes, as in the factory of a test, the application gets another manager.
_SETTINGS: Final = (
    "SECRET_KEY", "SECRET_KEY_FALLBACKS", "SESSION_COOKIE_NAME", "SESSION_COOKIE_DOMAIN",
    "SESSION_COOKIE_PATH", "SESSION_COOKIE_SECURE", "SESSION_COOKIE_HTTPONLY", "APPLICATION_ROOT",
    "SESSION_COOKIE_SAMESITE", "SESSION_COOKIE_PARTITIONED", "PERMANENT_SESSION_LIFETIME",
    "GLIMR_SESSION",
)  # fmt: skip

_LOGIN_KEY: Final = "_user_id"  # Flask-Login's

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})


class FlaskSession(LiveSession, SessionMixin):
    """``flask.session``: a dict that holds what Flask's own sessions can, and has our verbs."""

    failed = _accessed = _modified = False  # failed to be saved: the response is an error page
    outage: StoreUnavailable | None = None  # the store could not be read

    def __init__(self, request: RequestSession, app: Flask, config: SessionConfig) -> None:
        login_keys = {_LOGIN_KEY, config.login_key or _LOGIN_KEY}
        super().__init__(request, login_keys, owner_keys(config, _LOGIN_KEY))
        self.config, self._json = config, app.json

    def encode(self, key: str, value: Any) -> Json:
        if type(value) in _SCALARS:
            return validate_value(key, value)
        try:
            # Unsorted: another order of a dict's keys would count as a change.
            text = self._json.dumps(GlimrSession.serializer.tag(value), sort_keys=False)
        except (TypeError, ValueError, RecursionError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"session[{key!r}] cannot be saved: {error}") from error
        return validate_value(key, json.loads(text))

    def decode(self, values: dict[str, Json]) -> dict[str, Any]:
        text = encode_value(values)
        found: dict[str, Any] = self._json.loads(text)
        if b'{" ' not in text:  # tags begin with a space
            return found
        return {key: _untag(value) for key, value in found.items()}

    def read(self) -> None:
        try:
            super().read()
        except StoreUnavailable as error:
            self.outage = error.with_traceback(None)
            self._emptied()  # for the page that tells of it; nothing is kept
            raise

    def _begin_change(self) -> None:
        if self.outage is None and not (self.failed and self.request.finished):
            super()._begin_change()

    def write(self) -> None:
        if self.outage is not None:
            return
        if self._found is not None and self.config.expire_on_close:
            permanent = bool(dict.get(self, "_permanent"))
            if permanent != bool(self._found.get("_permanent")):
                self.session.expire_on_close(not permanent)
        super().write()

    def pop(self, key: str, *default: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not self.request.finished:
            return super().pop(key, *default)
        self.read()  # as get_flashed_messages() does in a test, after the response
        return dict.pop(self, key, *default)

    def clear(self) -> None:
        """Log out: remove everything, destroy what is stored and go on under a new id."""
        self.invalidate()

    @property
    def new(self) -> bool:  # type: ignore[override]
        """Whether there was no session when the request came."""
        self.read()
        return self.request.fetch() is None

    @property
    def modified(self) -> bool:
        """Whether the session was changed, nested values too. Setting it is not necessary."""
        found = self._found
        self.write()
        self._modified |= found is not None and found != self._found
        return self._modified

    @modified.setter
    def modified(self, value: bool) -> None:
        self._modified = value

    @property
    def accessed(self) -> bool:
        """Whether the session was used: the response then says so in ``Vary``."""
        return self._accessed or super().accessed

    @accessed.setter
    def accessed(self, value: bool) -> None:  # by Flask, from 3.1.3 on
        self._accessed = value

    def save(self, response: Response) -> None:
        """Commit, and set the headers; what a streamed body changes is committed at its end."""
        response.headers[:] = self.response_headers(
            response.status_code,
            [*response.headers],
            origin=lambda: Origin.from_cgi(flask.request.environ),
            last=not response.is_streamed,
        )
        if response.is_streamed:
            response.call_on_close(self.flush)


class GlimrSession(SessionInterface):
    """Replaces Flask's sessions: ``GlimrSession(app)``, or ``init_app(app)`` for each application.

    Args:
        app: the application; None if ``init_app`` is to be called.
        config: all settings, or a dict of the shape of ``session.toml``; None takes
            ``app.config["GLIMR_SESSION"]``. A dict beats Flask's own settings, such as
            ``SESSION_COOKIE_NAME``, and variables such as ``GLIMR_SESSION_STORE`` beat both.
        store: beats the one of ``setup()``, which beats that of the settings.

    Raises:
        ConfigError: a setting is wrong, or the ``SECRET_KEY`` can be guessed.
    """

    serializer = SecureCookieSessionInterface.serializer  # with the tags that were registered

    def __init__(
        self,
        app: Flask | None = None,
        config: SessionConfig | Mapping[str, Any] | None = None,
        *,
        store: SessionStore | None = None,
    ) -> None:
        self._config, self._store = config, store
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Give an application these sessions. Its settings may still change afterwards."""
        app.extensions.pop("glimr_session", None)
        app.session_interface = self
        if StoreUnavailable not in app.error_handler_spec[None][None]:
            app.register_error_handler(StoreUnavailable, functools.partial(_answer_outage, app))
        with app.app_context():
            self._settings_of(app)

    def open_session(self, app: Flask, request: Request) -> FlaskSession | None:
        config, manager = self._settings_of(app)
        if config is None or manager is None:
            return None  # Flask says, at the first write, that there is no secret key
        header = request.environ.get(manager.environ_key, "")
        return FlaskSession(manager.begin(header), app, config)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        assert isinstance(session, FlaskSession)  # noqa: S101  # open_session has returned it
        if session.failed or session.outage:  # this is the error page
            session.request.abandon()
            if session.outage and response.status_code == 500:  # nobody has answered it
                _replace(response, app.make_response(app.handle_user_exception(session.outage)))
        else:
            session.failed = True
            try:
                session.save(response)
                session.failed = False
            except (StoreUnavailable, SessionTooLarge) as error:
                current: object = flask.session._get_current_object()  # type: ignore[attr-defined]
                if session is not current:  # that of session_transaction(), which drops responses
                    raise
                answer = app.make_response(app.handle_user_exception(error))
                _replace(response, app.process_response(answer))
        if session.accessed:
            response.headers[:] = session.request.vary([*response.headers])

    def _settings_of(self, app: Flask) -> tuple[SessionConfig | None, SessionManager | None]:
        """Return what the settings ask for now; they are read again when they have changed."""
        settings = tuple(map(app.config.get, _SETTINGS))
        known, config, manager = app.extensions.get("glimr_session") or (None, None, None)
        if settings != known:
            config = self._config_of(app)
            manager = SessionManager.from_config(config, self._store) if config else None
            app.extensions["glimr_session"] = (copy.deepcopy(settings), config, manager)
        return config, manager

    def _config_of(self, app: Flask) -> SessionConfig | None:
        """Return the settings, or None if there is no secret key."""
        own = app.config.get("GLIMR_SESSION") if self._config is None else self._config
        if isinstance(own, SessionConfig):
            config = own
        else:
            given, defaults = own or {}, self._defaults(app)
            has_keys = isinstance(given, Mapping) and given.get("secret_keys")
            if not (has_keys or os.environ.get("GLIMR_SESSION_SECRET_KEYS")):
                defaults["secret_keys"] = _secret_keys(app)  # before encrypt asks for some
            config = SessionConfig.from_mapping(given, os.environ, defaults=defaults)
        if not config.secret_keys:
            config = replace(config, secret_keys=_secret_keys(app))
        return config if config.secret_keys else None

    def _defaults(self, app: Flask) -> dict[str, Any]:
        """Return what Flask's own settings say."""
        if not self.get_cookie_httponly(app):
            raise ConfigError("SESSION_COOKIE_HTTPONLY: no script may read it; remove the setting")
        return {
            "cookie": self.get_cookie_name(app),
            "cookie_domain": self.get_cookie_domain(app) or "",
            "cookie_path": self.get_cookie_path(app),
            "cookie_samesite": str(self.get_cookie_samesite(app) or "Lax").title(),
            "cookie_secure": self.get_cookie_secure(app) or "auto",
            "cookie_partitioned": app.config.get("SESSION_COOKIE_PARTITIONED", False),
            "lifetime": app.permanent_session_lifetime.total_seconds() / 60,
            "expire_on_close": True,  # unless session.permanent is set
            "disk_directory": str(Path(app.instance_path) / "sessions"),
        }


def signed_cookies() -> ForeignSessions:
    """Return Flask's own sessions: ``move_from = "glimr_session.flask:signed_cookies"``."""
    own, app = SecureCookieSessionInterface(), flask.current_app
    serializer = own.get_signing_serializer(app)
    lifetime = int(app.permanent_session_lifetime.total_seconds())

    def load(value: str) -> dict[str, Any] | None:
        try:
            data = serializer.loads(value, max_age=lifetime) if serializer else {}
        except BadData:
            return None
        tagged = {key: own.serializer.tag(item) for key, item in data.items()}
        return json.loads(flask.json.dumps(tagged))  # type: ignore[no-any-return]

    return _SignedCookies(own.get_cookie_name(app), load, lifetime=lifetime)


class _SignedCookies(ForeignSessions):
    def open(self, cookie_value: str) -> StoredSession | None:
        stored = super().open(cookie_value)
        return stored and stored._replace(expire_on_close=not stored.data.get("_permanent"))


session: Final[FlaskSession] = flask.session  # type: ignore[assignment]
"""``flask.session``, with our verbs for type checkers."""


class _Unavailable(SessionError, ServiceUnavailable):
    """An outage as an application's handlers may know it: by 503, or by one of these classes."""


def _answer_outage(app: Flask, error: StoreUnavailable) -> Any:
    """Answer 503, unless errors propagate and the application has no handler."""
    unavailable = _Unavailable()
    answer = app.handle_http_exception(unavailable)
    propagate = app.config["PROPAGATE_EXCEPTIONS"]
    if answer is unavailable and (app.testing or app.debug if propagate is None else propagate):
        raise error
    flask.got_request_exception.send(app, _async_wrapper=app.ensure_sync, exception=error)
    app.log_exception((type(error), error, error.__traceback__))  # type: ignore[arg-type]
    return answer


def _replace(response: Response, answer: Response) -> None:
    """Turn a response into another one: Flask goes on with the object that it has."""
    getattr(response.response, "close", lambda: None)()
    response.status, response.response = answer.status, answer.response
    response.headers[:] = [*answer.headers]
    response.direct_passthrough = answer.direct_passthrough
    response.call_on_close(answer.close)


def _untag(value: Any) -> Any:
    if isinstance(value, dict):
        return GlimrSession.serializer.untag({key: _untag(value[key]) for key in value})
    return [_untag(item) for item in value] if isinstance(value, list) else value


def _secret_keys(app: Flask) -> list[str]:
    """Return Flask's keys as text, the one that signs first; none if there is no SECRET_KEY."""
    fallbacks = app.config.get("SECRET_KEY_FALLBACKS") or ()
    if isinstance(fallbacks, str | bytes):
        raise ConfigError("SECRET_KEY_FALLBACKS is a list of keys, and not one key")
    found = [app.secret_key, *fallbacks] if app.secret_key else []
    keys = [
        (k.decode() if k.isascii() else k.hex()) if isinstance(k, bytes) else str(k) for k in found
    ]
    check_framework_keys(keys)
    return keys
