"""The client over the death of a real server: killed with SIGKILL and started again on the same port and folder."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from pynun.client import (
    AsyncioClient,
    AuthenticationError,
    ChangeEvent,
    Client,
    ConnectionClosed,
    ConnectionLost,
    ConnectionRestored,
    Event,
    Events,
    SyncClient,
)
from tests.client.conftest import make_database
from tests.client.peer import TEST_TIMEOUT_S, scripted_server, trio_test
from tests.support.relay import Relay
from tools.clients.exact_clients import http_post
from tools.clients.server import ADMIN_PASSWORD, ADMIN_USER, Server, new_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.client.conftest import Database


@pytest.fixture(scope="module", name="server")
def _server() -> Iterator[Server]:
    """A server of the file's own, as each test leaves it running on its ports."""
    with new_folder() as folder, Server(folder / "dbs") as running:
        yield running


async def kill(server: Server) -> None:
    await trio.to_thread.run_sync(server.kill)


async def start(server: Server) -> None:
    await trio.to_thread.run_sync(server.start)


async def allow_only(server: Server, database: Database, permissions: str) -> None:
    command = f"auth {server.credentials}; use-db {database.name} {database.token}; set-permissions all {permissions}"
    await trio.to_thread.run_sync(http_post, server.http, command)


async def wait_for(events: Events, kind: type[Event]) -> None:
    async for event in events:
        if isinstance(event, kind):
            return
    pytest.fail("the client ended")


def open_database(database: Database) -> Client:
    return Client(database.url, database=database.name, token=database.token)


@trio_test
async def test_an_ephemeral_key_is_set_again(server: Server) -> None:
    left, database = make_database(server), make_database(server)
    async with open_database(left) as client, open_database(database) as other:
        await client.set_ephemeral("here-before", "in the database that it left")
        await client.use_database(database.name, database.token)
        await client.set_ephemeral("here-ana", "in room 3")
        await client.set_ephemeral("here-ben", "gone")
        await client.remove("here-ben")
        await client.set_ephemeral("not-allowed-later", "1")
        await allow_only(server, database, "rw here-*")
        events = client.events()
        await kill(server)
        await wait_for(events, ConnectionLost)
        await start(server)
        await wait_for(events, ConnectionRestored)
        assert await other.get("here-ana") == "in room 3"
        assert await other.get("here-ben") is None
        assert await other.get("here-before") is None


@trio_test
async def test_an_ephemeral_key_that_somebody_else_took_stays_theirs(server: Server) -> None:
    database = make_database(server)
    with Relay(server.websocket) as network:
        there = Client(f"ws://{network.address}", database=database.name, token=database.token)
        async with there as client, open_database(database) as other:
            await client.set_ephemeral("leads", "ana")
            await client.set_ephemeral("here", "ana")
            await other.set_ephemeral("leads", "ben")
            events = client.events()
            network.cut()
            await wait_for(events, ConnectionRestored)
            assert [await other.get("leads"), await other.get("here")] == ["ben", "ana"]
        async with open_database(database) as later:
            assert await later.get("leads") is None


@trio_test
async def test_an_ephemeral_key_that_its_old_connection_still_holds_is_set_again() -> None:
    """The server may notice the end of that connection later, and would then remove the key."""
    async with scripted_server() as server, trio.open_nursery() as nursery, Client(server.url) as client:
        peer = await server.accept()
        nursery.start_soon(client.set_ephemeral, "here", "ana")
        await peer.answer("set-ephemeral here ana", "ok \n")
        await trio.testing.wait_all_tasks_blocked()
        await peer.cut()
        peer = await server.accept()
        await peer.answer("get-safe here", "value-version 0 ana\n", "ok \n")
        await peer.answer("set-ephemeral here ana", "ok \n")


@trio_test
async def test_watches_are_restored_and_the_newest_value_is_delivered(server: Server) -> None:
    database = make_database(server)
    async with open_database(database) as client:
        events = client.events()
        await client.set("changed", "before")
        await client.set("removed", "before")
        await client.set("same", "before")
        async with (
            client.watch("changed", "removed", "same", "new", current=True) as changes,
            client.watch("changed", catch_up=False) as bare,
        ):
            first = {(await anext(changes)).key for _ in range(3)}
            assert first == {"changed", "removed", "same"}

            await kill(server)
            await wait_for(events, ConnectionLost)
            # While the watching client is away: a server on the same folder but other ports, and another client.
            ports = server.websocket, server.http, server.tcp
            server.websocket = server.http = server.tcp = server.tcp._replace(port=0)
            await start(server)
            async with Client(f"ws://{server.websocket}", database=database.name, token=database.token) as other:
                await other.set("changed", "on the way")
                await other.set("changed", "missed")
                await other.remove("removed")
                await other.set("new", "born")
            await kill(server)
            server.websocket, server.http, server.tcp = ports
            await start(server)
            await wait_for(events, ConnectionRestored)

            missed = {change.key: change for change in [await anext(changes) for _ in range(3)]}
            assert missed == {
                "changed": ChangeEvent("changed", "missed", 2, removed=False),
                "removed": ChangeEvent("removed", None, None, removed=True),
                "new": ChangeEvent("new", "born", 0, removed=False),
            }
            async with open_database(database) as other:
                await other.set("changed", "after")
                await other.set("same", "after")
            assert await anext(changes) == ChangeEvent("changed", "after", 3, removed=False)
            assert await anext(changes) == ChangeEvent("same", "after", 1, removed=False)
            assert await anext(bare) == ChangeEvent("changed", "after", 3, removed=False)


@trio_test
async def test_commands_during_the_outage_wait_and_login_and_database_are_as_before(server: Server) -> None:
    database = make_database(server)
    async with Client(
        database.url, admin=(ADMIN_USER, ADMIN_PASSWORD), database=database.name, token=database.token
    ) as client:
        events = client.events()
        await client.set("k", "1")
        await kill(server)
        await wait_for(events, ConnectionLost)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.set, "k", "2")
            nursery.start_soon(client.execute, "cluster-state")
            await start(server)
        assert await client.get("k") == "2"
        assert (await client.execute("cluster-state")).error is None


@trio_test
async def test_no_change_is_made_twice_and_no_acknowledged_one_is_lost_when_the_server_dies_under_load(
    server: Server,
) -> None:
    database = make_database(server)
    acknowledged = unknown = 0
    async with open_database(database) as client:

        async def add(deadline: trio.Event) -> None:
            nonlocal acknowledged, unknown
            while not deadline.is_set():
                try:
                    await client.increment("n")
                    acknowledged += 1
                except ConnectionClosed as closed:
                    unknown += closed.is_outcome_unknown

        async with trio.open_nursery() as nursery:
            deadline = trio.Event()
            for _ in range(8):
                nursery.start_soon(add, deadline)
            for _ in range(3):
                before = acknowledged
                while acknowledged < before + 100:
                    await client.get("n")  # paces the loop: a round trip
                await kill(server)
                await start(server)
            deadline.set()
        total = int(await client.get("n") or "0")
    assert acknowledged <= total <= acknowledged + unknown


@trio_test
async def test_stop_of_the_server_is_told_and_survived(server: Server) -> None:
    database = make_database(server)
    async with open_database(database) as client:
        events = client.events()
        await trio.to_thread.run_sync(server.restart)
        lost = await anext(events)
        assert isinstance(lost, ConnectionLost)
        assert "1001" in lost.reason
        await client.set("k", "v")
        assert await client.get("k") == "v"


@trio_test
async def test_token_that_was_changed_meanwhile_ends_the_client(server: Server) -> None:
    database = make_database(server)
    async with open_database(database) as client, client.watch("k") as changes:
        await trio.to_thread.run_sync(partial(database.admin, "set $$token changed"))
        await trio.to_thread.run_sync(server.restart)
        with pytest.raises(AuthenticationError, match="Invalid token"):
            await anext(changes)
        with pytest.raises(AuthenticationError, match="Invalid token"):
            await client.get("k")


def test_synchronous_client_survives_too(server: Server) -> None:
    database = make_database(server)
    with SyncClient(database.url, database=database.name, token=database.token) as client:
        client.set("k", "before")
        with client.watch("k", current=True) as changes:
            assert next(changes).value == "before"
            server.kill()
            server.start()
            client.set("k", "after")
            assert changes.get(60).value == "after"


def test_asyncio_client_survives_too(server: Server) -> None:
    database = make_database(server)

    async def main() -> None:
        async with (
            AsyncioClient(database.url, database=database.name, token=database.token) as client,
            client.watch("k") as changes,
        ):
            events = client.events()
            server.kill()
            waiting = asyncio.create_task(client.set("k", "after"))
            assert isinstance(await anext(events), ConnectionLost)
            await asyncio.to_thread(server.start)
            assert isinstance(await anext(events), ConnectionRestored)
            assert (await anext(changes)).value == "after"
            await waiting

    asyncio.run(asyncio.wait_for(main(), TEST_TIMEOUT_S))
