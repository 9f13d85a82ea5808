"""An outbox over a real socket with a small buffer, the client's end of it, and batches that are written on request."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import trio
import trio.testing

from pynun.engine.events import Event
from pynun.engine.overlay import Entry, View
from pynun.transports.flusher import Flusher
from pynun.transports.tcp.lines import LineOutbox
from tests.storage.memory_store import MemoryStore
from tests.transports.service_bench import socket_pair

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

BYTES_MAX = 40_000
SOCKET_BYTES = 4608
"""The smallest buffer that Linux gives a socket (socket(7)); a little more than half of it is for data."""


class OutboxBench:
    """One outbox of lines and all around it."""

    def __init__(self, nursery: trio.Nursery, *, bytes_max: int = BYTES_MAX) -> None:
        self.view = View(MemoryStore(), revision=0, operations=0, is_relaxed=False)
        self.flusher = Flusher(self.view, nursery)
        self.ours, self.theirs = socket_pair()
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        self.outbox = LineOutbox(self.ours, self.flusher, bytes_max)

    @property
    def overflows(self) -> int:
        """How often it overflowed."""
        count = self.flusher.counters.dropped["slow_reader"]
        assert self.outbox.overflowed.is_set() == bool(count)
        return count

    # --- what the engine and the committer do ------------------------------------------------------------------

    def change(self) -> int:
        """Change something; the batch that it is in."""
        self.view.write(b"\0\0\0\1k", Entry(0, "v"))
        return self.view.batch.revision

    def event(self, key: str | None, text: str, revision: int = 0) -> None:
        """Tell of a change."""
        self.outbox.event(Event(key, (f"{text}\n",), revision))

    def begin_commit(self) -> int:
        """Take the batch being filled."""
        return self.view.take_batch().revision

    def finish_commit(self) -> None:
        """The batch that was taken is on disk."""
        batch = self.view.writing
        assert batch is not None
        self.view.written()
        for waiter in batch.waiters:
            waiter.released(batch.revision)
        self.flusher.flush()

    def lose(self, reason: str = "why") -> None:
        """What is not on disk never will be."""
        for batch in self.view.drop():
            for waiter in batch.waiters:
                waiter.failed(batch.revision, reason)
        self.flusher.flush()

    # --- what the client does ----------------------------------------------------------------------------------

    def read(self, bytes_max: int = 1 << 20) -> bytes:
        """What has arrived, at most so much; b"" if nothing."""
        with suppress(BlockingIOError):
            return self.theirs.recv(bytes_max)
        return b""

    async def read_all(self) -> bytes:
        """Read until nothing more comes."""
        received = bytearray()
        while True:
            await trio.testing.wait_all_tasks_blocked()
            data = self.read()
            if not data:
                return bytes(received)
            received += data

    def stall(self) -> bytes:
        """Fill the socket until the outbox has to wait; what it was filled with."""
        filling = b""
        while not self.outbox.is_stalled:
            line = b"filling %d %b\n" % (len(filling), b"." * 500)
            self.outbox.send_raw(line)
            self.flusher.flush()
            filling += line
        return filling


def run(
    test: Callable[[OutboxBench], Awaitable[None]], *, bytes_max: int = BYTES_MAX, clock: MockClock | None = None
) -> None:
    """Run a test with a bench of its own."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            bench = OutboxBench(nursery, bytes_max=bytes_max)
            try:
                await test(bench)
            finally:
                nursery.cancel_scope.cancel()
                bench.ours.close()
                bench.theirs.close()

    trio.run(main, clock=clock)
