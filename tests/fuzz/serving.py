"""What the readers of connections need around them, without an event loop: made once, for thousands of inputs a second.

Service, committer, flusher, outboxes and sockets are the real ones; the store is a dict and the receiver keeps what it
is told to execute. Nothing runs beside a reader, so an input has one outcome.
"""

from __future__ import annotations

import atexit
import socket
from typing import TYPE_CHECKING, cast

from pynun.commit.committer import Committer
from pynun.transports.flusher import Flusher
from pynun.transports.service import Service
from tests.engine.world import World
from tests.transports.service_bench import Resolver

if TYPE_CHECKING:
    import trio

    from pynun.engine.effects import Need, Suspension

MESSAGE_BYTES_MAX = 300
"""Small, so that inputs of the fuzzer are above and below it."""


class Receiver:
    """Keeps texts; one that begins with `wait` is suspended before it is done, as a password check is."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def execute(self, text: str) -> Suspension | None:
        """Keep it."""
        if text.startswith("wait"):
            return self._later(text)
        self.texts.append(text)
        return None

    def _later(self, text: str) -> Suspension:
        yield cast("Need", None)
        self.texts.append(text)


def finish(suspension: Suspension | None) -> None:
    """Drive a suspended command to its end."""
    for _ in suspension or ():
        pass


def new_service() -> Service:
    """A service outside of any event loop: nothing of it may have to wait."""
    world = World()
    world.commit()
    committer = Committer(world.engine, world.store, world.bell)
    flusher = Flusher(world.view, cast("trio.Nursery", None))
    return Service(
        world.engine,
        committer,
        flusher,
        Resolver(world),
        message_bytes_max=MESSAGE_BYTES_MAX,
        outbox_bytes_max=1_000_000,
    )


class Wire:
    """The server's end of a connection, and what it has said so far; closed when the process ends."""

    def __init__(self) -> None:
        self.ours, self._theirs = socket.socketpair()
        self.ours.setblocking(False)
        self._theirs.setblocking(False)
        for end in (self.ours, self._theirs):
            atexit.register(end.close)

    def take(self) -> bytes:
        """All that was sent since the last time."""
        said = b""
        while True:
            try:
                data = self._theirs.recv(1 << 20)
            except BlockingIOError:
                return said
            said += data
