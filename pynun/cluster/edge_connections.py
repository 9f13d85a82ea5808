"""Connections whose sessions are at another node."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pynun.cluster.remote_outbox import Ending, RemoteFrameOutbox, RemoteLineOutbox
from pynun.transports.tcp.connection import serve_tcp
from pynun.transports.websocket.connection import serve_websocket

if TYPE_CHECKING:
    import socket

    from pynun.cluster.edge_link import EdgeHost
    from pynun.transports.client_address import Client


async def serve_tcp_at_edge(connected: socket.socket, host: EdgeHost, client: Client | None = None) -> None:
    """One TCP connection, from its greeting to its end."""
    ending = Ending()
    with ending.scope:
        await serve_tcp(connected, host, ending.event, client, make_outbox=partial(RemoteLineOutbox, ending=ending))


async def serve_websocket_at_edge(
    connected: socket.socket, host: EdgeHost, client: Client | None = None, head: bytes = b""
) -> None:
    """One WebSocket connection, from its handshake to its end; `head` is what was read of that already."""
    ending = Ending()
    make_outbox = partial(RemoteFrameOutbox, ending=ending)
    with ending.scope:
        await serve_websocket(connected, host, ending.event, client, make_outbox=make_outbox, head=head)
