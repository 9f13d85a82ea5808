"""A disk that is full under a running server: changes are refused, and say so, reads go on, nothing that was answered
`ok` is lost, and it recovers by itself (docs/protocol.md section 9).

What the store itself does there is in tests/storage/test_full_disk.py.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.watched import fill, small_disk, wait_until
from tools.clients.exact_clients import HttpClient, http_post
from tools.clients.load import State, read_states
from tools.clients.server import Server
from tools.clients.sessions import OK, TOKEN, create_database, tcp_session, websocket_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DATABASE = "crowded"
REFUSED = "error not stored: No space left on device \n"
VALUE = "x" * 20_000
"""Some pages of the data file: more than a commit or two leave free."""


class Clients:
    """One on each transport. They note what was answered `ok`, and what was not."""

    def __init__(self) -> None:
        self.stored: dict[str, State] = {}
        self.refused: list[str] = []

    def connect(self, server: Server, stack: contextlib.ExitStack) -> None:
        """Connect until the stack is closed, also once more after a restart."""
        self._http = stack.enter_context(HttpClient(server.http))
        connections = {"websocket": websocket_session(server, DATABASE), "tcp": tcp_session(server, DATABASE)}
        for connection in connections.values():
            stack.enter_context(connection)
        self.watcher = stack.enter_context(tcp_session(server, DATABASE))
        self._ask: dict[str, Callable[[str], list[str]]] = {
            **{name: connection.ask for name, connection in connections.items()},
            "http": self._post,
        }

    def _post(self, command: str) -> list[str]:
        """The result of a request with one command, as the other transports give it."""
        selected, result = self._http.request(f"use-db {DATABASE} {TOKEN};{command}").text.split(";")
        assert selected == "empty"
        if result.startswith("value "):
            return [result, OK]
        return [OK] if result == "empty" else [f"error {result} \n"]

    def set_new_key(self, transport: str) -> bool:
        """Whether there was room for it."""
        key = f"{transport}-{len(self.stored) + len(self.refused)}"
        assert self.watcher.ask(f"watch {key}") == [OK]
        answer = self._ask[transport](f"set {key} {VALUE}")
        assert answer in ([OK], [REFUSED])
        if answer == [OK]:
            self.stored[key] = State(0, VALUE)
            assert self.watcher.take(2) == [f"changed {key} {VALUE}\n", f"changed-version {key} 0 {VALUE}\n"]
        else:
            self.refused.append(key)
        return answer == [OK]

    def check(self) -> None:
        """Reads go on, on every transport; what was refused is nowhere, and nobody is told of it."""
        for ask in self._ask.values():
            assert ask("get steady") == ["value before\n", OK]
            for key in self.refused:
                assert ask(f"get {key}") == ["value <Empty>\n", OK]
            for key in list(self.stored)[-3:]:
                assert ask(f"get {key}") == [f"value {VALUE}\n", OK]
        assert self.watcher.quiet(0.05) == []

    def fill_up(self) -> None:
        """Go on until everybody has been refused."""
        for transport in self._ask:
            while self.set_new_key(transport):
                assert len(self.stored) < 2000, "the disk is not full"

    def recover(self) -> None:
        """Nobody does anything but make room: soon changes are taken from everybody."""
        for transport in self._ask:
            wait_until(partial(self.set_new_key, transport))


@pytest.fixture(name="disk")
def _disk(disk_folder: Path) -> Iterator[Path]:
    with small_disk(disk_folder / "disk", "64m") as disk:
        yield disk


def _assert_all_there(server: Server, clients: Clients) -> None:
    assert read_states(server, DATABASE, [*clients.stored, *clients.refused]) == clients.stored


@pytest.mark.parametrize("durability", ["always", "relaxed"])
def test_a_disk_that_fills_up_loses_nothing_and_is_recovered_from(disk: Path, durability: str) -> None:
    with (
        Server(disk / "dbs", environment={"NUN_DURABILITY": durability}) as server,
        contextlib.ExitStack() as stack,
    ):
        create_database(server, DATABASE, then="set steady before")
        clients = Clients()
        clients.connect(server, stack)
        assert all(clients.set_new_key(transport) for transport in ("websocket", "tcp", "http"))
        for _ in range(2):
            fill(disk / "filler")
            clients.fill_up()
            clients.check()
            (disk / "filler").unlink()
            clients.recover()
            clients.check()
        _assert_all_there(server, clients)
        assert server.is_running
        server.restart()
        _assert_all_there(server, clients)


def test_killed_on_a_full_disk_it_starts_there_and_has_everything(disk: Path) -> None:
    clients = Clients()
    with Server(disk / "dbs") as server:
        create_database(server, DATABASE, then="set steady before")
        with contextlib.ExitStack() as stack:
            clients.connect(server, stack)
            scarce = "the disk is nearly full: clients need what is left for their changes; free up space"
            assert http_post(server.http, f"auth {server.credentials}; copy-db {DATABASE} copy").endswith(scarce)
            fill(disk / "filler")
            clients.fill_up()
            server.kill()
        server.start()
        _assert_all_there(server, clients)
        (disk / "filler").unlink()
        with contextlib.ExitStack() as stack:
            clients.connect(server, stack)
            clients.check()
            clients.recover()
        _assert_all_there(server, clients)
