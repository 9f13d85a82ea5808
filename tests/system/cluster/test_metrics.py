"""What the nodes of a cluster tell of themselves: each at its own /metrics, whatever its role."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import Authority
from tests.support.cluster import Nodes, running_nodes, wait_until
from tests.support.etcd import running_etcd
from tests.support.watched import Scrape, request
from tests.system.cluster.test_nodes import health
from tools.clients.server import Address, free_ports, nun_db
from tools.clients.sessions import admin_session, create_database, tcp_session, websocket_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.clients.server import Server
    from tools.etcd.cluster import EtcdCluster

DATABASE = "d"
OK = ["ok \n"]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(name="nodes", scope="module")
def _nodes(etcd: EtcdCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    patient = {"NUN_LEASE_SECONDS": "20"}  # no failover on a busy machine
    with running_nodes(etcd, tmp_path_factory.mktemp("nodes"), settings=patient, name="metrics") as nodes:
        create_database(nodes.servers["a"], DATABASE)
        for server in nodes.servers.values():
            wait_until(lambda server=server: health(server) == (200, "ok\n"), server.log_text())  # type: ignore[misc]
        yield nodes


def look(server: Server) -> Scrape:
    """A node's own metrics."""
    return Scrape(server.http)


def test_each_node_tells_its_role_and_its_clients(nodes: Nodes) -> None:
    owner = nodes.servers[nodes.wait_for_owner()]
    one, other = nodes.others(nodes.wait_for_owner())
    before = look(owner).value("nun_db_cluster_accept_seconds_count")
    with websocket_session(one, DATABASE), tcp_session(one, DATABASE) as client:
        assert client.ask("set k v") == OK
        nodes.wait_for_all()
        wait_until(lambda: look(one).value("nun_db_cluster_nodes", role="following") == 2, "it does not see all nodes")
        for server in nodes.servers.values():
            wait_until(lambda server=server: look(server).value("nun_db_cluster_batch") == nodes.head(), "behind")  # type: ignore[misc]
            seen = look(server)
            assert seen.value("nun_db_cluster_owner") == (server is owner)
            assert seen.value("nun_db_cluster_batches_behind") == seen.value("nun_db_cluster_behind_seconds") == 0
            assert seen.value("nun_db_cluster_terms_total") == (server is owner)
            assert seen.value("nun_db_cluster_lost_terms_total") == 0
            assert seen.value("nun_db_ready") == 1
            assert seen.value("nun_db_stored_entries") + seen.value("nun_db_log_entries") > 0
            assert seen.value("nun_db_cluster_edge_clients") == (2 if server is one else 0)
            assert seen.value("nun_db_connections", transport="tcp") == (1 if server is one else 0)
            assert ("nun_db_commands_total" in seen.text) == (server is owner)
        seen = look(owner)
        node = next(name for name, server in nodes.servers.items() if server is one)
        assert seen.value("nun_db_cluster_linked_clients", node=node) == 2
        assert seen.value("nun_db_cluster_accept_seconds_count") > before
        shown = nun_db("-h", f"http://{one.http}", "status").stdout
        assert "\nsessions     2 at the node that owns the data\n" in shown
        assert "\ncommands " not in shown
    assert request(other.websocket, "/metrics").status != 200, "as at a single server"


def test_connections_count_on_when_their_node_becomes_owner(etcd: EtcdCluster, disk_folder: Path) -> None:
    with running_nodes(etcd, disk_folder, 2, name="hand-over") as nodes:
        create_database(nodes.servers["a"], DATABASE)
        owner = nodes.wait_for_owner()
        (other,) = nodes.others(owner)
        wait_until(lambda: health(other) == (200, "ok\n"), other.log_text())
        nodes.wait_until_known()
        with websocket_session(other, DATABASE) as client:
            opened = look(other).value("nun_db_connections_opened_total", transport="websocket")
            with admin_session(nodes.servers[owner]) as admin:
                admin.ask("debug force-election")
            nodes.wait_for_owner(other_than=owner)
            wait_until(lambda: look(other).value("nun_db_cluster_owner") == 1, other.log_text())
            assert client.ask("set k v") == OK
            seen = look(other)
            assert seen.value("nun_db_connections", transport="websocket") == 1
            assert seen.value("nun_db_connections_opened_total", transport="websocket") == opened
            before = look(nodes.servers[owner])
            assert before.value("nun_db_cluster_owner") == before.value("nun_db_cluster_lost_terms_total") == 0
            assert before.value("nun_db_cluster_terms_total") == 1


def test_a_node_answers_while_no_node_owns_the_data(disk_folder: Path) -> None:
    """Encrypted, and with the names of databases at an address of its own."""
    authority = Authority(disk_folder)
    with (
        running_etcd() as etcd,
        running_nodes(etcd, disk_folder, 2, name="no-owner", settings=authority.environment()) as nodes,
    ):
        owner = nodes.servers[nodes.wait_for_owner()]
        (other,) = nodes.others(nodes.wait_for_owner())
        assert other.stop() == 0
        monitor = Address("127.0.0.1", free_ports(1)[0])
        other.environment = {**other.environment, "NUN_METRICS": f"{monitor.host}:{monitor.port}"}
        other.start()
        tls = authority.trusting()
        wait_until(lambda: request(other.http, "/readyz", tls=tls).status == 200, other.log_text())
        assert Scrape(monitor, tls).value("nun_db_database_keys", database="$admin") > 0
        etcd.members[0].pause()
        try:
            owner.kill()
            wait_until(lambda: request(other.http, "/readyz", tls=tls).status == 503, other.log_text())
            assert Scrape(monitor, tls).value("nun_db_cluster_owner") == 0
            assert request(other.http, "/metrics", tls=tls).status == 404
        finally:
            etcd.members[0].resume()
        wait_until(lambda: Scrape(monitor, tls).value("nun_db_cluster_owner") == 1, other.log_text())
        assert Scrape(monitor, tls).value("nun_db_cluster_terms_total") == 1
