"""WebSocket: one text frame holds one or more commands, each message is a frame (docs/protocol.md section 1).

trio-websocket is the authority on the protocol (RFC 6455); the lane takes over what is plain (`fast_path.py`). Close
frames that we begin with go through the lane too: behind its own, trio-websocket fails at a ping.
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
from pynun.language import framing, messages
from pynun.transports.allowed_origins import NOT_ALLOWED
from pynun.transports.clients import client_of
from pynun.transports.peer import ConnectionOrigin
from pynun.transports.websocket.fast_path import Lane
from pynun.transports.websocket.frames import FrameOutbox, close_frame

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

    from pynun.transports.clients import Client
    from pynun.transports.service import Receiver, Service

GOING_AWAY: Final = 1001
INVALID_TEXT: Final = 1007
POLICY: Final = 1008
TRY_AGAIN_LATER: Final = 1013


async def serve_websocket(
    socket: socket.socket, service: Service, stopping: trio.Event, client: Client | None = None
) -> None:
    """One connection, from its handshake to its end."""
    client = client or client_of(socket)
    outbox = FrameOutbox(socket, service.flusher, service.outbox_bytes_max)
    origin = ConnectionOrigin("websocket", socket, outbox, client)
    session = service.open_session(outbox, origin)
    try:
        await serve_receiver(
            socket,
            service,
            stopping,
            outbox,
            session,
            framing.websocket_commands,
            session.close,
            origin=origin,
            is_member=session.has_logged_in,
            client=client,
        )
    finally:
        session.close()
        service.flusher.flush()


async def serve_receiver(
    socket: socket.socket,
    service: Service,
    stopping: trio.Event,
    outbox: FrameOutbox,
    receiver: Receiver,
    commands_of: Callable[[str], Iterable[str]],
    on_overflow: Callable[[], None],
    text_of: Callable[[bytes], str] = bytes.decode,
    origin: ConnectionOrigin | None = None,
    is_member: Callable[[], bool] = lambda: False,
    client: Client | None = None,
) -> None:
    """The protocol part of a connection: whatever executes the texts (the Autobahn suite talks to an echo).

    `text_of` gives the text of a binary message, or raises UnicodeDecodeError: the connection is closed with 1007.
    `is_member` says whether the client has logged in.
    """
    lane = Lane(socket, outbox, receiver, service, commands_of, client or client_of(socket))
    lane.held.is_member = is_member
    try:
        async with trio.open_nursery() as nursery:
            overflowed = trio.Event()
            outbox.on_overflow = overflowed.set
            lane.held.on_end = partial(_give_up, lane, on_overflow, nursery.cancel_scope)
            lane.connection = await _shake_hands(nursery, lane, service)
            if lane.connection is not None:
                nursery.start_soon(_end_when_stopping, lane, outbox, stopping, nursery.cancel_scope)
                nursery.start_soon(_end_when_overflowed, outbox, overflowed, on_overflow, nursery.cancel_scope)
                if origin is not None:
                    origin.on_disconnect = partial(_begin_disconnecting, nursery, lane, outbox, on_overflow)
                lane.on_gone = partial(_leave, service, on_overflow, nursery.cancel_scope)
                service.peers.add(lane)
                lane.open()
                await _pass_messages(lane.connection, lane, receiver, service, outbox, commands_of, text_of)
            nursery.cancel_scope.cancel()
    finally:
        if origin is not None:
            origin.on_disconnect = None
        service.peers.discard(lane)
        lane.forget()
        await lane.aclose()
        lane.connection = None  # which knows the lane: a cycle that would keep its fragments until it is collected


async def _shake_hands(nursery: trio.Nursery, lane: Lane, service: Service) -> WebSocketConnection | None:
    """The accepted connection, or None if the client did not speak the protocol or took too long."""
    with trio.move_on_after(service.handshake_seconds) as scope:
        lane.on_closed = scope.cancel
        service.waits_to_cancel.add(scope)
        try:
            request = await wrap_server_stream(
                nursery,
                lane,
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
    if not lane.is_page_answered:
        service.counters.refused["handshake"] += 1
    return None


async def _pass_messages(
    connection: WebSocketConnection,
    lane: Lane,
    receiver: Receiver,
    service: Service,
    outbox: FrameOutbox,
    commands_of: Callable[[str], Iterable[str]],
    text_of: Callable[[bytes], str],
) -> None:
    """The messages that the lane leaves to trio-websocket: fragmented, binary. Returns at the end of the connection."""
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
                    await lane.send_all(close_frame(INVALID_TEXT, "a message must be UTF-8 text"))
                return
        await service.execute_all(receiver, commands_of(message), outbox)
        del message
        lane.message_done()
        service.flusher.flush()
        if service.committer.is_full:
            await service.committer.wait_for_room()


def _leave(service: Service, on_leaving: Callable[[], None], scope: trio.CancelScope) -> None:
    """The client is not there any more: it leaves the session at once."""
    if not scope.cancel_called:
        service.counters.dropped["gone"] += 1
        on_leaving()
        scope.cancel()


def _give_up(lane: Lane, on_leaving: Callable[[], None], scope: trio.CancelScope) -> None:
    """The client makes the server hold too much: it leaves its session at once, and is told why if it reads."""
    on_leaving()
    lane.give_up()
    scope.cancel()


async def _end_when_stopping(lane: Lane, outbox: FrameOutbox, stopping: trio.Event, scope: trio.CancelScope) -> None:
    """The server stops: what the client asked for is answered, then it is told."""
    await stopping.wait()
    with trio.move_on_after(limits.CLOSE_SECONDS), contextlib.suppress(trio.BrokenResourceError):
        await lane.wait_at_rest()
        await outbox.wait_sent()
        await lane.send_all(close_frame(GOING_AWAY, "the server is stopping"))
    scope.cancel()


def _begin_disconnecting(
    nursery: trio.Nursery, lane: Lane, outbox: FrameOutbox, on_leaving: Callable[[], None]
) -> None:
    # One that ends by itself may have closed its nursery already, and not yet gone on.
    if not nursery.cancel_scope.cancel_called:
        nursery.start_soon(_disconnect, lane, outbox, on_leaving, nursery.cancel_scope)


async def _disconnect(lane: Lane, outbox: FrameOutbox, on_leaving: Callable[[], None], scope: trio.CancelScope) -> None:
    """The administrator wants this connection ended: it leaves its session at once, and is told why if it reads."""
    on_leaving()
    with trio.move_on_after(limits.CLOSE_SECONDS), contextlib.suppress(trio.BrokenResourceError):
        await lane.send_all(close_frame(POLICY, messages.DISCONNECTED))
        await outbox.wait_sent()
    scope.cancel()


async def _end_when_overflowed(
    outbox: FrameOutbox, overflowed: trio.Event, on_overflow: Callable[[], None], scope: trio.CancelScope
) -> None:
    """The client does not read: it leaves the session at once, and is told why if it reads in time."""
    await overflowed.wait()
    on_overflow()
    outbox.send_last(close_frame(TRY_AGAIN_LATER, "too much waits to be read"))
    with trio.move_on_after(limits.STALLED_SECONDS):
        await outbox.wait_sent()
    scope.cancel()
