"""Load for tests that end a server in the middle of it, and the check of what must be there afterwards.

A `Writer` sends a sequence of changes on one connection and counts how many were sent and how many were acknowledged.
It knows the state of its keys after each of them. After a restart the keys must be in the state after n changes, one n
for all keys of the writer, with acknowledged ≤ n ≤ sent: nothing acknowledged is lost, no change is half there (value
and version belong together), and none is there without those before it.

A `ConflictMaker` does the same for conflicts, where a key and its record must change together.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tools.clients.exact_clients import (
    Connection,
    EndOfConnectionError,
    HttpClient,
    TcpClient,
    WebSocketClient,
    text_frames,
)
from tools.clients.sessions import OK, TOKEN, select

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tools.clients.server import Server

_REFUSED = "error Invalid version! \n"
_ENDED = (OSError, EndOfConnectionError)


class State(NamedTuple):
    """A key's version and value."""

    version: int
    value: str


States = dict[str, State]  # an absent key is not in it


@dataclass(frozen=True, slots=True)
class Change:
    """One command, and its key's state after it (None: absent)."""

    command: str
    key: str
    after: State | None


class ChangeSource:
    """An endless sequence of changes of a few keys, all from one seed, that knows the keys' states."""

    def __init__(self, prefix: str, seed: int, keys_count: int = 6) -> None:
        self.keys = [f"{prefix}-k{index}" for index in range(keys_count)]
        self.counter = f"{prefix}-counter"  # only ever counted up, so its version never steps back
        self._random = random.Random(seed)
        self._states: States = {}
        self._number = 0

    def next(self) -> Change:
        """Return the next change."""
        self._number += 1
        kind = self._random.choices(("set", "set-safe", "stale", "remove", "increment"), (6, 6, 1, 1, 4))[0]
        key = self.counter if kind == "increment" else self._random.choice(self.keys)
        before = self._states.get(key)
        value = f"v{self._number}-{'x' * self._random.randrange(200)}"
        after: State | None
        match kind:
            case "set":
                command, after = f"set {key} {value}", State(before.version + 1 if before else 0, value)
            case "set-safe":
                given = (before.version if before else 0) + self._random.randrange(3)
                command, after = f"set-safe {key} {given} {value}", State(given + 1, value)
            case "stale" if before is not None and before.version > 0:
                command, after = f"set-safe {key} {before.version - 1} {value}", before
            case "increment":
                command = f"increment {key}"
                after = State(before.version + 1, str(int(before.value) + 1)) if before else State(1, "1")
            case _:
                command, after = f"remove {key}", None
        if after is None:
            self._states.pop(key, None)
        else:
            self._states[key] = after
        return Change(command, key, after)


class Writer(threading.Thread):
    """Sends changes until the connection ends or it is told to stop."""

    def __init__(self, server: Server, database: str, name: str, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self.server = server
        self.database = database
        self.source = ChangeSource(name, seed)
        self.sent: list[Change] = []
        self.acknowledged = 0
        self.is_told_to_stop = threading.Event()
        self.pace_seconds = 0.0  # waited before each group of changes
        self.has_begun = threading.Event()  # something was acknowledged
        self.trouble: BaseException | None = None
        self._random = random.Random(seed + 1)

    @property
    def keys(self) -> list[str]:
        """The keys that it writes."""
        return [*self.source.keys, self.source.counter]

    def run(self) -> None:
        """Write until the end; an unexpected answer is kept as `trouble`."""
        try:
            self.write()
        except BaseException as error:
            self.trouble = error
        self.has_begun.set()

    @abstractmethod
    def write(self) -> None:
        """Send and count."""

    def next_changes(self) -> list[Change]:
        """Return the next few changes, noted as sent (before they are: a part of them may arrive)."""
        if self.pace_seconds:
            self.is_told_to_stop.wait(self.pace_seconds)
        changes = [self.source.next() for _ in range(self._random.randrange(1, 12))]
        self.sent += changes
        return changes

    def acknowledge(self, answer: str) -> None:
        """Count an answer to the oldest change without one; raises AssertionError if it is not what it must be."""
        change = self.sent[self.acknowledged]
        assert answer in (OK, _REFUSED), f"{change.command!r} was answered {answer!r}"
        self.acknowledged += 1
        self.has_begun.set()

    def finish(self) -> None:
        """Wait for the thread's end and raise what went wrong in it."""
        self.join()
        if self.trouble is not None:
            raise self.trouble


class PipeliningWriter(Writer):
    """Writes on a WebSocket or a TCP connection, many commands ahead of the answers."""

    AHEAD_MAX = 64

    def __init__(self, server: Server, database: str, name: str, seed: int, *, transport: str) -> None:
        super().__init__(server, database, name, seed)
        self.transport = transport
        self.close_code: int | None = None

    def write(self) -> None:
        """Send while there is room, count answers as they come."""
        with self._connect() as connection:
            select(connection, self.database)
            while not connection.is_ended:
                if connection.is_closing:
                    pass  # nothing may be sent any more, but answers on their way still count
                elif not self.is_told_to_stop.is_set() and len(self.sent) - self.acknowledged < self.AHEAD_MAX:
                    commands = [change.command for change in self.next_changes()]
                    data = (
                        text_frames(commands)
                        if self.transport == "websocket"
                        else "".join(f"{command}\n" for command in commands).encode()
                    )
                    with contextlib.suppress(OSError):  # what was answered before is still to be read
                        connection.send_bytes(data)
                elif self.acknowledged == len(self.sent):
                    break
                self._count(connection)
            if isinstance(connection, WebSocketClient):
                self.close_code = connection.close_code

    def _connect(self) -> Connection:
        if self.transport == "websocket":
            return WebSocketClient(self.server.websocket)
        return TcpClient(self.server.tcp)

    def _count(self, connection: Connection) -> None:
        connection.pump()
        for answer in connection.take_all():
            self.acknowledge(answer)


class HttpWriter(Writer):
    """Writes with requests of several commands, one after the other on one connection."""

    def write(self) -> None:
        """Post and count."""
        with contextlib.suppress(*_ENDED), HttpClient(self.server.http) as client:
            while not self.is_told_to_stop.is_set():
                changes = self.next_changes()
                body = ";".join([f"use-db {self.database} {TOKEN}", *(change.command for change in changes)])
                response = client.request(body)
                if response.status == 503:  # the server is stopping
                    return
                results = response.text.split(";")
                assert results[0] == "empty", results
                assert len(results) == len(changes) + 1, results
                for result in results[1:]:
                    self.acknowledge(OK if result == "empty" else f"error {result} \n")


TRANSPORTS = ("websocket", "tcp", "http")


def new_writer(server: Server, database: str, name: str, seed: int, *, transport: str) -> Writer:
    """Return a writer on one of the transports, not started yet."""
    if transport == "http":
        return HttpWriter(server, database, name, seed)
    return PipeliningWriter(server, database, name, seed, transport=transport)


def start_writers(server: Server, database: str, seed: int) -> list[Writer]:
    """Start one writer on each transport and wait until each had something acknowledged."""
    writers = [
        new_writer(server, database, f"{transport}-{seed}", seed + number * 1_000_000, transport=transport)
        for number, transport in enumerate(TRANSPORTS)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        assert writer.has_begun.wait(20), f"{writer.name}: nothing was acknowledged"
        if writer.trouble is not None:
            raise writer.trouble
    return writers


def read_states(server: Server, database: str, keys: list[str]) -> States:
    """Read keys with their versions."""
    states = {}
    with TcpClient(server.tcp) as client:
        select(client, database)
        client.send_bytes("".join(f"get-safe {key}\n" for key in keys).encode())
        for key in keys:
            answer, end = client.take(2)
            assert end == OK
            _, version, value = answer.rstrip("\n").split(" ", 2)
            if value != "<Empty>":
                states[key] = State(int(version), value)
    return states


def check_writer(writer: Writer, states: Mapping[str, State], *, acknowledged: int | None = None) -> None:
    """Check that the states are those after n changes of the writer, with acknowledged ≤ n ≤ sent."""
    found = {key: states[key] for key in writer.keys if key in states}
    at_least = writer.acknowledged if acknowledged is None else acknowledged
    expected: States = {}
    at_acknowledged: States = {}
    for number, change in enumerate([None, *writer.sent]):
        if change is not None:
            if change.after is None:
                expected.pop(change.key, None)
            else:
                expected[change.key] = change.after
        if number >= at_least and expected == found:
            return
        if number == at_least:
            at_acknowledged = dict(expected)
    wrong = {
        key: (at_acknowledged.get(key), found.get(key))
        for key in writer.keys
        if at_acknowledged.get(key) != found.get(key)
    }
    raise AssertionError(
        f"{writer.name}: {at_least} changes acknowledged, {len(writer.sent)} sent; after none of these are the keys "
        f"as found. After the acknowledged ones (expected, found): {wrong}"
    )


class Reader(threading.Thread):
    """Watches and polls a writer's counter: what it was told must be on disk as well, and never steps back."""

    def __init__(self, server: Server, database: str, writer: Writer) -> None:
        super().__init__(name=f"reader-of-{writer.name}", daemon=True)
        self._server = server
        self._database = database
        self.key = writer.source.counter
        self.version_max = 0
        self.trouble: BaseException | None = None

    def run(self) -> None:
        """Read until the connection ends."""
        try:
            with contextlib.suppress(*_ENDED), WebSocketClient(self._server.websocket) as client:
                select(client, self._database)
                client.send(f"watch {self.key}")
                while not client.is_ended:
                    client.send(f"get-safe {self.key}")
                    client.pump()
                    for message in client.take_all():
                        self._note(message)
        except BaseException as error:
            self.trouble = error

    def _note(self, message: str) -> None:
        pattern = rf"(?:changed-version {re.escape(self.key)}|value-version) ([0-9]+) ([0-9]+)\n"
        if match := re.fullmatch(pattern, message):
            assert match[1] == match[2], f"a version without its value: {message!r}"
            assert int(match[1]) >= self.version_max, f"{message!r} after version {self.version_max}"
            self.version_max = int(match[1])

    def check(self, states: Mapping[str, State]) -> None:
        """Check that what it has seen is there."""
        if self.trouble is not None:
            raise self.trouble
        version = states[self.key].version if self.key in states else 0
        assert version >= self.version_max, f"{self.name} saw version {self.version_max}; there is {version}"


class ConflictMaker(threading.Thread):
    """Makes a conflict on key after key and has an arbiter resolve every second one.

    `stages` holds, per key, how far it was acknowledged and how far it was sent: 1 written, 2 in conflict, 3 resolved.
    """

    def __init__(self, server: Server, database: str, name: str, *, pace_seconds: float = 0.0) -> None:
        super().__init__(name=name, daemon=True)
        self._server = server
        self._database = database
        self._pace_seconds = pace_seconds
        self.is_told_to_stop = threading.Event()
        self.acknowledged: dict[str, int] = {}
        self.sent: dict[str, int] = {}
        self.records: dict[str, str] = {}
        self.trouble: BaseException | None = None

    def run(self) -> None:
        """Make conflicts until the connection ends or it is told to stop."""
        try:
            with (
                contextlib.suppress(*_ENDED),
                WebSocketClient(self._server.websocket) as arbiter,
                WebSocketClient(self._server.websocket) as client,
            ):
                for connection in (arbiter, client):
                    select(connection, self._database)
                arbiter.ask("arbiter")
                number = 0
                while not self.is_told_to_stop.wait(self._pace_seconds):
                    number += 1
                    self._make(arbiter, client, f"{self.name}-c{number}", is_resolved=number % 2 == 0)
        except BaseException as error:
            self.trouble = error

    def _make(self, arbiter: WebSocketClient, client: WebSocketClient, key: str, *, is_resolved: bool) -> None:
        self.sent[key] = 1
        assert client.ask(f"set-safe {key} 5 one") == [OK]
        self.acknowledged[key], self.sent[key] = 1, 2
        answer = client.ask(f"set-safe {key} 1 two")
        match = re.fullmatch(rf"error \$\$conflitct unresolved (\$conflicts_{key}_([0-9]+)) \n", answer[-1])
        assert match, answer
        self.records[key] = match[1]
        self.acknowledged[key] = 2
        if is_resolved:
            self.sent[key] = 3
            answer = arbiter.ask(f"resolve {match[2]} {self._database} {key} 6 three")
            assert answer[-1] == OK, answer
            self.acknowledged[key] = 3

    def check(self, server: Server) -> None:
        """Check each key and its record: both of one stage, between the acknowledged and the sent one."""
        if self.trouble is not None:
            raise self.trouble
        states = read_states(server, self._database, list(self.sent))
        with TcpClient(server.tcp) as client:
            select(client, self._database)
            for key, sent in self.sent.items():
                records = client.ask(f"keys $conflicts_{key}_*")[0].removeprefix("keys ").rstrip("\n").split(",")[1:]
                assert len(records) <= 1, records
                if key in self.records:
                    assert records == [self.records[key]]
                text = client.ask(f"get {records[0]}")[0].removeprefix("value ").rstrip("\n") if records else None
                stage = self._stage(key, states.get(key), records[0].rpartition("_")[2] if records else "", text)
                at_least = self.acknowledged.get(key, 0)
                assert at_least <= stage <= sent, f"{key}: acknowledged {at_least}, sent {sent}, found stage {stage}"

    def _stage(self, key: str, state: State | None, number: str, record: str | None) -> int:
        stages = [
            (None, None),
            (State(6, "one"), None),
            (State(-2, "one"), f"resolve {number} {self._database} 6 {key} one two"),
            (State(7, "three"), "resolved three"),
        ]
        assert (state, record) in stages, f"{key} is {state} and its record is {record!r}: half a change"
        return stages.index((state, record))
