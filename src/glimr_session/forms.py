"""Forms that fail: their errors, and what was typed, shown again by the next request."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .session import Session

__all__ = ["flash_errors", "flash_old"]

_NEVER_KEPT = ("password", "secret", "token")


def flash_errors(
    session: Session, errors: Mapping[str, object] | Mapping[str | None, object]
) -> None:
    """Leave each field's first error for the next request: ``session.error(field)``.

    Args:
        session: the session of this request.
        errors: as forms libraries have them: for each field a message, or a list of
            messages. They become str, lazy translations included. Fields without a message
            are left out, and so is None, WTForms' name for errors of the whole form.

    Example:
        >>> session = Session.start("0" * 64)
        >>> flash_errors(session, {"email": ["Not an address."]})
        >>> session.state().flash
        {'errors.email': 'Not an address.'}
        >>> session.stop()
    """
    for field, messages in errors.items():
        message = next(iter(_listed(messages)), None)
        if field is not None and message is not None:
            session.flash(f"errors.{field}", str(message))


def flash_old(session: Session, form: Mapping[str, Any], except_: Collection[str] = ()) -> None:
    """Leave what was typed for the next request: ``session.old(field)``.

    Uploaded files are not kept, nor is a field whose name contains password, secret or
    token.

    Args:
        session: the session of this request.
        form: a mapping or a multidict; a field that was sent several times is kept as a list.
        except_: names of further fields that are not kept.

    Example:
        >>> session = Session.start("0" * 64)
        >>> flash_old(session, {"email": "me@", "password": "secret"})
        >>> session.state().flash
        {'old.email': 'me@'}
        >>> session.stop()
    """
    if isinstance(except_, str):
        raise TypeError(f"except_ is a collection of field names, as in except_=[{except_!r}]")
    for field in form:
        if field in except_ or any(word in field.lower() for word in _NEVER_KEPT):
            continue
        typed = [str(value) for value in _values(form, field) if isinstance(value, str)]
        if typed:
            session.flash(f"old.{field}", typed[0] if len(typed) == 1 else [*typed])


def _listed(messages: object) -> Iterable[object]:
    # A lazy translation has str's methods, __iter__ too, and is no Sequence.
    if isinstance(messages, Sequence | Iterator) and not isinstance(messages, str):
        return messages
    return () if messages is None else (messages,)


def _values(form: Mapping[str, Any], field: str) -> Iterable[object]:
    # getlist: Werkzeug, Django, Starlette. getall: WebOb (Pyramid), Bottle.
    for name in ("getlist", "getall"):
        every = getattr(form, name, None)
        if every is not None:
            values: Iterable[object] = every(field)
            return values
    return _listed(form[field])
