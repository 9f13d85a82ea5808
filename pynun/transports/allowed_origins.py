"""Decide which web pages may connect to the server (NUN_ALLOWED_ORIGINS).

A browser sends the page's origin in a header that scripts can't set (RFC 6454). Other programs send none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

NOT_ALLOWED: Final = "this page may not connect (NUN_ALLOWED_ORIGINS)\n"

CORS_HEADERS: Final = frozenset(
    {
        b"origin",
        b"access-control-request-method",
        b"access-control-request-headers",
        b"access-control-request-private-network",
    }
)
"""What of a request decides about it (the Fetch standard, section 3.2)."""

_USUAL_PORT: Final = re.compile(r"^(http(?=://.*:80$)|https(?=://.*:443$))(://.*):[0-9]+$")
_TOKENS: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z, \t-]+")
_PREFLIGHT_SECONDS: Final = 600


class AllowedOrigins:
    """The allowed origins; all, if none are given."""

    def __init__(self, origins: Iterable[str]) -> None:
        """`origins` are in lower case, without the scheme's usual port."""
        self._origins = frozenset(origins)

    @property
    def is_open(self) -> bool:
        """Whether every page is allowed."""
        return not self._origins

    def allow(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether a request with these headers may be answered. Names of headers are in lower case."""
        return self.is_open or all(_plain(value) in self._origins for name, value in headers if name == b"origin")

    def fields(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The header lines that let the page read a response; only for allowed requests."""
        if self.is_open:
            return b""
        origin = dict(headers).get(b"origin")
        return (
            b"Vary: Origin\r\n" if origin is None else b"Access-Control-Allow-Origin: %b\r\nVary: Origin\r\n" % origin
        )

    def preflight_fields(self, method: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The header lines of the response to a preflight request; empty if it is none."""
        if self.is_open or method != b"OPTIONS":
            return b""
        asked = dict(headers)
        wanted = asked.get(b"access-control-request-method", b"")
        if b"origin" not in asked or not _TOKENS.fullmatch(wanted):
            return b""
        lines = [b"Access-Control-Allow-Methods: " + wanted]
        names = asked.get(b"access-control-request-headers", b"")
        if _TOKENS.fullmatch(names):
            lines.append(b"Access-Control-Allow-Headers: " + names)
        if b"access-control-request-private-network" in asked:
            lines.append(b"Access-Control-Allow-Private-Network: true")
        lines.append(b"Access-Control-Max-Age: %d\r\n" % _PREFLIGHT_SECONDS)
        return self.fields(headers) + b"\r\n".join(lines)


def _plain(origin: bytes) -> str:
    """In lower case, without the scheme's usual port."""
    return _USUAL_PORT.sub(r"\1\2", origin.decode("latin-1").lower())
