"""A whole server but for its listeners: engine, committer and service, with the ends of socket pairs as clients.

Everything in it is the real thing except for the store, which is a dict, and the credentials, which cost nothing.
"""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio
import trio.testing

from pynun.commit.committer import Committer
from pynun.transports.flusher import Flusher
from pynun.transports.service import Service
from pynun.transports.sockets import receive, send
from tests.engine.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from pynun.engine.effects import Answer, Need
    from pynun.engine.overlay import View

MESSAGE_BYTES_MAX = 200_000
OUTBOX_BYTES_MAX = 1_000_000
TEST_SECONDS_MAX = 20.0


class Resolver:
    """Answers needs as the world's credentials do, after letting others work."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def answer(self, need: Need) -> Answer:
        """The answer to a need."""
        await trio.lowlevel.checkpoint()
        return self._world.credentials.answer(need)


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """A server's end and a client's end, as the listeners hand them on: non-blocking."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


@asynccontextmanager
async def open_service(
    world: World | None = None,
    *,
    message_bytes_max: int = MESSAGE_BYTES_MAX,
    outbox_bytes_max: int = OUTBOX_BYTES_MAX,
    seconds_max: float = TEST_SECONDS_MAX,
    is_committing: bool = True,
    make_flusher: Callable[[View, trio.Nursery], Flusher] = Flusher,
) -> AsyncIterator[Service]:
    """A service; all of it ends behind the block. If it is not committing, the world has to be told to commit."""
    world = World() if world is None else world
    world.commit()
    with trio.fail_after(seconds_max):
        async with trio.open_nursery() as committing:
            async with trio.open_nursery() as connections:
                flusher = make_flusher(world.view, connections)
                committer = Committer(world.engine, world.store, world.bell, flusher.flush)
                if is_committing:
                    committing.start_soon(committer.run)
                service = Service(
                    world.engine,
                    committer,
                    flusher,
                    Resolver(world),
                    message_bytes_max=message_bytes_max,
                    outbox_bytes_max=outbox_bytes_max,
                )
                yield service
                connections.cancel_scope.cancel()
            committer.stop()


async def send_in_pieces(client: socket.socket, pieces: list[bytes]) -> None:
    """Send each piece once the one before it has been dealt with."""
    for piece in pieces:
        try:
            await send(client, piece)
        except OSError:
            return  # the server has hung up
        await trio.testing.wait_all_tasks_blocked()


class _Durable:
    """Waits for a batch."""

    def __init__(self) -> None:
        self.event = trio.Event()

    def released(self, revision: int) -> None:
        """It is on disk."""
        self.event.set()

    def failed(self, revision: int, reason: str) -> None:
        """It is lost."""
        self.event.set()


async def wait_until_quiet(service: Service) -> None:
    """Return when nobody has anything to do and everything is on disk."""
    await trio.testing.wait_all_tasks_blocked()
    view = service.engine.view
    while view.newest_unwritten:
        waiter = _Durable()
        if view.add_waiter(view.newest_unwritten, waiter):
            await waiter.event.wait()
        await trio.testing.wait_all_tasks_blocked()


async def converse(service: Service, serve: Callable[[socket.socket], Awaitable[None]], pieces: list[bytes]) -> bytes:
    """Send the pieces to a connection that is served so, end the stream, and return all that came back.

    The client reads all the time, and ends when nothing more comes: what it was still owed at its end need not arrive.
    """
    ours, theirs = socket_pair()
    received = bytearray()

    async def run() -> None:
        await serve(ours)
        ours.close()

    async def read() -> None:
        with suppress(OSError):
            while data := await receive(theirs):
                received.extend(data)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            service.flusher.nursery.start_soon(run)
            await send_in_pieces(theirs, pieces)
            await wait_until_quiet(service)
            with suppress(OSError):
                theirs.shutdown(socket.SHUT_WR)
    finally:
        theirs.close()
    await trio.testing.wait_all_tasks_blocked()
    assert ours.fileno() < 0, "the connection did not end with its client"
    return bytes(received)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces that end at these places, which count around."""
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[first:last] for first, last in zip([0, *ends], ends, strict=False) if first < last]
