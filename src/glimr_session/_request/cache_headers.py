"""What caches must know of a response that depends on its session."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Headers", "add_session_headers"]

Headers = list[tuple[str, str]]


def add_session_headers(headers: Sequence[tuple[str, str]], set_cookie: str | None) -> Headers:
    """Return the headers of a response whose session was used.

    ``Vary: Cookie`` keeps shared caches from serving one user's page to another. A response
    that sets the cookie must not be stored at all or, if the application has a Cache-Control
    of its own, be stored without its Set-Cookie (RFC 9111, 5.2.2.4).

    Args:
        headers: name and value, as the application has set them.
        set_cookie: the value of Set-Cookie, or None.

    Example:
        >>> add_session_headers([("Vary", "Accept")], None)
        [('Vary', 'Accept, Cookie')]
    """
    if set_cookie is None:
        for name, _ in headers:
            if len(name) == len("Vary") and name.lower() == "vary":
                break
        else:  # as in most responses
            return [*headers, ("Vary", "Cookie")]
    changed = [*headers]
    names = [name.lower() for name, _ in headers]
    if "vary" in names:
        _append(changed, names, "vary", "Cookie", unless=("cookie", "*"))
    else:
        changed.append(("Vary", "Cookie"))
    if set_cookie is not None:
        if "cache-control" in names:
            only_once = ("no-store", "no-cache")
            _append(changed, names, "cache-control", 'no-cache="Set-Cookie"', unless=only_once)
        else:
            changed.append(("Cache-Control", "no-store"))
        changed.append(("Set-Cookie", set_cookie))
    return changed


def _append(
    headers: Headers, names: list[str], name: str, directive: str, *, unless: tuple[str, ...]
) -> None:
    """Append a directive to the last header of this name, unless one of them has it.

    Args:
        headers: changed in place.
        names: the names of the headers, in lower case.
        name: which header.
        directive: what to append.
        unless: directives, in lower case, that say as much.
    """
    last = 0
    for position, (found, (_, value)) in enumerate(zip(names, headers, strict=False)):
        if found == name:
            if any(part.strip().lower() in unless for part in value.split(",")):
                return
            last = position
    found, value = headers[last]
    headers[last] = (found, f"{value}, {directive}" if value.strip() else directive)
