"""SessionConfig: the settings, read from anywhere and checked once."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, NamedTuple, Self, TypeGuard

from .cookies import SessionCookie, Signatures, check_attributes, check_secret_keys
from .errors import ConfigError
from .store import DEFAULT_LIFETIME, Duration, SessionStore, check_durability, seconds, shown
from .stores.cookie import cookie_store

__all__ = ["SessionConfig", "check_chance", "referred"]

_PREFIX: Final = "GLIMR_SESSION_"

_REFERENCE: Final = r"\w+(\.\w+)*:\w+"


class _Kind(NamedTuple):
    """What a setting can be: in words, as a test, and out of a variable's text."""

    allowed: str
    fits: Callable[[object], bool]
    parse: Callable[[str], object] = str


def _number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _strings(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)


def _parsed_flag(text: str) -> object:
    return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)


def _parsed_number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


_TEXT: Final = _Kind("a string", lambda value: isinstance(value, str))
_FLAG: Final = _Kind("true or false", lambda value: isinstance(value, bool), _parsed_flag)
_NUMBER: Final = _Kind("a number", _number, _parsed_number)
_MINUTES: Final = _Kind("a number of minutes", _number, _parsed_number)

# One line for each setting of a file, a mapping or the environment.
_KINDS: Final = {
    "store": _TEXT,
    "cookie": _TEXT,
    "cookie_path": _TEXT,
    "cookie_domain": _TEXT,
    "cookie_samesite": _TEXT,
    "cookie_secure": _Kind(
        'true, false or "auto"',
        lambda value: isinstance(value, bool) or value == "auto",
        _parsed_flag,
    ),
    "cookie_partitioned": _FLAG,
    "lifetime": _MINUTES,
    "absolute_lifetime": _MINUTES,
    "expire_on_close": _FLAG,
    "gc": _TEXT,
    "gc_chance": _NUMBER,
    "gc_interval": _MINUTES,
    "secret_keys": _Kind(
        "a list of strings",
        _strings,
        lambda text: [key.strip() for key in text.split(",") if key.strip()],
    ),
    "disk_directory": _TEXT,
    "disk_durability": _TEXT,
}


@dataclass(frozen=True, kw_only=True)
class SessionConfig:
    """Everything that can be set, checked when it is made.

    Durations are a ``datetime.timedelta`` or a number of seconds here, and minutes in
    files, mappings and the environment. Raises ConfigError, naming the setting, the
    value and what is allowed.
    """

    store: str = "disk"
    """"disk", "cookie", or "package.module:factory": a function of this configuration,
    or of nothing, that gives a SessionStore."""

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

    gc: str | Callable[[], bool] = "lottery"
    """"lottery", "interval", "never", "package.module:policy", or a function that is
    called after each request that committed, and says whether to collect."""

    gc_chance: float = 0.02
    """The chance of the lottery, as in the reference."""

    gc_interval: Duration = timedelta(minutes=5)

    secret_keys: tuple[str, ...] | list[str] = field(default=(), repr=False)
    """The first signs, all verify: to rotate, put a new one in front."""

    disk_directory: str | os.PathLike[str] = "var/sessions"
    """Where the disk store keeps its database: a directory of its own."""

    disk_durability: str = "process"
    """What an acknowledged commit outlives: "process", or "power", which waits for the
    disk each time."""

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
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
        check_attributes(
            name=self.cookie,
            path=self.cookie_path,
            domain=self.cookie_domain,
            samesite=self.cookie_samesite,
            secure=self._secure,
            partitioned=self.cookie_partitioned,
        )
        _check_choice("store", self.store, ("disk", "cookie"), "package.module:factory")
        _check_choice("gc", self.gc, ("lottery", "interval", "never"), "package.module:policy")
        check_durability("disk_durability", self.disk_durability)
        idle = seconds("lifetime", self.lifetime)
        absolute = seconds("absolute_lifetime", self.absolute_lifetime, zero=True)
        if 0 < absolute < idle:
            raise ConfigError(
                f"absolute_lifetime ({absolute:g} s) is shorter than lifetime ({idle:g} s), so "
                "lifetime would mean nothing; make it the longer one, or 0 for none"
            )
        seconds("gc_interval", self.gc_interval)
        check_chance(self.gc_chance)

    @classmethod
    def from_toml(
        cls, path: str | os.PathLike[str], environ: Mapping[str, str] | None = None
    ) -> Self:
        """Read a TOML file; variables of the environment beat what it says.

        ``environ`` is ``os.environ`` unless another one is given. A relative directory
        in the file is relative to the working directory of the process.
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
        return cls._made(
            {
                **_flattened(settings),
                **_from_environ(os.environ if environ is None else environ),
            }
        )

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read ``GLIMR_SESSION_LIFETIME`` and its like; empty ones count as not set.

        Lists are separated by commas, a table's name stands before its key:
        ``GLIMR_SESSION_DISK_DIRECTORY``.
        """
        return cls._made(_from_environ(environ))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Read what ``session.toml`` would hold, from a dict of that shape."""
        return cls._made(_flattened(mapping))

    @classmethod
    def _made(cls, settings: Mapping[str, Any]) -> Self:
        values: dict[str, Any] = {}
        for name, value in settings.items():
            _check(name, value)
            values[name] = _timedelta(name, value) if _KINDS[name] is _MINUTES else value
        return cls(**values)

    def make_store(self) -> SessionStore:
        """Make the store that is configured."""
        if self.store == "cookie":
            return cookie_store(lifetime=self.lifetime, absolute_lifetime=self.absolute_lifetime)
        if self.store == "disk":
            from .stores.disk import disk_store  # diskcache loads Django where there is one

            return disk_store(
                self.disk_directory,
                lifetime=self.lifetime,
                absolute_lifetime=self.absolute_lifetime,
                durability=self.disk_durability,
            )
        factory = referred("store", self.store)
        store = factory(self) if _takes_an_argument(factory) else factory()
        if not isinstance(store, SessionStore):
            raise ConfigError(
                f"store: {self.store} gave {store!r}, which is no SessionStore; "
                "new() makes one from five functions"
            )
        return store

    def make_cookie(self, store: SessionStore) -> SessionCookie:
        """Make the cookie for a store, signed with a salt of its name and kind."""
        signatures = Signatures(self.secret_keys, f"glimr_session.{store.kind}.{self.cookie}")
        return SessionCookie(
            signatures,
            name=self.cookie,
            path=self.cookie_path,
            domain=self.cookie_domain,
            samesite=self.cookie_samesite,
            secure=self._secure,
            partitioned=self.cookie_partitioned,
            max_age=None if self.expire_on_close else self.lifetime_with(store),
        )

    def lifetime_with(self, store: SessionStore) -> float:
        """Give the idle timeout in seconds: the store's own if it has one, else this."""
        return seconds("lifetime", store.lifetime or self.lifetime)

    @property
    def _secure(self) -> bool | None:
        return self.cookie_secure if isinstance(self.cookie_secure, bool) else None


def check_chance(chance: object) -> None:
    """Raise ConfigError unless this is a number above 0 and at most 1."""
    if not _number(chance) or not 0 < chance <= 1:
        raise ConfigError(f"gc_chance must be above 0 and at most 1, not {shown(chance)}")


def _flattened(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Give ``[disk] directory`` as ``disk_directory``, and the rest as it is."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        name = _name(key)
        if isinstance(value, Mapping) and name != "secret_keys" and (value or _is_table(name)):
            settings = {f"{name}_{_name(inner)}": item for inner, item in value.items()}
        else:
            settings = {name: value}
        for twice in settings.keys() & flat.keys():
            raise ConfigError(f"{twice} is set twice, in a table and outside of it; remove one")
        flat |= settings
    return flat


def _name(name: object) -> str:
    return name if isinstance(name, str) else shown(name)


def _is_table(name: str) -> bool:
    return any(setting.startswith(f"{name}_") for setting in _KINDS)


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for variable, text in environ.items():
        if variable.startswith(_PREFIX) and text:
            name = variable.removeprefix(_PREFIX).lower()
            settings[name] = _KINDS[name].parse(text) if name in _KINDS else text
    return settings


def _check(name: str, value: object) -> None:
    kind = _KINDS.get(name)
    if kind is None:
        import difflib

        near = difflib.get_close_matches(str(name), _KINDS, n=1)
        guess = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{name} is no setting.{guess} There are: {', '.join(_KINDS)}.")
    if not kind.fits(value):
        told = f"a {type(value).__name__}" if name == "secret_keys" else shown(value)
        raise ConfigError(f"{name}: {told} is not {kind.allowed}")


def _check_choice(name: str, value: object, names: tuple[str, ...], reference: str) -> None:
    if isinstance(value, str) and value not in names and not re.fullmatch(_REFERENCE, value):
        allowed = ", ".join(f'"{item}"' for item in names)
        raise ConfigError(f'{name}: {value!r} is not {allowed} or "{reference}"')


def _timedelta(name: str, minutes: float) -> timedelta:
    if minutes < 0:
        raise ConfigError(f"{name} must be 0 or more minutes, not {shown(minutes)}")
    try:
        return timedelta(minutes=minutes)
    except (OverflowError, ValueError):
        raise ConfigError(
            f"{name}: {shown(minutes)} is not a number of minutes a clock has"
        ) from None


def referred(name: str, reference: str) -> Callable[..., Any]:
    """Import what ``package.module:name`` names; ConfigError, naming the setting, if it fails."""
    module, _, attribute = reference.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{name}: {reference} cannot be imported: {error}") from error
    if not callable(found):
        raise ConfigError(
            f"{name}: {reference} is of type {type(found).__name__}, which cannot be called"
        )
    return found  # type: ignore[no-any-return]


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
