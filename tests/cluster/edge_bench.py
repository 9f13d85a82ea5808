"""An edge beside a service: a link over a socket pair, and connections whose sessions are at its other end."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio

from pynun.cluster.edge_connections import serve_tcp_at_edge, serve_websocket_at_edge
from pynun.cluster.edge_link import EdgeHost, Link, NoRevisions
from pynun.cluster.owner_link import Sharing
from pynun.transports.flusher import Flusher
from pynun.transports.sockets import receive, send
from tests.transports.service_bench import MESSAGE_BYTES_MAX, OUTBOX_BYTES_MAX, socket_pair

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from pynun.transports.service import Service


@asynccontextmanager
async def open_host(
    message_bytes_max: int = MESSAGE_BYTES_MAX, outbox_bytes_max: int = OUTBOX_BYTES_MAX
) -> AsyncIterator[EdgeHost]:
    """An edge; its connections end with the block."""
    async with trio.open_nursery() as nursery:
        yield EdgeHost(
            Flusher(NoRevisions(), nursery), message_bytes_max=message_bytes_max, outbox_bytes_max=outbox_bytes_max
        )
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_link_of(host: EdgeHost, service: Service, stopping: trio.Event) -> AsyncIterator[Link]:
    """A link to a service; it ends with the block, if not before."""
    ours, theirs = socket_pair()

    async def serve() -> None:
        with ours:
            await Sharing(service, stopping).serve(ours, "edge")

    async with trio.open_nursery() as nursery:
        service.flusher.nursery.start_soon(serve)
        link = Link(theirs, host)
        await nursery.start(_run, link, theirs)
        yield link
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_link(service: Service, stopping: trio.Event) -> AsyncIterator[Link]:
    """A link to a service, from a host of its own; it ends with the block."""
    async with (
        open_host(service.message_bytes_max, service.outbox_bytes_max) as host,
        open_link_of(host, service, stopping) as link,
    ):
        yield link


async def _run(link: Link, theirs: socket.socket, *, task_status: trio.TaskStatus[None]) -> None:
    with theirs:
        await link.run(task_status=task_status)


class EdgeClient:
    """A TCP client of an edge."""

    def __init__(self, host: EdgeHost, nursery: trio.Nursery) -> None:
        ours, self.socket = socket_pair()
        self.ended = trio.Event()
        nursery.start_soon(self._serve, host, ours)

    async def _serve(self, host: EdgeHost, ours: socket.socket) -> None:
        with self.socket:
            with ours:
                await serve_tcp_at_edge(ours, host)
            self.ended.set()
            await trio.sleep_forever()

    async def ask(self, text: str, answer: str) -> None:
        """Send a command, and expect just that answer."""
        await send(self.socket, f"{text}\n".encode())
        await self.expect(answer)

    async def expect(self, text: str) -> None:
        """Expect just that."""
        received = b""
        while len(received) < len(text.encode()):
            data = await receive(self.socket, len(text.encode()) - len(received))
            assert data, received
            received += data
        assert received.decode() == text

    async def expect_end(self) -> None:
        """Expect that the connection ends, and nothing before."""
        assert await receive(self.socket) == b""
        self.socket.close()
        await self.ended.wait()


async def serve_tcp_elsewhere(connected: socket.socket, service: Service, stopping: trio.Event) -> None:
    """As `serve_tcp`, through an edge."""
    async with open_link(service, stopping) as link:
        await serve_tcp_at_edge(connected, link.host)


async def serve_websocket_elsewhere(connected: socket.socket, service: Service, stopping: trio.Event) -> None:
    """As `serve_websocket`, through an edge."""
    async with open_link(service, stopping) as link:
        with suppress(OSError):
            await serve_websocket_at_edge(connected, link.host)
