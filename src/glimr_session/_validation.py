"""Checks of settings. Each raises ConfigError, which names the setting and what is allowed."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final, TypeAlias

from .errors import ConfigError

__all__ = [
    "MAKE_A_KEY",
    "Duration",
    "check_chance",
    "check_cookie_attributes",
    "check_durability",
    "check_framework_keys",
    "check_secret_keys",
    "import_string",
    "safe_repr",
    "to_seconds",
    "why_secure",
]

Duration: TypeAlias = timedelta | float
"""A ``datetime.timedelta`` or a number of seconds."""

# RFC 6265, section 4.1.1: a name is a token, and a path holds no separators.
_NAME: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PATH: Final = r"/[!-:<-~]*"

_MAX_PATH: Final = 1024  # bytes: RFC 6265bis, section 5.6

# RFC 1123, section 2.1. The last label of an IPv4 address is a number (WHATWG URL, "ends in a
# number"), that of an IPv6 address ends with the bracket or is empty or a number as well.
_LABEL: Final = r"[0-9A-Za-z]([0-9A-Za-z-]*[0-9A-Za-z])?"
_END_OF_AN_ADDRESS: Final = r"\d+|0[xX][0-9A-Fa-f]*|\[.*\]|[0-9A-Fa-f]*:[0-9A-Fa-f:]*"
_MAX_LABEL: Final = 63
_MAX_DOMAIN: Final = 253

_MIN_KEY: Final = 32  # characters: 128 bits, even for a key of hex digits
_MIN_DISTINCT: Final = 6  # of them, which even a random key of decimal digits has

# What keys hold that tools and tutorials print, without "-", "_" and spaces.
_EXAMPLES: Final = (
    "changeme", "changethis", "replaceme", "replacethis", "pleasechange", "pleasereplace",
    "yoursecret", "mysecret", "supersecret", "secretkeyhere", "djangoinsecure", "example",
    "placeholder", "0123456789", "abcdefgh",
)  # fmt: skip

MAKE_A_KEY: Final = (
    'Make one with: python -c "import secrets; print(secrets.token_hex(32))" '
    "and set GLIMR_SESSION_SECRET_KEYS to it."
)


def safe_repr(value: object) -> str:
    """Return the repr of any value for an error message; it never fails."""
    try:
        return repr(value)
    except (ValueError, RecursionError):  # over 4,300 digits, or nested too deeply
        return f"a very large {type(value).__name__}"


def to_seconds(setting: str, duration: Duration, *, allow_zero: bool = False) -> float:
    """Return a duration in seconds.

    Raises:
        ConfigError: it is no duration, not finite, or not above 0 (not at least 0 with
            ``allow_zero``).
    """
    if isinstance(duration, timedelta):
        value = duration.total_seconds()
    elif isinstance(duration, int | float) and not isinstance(duration, bool):
        try:
            value = float(duration)
        except OverflowError:
            value = float("inf")
    else:
        raise ConfigError(
            f"{setting} is a datetime.timedelta or a number of seconds, not {safe_repr(duration)}"
        )
    if not (0 < value < float("inf") or (allow_zero and value == 0)):
        least = "0 (none) or more" if allow_zero else "more than 0"
        raise ConfigError(f"{setting} must be {least} seconds, not {safe_repr(duration)}")
    return value


def check_durability(setting: str, value: object) -> None:
    """Raise ConfigError unless the value says which failures an acknowledged commit survives."""
    if value not in ("process", "power"):
        raise ConfigError(f'{setting}: {safe_repr(value)} is not "process" or "power"')


def check_mode(setting: str, value: object) -> int:
    """Return the permissions of a directory that its owner can use and others cannot write.

    Raises:
        ConfigError: they are not written in octal, or nobody could use it safely.
    """
    if not isinstance(value, str) or not re.fullmatch(r"[02]?7[0-7][0145]", value):
        raise ConfigError(
            f"{setting}: {safe_repr(value)} is no mode for sessions; write it in octal and in "
            'quotes, as "0700", "2770" or "0755". All others must not be able to write'
        )
    return int(value, 8)


def check_chance(chance: object) -> None:
    """Raise ConfigError unless the value is a number above 0 and at most 1."""
    number = isinstance(chance, int | float) and not isinstance(chance, bool)
    if not number or not 0 < chance <= 1:  # type: ignore[operator]  # it is a number
        raise ConfigError(f"gc_chance must be above 0 and at most 1, not {safe_repr(chance)}")


def check_secret_keys(secret_keys: Sequence[str]) -> None:
    """Raise ConfigError for keys that can be guessed; the message does not quote them."""
    for number, key in enumerate(secret_keys):
        if len(key) < _MIN_KEY:
            raise ConfigError(
                f"secret_keys[{number}] has {len(key)} characters; it needs {_MIN_KEY} or more. "
                f"{MAKE_A_KEY}"
            )
        if any("\ud800" <= character <= "\udfff" for character in key):
            raise ConfigError(f"secret_keys[{number}] is not text in UTF-8. {MAKE_A_KEY}")
        if _repeats_itself(key):
            raise ConfigError(
                f"secret_keys[{number}] repeats a few characters, and so is as easy to guess as "
                f"these alone. {MAKE_A_KEY}"
            )
        plain = re.sub(r"[-_\s]", "", key.casefold())
        if any(example in plain for example in _EXAMPLES):
            raise ConfigError(
                f"secret_keys[{number}] is from an example, or looks like it; anyone who knows "
                f"the example could forge sessions. {MAKE_A_KEY}"
            )


def check_framework_keys(keys: Sequence[str]) -> None:
    """Raise ConfigError unless a framework's SECRET_KEY and SECRET_KEY_FALLBACKS can sign here."""
    for number, key in enumerate(keys):
        try:
            check_secret_keys([key])
        except ConfigError as error:
            name = f"SECRET_KEY_FALLBACKS[{number - 1}]" if number else "SECRET_KEY"
            message = str(error).replace("secret_keys[0]", name)
            raise ConfigError(f"{message} SECRET_KEY may stay what it is then.") from None


def _repeats_itself(key: str) -> bool:
    """Whether a key is a pattern, repeated, that would be too short for a key."""
    return len(set(key)) < _MIN_DISTINCT or any(
        key[period:] == key[:-period] for period in range(1, min(len(key) // 2 + 1, _MIN_KEY))
    )


def check_cookie_attributes(
    *, name: str, path: str, domain: str, samesite: str, secure: bool | None, partitioned: bool
) -> None:
    """Raise ConfigError for a cookie that browsers would reject, naming the setting."""
    if not re.fullmatch(_NAME, name):
        raise ConfigError(
            f"cookie: {name!r} is not a cookie name; use letters, digits, - and _, as in "
            '"glimr_session"'
        )
    if not re.fullmatch(_PATH, path):
        raise ConfigError(
            f"cookie_path: {path!r} is not a path; it begins with / and has no spaces, "
            "semicolons or control characters"
        )
    if len(path) > _MAX_PATH:
        raise ConfigError(
            f"cookie_path has {len(path)} characters; browsers ignore more than {_MAX_PATH}"
        )
    if domain:
        _check_domain(domain)
    if samesite not in ("Lax", "Strict", "None"):
        raise ConfigError(f'cookie_samesite: {samesite!r} is not "Lax", "Strict" or "None"')
    why = why_secure(name, samesite, partitioned)
    if why and secure is False:
        raise ConfigError(f"cookie_secure: false contradicts {why}, which browsers tie to Secure")
    if name.lower().startswith("__host-") and (path != "/" or domain):
        raise ConfigError(
            f'cookie: {name!r} asks browsers for cookie_path = "/" and no cookie_domain; '
            f"here they are {path!r} and {domain!r}"
        )


def _check_domain(domain: str) -> None:
    """Raise ConfigError for a domain with which browsers would not keep the cookie."""
    advice = 'Write it as in "example.com", or "" for this host alone.'
    name = domain.removeprefix(".")  # browsers ignore it
    if len(name) > _MAX_DOMAIN:
        raise ConfigError(
            f"cookie_domain has {len(domain)} characters; a domain has {_MAX_DOMAIN} at most. "
            f"{advice}"
        )
    labels = name.split(".")
    problem = ""
    if re.fullmatch(_END_OF_AN_ADDRESS, labels[-1]):
        problem = 'is an IP address, for which browsers take no cookie_domain but ""'
    elif "" in labels:
        problem = "has an empty label, between two dots or at an end"
    for label in () if problem else labels:
        if not re.fullmatch(_LABEL, label):
            problem = (
                f"has the label {label!r}; a label is made of the letters a to z, digits and "
                "hyphens, with no hyphen at its ends (an international one begins with xn--)"
            )
        elif len(label) > _MAX_LABEL:
            problem = f"has a label of {len(label)} characters; a label has {_MAX_LABEL} at most"
    if not problem and len(labels) == 1:
        problem = "is a single label, for which browsers keep no cookie of a whole domain"
    if problem:
        raise ConfigError(f"cookie_domain: {domain!r} {problem}. {advice}")


def why_secure(name: str, samesite: str, partitioned: bool) -> str:
    """Return the setting that requires Secure, as an error message names it, or ""."""
    if name.lower().startswith(("__host-", "__secure-")):
        return f"cookie = {name!r}"
    if samesite == "None":
        return 'cookie_samesite = "None"'
    return "cookie_partitioned = true" if partitioned else ""


def import_string(setting: str, reference: str) -> Callable[..., Any]:
    """Import the callable that ``package.module:name`` refers to.

    Raises:
        ConfigError: it cannot be imported, or it is not callable.
    """
    module, _, attribute = reference.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{setting}: {reference} cannot be imported: {error}") from error
    if not callable(found):
        raise ConfigError(
            f"{setting}: {reference} is of type {type(found).__name__}, which cannot be called"
        )
    return found  # type: ignore[no-any-return]
