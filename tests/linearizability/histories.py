"""Concurrent clients that note what they sent and were told, and when: a history.

Each client works on a connection of its own, one command at a time, on a few keys that all of them share. A command
whose answer never came (the server was killed) is kept without an end: it may have happened or not. Then the client
connects again. All times are of one monotonic clock, taken before the command is sent and after its answer came.
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pynun.protocol import messages
from tools.clients.exact_clients import Connection, EndOfConnectionError, HttpClient, TcpClient, WebSocketClient
from tools.clients.sessions import OK, TOKEN, select

LOST = ([messages.error(messages.OWNER_LOST)], [messages.error(messages.OWNER_LOST_FRAME)])
"""What a node answers while it looks for the next owner: as good as no answer."""

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tools.clients.server import Server

Kind = Literal["get", "get-safe", "set", "set-safe", "increment", "remove"]
KINDS: tuple[Kind, ...] = ("get", "get-safe", "set", "set-safe", "increment", "remove")
_WEIGHTS = (3, 4, 4, 5, 5, 1)

SECONDS_MAX = 20.0
CLIENT_OPERATIONS_MIN = 40

_RECONNECT_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Found:
    """What a `get` (version 0) or `get-safe` was told of a key that is there."""

    version: int
    value: str


@dataclass(slots=True)
class Operation:
    """One command of a history; `returned_ns` is None while, or if, its answer did not come."""

    client: int
    kind: Kind
    key: str
    version: int
    value: str
    called_ns: int
    returned_ns: int | None = None
    outcome: str = "unknown"
    found: Found | None = None

    @property
    def command(self) -> str:
        """The command's text."""
        match self.kind:
            case "set" | "increment":
                return f"{self.kind} {self.key} {self.value}"
            case "set-safe":
                return f"set-safe {self.key} {self.version} {self.value}"
            case _:
                return f"{self.kind} {self.key}"

    def as_json(self) -> dict[str, object]:
        """The operation as the checker reads it."""
        return {
            "client": self.client,
            "kind": self.kind,
            "key": self.key,
            "version": self.version,
            "value": self.value,
            "call": self.called_ns,
            "return": self.returned_ns,
            "outcome": self.outcome,
            "found": None if self.found is None else {"version": self.found.version, "value": self.found.value},
        }


def understand(operation: Operation, answer: Sequence[str]) -> None:
    """Note what the messages of an answer say (as on WebSocket and TCP). Raises AssertionError if it is none."""
    match answer:
        case ["ok \n"]:
            operation.outcome = "ok"
        case ["error Invalid version! \n"]:
            operation.outcome = "conflict"
        case ["error Key is not numeric \n"]:
            operation.outcome = "not-numeric"
        case [message, "ok \n"] if match := re.fullmatch(r"(?:value|value-version (-?[0-9]+)) (\S+)\n", message):
            operation.outcome = "value"
            if match[2] != "<Empty>":
                operation.found = Found(int(match[1] or 0), match[2])
        case _:
            raise AssertionError(f"{operation.command!r} was answered {answer}")


class HistoryClient(threading.Thread):
    """One client: draws commands, sends them, notes the answers; connects again when the connection ends.

    `rest_seconds` is how long it does nothing before a command, at most and at least. Several servers are the nodes of
    a cluster: each connection is to any of them. `on_answer` is called after each answer.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        database: str,
        keys: Sequence[str],
        *,
        number: int,
        transport: str,
        seed: int,
        kinds: Sequence[Kind] = KINDS,
        rest_seconds: tuple[float, float] = (0.0, 0.0),
        on_answer: Callable[[Operation], None] = lambda _: None,
    ) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self._servers = servers
        self._server = servers[0]
        self._kinds = kinds
        self._weights = [_WEIGHTS[KINDS.index(kind)] for kind in kinds]
        self._rest_seconds = rest_seconds
        self._on_answer = on_answer
        self._socket: socket.socket | None = None
        self._roused = threading.Event()
        self._database = database
        self._keys = keys
        self._number = number
        self._transport = transport
        self._random = random.Random(seed * 1000 + number)
        self._seen: dict[str, int] = {}  # the newest version that it was told, to name in set-safe
        self._count = 0
        self.is_told_to_stop = threading.Event()
        self.operations: list[Operation] = []
        self.trouble: BaseException | None = None

    def run(self) -> None:
        """Work until told to stop."""
        try:
            while not self.is_told_to_stop.is_set():
                self._server = self._random.choice(self._servers)
                try:
                    if self._transport == "http":
                        with HttpClient(self._server.http) as http:
                            self._socket = http.socket
                            self._work(lambda text: self._post(http, text))
                    else:
                        with self._connect() as connection:
                            self._socket = connection.socket
                            select(connection, self._database)
                            self._work(connection.ask)
                except (OSError, EndOfConnectionError):
                    self.is_told_to_stop.wait(_RECONNECT_SECONDS)
        except BaseException as error:
            self.trouble = error

    def _is_over_after_rest(self) -> bool:
        if any(self._rest_seconds):
            self._roused.clear()
            if not self.is_told_to_stop.is_set():
                self._roused.wait(self._random.uniform(*self._rest_seconds))
        return self.is_told_to_stop.is_set()

    def rouse(self) -> None:
        """End its rest."""
        self._roused.set()

    def hurry(self) -> None:
        """End its connection, if it still waits for an answer after it was told to stop."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _connect(self) -> Connection:
        if self._transport == "websocket":
            return WebSocketClient(self._server.websocket)
        return TcpClient(self._server.tcp)

    def _post(self, http: HttpClient, text: str) -> list[str]:
        """The answer of a request with one command, as the other transports give it."""
        response = http.request(f"use-db {self._database} {TOKEN};{text}")
        if response.status == 503:
            raise EndOfConnectionError("no node owns the data now")
        assert response.status == 200, response
        selected, _, result = response.text.partition(";")
        assert selected == "empty", response
        if result.startswith("value"):
            return [result, OK]
        return [OK] if result == "empty" else [f"error {result} \n"]

    def _work(self, ask: Callable[[str], list[str]]) -> None:
        while not self._is_over_after_rest():
            operation = self._next()
            self.operations.append(operation)
            answer = ask(operation.command)
            if answer in LOST:
                continue  # it has happened or not, or will
            understand(operation, answer)
            operation.returned_ns = time.monotonic_ns()
            if operation.kind == "get-safe" and operation.found is not None:
                self._seen[operation.key] = operation.found.version
            self._on_answer(operation)

    def _next(self) -> Operation:
        kind = self._random.choices(self._kinds, self._weights)[0]
        key = self._random.choice(self._keys)
        self._count += 1
        version, value = 0, ""
        if kind == "increment":
            value = str(self._random.choice((1, 2, 5)))
        elif kind in ("set", "set-safe"):
            # A number of its own, so that it can be counted up and is still told from every other.
            value = f"{self._number + 1}{self._count:06}00"
            version = self._seen.get(key, -1) + self._random.choice((0, 0, 0, 1, -1))
        return Operation(self._number, kind, key, version, value, time.monotonic_ns())


def record(
    server: Server,
    database: str,
    *,
    seed: int,
    seconds: float,
    kills: int = 0,
    clients: int = 6,
    keys_count: int = 3,
    operations_max: int = 6000,
) -> list[Operation]:
    """Have clients on all transports work for a while, and kill the server so often meanwhile; return the history.

    On a slow machine it takes longer, until each client has done a little since the last start.
    """
    keys = [f"{database}-k{number}" for number in range(keys_count)]
    transports = ("websocket", "tcp", "http")
    workers = [
        HistoryClient(
            [server], database, keys, number=number, transport=transports[number % len(transports)], seed=seed
        )
        for number in range(clients)
    ]
    for worker in workers:
        worker.start()
    try:
        chance = random.Random(seed)
        for _ in range(kills):
            # The moment of the kill is the point; there is no event to wait for.
            threading.Event().wait(seconds / kills * chance.uniform(0.3, 1.0))
            server.kill()
            server.start()
        last_start = time.monotonic()
        done_before = [len(worker.operations) for worker in workers]
        while (now := time.monotonic()) < last_start + SECONDS_MAX:
            done = [len(worker.operations) for worker in workers]
            if sum(done) > operations_max:
                break
            is_enough = all(
                count - before >= CLIENT_OPERATIONS_MIN for count, before in zip(done, done_before, strict=True)
            )
            if is_enough and now > last_start + (seconds / kills / 2 if kills else seconds):
                break
            threading.Event().wait(0.02)
    finally:
        for worker in workers:
            worker.is_told_to_stop.set()
        for worker in workers:
            worker.join()
    for worker in workers:
        if worker.trouble is not None:
            raise worker.trouble
    return sorted((one for worker in workers for one in worker.operations), key=lambda one: one.called_ns)
