"""A request of the console's page, and what all answers have in common."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from pynun.transports.pages import Page

if TYPE_CHECKING:
    import socket

    from pynun.server.console.logins import Login
    from pynun.transports.client_address import Client
    from pynun.transports.pages import FilePage, PageRequest

NO_LOGIN: Final = "log in first"

MASK: Final = "********"
"""In place of a secret."""

_JSON: Final = b"application/json; charset=UTF-8"
_PLAIN_HOST: Final = re.compile(rb"[a-z0-9.-]+(:[0-9]+)?")


def json_page(told: object, fields: bytes = b"", status: int = 200) -> Page:
    """An answer in JSON."""
    return Page(status, json.dumps(told).encode(), _JSON, fields)


def error_page(status: int, text: str) -> Page:
    """Why there is no answer."""
    return json_page({"error": text}, status=status)


def protected(answer: Page | FilePage, request: PageRequest) -> Page | FilePage:
    """The answer with the headers of every answer, errors too; its own `Cache-Control` stays."""
    fields = answer.fields if b"Cache-Control" in answer.fields else answer.fields + b"Cache-Control: no-store\r\n"
    return answer._replace(fields=fields + _policies(dict(request.headers).get(b"host", b"").lower()))


def _policies(host: bytes) -> bytes:
    """The page loads its own files and connects to its own server, and nothing else, without exceptions."""
    sockets = b" ws://%b wss://%b" % (host, host) if _PLAIN_HOST.fullmatch(host) else b""  # for older browsers
    return (
        b"Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        b" connect-src 'self'%b; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        b" require-trusted-types-for 'script'; trusted-types lit-html\r\n"
        b"X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nX-Frame-Options: DENY\r\n"
        b"Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Resource-Policy: same-origin\r\n" % sockets
    )


class Asked(NamedTuple):
    """A request of the console's page, which has passed the guard."""

    headers: dict[bytes, bytes]
    query: dict[str, str]
    connected: socket.socket
    client: Client
    scheme: str
    login: Login | None
