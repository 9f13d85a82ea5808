"""Non-blocking sockets of the standard library under trio: read, write, end, and query the kernel."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Final

import trio

from pynun import limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHECKS: Final = 3
"""Checks of a connection within the idle time, at least."""

_FILE_PIECE_BYTES: Final = 256 * 1024

# The head of struct tcp_info (linux/tcp.h): eight bytes, then words of four.
_HEAD: Final = struct.Struct("=8B13I")
_ESTABLISHED: Final = 1  # the first byte is the state (tcp_states.h)
_RETRANSMITS, _PROBES, _LAST_ACK_RECEIVED_MS = 2, 3, 8 + 12


async def linger(connected: socket.socket) -> None:
    """Send the end of the stream, then read on until the peer's end comes, for a short while.

    Closing a socket that holds unread bytes resets the connection, and a reset takes with it what the peer has not
    read yet: the very message that says why (RFC 9112 section 9.6 describes the same for HTTP).
    """
    with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLOSE_SECONDS):
        try:
            if isinstance(connected, ssl.SSLSocket):
                with contextlib.suppress(OSError, ValueError):
                    connected.unwrap()  # sends TLS's own end; that of the peer is not waited for
            connected.shutdown(socket.SHUT_WR)
            while await receive(connected):
                pass
        except OSError:
            return


def has_unread(connected: socket.socket) -> bool:
    """Whether unread bytes from the peer wait; its end of stream does not count."""
    try:
        # The method of the plain socket: what is encrypted counts as it is.
        return bool(socket.socket.recv(connected, 1, socket.MSG_PEEK))
    except OSError:
        return False


async def receive(connected: socket.socket, bytes_max: int = limits.RECEIVE_BYTES) -> bytes:
    """Wait for input and return it; b"" at the end. Raises OSError, or trio.ClosedResourceError if closed here."""
    if isinstance(connected, ssl.SSLSocket):
        await trio.lowlevel.checkpoint()  # TLS may hold decrypted bytes although the socket is not readable
    else:
        await trio.lowlevel.wait_readable(connected)
    while True:
        try:
            return connected.recv(bytes_max)
        except (BlockingIOError, ssl.SSLWantReadError):
            await trio.lowlevel.wait_readable(connected)


async def complete_handshake(wrapped: ssl.SSLSocket) -> None:
    """Do the handshake of a TLS socket. Raises OSError (ssl.SSLError)."""
    while True:
        try:
            wrapped.do_handshake()
        except ssl.SSLWantReadError:
            await trio.lowlevel.wait_readable(wrapped)
        except ssl.SSLWantWriteError:
            await trio.lowlevel.wait_writable(wrapped)
        else:
            return


async def send(connected: socket.socket, data: bytes, on_unread: Callable[[int], None] = lambda _: None) -> None:
    """Send all of it. Raises as `receive` does, and TimeoutError if the client reads nothing.

    `on_unread` is called with how much is left, whenever that waits for the client to read.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[connected.send(view) :]
        except (BlockingIOError, ssl.SSLWantWriteError):
            on_unread(len(view))
            with trio.move_on_after(limits.STALLED_SECONDS) as waiting:
                await trio.lowlevel.wait_writable(connected)
            if waiting.cancelled_caught:
                raise TimeoutError("the client reads nothing") from None


async def send_file(
    connected: socket.socket,
    path: Path,
    head_of: Callable[[int], bytes],
    on_unread: Callable[[int], None],
    *,
    is_head_only: bool = False,
) -> None:
    """Send a file behind the head for its size, read in a thread. Raises as `send` does, and OSError."""
    with await trio.to_thread.run_sync(path.open, "rb") as file:
        left = os.fstat(file.fileno()).st_size
        await send(connected, head_of(left), on_unread)
        while left and not is_head_only:
            piece = await trio.to_thread.run_sync(file.read, min(left, _FILE_PIECE_BYTES))
            if not piece:
                raise OSError(errno.EIO, "the file has become shorter")
            left -= len(piece)
            await send(connected, piece, on_unread)


def address_of(connected: socket.socket) -> str:
    """The peer's address, without its port; "" if it is gone."""
    try:
        peer = connected.getpeername()
    except OSError:
        return ""  # it is gone, and its session will be
    return str(peer[0]) if isinstance(peer, tuple) else ""


def is_machine_gone(connected: socket.socket, idle_seconds: float) -> bool:
    """Whether what was sent, or a probe, has gone unacknowledged for most of the idle time."""
    try:
        info = _HEAD.unpack(connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _HEAD.size))
    except OSError:
        return False  # closed meanwhile; its reader knows
    is_unanswered = info[_RETRANSMITS] > 0 or info[_PROBES] > 0
    patience_ms = idle_seconds * 1000 * (CHECKS - 1) / CHECKS
    return bool(is_unanswered and info[_LAST_ACK_RECEIVED_MS] >= patience_ms)


def has_hung_up(connected: socket.socket) -> bool:
    """Whether the peer has ended or reset the connection, whatever of it is still unread."""
    try:
        return connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED
    except OSError:
        return connected.fileno() < 0  # closed here, or no TCP
