"""Pass a client's bytes on to the node that owns the engine, and its bytes back."""

from __future__ import annotations

import contextlib
import socket
import ssl

import trio

from pynun.transports.sockets import linger, receive


async def splice(client: socket.socket, owner: socket.socket) -> None:
    """Pass bytes on until the owner ends the connection, or either is gone. The caller closes both.

    What the client does not read stays with the owner, whose outbox knows what to do with slow readers.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_pass_on_to_owner, client, owner, nursery.cancel_scope)
        with contextlib.suppress(OSError):
            await _pass_on(owner, client)
        nursery.cancel_scope.cancel()
    await linger(client)


async def _pass_on_to_owner(client: socket.socket, owner: socket.socket, relay: trio.CancelScope) -> None:
    """The client may send no more and still be answered. (TLS has no such half: the owner takes the end of the stream
    for that of TLS.)
    """
    try:
        await _pass_on(client, owner)
        socket.socket.shutdown(owner, socket.SHUT_WR)
    except OSError:
        relay.cancel()


async def _pass_on(source: socket.socket, target: socket.socket) -> None:
    while data := await receive(source):
        await _send_all(target, data)


async def _send_all(connected: socket.socket, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[connected.send(view) :]
        except (BlockingIOError, ssl.SSLWantWriteError):
            await trio.lowlevel.wait_writable(connected)
