"""Nodes without data, or with too old data, copy that of another node, and then follow."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from pynun.cluster import transactions
from pynun.cluster.copy_source import SENT_NAME
from pynun.cluster.copying import RECEIVED_NAME
from pynun.cluster.etcd.blocking_client import BlockingClient
from pynun.cluster.etcd.gateway import read
from pynun.timestamps import steady_seconds
from tests.support.acknowledged import DATABASE, Load
from tests.support.cluster import Nodes, wait_until
from tests.support.etcd import members_of
from tests.support.relay import Relay
from tools.clients.server import Address
from tools.clients.sessions import create_database, tcp_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.etcd.cluster import EtcdCluster


@pytest.fixture(name="nodes")
def _nodes(etcd: EtcdCluster, disk_folder: Path, request: pytest.FixtureRequest) -> Iterator[Nodes]:
    """Three nodes that are not started."""
    nodes = Nodes(etcd, disk_folder, name=request.node.name[:60])
    yield nodes
    nodes.end()


def trim_all(nodes: Nodes) -> None:
    """Remove the whole log from etcd, as the owner does when all nodes have it."""
    with BlockingClient(members_of(nodes.etcd)) as client:
        until = steady_seconds() + 60
        owner = client.call(read(nodes.keys.owner), lambda: until).first
        assert owner is not None
        request = transactions.trim(nodes.keys, owner.created, nodes.head() + 1)
        assert client.call(request, lambda: until).succeeded


def test_a_node_with_an_empty_folder_copies_while_clients_write(nodes: Nodes) -> None:
    first, second, third = nodes.servers.values()
    first.start()
    create_database(first, DATABASE, then="set k here before")
    trim_all(nodes)
    second.start()
    with Load([first.tcp]) as load:
        wait_until(lambda: load.answers > 100, "nothing is acknowledged")
        trim_all(nodes)
        third.start()
        wait_until(lambda: load.answers > 300, "nothing is acknowledged any more")
    for server in (second, third):
        with tcp_session(server, DATABASE) as client:
            assert client.ask("get k") == ["value here before\n", "ok \n"]
        assert "copied the data of another node" in server.log_text()
    first.kill()
    with tcp_session(third, DATABASE) as client:
        assert client.ask("set k of the others") == ["ok \n"]
    first.start()
    data = nodes.stop_and_compare()
    assert "of the others" in {entry.text for entry in data.values()}


def test_a_node_that_was_away_for_too_long_copies(nodes: Nodes) -> None:
    first, second, _ = nodes.servers.values()
    nodes.start("a", "b")
    create_database(first, DATABASE)
    nodes.wait_for_all()
    second.kill()
    with tcp_session(first, DATABASE) as client:
        for number in range(20):
            client.ask(f"set k{number} v")
    trim_all(nodes)
    with tcp_session(first, DATABASE) as client:
        client.ask("set after v")
    second.start()
    assert "copied the data of another node" in second.log_text()
    nodes.stop_and_compare()
    left = {path.name for path in second.data_dir.iterdir()}
    assert not [name for name in left if name.startswith("data-before")], left
    assert not left & {SENT_NAME, RECEIVED_NAME}


def test_a_broken_copy_is_sent_again(nodes: Nodes) -> None:
    """And not made again: that would read all the data each time."""
    first, second, _ = nodes.servers.values()
    host, _, port = first.environment["NUN_CLUSTER_ADDR"].rpartition(":")
    with Relay(Address(host, int(port))) as relay:
        first.environment["NUN_CLUSTER_EXTERNAL_ADDR"] = relay.address
        first.start()
        create_database(first, DATABASE, then=f"set k {random.randbytes(500_000).hex()}")
        trim_all(nodes)
        relay.cut_at_bytes = 200_000
        second.start()
        assert "the data of another node can't be copied now" in second.log_text()
        assert first.log_text().count("backup made: ") == 1
        nodes.wait_for_all()


def test_a_node_waits_for_another_one_to_copy_from(nodes: Nodes) -> None:
    first, second, _ = nodes.servers.values()
    first.start()
    create_database(first, DATABASE, then="set k v")
    trim_all(nodes)
    assert first.stop() == 0
    with second.starting():
        wait_until(lambda: "waits for another one to copy the data from" in second.log_text(), "it does not wait")
        assert second.stop() == 0, "a signal ends the wait"
    with second.starting():
        first.start()
        wait_until(lambda: "copied the data of another node" in second.log_text(), "nothing is copied")
