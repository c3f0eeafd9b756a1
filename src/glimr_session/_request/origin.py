"""Where a request came to: what decides whether its cookie is Secure, and comes back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Self

__all__ = ["Origin"]

# The last two are what the test clients of Django, Starlette and Litestar call the server; no
# such host exists.
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]", "testserver", "testserver.local"})

_HEADERS: Final = frozenset({b"host", b"x-forwarded-proto", b"x-forwarded-ssl", b"forwarded"})

# RFC 7239, section 4: proto=https, quoted or not, in any element.
_FORWARDED_HTTPS: Final = re.compile(
    r'(?:^|[;,])\s*proto\s*=\s*"?https"?\s*(?:$|[;,])', re.IGNORECASE
)


class Origin(NamedTuple):
    """Where a request came to, as its server and its headers say.

    Proxies' headers can be forged. They only ever lead to a cookie that is Secure, never away
    from it.

    Attributes:
        https: whether it came over HTTPS, as the server sees it.
        host: the Host header, or the server's name.
        path: the whole path of the URL.
        x_forwarded_proto: the header of that name, or "".
        x_forwarded_ssl: the header of that name, or "".
        forwarded: the header of that name (RFC 7239), or "".

    Example:
        >>> Origin(https=False, host="localhost:8000").needs_secure
        False
        >>> Origin(https=False, host="localhost:8000", forwarded="proto=https").needs_secure
        True
    """

    https: bool
    host: str = ""
    path: str = "/"
    x_forwarded_proto: str = ""
    x_forwarded_ssl: str = ""
    forwarded: str = ""

    @classmethod
    def from_cgi(cls, environ: Mapping[str, Any]) -> Self:
        """Return the origin in the variables of CGI: WSGI's environ."""
        get = environ.get
        return cls(
            https=get("wsgi.url_scheme") == "https",
            host=get("HTTP_HOST") or get("SERVER_NAME", ""),
            path=get("SCRIPT_NAME", "") + get("PATH_INFO", ""),
            x_forwarded_proto=get("HTTP_X_FORWARDED_PROTO", ""),
            x_forwarded_ssl=get("HTTP_X_FORWARDED_SSL", ""),
            forwarded=get("HTTP_FORWARDED", ""),
        )

    @classmethod
    def from_asgi(cls, scope: Mapping[str, Any]) -> Self:
        """Return the origin in the scope of an ASGI connection."""
        headers: dict[bytes, str] = {}
        for name, value in scope.get("headers", ()):
            if name in _HEADERS:  # several of one name are joined, as WSGI servers do
                text = value.decode("latin-1")
                headers[name] = f"{headers[name]},{text}" if name in headers else text
        server = scope.get("server") or ("",)
        root, path = scope.get("root_path", ""), scope.get("path", "")
        return cls(
            https=scope.get("scheme") in ("https", "wss"),
            host=headers.get(b"host") or server[0],
            path=path if path.startswith(root) else root + path,
            x_forwarded_proto=headers.get(b"x-forwarded-proto", ""),
            x_forwarded_ssl=headers.get(b"x-forwarded-ssl", ""),
            forwarded=headers.get(b"forwarded", ""),
        )

    @property
    def name(self) -> str:
        """The host without a port, in lower case."""
        host = self.host
        name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
        return name.lower()

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this very machine, or the server of a test client."""
        return self.name in _LOOPBACK

    @property
    def is_https(self) -> bool:
        """Whether the browser uses HTTPS, as the server or a proxy says."""
        return (
            self.https
            or self.x_forwarded_proto.partition(",")[0].strip().lower() == "https"
            or self.x_forwarded_ssl.strip().lower() == "on"
            or bool(_FORWARDED_HTTPS.search(self.forwarded))
        )

    @property
    def needs_secure(self) -> bool:
        """Whether the cookie needs Secure: not for plain HTTP to this very machine."""
        return bool(self.x_forwarded_proto) or not self.is_loopback or self.is_https
