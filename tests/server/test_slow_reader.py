"""One watcher among several stops reading: the server holds little for it, it ends with the newest, nobody else waits.

Measured over a minute, with a hundred watchers and at full speed, by `scripts/bench --slow-reader`.
"""

from __future__ import annotations

import contextlib
import selectors
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tools.clients.exact_clients import Connection, TcpClient, WebSocketClient
from tools.clients.sessions import OK, create_database, tcp_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.clients.server import Server

DATABASE = "watched"
WATCHERS = 10
KEYS = [f"camera-{number}" for number in range(20)]
VALUE = "x" * 4000
ROUNDS = 150  # of all keys: 24 MB of events for each watcher, far more than kernel buffers and outbox hold
IN_FLIGHT = 20
OUTBOX_KIB_MAX = 8 * 1024
SECONDS_MAX = 150.0


@pytest.mark.parametrize("durability", ["always", "relaxed"])
@pytest.mark.parametrize("make", [WebSocketClient, TcpClient])
def test_a_stopped_watcher_among_many(
    new_server: Callable[..., Server], make: type[WebSocketClient | TcpClient], durability: str
) -> None:
    server = new_server(NUN_DURABILITY=durability)
    server.start()
    create_database(server, DATABASE, then=";".join(f"set {key} {VALUE}" for key in KEYS))
    with contextlib.ExitStack() as stack:
        address = server.websocket if make is WebSocketClient else server.tcp
        readers: list[Connection] = [stack.enter_context(make(address)) for _ in range(WATCHERS - 1)]
        stopped = stack.enter_context(make(address, receive_buffer_bytes=4096))
        for watcher in (*readers, stopped):
            assert watcher.ask(f"use-db {DATABASE} pwd") == [OK]
            assert watcher.ask_all(*(f"watch {key}" for key in KEYS)) == [[OK]] * len(KEYS)
        writer = stack.enter_context(tcp_session(server, DATABASE))
        private_kib_before = server.resident_private_kib()
        private_kib_most = _write_while_others_read(server, writer, readers)
        print(f"private memory: {private_kib_before} KiB before, {private_kib_most} KiB at most with a stopped reader")
        assert private_kib_most - private_kib_before < OUTBOX_KIB_MAX
        events = _read_all(stopped)
        assert events[KEYS[-1]] < ROUNDS, "it was stopped, so the newest event replaced older ones"
        assert stopped.ask("get-safe " + KEYS[0]) == [f"value-version {ROUNDS} {ROUNDS}-{VALUE}\n", OK]


def _write_while_others_read(server: Server, writer: TcpClient, readers: list[Connection]) -> int:
    """Set all keys round by round; return the most private memory that the server held, in KiB.

    Every reader must get every event, in order, and all of them.
    """
    commands = [f"set {key} {number}-{VALUE}\n".encode() for number in range(1, ROUNDS + 1) for key in KEYS]
    received: Counter[int] = Counter()
    acknowledged = 0
    most = 0
    deadline = time.monotonic() + SECONDS_MAX
    with selectors.DefaultSelector() as selector:
        for connection in (writer, *readers):
            selector.register(connection, selectors.EVENT_READ, connection)
        writer.send_bytes(b"".join(commands[:IN_FLIGHT]))
        while acknowledged < len(commands) or any(received[id(reader)] < len(commands) for reader in readers):
            assert time.monotonic() < deadline, f"{acknowledged} of {len(commands)} sets, {sorted(received.values())}"
            for ready, _ in selector.select(1):
                connection = ready.data
                assert isinstance(connection, Connection)
                assert connection.pump(), "the server ended a connection that reads"
                messages = connection.take_all()
                if connection is writer:
                    assert messages == [OK] * len(messages)
                    start = acknowledged + IN_FLIGHT
                    writer.send_bytes(b"".join(commands[start : start + len(messages)]))
                    acknowledged += len(messages)
                else:
                    received[id(connection)] += _count_in_order(messages, received[id(connection)])
            most = max(most, server.resident_private_kib())
    return most


def _count_in_order(messages: list[str], before: int) -> int:
    """How many events there are; each must be the next one."""
    events = [message for message in messages if message.startswith("changed-version ")]
    for place, event in enumerate(events, before):
        number, key = divmod(place, len(KEYS))
        assert event == f"changed-version {KEYS[key]} {number + 1} {number + 1}-{VALUE}\n"
    return len(events)


def _read_all(stopped: Connection) -> Counter[str]:
    """Read until the newest of each key is there; return how many events came of each."""
    events: Counter[str] = Counter()
    newest: dict[str, int] = {}
    while newest != dict.fromkeys(KEYS, ROUNDS):
        for message in stopped.take():
            name, key, rest = message.split(" ", 2)
            if name != "changed-version":
                continue
            version, _, value = rest.rstrip("\n").partition(" ")
            assert int(version) > newest.get(key, 0), "an older version after a newer one"
            assert value == f"{version}-{VALUE}"
            newest[key] = int(version)
            events[key] += 1
    return events
