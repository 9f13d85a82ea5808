"""A request of the console's page, and answers in JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from pynun.transports.pages import Page

if TYPE_CHECKING:
    import socket

    from pynun.server.console.logins import Login
    from pynun.transports.client_address import Client

_JSON: Final = b"application/json; charset=UTF-8"

NO_STORE: Final = (
    b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nCross-Origin-Resource-Policy: same-origin\r\n"
)


def json_page(told: object, fields: bytes = b"", status: int = 200) -> Page:
    """An answer that nobody keeps."""
    return Page(status, json.dumps(told).encode(), _JSON, NO_STORE + fields)


def error_page(status: int, text: str) -> Page:
    """Why there is no answer."""
    return json_page({"error": text}, status=status)


class Asked(NamedTuple):
    """A request of the console's page, which has passed the guard."""

    headers: dict[bytes, bytes]
    query: dict[str, str]
    connected: socket.socket
    client: Client
    scheme: str
    login: Login | None
