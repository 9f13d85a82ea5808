"""Load generators of the measurements at scale: crowds of connections, of watchers and of keys.

Each is a process of its own that takes an order on standard input as `load` does. What is checked on the way (each
watcher got each event, a list has as many keys as there are) becomes a complaint, and the measurement fails.
"""

from __future__ import annotations

import array
import errno
import os
import select
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tools.benchmark.load import (
    STAMP_MARK,
    Result,
    Stamped,
    ask,
    count_latencies,
    ended,
    key_name,
    serve_order,
    stalled,
    value_of,
    watched_key_name,
)
from tools.benchmark.wire import (
    OK_FRAME,
    OK_LINE,
    PING_FRAME,
    RECEIVE_BYTES,
    REPLY_SECONDS_MAX,
    Address,
    WireError,
    connect,
    connect_websocket,
    encode_frame,
    handshake_request,
    pong_frame,
    take_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENT_BYTE = b"v"
"""Stands once in the events of a key of the benchmark's, in the word `version`, and nowhere else in them."""
CONNECTED = "connected"
"""What subscribers print before they watch anything."""
QUIET_SECONDS = 1.0
"""Nothing for so long: nothing more comes."""
COMMANDS_A_CHUNK = 500
_COUNT_BYTES_MAX = 40
"""A message with the number of connections is shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowdOrder:
    """What one load generator does."""

    module: ClassVar[str] = "tools.benchmark.crowd"
    """What carries it out."""

    role: str
    """arrivals: all connect at once and stay, doing nothing. audience: watch one key, which is set when all have
    received the last event. subscribers: watch keys of their own. loader: fills a database over TCP. lister: asks for
    keys."""
    host: str
    port: int
    database: str
    token: str
    connections: int = 1
    watches_presence: bool = False
    """Arrivals: each watches `$connections`, and all is over when each knows that all are here."""
    keys_per_connection: int = 0
    key_first: int = 0
    key_count: int = 0
    """Loader: how many keys to set, from `key_first` on. Lister: how many are to be listed."""
    pattern: str = ""
    """Lister: which keys; without one, all."""


def log_in(order: CrowdOrder) -> bytes:
    """The frame that selects the benchmark's database."""
    return encode_frame(f"use-db {order.database} {order.token}".encode(), os.urandom(4))


def open_session(order: CrowdOrder) -> socket.socket:
    """A WebSocket connection that has selected the benchmark's database. Raises WireError when that is refused."""
    connection = connect_websocket(Address(order.host, order.port))
    ask(connection, log_in(order), OK_FRAME)
    return connection


class _Arrival:
    """A connection on its way: `requests` still to be sent, each when the answer to the one before has come."""

    __slots__ = ("answer", "began_ns", "is_connecting", "knows_all", "requests", "rest", "socket")

    def __init__(self, connecting: socket.socket, requests: list[bytes], *, knows_all: bool) -> None:
        self.socket = connecting
        self.requests = requests
        self.answer = b"\r\n\r\n"
        """What ends the answer to the request that was sent last."""
        self.is_connecting = True
        self.began_ns = time.monotonic_ns()
        """0 once it has arrived."""
        self.rest = b""
        self.knows_all = knows_all


class Arrivals:
    """All connect at once, as viewers do when a network or a server comes back; everything happens on one epoll."""

    def __init__(self, order: CrowdOrder) -> None:
        self._order = order
        self._poll = select.epoll()
        self._arrivals: dict[int, _Arrival] = {}
        self._on_the_way = order.connections
        self._latencies_ns = array.array("Q")
        self._last_counts = (b"$connections %d\n" % order.connections, b"value %d\n" % order.connections)
        self._ignorant = order.connections if order.watches_presence else 0
        began = time.monotonic()
        for _ in range(order.connections):
            self._start()
        while self._on_the_way or self._ignorant:
            for descriptor, _event in self._poll.poll(REPLY_SECONDS_MAX) or stalled():
                self._advance(self._arrivals[descriptor])
        self._seconds = time.monotonic() - began

    def run(self, _begin_ns: int, end_ns: int) -> Result:
        """Stay until the end, and answer pings. `operations` is how many were answered.

        Of interest is how long each took from connecting to the answer to its login, and all together.
        """
        result = Result(seconds=self._seconds)
        ones = array.array("Q", [1]) * len(self._latencies_ns)
        result.latency_us = count_latencies(self._latencies_ns, ones)
        cpu_before = time.process_time()
        while (remaining_ns := end_ns - time.monotonic_ns()) > 0:
            for descriptor, _event in self._poll.poll(remaining_ns / 1e9):
                connection = self._arrivals[descriptor].socket
                if (received := connection.recv(RECEIVE_BYTES)) == PING_FRAME:
                    connection.send(pong_frame())
                    result.operations += 1
                elif not received:
                    ended()
        result.cpu_seconds = time.process_time() - cpu_before
        return result

    def _start(self) -> None:
        order = self._order
        connecting = socket.socket(socket.AF_INET6 if ":" in order.host else socket.AF_INET)
        connecting.setblocking(False)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        requests = [handshake_request(Address(order.host, order.port)), log_in(order)]
        if order.watches_presence:
            requests += [encode_frame(text, os.urandom(4)) for text in (b"watch $connections", b"get $connections")]
        requests.reverse()
        self._arrivals[connecting.fileno()] = _Arrival(connecting, requests, knows_all=not order.watches_presence)
        code = connecting.connect_ex((order.host, order.port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
        self._poll.register(connecting, select.EPOLLOUT)

    def _advance(self, arrival: _Arrival) -> None:
        if arrival.is_connecting:
            if code := arrival.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(code, os.strerror(code))
            arrival.is_connecting = False
            self._poll.modify(arrival.socket, select.EPOLLIN)
            self._send_next(arrival)
            return
        data = arrival.rest + (arrival.socket.recv(RECEIVE_BYTES) or ended())
        if not arrival.knows_all and any(count in data for count in self._last_counts):
            arrival.knows_all = True
            self._ignorant -= 1
        arrival.rest = data[-_COUNT_BYTES_MAX:]
        if not arrival.began_ns:
            return
        if arrival.answer not in data:
            arrival.rest = data
        elif arrival.answer is not OK_FRAME and not data.startswith(b"HTTP/1.1 101"):
            raise WireError(f"the server refused the handshake: {data!r}")
        elif arrival.requests:
            arrival.rest = data.partition(arrival.answer)[2]
            arrival.answer = OK_FRAME
            self._send_next(arrival)
        else:
            self._arrived(arrival)

    def _send_next(self, arrival: _Arrival) -> None:
        arrival.socket.send(arrival.requests.pop())  # far less than a new connection's buffer takes

    def _arrived(self, arrival: _Arrival) -> None:
        self._latencies_ns.append(time.monotonic_ns() - arrival.began_ns)
        arrival.began_ns = 0
        self._on_the_way -= 1


class Audience:
    """Connections that watch one key, and one more that sets it again when all of them have received its last event.

    What is measured is from just before a `set` is sent to the receipt of its last event, in this one process: reading
    from all these sockets is in it (against the server that does nothing one sees how much that is).
    """

    def __init__(self, order: CrowdOrder) -> None:
        self._writer = open_session(order)
        self._frame = Stamped(watched_key_name(0))
        ask(self._writer, self._frame.at(0), OK_FRAME)
        self._poll = select.epoll()
        self._poll.register(self._writer, select.EPOLLIN)
        self._watchers: dict[int, socket.socket] = {}
        for _ in range(order.connections):
            connection = open_session(order)
            ask(connection, encode_frame(f"watch {watched_key_name(0)}".encode(), os.urandom(4)), OK_FRAME)
            self._poll.register(connection, select.EPOLLIN)
            self._watchers[connection.fileno()] = connection

    def run(self, begin_ns: int, end_ns: int) -> Result:
        """Set until `end_ns`; the times are those within the interval."""
        result = Result()
        latencies_ns = array.array("Q")
        cpu_before = 0.0
        while (now_ns := time.monotonic_ns()) < end_ns:
            if now_ns >= begin_ns and not cpu_before:
                cpu_before = time.process_time()
            took_ns = self._tell_all(now_ns)
            if now_ns >= begin_ns:
                latencies_ns.append(took_ns)
            result.sets_acknowledged += 1
        result.cpu_seconds = time.process_time() - cpu_before
        result.operations = len(latencies_ns)
        result.latency_us = count_latencies(latencies_ns, array.array("Q", [1]) * len(latencies_ns))
        return result

    def _tell_all(self, began_ns: int) -> int:
        """Set once and wait until each watcher has both messages; return how long that took."""
        missing = dict.fromkeys(self._watchers, 2)
        writer = self._writer.fileno()
        missing[writer] = len(OK_FRAME)
        self._writer.sendall(self._frame.at(began_ns))
        while missing:
            for descriptor, _event in self._poll.poll(REPLY_SECONDS_MAX) or stalled():
                if descriptor == writer:
                    missing[writer] -= len(self._writer.recv(RECEIVE_BYTES) or ended())
                else:
                    chunk = self._watchers[descriptor].recv(RECEIVE_BYTES) or ended()
                    missing[descriptor] -= chunk.count(STAMP_MARK)
                if not missing[descriptor]:
                    del missing[descriptor]
        return time.monotonic_ns() - began_ns


class Subscribers:
    """Connections that watch keys of their own. Prints that they are connected, and watches when a line comes."""

    def __init__(self, order: CrowdOrder) -> None:
        opened = [open_session(order) for _ in range(order.connections)]
        self._sockets = {connection.fileno(): connection for connection in opened}
        print(CONNECTED, flush=True)
        sys.stdin.readline()
        first = order.key_first
        for connection in self._sockets.values():
            keys = range(first, first + order.keys_per_connection)
            first += order.keys_per_connection
            for start in range(0, len(keys), COMMANDS_A_CHUNK):
                some = keys[start : start + COMMANDS_A_CHUNK]
                frames = [encode_frame(f"watch {key_name(key)}".encode(), os.urandom(4)) for key in some]
                ask(connection, b"".join(frames), OK_FRAME * len(some))

    def run(self, begin_ns: int, end_ns: int) -> Result:
        """Receive events until none come any more; `sets_acknowledged` is how many came in all."""
        result = Result()
        poll = select.epoll()
        for descriptor in self._sockets:
            poll.register(descriptor, select.EPOLLIN)
        result.sets_acknowledged = self._receive(poll, begin_ns)
        cpu_before = time.process_time()
        result.operations = self._receive(poll, end_ns)
        result.cpu_seconds = time.process_time() - cpu_before
        result.sets_acknowledged += result.operations + self._receive(poll, None)
        return result

    def _receive(self, poll: select.epoll, until_ns: int | None) -> int:
        """Receive until a time, or until nothing comes; return how many events came."""
        count = 0
        wait_seconds = QUIET_SECONDS
        while until_ns is None or (wait_seconds := (until_ns - time.monotonic_ns()) / 1e9) > 0:
            events = poll.poll(wait_seconds)
            if not events and until_ns is None:
                break
            for descriptor, _event in events:
                chunk = self._sockets[descriptor].recv(RECEIVE_BYTES) or ended()
                count += chunk.count(EVENT_BYTE)
        return count


class Loader:
    """Sets keys one after another over one TCP connection, as many on the way as the server takes."""

    def __init__(self, order: CrowdOrder) -> None:
        self._order = order
        self._socket = connect(Address(order.host, order.port))
        ask(self._socket, b"", OK_LINE)
        ask(self._socket, f"use-db {order.database} {order.token}\n".encode(), OK_LINE)

    def run(self, _begin_ns: int, _end_ns: int) -> Result:
        """Send all and wait until all are acknowledged."""
        began, connection, order = time.monotonic(), self._socket, self._order
        connection.setblocking(False)
        poll = select.epoll()
        poll.register(connection, select.EPOLLIN | select.EPOLLOUT)
        chunks = self._chunks()
        unsent = memoryview(next(chunks))
        bytes_missing = len(OK_LINE) * order.key_count
        while bytes_missing:
            [(_, events)] = poll.poll(REPLY_SECONDS_MAX) or stalled()
            if events & select.EPOLLIN:
                received = connection.recv(RECEIVE_BYTES) or ended()
                if received.strip(OK_LINE):
                    raise WireError(f"a set was refused: {received[:200]!r}")
                bytes_missing -= len(received)
            if events & select.EPOLLOUT:
                unsent = unsent[connection.send(unsent) :]
                if not unsent:
                    unsent = memoryview(next(chunks, b""))
                    if not unsent:
                        poll.modify(connection, select.EPOLLIN)
        return Result(
            operations=order.key_count,
            sets_acknowledged=order.key_count,
            seconds=time.monotonic() - began,
            cpu_seconds=time.process_time(),
        )

    def _chunks(self) -> Iterator[bytes]:
        last = self._order.key_first + self._order.key_count
        for start in range(self._order.key_first, last, COMMANDS_A_CHUNK):
            numbers = range(start, min(start + COMMANDS_A_CHUNK, last))
            yield "".join([f"set {key_name(number)} {value_of(number)}\n" for number in numbers]).encode()


class Lister:
    """Asks for keys, again as soon as the answer is there, and counts them."""

    def __init__(self, order: CrowdOrder) -> None:
        self._socket = open_session(order)
        self._request = encode_frame(f"keys {order.pattern}".strip().encode(), os.urandom(4))
        self._key_count = order.key_count

    def run(self, begin_ns: int, end_ns: int) -> Result:
        """Ask until `end_ns`, once at least; the times are those of what began within the interval."""
        result = Result()
        latencies_ns = array.array("Q")
        cpu_before = time.process_time()
        while not latencies_ns or time.monotonic_ns() < end_ns:
            began_ns = time.monotonic_ns()
            found = self._list()
            if began_ns >= begin_ns or time.monotonic_ns() >= end_ns:
                latencies_ns.append(time.monotonic_ns() - began_ns)
            if found != self._key_count:
                result.complaints.append(f"{found} keys were listed instead of {self._key_count}")
                break
        result.cpu_seconds = time.process_time() - cpu_before
        result.operations = len(latencies_ns)
        result.latency_us = count_latencies(latencies_ns, array.array("Q", [1]) * len(latencies_ns))
        return result

    def _list(self) -> int:
        """How many keys are listed; each has a comma before it."""
        self._socket.sendall(self._request)
        while (head := take_bytes(self._socket, 2)) == PING_FRAME:
            self._socket.sendall(pong_frame())
        length = head[1]
        if length >= 126:
            length = int.from_bytes(take_bytes(self._socket, 2 if length == 126 else 8), "big")
        missing, commas = length, 0
        while missing:
            chunk = self._socket.recv(min(missing, 1 << 20)) or ended()
            commas += chunk.count(b",")
            missing -= len(chunk)
        if (end := take_bytes(self._socket, len(OK_FRAME))) != OK_FRAME:
            raise WireError(f"expected {OK_FRAME!r} behind the keys, the server sent {end!r}")
        return commas


if __name__ == "__main__":
    serve_order(
        {
            "arrivals": Arrivals,
            "audience": Audience,
            "subscribers": Subscribers,
            "loader": Loader,
            "lister": Lister,
        },
        CrowdOrder,
    )
