"""SIGKILL while a dropped database is removed: it never comes back, in part or in another one of its name."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING

import pytest

from pynun.engine.key_layout import HOUSEKEEPING, prefixes
from pynun.storage.store import LmdbStore
from tools.clients.exact_clients import http_post
from tools.clients.sessions import create_database, tcp_session

if TYPE_CHECKING:
    from tools.clients.server import Server

pytestmark = pytest.mark.system

KEYS = 30_000
KILLS = 3
SECONDS_MAX = 40.0
NOT_A_DATABASE = "Not a valid database name"


def ask(server: Server, command: str) -> str:
    """The answer to one command of the admin."""
    return http_post(server.http, f"auth {server.credentials}; {command}").partition(";")[2]


def being_removed(server: Server) -> int:
    """How many dropped databases still have keys on the disk."""
    count = json.loads(ask(server, "list-dbs").removeprefix("databases "))["being_removed"]
    assert isinstance(count, int)
    return count


def fill(server: Server, name: str) -> None:
    """Create a database of many keys."""
    create_database(server, name, then="create-user ana ana-pwd")
    with tcp_session(server, name) as client:
        client.send_bytes("".join(f"set key-{number} of-the-first\n" for number in range(KEYS)).encode())
        client.send("get key-0")
        assert client.pump_until(lambda: "value of-the-first\n" in client.messages, timeout_seconds=SECONDS_MAX)


def stored(server: Server) -> int:
    """How many keys of the first database, of its conflicts and of notes on it are in the file of a stopped server."""
    store = LmdbStore(server.data_dir)
    try:
        notes = store.scan(HOUSEKEEPING + b"dropped ", b"", 10)[0]
        return len(notes) + sum(store.measure_database(prefix, b"", KEYS * 2)[0] for prefix in prefixes(2))
    finally:
        store.close()


def test_a_database_that_was_dropped_stays_so_whenever_the_server_is_killed(server: Server) -> None:
    fill(server, "d")
    assert ask(server, "drop-db d") == "drop-db success\n"
    left = KEYS
    for kill in range(KILLS):
        assert being_removed(server) == 1, f"all was removed before kill {kill}: more keys are needed"
        # A little of it is to happen in each life; there is no event to wait for.
        threading.Event().wait(0.02)
        server.kill()
        before, left = left, stored(server)
        assert 0 < left <= before + 10
        server.start()
        if kill == 0:
            assert http_post(server.http, "use-db d pwd; use-db d ana ana-pwd") == ";".join([NOT_A_DATABASE] * 2)
            create_database(server, "d", then="set mine v")
        assert http_post(server.http, "use-db d pwd; keys; get key-0; use-db d ana ana-pwd") == (
            "empty;keys ,$connections,mine\n;value <Empty>\n;Invalid token"
        )
    deadline = time.monotonic() + SECONDS_MAX
    while being_removed(server):
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)
    assert http_post(server.http, "use-db d pwd; keys") == "empty;keys ,$connections,mine\n"
    assert server.stop() == 0
    assert stored(server) == 0
