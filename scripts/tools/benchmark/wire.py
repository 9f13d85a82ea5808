"""Bytes as clients send them, and a small blocking WebSocket client for what is not measured (set-up, checks).

No client library: the load generator sends frames that were built beforehand, and may not cost what a library costs.
"""

from __future__ import annotations

import base64
import itertools
import os
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

REPLY_SECONDS_MAX = 30.0
"""Longer than any server here takes for anything; past it the run fails instead of hanging."""
RECEIVE_BYTES = 64 * 1024
"""Below what the C library gets from the kernel anew each time: 256 KiB made a receive five times as expensive."""

OK_FRAME = b"\x81\x04ok \n"
OK_LINE = b"ok \n"
PING_FRAME = b"\x89\x00"
"""What a client that says nothing gets now and then; occurs in no message of ASCII text."""
VALUE_BYTES = 200


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int


class WireError(Exception):
    """A server answered something else than the protocol or the load expects; the text is for a person."""


def encode_frame(payload: bytes, mask: bytes) -> bytes:
    """One final text frame from a client, masked (RFC 6455 section 5.2)."""
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", 0x81, 0x80 | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", 0x81, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", 0x81, 0x80 | 127, length)
    return head + mask + apply_mask(payload, mask)


def pong_frame() -> bytes:
    """The answer to a ping (RFC 6455 section 5.5.3)."""
    return b"\x8a\x80" + os.urandom(4)


def apply_mask(payload: bytes, mask: bytes) -> bytes:
    """Mask or unmask: one exclusive or over all bytes, as one big number."""
    length = len(payload)
    repeated = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(length, "big")


def encode_redis_command(*words: bytes) -> bytes:
    """A command in Redis' protocol: an array of strings."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def encode_http_request(body: bytes) -> bytes:
    """A request as Nun-db's HTTP clients send it, on a connection that stays open."""
    return b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def connect(address: Address, receive_buffer_bytes: int | None = None) -> socket.socket:
    """A blocking connection without Nagle's delay; the kernel's buffer for what arrives may be limited."""
    connection = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    connection.settimeout(REPLY_SECONDS_MAX)
    if receive_buffer_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.connect(address)
    return connection


def handshake_request(address: Address) -> bytes:
    """What a client sends first on a WebSocket connection (RFC 6455 section 4.1)."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET / HTTP/1.1\r\nHost: {address.host}:{address.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def connect_websocket(address: Address, receive_buffer_bytes: int | None = None) -> socket.socket:
    """A connection with the opening handshake done. Raises WireError when the server refuses it."""
    connection = connect(address, receive_buffer_bytes)
    connection.sendall(handshake_request(address))
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        chunk = connection.recv(RECEIVE_BYTES)
        if not chunk:
            raise WireError(f"the server ended the connection in the handshake after {answer!r}")
        answer += chunk
    if not answer.startswith(b"HTTP/1.1 101"):
        raise WireError(f"the server refused the handshake: {answer!r}")
    return connection


def take_bytes(connection: socket.socket, count: int) -> bytes:
    """Receive exactly so many bytes. Raises WireError when the connection ends before."""
    received = b""
    while len(received) < count:
        chunk = connection.recv(count - len(received))
        if not chunk:
            raise WireError(f"the server ended the connection after {received!r}")
        received += chunk
    return received


class Control:
    """A WebSocket connection for set-up and checks; a context manager that closes it."""

    def __init__(
        self,
        address: Address,
        *,
        receive_buffer_bytes: int | None = None,
        reply_seconds_max: float = REPLY_SECONDS_MAX,
    ) -> None:
        self._socket = connect_websocket(address, receive_buffer_bytes)
        self._socket.settimeout(reply_seconds_max)
        self._buffer = b""
        self._position = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, text: str) -> list[str]:
        """Send one command; return its messages without the `ok` that ends them. Raises WireError for an error."""
        return self.ask_all([text])[0]

    def ask_all(self, texts: list[str], *, in_flight: int = 50) -> list[list[str]]:
        """Send commands with some in flight and return the messages of each, as `ask`."""
        answers: list[list[str]] = []
        for start in range(0, len(texts), in_flight):
            some = texts[start : start + in_flight]
            self._socket.sendall(b"".join(encode_frame(text.encode(), os.urandom(4)) for text in some))
            answers += [self._take_answer(text) for text in some]
        return answers

    def set_many(self, commands: Iterable[str], *, commands_a_frame: int = 500) -> None:
        """Send `set` commands, many in one frame, and wait for every `ok`: the quick way to fill a database."""
        remaining = iter(commands)
        while some := list(itertools.islice(remaining, commands_a_frame)):
            self._socket.sendall(encode_frame(";".join(some).encode(), os.urandom(4)))
            if (answer := self._take(len(OK_FRAME) * len(some))) != OK_FRAME * len(some):
                raise WireError(f"a set was refused: {answer[:200]!r}")

    def _take_answer(self, command: str) -> list[str]:
        messages: list[str] = []
        while True:
            message = self.next_message()
            if message == "ok \n":
                return messages
            if message.startswith("error "):
                raise WireError(f"{command.split(' ', 1)[0]} was answered {message!r}")
            messages.append(message)

    def next_message(self) -> str:
        """Wait for the next message. Raises WireError at the end of the connection, TimeoutError when none comes."""
        while (head := self._take(2)) == PING_FRAME:
            self._socket.sendall(pong_frame())
        length = head[1] & 0x7F
        if length == 126:
            length = int.from_bytes(self._take(2), "big")
        elif length == 127:
            length = int.from_bytes(self._take(8), "big")
        payload = self._take(length)
        if head[0] != 0x81:
            raise WireError(f"the server sent a frame that begins {head!r}: {payload[:200]!r}")
        return payload.decode()

    def _take(self, count: int) -> bytes:
        while len(self._buffer) - self._position < count:
            chunk = self._socket.recv(RECEIVE_BYTES)
            if not chunk:
                raise WireError("the server ended the connection")
            self._buffer, self._position = self._buffer[self._position :] + chunk, 0
        start, self._position = self._position, self._position + count
        return self._buffer[start : self._position]


class RawClient:
    """A WebSocket connection for long values: requests are built beforehand, answers are counted and thrown away."""

    def __init__(self, address: Address, login: str) -> None:
        self._socket = connect_websocket(address)
        self._room = memoryview(bytearray(1 << 20))
        self.burst([self.request(login)], 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @staticmethod
    def request(text: str) -> bytes:
        """The frame of a command."""
        return encode_frame(text.encode(), os.urandom(4))

    def burst(self, requests: list[bytes], messages_each: int) -> None:
        """Send requests and wait for all their messages, of which the last is `ok`. Raises WireError for another."""
        for request in requests:
            self._socket.sendall(request)
        for _ in requests:
            for _ in range(messages_each - 1):
                self._skip(self._next_length())
            if self._next_length() != len(OK_FRAME) - 2 or take_bytes(self._socket, len(OK_FRAME) - 2) != OK_FRAME[2:]:
                raise WireError("a command was not answered with ok")

    def _next_length(self) -> int:
        length = take_bytes(self._socket, 2)[1]
        if length >= 126:
            length = int.from_bytes(take_bytes(self._socket, 2 if length == 126 else 8), "big")
        return length

    def _skip(self, missing: int) -> None:
        while missing:
            received = self._socket.recv_into(self._room[: min(missing, len(self._room))])
            if not received:
                raise WireError("the server ended the connection")
            missing -= received
