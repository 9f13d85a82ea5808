"""One task that reads the sockets of all connections.

A trio task per connection costs a task switch, a reschedule and a re-armed epoll registration for every message: more
than the message itself. So all sockets are in our own level-triggered epoll set. One task waits for that set and passes
received bytes to the readers, which run the commands at once (figures: docs/architecture.md).

A reader that must wait (for a password check, a full outbox, a control frame) leaves the set. Its connection's own task
continues until it waits for input again.
"""

from __future__ import annotations

import logging
import select
import time
from typing import TYPE_CHECKING, Final, Protocol

import trio

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pynun.transports.flusher import Flusher

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


class Readable(Protocol):
    """What the reactor serves: a connection's reader."""

    @property
    def socket(self) -> socket.socket:
        """What is waited for."""

    failure: Exception | None
    """Set to what `on_readable` raised, for the connection's own task to raise."""

    def on_readable(self) -> bool:
        """Read and use what has arrived; False if the connection's own task has to go on."""


class Batches(Protocol):
    """Writes the changes that commands make: the committer."""

    def begin_round(self) -> None:
        """Commands are run from now on, and the methods below called."""

    def commit_waiting(self, now: float) -> None:
        """Write changes that have waited for long."""

    def commit_now(self) -> None:
        """Write all changes, or wake the task that does."""

    def end_round(self) -> None:
        """Other tasks run from now on."""


class Reactor:
    """The readers that wait for data, and the task that serves them; it runs while there are any."""

    def __init__(self, flusher: Flusher, batches: Batches, may_linger: Callable[[], bool]) -> None:
        """`may_linger` says whether no other task has to be run at once."""
        self._flusher = flusher
        self._batches = batches
        self._may_linger = may_linger
        self._turn_seconds = flusher.counters.turn_seconds
        self._epoll = select.epoll()
        self._readers: dict[int, tuple[Readable, trio.lowlevel.Task]] = {}
        self._running: trio.CancelScope | None = None

    async def wait(self, reader: Readable) -> None:
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

    def wake(self, reader: Readable) -> None:
        """Let the connection's own task go on, if the reader waits."""
        waiting = self._remove(reader.socket.fileno())
        if waiting is not None:
            trio.lowlevel.reschedule(waiting[1])

    def forget(self, connected: socket.socket) -> None:
        """The socket is about to be closed: waiters get trio.ClosedResourceError."""
        waiting = self._remove(connected.fileno())
        if waiting is not None:
            waiting[0].failure = trio.ClosedResourceError("the connection was closed here")
            trio.lowlevel.reschedule(waiting[1])

    def _remove(self, descriptor: int) -> tuple[Readable, trio.lowlevel.Task] | None:
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
        if self._readers:  # a reader came after the cancellation
            self._running = trio.CancelScope()
            self._flusher.nursery.start_soon(self._run, self._running)

    def _serve_ready(self) -> None:
        self._batches.begin_round()
        try:
            self._serve_round()
        finally:
            self._batches.end_round()

    def _serve_round(self) -> None:
        flusher = self._flusher
        batches = self._batches
        readers = self._readers
        began = now = time.perf_counter()
        end = began + _TURN_SECONDS
        is_task_awake = False
        while True:
            ready = self._epoll.poll(0, _READY_MAX)
            if not ready:
                batches.commit_now()
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
            batches.commit_waiting(now)
            if now > end:
                break  # ready sockets are still ready in the next turn
        self._turn_seconds.observe(now - began)
