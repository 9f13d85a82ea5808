"""A link and its connections: back pressure, ends, and what is no record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pynun.cluster import link_records as records
from pynun.cluster import linked_client, record_reader
from pynun.cluster.edge_connections import serve_websocket_at_edge
from pynun.cluster.link_records import Opened, record
from pynun.cluster.owner_link import Sharing
from pynun.transports.client_address import Client as ClientOfProxy
from pynun.transports.sockets import receive, send
from tests.cluster.edge_bench import EdgeClient, open_link
from tests.engine.world import ADMIN_PASSWORD, ADMIN_USER, World
from tests.transports.service_bench import open_service, socket_pair
from tests.transports.websocket.client_frames import HANDSHAKE, text

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Iterable

    from pynun.cluster.edge_link import Link
    from pynun.transports.service import Service

LARGE = "x" * 100_000
OPENED = record(records.OPEN, 1, Opened("tcp", "", None).encode())


def new_world() -> World:
    """A world with one database, which holds a large value, and no sessions."""
    world = World()
    world.admin("create-db one one-pwd", "use-db one one-pwd", f"set large {LARGE}")
    for session in list(world.engine.sessions.values()):
        session.close()  # type: ignore[attr-defined]
    return world


def run(test: Callable[[Service, Link, trio.Nursery], Awaitable[None]], stopping: trio.Event | None = None) -> None:
    """Run a test with a link to a service."""
    if stopping is None:
        stopping = trio.Event()

    async def main() -> None:
        async with (
            open_service(new_world()) as service,
            open_link(service, stopping) as link,
            trio.open_nursery() as nursery,
        ):
            await test(service, link, nursery)
            nursery.cancel_scope.cancel()

    trio.run(main)


async def enter(link: Link, nursery: trio.Nursery) -> EdgeClient:
    """A client that has selected the database."""
    client = EdgeClient(link.host, nursery)
    await client.expect("ok \n")
    await client.ask("use-db one one-pwd", "ok \n")
    return client


def test_an_event_reaches_each_watcher_once_and_who_left_is_not_told() -> None:
    async def test(service: Service, link: Link, nursery: trio.Nursery) -> None:
        setter, *watchers = [await enter(link, nursery) for _ in range(4)]
        for watcher in watchers:
            await watcher.ask("watch k", "ok \n")
        await setter.ask("set k 1", "ok \n")
        for watcher in watchers:
            await watcher.expect("changed k 1\nchanged-version k 0 1\n")
        watchers[0].socket.close()
        await watchers[0].ended.wait()
        await setter.ask("get $connections", "value 3\nok \n")
        await watchers[1].ask("set k 2", "changed k 2\nchanged-version k 1 2\nok \n")
        await watchers[2].expect("changed k 2\nchanged-version k 1 2\n")
        assert len(service.engine.sessions) == 3

    run(test)


def test_nothing_leaves_before_its_batch_and_all_else_does() -> None:
    world = new_world()

    async def main() -> None:
        async with (
            open_service(world, is_committing=False) as service,
            open_link(service, trio.Event()) as link,
            trio.open_nursery() as nursery,
        ):
            setter, watcher, other = [await enter(link, nursery) for _ in range(3)]
            await watcher.ask("watch k", "ok \n")
            await send(setter.socket, b"set k 1\nget other\n")
            await wait_all_tasks_blocked()
            await other.ask("get other", "value <Empty>\nok \n")
            await send(other.socket, b"get k\nget other\n")
            await send(watcher.socket, b"get other\n")
            await wait_all_tasks_blocked()
            for client in (setter, watcher, other):
                with pytest.raises(BlockingIOError):
                    client.socket.recv(1)
            world.commit()
            service.flusher.flush()
            await setter.expect("ok \nvalue <Empty>\nok \n")
            await watcher.expect("changed k 1\nchanged-version k 0 1\nvalue <Empty>\nok \n")
            await other.expect("value 1\nok \nvalue <Empty>\nok \n")
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_the_owner_knows_a_client_by_the_address_that_its_proxy_names() -> None:
    async def test(service: Service, link: Link, nursery: trio.Nursery) -> None:
        ours, theirs = socket_pair()
        nursery.start_soon(serve_websocket_of, link, ours, _Proxied("192.0.2.1"))
        await send(theirs, HANDSHAKE + text("get k"))
        await wait_all_tasks_blocked()
        (session,) = service.engine.sessions.values()
        assert session.peer is not None
        assert (session.peer.address, session.peer.transport) == ("192.0.2.9", "websocket")
        theirs.close()
        await wait_all_tasks_blocked()
        assert not service.engine.sessions

    run(test)


class _Proxied(ClientOfProxy):
    def identify(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        self.address = "192.0.2.9"
        return True


async def serve_websocket_of(link: Link, connected: socket.socket, client: ClientOfProxy) -> None:
    """Serve a WebSocket connection of that client."""
    await serve_websocket_at_edge(connected, link.host, client)


def test_who_reads_nothing_is_not_kept_much_for_and_gets_all_in_the_end() -> None:
    async def test(service: Service, link: Link, nursery: trio.Nursery) -> None:
        client = await enter(link, nursery)
        other = await enter(link, nursery)
        nursery.start_soon(send, client.socket, b"get large\n" * 60)
        await wait_all_tasks_blocked()
        (session, _) = service.engine.sessions.values()
        kept = session.peer.waiting_bytes + len(LARGE) if session.peer is not None else 0
        assert kept <= linked_client.UNREAD_BYTES_MAX + 2 * len(LARGE), "the owner goes on without it"
        await other.ask("get k", "value <Empty>\nok \n")
        for _ in range(60):
            await client.expect(f"value {LARGE}\nok \n")

    run(test)


def test_one_that_waits_for_a_password_check_delays_nobody() -> None:
    async def test(_service: Service, link: Link, nursery: trio.Nursery) -> None:
        slow, quick = await enter(link, nursery), await enter(link, nursery)
        await send(slow.socket, f"auth {ADMIN_USER} wrong\nget k\nauth {ADMIN_USER} {ADMIN_PASSWORD}\n".encode())
        await quick.ask("set k 1", "ok \n")
        await slow.expect("invalid auth\nok \n")
        assert (await receive(slow.socket)).startswith(b"value ")

    run(test)


def test_the_administrator_disconnects_a_client_of_another_node() -> None:
    async def test(service: Service, link: Link, nursery: trio.Nursery) -> None:
        client, admin = await enter(link, nursery), await enter(link, nursery)
        await admin.ask(f"auth {ADMIN_USER} {ADMIN_PASSWORD}", "valid auth\nok \n")
        await admin.ask(f"disconnect {next(iter(service.engine.sessions))}", "ok \n")
        await client.expect("error disconnected by the administrator \n")
        client.socket.close()
        await client.ended.wait()
        assert len(service.engine.sessions) == 1

    run(test)


def test_rights_are_known_at_the_edge() -> None:
    async def test(_service: Service, link: Link, nursery: trio.Nursery) -> None:
        client = EdgeClient(link.host, nursery)
        await client.expect("ok \n")
        (session,) = link.host.sessions.values()
        assert not session.has_logged_in()
        await client.ask("use-db one one-pwd", "ok \n")
        assert session.has_logged_in()

    run(test)


def test_an_owner_that_stops_answers_what_has_arrived() -> None:
    stopping = trio.Event()

    async def test(service: Service, link: Link, nursery: trio.Nursery) -> None:
        client = await enter(link, nursery)
        await send(client.socket, b"set k 1\nget k\n")
        await wait_all_tasks_blocked()
        stopping.set()
        await client.expect("ok \nvalue 1\nok \n")
        await wait_all_tasks_blocked()
        assert link.host.link is None

    run(test, stopping)


def test_an_internal_error_ends_the_connection_of_that_client_as_at_a_single_node(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    async def test(service: Service, link: Link, nursery: trio.Nursery) -> None:
        client, other = await enter(link, nursery), await enter(link, nursery)
        ours, theirs = socket_pair()
        nursery.start_soon(serve_websocket_at_edge, ours, link.host)
        await send(theirs, HANDSHAKE)
        assert b" 101 " in await receive(theirs)
        monkeypatch.setattr(service.engine, "find_database", fail)
        await send(client.socket, b"use-db one one-pwd\n")
        await send(theirs, text("use-db one one-pwd"))
        assert await receive(theirs) == b""
        theirs.close()
        await client.expect_end()
        await other.ask("get k", "value <Empty>\nok \n")
        assert "please report this" in caplog.text
        assert service.counters.dropped["internal_error"] == 2

    run(test)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\xff" * 9, id="no-record"),
        pytest.param(record(records.TEXT, 7, b"get k"), id="a-client-that-is-not-there"),
        pytest.param(record(records.OPEN, 1, b"[]"), id="nobody"),
        pytest.param(OPENED + record(records.DONE, 1), id="an-answer"),
        pytest.param(OPENED + record(records.TEXT, 1, b"\xff"), id="not-text"),
    ],
)
def test_a_link_that_says_nonsense_is_closed_and_no_other(sent: bytes) -> None:
    async def test(service: Service, link: Link, nursery: trio.Nursery) -> None:
        client = await enter(link, nursery)
        ours, theirs = socket_pair()
        nursery.start_soon(Sharing(service, trio.Event()).serve, ours, "other")
        await send(theirs, sent)
        await wait_all_tasks_blocked()
        assert len(service.engine.sessions) == 1
        await client.ask("get k", "value <Empty>\nok \n")
        ours.close()
        theirs.close()

    run(test)


def test_a_silent_node_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_reader, "PING_SECONDS", 0.02)

    async def main() -> None:
        async with open_service(new_world()) as service:
            ours, theirs = socket_pair()
            await send(theirs, OPENED)
            await Sharing(service, trio.Event()).serve(ours, "silent")
            assert not service.engine.sessions
            ours.close()
            theirs.close()

    trio.run(main)


def test_a_link_that_does_not_drain_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it still sends: a node that is stopped is silent soon."""
    monkeypatch.setattr(record_reader, "QUEUE_BYTES_MAX", 2_000_000)

    async def test(service: Service, link: Link, nursery: trio.Nursery) -> None:
        setter = await enter(link, nursery)
        ours, theirs = socket_pair()
        nursery.start_soon(Sharing(service, trio.Event()).serve, ours, "stuck")
        begun = (b"use-db one one-pwd", b"watch large")
        await send(theirs, OPENED + b"".join(record(records.TEXT, 1, text) for text in begun))
        await wait_all_tasks_blocked()
        for number in range(40):
            assert len(service.engine.sessions) == 2
            await setter.ask(f"set large {number}{LARGE}", "ok \n")
            await wait_all_tasks_blocked()
            if len(service.engine.sessions) == 1:
                break
        assert len(service.engine.sessions) == 1, "it is still kept for"
        await setter.ask("get k", "value <Empty>\nok \n")
        ours.close()
        theirs.close()

    run(test)
