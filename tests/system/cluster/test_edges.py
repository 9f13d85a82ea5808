"""Clients at all nodes: what becomes of them with an owner killed, stopped, replaced, an edge asleep, stopped."""

from __future__ import annotations

import contextlib
import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.cluster import Nodes, running_nodes, wait_until
from tests.system.cluster.test_nodes import health
from tools.clients.sessions import admin_session, create_database, tcp_session, websocket_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.clients.exact_clients import Connection, WebSocketClient
    from tools.clients.server import Server
    from tools.etcd.cluster import EtcdCluster

OK = ["ok \n"]
DATABASE = "d"
GOING_AWAY = 1001
CHANGES = 100

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(name="nodes")
def _nodes(etcd: EtcdCluster, disk_folder: Path, request: pytest.FixtureRequest) -> Iterator[Nodes]:
    name = re.sub(r"\W+", "-", request.node.name)[:60]
    with running_nodes(etcd, disk_folder, name=name) as nodes:
        create_database(nodes.servers["a"], DATABASE)
        for server in nodes.servers.values():
            wait_for(server)
        yield nodes


def wait_for(server: Server) -> None:
    """Wait until it is ready."""
    wait_until(lambda: health(server) == (200, "ok\n"), server.log_text())


def watcher(server: Server) -> WebSocketClient:
    """A client that watches a key."""
    client = websocket_session(server, DATABASE)
    assert client.ask("watch k") == OK
    return client


def connections(server: Server) -> int:
    """How many clients have selected the database, with the one that asks."""
    with tcp_session(server, DATABASE) as client:
        return int(client.ask("get $connections")[0].split()[1])


def is_back(client: Connection, key: str) -> bool:
    """Whether an ephemeral key is there again, of which the client is told nothing."""
    answer = client.ask(f"get {key}")
    assert answer in (["value here\n", *OK], ["value <Empty>\n", *OK]), answer
    return answer[0] == "value here\n"


def test_watchers_at_all_nodes_see_all_changes_in_order_and_outlive_the_owner(nodes: Nodes) -> None:
    owner = nodes.wait_for_owner()
    watchers = [watcher(server) for server in nodes.servers.values() for _ in range(5)]
    with websocket_session(nodes.others(owner)[0], DATABASE) as setter:
        for number in range(CHANGES):
            setter.send(f"set k {number}")
        assert setter.take(CHANGES) == OK * CHANGES
        for client in watchers:
            assert client.take(2 * CHANGES) == [
                text
                for number in range(CHANGES)
                for text in (f"changed k {number}\n", f"changed-version k {number} {number}\n")
            ]
        nodes.servers[owner].kill()
        assert setter.ask("get k") == [f"value {CHANGES - 1}\n", *OK]
        assert setter.ask("set k last") == OK
    at_owner = [*nodes.servers].index(owner)
    for place, client in enumerate(watchers):
        if place // 5 == at_owner:
            assert client.wait_end()
            client.abandon()
        else:
            assert client.take(2) == ["changed k last\n", f"changed-version k {CHANGES} last\n"]
            assert client.ask("get k") == ["value last\n", *OK]
            client.close()


@pytest.mark.parametrize("how", ["killed", "stopped", "handed over"])
def test_clients_outlive_the_owner(nodes: Nodes, how: str) -> None:
    """At the node that becomes owner, and at the one that does not."""
    owner = nodes.wait_for_owner()
    with contextlib.ExitStack() as stack:
        servers = nodes.others(owner)
        watchers = [stack.enter_context(watcher(server)) for server in servers]
        pointers = [stack.enter_context(tcp_session(server, DATABASE)) for server in servers]
        for number, pointer in enumerate(pointers):
            assert pointer.ask(f"set-ephemeral cursor-{number} here") == OK
        for client in watchers:
            assert client.ask("watch cursor-0") == OK
            assert client.ask("watch cursor-1") == OK
        if how == "killed":
            nodes.servers[owner].kill()
        elif how == "stopped":
            assert nodes.servers[owner].stop() == 0
        else:
            with admin_session(servers[0]) as admin:
                admin.ask("debug force-election")
        for one in (*watchers, *pointers):
            for key in ("cursor-0", "cursor-1"):
                wait_until(lambda one=one, key=key: is_back(one, key), f"{key} is not back")  # type: ignore[misc]
        assert nodes.wait_for_owner(other_than=owner) != owner
        assert pointers[1].ask("set k 1") == OK
        for client in watchers:
            assert client.take(2) == ["changed k 1\n", "changed-version k 0 1\n"]


def test_the_clients_of_a_node_that_sleeps_have_left_and_go_on_when_it_wakes(nodes: Nodes) -> None:
    owner = nodes.servers[nodes.wait_for_owner()]
    asleep, _ = nodes.others(nodes.wait_for_owner())
    with watcher(asleep) as client:
        assert connections(owner) == 2
        asleep.send_signal(signal.SIGSTOP)
        wait_until(lambda: connections(owner) == 1, "it still counts")
        with tcp_session(owner, DATABASE) as setter:
            assert setter.ask("set k 1") == OK
        asleep.send_signal(signal.SIGCONT)
        assert client.take(2) == ["changed k 1\n", "changed-version k 0 1\n"]
        assert connections(owner) == 2


def test_a_node_that_stops_tells_its_clients(nodes: Nodes) -> None:
    owner = nodes.wait_for_owner()
    first, last = nodes.others(owner)
    with watcher(first) as its_own, watcher(last) as other, watcher(nodes.servers[owner]) as of_owner:
        assert first.stop() == 0, first.log_text()
        assert its_own.wait_close() == GOING_AWAY
        assert other.ask("set k 1") == ["changed k 1\n", "changed-version k 0 1\n", *OK]
        assert nodes.servers[owner].stop() == 0
        assert of_owner.wait_close() == GOING_AWAY
        assert other.ask("get k") == ["value 1\n", *OK]
        assert last.stop() == 0
        assert other.wait_close() == GOING_AWAY
