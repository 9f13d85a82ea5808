"""Clients of an edge keep their connections when the owner changes: what they have, and what they are told."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pynun import limits
from pynun.cluster import link_records as records
from pynun.cluster.edge_connections import serve_websocket_at_edge
from pynun.protocol import messages
from pynun.transports.sockets import receive, send
from tests.cluster.edge_bench import EdgeClient, open_host, open_link_of
from tests.engine.world import ADMIN_PASSWORD, ADMIN_USER, World
from tests.transports.service_bench import open_service, socket_pair
from tests.transports.websocket.client_frames import CLOSE, HANDSHAKE, frames_of, text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from pynun.cluster.edge_link import EdgeHost
    from pynun.transports.service import Service

OK = "ok \n"
LOST = messages.error(messages.OWNER_LOST)
LOST_FRAME = messages.error(messages.OWNER_LOST_FRAME)
IN_FLIGHT = 32
USE = "use-db one one-pwd"


class Cluster:
    """An edge, and one owner after another on the same data."""

    def __init__(self, host: EdgeHost, nursery: trio.Nursery) -> None:
        self.host = host
        self.nursery = nursery
        self.world = World()
        self.world.admin(
            "create-db one one-pwd arbiter",
            "use-db one one-pwd",
            "create-user reader reader-pwd",
            "set-permissions reader r shared-*",
        )
        self.world.commit()

    @asynccontextmanager
    async def owner(self, *, is_clean: bool = True, is_committing: bool = True) -> AsyncIterator[Service]:
        """The next owner; it ends with the block, cleanly or as one that is cut off."""
        self.world = World(self.world.store, is_prepared=False)
        stopping = trio.Event()
        async with (
            open_service(self.world, is_committing=is_committing) as service,
            open_link_of(self.host, service, stopping),
        ):
            yield service
            if is_clean:
                stopping.set()
                await wait_all_tasks_blocked()

    async def enter(self, *commands: str) -> EdgeClient:
        """A client that has run these commands."""
        client = EdgeClient(self.host, self.nursery)
        await client.expect(OK)
        for command in commands:
            await client.ask(command, ("valid auth\n" if command.startswith("auth") else "") + OK)
        return client

    def change(self, *commands: str) -> None:
        """Change data while there is no owner, as the owner did at last, or the next one at first."""
        self.world = World(self.world.store, is_prepared=False)
        self.world.admin(*commands)
        self.world.commit()


def run(test: Callable[[Cluster], Awaitable[None]]) -> None:
    """Run a test."""

    async def main() -> None:
        async with open_host() as host, trio.open_nursery() as nursery:
            with trio.fail_after(20):
                await test(Cluster(host, nursery))
            nursery.cancel_scope.cancel()

    trio.run(main)


@pytest.mark.parametrize("is_clean", [True, False])
def test_a_client_keeps_its_rights_and_watches_and_is_told_what_moved(is_clean: bool) -> None:
    async def test(cluster: Cluster) -> None:
        async with cluster.owner(is_clean=is_clean):
            setter = await cluster.enter(USE)
            reader = await cluster.enter("use-db one reader reader-pwd")
            await setter.ask("set shared-told 1", OK)
            for key in ("moved", "told", "never", "gone"):
                await setter.ask(f"set shared-{key} 1", OK)
                await reader.ask(f"watch shared-{key}", OK)
            await reader.ask("unwatch shared-never", OK)
            await setter.ask("set shared-told 2", OK)
            await reader.expect("changed shared-told 2\nchanged-version shared-told 2 2\n")
        cluster.change(USE, "set shared-moved 2", "set shared-moved 3", "remove shared-gone", "set shared-never 2")
        async with cluster.owner():
            await reader.expect("changed shared-moved 3\nchanged-version shared-moved 2 3\nremoved shared-gone\n")
            await reader.ask("get shared-told", "value 2\n" + OK)
            await reader.ask("set shared-told 3", "permission denied\nerror permission denied\n \n")
            await reader.ask("get hidden", "permission denied\nerror permission denied\n \n")
            await setter.ask("set shared-told 3", OK)
            await reader.expect("changed shared-told 3\nchanged-version shared-told 3 3\n")
        async with cluster.owner():  # and once more: nothing moved
            await reader.ask("get shared-told", "value 3\n" + OK)

    run(test)


def test_a_client_that_counts_answers_keeps_its_count() -> None:
    async def test(cluster: Cluster) -> None:
        async with cluster.owner(is_clean=False) as service:
            client = await cluster.enter(USE)
            ours, browser = socket_pair()
            cluster.nursery.start_soon(serve_websocket_at_edge, ours, cluster.host)
            await send(browser, HANDSHAKE + text(USE))
            assert b" 101 " in await receive(browser)
            await wait_all_tasks_blocked()
            frames_of(await receive(browser))
            service.committer.stop()
            await send(client.socket, b"set k 1\n" * IN_FLIGHT + b"get k\nset k 1\nget k\n")
            await send(browser, text("set k 1") * IN_FLIGHT)
            await wait_all_tasks_blocked()
        await client.expect(LOST * IN_FLIGHT)
        await wait_all_tasks_blocked()
        told = b"".join(frame.payload for frame in frames_of(await receive(browser)))
        assert told.decode() == LOST_FRAME * IN_FLIGHT
        await send(client.socket, b"get k\nset k 2\nget k\n")  # they wait
        await send(browser, text("get other"))
        await wait_all_tasks_blocked()
        with pytest.raises(BlockingIOError):
            client.socket.recv(1)
        async with cluster.owner():
            await client.expect(f"value <Empty>\n{OK}{LOST}value <Empty>\n{OK}")  # what only reads is asked again
            await client.expect(f"value <Empty>\n{OK}{OK}value 2\n{OK}")
            assert b"".join(frame.payload for frame in frames_of(await receive(browser))) == b"value <Empty>\nok \n"
        browser.close()

    run(test)


@pytest.mark.parametrize(
    ("login", "change"),
    [
        pytest.param([USE], ["set-token one-new"], id="token"),
        pytest.param(["use-db one reader reader-pwd"], ["create-user reader new"], id="users-token"),
        pytest.param(["use-db one reader reader-pwd"], ["remove $$user_reader"], id="user-removed"),
        pytest.param([USE], ["drop-db one"], id="database-dropped"),
        pytest.param(
            [f"auth {ADMIN_USER} {ADMIN_PASSWORD}"], ["use-db $admin user-pwd", "set $$token new"], id="admin"
        ),
    ],
)
def test_who_has_lost_its_secret_meanwhile_is_closed_and_nobody_else(login: list[str], change: list[str]) -> None:
    async def test(cluster: Cluster) -> None:
        async with cluster.owner():
            client, other = await cluster.enter(*login), await cluster.enter()
            ticketed = [session for session in cluster.host.sessions.values() if session.is_logged_in]
            assert len(ticketed) == 1
        commands = ["set $$token one-new"] if change == ["set-token one-new"] else change
        cluster.change(USE, *commands)
        async with cluster.owner():
            await client.expect_end()
            await other.ask("get k", f"{messages.NO_DATABASE.messages[0]}{messages.error(messages.NO_DATABASE.error)}")

    run(test)


def test_an_administrator_stays_one_and_keeps_the_database_that_it_opened() -> None:
    async def test(cluster: Cluster) -> None:
        async with cluster.owner():
            client = await cluster.enter(f"auth {ADMIN_USER} {ADMIN_PASSWORD}", "open-db one")
        async with cluster.owner():
            await client.ask("set $$user_new new-pwd", OK)
        async with cluster.owner():
            await client.ask("get k", f"value <Empty>\n{OK}")

    run(test)


def test_an_arbiter_is_told_the_conflicts_that_it_missed_and_no_others() -> None:
    async def test(cluster: Cluster) -> None:
        async with cluster.owner():
            arbiter, setter = await cluster.enter(USE), await cluster.enter(USE)
            await arbiter.ask("arbiter", OK)
            await setter.ask("set-safe k 5 new", OK)
            await send(setter.socket, b"set-safe k 1 old\n")
            assert (await receive(arbiter.socket)).startswith(b"resolve ")
            await wait_all_tasks_blocked()
        world = cluster.world = World(cluster.world.store)
        world.time_ns += 1_000
        there = world.connect(USE, "arbiter")
        there.outbox.take()
        world.connect(USE).ask("set-safe k 1 older")
        (missed,) = there.outbox.take()
        world.commit()
        async with cluster.owner():
            await arbiter.expect(missed)
            await arbiter.ask("get other", f"value <Empty>\n{OK}")

    run(test)


@pytest.mark.parametrize("is_clean", [True, False])
def test_ephemeral_keys_stay_and_nobody_is_told_of_them(is_clean: bool) -> None:
    async def test(cluster: Cluster) -> None:
        async with cluster.owner(is_clean=is_clean):
            watcher = await cluster.enter(USE, "watch cursor", "watch other")
            pointer, other = await cluster.enter(USE), await cluster.enter(USE)
            await pointer.ask("set-ephemeral cursor 1", OK)
            await watcher.expect("changed cursor 1\nchanged-version cursor 0 1\n")
            await other.ask("set cursor 2", OK)
            await watcher.expect("changed cursor 2\nchanged-version cursor 1 2\n")
            await pointer.ask("set-ephemeral gone 1", OK)
            await pointer.ask("remove gone", OK)
        async with cluster.owner():
            await watcher.ask("get cursor", f"value 2\n{OK}")
            await watcher.ask("get gone", f"value <Empty>\n{OK}")
            pointer.socket.close()
            await watcher.expect("removed cursor\n")
        async with cluster.owner():
            await watcher.ask("get cursor", f"value <Empty>\n{OK}")

    run(test)


def test_an_owner_whose_term_ends_tells_no_other_edge_that_an_ephemeral_key_has_ended() -> None:
    stopping = trio.Event()

    async def test(cluster: Cluster) -> None:
        async with (
            open_host() as other,
            open_service(World(cluster.world.store)) as service,
            open_link_of(cluster.host, service, stopping),
            open_link_of(other, service, trio.Event()),  # it ends a moment later
        ):
            pointer = await cluster.enter(USE, "set-ephemeral cursor 1")
            cluster.host, host = other, cluster.host
            watcher = await cluster.enter(USE, "watch cursor")
            stopping.set()
            await wait_all_tasks_blocked()
            assert host.link is None
            await watcher.ask("get cursor", f"value 1\n{OK}")
            pointer.socket.close()

    run(test)


def test_an_ephemeral_key_whose_session_does_not_come_back_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(cluster: Cluster) -> None:
        async with cluster.owner(is_clean=False):
            watcher = await cluster.enter(USE, "watch cursor")
            pointer = await cluster.enter(USE, "set-ephemeral cursor 1")
            await watcher.expect("changed cursor 1\nchanged-version cursor 0 1\n")
        pointer.socket.close()
        await pointer.ended.wait()
        monkeypatch.setattr(limits, "HOLD_SECONDS", 0.1)  # of the next owner
        async with cluster.owner():
            await watcher.expect("removed cursor\n")
            await watcher.ask("get cursor", f"value <Empty>\n{OK}")

    run(test)


def test_a_watch_that_sleeps_goes_on_sleeping_and_is_told_when_it_wakes() -> None:
    async def test(cluster: Cluster) -> None:
        grant = "set-permissions reader r shared-*"
        async with cluster.owner():
            reader = await cluster.enter("use-db one reader reader-pwd", "watch shared-a", "watch shared-b")
            admin = await cluster.enter(f"auth {ADMIN_USER} {ADMIN_PASSWORD}", "open-db one")
            await admin.ask("set-permissions reader r other", OK)
        cluster.change(USE, "set shared-a 1")
        async with cluster.owner():
            await admin.ask("set shared-a 2", OK)
            await reader.ask("get other", f"value <Empty>\n{OK}")
        async with cluster.owner():
            await admin.ask(grant, OK)
            await reader.expect("changed shared-a 2\nchanged-version shared-a 1 2\n")
            await reader.ask("get shared-b", f"value <Empty>\n{OK}")

    run(test)


def test_without_an_owner_in_time_connections_end_and_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HOLD_SECONDS", 0.2)

    async def test(cluster: Cluster) -> None:
        async with cluster.owner():
            client = await cluster.enter(USE)
            ours, browser = socket_pair()
            cluster.nursery.start_soon(serve_websocket_at_edge, ours, cluster.host)
            await send(browser, HANDSHAKE)
            assert b" 101 " in await receive(browser)
        await send(client.socket, b"get k\n")
        await client.expect_end()
        (close,) = frames_of(await receive(browser))
        assert (close.opcode, close.payload[:2]) == (CLOSE, (1001).to_bytes(2, "big"))
        browser.close()
        await wait_all_tasks_blocked()
        assert not cluster.host.sessions

    run(test)


def test_a_node_of_another_version_takes_up_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(cluster: Cluster) -> None:
        async with cluster.owner():
            client = await cluster.enter(USE)
        monkeypatch.setattr(records, "VERSION", records.VERSION + 1)
        async with cluster.owner():
            await client.expect_end()
            await (await cluster.enter(USE)).ask("get k", f"value <Empty>\n{OK}")

    run(test)
