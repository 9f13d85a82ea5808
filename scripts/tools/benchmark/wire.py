"""Bytes as clients send them, and a small blocking WebSocket client for what is not measured (set-up, checks).

No client library: the load generators send frames that were built beforehand, and may not cost what a library costs.
"""

from __future__ import annotations

import base64
import os
import socket
from typing import TYPE_CHECKING, Self

from tools.clients import exact_clients

if TYPE_CHECKING:
    from tools.clients.server import Address

DATABASE = "bench"
TOKEN = "bench-token"
LOGIN = f"use-db {DATABASE} {TOKEN}"
VALUE_BYTES = 200
REPLY_SECONDS_MAX = 30.0
"""Longer than any server here takes for anything. After that the run fails instead of hanging."""
RECEIVE_BYTES = 64 * 1024
"""Below what the C library gets from the kernel anew each time: 256 KiB made a receive five times as expensive."""

OK_FRAME = b"\x81\x04ok \n"
OK_LINE = b"ok \n"
PING_FRAME = b"\x89\x00"
"""Sent to silent clients; occurs in no message of ASCII text."""


class WireError(Exception):
    """A server answered something else than the protocol or the load expects; the text is for a person."""


def key_name(number: int) -> str:
    """The keys of a benchmark's database: all of the same length."""
    return f"key-{number:08d}"


def watched_key_name(number: int) -> str:
    """The keys that a writer sets and watchers watch."""
    return f"watched-key-{number}" if number else "watched-key"


def value_of(number: int, length: int = VALUE_BYTES) -> str:
    """The value of the key with this number."""
    return f"{number:08d}".ljust(length, "V")


def encode_frame(text: str, mask: bytes | None = None) -> bytes:
    """One text frame from a client."""
    return exact_clients.encode_frame(exact_clients.OPCODE_TEXT, text.encode(), mask=mask)


def pong_frame() -> bytes:
    """The answer to a ping (RFC 6455 section 5.5.3)."""
    return b"\x8a\x80" + os.urandom(4)


def handshake_request(address: Address) -> bytes:
    """What a client sends first on a WebSocket connection (RFC 6455 section 4.1)."""
    return (
        f"GET / HTTP/1.1\r\nHost: {address.host}:{address.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def connect(address: Address, protocol: str, receive_buffer_bytes: int | None = None) -> socket.socket:
    """A blocking connection, after the WebSocket handshake if it is one. Raises WireError when that is refused."""
    connection = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    connection.settimeout(REPLY_SECONDS_MAX)
    if receive_buffer_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.connect(address)
    if protocol == "websocket":
        connection.sendall(handshake_request(address))
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += connection.recv(RECEIVE_BYTES) or ended()
        if not answer.startswith(b"HTTP/1.1 101"):
            raise WireError(f"the server refused the handshake: {answer!r}")
    return connection


def log_in(address: Address, protocol: str) -> socket.socket:
    """A connection that has selected the benchmark's database (HTTP and Redis: just connected)."""
    connection = connect(address, protocol)
    try:
        if protocol == "websocket":
            ask(connection, encode_frame(LOGIN), OK_FRAME)
        elif protocol == "tcp":
            ask(connection, b"", OK_LINE)
            ask(connection, f"{LOGIN}\n".encode(), OK_LINE)
    except BaseException:
        connection.close()
        raise
    return connection


def ask(connection: socket.socket, request: bytes, expected: bytes) -> None:
    """Send a request and wait for exactly this answer. Raises WireError for another."""
    connection.sendall(request)
    received = b""
    while len(received) < len(expected):
        received += connection.recv(len(expected) - len(received)) or ended()
    if received != expected:
        raise WireError(f"expected {expected[:100]!r}, the server answered {received[:200]!r}…")


def ended() -> bytes:
    """What an empty receive means. Raises WireError."""
    raise WireError("the server ended a connection")


class Control:
    """A WebSocket connection for set-up and checks; a context manager that closes it."""

    def __init__(
        self, address: Address, *, receive_buffer_bytes: int | None = None, reply_seconds_max: float = REPLY_SECONDS_MAX
    ) -> None:
        self._socket = connect(address, "websocket", receive_buffer_bytes)
        self._socket.settimeout(reply_seconds_max)
        self._received = self._socket.makefile("rb", buffering=RECEIVE_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._received.close()
        self._socket.close()

    def ask(self, text: str) -> list[str]:
        """Send one command; return its messages without the `ok` that ends them. Raises WireError for an error."""
        return self.ask_all([text])[0]

    def ask_all(self, texts: list[str], *, in_flight: int = 50) -> list[list[str]]:
        """Send commands with some in flight and return the messages of each, as `ask`."""
        answers: list[list[str]] = []
        for start in range(0, len(texts), in_flight):
            some = texts[start : start + in_flight]
            self._socket.sendall(b"".join(map(encode_frame, some)))
            answers += [self._take_answer(text) for text in some]
        return answers

    def _take_answer(self, command: str) -> list[str]:
        messages: list[str] = []
        while (message := self.next_message()) != "ok \n":
            if message.startswith("error "):
                raise WireError(f"{command.split(' ', 1)[0]} was answered {message!r}")
            messages.append(message)
        return messages

    def next_message(self) -> str:
        """Wait for the next message. Raises WireError at the end of the connection, TimeoutError when none comes."""
        while (head := self._take(2)) == PING_FRAME:
            self._socket.sendall(pong_frame())
        length = head[1]
        if length >= 126:
            length = int.from_bytes(self._take(2 if length == 126 else 8), "big")
        payload = self._take(length)
        if head[0] != 0x81:
            raise WireError(f"the server sent a frame that begins {head!r}: {payload[:200]!r}")
        return payload.decode()

    def _take(self, count: int) -> bytes:
        data: bytes = self._received.read(count)
        return data if len(data) == count else ended()
