"""Clients that behave badly, as laptops and networks do: ends in the middle of a command, readers that do not read.

A `Cutter` ends connections in the middle of a command on every transport: what did not arrive whole must never be run.
A `KeyWatcher` watches keys and reads late or not for a while: it must end with the newest of each key.
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

from tools.clients.exact_clients import (
    OPCODE_TEXT,
    RECEIVE_BYTES_MAX,
    Connection,
    EndOfConnectionError,
    HttpClient,
    TcpClient,
    WebSocketClient,
    encode_frame,
)
from tools.clients.load import TRANSPORTS, State
from tools.clients.sessions import OK, TOKEN, select

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tools.clients.server import Server

ENDED = (OSError, EndOfConnectionError)
"""What a client meets whose server was killed."""

QUIET_SECONDS_MAX = 30.0
"""So long without an event, and a watcher has been told all that it will be told."""

_RESET = struct.pack("ii", 1, 0)


def leave_without_a_word(connected: socket.socket, chance: random.Random) -> None:
    """End a connection: with its rest on the way, or with a reset, as a cable that is pulled does."""
    if chance.random() < 0.5:
        with contextlib.suppress(OSError):
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connected.close()


class Cutter(threading.Thread):
    """Sends parts of commands and goes, again and again, until it is told to stop."""

    def __init__(self, server: Server, database: str, name: str, seed: int, *, pace_seconds: float = 0.02) -> None:
        super().__init__(name=name, daemon=True)
        self._server = server
        self._database = database
        self._random = random.Random(seed)
        self._pace_seconds = pace_seconds
        self.half_key = f"{name}-half"  # only ever in commands that are not sent whole
        self.is_told_to_stop = threading.Event()
        self.cuts = 0
        self.trouble: BaseException | None = None

    def run(self) -> None:
        """Cut until the server is gone or it is told to stop."""
        try:
            with contextlib.suppress(*ENDED):
                while not self.is_told_to_stop.wait(self._pace_seconds):
                    self._cut(self._random.choice(TRANSPORTS))
                    self.cuts += 1
        except BaseException as error:
            self.trouble = error

    def _cut(self, transport: str) -> None:
        command = f"set {self.half_key} {'x' * self._random.randrange(1, 400)}"
        match transport:
            case "websocket":
                with WebSocketClient(self._server.websocket) as client:
                    select(client, self._database)
                    if self._random.random() < 0.3:  # a fragment whose rest never comes
                        client.send_bytes(encode_frame(OPCODE_TEXT, command.encode(), is_final=False))
                    else:
                        client.send_bytes(self._part(encode_frame(OPCODE_TEXT, command.encode())))
                    leave_without_a_word(client.socket, self._random)
            case "tcp":
                with TcpClient(self._server.tcp) as client:
                    select(client, self._database)
                    client.send_bytes(self._part(f"{command}\n".encode()))
                    leave_without_a_word(client.socket, self._random)
            case _:
                body = f"use-db {self._database} {TOKEN};{command};{command}".encode()
                head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                with HttpClient(self._server.http) as http:
                    http.send_bytes(self._part(head + body))
                    leave_without_a_word(http.socket, self._random)

    def _part(self, data: bytes) -> bytes:
        return data[: self._random.randrange(1, len(data))]

    def check(self, server: Server) -> None:
        """Check that nothing that was cut was run."""
        if self.trouble is not None:
            raise self.trouble
        with TcpClient(server.tcp) as client:
            select(client, self._database)
            told = client.ask(f"get-safe {self.half_key}")
        assert told == ["value-version 1 <Empty>\n", OK], f"a command that never arrived whole was run: {told}"


class KeyWatcher(threading.Thread):
    """Watches keys; between looks at what has come it reads nothing for up to `pause_seconds`."""

    def __init__(
        self, server: Server, database: str, keys: Sequence[str], seed: int, *, transport: str, pause_seconds: float
    ) -> None:
        super().__init__(name=f"watcher-{seed}", daemon=True)
        self._server = server
        self._database = database
        self._keys = keys
        self._random = random.Random(seed)
        self._transport = transport
        self._pause_seconds = pause_seconds
        self._event = re.compile(r"(?:changed-version (\S+) (-?[0-9]+) (.*)|removed (\S+))\n", re.DOTALL)
        self._final: Mapping[str, State] | None = None
        self.has_begun = threading.Event()
        self.is_told_to_stop = threading.Event()
        self.newest: dict[str, State | None] = {}
        self.events = 0
        self.trouble: BaseException | None = None
        self._end: BaseException | None = None  # how the connection ended, if the server ended it

    def run(self) -> None:
        """Watch until the server is gone, or until told to stop and everything is there."""
        try:
            with self._connect() as connection:
                select(connection, self._database)
                for key in self._keys:
                    assert connection.ask(f"watch {key}")[-1] == OK
                self.has_begun.set()
                while not self.is_told_to_stop.wait(self._random.uniform(0, self._pause_seconds)):
                    self._read(connection, seconds=0.2)
                self._read_to_the_end(connection)
        except ENDED as error:
            self._end = error
        except BaseException as error:
            self.trouble = error
        self.has_begun.set()

    def _connect(self) -> Connection:
        buffer_bytes = 4096 if self._pause_seconds > 1 else None
        if self._transport == "websocket":
            return WebSocketClient(self._server.websocket, receive_buffer_bytes=buffer_bytes)
        return TcpClient(self._server.tcp, receive_buffer_bytes=buffer_bytes)

    def _read(self, connection: Connection, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        connection.pump_until(lambda: time.monotonic() > deadline, timeout_seconds=seconds)
        if connection.is_ended:
            raise EndOfConnectionError(f"{self.name}: the server ended the connection of a watcher")
        for message in connection.take_all():
            if match := self._event.fullmatch(message):
                self.events += 1
                self.newest[match[4] or match[1]] = None if match[4] else State(int(match[2]), match[3])

    def _read_to_the_end(self, connection: Connection) -> None:
        final = self._final
        if final is None:
            return
        # With the small one that made it slow, the kernel would send 2 KiB of it every 200 ms.
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES_MAX)
        deadline, events = time.monotonic() + QUIET_SECONDS_MAX, self.events
        while wrong := {
            key: (final.get(key), state) for key, state in self.newest.items() if state != final.get(key)
        } | {key: (final[key], None) for key in self._keys if key in final and key not in self.newest}:
            assert time.monotonic() < deadline, f"{self.name}: (newest, what it was told last) differ: {wrong}"
            self._read(connection, seconds=0.2)
            if self.events > events:  # a slow reader has much to read, the longer on a busy machine
                deadline, events = time.monotonic() + QUIET_SECONDS_MAX, self.events

    def finish(self, final: Mapping[str, State] | None) -> None:
        """Have it read what is left; raises what went wrong, and unless it then knows the final states of its keys.

        With None (the server was killed) nothing of that is asked.
        """
        self._final = final
        self.is_told_to_stop.set()
        self.join()
        if self.trouble is not None:
            raise self.trouble
        if final is not None and self._end is not None:
            raise self._end
