"""Clients over plain blocking sockets that show exactly what arrives, and send exactly the bytes a test wants.

Invariants: no client library between test and server (a small frame codec of our own for WebSocket), every wait has a
timeout, and nothing that arrived is lost: it stays in `messages` until it is taken. A message is a text frame on a
WebSocket and a line with its end on TCP.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import select
import socket
import ssl
import struct
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from tools.clients.server import Address

TIMEOUT_SECONDS = 30.0
SERVER_NAME = "localhost"  # what a server's certificate names, where there is one
RECEIVE_BYTES_MAX = 1 << 20

OPCODE_CONTINUATION = 0x0
OPCODE_TEXT = 0x1
OPCODE_BINARY = 0x2
OPCODE_CLOSE = 0x8
OPCODE_PING = 0x9
OPCODE_PONG = 0xA

# The answer that ends a command: `ok`, or its error. (On TCP an error that itself ends in a newline makes two lines.)
_END_OF_COMMAND = re.compile(r"(ok|error .*|) \n", re.DOTALL)


class EndOfConnectionError(AssertionError):
    """The server ended the connection while a message was awaited."""


def refuse_oneself(connected: socket.socket) -> None:
    """Raises ConnectionRefusedError if a socket is connected to itself.

    That happens on a port of the machine's own range on which nobody listens (a server that was killed), when the
    system gives that very port to the client. It would keep the server from coming back.
    """
    if connected.getsockname() == connected.getpeername():
        # By a reset: the port would be taken for a minute more (TIME_WAIT).
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connected.close()
        raise ConnectionRefusedError("connected to itself: nobody listens there")


class Connection(ABC):
    """One connection to the server; a context manager that closes it."""

    def __init__(
        self,
        address: Address,
        *,
        receive_buffer_bytes: int | None = None,
        tls: ssl.SSLContext | None = None,
        source: str = "",
    ) -> None:
        self.messages: list[str] = []  # what arrived and has not been taken
        self.is_ended = False  # whether the server has ended the connection
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.bind((source, 0))
            self.socket.connect(address)
            refuse_oneself(self.socket)
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname=SERVER_NAME)
            self.begin(address)
        except BaseException:
            self.socket.close()
            raise

    @abstractmethod
    def begin(self, address: Address) -> None:
        """Do what comes before the first command, on the connected socket."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abandon()

    def fileno(self) -> int:
        """Return the socket's descriptor, for `select`."""
        return self.socket.fileno()

    @property
    def is_closing(self) -> bool:
        """Whether the server has said that it ends the connection."""
        return self.is_ended

    @abstractmethod
    def send(self, text: str) -> None:
        """Send one command text."""

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Take bytes that arrived."""

    def partial(self) -> str:
        """Return what arrived of a message whose end did not (yet)."""
        return ""

    def take_partial(self) -> str:
        """Take what arrived of a message whose end did not."""
        return ""

    @abstractmethod
    def close(self) -> None:
        """Leave politely and wait until the server has ended the connection too."""

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def pump(self) -> bool:
        """Take what the socket has ready, waiting for it if there is nothing; say whether the connection still is."""
        try:
            data = self._receive()
        except ssl.SSLWantReadError:
            return True  # what arrived was TLS's own
        except (ConnectionResetError, ssl.SSLEOFError):
            data = b""
        if data:
            self.feed(data)
        else:
            self.is_ended = True
        return bool(data)

    def _receive(self) -> bytes:
        if not isinstance(self.socket, ssl.SSLSocket):
            return self.socket.recv(RECEIVE_BYTES_MAX)
        self._has_something(TIMEOUT_SECONDS)
        self.socket.settimeout(0)
        try:
            return self.socket.recv(RECEIVE_BYTES_MAX)
        finally:
            self.socket.settimeout(TIMEOUT_SECONDS)

    def _has_something(self, seconds: float) -> bool:
        """Wait so long for something to receive; say whether there is. TLS may hold what the socket has no more."""
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return True
        return bool(select.select([self], [], [], seconds)[0])

    def pump_until(self, condition: Callable[[], bool], *, timeout_seconds: float = TIMEOUT_SECONDS) -> bool:
        """Receive until a condition holds, the connection ends, or time is up; say whether the condition holds."""
        deadline = time.monotonic() + timeout_seconds
        while not condition():
            remaining = deadline - time.monotonic()
            if self.is_ended or remaining <= 0 or not self._has_something(remaining):
                return condition()
            self.pump()
        return True

    def take(self, count: int = 1, *, timeout_seconds: float = TIMEOUT_SECONDS) -> list[str]:
        """Wait for so many messages and take them."""
        if not self.pump_until(lambda: len(self.messages) >= count, timeout_seconds=timeout_seconds):
            reason = "the server ended the connection" if self.is_ended else f"nothing for {timeout_seconds} s"
            raise EndOfConnectionError(f"wanted {count} messages, have {self.messages[-20:]}: {reason}")
        taken, self.messages[:count] = self.messages[:count], []
        return taken

    def take_all(self) -> list[str]:
        """Take the messages that have arrived, without waiting."""
        taken, self.messages = self.messages, []
        return taken

    def ask(self, text: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> list[str]:
        """Send one command and take everything up to the answer that ends it."""
        self.send(text)
        return self.take_answer(timeout_seconds=timeout_seconds)

    def ask_all(self, *texts: str) -> list[list[str]]:
        """Send commands, each after the answer of the one before it, and return their answers."""
        return [self.ask(text) for text in texts]

    def take_answer(self, *, timeout_seconds: float = TIMEOUT_SECONDS) -> list[str]:
        """Wait for the answer that ends a command; take it with all that came before it."""
        answer: list[str] = []
        while not (answer and _END_OF_COMMAND.fullmatch(answer[-1])):
            answer += self.take(timeout_seconds=timeout_seconds)
        return answer

    def quiet(self, seconds: float = 0.1) -> list[str]:
        """Take everything that arrives until nothing did for so long: the way to show that something does not come."""
        while not self.is_ended and self._has_something(seconds):
            self.pump()
        return self.take_all()

    def wait_end(self, *, timeout_seconds: float = TIMEOUT_SECONDS) -> bool:
        """Wait until the server ends the connection; say whether it did in time."""
        return self.pump_until(lambda: self.is_ended, timeout_seconds=timeout_seconds)

    def abandon(self) -> None:
        """Drop the connection without a word."""
        self.socket.close()


class TcpClient(Connection):
    """A client of the line protocol; takes the greeting unless told not to."""

    def __init__(
        self,
        address: Address,
        *,
        greeting: bool = True,
        receive_buffer_bytes: int | None = None,
        tls: ssl.SSLContext | None = None,
        source: str = "",
    ) -> None:
        self._rest = b""
        self._has_greeting = greeting
        super().__init__(address, receive_buffer_bytes=receive_buffer_bytes, tls=tls, source=source)

    def begin(self, address: Address) -> None:
        """Take the greeting."""
        if self._has_greeting:
            assert self.take() == ["ok \n"]

    def send(self, text: str) -> None:
        """Send one line."""
        self.send_bytes(text.encode() + b"\n")

    def feed(self, data: bytes) -> None:
        """Cut bytes into lines."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.messages += [line.decode() + "\n" for line in lines]

    def partial(self) -> str:
        """Return what arrived of a line whose end did not (yet): a conflict's text has none."""
        return self._rest.decode()

    def take_partial(self) -> str:
        """Take what arrived of a line whose end did not."""
        taken, self._rest = self.partial(), b""
        return taken

    def close(self) -> None:
        """Say that nothing more will come and wait for the server's end."""
        with contextlib.suppress(OSError):
            if isinstance(self.socket, ssl.SSLSocket):
                # TLS has a word of its own for it. Without it, the server's complaint were taken for text.
                self.socket = self.socket.unwrap()
            self.socket.shutdown(socket.SHUT_WR)
        assert self.wait_end(), "the server did not end a TCP connection that its client left"
        self.socket.close()


def apply_mask(payload: bytes, mask: bytes) -> bytes:
    """Mask or unmask: one exclusive or over all bytes, as one big number."""
    length = len(payload)
    repeated = (mask * (length // 4 + 1))[:length]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(length, "big")


def encode_frame(
    opcode: int, payload: bytes, *, is_final: bool = True, is_masked: bool = True, mask: bytes | None = None
) -> bytes:
    """Return one WebSocket frame as a client sends it (RFC 6455 section 5.2), by default with a new mask."""
    first = (0x80 if is_final else 0) | opcode
    mask_bit = 0x80 if is_masked else 0
    if len(payload) < 126:
        head = struct.pack("!BB", first, mask_bit | len(payload))
    elif len(payload) < 1 << 16:
        head = struct.pack("!BBH", first, mask_bit | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, mask_bit | 127, len(payload))
    if not is_masked:
        return head + payload
    mask = mask or os.urandom(4)
    return head + mask + apply_mask(payload, mask)


def text_frames(texts: Iterable[str]) -> bytes:
    """Return the frames of several texts as one piece of bytes."""
    return b"".join(encode_frame(OPCODE_TEXT, text.encode()) for text in texts)


class WebSocketClient(Connection):
    """A WebSocket client; `close_code`, `pongs` and `pings` hold what the server sent besides text."""

    def __init__(
        self,
        address: Address,
        *,
        path: str = "/",
        headers: Iterable[str] = (),
        receive_buffer_bytes: int | None = None,
        tls: ssl.SSLContext | None = None,
        source: str = "",
    ) -> None:
        self.close_code: int | None = None
        self.close_reason = ""
        self.pongs: list[bytes] = []
        self.pings = 0
        self._path = path
        self._is_close_sent = False
        self._buffer = b""
        self._fragments = b""
        self._headers = "".join(f"{header}\r\n" for header in headers)
        self.answers_pings = True
        super().__init__(address, receive_buffer_bytes=receive_buffer_bytes, tls=tls, source=source)

    @property
    def is_closing(self) -> bool:
        """Whether the server's close frame has come."""
        return self.is_ended or self.close_code is not None

    def begin(self, address: Address) -> None:
        """Do the opening handshake."""
        key = base64.b64encode(os.urandom(16)).decode()
        self.send_bytes(
            f"GET {self._path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{self._headers}\r\n".encode()
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = self.socket.recv(RECEIVE_BYTES_MAX)
            if not data:
                raise EndOfConnectionError(f"the server ended the connection in the handshake: {answer!r}")
            answer += data
        head, _, rest = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise EndOfConnectionError(f"the server refused the handshake: {head!r}")
        if rest:
            self.feed(rest)

    def send(self, text: str) -> None:
        """Send one text frame."""
        self.send_bytes(encode_frame(OPCODE_TEXT, text.encode()))

    def feed(self, data: bytes) -> None:
        """Cut bytes into frames; the server's must not be masked (RFC 6455 section 5.1)."""
        self._buffer += data
        while (parts := self._next_frame()) is not None:
            first, payload = parts
            self._take_frame(first & 0x0F, bool(first & 0x80), payload)

    def _next_frame(self) -> tuple[int, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        assert not buffer[1] & 0x80, "a server's frame must not be masked"
        assert not buffer[0] & 0x70, "reserved bits without an extension"
        length, head = buffer[1], 2
        if length == 126:
            head = 4
            length = int.from_bytes(buffer[2:4], "big")
        elif length == 127:
            head = 10
            length = int.from_bytes(buffer[2:10], "big")
        if len(buffer) < head + length:
            return None
        self._buffer = buffer[head + length :]
        return buffer[0], buffer[head : head + length]

    def _take_frame(self, opcode: int, is_final: bool, payload: bytes) -> None:
        match opcode:
            case 0x0 | 0x1:
                self._fragments += payload
                if is_final:
                    self.messages.append(self._fragments.decode())
                    self._fragments = b""
            case 0x8:
                self.close_code = int.from_bytes(payload[:2], "big") if payload else 1005
                self.close_reason = payload[2:].decode()
                if not self._is_close_sent:  # the answer of the closing handshake, as every browser gives it
                    with contextlib.suppress(OSError):
                        self._send_close(payload[:2])
            case 0x9:
                self.pings += 1
                if self.answers_pings:
                    self.send_bytes(encode_frame(OPCODE_PONG, payload))
            case 0xA:
                self.pongs.append(payload)
            case _:
                raise AssertionError(f"a frame with opcode {opcode}")

    def close(self) -> None:
        """Do the closing handshake and wait for the server's end."""
        with contextlib.suppress(OSError):
            self._send_close(struct.pack("!H", 1000))
        assert self.wait_end(), "the server did not end a WebSocket that its client closed"
        self.socket.close()

    def _send_close(self, payload: bytes) -> None:
        self._is_close_sent = True
        self.send_bytes(encode_frame(OPCODE_CLOSE, payload))

    def wait_close(self, *, timeout_seconds: float = TIMEOUT_SECONDS) -> int | None:
        """Wait for the server's close frame or its end; return the close code, if there was one."""
        self.pump_until(lambda: self.close_code is not None, timeout_seconds=timeout_seconds)
        return self.close_code


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """One HTTP answer; header names are in lower case."""

    version: str
    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


class HttpClient:
    """One HTTP connection on which a test sends any bytes and reads the answers in order; a context manager."""

    def __init__(self, address: Address, *, tls: ssl.SSLContext | None = None, source: str = "") -> None:
        self.address = address
        self.socket = socket.create_connection(address, TIMEOUT_SECONDS, (source, 0))
        refuse_oneself(self.socket)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=SERVER_NAME)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.socket.close()

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def request(
        self, body: str | bytes, *, method: str = "POST", path: str = "/", headers: Iterable[str] = ()
    ) -> HttpResponse:
        """Send one request with a Content-Length and read its answer."""
        data = body.encode() if isinstance(body, str) else body
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.address}", f"Content-Length: {len(data)}", *headers]
        self.send_bytes("\r\n".join([*lines, "", ""]).encode() + data)
        return self.read_response(method=method)

    def read_response(self, *, method: str = "POST") -> HttpResponse:
        """Read one answer: a body of a given length, in chunks, or up to the end of the connection."""
        head = self._read_until(b"\r\n\r\n").decode("latin-1")
        status_line, *lines = head[:-4].split("\r\n")
        version, status, *_ = status_line.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if method == "HEAD" or status.startswith("1") or status in ("204", "304"):
            body = b""
        elif "chunked" in headers.get("transfer-encoding", "").lower():
            body = self._read_chunks()
        elif "content-length" in headers:
            body = self._read_exactly(int(headers["content-length"]))
        else:
            body = self._read_to_end()
        return HttpResponse(version, int(status), headers, body)

    def is_ended(self) -> bool:
        """Wait for the server's end of the connection; say whether it came without any further byte."""
        try:
            return not self._buffer and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def _more(self) -> bool:
        data = self.socket.recv(RECEIVE_BYTES_MAX)
        self._buffer += data
        return bool(data)

    def _read_until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            if not self._more():
                raise EndOfConnectionError(f"the connection ended in the middle of an answer: {self._buffer!r}")
        index = self._buffer.index(end) + len(end)
        taken, self._buffer = self._buffer[:index], self._buffer[index:]
        return taken

    def _read_exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            if not self._more():
                raise EndOfConnectionError(f"the connection ended {count - len(self._buffer)} bytes before the end")
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _read_chunks(self) -> bytes:
        body = b""
        while size := int(self._read_until(b"\r\n").split(b";")[0], 16):
            body += self._read_exactly(size + 2)[:-2]
        self._read_until(b"\r\n")
        return body

    def _read_to_end(self) -> bytes:
        while self._more():
            pass
        taken, self._buffer = self._buffer, b""
        return taken


def http_post(address: Address, body: str | bytes) -> str:
    """Post one body on a connection of its own and return the answer's text; its status must be 200."""
    with HttpClient(address) as client:
        response = client.request(body)
    assert response.status == 200, response
    return response.text
