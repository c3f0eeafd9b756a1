"""The plain page that answers a request whose session cannot be read or committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from ..errors import SessionError, StoreUnavailable
from .cache_headers import Headers

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["OnError", "error_page", "plain_page"]

OnError: TypeAlias = "Callable[[WSGIEnvironment, StartResponse, SessionError], Iterable[bytes]]"
"""A WSGI application with a third argument: the error that keeps a response from being sent."""


def error_page(error: SessionError) -> tuple[str, Headers, bytes]:
    """Return status, headers and body of the page for an error.

    Example:
        >>> error_page(StoreUnavailable("the disk is full"))[0]
        '503 Service Unavailable'
    """
    if isinstance(error, StoreUnavailable):
        status, text = "503 Service Unavailable", "Please try again in a moment."
    else:
        status, text = "500 Internal Server Error", "The request could not be completed."
    body = f"{status}\n\n{text}\n".encode()
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]
    return status, headers, body


def plain_page(
    _environ: WSGIEnvironment, start_response: StartResponse, error: SessionError
) -> Iterable[bytes]:
    """Answer a WSGI request with the page for an error."""
    status, headers, body = error_page(error)
    start_response(status, headers)
    return [body]
