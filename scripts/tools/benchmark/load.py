"""One load generator: a process of its own, without trio, that must cost less than the server it drives.

It reads an order (one line of JSON) from standard input, connects and logs in, prints `ready`, reads the times at which
the measured interval begins and ends (nanoseconds of CLOCK_MONOTONIC, which all processes share), starts at once (what
comes before the interval is the warm-up), and prints its result as one line of JSON.

Why it is fast enough: requests are built beforehand, with a mask of their own each; a burst is one slice of one big
buffer; replies are counted by counting a byte that each holds exactly once, so that it doesn't matter where the kernel
cuts; latencies go to flat arrays. What was acknowledged is checked from outside afterwards (`measure`), by versions.
"""

from __future__ import annotations

import array
import collections
import gc
import itertools
import json
import os
import random
import resource
import select
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from tools.benchmark.wire import (
    OK_FRAME,
    OK_LINE,
    PING_FRAME,
    RECEIVE_BYTES,
    REPLY_SECONDS_MAX,
    VALUE_BYTES,
    Address,
    WireError,
    apply_mask,
    connect,
    connect_websocket,
    encode_frame,
    encode_http_request,
    encode_redis_command,
    pong_frame,
    take_bytes,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

WATCHED_KEY = "watched-key"
"""The one that is watched; more of them are WATCHED_KEY-1 and on (watched_key_name)."""
STAMP_MARK = b"@"
"""Begins the time in the value that a writer sets; occurs nowhere else in what a watcher gets."""
STAMP_DIGITS = 16
LAST_STAMP = (1 << 64) - 1
"""The time in the last value that a writer sets: a watcher that has it is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What one load generator does."""

    module: ClassVar[str] = "tools.benchmark.load"
    """What carries it out."""

    role: str
    """clients: requests in a closed loop. writer: sets one key. watchers: receive it. idle: log in and stay."""
    protocol: str
    """websocket, tcp, http or redis."""
    host: str
    port: int
    database: str
    token: str
    connections: int
    in_flight: int = 1
    """Requests of one connection that may be unanswered."""
    gets_percent: int = 0
    key_count: int = 1000
    """How many keys the database holds: key_name(0) and on."""
    key_sample: int = 1000
    """How many of them, spread over all, are used."""
    sets_per_second: float = 0.0
    """The writer's pace; 0: the next set as soon as the last is answered."""
    watched_keys: int = 1
    """How many keys the writer sets in turn and each watcher watches."""
    stamped_watchers_step: int = 1
    """Each so many watchers one reads the times; all count."""
    seed: int = 0


@dataclass(slots=True)
class Result:
    """What one load generator saw."""

    operations: int = 0
    """Within the measured interval: answered requests, or events received (clients, watchers)."""
    sets_acknowledged: int = 0
    """From the start to the end, warm-up included."""
    latency_us: dict[int, int] = field(default_factory=dict)
    """How many times each latency (in whole microseconds) was seen within the interval."""
    cpu_seconds: float = 0.0
    """Processor time within the interval."""
    seconds: float = 0.0
    """How long all of it took, where there is no interval but something to be done."""
    complaints: list[str] = field(default_factory=list)


def key_name(number: int) -> str:
    """The keys of a benchmark's database: all of the same length."""
    return f"key-{number:08d}"


def watched_key_name(number: int) -> str:
    """The keys that a writer sets and watchers watch."""
    return f"{WATCHED_KEY}-{number}" if number else WATCHED_KEY


def value_of(number: int) -> str:
    """200 bytes that belong to the key of this number."""
    return f"{number:08d}".ljust(VALUE_BYTES, "V")


def password_command(order: Order) -> str:
    """The command that selects the benchmark's database."""
    return f"use-db {order.database} {order.token}"


class Requests:
    """All requests of a load in one buffer, so that any run of them is one slice of it.

    The buffer goes round: `in_flight` requests of the beginning are repeated at its end.
    """

    def __init__(self, order: Order) -> None:
        chance = random.Random(order.seed)
        step = order.key_count / order.key_sample
        numbers = [int(index * step) for index in range(order.key_sample)]
        chance.shuffle(numbers)
        gets = [chance.randrange(100) < order.gets_percent for _ in numbers]
        masks = chance.randbytes(4 * len(numbers))
        units = [
            _encode_request(order, number, is_get, masks[4 * index : 4 * index + 4])
            for index, (number, is_get) in enumerate(zip(numbers, gets, strict=True))
        ]
        self.count = len(units)
        units += [units[index % self.count] for index in range(order.in_flight)]
        self.buffer = memoryview(b"".join(units))
        self.offsets = list(itertools.accumulate(map(len, units), initial=0))
        self._sets_before = list(itertools.accumulate((not is_get for is_get in gets), initial=0))

    def sets_among(self, start: int, count: int) -> int:
        """How many of `count` requests from position `start` on are sets."""
        rounds, rest = divmod(start + count, self.count)
        return rounds * self._sets_before[-1] + self._sets_before[rest] - self._sets_before[start]


def _encode_request(order: Order, number: int, is_get: bool, mask: bytes) -> bytes:
    key, value = key_name(number), value_of(number)
    if order.protocol == "redis":
        words = [b"GET", key.encode()] if is_get else [b"SET", key.encode(), value.encode()]
        return encode_redis_command(*words)
    if order.protocol == "http":
        return encode_http_request(f"{password_command(order)};set {key} {value};get {key};get {key}".encode())
    command = f"get-safe {key}" if is_get else f"set {key} {value}"
    return encode_frame(command.encode(), mask) if order.protocol == "websocket" else command.encode() + b"\n"


class Channel:
    """One connection of the closed loop."""

    __slots__ = ("buffer", "position", "receive", "send", "sent", "sent_count", "sent_ns", "start")

    def __init__(self, connection: socket.socket, start: int) -> None:
        self.receive = connection.recv
        self.send = connection.sendall
        self.start = start
        """Where in the requests this connection began."""
        self.position = start
        """The next request to send."""
        self.sent_count = 0
        self.sent_ns = 0
        """One in flight: when it was sent."""
        self.sent: collections.deque[list[int]] = collections.deque()
        """Several in flight: bursts as [requests not yet answered, when sent]."""
        self.buffer = b""
        """What arrived of an HTTP response."""


def _count_websocket_replies(_: Channel, chunk: bytes) -> int:
    return chunk.count(OK_FRAME[1])  # the length of `ok \n`: a byte that no text and no other length here holds


def _count_tcp_replies(_: Channel, chunk: bytes) -> int:
    return chunk.count(OK_LINE[1])  # the k: of the letters that values and `value-version` don't hold


def _count_redis_replies(_: Channel, chunk: bytes) -> int:
    if chunk[0] == ord("-"):
        raise WireError(f"Redis answered {chunk[:200]!r}")
    return chunk.count(b"+") + chunk.count(b"$")


def _count_http_replies(channel: Channel, chunk: bytes) -> int:
    """Whole responses, one in flight at most."""
    channel.buffer += chunk
    head, found, body = channel.buffer.partition(b"\r\n\r\n")
    if not found:
        return 0
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    if not head.startswith(b"HTTP/1.1 200") or not length:
        raise WireError(f"unexpected response: {channel.buffer[:300]!r}")
    if len(body) < int(length):
        return 0
    if not body.startswith(b"empty;empty;value "):
        raise WireError(f"unexpected response: {channel.buffer[:300]!r}")
    channel.buffer = b""
    return 1


_COUNTERS: dict[str, Callable[[Channel, bytes], int]] = {
    "websocket": _count_websocket_replies,
    "tcp": _count_tcp_replies,
    "redis": _count_redis_replies,
    "http": _count_http_replies,
}


def open_connection(order: Order) -> socket.socket:
    """A connection that has selected the benchmark's database. Raises WireError when that is refused."""
    address = Address(order.host, order.port)
    login = password_command(order).encode()
    match order.protocol:
        case "websocket":
            connection = connect_websocket(address)
            ask(connection, encode_frame(login, os.urandom(4)), OK_FRAME)
        case "tcp":
            connection = connect(address)
            ask(connection, b"", OK_LINE)
            ask(connection, login + b"\n", OK_LINE)
        case _:
            connection = connect(address)
    return connection


def ask(connection: socket.socket, request: bytes | bytearray, expected: bytes) -> None:
    """Send one request and wait for exactly this answer. Raises WireError for another."""
    connection.sendall(request)
    if (answer := take_bytes(connection, len(expected))) != expected:
        raise WireError(f"expected {expected!r}, the server answered {answer!r}…")


class ClosedLoop:
    """The clients: each connection sends its next request when one is answered, with `in_flight` of them on the way."""

    def __init__(self, order: Order) -> None:
        self._requests = Requests(order)
        self._in_flight = order.in_flight
        self._count_replies = _COUNTERS[order.protocol]
        self._poll = select.epoll()
        self._channels: dict[int, Channel] = {}
        self._sockets = [open_connection(order) for _ in range(order.connections)]
        for number, connection in enumerate(self._sockets):
            self._poll.register(connection, select.EPOLLIN)
            start = number * self._requests.count // order.connections
            self._channels[connection.fileno()] = Channel(connection, start)

    def run(self, begin_ns: int, end_ns: int) -> Result:
        """Warm up until `begin_ns`, measure until `end_ns`, then wait for what is still unanswered."""
        result = Result()
        for channel in self._channels.values():
            self._send_burst(channel, self._in_flight, time.monotonic_ns())
        drive = self._drive_bursts if self._in_flight > 1 else self._drive_singles
        drive(begin_ns, array.array("Q"), array.array("Q"))
        latencies_ns, weights = array.array("Q"), array.array("Q")
        cpu_before = time.process_time()
        drive(end_ns, latencies_ns, weights)
        result.cpu_seconds = time.process_time() - cpu_before
        self._drain()
        if not weights:
            weights = array.array("Q", [1]) * len(latencies_ns)
        result.operations = sum(weights)
        result.latency_us = count_latencies(latencies_ns, weights)
        result.sets_acknowledged = sum(
            self._requests.sets_among(channel.start, channel.sent_count) for channel in self._channels.values()
        )
        return result

    def _send_burst(self, channel: Channel, count: int, now_ns: int) -> None:
        offsets, position = self._requests.offsets, channel.position
        channel.send(self._requests.buffer[offsets[position] : offsets[position + count]])
        channel.position = (position + count) % self._requests.count
        channel.sent_count += count
        channel.sent_ns = now_ns
        channel.sent.append([count, now_ns])

    def _drive_singles(self, until_ns: int, latencies_ns: array.array[int], _: array.array[int]) -> None:
        """One request in flight: the innermost loop of most scenarios, so everything it needs is a local name."""
        poll, channels, count_replies, clock = self._poll.poll, self._channels, self._count_replies, time.monotonic_ns
        buffer, offsets, request_count = self._requests.buffer, self._requests.offsets, self._requests.count
        add, now_ns = latencies_ns.append, 0
        while now_ns < until_ns:
            for descriptor, _event in poll(REPLY_SECONDS_MAX) or stalled():
                channel = channels[descriptor]
                chunk = channel.receive(RECEIVE_BYTES) or ended()
                if not count_replies(channel, chunk):
                    continue
                now_ns = clock()
                add(now_ns - channel.sent_ns)
                channel.sent_ns = now_ns
                channel.sent_count += 1
                position = channel.position
                channel.send(buffer[offsets[position] : offsets[position + 1]])
                position += 1
                channel.position = position if position < request_count else 0

    def _drive_bursts(self, until_ns: int, latencies_ns: array.array[int], weights: array.array[int]) -> None:
        """Several requests in flight: as many new ones, in one send, as replies came in one receive."""
        now_ns = 0
        while now_ns < until_ns:
            for descriptor, _event in self._poll.poll(REPLY_SECONDS_MAX) or stalled():
                channel = self._channels[descriptor]
                chunk = channel.receive(RECEIVE_BYTES) or ended()
                if not (count := self._count_replies(channel, chunk)):
                    continue
                now_ns = time.monotonic_ns()
                unassigned = count
                while unassigned:
                    burst = channel.sent[0]
                    taken = min(burst[0], unassigned)
                    latencies_ns.append(now_ns - burst[1])
                    weights.append(taken)
                    unassigned -= taken
                    burst[0] -= taken
                    if not burst[0]:
                        channel.sent.popleft()
                self._send_burst(channel, count, now_ns)

    def _drain(self) -> None:
        missing = {descriptor: self._in_flight for descriptor in self._channels}
        while missing:
            for descriptor, _event in self._poll.poll(REPLY_SECONDS_MAX) or stalled():
                channel = self._channels[descriptor]
                missing[descriptor] -= self._count_replies(channel, channel.receive(RECEIVE_BYTES) or ended())
                if missing[descriptor] <= 0:
                    self._poll.unregister(descriptor)
                    del missing[descriptor]


class Stamped:
    """The frame that sets one watched key, into which the time is written."""

    def __init__(self, key: str) -> None:
        head = f"set {key} ".encode()
        mask = os.urandom(4)
        frame = encode_frame(head + STAMP_MARK + b"0" * (VALUE_BYTES - 1), mask)
        self._at = len(frame) - VALUE_BYTES + len(STAMP_MARK)
        turn = (len(head) + len(STAMP_MARK)) % 4
        self._mask = mask[turn:] + mask[:turn]
        self._frame = bytearray(frame)

    def at(self, stamp: int) -> bytearray:
        """The frame with this time, good until the next call."""
        digits = f"{stamp:0{STAMP_DIGITS}x}".encode()
        self._frame[self._at : self._at + STAMP_DIGITS] = apply_mask(digits, self._mask)
        return self._frame


class Writer:
    """Sets the watched keys in turn, each value holding the time when it was sent."""

    def __init__(self, order: Order) -> None:
        self._interval_ns = int(1e9 / order.sets_per_second) if order.sets_per_second else 0
        self._socket = open_connection(order)
        self._frames = [Stamped(watched_key_name(number)) for number in range(order.watched_keys)]

    def run(self, begin_ns: int, end_ns: int) -> Result:
        """Set until `end_ns`, then set the last value, by which watchers know that nothing follows."""
        result = Result()
        latencies_ns = array.array("Q")
        cpu_before = 0.0
        next_ns = time.monotonic_ns()
        frames = itertools.cycle(self._frames)
        while (now_ns := time.monotonic_ns()) < end_ns:
            if self._interval_ns:
                next_ns = max(next_ns + self._interval_ns, now_ns)
                time.sleep((next_ns - now_ns) / 1e9)
                now_ns = time.monotonic_ns()
            if now_ns >= begin_ns and not cpu_before:
                cpu_before = time.process_time()
            ask(self._socket, next(frames).at(now_ns), OK_FRAME)
            result.sets_acknowledged += 1
            if now_ns >= begin_ns:
                latencies_ns.append(time.monotonic_ns() - now_ns)
        result.cpu_seconds = time.process_time() - cpu_before
        result.operations = len(latencies_ns)
        ask(self._socket, self._frames[0].at(LAST_STAMP), OK_FRAME)
        result.sets_acknowledged += 1
        return result


class Watcher:
    """One watching connection."""

    __slots__ = ("half", "has_last", "is_stamped", "receive", "rest", "send")

    def __init__(self, connection: socket.socket, is_stamped: bool) -> None:
        self.receive = connection.recv
        self.send = connection.sendall
        self.is_stamped = is_stamped
        self.half = False
        """Whether `changed` has arrived and its `changed-version` not yet."""
        self.rest = b""
        """What may hold the beginning of a time."""
        self.has_last = False


class Watchers:
    """Connections that watch the same keys: counts events (two messages each) and reads the times in some of them."""

    def __init__(self, order: Order) -> None:
        self._poll = select.epoll()
        self._watchers: dict[int, Watcher] = {}
        self._sockets = [open_connection(order) for _ in range(order.connections)]
        for number, connection in enumerate(self._sockets):
            for key in range(order.watched_keys):
                ask(connection, encode_frame(f"watch {watched_key_name(key)}".encode(), os.urandom(4)), OK_FRAME)
            self._poll.register(connection, select.EPOLLIN)
            self._watchers[connection.fileno()] = Watcher(connection, number % order.stamped_watchers_step == 0)

    def run(self, begin_ns: int, end_ns: int) -> Result:
        """Receive until the interval is over and every watcher has the last value."""
        result = Result()
        self._receive(begin_ns, array.array("Q"))
        latencies_ns = array.array("Q")
        cpu_before = time.process_time()
        marks = self._receive(end_ns, latencies_ns)
        result.cpu_seconds = time.process_time() - cpu_before
        result.operations = marks // 2
        result.latency_us = count_latencies(latencies_ns, array.array("Q", [1]) * len(latencies_ns))
        late = self._wait_for_last()
        if late:
            result.complaints.append(f"{late} of {len(self._watchers)} watchers never got the last value")
        return result

    def _receive(self, until_ns: int, latencies_ns: array.array[int]) -> int:
        """Receive until a time; return how many messages came (two make an event)."""
        poll, watchers, clock = self._poll.poll, self._watchers, time.monotonic_ns
        marks = 0
        while (now_ns := clock()) < until_ns:
            for descriptor, _event in poll((until_ns - now_ns) / 1e9):
                watcher = watchers[descriptor]
                chunk = watcher.receive(RECEIVE_BYTES) or ended()
                marks += chunk.count(STAMP_MARK)
                if PING_FRAME in chunk:
                    watcher.send(pong_frame())
                if watcher.is_stamped:
                    self._read_stamps(watcher, chunk, clock(), latencies_ns)
                else:
                    watcher.rest = chunk
        return marks

    def _read_stamps(self, watcher: Watcher, chunk: bytes, now_ns: int, latencies_ns: array.array[int]) -> None:
        data = watcher.rest + chunk
        at = data.find(STAMP_MARK)
        while at >= 0 and (end := at + 1 + STAMP_DIGITS) <= len(data):
            if watcher.half:
                stamp = int(data[at + 1 : end], 16)
                if stamp == LAST_STAMP:
                    watcher.has_last = True
                else:
                    latencies_ns.append(now_ns - stamp)
            watcher.half = not watcher.half
            at = data.find(STAMP_MARK, end)
        watcher.rest = data[at:] if at >= 0 else b""

    def _wait_for_last(self) -> int:
        """Wait until every watcher has the last value; return how many still lack it when nothing comes any more.

        A server that queues without bound may have much to deliver yet: only silence means that it won't.
        """
        last = STAMP_MARK + f"{LAST_STAMP:x}".encode()
        missing = {
            descriptor
            for descriptor, watcher in self._watchers.items()
            if not watcher.has_last and last not in watcher.rest
        }
        while missing and (events := self._poll.poll(REPLY_SECONDS_MAX)):
            for descriptor, _event in events:
                watcher = self._watchers[descriptor]
                data = watcher.rest[-len(last) :] + (watcher.receive(RECEIVE_BYTES) or ended())
                watcher.rest = data
                if last in data:
                    missing.discard(descriptor)
        return len(missing)


class Idlers:
    """Connections that selected the database and then do nothing."""

    def __init__(self, order: Order) -> None:
        self._sockets = [open_connection(order) for _ in range(order.connections)]

    def run(self, _begin_ns: int, _end_ns: int) -> Result:
        """Nothing is measured here."""
        return Result(operations=len(self._sockets))


def count_latencies(latencies_ns: array.array[int], weights: array.array[int]) -> dict[int, int]:
    """How many times each latency was seen, in whole microseconds."""
    counted: collections.Counter[int] = collections.Counter()
    for latency_ns, weight in zip(latencies_ns, weights, strict=True):
        counted[latency_ns // 1000] += weight
    return dict(counted)  # asdict() can not copy a Counter


def stalled() -> Sequence[tuple[int, int]]:
    """What nothing to poll for means. Raises WireError."""
    raise WireError(f"no reply for {REPLY_SECONDS_MAX:.0f} s")


def ended() -> bytes:
    """What an empty receive means. Raises WireError."""
    raise WireError("the server ended a connection")


def raise_descriptor_limit() -> None:
    """Allow as many open connections as the system lets this process have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Role(Protocol):
    """Whatever carries out an order: connects when it is made, and then runs."""

    def run(self, begin_ns: int, end_ns: int) -> Result:
        """Measure from one time to the other (CLOCK_MONOTONIC)."""


def serve_order(roles: Mapping[str, Callable[[Any], Role]], order_type: Callable[..., Any]) -> None:
    """Carry out the order on standard input; exit 1 with one line on standard error when that fails."""
    raise_descriptor_limit()
    gc.disable()  # nothing here makes cycles, and a collection would be taken for the server's latency
    fields: dict[str, Any] = json.loads(sys.stdin.readline())
    try:
        load = roles[fields["role"]](order_type(**fields))
        print("ready", flush=True)
        begin_ns, end_ns = map(int, sys.stdin.readline().split())
        print(json.dumps(asdict(load.run(begin_ns, end_ns))), flush=True)
    except (WireError, OSError) as error:
        sys.exit(f"load generator ({fields['role']}): {error}")


if __name__ == "__main__":
    serve_order({"clients": ClosedLoop, "writer": Writer, "watchers": Watchers, "idle": Idlers}, Order)
