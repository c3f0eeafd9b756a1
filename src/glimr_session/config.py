"""SessionConfig: the settings, read from anywhere and checked once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, NamedTuple, Self

from ._session.sealing import Sealer
from ._validation import (
    MAKE_A_KEY,
    Duration,
    check_chance,
    check_cookie_attributes,
    check_durability,
    check_mode,
    check_secret_keys,
    import_string,
    safe_repr,
    to_seconds,
)
from .errors import ConfigError
from .stores.base import DEFAULT_LIFETIME, SessionStore
from .stores.cookie import cookie_store

__all__ = ["CONFIG_VARIABLE", "SessionConfig"]

_PREFIX: Final = "GLIMR_SESSION_"

CONFIG_VARIABLE: Final = "GLIMR_SESSION_CONFIG"
"""Names the file of settings for the command ``glimr-session``; it is no setting itself."""

_REFERENCE: Final = r"\w+(\.\w+)*:\w+"

# Kubernetes sets these for services named glimr-session..., and Docker for a link of that name:
# GLIMR_SESSION_SERVICE_HOST, GLIMR_SESSION_PORT_8000_TCP_ADDR, GLIMR_SESSION_NAME=/web/...
_OF_A_SERVICE: Final = re.compile(
    r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)=.*"
    r"|ENV_.*|NAME=/.*",
    re.DOTALL,
)


class _Field(NamedTuple):
    """A kind of setting: what is allowed, in words and as a test, and how to parse text."""

    allowed: str
    fits: Callable[[object], bool]
    parse: Callable[[str], object] = str


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list_of_strings(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def _parse_flag(text: str) -> object:
    return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)


def _parse_count(text: str) -> object:
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text, re.ASCII) else text


def _parse_number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


_TEXT: Final = _Field("a string", lambda value: isinstance(value, str))
_FLAG: Final = _Field("true or false", lambda value: isinstance(value, bool), _parse_flag)
_NUMBER: Final = _Field("a number", _is_number, _parse_number)
_MINUTES: Final = _Field("a number of minutes", _is_number, _parse_number)
_COUNT: Final = _Field(
    "a whole number from 0 to 1,000,000",
    lambda value: type(value) is int and 0 <= value <= 1_000_000,
    _parse_count,
)

# One line for each setting of a file, a mapping or the environment.
_FIELDS: Final = {
    "store": _TEXT,
    "cookie": _TEXT,
    "cookie_path": _TEXT,
    "cookie_domain": _TEXT,
    "cookie_samesite": _TEXT,
    "cookie_secure": _Field(
        'true, false or "auto"',
        lambda value: isinstance(value, bool) or value == "auto",
        _parse_flag,
    ),
    "cookie_partitioned": _FLAG,
    "lifetime": _MINUTES,
    "absolute_lifetime": _MINUTES,
    "expire_on_close": _FLAG,
    "flash_until_read": _FLAG,
    "commit_on_error": _FLAG,
    "encrypt": _FLAG,
    "transport": _TEXT,
    "metrics": _TEXT,
    "key": _TEXT,
    "login_key": _TEXT,
    "owner_from_login": _FLAG,
    "gc": _TEXT,
    "gc_chance": _NUMBER,
    "gc_interval": _MINUTES,
    "secret_keys": _Field(
        "a list of strings",
        _is_list_of_strings,
        lambda text: [key.strip() for key in text.split(",") if key.strip()],
    ),
    "rotation_grace": _MINUTES,
    "cookie_revocations": _TEXT,
    "cookie_overflow": _TEXT,
    "disk_directory": _TEXT,
    "disk_durability": _TEXT,
    "disk_mode": _Field(
        'an octal number in quotes, as "0700"', lambda value: isinstance(value, str)
    ),
    "redis_url": _TEXT,
    "redis_prefix": _TEXT,
    "redis_max_connections": _COUNT,
    "sql_url": _TEXT,
    "sql_table": _TEXT,
    "sql_max_connections": _COUNT,
    "sql_prepare_threshold": _COUNT,
    "move_from": _TEXT,
}

_STORES: Final = ("disk", "cookie", "redis", "sql")
_SERVER_STORES: Final = ("disk", "redis", "sql")

_URL_EXAMPLES: Final = {
    "redis": '"redis://127.0.0.1:6379/0"',
    "sql": '"postgresql://user:password@127.0.0.1/shop"',
}

_TABLES: Final = {
    "disk": '{"disk": {"directory": "var/sessions"}}',
    "redis": '{"redis": {"url": "redis://127.0.0.1:6379/0"}}',
    "sql": '{"sql": {"url": "postgresql://127.0.0.1/shop"}}',
}

# Messages name the type of these and not the value: a URL may have a password in it.
_SECRET: Final = frozenset({"secret_keys", "redis_url", "sql_url"})


@dataclass(frozen=True, kw_only=True)
class SessionConfig:
    """All settings, checked when the configuration is made.

    Durations are a ``datetime.timedelta`` or a number of seconds here, and minutes in files,
    mappings and the environment.

    Raises:
        ConfigError: a setting is wrong; the message names it, its value and what is allowed.

    Example:
        >>> SessionConfig(store="cookie", lifetime=timedelta(minutes=30)).cookie_samesite
        'Lax'
        >>> SessionConfig.from_mapping({"store": "disk", "disk": {"directory": "/var/lib/shop"}})
        ... # doctest: +ELLIPSIS
        SessionConfig(store='disk', cookie='glimr_session', ...
    """

    store: str = "disk"
    """"disk", "cookie", "redis", "sql", or "package.module:factory": a function of this
    configuration, or of nothing, that returns a SessionStore."""

    cookie: str = "glimr_session"
    """The cookie's name."""

    cookie_path: str = "/"

    cookie_domain: str = ""
    """Empty: this host alone, which is safest."""

    cookie_samesite: str = "Lax"

    cookie_secure: bool | str = "auto"
    """"auto": Secure, except for plain HTTP on this machine's own names."""

    cookie_partitioned: bool = False

    lifetime: Duration = DEFAULT_LIFETIME
    """From the last use to the end: the idle timeout."""

    absolute_lifetime: Duration = timedelta(0)
    """From the making of the id to the end, however busy: the absolute timeout. 0: none."""

    expire_on_close: bool = False
    """Whether the cookie ends with the browser. The lifetimes hold all the same."""

    flash_until_read: bool = False
    """Whether a flash stays until it is read, instead of until the next request that uses
    its session."""

    commit_on_error: bool = False
    """Whether a response of 500 and above commits. If not, it keeps nothing of its request."""

    key: str = "glimr.session"
    """Where a handler finds the session, as in ``environ["glimr.session"]``. A second session
    beside the first needs another key and another ``cookie``."""

    login_key: str = ""
    """A key whose value names the user who is logged in, for frameworks and ASGI, beside the
    framework's own: when its value is replaced, the session gets a new id."""

    owner_from_login: bool = False
    """Whether a login gives the session to its user, for frameworks: ``belongs_to`` is called with
    the value of the key that names the user, when that is set, replaced or removed."""

    transport: str = "cookie"
    """How the session reaches the server: "cookie"; or "header", for programs: ``X-Session-Token``
    in the request, and in the response when it changes."""

    encrypt: bool = False
    """Whether sessions are encrypted, in the cookie and at rest, with keys that are derived from
    ``secret_keys``. What was stored before is read all the same."""

    metrics: str = ""
    """"prometheus", "opentelemetry", or "package.module:factory": a function that returns a
    ``SessionMetrics``. "": nothing is counted."""

    gc: str | Callable[[], bool] = "lottery"
    """"lottery", "interval", "never", "package.module:policy", or a function that is called
    after each request that committed, and returns whether to collect."""

    gc_chance: float = 0.02
    """The chance of the lottery, as in the reference."""

    gc_interval: Duration = timedelta(minutes=5)

    secret_keys: tuple[str, ...] | list[str] = field(default=(), repr=False)
    """The first signs, all verify. To rotate, put a new one behind the old one everywhere, then
    in front, and drop the old one when the sessions it signed have ended."""

    rotation_grace: Duration = timedelta(0)
    """For how long a cookie that does not verify, but looks like ours, is left alone: a worker
    may have signed it with a key that this one is yet to be given. 0: none is."""

    cookie_revocations: str = ""
    """Where ``store = "cookie"`` remembers whose sessions were ended: "disk", "redis", "sql" or
    "package.module:factory". Each request with a session that belongs to somebody reads there
    once. "": sessions in cookies cannot be ended."""

    cookie_overflow: str = ""
    """Where ``store = "cookie"`` keeps a session that does not fit into its cookie, likewise. "":
    it is refused, with SessionTooLarge."""

    disk_directory: str | os.PathLike[str] = "var/sessions"
    """The directory of the disk store's database; nothing else may be in it. ``~`` and
    ``$NAME`` are expanded. See ``from_toml`` for what a relative one is relative to."""

    disk_durability: str = "process"
    """Which failure an acknowledged commit survives: "process", the death of the process, or
    "power", that of the machine; then each commit waits for the disk."""

    disk_mode: str = "0700"
    """The most that the permissions of the disk store's directory may be, in octal: "2770",
    say, where the platform sets them. The files in it are the owner's alone, unless the group
    may write: then everybody in the group can read and forge sessions."""

    redis_url: str = field(default="", repr=False)
    """Where the Redis store's server is; see ``RedisStore``."""

    redis_prefix: str = "glimr_session:"
    """What its keys begin with."""

    redis_max_connections: int = 50
    """How many connections a process opens to it at most."""

    sql_url: str = field(default="", repr=False)
    """Where the SQL store's database is, as SQLAlchemy writes it; see ``SqlStore``."""

    sql_table: str = "glimr_sessions"
    """Its table, which ``glimr-session sql-schema`` prints and ``create_table()`` makes."""

    sql_max_connections: int = 20
    """How many connections a process opens to it at most."""

    sql_prepare_threshold: int = 5
    """After how many uses psycopg prepares a statement on the server; 0: never, as behind
    PgBouncer in transaction mode."""

    move_from: str = ""
    """The store that the sessions were in before, named as in ``store``: each is taken out of
    it when it is next used. "": they begin anew."""

    def __post_init__(self) -> None:
        for name, kind in _FIELDS.items():
            value = getattr(self, name)
            python_only = (
                kind is _MINUTES  # a Duration, see below
                or (name == "gc" and callable(value))
                or (name == "disk_directory" and isinstance(value, os.PathLike))
            )
            if not python_only:
                _check(name, value)
        object.__setattr__(self, "secret_keys", tuple(self.secret_keys))
        check_secret_keys(self.secret_keys)
        check_cookie_attributes(
            name=self.cookie,
            path=self.cookie_path,
            domain=self.cookie_domain,
            samesite=self.cookie_samesite,
            secure=self.secure,
            partitioned=self.cookie_partitioned,
        )
        # PEP 3333: names of the server's in the environ.
        if not self.key or self.key.startswith("wsgi.") or self.key.isupper():
            belongs = "belongs to the server" if self.key else "is no name"
            raise ConfigError(
                f"key: {self.key!r} {belongs}; use letters and dots, as in "
                '"glimr.session" or "shop.session"'
            )
        _check_choice("store", self.store, _STORES, "package.module:factory")
        if self.move_from:
            _check_choice("move_from", self.move_from, _STORES, "package.module:factory")
            if self.store == "cookie":
                raise ConfigError(
                    'move_from: sessions cannot be moved into cookies. Set store = "disk", '
                    '"redis" or "sql", or remove move_from'
                )
            if self.move_from == self.store:
                raise ConfigError(
                    f"move_from: {self.move_from!r} is the store itself. Name the one that the "
                    "sessions were in before, or remove move_from"
                )
        for setting in ("cookie_revocations", "cookie_overflow"):
            name = getattr(self, setting)
            if name:
                _check_choice(setting, name, _SERVER_STORES, "package.module:factory")
                if "cookie" not in (self.store, self.move_from):
                    raise ConfigError(
                        f'{setting} is for store = "cookie", and the store is {self.store!r}; '
                        "remove it"
                    )
        for setting in ("store", "move_from", "cookie_revocations", "cookie_overflow"):
            name = getattr(self, setting)
            if name in _URL_EXAMPLES and not getattr(self, f"{name}_url"):
                raise ConfigError(
                    f'{setting} = "{name}" needs {name}_url, which is url in the table [{name}], '
                    f"as {_URL_EXAMPLES[name]}"
                )
        if self.transport not in ("cookie", "header"):
            raise ConfigError(f'transport: {_quoted(self.transport)} is not "cookie" or "header"')
        if self.metrics:
            names = ("prometheus", "opentelemetry")
            _check_choice("metrics", self.metrics, names, "package.module:factory")
        if self.encrypt and not self.secret_keys:
            raise ConfigError(f"encrypt = true needs secret_keys. {MAKE_A_KEY}")
        _check_choice("gc", self.gc, ("lottery", "interval", "never"), "package.module:policy")
        check_durability("disk_durability", self.disk_durability)
        check_mode("disk_mode", self.disk_mode)
        idle = to_seconds("lifetime", self.lifetime)
        absolute = to_seconds("absolute_lifetime", self.absolute_lifetime, allow_zero=True)
        if 0 < absolute < idle:
            raise ConfigError(
                f"absolute_lifetime ({absolute:g} s) is shorter than lifetime ({idle:g} s), so "
                "lifetime would mean nothing; make it the longer one, or 0 for none"
            )
        to_seconds("gc_interval", self.gc_interval)
        to_seconds("rotation_grace", self.rotation_grace, allow_zero=True)
        check_chance(self.gc_chance)

    @classmethod
    def from_toml(
        cls, path: str | os.PathLike[str], environ: Mapping[str, str] | None = None
    ) -> Self:
        """Read a TOML file; variables of the environment beat what it says.

        A relative directory is relative to that of the file, the default one too, so that a
        server and a cron job find the same sessions. One that the environment sets is
        relative to the working directory.

        Args:
            path: where the file is.
            environ: ``os.environ`` unless another one is given.
        """
        import tomllib  # who configures in code need not wait for what reads files
        from pathlib import Path

        settings: dict[str, Any] = {}
        problem = ""
        try:
            settings = tomllib.loads(Path(path).read_text("utf-8"))
        except OSError as error:
            raise ConfigError(
                f"{os.fspath(path)} cannot be read: {error.strerror}. "
                "Make the file, or use SessionConfig.from_env(os.environ)."
            ) from error
        except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or too deep
            problem = str(error)
        if problem:  # here, and not there: that error holds the file, and the keys in it
            raise ConfigError(f"{os.fspath(path)} is not TOML: {problem}")
        found = {"disk_directory": cls.disk_directory, **_flatten(settings)}
        directory = found["disk_directory"]
        if isinstance(directory, str) and directory and directory[0] not in "~$":
            found["disk_directory"] = str(Path(path).absolute().parent / directory)
        return cls._from_settings(found | _from_environ(os.environ if environ is None else environ))

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read ``GLIMR_SESSION_LIFETIME`` and its like; empty ones count as not set.

        Lists are separated by commas, a table's name stands before its key:
        ``GLIMR_SESSION_DISK_DIRECTORY``. A relative directory is relative to the working
        directory.
        """
        return cls._from_settings(_from_environ(environ))

    @classmethod
    def from_mapping(
        cls,
        mapping: Mapping[str, Any],
        environ: Mapping[str, str] | None = None,
        *,
        defaults: Mapping[str, Any] | None = None,
    ) -> Self:
        """Read a dict of the shape that ``session.toml`` has.

        A relative directory is relative to the working directory.

        Args:
            mapping: the settings.
            environ: variables that beat them, as ``os.environ``; None reads none.
            defaults: settings that they beat, as those of a framework.
        """
        settings = _flatten(defaults or {}) | _flatten(mapping) | _from_environ(environ or {})
        return cls._from_settings(settings)

    @classmethod
    def _from_settings(cls, settings: Mapping[str, Any]) -> Self:
        values: dict[str, Any] = {}
        for name, value in settings.items():
            if name == "disk_directory" and isinstance(value, os.PathLike):
                value = os.fspath(value)
            _check(name, value)
            values[name] = _timedelta(name, value) if _FIELDS[name] is _MINUTES else value
        return cls(**values)

    def make_store(self) -> SessionStore:
        """Return a new store of the kind that is configured."""
        store = self._make("store", self.store)
        if self.move_from:
            from .stores.moving import MovingStore

            store = MovingStore(store, self._make("move_from", self.move_from))
        self.equip(store)
        return self.metered(store)

    def metered(self, store: SessionStore) -> SessionStore:
        """Return a store that measures what this one does, if ``metrics`` asks for it.

        Raises:
            ConfigError: what ``metrics`` names is not installed, or does not work.
        """
        if not self.metrics:
            return store
        from . import metrics

        if isinstance(store, metrics.MeteredStore):
            return store
        known = {
            "prometheus": metrics.PrometheusMetrics,
            "opentelemetry": metrics.OpenTelemetryMetrics,
        }
        factory = known.get(self.metrics) or import_string("metrics", self.metrics)
        made = factory(self) if _takes_an_argument(factory) else factory()
        if not isinstance(made, metrics.SessionMetrics):
            raise ConfigError(
                f"metrics: {self.metrics} returned {made!r}, which is no SessionMetrics"
            )
        return metrics.MeteredStore(store, made)

    def equip(self, store: SessionStore) -> None:
        """Give a store the keys that encrypt its values, unless it has some and uses them.

        Raises:
            ConfigError: the store does not encrypt, and the setting ``encrypt`` asks for it.
        """
        if self.encrypt and not store.seals:
            raise ConfigError(
                f"encrypt = true: the store {store.kind!r} does not encrypt. Use "
                'store = "disk", "cookie", "redis" or "sql", or remove encrypt'
            )
        encrypts = store.sealer is not None and (store.sealer.seals or not self.encrypt)
        if self.secret_keys and not encrypts:
            store.sealer = Sealer(self.secret_keys, seals=self.encrypt)

    def _make(self, setting: str, name: str) -> SessionStore:
        idle, absolute = self.lifetime, self.absolute_lifetime
        if name == "cookie":
            return self._with_servers(cookie_store(lifetime=idle, absolute_lifetime=absolute))
        if name == "disk":
            from .stores.disk import disk_store  # diskcache loads Django where there is one

            return disk_store(
                self.disk_directory,
                lifetime=idle,
                absolute_lifetime=absolute,
                durability=self.disk_durability,
                mode=self.disk_mode,
            )
        if name == "redis":
            from .stores.redis import redis_store  # an extra

            return redis_store(
                self.redis_url,
                prefix=self.redis_prefix,
                max_connections=self.redis_max_connections,
                lifetime=idle,
                absolute_lifetime=absolute,
            )
        if name == "sql":
            from .stores.sql import sql_store  # an extra

            return sql_store(
                self.sql_url,
                table=self.sql_table,
                max_connections=self.sql_max_connections,
                prepare_threshold=self.sql_prepare_threshold or None,
                lifetime=idle,
                absolute_lifetime=absolute,
            )
        factory = import_string(setting, name)
        store = factory(self) if _takes_an_argument(factory) else factory()
        if not isinstance(store, SessionStore):
            raise ConfigError(
                f"{setting}: {name} returned {store!r}, which is no SessionStore; "
                "new() makes one from five functions"
            )
        return store

    def _with_servers(self, store: SessionStore) -> SessionStore:
        """Return a store of cookies, with the stores on the server that the settings name."""
        overflow, revocations = self.cookie_overflow, self.cookie_revocations
        server: SessionStore | None = None
        if overflow:
            from .stores.overflow import OverflowStore

            server = self._make("cookie_overflow", overflow)
            store = OverflowStore(store, server, limit=self._room())
        if revocations:
            from .stores.revocations import RevocableStore

            if server is None or revocations != overflow:
                server = self._make("cookie_revocations", revocations)
            store = RevocableStore(store, server, limit=self._room())
        return store

    def _room(self) -> int:
        """Return how many bytes the cookie, or the token, has for the session."""
        from .stores._spilled import ROOM_IN_TOKEN, room_in_cookie

        if self.transport == "header":
            return ROOM_IN_TOKEN
        return room_in_cookie(
            self.cookie,
            path=self.cookie_path,
            domain=self.cookie_domain,
            samesite=self.cookie_samesite,
        )

    def lifetime_with(self, store: SessionStore) -> float:
        """Return the idle timeout in seconds: the store's own if it has one, else this."""
        return to_seconds("lifetime", store.lifetime or self.lifetime)

    @property
    def secure(self) -> bool | None:
        """``cookie_secure`` without "auto": None decides by the request."""
        return self.cookie_secure if isinstance(self.cookie_secure, bool) else None


def _flatten(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with ``[disk] directory`` as ``disk_directory``."""
    if not isinstance(mapping, Mapping):
        raise ConfigError(
            f'the settings are a dict, as {{"store": "disk"}}, and not {mapping!r:.40}'
        )
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        name = _name(key)
        if name in _TABLES and not isinstance(value, Mapping):
            raise ConfigError(f"{name} is a table of settings, as {_TABLES[name]}")
        if isinstance(value, Mapping) and name != "secret_keys" and (value or _is_table(name)):
            settings = {f"{name}_{_name(inner)}": item for inner, item in value.items()}
        else:
            settings = {name: value}
        for twice in settings.keys() & flat.keys():
            raise ConfigError(f"{twice} is set twice, in a table and outside of it; remove one")
        flat |= settings
    return flat


def _name(name: object) -> str:
    return name if isinstance(name, str) else safe_repr(name)


def _is_table(name: str) -> bool:
    return any(setting.startswith(f"{name}_") for setting in _FIELDS)


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for variable, text in environ.items():
        name = variable.removeprefix(_PREFIX).lower()
        if not variable.startswith(_PREFIX) or not text or variable == CONFIG_VARIABLE:
            continue
        if name in _FIELDS:
            settings[name] = _FIELDS[name].parse(text)
        elif not _OF_A_SERVICE.fullmatch(f"{variable.removeprefix(_PREFIX)}={text}"):
            raise ConfigError(f"{variable} in the environment: {_unknown(name)}")
    return settings


def _check(name: str, value: object) -> None:
    kind = _FIELDS.get(name)
    if kind is None:
        raise ConfigError(_unknown(name))
    if not kind.fits(value):
        told = f"a {type(value).__name__}" if name in _SECRET else _quoted(value)
        raise ConfigError(f"{name}: {told} is not {kind.allowed}")


def _unknown(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name.lower(), _FIELDS, n=1)
    guess = f" Did you mean {near[0]}?" if near else ""
    return f"{name} is no setting.{guess} There are: {', '.join(_FIELDS)}."


def _check_choice(name: str, value: object, names: tuple[str, ...], reference: str) -> None:
    if isinstance(value, str) and value not in names and not re.fullmatch(_REFERENCE, value):
        allowed = ", ".join(f'"{item}"' for item in names)
        raise ConfigError(f'{name}: {_quoted(value)} is not {allowed} or "{reference}"')


def _quoted(value: object) -> str:
    """Return a value as a message shows it; one that was meant for a URL may have a password."""
    return "a URL" if isinstance(value, str) and "://" in value else safe_repr(value)


def _timedelta(name: str, minutes: float) -> timedelta:
    if minutes < 0:
        raise ConfigError(f"{name} must be 0 or more minutes, not {safe_repr(minutes)}")
    try:
        return timedelta(minutes=minutes)
    except (OverflowError, ValueError):
        raise ConfigError(
            f"{name}: {safe_repr(minutes)} is not a number of minutes a clock has"
        ) from None


def _takes_an_argument(factory: Callable[..., Any]) -> bool:
    try:
        import inspect

        parameters = inspect.signature(factory).parameters.values()
    except ValueError:  # some functions in C do not tell
        return False
    return any(
        parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        for parameter in parameters
    )
