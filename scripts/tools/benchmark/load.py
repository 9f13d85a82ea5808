"""The load generators: processes of their own, without trio, that must cost less than the server they drive.

A load is a dataclass that says what to do. It is pickled to a process that calls its methods by name (`Generator` in
measure.py): `connect` logs in; `run` gets the times at which the measured interval begins and ends (nanoseconds of
CLOCK_MONOTONIC, which all processes share), starts at once (what comes before is the warm-up) and gives a Result.

Why they are fast enough: requests are built beforehand, each with a mask of its own; a burst is one slice of one big
buffer; replies are counted by a byte that each holds exactly once, so that it doesn't matter where the kernel cuts.
What was acknowledged is checked from outside afterwards, by versions.
"""

from __future__ import annotations

import array
import collections
import contextlib
import gc
import itertools
import pickle
import random
import resource
import select
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, Protocol

from tools.benchmark.wire import (
    LOGIN,
    OK_FRAME,
    PING_FRAME,
    RECEIVE_BYTES,
    REPLY_SECONDS_MAX,
    VALUE_BYTES,
    WireError,
    ask,
    encode_frame,
    ended,
    key_name,
    log_in,
    pong_frame,
    value_of,
    watched_key_name,
)

if TYPE_CHECKING:
    import socket

    from tools.clients.server import Address

STAMP_MARK = b"@"
"""Begins the time in the value that a writer sets; occurs nowhere else in what a watcher gets."""
_LAST_STAMP = b"f" * 16
"""The time in the last value that a writer sets: a watcher that has it is done."""
_STAMPED_BYTES = VALUE_BYTES + len(f"set {watched_key_name(0)} ")
_TAIL_BYTES = 2 * VALUE_BYTES
"""As much of what came last holds the time in the newest value."""


@dataclass(slots=True)
class Result:
    """What one load generator saw."""

    operations: int = 0
    """Within the measured interval: answered requests, or events received (clients, watchers)."""
    sets_acknowledged: int = 0
    """From the start to the end, warm-up included."""
    latencies_ns: array.array[int] = field(default_factory=lambda: array.array("Q"))
    """Of what began or ended within the interval."""
    cpu_seconds: float = 0.0
    """Processor time within the interval."""
    seconds: float = 0.0
    """How long all of it took, where there is no interval but something to be done."""


class Load(Protocol):
    """What a generator does."""

    def connect(self) -> None:
        """Connect and log in. Raises WireError or OSError."""

    def run(self, begin_ns: int, end_ns: int) -> Result:
        """Measure from one time to the other."""


def encode_request(protocol: str, key: str, value: str | None, mask: bytes | None = None) -> bytes:
    """The bytes that set a key, or, without a value, get it."""
    if protocol == "redis":
        words = [word.encode() for word in (["GET", key] if value is None else ["SET", key, value])]
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
    if protocol == "http":
        body = f"{LOGIN};set {key} {value};get {key};get {key}"
        return f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    command = f"get-safe {key}" if value is None else f"set {key} {value}"
    return encode_frame(command, mask) if protocol == "websocket" else f"{command}\n".encode()


class Channel:
    """One connection of the closed loop."""

    __slots__ = ("position", "receive", "rest", "send", "sent_ns", "start")

    def __init__(self, connection: socket.socket, start: int) -> None:
        self.receive = connection.recv
        self.send = connection.sendall
        self.start = self.position = start
        """Of the requests, going round: the first that this connection sent, and its next one."""
        self.sent_ns: collections.deque[int] = collections.deque()
        """When each request that is not yet answered was sent."""
        self.rest = b""
        """What arrived of an HTTP response."""


def _count_ok(_: Channel, chunk: bytes) -> int:
    return chunk.count(b"k")  # of `ok`: neither `value-version` nor a value nor a length here holds one


def _count_redis(_: Channel, chunk: bytes) -> int:
    if chunk[0] == ord("-"):
        raise WireError(f"Redis answered {chunk[:200]!r}")
    return chunk.count(b"+") + chunk.count(b"$")


def _count_http(channel: Channel, chunk: bytes) -> int:
    """Whole responses, one in flight at most."""
    channel.rest += chunk
    head, found, body = channel.rest.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    if found and (not head.startswith(b"HTTP/1.1 200") or not body.startswith(b"empty;empty;value "[: len(body)])):
        raise WireError(f"unexpected response: {channel.rest[:300]!r}")
    if not found or len(body) < int(length):
        return 0
    channel.rest = b""
    return 1


_COUNTERS = {"websocket": _count_ok, "tcp": _count_ok, "redis": _count_redis, "http": _count_http}
"""How many requests are answered by what arrived, by protocol."""


@dataclass(kw_only=True)
class Clients:
    """A closed loop: each connection sends its next request when one is answered, with `in_flight` on the way."""

    address: Address
    protocol: str = "websocket"
    """websocket, tcp, http or redis."""
    connections: int = 1
    in_flight: int = 1
    """Requests of one connection that may be unanswered."""
    gets_percent: int = 0
    key_count: int = 1000
    """How many keys the database holds: key_name(0) and on."""
    key_sample: int = 1000
    """How many of them, spread over all, are used."""
    value_bytes: int = VALUE_BYTES
    seed: int = 0

    def connect(self) -> None:
        """Build the requests and connect."""
        self.build_requests()
        self._count_replies = _COUNTERS[self.protocol]
        self._poll = select.epoll()
        self._sockets = [log_in(self.address, self.protocol) for _ in range(self.connections)]
        self._channels: dict[int, Channel] = {}
        for number, connection in enumerate(self._sockets):
            self._poll.register(connection, select.EPOLLIN)
            start = number * self.key_sample // self.connections
            self._channels[connection.fileno()] = Channel(connection, start)

    def build_requests(self) -> None:
        """All requests in one buffer, so that any run is one slice: its end repeats `in_flight` of the first."""
        chance = random.Random(self.seed)
        step = self.key_count / self.key_sample
        numbers = [int(index * step) for index in range(self.key_sample)]
        chance.shuffle(numbers)
        gets = [chance.randrange(100) < self.gets_percent for _ in numbers]
        units = [
            encode_request(
                self.protocol,
                key_name(number),
                None if is_get else value_of(number, self.value_bytes),
                chance.randbytes(4),
            )
            for number, is_get in zip(numbers, gets, strict=True)
        ]
        units += [units[index % len(units)] for index in range(self.in_flight)]
        self.buffer = memoryview(b"".join(units))
        self._offsets = list(itertools.accumulate(map(len, units), initial=0))
        self._sets_before = list(itertools.accumulate((not is_get for is_get in gets), initial=0))

    def sets_among(self, start: int, end: int) -> int:
        """How many of the requests from position `start` to `end` are sets."""

        def before(position: int) -> int:
            rounds, rest = divmod(position, self.key_sample)
            return rounds * self._sets_before[-1] + self._sets_before[rest]

        return before(end) - before(start)

    def run(self, begin_ns: int, end_ns: int) -> Result:
        """Warm up until `begin_ns`, measure until `end_ns`, then wait for what is still unanswered."""
        result = Result()
        for channel in self._channels.values():
            channel.send(self._slice(channel.start, self.in_flight))
            channel.sent_ns.extend([time.monotonic_ns()] * self.in_flight)
            channel.position += self.in_flight
        self._drive(begin_ns, array.array("Q"))
        cpu_before = time.process_time()
        self._drive(end_ns, result.latencies_ns)
        result.cpu_seconds = time.process_time() - cpu_before
        result.operations = len(result.latencies_ns)
        self._drain()
        result.sets_acknowledged = sum(
            self.sets_among(channel.start, channel.position) for channel in self._channels.values()
        )
        return result

    def _slice(self, position: int, count: int) -> memoryview:
        start = position % self.key_sample
        return self.buffer[self._offsets[start] : self._offsets[start + count]]

    def _drive(self, until_ns: int, latencies_ns: array.array[int]) -> None:
        """The innermost loop of most scenarios, so everything it needs is a local name."""
        poll, channels, count_replies, clock = self._poll.poll, self._channels, self._count_replies, time.monotonic_ns
        buffer, offsets, request_count = self.buffer, self._offsets, self.key_sample
        add, now_ns = latencies_ns.append, 0
        while now_ns < until_ns:
            for descriptor, _event in poll(REPLY_SECONDS_MAX) or stalled():
                channel = channels[descriptor]
                if not (count := count_replies(channel, channel.receive(RECEIVE_BYTES) or ended())):
                    continue
                now_ns = clock()
                sent_ns = channel.sent_ns
                if count == 1:
                    add(now_ns - sent_ns.popleft())
                    sent_ns.append(now_ns)
                else:
                    latencies_ns.extend([now_ns - sent_ns.popleft() for _ in range(count)])
                    sent_ns.extend([now_ns] * count)
                start = channel.position % request_count
                channel.send(buffer[offsets[start] : offsets[start + count]])
                channel.position += count

    def _drain(self) -> None:
        unanswered = len(self._channels) * self.in_flight
        while unanswered:
            for descriptor, _event in self._poll.poll(REPLY_SECONDS_MAX) or stalled():
                channel = self._channels[descriptor]
                unanswered -= self._count_replies(channel, channel.receive(RECEIVE_BYTES) or ended())


def stamped_set(key: str, stamp: str) -> bytes:
    """The frame that sets a watched key to a value that begins with a time; of one length, whatever the key's is."""
    return encode_frame(f"set {key} {STAMP_MARK.decode()}{stamp}".ljust(_STAMPED_BYTES, "0"))


def log_in_watching(address: Address, watched_keys: int) -> socket.socket:
    """A connection that watches keys."""
    connection = log_in(address, "websocket")
    for number in range(watched_keys):
        ask(connection, encode_frame(f"watch {watched_key_name(number)}"), OK_FRAME)
    return connection


@dataclass(kw_only=True)
class Writer:
    """Sets the watched keys in turn, each value holding the time when it was sent."""

    address: Address
    watched_keys: int = 1
    sets_per_second: float = 0.0
    """0: the next set as soon as the last is answered."""

    def connect(self) -> None:
        """Connect."""
        self._socket = log_in(self.address, "websocket")

    def run(self, begin_ns: int, end_ns: int) -> Result:
        """Set until `end_ns`, then set the last value, by which watchers know that nothing follows."""
        result, cpu_before = Result(), 0.0
        interval_ns = int(1e9 / self.sets_per_second) if self.sets_per_second else 0
        keys = itertools.cycle([watched_key_name(number) for number in range(self.watched_keys)])
        next_ns = time.monotonic_ns()
        while (now_ns := time.monotonic_ns()) < end_ns:
            if interval_ns:
                next_ns = max(next_ns + interval_ns, now_ns)
                time.sleep((next_ns - now_ns) / 1e9)
                now_ns = time.monotonic_ns()
            if now_ns >= begin_ns and not cpu_before:
                cpu_before = time.process_time()
            ask(self._socket, stamped_set(next(keys), f"{now_ns:016x}"), OK_FRAME)
            result.sets_acknowledged += 1
            if now_ns >= begin_ns:
                result.latencies_ns.append(time.monotonic_ns() - now_ns)
        result.cpu_seconds = time.process_time() - cpu_before
        ask(self._socket, stamped_set(watched_key_name(0), _LAST_STAMP.decode()), OK_FRAME)
        result.sets_acknowledged += 1
        return result


@dataclass(kw_only=True)
class Viewer(Writer):
    """Watches the keys that it sets, and sets all of them at each beat, whether or not it has been answered."""

    def connect(self) -> None:
        """Connect and watch."""
        self._socket = log_in_watching(self.address, self.watched_keys)
        self._rest = b""

    def run(self, begin_ns: int, end_ns: int) -> Result:
        """As a writer does."""
        result, cpu_before = Result(), 0.0
        keys = [watched_key_name(number) for number in range(self.watched_keys)]
        next_ns, sets = time.monotonic_ns(), 0
        while (now_ns := time.monotonic_ns()) < end_ns:
            if now_ns >= begin_ns and not cpu_before:
                cpu_before = time.process_time()
            if now_ns < next_ns:
                if select.select([self._socket], [], [], (next_ns - now_ns) / 1e9)[0]:
                    self._count_answers(result)
                continue
            next_ns += int(1e9 / self.sets_per_second)
            for key in keys:
                self._socket.sendall(stamped_set(key, f"{time.monotonic_ns():016x}"))
            sets += len(keys)
        result.cpu_seconds = time.process_time() - cpu_before
        self._socket.sendall(stamped_set(keys[0], _LAST_STAMP.decode()))
        while result.sets_acknowledged <= sets:
            self._count_answers(result)
        return result

    def _count_answers(self, result: Result) -> None:
        received = self._rest + (self._socket.recv(RECEIVE_BYTES) or ended())
        result.sets_acknowledged += received.count(OK_FRAME)
        self._rest = received[1 - len(OK_FRAME) :]  # may hold the beginning of an answer, but no whole one


class Watcher:
    """One watching connection."""

    __slots__ = ("is_half", "is_stamped", "rest", "socket")

    def __init__(self, connection: socket.socket, is_stamped: bool) -> None:
        self.socket = connection
        self.is_stamped = is_stamped
        self.is_half = False
        """Whether `changed` has arrived and its `changed-version` not yet."""
        self.rest = b""
        """What may hold the beginning of a time, or the last one."""


@dataclass(kw_only=True)
class Watchers:
    """Connections that watch the same keys: counts events (two messages each) and reads the times in some of them."""

    address: Address
    connections: int
    watched_keys: int = 1
    stamped_step: int = 1
    """Each so many watchers one reads the times; all count."""

    def connect(self) -> None:
        """Connect and watch."""
        self._poll = select.epoll()
        self._watchers: dict[int, Watcher] = {}
        for number in range(self.connections):
            connection = log_in_watching(self.address, self.watched_keys)
            self._poll.register(connection, select.EPOLLIN)
            self._watchers[connection.fileno()] = Watcher(connection, number % self.stamped_step == 0)

    def run(self, begin_ns: int, end_ns: int) -> Result:
        """Receive until the interval is over and every watcher has the last value."""
        result = Result()
        self._receive(begin_ns, array.array("Q"))
        cpu_before = time.process_time()
        result.operations = self._receive(end_ns, result.latencies_ns) // 2
        result.cpu_seconds = time.process_time() - cpu_before
        # A server that queues without bound may have much to deliver yet: only silence means that it won't.
        while late := [one for one in self._watchers.values() if _LAST_STAMP not in one.rest]:
            if not self._receive(time.monotonic_ns() + int(REPLY_SECONDS_MAX * 1e9), array.array("Q"), is_once=True):
                raise WireError(f"{len(late)} of {len(self._watchers)} watchers never got the last value")
        return result

    def _receive(self, until_ns: int, latencies_ns: array.array[int], *, is_once: bool = False) -> int:
        """Receive until a time, or once; return how many messages came (two make an event)."""
        poll, watchers, clock = self._poll.poll, self._watchers, time.monotonic_ns
        messages = 0
        while (now_ns := clock()) < until_ns:
            for descriptor, _event in poll((until_ns - now_ns) / 1e9):
                watcher = watchers[descriptor]
                chunk = watcher.socket.recv(RECEIVE_BYTES) or ended()
                messages += chunk.count(STAMP_MARK)
                if PING_FRAME in chunk:
                    watcher.socket.sendall(pong_frame())
                if watcher.is_stamped:
                    self._read_stamps(watcher, watcher.rest + chunk, clock(), latencies_ns)
                else:
                    watcher.rest = (chunk if len(chunk) >= _TAIL_BYTES else watcher.rest + chunk)[-_TAIL_BYTES:]
            if is_once:
                break
        return messages

    def _read_stamps(self, watcher: Watcher, data: bytes, now_ns: int, latencies_ns: array.array[int]) -> None:
        at, read_to = data.find(STAMP_MARK), 0
        while at >= 0 and (end := at + 1 + len(_LAST_STAMP)) <= len(data):
            stamp = data[at + 1 : end]
            if watcher.is_half:
                if stamp == _LAST_STAMP:
                    break
                latencies_ns.append(now_ns - int(stamp, 16))
            watcher.is_half = not watcher.is_half
            read_to = end
            at = data.find(STAMP_MARK, end)
        watcher.rest = data[max(read_to, len(data) - _TAIL_BYTES) :]


@dataclass(kw_only=True)
class Idle:
    """Connections that select the database and then do nothing."""

    address: Address
    connections: int

    def connect(self) -> None:
        """Connect one after another."""
        self._sockets = [log_in(self.address, "websocket") for _ in range(self.connections)]

    def run(self, _begin_ns: int, _end_ns: int) -> Result:
        """Nothing is measured here."""
        return Result(operations=len(self._sockets))


def stalled() -> NoReturn:
    """What nothing to poll for means. Raises WireError."""
    raise WireError(f"no reply for {REPLY_SECONDS_MAX:.0f} s")


def raise_descriptor_limit() -> None:
    """Allow this process and its children as many open connections as the system permits."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """Do what comes on standard input: a load, then names of its methods with their arguments."""
    raise_descriptor_limit()
    gc.disable()  # nothing here makes cycles, and a collection would be taken for the server's latency
    load = pickle.load(sys.stdin.buffer)
    with contextlib.suppress(EOFError):
        while True:
            name, arguments = pickle.load(sys.stdin.buffer)
            try:
                answer = getattr(load, name)(*arguments)
            except (WireError, OSError) as error:
                answer = WireError(f"load generator ({type(load).__name__}): {error}")
            pickle.dump(answer, sys.stdout.buffer)
            sys.stdout.buffer.flush()
