"""The values a session can hold: what JSON gives back exactly as it was put."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

__all__ = [
    "MAX_BITS",
    "Json",
    "JsonInput",
    "copy_value",
    "is_number",
    "validate_items",
    "validate_key",
    "validate_value",
]

Json: TypeAlias = str | int | float | bool | list["Json"] | dict[str, "Json"] | None
"""A value as a session gives it back."""

JsonInput: TypeAlias = (
    str | int | float | bool | Sequence["JsonInput"] | Mapping[str, "JsonInput"] | None
)
"""A value as it can be put: as ``Json``, with tuples, which come back as lists.

The type is covariant, so that a ``list[str]`` or a ``dict[str, int]`` can be put. It allows
more than a session takes: other sequences and mappings are refused when they are put.
"""

# Decoders count nesting against Python's recursion limit, from whatever depth they are
# called at: a value near the limit could be written by one request and be unreadable
# in the next. Real sessions are nested a handful of levels deep.
_MAX_NESTING: Final = 100

MAX_BITS: Final = 2122
"""The largest size of an int. Numbers of up to 640 digits can be converted whatever limit
the process has set (``sys.int_info.str_digits_check_threshold``), and 640 digits are at
least 2,122 bits."""


def is_number(value: object) -> bool:
    """Whether the value is an int or a float; a bool is neither here."""
    return type(value) is int or type(value) is float


def validate_key(key: object) -> str:
    """Return the key if a session can have it: a str that UTF-8 can encode.

    Raises:
        TypeError: it is not a str.
        ValueError: it holds a lone surrogate.
    """
    if type(key) is not str:
        raise TypeError(f"session keys are str, not {type(key).__name__}: {key!r}")
    if not _is_text(key):
        raise ValueError(f"session key {key!r} holds a lone surrogate, which is no text")
    return key


def validate_value(key: str, value: object) -> Json:
    """Return a copy of the value, its tuples turned into lists.

    Args:
        key: how error messages name the value.
        value: any object.

    Raises:
        TypeError: JSON does not have the type. Subclasses of its types are refused too, for
            they would come back as their base.
        ValueError: JSON does not have the value, or the value is nested over 100 levels deep.
    """
    valid: Json = _validate(key, value, 0)
    return valid


def validate_items(values: Mapping[str, Any]) -> dict[str, Json]:
    """Return a validated copy of all keys and values; raises as the functions for one."""
    return {validate_key(key): validate_value(key, value) for key, value in values.items()}


def copy_value(value: Any) -> Any:
    """Return a copy that shares no list and no dict with the value."""
    if type(value) is list:
        return [copy_value(item) for item in value]
    if type(value) is dict:
        return {name: copy_value(item) for name, item in value.items()}
    return value


def _validate(key: str, value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is bool or value is None:
        return value
    if kind is str:
        if not _is_text(value):
            raise ValueError(f"{key!r} holds a str with a lone surrogate, which is no text")
        return value
    if kind is int:
        if value.bit_length() > MAX_BITS:
            raise ValueError(f"{key!r} holds an int of over 640 digits; store it as a str")
        return value
    if kind is float:
        if not math.isfinite(value):
            raise ValueError(f"{key!r} holds {value}, which JSON does not have")
        return value
    if depth == _MAX_NESTING:
        raise ValueError(f"{key!r} is nested over {_MAX_NESTING} levels deep or holds itself")
    if kind is list or kind is tuple:
        return [_validate(key, item, depth + 1) for item in value]
    if kind is dict:
        return {
            _validate_name(key, name): _validate(key, item, depth + 1)
            for name, item in value.items()
        }
    raise TypeError(
        f"{key!r} holds a {kind.__module__}.{kind.__qualname__}, which JSON does not give back. "
        "Put str, int, float, bool, None, or lists and str-keyed dicts of them: "
        "str(value) for text and dates, the id for a database row."
    )


def _validate_name(key: str, name: Any) -> str:
    if type(name) is not str:
        raise TypeError(f"{key!r} holds a dict with the key {name!r}; JSON has only str keys")
    if not _is_text(name):
        raise ValueError(f"{key!r} holds a dict key with a lone surrogate, which is no text")
    return name


def _is_text(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
