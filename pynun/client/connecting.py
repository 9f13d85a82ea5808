"""Where a server is, and the way to an open stream there: names, TLS, time-outs, and what to tell of failures."""

from __future__ import annotations

import errno
import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import trio

from pynun import unix_socket
from pynun.certificate_authority import explain_distrust
from pynun.client.errors import ConnectionFailed

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how to connect. Times in seconds; `keepalive_s` None means that no pings are sent."""

    url: str
    ssl_context: ssl.SSLContext | None
    connect_timeout_s: float
    keepalive_s: float | None
    message_bytes_max: int

    def __post_init__(self) -> None:
        if self.socket is not None:
            if self.ssl_context is not None:
                raise ValueError("an authority or an ssl_context is for wss:// URLs: a Unix socket is not encrypted")
            return
        parts = urlsplit(self.url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ValueError("the URL of a WebSocket server begins with ws:// or wss://, such as ws://127.0.0.1:3012")
        if parts.username is not None or parts.password is not None:
            raise ValueError("give user and password as arguments, not in the URL")
        _ = parts.port  # raises ValueError if it is no port
        if self.ssl_context is not None and not self.is_encrypted:
            raise ValueError("an authority or an ssl_context is for wss:// URLs: ws:// is not encrypted")

    @property
    def socket(self) -> Path | None:
        """The server's Unix socket, if the URL is that of one (`unix:PATH`)."""
        return unix_socket.path_of(self.url)

    @property
    def is_encrypted(self) -> bool:
        return urlsplit(self.url).scheme == "wss"

    @property
    def host(self) -> str:
        return "localhost" if self.socket else urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or (443 if self.is_encrypted else 80)

    @property
    def resource(self) -> str:
        """Path and query of the handshake's request."""
        if self.socket:
            return "/"
        parts = urlsplit(self.url)
        return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port in (80, 443) else f"{host}:{self.port}"

    def failed(self, why: str) -> ConnectionFailed:
        """The exception for a connection that can't be opened."""
        return ConnectionFailed(f"cannot connect to {self.url}: {why}")


class ClientStream(trio.abc.Stream):
    """The socket's stream, which also tells when no answer to the WebSocket handshake can come (any more).

    trio-websocket waits for that answer for ever if the server hangs up instead, as a container's proxy does whenever
    the server behind it is down, or if the port speaks something else, as Nun-db's TCP port does.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._is_first = True
        self.ended = trio.Event()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            self.ended.set()
            raise
        if not data or (self._is_first and data[:1] != b"H"):  # an answer begins with "HTTP/1.1"
            self.ended.set()
        self._is_first = False
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        self.ended.set()
        await self._stream.aclose()


async def open_stream(target: Target) -> ClientStream:
    """A stream to the target, TLS included. Raises ConnectionFailed."""
    try:
        with trio.fail_after(target.connect_timeout_s):
            if target.is_encrypted:
                return ClientStream(await _open_encrypted_stream(target))
            if target.socket is not None:
                return ClientStream(await _open_socket(target.socket))
            return ClientStream(await trio.open_tcp_stream(target.host, target.port))
    except trio.TooSlowError:
        hint = "; does it speak wss? Else use ws://" if target.is_encrypted else ""
        raise target.failed(f"it did not answer in time{hint}") from None
    except OSError as error:  # also a name that can't be resolved
        raise target.failed(_explain(error)) from error
    except trio.BrokenResourceError as error:  # what TLS complains of is its cause
        raise target.failed(_explain(error.__cause__ or error)) from error


async def _open_socket(path: Path) -> trio.SocketStream:
    connected = await trio.to_thread.run_sync(unix_socket.connect, path, abandon_on_cancel=True)
    connected.setblocking(False)
    return trio.SocketStream(trio.socket.from_stdlib_socket(connected))


async def _open_encrypted_stream(target: Target) -> trio.SSLStream[trio.SocketStream]:
    stream = await trio.open_ssl_over_tcp_stream(
        target.host, target.port, https_compatible=True, ssl_context=target.ssl_context
    )
    try:
        await stream.do_handshake()  # now, while its failures are told apart from those of the WebSocket handshake
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


def _explain(error: BaseException) -> str:
    """One line for people. Trio reports the attempts on several addresses of a name as a group."""
    cause: BaseException = error
    while isinstance(cause, BaseExceptionGroup) or isinstance(cause.__cause__, OSError | BaseExceptionGroup):
        cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cast("BaseException", cause.__cause__)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate {explain_distrust(cause)}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed ({cause.reason or cause}); does it speak wss?"
    if isinstance(cause, OSError) and cause.strerror:
        # A positive number is the system's, and trio's own text around it is longer than it says.
        reason = os.strerror(cause.errno) if cause.errno is not None and cause.errno > 0 else cause.strerror
        if cause.errno == errno.ECONNREFUSED:
            return f"{reason}; start the server, or give the address of its WebSocket port (usually 3012)"
        return f"{reason}; check the address and the network"
    return str(cause) or type(cause).__name__
