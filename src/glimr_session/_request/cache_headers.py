"""What caches must know of a response that depends on its session."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Headers", "add_session_headers", "directives_of"]

Headers = list[tuple[str, str]]


def add_session_headers(
    headers: Sequence[tuple[str, str]],
    sent: Sequence[str],
    *,
    request_header: str = "Cookie",
    response_header: str = "Set-Cookie",
) -> Headers:
    """Return the headers of a response whose session was used.

    ``Vary: Cookie`` keeps shared caches from serving one user's page to another. A response
    that sets the cookie must not be stored at all or, if the application has a Cache-Control
    of its own, be stored without its Set-Cookie (RFC 9111, 5.2.2.4), or by the browser alone.
    One that has a token in another header must not be stored at all.

    Args:
        headers: name and value, as the application has set them.
        sent: values of Set-Cookie, or of the header that is sent in its place.
        request_header: the header that the session came in.
        response_header: the header for what is sent.

    Example:
        >>> add_session_headers([("Vary", "Accept")], [])
        [('Vary', 'Accept, Cookie')]
    """
    if sent and response_header != "Set-Cookie":  # there is one token, and it is ours
        headers = [field for field in headers if field[0].lower() != response_header.lower()]
    names = [name.lower() for name, _ in headers]
    if not sent and "vary" not in names:  # most responses
        return [*headers, ("Vary", request_header)]
    changed = [*headers]
    _add(changed, names, "Vary", request_header, unless=(request_header.lower(), "*"))
    if sent:
        directives = directives_of(headers, "cache-control")
        if not directives:
            changed.append(("Cache-Control", "no-store"))
        elif response_header != "Set-Cookie":  # caches know that one alone
            _add(changed, names, "Cache-Control", "no-store", unless=("no-store",))
        elif "no-cache" in directives:  # which lets a shared cache store it, and ask each time
            _add(changed, names, "Cache-Control", "private", unless=("no-store", "private"))
        else:
            only_once = ("no-store", 'no-cache="set-cookie"')
            _add(changed, names, "Cache-Control", 'no-cache="Set-Cookie"', unless=only_once)
        changed.extend((response_header, value) for value in sent)
    return changed


def directives_of(headers: Sequence[tuple[str, str]], name: str) -> list[str]:
    """Return the comma-separated parts of the headers of a name; all in lower case."""
    return [
        part.strip()
        for found, value in headers
        if found.lower() == name
        for part in value.lower().split(",")
        if part.strip()
    ]


def _add(
    headers: Headers, names: list[str], name: str, directive: str, *, unless: tuple[str, ...]
) -> None:
    """Append a directive to the last header of this name, or a header.

    Args:
        headers: changed in place.
        names: the names of the headers, in lower case.
        name: which header.
        directive: what to append.
        unless: directives, in lower case, that say as much.
    """
    lower = name.lower()
    if lower not in names:  # as in most responses
        headers.append((name, directive))
    elif not any(part in unless for part in directives_of(headers, lower)):
        last = len(names) - 1 - names[::-1].index(lower)
        found, value = headers[last]
        headers[last] = (found, f"{value}, {directive}" if value.strip() else directive)
