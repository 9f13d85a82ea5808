"""One task that reads the sockets of all connections.

A trio task for each connection costs a task switch, a reschedule and a re-armed epoll registration for every message:
more than the message itself. So the sockets of the connections lie in an epoll set of our own, level-triggered, and
one task waits for that set to become readable and hands what has arrived to the readers, which run the commands at
once (docs/architecture.md has the figures).

A reader that meets something that takes time (a password check, a full outbox, a control frame) says so, leaves the
set, and its connection's own task goes on from there, until it waits again.
"""

from __future__ import annotations

import enum
import logging
import select
import ssl
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

import trio

from pynun import limits
from pynun.transports.input_budget import Held

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pynun.engine.steps import Suspension
    from pynun.transports.clients import Client
    from pynun.transports.outbox import Flusher, Outbox
    from pynun.transports.service import Service

_log = logging.getLogger("nun_db")

_TURN_SECONDS: Final = 0.003
"""How long ready sockets are served before trio's other tasks (the committer, HTTP, time-outs) get their turn."""

_LINGER_SECONDS: Final = 60e-6
"""After serving, so long more data is looked for before the task waits, if nothing else has to be done: a client that
sends its next command on the answer then need not wait until a processor that went to sleep is awake, nor for a turn of
trio (measured, docs/performance.md: one connection: p50 0.21 to 0.14 ms or less). At the 120 messages a
second of a viewer in motion it takes less than a hundredth of a core, and nothing of an idle server."""

_READY_MAX: Final = 64
"""Ready sockets looked at in one go."""

_FLUSH_READERS: Final = 8
"""Readers served before what they have to say is sent: events for the same watchers leave together, and the clients
of the first need not wait for the last."""


class Outcome(enum.Enum):
    """Why a reader stopped in what it was fed."""

    WAIT = enum.auto()
    """Everything complete has been used: more has to arrive."""
    END = enum.auto()
    """The peer closed or reset the connection."""
    MORE = enum.auto()
    """Many commands have run, and more are there: others are to have their turn first."""
    SUSPENDED = enum.auto()
    """A command waits for something: `ChunkReader.suspension`."""
    FULL = enum.auto()
    """More waits for the client than may, or for the disk."""
    MANY = enum.auto()
    """One message holds several commands: `FrameReader.commands`."""
    CONTROL = enum.auto()
    """A control frame is at the start of what is left."""
    ODD = enum.auto()
    """What is left is not for the fast path."""
    TOO_BIG = enum.auto()
    """A message is longer than allowed."""
    FOREIGN = enum.auto()
    """What came first is another protocol."""
    ENDED = enum.auto()
    """The connection is ended, because of what it held (`unfinished`); its task is cancelled already."""


class ChunkReader(ABC):
    """One connection's reader: cuts what arrives into commands and runs them."""

    def __init__(
        self, connected: socket.socket, outbox: Outbox, service: Service, client: Client | None = None
    ) -> None:
        self.socket = connected
        self.outcome = Outcome.WAIT
        self.suspension: Suspension | None = None
        self.failure: Exception | None = None
        self.at_rest = trio.Event()
        """Set while the reader waits for more to arrive, with everything before answered or held."""
        self.has_heard = True
        """Whether anything has arrived since this was last set to False."""
        self._outbox = outbox
        self._service = service
        self.held = Held(service.unfinished, connected, client)
        """The account of `_rest` and what waits; given up by whoever ends the connection."""
        self._waiting_bytes = 0  # of the message whose commands wait
        self._unread_bytes = 0  # of what a client does not read
        outbox.on_unread = self._hold_unread
        self._rest = bytearray()  # received, not used yet
        self._is_tls = isinstance(connected, ssl.SSLSocket)
        self._wanted = 0  # bytes that `_rest` needs before it is worth another look

    @abstractmethod
    def feed(self, data: bytes) -> Outcome:
        """Use what is left from before and `data` as far as possible."""

    def forget(self) -> None:
        """Nothing of what has arrived is used any more."""
        self._rest.clear()
        self._waiting_bytes = self._unread_bytes = 0
        self.held.hold(0)

    def _keeps(self) -> bool:
        """Account for what is kept of what has arrived; False if it can't be, and the connection is ended."""
        return self.held.hold(len(self._rest) + self._waiting_bytes + self._unread_bytes)

    def _hold_unread(self, bytes_unread: int) -> None:
        """Replies and events that are not read are counted as well."""
        self._unread_bytes = bytes_unread
        self._keeps()

    def on_readable(self) -> bool:
        """Read and use what has arrived; False if the connection's own task has to go on."""
        while True:
            try:
                data = self.socket.recv(max(limits.RECEIVE_BYTES, min(self._wanted - len(self._rest), 1 << 20)))
            except (BlockingIOError, ssl.SSLWantReadError):
                self.outcome = Outcome.WAIT
                return True
            except OSError:
                data = b""
            if not data:
                self.outcome = Outcome.END
                return False
            self.has_heard = True
            self.outcome = self.feed(data)
            if self.outcome is not Outcome.WAIT:
                return False
            if not self._is_tls or not self._has_pending():
                return True

    def _has_pending(self) -> bool:
        """Whether TLS holds bytes that the socket will not become readable for."""
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    async def read_on(self) -> Outcome:
        """Read and run commands until something comes up that the caller has to deal with.

        What is common to all transports (waiting, suspended commands, a full outbox) is dealt with here.
        """
        service = self._service
        outcome = self.feed(b"")
        while True:
            if outcome is Outcome.WAIT:
                service.flusher.flush()
                if service.committer.is_full:
                    await service.committer.wait_for_room()
                if self._is_tls and self._has_pending():
                    await trio.lowlevel.checkpoint()
                    self.on_readable()
                else:
                    self.at_rest.set()
                    await service.reactor.wait(self)
                    self.at_rest = trio.Event()
                outcome = self.outcome
                continue
            if outcome is Outcome.SUSPENDED:
                assert self.suspension is not None
                suspension, self.suspension = self.suspension, None
                if not self._keeps():
                    return Outcome.ENDED
                await service.settle(suspension)
                self._waiting_bytes = 0
                self._keeps()
            elif outcome is Outcome.MORE:
                service.flusher.flush()
                await trio.lowlevel.checkpoint()
                if service.committer.is_full:
                    await service.committer.wait_for_room()
            elif outcome is Outcome.FULL:
                await self._outbox.wait_for_room()
                if service.committer.is_full:
                    await service.committer.wait_for_room()
            else:
                service.flusher.flush()
                return outcome
            outcome = self.feed(b"")


class Reactor:
    """The readers that wait for data, and the task that serves them; it runs while there are any."""

    def __init__(self, flusher: Flusher, may_linger: Callable[[], bool]) -> None:
        """`may_linger` says whether no other task has to be run at once."""
        self._flusher = flusher
        self._may_linger = may_linger
        self._turn_seconds = flusher.counters.turn_seconds
        self._epoll = select.epoll()
        self._readers: dict[int, tuple[ChunkReader, trio.lowlevel.Task]] = {}
        self._running: trio.CancelScope | None = None

    async def wait(self, reader: ChunkReader) -> None:
        """Let the reactor serve the reader; returns when the connection's own task has to go on.

        Raises trio.ClosedResourceError if the socket is closed meanwhile (`forget`), and what the reader raised.
        """
        descriptor = reader.socket.fileno()
        if descriptor < 0:
            raise trio.ClosedResourceError
        assert descriptor not in self._readers
        self._readers[descriptor] = reader, trio.lowlevel.current_task()
        self._epoll.register(descriptor, select.EPOLLIN)
        if self._running is None:
            self._running = trio.CancelScope()
            self._flusher.nursery.start_soon(self._run, self._running)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._remove(descriptor)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        if reader.failure is not None:
            raise reader.failure

    def forget(self, connected: socket.socket) -> None:
        """The socket is about to be closed: whoever waits for it gets trio.ClosedResourceError."""
        waiting = self._remove(connected.fileno())
        if waiting is not None:
            waiting[0].failure = trio.ClosedResourceError("the connection was closed here")
            trio.lowlevel.reschedule(waiting[1])

    def _remove(self, descriptor: int) -> tuple[ChunkReader, trio.lowlevel.Task] | None:
        waiting = self._readers.pop(descriptor, None)
        if waiting is not None:
            self._epoll.unregister(descriptor)
            if not self._readers and self._running is not None:
                self._running.cancel()  # nothing to wait for; if it is too late to stop, the task goes on
        return waiting

    async def _run(self, scope: trio.CancelScope) -> None:
        """Serve readers as long as there are any."""
        descriptor = self._epoll.fileno()
        with scope:
            while self._readers:
                await trio.lowlevel.wait_readable(descriptor)
                self._serve_ready()
        self._running = None
        if self._readers:  # one came between the cancellation and here
            self._running = trio.CancelScope()
            self._flusher.nursery.start_soon(self._run, self._running)

    def _serve_ready(self) -> None:
        flusher = self._flusher
        readers = self._readers
        began = now = time.perf_counter()
        end = began + _TURN_SECONDS
        is_task_awake = False
        while True:
            ready = self._epoll.poll(0, _READY_MAX)
            if not ready:
                if is_task_awake or time.perf_counter() > now + _LINGER_SECONDS or not self._may_linger():
                    break
                continue
            for served, (descriptor, _) in enumerate(ready, 1):
                waiting = readers.get(descriptor)
                if waiting is None:
                    continue  # removed by what another reader's commands did
                reader, task = waiting
                try:
                    stays = reader.on_readable()
                except Exception as error:
                    reader.failure = error
                    stays = False
                if not stays and self._remove(descriptor) is not None:  # else its task was cancelled by what it read
                    trio.lowlevel.reschedule(task)
                    is_task_awake = True
                if served % _FLUSH_READERS == 0:
                    flusher.flush()
            flusher.flush()
            now = time.perf_counter()
            if now > end:
                break  # whoever is ready is so at the next turn too
        self._turn_seconds.observe(now - began)
