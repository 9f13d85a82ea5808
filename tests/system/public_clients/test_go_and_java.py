"""What the public Go and Java clients (`nun-db-go`, `nundbjava`) send and how they read the answers, on the wire.

Their rules are docs/protocol.md's: both log in as the administrator, then create the database that they use, each time;
a message comes before its `ok`, one message in a frame. The Go client reads `changed KEY VALUE`, `value VALUE`, and
drops the first element of `keys`; the Java client keeps the newline of `value-version VERSION VALUE`, and reads
`dbs-list`. Here stand their readings, so that a change of a message that would break them fails a test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.clients.exact_clients import WebSocketClient
from tools.clients.sessions import OK

if TYPE_CHECKING:
    from tools.clients.server import Server

DATABASE = "appointments"
TOKEN = "appointments-token"


def connect(server: Server) -> WebSocketClient:
    """Connect as both clients do: nothing waits for an answer before the next command leaves."""
    client = WebSocketClient(server.websocket)
    commands = [f"auth {server.credentials}", f"create-db {DATABASE} {TOKEN}", f"use-db {DATABASE} {TOKEN}"]
    for command in commands:
        client.send(command)
    assert client.take(2) == ["valid auth\n", OK]
    created = client.take_answer()
    assert created in (["create-db success\n", OK], ["error database already exists \n"])
    assert client.take_answer() == [OK]
    return client


def test_both_log_in_create_and_use_each_time(server: Server) -> None:
    for _ in range(3):
        with connect(server) as client:
            assert client.ask("get $connections") == ["value 1\n", OK]
            client.close()


class Go:
    """The readings of the Go client: words at blanks, the newline cut."""

    @staticmethod
    def value(message: str) -> str:
        """`value VALUE`."""
        command, _, value = message.rstrip("\n").partition(" ")
        assert command == "value"
        return value

    @staticmethod
    def changed(message: str) -> tuple[str, str]:
        """`changed KEY VALUE`."""
        command, key, value = message.rstrip("\n").split(" ", 2)
        assert command == "changed"
        return key, value

    @staticmethod
    def keys(message: str) -> list[str]:
        """`keys ,k1,k2`: what stands before the first comma is dropped."""
        command, _, keys = message.rstrip("\n").partition(" ")
        assert command == "keys"
        return keys.split(",")[1:]


def test_what_the_go_client_reads(server: Server) -> None:
    with connect(server) as client, connect(server) as watcher:
        assert watcher.ask("watch appointment:1") == [OK]
        assert client.ask("set appointment:1 Ana at nine") == [OK]
        changed, with_version = watcher.take(2)
        assert Go.changed(changed) == ("appointment:1", "Ana at nine")
        assert with_version == "changed-version appointment:1 0 Ana at nine\n"
        value, end = client.ask("get appointment:1")
        assert (Go.value(value), end) == ("Ana at nine", OK)
        value, end = client.ask("get nothing")
        assert (Go.value(value), end) == ("<Empty>", OK)
        keys, end = client.ask("keys appointment:*")
        assert (Go.keys(keys), end) == (["appointment:1"], OK)
        keys, end = client.ask("keys nothing*")
        assert (Go.keys(keys), end) == ([], OK)
        assert client.ask("increment visits 1") == [OK]
        assert client.ask("remove appointment:1") == [OK]
        assert watcher.take() == ["removed appointment:1\n"]


class Java:
    """The readings of the Java client: the text after the command, its newline with it."""

    @staticmethod
    def value_version(message: str) -> tuple[int, str]:
        """`value-version VERSION VALUE\\n`."""
        command, version, value = message.split(" ", 2)
        assert command == "value-version"
        return int(version), value

    @staticmethod
    def keys(message: str) -> list[str]:
        """`keys ,k1,k2\\n`."""
        command, keys = message.split(" ", 1)
        assert command == "keys"
        return [key for key in keys.strip().split(",") if key]

    @staticmethod
    def databases(message: str) -> dict[str, str]:
        """`dbs-list \\nNAME : STRATEGY\\n…`."""
        command, *lines = message.split("\n")
        assert command == "dbs-list "
        return dict(line.split(" : ") for line in lines if line)


def test_what_the_java_client_reads(server: Server) -> None:
    with connect(server) as client, connect(server) as watcher:
        assert watcher.ask("watch appointment:1") == [OK]
        assert client.ask("set-safe appointment:1 5 Ana at nine") == [OK]
        assert watcher.take(2) == [
            "changed appointment:1 Ana at nine\n",
            "changed-version appointment:1 6 Ana at nine\n",
        ]
        value, end = client.ask("get-safe appointment:1")
        assert (Java.value_version(value), end) == ((6, "Ana at nine\n"), OK)
        value, end = client.ask("get-safe nothing")
        assert (Java.value_version(value), end) == ((1, "<Empty>\n"), OK)
        keys, end = client.ask("keys")
        assert end == OK
        assert {"$connections", "appointment:1"} <= set(Java.keys(keys))
        databases, end = client.ask("debug list-dbs")
        assert end == OK
        assert Java.databases(databases) == {"$admin": "newer", DATABASE: "none"}


@pytest.mark.parametrize("credentials", ["wrong-token", "nobody wrong-token"])
def test_the_refusal_that_all_clients_know(server: Server, credentials: str) -> None:
    connect(server).abandon()
    with WebSocketClient(server.websocket) as client:
        assert client.ask(f"use-db {DATABASE} {credentials}") == ["error Invalid token \n"]


def test_the_denial_that_all_clients_know(server: Server) -> None:
    with connect(server) as admin, WebSocketClient(server.websocket) as client:
        assert admin.ask("create-user ana ana-token") == [OK]
        assert client.ask(f"use-db {DATABASE} ana ana-token") == [OK]
        # In a message of its own without the blank, then as an error with it.
        assert client.ask("get appointment:1") == ["permission denied\n", "error permission denied\n \n"]


def test_connections_are_a_live_count(server: Server) -> None:
    with connect(server) as client:
        assert client.ask("watch $connections") == [OK]
        with connect(server) as other:
            assert client.take() == ["changed $connections 2\n"]
            client.take()
            other.close()
        assert client.take() == ["changed $connections 1\n"]
