"""WebSocket: one text frame holds one or more commands, each message is a frame (docs/protocol.md section 1).

trio-websocket is the authority on the protocol (RFC 6455); the fast path takes over what is plain (`fast_path.py`).
Close frames that we begin with go through the fast path too: behind its own, trio-websocket fails at a ping.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Final

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionTimeout,
    HandshakeError,
    WebSocketConnection,
    wrap_server_stream,
)

from pynun import limits
from pynun.protocol import framing, messages
from pynun.transports.allowed_origins import NOT_ALLOWED
from pynun.transports.client_address import client_of
from pynun.transports.peer import ConnectionPeer
from pynun.transports.websocket.fast_path import FastPath
from pynun.transports.websocket.frames import FrameOutbox, close_frame

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

    from pynun.transports.client_address import Client
    from pynun.transports.flusher import Flusher
    from pynun.transports.service import ConnectionHost, Receiver

GOING_AWAY: Final = 1001
INVALID_TEXT: Final = 1007
POLICY: Final = 1008
TRY_AGAIN_LATER: Final = 1013


async def serve_websocket(
    socket: socket.socket,
    service: ConnectionHost,
    stopping: trio.Event,
    client: Client | None = None,
    *,
    make_outbox: Callable[[socket.socket, Flusher, int], FrameOutbox] = FrameOutbox,
    head: bytes = b"",
) -> None:
    """One connection, from its handshake to its end; `head` is what was read of that already."""
    client = client or client_of(socket)
    outbox = make_outbox(socket, service.flusher, service.outbox_bytes_max)
    peer = ConnectionPeer("websocket", socket, outbox, client)
    session = service.open_session(outbox, peer)
    try:
        await serve_receiver(
            socket,
            service,
            stopping,
            outbox,
            session,
            framing.websocket_commands,
            session.close,
            peer=peer,
            is_authenticated=session.has_logged_in,
            client=client,
            head=head,
        )
    finally:
        session.close()
        service.flusher.flush()


async def serve_receiver(
    socket: socket.socket,
    service: ConnectionHost,
    stopping: trio.Event,
    outbox: FrameOutbox,
    receiver: Receiver,
    commands_of: Callable[[str], Iterable[str]],
    on_leaving: Callable[[], None],
    text_of: Callable[[bytes], str] = bytes.decode,
    peer: ConnectionPeer | None = None,
    is_authenticated: Callable[[], bool] = lambda: False,
    client: Client | None = None,
    head: bytes = b"",
) -> None:
    """The protocol part of a connection, with any executor of texts (for the Autobahn suite, an echo).

    `text_of` decodes a binary message, or raises UnicodeDecodeError: the connection is closed with 1007. `on_leaving`
    is called when the client leaves before the connection has ended; `is_authenticated` tells whether it has logged in;
    `head` is the handshake, if that was read already.
    """
    scope = trio.CancelScope()
    fast_path = FastPath(
        socket, outbox, receiver, service, commands_of, client or client_of(socket), scope, on_leaving, is_authenticated
    )
    fast_path.head = head
    try:
        with scope:
            async with trio.open_nursery() as nursery:
                fast_path.connection = await _shake_hands(nursery, fast_path, service)
                if fast_path.connection is not None:
                    nursery.start_soon(_end_when_stopping, fast_path, outbox, stopping, scope)
                    nursery.start_soon(_end_when_overflowed, outbox, on_leaving, scope)
                    if peer is not None:
                        peer.on_disconnect = partial(
                            _begin_disconnecting, nursery, fast_path, outbox, on_leaving, scope
                        )
                    service.peers.add(fast_path)
                    fast_path.open()
                    await _pass_messages(
                        fast_path.connection, fast_path, receiver, service, outbox, commands_of, text_of
                    )
                scope.cancel()
    finally:
        if peer is not None:
            peer.on_disconnect = None
        service.peers.discard(fast_path)
        fast_path.forget()
        await fast_path.aclose()
        fast_path.connection = None  # break the cycle with the fast path, which would keep fragments


async def _shake_hands(
    nursery: trio.Nursery, fast_path: FastPath, service: ConnectionHost
) -> WebSocketConnection | None:
    """The accepted connection, or None if the client did not speak the protocol or took too long."""
    with fast_path.handshake as scope:
        scope.deadline = trio.current_time() + service.handshake_seconds
        service.waits_to_cancel.add(scope)
        try:
            request = await wrap_server_stream(
                nursery,
                fast_path,
                message_queue_size=0,
                max_message_size=service.message_bytes_max,
                receive_buffer_size=limits.RECEIVE_BYTES,
            )
            if not service.allowed_origins.allow((name.lower(), value) for name, value in request.headers):
                service.counters.refused["origin"] += 1
                await request.reject(403, body=NOT_ALLOWED.encode())
                return None
            return await request.accept(subprotocol=next(iter(request.proposed_subprotocols), None))
        except (HandshakeError, ConnectionClosed, ConnectionTimeout, trio.BrokenResourceError):
            service.counters.refused["handshake"] += 1
            return None
        finally:
            service.waits_to_cancel.discard(scope)
    if not fast_path.is_page_answered:
        service.counters.refused["handshake"] += 1
    return None


async def _pass_messages(
    connection: WebSocketConnection,
    fast_path: FastPath,
    receiver: Receiver,
    service: ConnectionHost,
    outbox: FrameOutbox,
    commands_of: Callable[[str], Iterable[str]],
    text_of: Callable[[bytes], str],
) -> None:
    """Handle the fragmented and binary messages, left to trio-websocket, until the connection ends."""
    while True:
        try:
            message = await connection.get_message()
        except ConnectionClosed:
            return
        if isinstance(message, bytes):
            try:
                message = text_of(message)
            except UnicodeDecodeError:
                with contextlib.suppress(trio.BrokenResourceError):
                    await fast_path.send_all(close_frame(INVALID_TEXT, "a message must be UTF-8 text"))
                return
        await service.execute_all(receiver, commands_of(message), outbox)
        del message
        fast_path.message_done()
        service.flusher.flush()
        if service.committer.is_full:
            await service.committer.wait_for_room()


async def _end_when_stopping(
    fast_path: FastPath, outbox: FrameOutbox, stopping: trio.Event, scope: trio.CancelScope
) -> None:
    """The server stops: answer received commands, then tell the client."""
    await stopping.wait()
    with trio.move_on_after(limits.CLOSE_SECONDS), contextlib.suppress(trio.BrokenResourceError):
        await fast_path.wait_at_rest()
        await outbox.wait_sent()
        await fast_path.send_all(close_frame(GOING_AWAY, "the server is stopping"))
    scope.cancel()


def _begin_disconnecting(
    nursery: trio.Nursery,
    fast_path: FastPath,
    outbox: FrameOutbox,
    on_leaving: Callable[[], None],
    scope: trio.CancelScope,
) -> None:
    # One that ends by itself may have closed its nursery already, and not yet gone on.
    if not scope.cancel_called:
        nursery.start_soon(_disconnect, fast_path, outbox, on_leaving, scope)


async def _disconnect(
    fast_path: FastPath, outbox: FrameOutbox, on_leaving: Callable[[], None], scope: trio.CancelScope
) -> None:
    """End the connection on request of the administrator: end the session at once, and tell the client why if it
    reads."""
    on_leaving()
    with trio.move_on_after(limits.CLOSE_SECONDS), contextlib.suppress(trio.BrokenResourceError):
        await fast_path.send_all(close_frame(POLICY, messages.DISCONNECTED))
        await outbox.wait_sent()
    scope.cancel()


async def _end_when_overflowed(outbox: FrameOutbox, on_leaving: Callable[[], None], scope: trio.CancelScope) -> None:
    """The client does not read: end the session at once, and tell the client why if it reads in time."""
    await outbox.overflowed.wait()
    on_leaving()
    outbox.send_last(close_frame(TRY_AGAIN_LATER, "too much waits to be read"))
    with trio.move_on_after(limits.STALLED_SECONDS):
        await outbox.wait_sent()
    scope.cancel()
