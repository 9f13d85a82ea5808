"""TCP: a greeting, then one line is one command (docs/protocol.md section 1)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from pynun import limits
from pynun.protocol import messages
from pynun.transports.client_address import client_of
from pynun.transports.connection_reader import Outcome
from pynun.transports.peer import ConnectionPeer
from pynun.transports.sockets import is_machine_gone, linger
from pynun.transports.tcp.lines import LineOutbox, LineReader

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pynun.transports.client_address import Client
    from pynun.transports.flusher import Flusher
    from pynun.transports.service import ClientSession, ConnectionHost

TCP_REFUSAL: Final = messages.error(messages.TOO_MANY_CONNECTIONS).encode()
"""Text for a connection beyond the limits, before it is closed."""

TCP_PLAIN_TEXT_REFUSAL: Final = messages.error(messages.NEEDS_TLS).encode()
"""Text for a client without TLS on a TLS port."""

_GREETING: Final = messages.TCP_GREETING.encode()


async def serve_tcp(
    connected: socket.socket,
    service: ConnectionHost,
    stopping: trio.Event,
    client: Client | None = None,
    *,
    make_outbox: Callable[[socket.socket, Flusher, int], LineOutbox] = LineOutbox,
) -> None:
    """One connection, from its greeting to its end."""
    client = client or client_of(connected)
    outbox = make_outbox(connected, service.flusher, service.outbox_bytes_max)
    peer = ConnectionPeer("tcp", connected, outbox, client)
    session = service.open_session(outbox, peer)
    scope = trio.CancelScope()
    reader = LineReader(
        connected,
        outbox,
        session,
        service,
        client,
        session.has_logged_in,
        partial(_end, session, scope, outbox.give_up, messages.TOO_MUCH_UNFINISHED),
    )
    checked = _CheckedPeer(connected, outbox, service, scope)
    try:
        with scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_when, outbox.overflowed, scope)
                nursery.start_soon(_cancel_when, stopping, scope)
                peer.on_disconnect = partial(_disconnect, session, reader, outbox, scope)
                service.peers.add(checked)
                outbox.send_raw(_GREETING)
                service.flusher.flush()
                await _run_lines(reader, service, outbox)
                scope.cancel()
        if not outbox.overflowed.is_set():
            with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLOSE_SECONDS):
                await outbox.wait_sent()
            await linger(connected)
    finally:
        service.peers.discard(checked)
        service.reactor.forget(connected)
        reader.forget()
        session.close()
        service.flusher.flush()


def _end(session: ClientSession, scope: trio.CancelScope, tell: Callable[[bytes], None], why: str) -> None:
    """End the session at once, and tell the client why."""
    session.close()
    tell(messages.error(why).encode())
    scope.cancel()


def _disconnect(session: ClientSession, reader: LineReader, outbox: LineOutbox, scope: trio.CancelScope) -> None:
    """End it on request of the administrator."""
    reader.forget()
    _end(session, scope, outbox.complete, messages.DISCONNECTED)


class _CheckedPeer:
    """The client of one connection, for `check_peers`. The protocol has no ping, so only its machine is checked."""

    def __init__(
        self, connected: socket.socket, outbox: LineOutbox, service: ConnectionHost, scope: trio.CancelScope
    ) -> None:
        self._socket = connected
        self.outbox = outbox
        self._counters = service.counters
        self._scope = scope

    def check_alive(self, idle_seconds: float) -> None:
        if is_machine_gone(self._socket, idle_seconds) and not self._scope.cancel_called:
            self._counters.dropped["gone"] += 1
            self._scope.cancel()


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def _run_lines(reader: LineReader, service: ConnectionHost, outbox: LineOutbox) -> None:
    """Run lines until the client closes or sends one that is too long."""
    match await reader.read_on():
        case Outcome.END | Outcome.ENDED:
            return
        case Outcome.FOREIGN:
            reader.forget()
            outbox.refuse((), reader.foreign, 0)
        case Outcome.TOO_BIG:
            service.counters.dropped["message_too_big"] += 1
            reader.forget()
            outbox.refuse((), messages.MESSAGE_TOO_BIG, 0)
        case outcome:
            raise AssertionError(outcome)
