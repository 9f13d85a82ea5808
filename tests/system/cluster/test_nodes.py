"""Clients of three nodes: each node gives the same answers, the owner and the others."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.cluster import Nodes, running_nodes, wait_until
from tools.clients.exact_clients import HttpClient, WebSocketClient, http_post
from tools.clients.server import nun_db
from tools.clients.sessions import admin_session, create_database, tcp_session, websocket_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.clients.server import Server
    from tools.etcd.cluster import EtcdCluster

OK = ["ok \n"]
DATABASE = "d"
LARGE = "x" * 3_900_000


@pytest.fixture(name="nodes", scope="module")
def _nodes(etcd: EtcdCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    patient = {"NUN_LEASE_SECONDS": "20"}  # no failover on a busy machine
    with running_nodes(etcd, tmp_path_factory.mktemp("nodes"), settings=patient, name="nodes") as nodes:
        create_database(nodes.servers["a"], DATABASE)
        for server in nodes.servers.values():
            wait_until(lambda server=server: health(server) == (200, "ok\n"), server.log_text())  # type: ignore[misc]
        yield nodes


@pytest.fixture(name="owner")
def _owner(nodes: Nodes) -> Server:
    return nodes.servers[nodes.wait_for_owner()]


@pytest.fixture(name="followers")
def _followers(nodes: Nodes) -> list[Server]:
    return nodes.others(nodes.wait_for_owner())


def health(server: Server, path: str = "/readyz") -> tuple[int, str]:
    """Status and text of a page of health."""
    with HttpClient(server.http) as client:
        answer = client.request("", method="GET", path=path)
    return answer.status, answer.text


def test_what_is_set_at_one_node_is_read_at_each(nodes: Nodes) -> None:
    for name, server in nodes.servers.items():
        with websocket_session(server, DATABASE) as client:
            assert client.ask(f"set at-{name} {name}") == OK
        for other in nodes.servers.values():
            with websocket_session(other, DATABASE) as client:
                assert client.ask(f"get at-{name}") == [f"value {name}\n", *OK]
            with tcp_session(other, DATABASE) as client:
                assert client.ask(f"get at-{name}") == [f"value {name}\n", *OK]
            assert http_post(other.http, f"use-db {DATABASE} pwd; get at-{name}") == f"empty;value {name}\n"


def test_who_watches_at_one_node_is_told_what_changes_at_another(followers: list[Server]) -> None:
    one, other = followers
    with websocket_session(one, DATABASE) as watcher, tcp_session(other, DATABASE) as setter:
        assert watcher.ask("watch camera") == OK
        for number in range(50):
            assert setter.ask(f"set camera {number}") == OK
        assert watcher.take(100)[::2] == [f"changed camera {number}\n" for number in range(50)]


def test_connections_of_all_nodes_are_counted(nodes: Nodes) -> None:
    create_database(nodes.servers["b"], "counted")
    clients = [websocket_session(server, "counted") for server in nodes.servers.values()]
    assert clients[0].ask("get $connections") == ["value 3\n", *OK]
    for client in clients[1:]:
        client.close()
    wait_until(lambda: clients[0].ask("get $connections") == ["value 1\n", *OK], "some were not noticed to have left")
    clients[0].close()


def test_large_values_go_both_ways(followers: list[Server]) -> None:
    for server, make in zip(followers, (websocket_session, tcp_session), strict=True):
        with make(server, DATABASE) as client:
            assert client.ask(f"set large {LARGE}") == OK
            assert client.ask("get large") == [f"value {LARGE}\n", *OK]


def test_a_client_that_says_no_more_is_still_answered(followers: list[Server]) -> None:
    with socket.create_connection(followers[0].tcp, 20) as client:
        client.sendall(f"use-db {DATABASE} pwd\n".encode() + b"set half k\nget half\n" * 2000)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while data := client.recv(65536):
            received += data
    assert received == b"ok \nok \n" + b"ok \nvalue k\nok \n" * 2000


def test_who_leaves_is_gone_at_the_owner(owner: Server, followers: list[Server]) -> None:
    with admin_session(owner) as admin:
        client = WebSocketClient(followers[0].websocket)
        wait_until(lambda: _sessions(admin) == 2, "it did not come")
        client.abandon()
        wait_until(lambda: _sessions(admin) == 1, "it did not leave")


def _sessions(admin: WebSocketClient) -> int:
    return len(json.loads(admin.ask("list-sessions")[0].removeprefix("sessions "))["sessions"])


def test_the_owner_knows_the_address_of_a_client_of_another_node(owner: Server, followers: list[Server]) -> None:
    with socket.create_connection(followers[0].tcp, 20, ("127.0.0.7", 0)) as client, admin_session(owner) as admin:
        assert client.recv(100) == b"ok \n"
        client.sendall(b"auth somebody wrong\n")
        assert client.recv(100) == b"invalid auth\nok \n"
        assert "127.0.0.7" in "".join(admin.ask("list-sessions"))
    trail = owner.data_dir / "audit.jsonl"
    wait_until(
        lambda: any('"127.0.0.7"' in line and '"login"' in line for line in trail.read_text().splitlines()),
        "the audit trail does not have it",
    )


def test_each_node_is_itself_in_the_cluster_state(nodes: Nodes) -> None:
    """As with the original: the node that was asked, not the one that runs the command."""
    owner = nodes.servers[nodes.wait_for_owner()]
    for server in nodes.servers.values():
        own = f" {server.tcp}(self):{'Primary' if server is owner else 'Secoundary'} "
        with admin_session(server) as client:
            wait_until(lambda client=client, own=own: own in client.ask("cluster-state")[0], f"not{own}")  # type: ignore[misc]
            assert client.ask("cluster-state")[0].count("(self)") == 1
        assert own in http_post(server.http, f"auth {server.credentials}; cluster-state")


def test_root_needs_no_password_at_the_unix_socket_of_any_node(nodes: Nodes) -> None:
    for server in nodes.servers.values():
        done = nun_db("databases", "list", "--json", environment={"NUN_DBS_DIR": str(server.data_dir)})
        assert done.returncode == 0, done.stderr
        assert DATABASE in [row["name"] for row in json.loads(done.stdout)]


def test_each_node_answers_for_its_own_health(nodes: Nodes) -> None:
    for server in nodes.servers.values():
        for path in ("/livez", "/readyz", "/healthz"):
            wait_until(lambda server=server, path=path: health(server, path) == (200, "ok\n"), path)  # type: ignore[misc]
            with HttpClient(server.websocket) as client:
                assert client.request("", method="GET", path=path).text.endswith("\n")


def test_the_console_is_at_the_owner_alone(owner: Server, followers: list[Server]) -> None:
    """Of a connection that another node passes on, the owner does not know whether it is encrypted."""
    headers = ["Accept: text/html", "X-Nun-Console: x"]
    with HttpClient(owner.http) as client:
        assert client.request("", method="GET", path="/console/", headers=headers).status == 200
    for server in followers:
        with HttpClient(server.http) as client:
            answer = client.request("", method="GET", path="/console/", headers=headers)
            assert (answer.status, "is at the node that owns the data" in answer.text) == (403, True)


def test_a_slow_reader_at_another_node_gets_the_newest_and_delays_nobody(followers: list[Server]) -> None:
    text = "y" * 100_000
    with websocket_session(followers[0], DATABASE) as watcher, websocket_session(followers[1], DATABASE) as setter:
        assert watcher.ask("watch slow") == OK
        for number in range(200):
            assert setter.ask(f"set slow {number}{text}") == OK
        assert watcher.pump_until(lambda: any(text.startswith("changed slow 199y") for text in watcher.messages))
        assert len(watcher.messages) < 400


def test_status_shows_the_nodes(nodes: Nodes, etcd: EtcdCluster) -> None:
    owner = nodes.wait_for_owner()
    nodes.wait_for_all()
    done = nun_db("cluster", "status", "--json", environment=nodes.environment)
    assert done.returncode == 0, done.stderr
    rows = {row["node"]: row for row in json.loads(done.stdout)["nodes"]}
    assert {name: row["role"] for name, row in rows.items()} == {
        name: "owner" if name == owner else "following" for name in nodes.servers
    }
    assert [row["behind"] for row in rows.values()] == [0, 0, 0]
    missing = nun_db("cluster", "status", environment={**nodes.environment, "NUN_CLUSTER_NAME": "other"})
    assert missing.returncode == 1
    assert "etcd has no cluster of this name" in missing.stderr
