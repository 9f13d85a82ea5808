"""Loads of the measurements at scale: crowds of connections, of watchers and of keys (see load.py).

What is checked on the way (each watcher got each event, a list has as many keys as exist) fails the measurement.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tools.benchmark.load import STAMP_MARK, Result, encode_request, stalled, stamped_set
from tools.benchmark.wire import (
    LOGIN,
    OK_FRAME,
    OK_LINE,
    PING_FRAME,
    RECEIVE_BYTES,
    REPLY_SECONDS_MAX,
    WireError,
    ask,
    encode_frame,
    ended,
    handshake_request,
    key_name,
    log_in,
    pong_frame,
    value_of,
    watched_key_name,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tools.clients.server import Address

EVENT_BYTE = b"v"
"""Stands once in the events of a key of the benchmark's, in the word `version`, and nowhere else in them."""
QUIET_SECONDS = 1.0
"""Nothing for so long: nothing more comes."""
COMMANDS_A_CHUNK = 500
_COUNT_BYTES_MAX = 40
"""A message with the number of connections is shorter."""


@dataclass(kw_only=True)
class Arrivals:
    """All connect at once, as viewers do when a network or a server comes back; everything happens on one epoll."""

    address: Address
    connections: int
    watches_presence: bool = False
    """Each watches `$connections`, and has arrived when it knows that all have."""

    def connect(self) -> None:
        """Connect them all; the times are from connecting to the answer to the login."""
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._result = Result()
        steps: dict[int, Generator[None, bytes, None]] = {}
        began = time.monotonic()
        for _ in range(self.connections):
            connection = socket.socket(socket.AF_INET6 if ":" in self.address.host else socket.AF_INET)
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[connection.fileno()] = connection
            steps[connection.fileno()] = self._arrive(connection)
            next(steps[connection.fileno()])
        while steps:
            for descriptor, event in self._poll.poll(REPLY_SECONDS_MAX) or stalled():
                is_connected = event == select.EPOLLOUT
                chunk = b"" if is_connected else self._sockets[descriptor].recv(RECEIVE_BYTES) or ended()
                if descriptor in steps:
                    try:
                        steps[descriptor].send(chunk)
                    except StopIteration:
                        del steps[descriptor]
        self._result.seconds = time.monotonic() - began

    def _arrive(self, connection: socket.socket) -> Generator[None, bytes, None]:
        """One connection's way in: resumed with what arrives."""
        began_ns = time.monotonic_ns()
        if (code := connection.connect_ex(self.address)) not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
        self._poll.register(connection, select.EPOLLOUT)
        yield
        self._poll.modify(connection, select.EPOLLIN)
        watching = ["watch $connections", "get $connections"] if self.watches_presence else []
        requests = [handshake_request(self.address), *map(encode_frame, [LOGIN, *watching])]
        data, seen, end = b"", b"", b"\r\n\r\n"
        for request in requests:
            connection.send(request)  # far less than a new connection's buffer takes
            while end not in data:
                data += yield
            if end is not OK_FRAME and not data.startswith(b"HTTP/1.1 101"):
                raise WireError(f"the server refused the handshake: {data!r}")
            seen, data, end = seen + data, data.partition(end)[2], OK_FRAME
        self._result.latencies_ns.append(time.monotonic_ns() - began_ns)
        if self.watches_presence:
            all_there = (b"$connections %d\n" % self.connections, b"value %d\n" % self.connections)
            while not any(count in seen for count in all_there):
                seen = seen[-_COUNT_BYTES_MAX:] + (yield)

    def run(self, _begin_ns: int, end_ns: int) -> Result:
        """Stay until the end, and answer pings. `operations` is how many were answered."""
        cpu_before = time.process_time()
        while (remaining_ns := end_ns - time.monotonic_ns()) > 0:
            for descriptor, _event in self._poll.poll(remaining_ns / 1e9):
                if (self._sockets[descriptor].recv(RECEIVE_BYTES) or ended()) == PING_FRAME:
                    self._sockets[descriptor].send(pong_frame())
                    self._result.operations += 1
        self._result.cpu_seconds = time.process_time() - cpu_before
        return self._result


@dataclass(kw_only=True)
class Audience:
    """Connections that watch one key, and one more that sets it again when all of them have received its last event.

    What is measured is from just before a `set` is sent to the receipt of its last event, in this one process: reading
    from all these sockets is in it (against the server that does nothing one sees how much that is).
    """

    address: Address
    connections: int

    def connect(self) -> None:
        """Connect and watch."""
        self._writer = log_in(self.address, "websocket")
        ask(self._writer, stamped_set(watched_key_name(0), "0" * 16), OK_FRAME)
        self._poll = select.epoll()
        self._poll.register(self._writer, select.EPOLLIN)
        self._watchers: dict[int, socket.socket] = {}
        for _ in range(self.connections):
            connection = log_in(self.address, "websocket")
            ask(connection, encode_frame(f"watch {watched_key_name(0)}"), OK_FRAME)
            self._poll.register(connection, select.EPOLLIN)
            self._watchers[connection.fileno()] = connection

    def run(self, begin_ns: int, end_ns: int) -> Result:
        """Set until `end_ns`; the times are those within the interval."""
        result = Result()
        while (now_ns := time.monotonic_ns()) < end_ns:
            self._tell_all(now_ns)
            result.sets_acknowledged += 1
            if now_ns >= begin_ns:
                result.latencies_ns.append(time.monotonic_ns() - now_ns)
        result.operations = len(result.latencies_ns)
        return result

    def _tell_all(self, now_ns: int) -> None:
        """Set once and wait until each watcher has both messages."""
        missing = dict.fromkeys(self._watchers, 2)
        writer = self._writer.fileno()
        missing[writer] = len(OK_FRAME)
        self._writer.sendall(stamped_set(watched_key_name(0), f"{now_ns:016x}"))
        while missing:
            for descriptor, _event in self._poll.poll(REPLY_SECONDS_MAX) or stalled():
                if descriptor == writer:
                    missing[writer] -= len(self._writer.recv(RECEIVE_BYTES) or ended())
                else:
                    chunk = self._watchers[descriptor].recv(RECEIVE_BYTES) or ended()
                    missing[descriptor] -= chunk.count(STAMP_MARK)
                if not missing[descriptor]:
                    del missing[descriptor]


@dataclass(kw_only=True)
class Subscribers:
    """Connections that watch keys of their own."""

    address: Address
    connections: int
    keys_each: int

    def connect(self) -> None:
        """Connect; nothing is watched yet."""
        opened = [log_in(self.address, "websocket") for _ in range(self.connections)]
        self._sockets = {connection.fileno(): connection for connection in opened}

    def watch(self) -> None:
        """Watch all keys."""
        for number, connection in enumerate(self._sockets.values()):
            frames = [encode_frame(f"watch {key_name(number * self.keys_each + key)}") for key in range(self.keys_each)]
            for start in range(0, len(frames), COMMANDS_A_CHUNK):
                some = frames[start : start + COMMANDS_A_CHUNK]
                ask(connection, b"".join(some), OK_FRAME * len(some))

    def run(self, begin_ns: int, end_ns: int) -> Result:
        """Receive events until none come any more; `sets_acknowledged` is how many came in all."""
        self._poll = select.epoll()
        for descriptor in self._sockets:
            self._poll.register(descriptor, select.EPOLLIN)
        result = Result(sets_acknowledged=self._receive(begin_ns))
        cpu_before = time.process_time()
        result.operations = self._receive(end_ns)
        result.cpu_seconds = time.process_time() - cpu_before
        result.sets_acknowledged += result.operations + self._receive(None)
        return result

    def _receive(self, until_ns: int | None) -> int:
        """Receive until a time, or until nothing comes; return how many events came."""
        count, wait_seconds = 0, QUIET_SECONDS
        while until_ns is None or (wait_seconds := (until_ns - time.monotonic_ns()) / 1e9) > 0:
            events = self._poll.poll(wait_seconds)
            if not events and until_ns is None:
                break
            for descriptor, _event in events:
                count += (self._sockets[descriptor].recv(RECEIVE_BYTES) or ended()).count(EVENT_BYTE)
        return count


@dataclass(kw_only=True)
class Loader:
    """Sets keys one after another over one connection, as many on the way as the server takes."""

    address: Address
    protocol: str
    first: int
    count: int

    def connect(self) -> None:
        """Connect."""
        self._socket = log_in(self.address, self.protocol)

    def run(self, _begin_ns: int, _end_ns: int) -> Result:
        """Send all and wait until all are acknowledged."""
        began, connection = time.monotonic(), self._socket
        connection.setblocking(False)
        poll = select.epoll()
        poll.register(connection, select.EPOLLIN | select.EPOLLOUT)
        ok = OK_LINE if self.protocol == "tcp" else OK_FRAME
        chunks = self._chunks()
        unsent = memoryview(next(chunks, b""))
        bytes_missing = len(ok) * self.count
        while bytes_missing:
            [(_, events)] = poll.poll(REPLY_SECONDS_MAX) or stalled()
            if events & select.EPOLLIN:
                received = connection.recv(RECEIVE_BYTES) or ended()
                if received.strip(ok):
                    raise WireError(f"a set was refused: {received[:200]!r}")
                bytes_missing -= len(received)
            if events & select.EPOLLOUT:
                unsent = unsent[connection.send(unsent) :]
                if not unsent:
                    unsent = memoryview(next(chunks, b""))
                    if not unsent:
                        poll.modify(connection, select.EPOLLIN)
        connection.close()
        return Result(operations=self.count, sets_acknowledged=self.count, seconds=time.monotonic() - began)

    def _chunks(self) -> Iterator[bytes]:
        last = self.first + self.count
        for start in range(self.first, last, COMMANDS_A_CHUNK):
            numbers = range(start, min(start + COMMANDS_A_CHUNK, last))
            yield b"".join([encode_request(self.protocol, key_name(one), value_of(one)) for one in numbers])


@dataclass(kw_only=True)
class Lister:
    """Asks for keys, again as soon as the answer is complete, and counts them."""

    address: Address
    pattern: str
    """Which keys; empty: all."""
    count: int
    """How many are to be listed."""

    def connect(self) -> None:
        """Connect."""
        self._socket = log_in(self.address, "websocket")

    def run(self, begin_ns: int, end_ns: int) -> Result:
        """Ask until `end_ns`, once at least; the times are those of what began within the interval."""
        result = Result()
        cpu_before = time.process_time()
        while not result.latencies_ns or time.monotonic_ns() < end_ns:
            began_ns = time.monotonic_ns()
            if (found := self._list()) != self.count:
                raise WireError(f"{found} keys were listed instead of {self.count}")
            if began_ns >= begin_ns or time.monotonic_ns() >= end_ns:
                result.latencies_ns.append(time.monotonic_ns() - began_ns)
        result.cpu_seconds = time.process_time() - cpu_before
        result.operations = len(result.latencies_ns)
        return result

    def _list(self) -> int:
        """How many keys are listed; each has a comma before it, and a list ends with `ok`."""
        self._socket.sendall(encode_frame(f"keys {self.pattern}".strip()))
        commas, tail = 0, b""
        while not tail.endswith(OK_FRAME):
            chunk = self._socket.recv(1 << 20) or ended()
            commas += chunk.count(b",")
            tail = (tail + chunk)[-len(OK_FRAME) :]
        return commas
