"""Reads the records of a link between two nodes, and notices when the other one is silent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import trio

from pynun import limits
from pynun.cluster.link_records import NUMBER, PING, VERSION, record, split
from pynun.transports.connection_reader import Outcome, SocketReader
from pynun.transports.send_queue import SendQueue
from pynun.transports.sockets import has_unread

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from pynun.cluster.link_records import Record
    from pynun.transports.flusher import Flusher
    from pynun.transports.service import ConnectionHost

PING_SECONDS: Final = 1.0
_SILENCES_MAX: Final = 3
"""A node that is not heard of for so many pings is gone."""

QUEUE_BYTES_MAX: Final = 64 * 1024 * 1024
"""More than that waits for no node: its clients are better off elsewhere."""

_ROOM_BYTES: Final = 1024 * 1024
"""While so much waits, no more is made that has to be sent."""

_PING: Final = record(PING, 0, NUMBER.pack(VERSION))


class RecordQueue(SendQueue):
    """Records that wait to be sent to the other node."""

    __slots__ = ()

    def __init__(self, connected: socket.socket, flusher: Flusher) -> None:
        super().__init__(connected, flusher, _ROOM_BYTES)

    def append(self, encoded: bytes) -> None:
        """Have a record sent, unless the link has ended."""
        if self._is_sealed:
            return
        self._ready.append(encoded)
        self._bytes += len(encoded)
        if not self._is_dirty:
            self._is_dirty = True
            self._flusher.add(self)
        if self.is_stalled and self._bytes - (0 if self._unsent is None else len(self._unsent)) > QUEUE_BYTES_MAX:
            self._overflow()


class Taker(Protocol):
    """What uses the records of a link."""

    def take(self, received: Record) -> None:
        """Use one. Raises LinkRecordError."""


class RecordReader(SocketReader):
    """Reads the records of one link, served by the reactor."""

    def __init__(self, connected: socket.socket, host: ConnectionHost, queue: RecordQueue, taker: Taker) -> None:
        super().__init__(connected, host)
        self._queue = queue
        self._take = taker.take
        self._records: Iterator[Record] = iter(())

    def feed(self, data: bytes) -> Outcome:
        if data:
            self._split(data)
        left = limits.SLICE_COMMANDS
        for received in self._records:
            self._take(received)
            left -= 1
            if not left:
                return Outcome.MORE
            if self._must_wait():
                return Outcome.FULL
        return Outcome.FULL if self._must_wait() else Outcome.WAIT

    def _must_wait(self) -> bool:
        """Whether so much waits already that nothing more is read for now."""
        return False

    def _split(self, data: bytes) -> None:
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < self._wanted:
                return
            records, used, self._wanted = split(rest)
            del rest[:used]
        else:
            records, used, self._wanted = split(data)
            rest += data[used:]
        self._records = iter(records)

    async def run(self) -> None:
        """Read until the link ends. Raises LinkRecordError."""
        flusher = self._service.flusher
        outcome = Outcome.WAIT
        while outcome is not Outcome.END:
            flusher.flush()
            if outcome is Outcome.WAIT:
                await self.wait()
                outcome = self.outcome
                continue
            if outcome is Outcome.FULL:
                await self._wait_for_room()
            await trio.lowlevel.checkpoint()
            outcome = self.feed(b"")
        flusher.flush()

    async def _wait_for_room(self) -> None:
        """Return when more may be read."""

    async def keep_alive(self) -> None:
        """Return when the other node is gone, or does not take what it is sent."""
        silences = 0
        self._ping()
        while silences < _SILENCES_MAX:
            with trio.move_on_after(PING_SECONDS):
                await self._queue.overflowed.wait()
                return
            if self.has_heard or has_unread(self.socket):  # unread: it is this node that was asleep
                self.has_heard = False
                silences = 0
            else:
                silences += 1
            if not self._queue.is_stalled:
                self._ping()

    def _ping(self) -> None:
        self._queue.append(_PING)
        self._service.flusher.flush()
