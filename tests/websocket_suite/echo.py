"""An echo server on the WebSocket transport: `python -m tests.websocket_suite.echo`, as a process of its own.

Everything between socket and session is the server's own: fast path, outbox, trio-websocket. Only the session is
replaced by an echo, which the public suite needs. Prints its port, and runs until its standard input ends.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
from pathlib import Path

import trio

from pynun.commit.bell import Bell
from pynun.commit.committer import Committer
from pynun.engine.commands.table import COMMANDS
from pynun.engine.counters import Counters
from pynun.engine.engine import Context, Engine
from pynun.server.login.passwords import Passwords
from pynun.storage.store import LmdbStore
from pynun.transports.flusher import Flusher
from pynun.transports.service import Service
from pynun.transports.websocket.connection import serve_receiver
from pynun.transports.websocket.frames import FrameOutbox, text_frame

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
OUTBOX_BYTES_MAX = 8 * 1024 * 1024


class BinaryText(str):
    """A binary message on its way through what takes text: each character is a byte."""

    __slots__ = ()

    @classmethod
    def of(cls, data: bytes) -> BinaryText:
        """Wrap the bytes of a message."""
        return cls(data.decode("latin-1"))


class Echo:
    """Sends every message back as it came."""

    def __init__(self, outbox: FrameOutbox) -> None:
        self._outbox = outbox

    def execute(self, text: str) -> None:
        """Send one message back."""
        if isinstance(text, BinaryText):
            frame = bytearray(text_frame(text.encode("latin-1")))
            frame[0] = 0x82  # FIN and the opcode of a binary frame
            self._outbox.send_raw(bytes(frame))
        else:
            self._outbox.send_raw(text_frame(text.encode()))


async def _accept(listening: socket.socket, service: Service) -> None:
    with listening:
        listening.setblocking(False)
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(listening)
                with contextlib.suppress(BlockingIOError):  # the client is gone already
                    connected, _ = listening.accept()
                    connected.setblocking(False)
                    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    nursery.start_soon(_serve, connected, service)


async def _serve(connected: socket.socket, service: Service) -> None:
    stopping = trio.Event()  # never set: at the end the connections are cancelled
    outbox = FrameOutbox(connected, service.flusher, OUTBOX_BYTES_MAX)
    await serve_receiver(
        connected, service, stopping, outbox, Echo(outbox), lambda text: (text,), lambda: None, BinaryText.of
    )


async def _run(folder: Path) -> None:
    store = LmdbStore(folder)
    passwords = Passwords(memory_kib=8, passes=1, lanes=1)
    context = Context("", "", os.getpid(), time.time_ns, passwords)
    engine = Engine(
        store, context, Counters(len(COMMANDS)), revision=store.revision, operations=store.operations, is_relaxed=False
    )
    async with trio.open_nursery() as nursery:
        service = Service(
            engine,
            Committer(engine, store, Bell()),
            Flusher(engine.view, nursery),
            passwords,
            message_bytes_max=MESSAGE_BYTES_MAX,
            outbox_bytes_max=OUTBOX_BYTES_MAX,
        )
        listening = socket.create_server(("127.0.0.1", 0))
        nursery.start_soon(_accept, listening, service)
        print(listening.getsockname()[1], flush=True)
        async with trio.lowlevel.FdStream(os.dup(0)) as standard_input:
            await standard_input.receive_some(1)
        nursery.cancel_scope.cancel()
    store.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="pynun-echo-") as data:
        trio.run(_run, Path(data))
