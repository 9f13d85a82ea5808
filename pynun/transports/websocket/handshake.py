"""Read the head of a WebSocket handshake before trio-websocket does (RFC 6455 section 4.2.1).  trio-websocket takes the
last of several list lines for the whole list, fails at bytes that are not ASCII, and refuses without a reason. So this
module reads the lists, names what is missing, and passes on a simple handshake.
"""

from __future__ import annotations

import re
from typing import Final

from pynun.protocol.messages import WHAT_PROXIES_FORWARD
from pynun.transports.http.request_reader import NO_HTTP_2
from pynun.transports.http.responses import refusal

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE: Final = re.compile(rb"(%b) ([!-~]+) HTTP/([0-9]\.[0-9])\r?" % _TOKEN)
_HEADER_LINE: Final = re.compile(rb"(%b):[ \t]*([\t -~\x80-\xff]*?)[ \t]*" % _TOKEN)
_ELEMENT: Final = re.compile(_TOKEN)

_LISTS: Final = frozenset({b"connection", b"upgrade", b"sec-websocket-protocol", b"sec-websocket-extensions"})
_VERSION: Final = b"13"

NOT_HTTP: Final = "this port speaks WebSocket, which begins as HTTP, and what came is no request"
ONLY_GET: Final = "this port speaks WebSocket: commands over HTTP go to the HTTP port (3013 usually)"
NO_KEY: Final = "a WebSocket handshake has one Sec-WebSocket-Key"
OTHER_VERSION: Final = "this port speaks version 13 of WebSocket (RFC 6455)"
NO_HOST: Final = "a request has one Host"
NO_HEADER: Final = "a line of the request is no header"


def lacks(missing: list[str]) -> str:
    """What a WebSocket request lacks, and the usual cause."""
    return f"this port speaks WebSocket, and the request lacks {' and '.join(missing)}: {WHAT_PROXIES_FORWARD}"


class RefusedHandshakeError(Exception):
    """The handshake is refused."""

    def __init__(self, answer: bytes, missing: str = "") -> None:
        super().__init__(missing)
        self.answer = answer
        """In HTTP."""
        self.missing = missing
        """What a proxy most likely removed from a handshake; empty for other faults."""


def check_first_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    """Method, target and version of a request. Raises RefusedHandshakeError if it is none of this port's."""
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise RefusedHandshakeError(refusal(b"400 Bad Request", NOT_HTTP))
    if match[3] == b"2.0":
        raise RefusedHandshakeError(refusal(b"505 HTTP Version Not Supported", NO_HTTP_2))
    return match[1], match[2], match[3]


def read_head(head: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The headers of a head, names in lower case, and the replacement for trio-websocket.

    The head is given without its empty line. Raises RefusedHandshakeError.
    """
    first, *lines = head.split(b"\r\n")
    method, target, version = check_first_line(first)
    headers: list[tuple[bytes, bytes]] = []
    for line in lines:
        match = _HEADER_LINE.fullmatch(line)
        if match is None:
            raise RefusedHandshakeError(refusal(b"400 Bad Request", NO_HEADER))
        headers.append((match[1].lower(), match[2]))
    lists = {name: _elements(headers, name) for name in _LISTS}
    keys = [value for name, value in headers if name == b"sec-websocket-key"]
    missing = [] if version == b"1.1" else ["HTTP/1.1"]
    if b"websocket" not in map(bytes.lower, lists[b"upgrade"]):
        missing.append("Upgrade: websocket")
    if b"upgrade" not in map(bytes.lower, lists[b"connection"]):
        missing.append("Connection: Upgrade")
    if method not in (b"GET", b"HEAD"):
        raise RefusedHandshakeError(refusal(b"405 Method Not Allowed", ONLY_GET, b"Allow: GET\r\n"))
    if missing or method == b"HEAD":
        text = lacks(missing or ["the method GET"])
        answer = refusal(b"426 Upgrade Required", text, b"Upgrade: websocket\r\n", is_bodiless=method == b"HEAD")
        raise RefusedHandshakeError(answer, " and ".join(missing) if keys else "")
    if {value for name, value in headers if name == b"sec-websocket-version"} != {_VERSION}:
        fields = b"Upgrade: websocket\r\nSec-WebSocket-Version: %b\r\n" % _VERSION
        raise RefusedHandshakeError(refusal(b"426 Upgrade Required", OTHER_VERSION, fields))
    if sum(name == b"host" for name, _ in headers) != 1:  # RFC 9112 section 3.2
        raise RefusedHandshakeError(refusal(b"400 Bad Request", NO_HOST))
    if len(keys) != 1 or not keys[0]:
        raise RefusedHandshakeError(refusal(b"400 Bad Request", NO_KEY))
    plain = [
        b"GET %b HTTP/1.1" % target,
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        # Browsers and the library ws end a connection if the server accepts none of their subprotocols.
        *(b"Sec-WebSocket-Protocol: %b" % offered for offered in lists[b"sec-websocket-protocol"][:1]),
        # The value is not used, and trio-websocket fails at one that is not a name.
        *(b"%b: %b" % (name, b"x" if name == b"host" else value) for name, value in headers if name not in _LISTS),
        b"\r\n",
    ]
    return headers, b"\r\n".join(plain)


def _elements(headers: list[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    """The elements of a list, which may have several lines (RFC 9110 section 5.3), without invalid ones."""
    values = b",".join(value for name, value in headers if name == wanted)
    return [element for part in values.split(b",") if _ELEMENT.fullmatch(element := part.strip(b" \t"))]
