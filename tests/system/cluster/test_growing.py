"""From one server to three nodes and back, nodes that know each other by certificates, and starts that are refused."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.support.acknowledged import DATABASE, Load
from tests.support.certificates import Authority
from tests.support.cluster import Nodes, running_nodes, wait_until
from tools.clients.server import Server, ServerDiedError, nun_db
from tools.clients.sessions import admin_session, create_database, tcp_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pynun.setting_values import Address
    from tools.etcd.cluster import EtcdCluster

VALUE = ["value here before\n", "ok \n"]


@pytest.fixture(name="nodes")
def _nodes(etcd: EtcdCluster, disk_folder: Path, request: pytest.FixtureRequest) -> Iterator[Nodes]:
    """Three nodes that are not started."""
    nodes = Nodes(etcd, disk_folder, name=request.node.name[:60])
    yield nodes
    nodes.end()


def do(nodes: Nodes, *arguments: str, code: int = 0) -> str:
    """Run a command with the settings of the cluster; what it printed."""
    done = nun_db(*arguments, environment=nodes.environment)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_one_server_becomes_three_and_one_again(nodes: Nodes) -> None:
    first, *others = nodes.servers.values()
    with Server(first.data_dir) as alone:
        create_database(alone, DATABASE, then="set k here before")
    assert "run nun-db cluster init once" in failing_start(first)
    made = json.loads(do(nodes, "cluster", "init", "--json", "--data-dir", str(first.data_dir)))
    assert json.loads(do(nodes, "cluster", "init", "--json", "--data-dir", str(first.data_dir))) == made
    assert "belongs to a cluster: set NUN_ETCD" in failing_start(Server(first.data_dir))
    first.start()
    for number, server in enumerate(others):
        with tcp_session(first, DATABASE) as client:
            assert client.ask(f"set after-{number} v") == ["ok \n"]
        server.start()
    for server in others:
        with tcp_session(server, DATABASE) as client:
            assert client.ask("get k") == VALUE
    nodes.wait_for_all()
    first.kill()
    with tcp_session(others[0], DATABASE) as client:  # held until another node is the owner
        assert client.ask("set k of two") == ["ok \n"]
    first.start()
    data = nodes.stop_and_compare()
    assert "of two" in {entry.text for entry in data.values()}
    last = others[1]
    assert '"changed":true' in do(nodes, "cluster", "leave", "--json", "--data-dir", str(last.data_dir)).replace(
        " ", ""
    )
    with Server(last.data_dir) as alone, tcp_session(alone, DATABASE) as client:
        assert client.ask("get k") == ["value of two\n", "ok \n"]


def failing_start(server: Server, running: Server | None = None) -> str:
    """What a server says whose start fails."""
    with contextlib.ExitStack() as stack:
        if running is not None:
            stack.enter_context(running)
        mark = len(server.errors)
        with pytest.raises(ServerDiedError, match="exit 1"):
            server.start()
    return "\n".join(server.errors[mark:])


def test_two_nodes_of_one_name_are_refused(nodes: Nodes) -> None:
    first, second, _ = nodes.servers.values()
    second.environment["NUN_NODE_NAME"] = "a"
    first.start()
    assert "another node named a runs in this cluster" in failing_start(second)


def test_the_password_of_a_node_does_not_change_that_of_the_cluster(nodes: Nodes) -> None:
    first, second, _ = nodes.servers.values()
    first.start()
    nodes.wait_for_owner()
    second.password = "other-pwd"
    second.start()
    wait_until(lambda: "NUN_PWD is not the administrator's password" in second.log_text(), "nothing is said of it")
    first.kill()
    second.password = "user-pwd"
    admin_session(second).close()


def test_nodes_show_each_other_certificates(etcd: EtcdCluster, disk_folder: Path) -> None:
    authority = Authority(disk_folder)
    certificate, key = authority.issue("node", hosts=("127.0.0.1",))
    settings = {
        "NUN_CLUSTER_PLAIN": "0",
        "NUN_CLUSTER_CA": str(authority.file),
        "NUN_CLUSTER_CERT": str(certificate),
        "NUN_CLUSTER_KEY": str(key),
    }
    with running_nodes(etcd, disk_folder, 2, settings=settings, name="certificates") as nodes:
        owner = nodes.wait_for_owner()
        create_database(nodes.servers[owner], DATABASE)
        (other,) = nodes.others(owner)
        with Load([other.tcp]) as load:
            wait_until(lambda: load.answers > 50, "nothing is acknowledged")
            nodes.servers[owner].kill()
            nodes.wait_for_owner(other_than=owner)
            mark = load.answers
            wait_until(lambda: load.answers > mark + 50, "nothing is acknowledged any more")
        assert said_to_stranger(nodes.owner_address(), authority.trusting()) == b""


def said_to_stranger(address: Address, context: ssl.SSLContext) -> bytes:
    """What a node says to somebody without a certificate who asks to bring clients."""
    with (
        contextlib.suppress(ssl.SSLError, ConnectionError),  # in TLS 1.3 the refusal comes after the handshake
        socket.create_connection((address.host, address.port), 20) as connected,
        context.wrap_socket(connected, server_hostname="127.0.0.1") as encrypted,
    ):
        encrypted.sendall(b'{"purpose":"link","node":"x"}\n')
        return encrypted.recv(100)
    return b""
