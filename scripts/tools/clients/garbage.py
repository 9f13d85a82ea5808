"""Clients that send rubbish to a port: a process of its own, so that it takes no time of an honest client's.

    python -m tools.clients.garbage {websocket|http|tcp} HOST PORT SEED VISITS_PER_SECOND

It begins when a line `go` comes on standard input, pauses at `rest`, and ends at `end` or the end of the input, when it
prints one line of JSON: how many visits there were, how many of them the server ended, how many bytes were sent.
Everything that it does follows from its seed, but for the times.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import selectors
import socket
import ssl
import struct
import sys
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Final, NamedTuple

from tools.clients.exact_clients import (
    OPCODE_BINARY,
    OPCODE_CLOSE,
    OPCODE_CONTINUATION,
    OPCODE_PING,
    OPCODE_TEXT,
    encode_frame,
)

if TYPE_CHECKING:
    from collections.abc import Callable

OPEN_MAX: Final = 300
"""Visits at once: further ones wait."""

_TICK_SECONDS: Final = 0.005
_RECEIVE_BYTES: Final = 65536


class Visit(NamedTuple):
    """What one client does, from its connection to its end."""

    pieces: list[bytes]
    gap_seconds: float = 0.0
    """Between two pieces."""
    stay_seconds: float = 0.3
    """Behind the last piece, unless the server ends it first."""
    reads: bool = True
    is_reset: bool = False
    """Whether it ends without the politeness of TCP."""


_HANDSHAKE: Final = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def _client_hello() -> bytes:
    """The first bytes of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


_HELLO: Final = _client_hello()
_LONG: Final = b"a" * 1_000_000
_MANY_HEADERS: Final = b"".join(b"X-%d: a\r\n" % number for number in range(50_000))
_UNENDING_FRAGMENTS: Final = [
    encode_frame(OPCODE_TEXT, b"x" * 1000, is_final=False),
    *(encode_frame(OPCODE_CONTINUATION, b"x" * 1000, is_final=False) for _ in range(100)),
]
_PINGS: Final = encode_frame(OPCODE_PING, b"x") * 200
"""What takes time to make is made once: this process shall not take the processor from the server."""


def _noise(chance: random.Random, most: int) -> bytes:
    return chance.randbytes(chance.randrange(1, most))


_ANYWHERE: Final[tuple[Callable[[random.Random], Visit], ...]] = (
    lambda chance: Visit([_noise(chance, 4000)]),
    lambda chance: Visit([chance.randbytes(256 * 1024)]),
    lambda chance: Visit([_noise(chance, 200) for _ in range(20)], gap_seconds=0.02),
    lambda _: Visit([bytes(10_000)]),
    lambda _: Visit([_HELLO]),
    lambda chance: Visit([_HELLO[: chance.randrange(1, 100)]], stay_seconds=2),
    lambda _: Visit([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"]),
    lambda _: Visit([b"SSH-2.0-OpenSSH_9.2\r\n"]),
    lambda _: Visit([], stay_seconds=0),
    lambda _: Visit([], stay_seconds=2),
    lambda chance: Visit([_noise(chance, 4000)], stay_seconds=0, is_reset=True),
)

_WEBSOCKET: Final[tuple[Callable[[random.Random], Visit], ...]] = (
    lambda chance: Visit([_HANDSHAKE[: chance.randrange(1, len(_HANDSHAKE) - 1)]], stay_seconds=30),
    lambda _: Visit([_HANDSHAKE[place : place + 1] for place in range(len(_HANDSHAKE) - 1)], gap_seconds=0.05),
    lambda _: Visit([_HANDSHAKE[:-2] + b"X-Long: " + _LONG]),
    lambda _: Visit([_HANDSHAKE[:-2] + _MANY_HEADERS]),
    lambda _: Visit([_HANDSHAKE.replace(b": 13", b": 12")]),
    lambda _: Visit([_HANDSHAKE.replace(b"GET", b"PUT")]),
    lambda chance: Visit([_HANDSHAKE, _noise(chance, 4000)]),
    lambda chance: Visit([_HANDSHAKE, bytes((chance.randrange(256), chance.randrange(256))) + _noise(chance, 100)]),
    lambda _: Visit([_HANDSHAKE, encode_frame(OPCODE_TEXT, b"get a", is_masked=False)]),
    lambda _: Visit([_HANDSHAKE, encode_frame(OPCODE_TEXT, b"\xff\xfe")]),
    lambda _: Visit([_HANDSHAKE, encode_frame(OPCODE_BINARY, b"\xff\xfe")]),
    lambda _: Visit([_HANDSHAKE, b"\x81\xff" + (1 << 62).to_bytes(8, "big") + b"abcd" * 1000]),
    lambda _: Visit([_HANDSHAKE, b"\x81\xff" + (8 << 20).to_bytes(8, "big") + b"abcd" * 50_000]),
    lambda _: Visit([_HANDSHAKE, *_UNENDING_FRAGMENTS]),
    lambda _: Visit([_HANDSHAKE, encode_frame(OPCODE_CONTINUATION, b"of nothing")]),
    lambda _: Visit([_HANDSHAKE, _PINGS]),
    lambda _: Visit([_HANDSHAKE, encode_frame(OPCODE_PING, b"x" * 126)]),
    lambda _: Visit([_HANDSHAKE, encode_frame(OPCODE_CLOSE, b"x")]),
    lambda _: Visit([_HANDSHAKE, encode_frame(OPCODE_TEXT, b"get a;" * 300)], reads=False, stay_seconds=1),
    lambda chance: Visit([_HANDSHAKE, *(encode_frame(OPCODE_TEXT, _words(chance)) for _ in range(50))]),
)

_HTTP: Final[tuple[Callable[[random.Random], Visit], ...]] = (
    lambda _: Visit([b"NOTHING / HTTP/1.1\r\n\r\n"]),
    lambda _: Visit([b"POST / HTTP/1.1\r\nX-Long: " + _LONG]),
    lambda _: Visit([b"POST / HTTP/1.1\r\n" + _MANY_HEADERS]),
    lambda _: Visit([b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nget a"], stay_seconds=30),
    lambda _: Visit([b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nget a and more than was said"]),
    lambda _: Visit([b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"]),
    lambda _: Visit([b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"]),
    lambda _: Visit([b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\nget a\r\n"]),
    lambda _: Visit([b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Long: " + _LONG]),
    lambda _: Visit([b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 500], stay_seconds=2),
    lambda _: Visit([b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"]),
    lambda _: Visit([_posted(b"\xff\xfe")]),
    lambda chance: Visit([_posted(_words(chance)) for _ in range(20)]),
    lambda _: Visit([_posted(b"get a;get b") * 200], reads=False, stay_seconds=1),
    lambda _: Visit([bytes((byte,)) for byte in _posted(b"get a")[:-1]], gap_seconds=0.05),
)

_TCP: Final[tuple[Callable[[random.Random], Visit], ...]] = (
    lambda _: Visit([b"x" * 1_000_000]),
    lambda _: Visit([b"x" * 1_000_000 + b"\n"]),
    lambda _: Visit([b"\xff\xfe\n" * 100]),
    lambda _: Visit([b"\n" * 500]),
    lambda _: Visit([b"get a"], stay_seconds=2),
    lambda _: Visit([b"get a\n" * 500], reads=False, stay_seconds=1),
    lambda chance: Visit([_words(chance) + b"\n" for _ in range(100)]),
    lambda _: Visit([b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]),
)

KINDS: Final = {"websocket": _WEBSOCKET, "http": _HTTP, "tcp": _TCP}


def _words(chance: random.Random) -> bytes:
    """A text that looks like a command and is none that changes anything: nobody is logged in."""
    words = ("get", "set", "keys", "watch", "use-db", "nonsense", "\0", "$$token", "a", "é", "", "-1", "9" * 30)
    return " ".join(chance.choices(words, k=chance.randrange(1, 6))).encode()


def _posted(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class _Visitor:
    """One visit that is going on."""

    def __init__(self, address: tuple[str, int], visit: Visit) -> None:
        self.visit = visit
        self.socket = socket.create_connection(address, 10)
        self.socket.setblocking(False)
        self.pieces = deque(visit.pieces)
        self.due = time.monotonic()
        self.sent_bytes = 0

    def go_on(self, now: float) -> bool:
        """Send what is due; False when its time is over."""
        visit = self.visit
        while now >= self.due:
            if not self.pieces:
                return False
            piece = self.pieces.popleft()
            sent = self.socket.send(piece)
            self.sent_bytes += sent
            if sent < len(piece):
                self.pieces.appendleft(piece[sent:])
                self.due = now + 0.01
            elif self.pieces:
                self.due += visit.gap_seconds
            else:
                self.due = now + visit.stay_seconds
        return True

    def end(self) -> None:
        """Leave."""
        if self.visit.is_reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Crowd:
    """The visits to one port."""

    def __init__(self, kind: str, address: tuple[str, int], seed: int, per_second: float) -> None:
        self._makers = (*_ANYWHERE, *KINDS[kind])
        self._address = address
        self._chance = random.Random(seed)
        self._gap_seconds = 1 / per_second
        self._visitors: set[_Visitor] = set()
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        self._due = 0.0
        self.counts: Counter[str] = Counter()

    def run(self) -> None:
        """Do what standard input says, until it ends."""
        is_going = False
        while True:
            for key, _ in self._selector.select(_TICK_SECONDS):
                if isinstance(key.data, _Visitor):
                    self._read(key.data)
                    continue
                words = os.read(sys.stdin.fileno(), 100).split()
                if not words or b"end" in words:
                    for visitor in list(self._visitors):
                        self._end(visitor)
                    return
                is_going = words[-1] == b"go"
                self._due = time.monotonic()
            now = time.monotonic()
            if is_going:
                while now >= self._due and len(self._visitors) < OPEN_MAX:
                    self._due = max(self._due + self._gap_seconds, now - 1)
                    self._begin()
            for visitor in list(self._visitors):
                try:
                    if not visitor.go_on(now):
                        self._end(visitor)
                except BlockingIOError:
                    visitor.pieces.clear()  # the server takes no more; it stays as long as it meant to
                    visitor.due = now + visitor.visit.stay_seconds
                except OSError:
                    self.counts["ended_by_server"] += 1
                    self._end(visitor)

    def _begin(self) -> None:
        visitor = _Visitor(self._address, self._chance.choice(self._makers)(self._chance))
        self._visitors.add(visitor)
        self.counts["visits"] += 1
        self.counts["most_at_once"] = max(self.counts["most_at_once"], len(self._visitors))
        if visitor.visit.reads:
            self._selector.register(visitor.socket, selectors.EVENT_READ, visitor)

    def _read(self, visitor: _Visitor) -> None:
        try:
            if visitor.socket.recv(_RECEIVE_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.counts["ended_by_server"] += 1
        self._end(visitor)

    def _end(self, visitor: _Visitor) -> None:
        if visitor.visit.reads:
            self._selector.unregister(visitor.socket)
        self.counts["sent_bytes"] += visitor.sent_bytes
        self._visitors.discard(visitor)
        visitor.end()


def main() -> None:
    """Throw what the command line says."""
    kind, host, port, seed, per_second = sys.argv[1:]
    crowd = Crowd(kind, (host, int(port)), int(seed), float(per_second))
    crowd.run()
    print(json.dumps(crowd.counts))


if __name__ == "__main__":
    main()
