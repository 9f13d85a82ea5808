"""HAProxy before three nodes, with the configuration of docs/cluster-setup.md."""

from __future__ import annotations

import re
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.proxies.running import find
from tests.support.acknowledged import DATABASE, Load
from tests.support.cluster import Nodes, running_nodes, wait_until
from tools.clients.exact_clients import EndOfConnectionError, HttpClient, TcpClient, WebSocketClient
from tools.clients.server import REPOSITORY, Address, free_ports
from tools.clients.sessions import OK, TOKEN, create_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.etcd.cluster import EtcdCluster

KILLED_SECONDS = 1.0
ALLOWANCE = 3.0
"""So many times its bound a fault may take, on a busy machine."""

pytestmark = pytest.mark.timeout(300)


class Balancer:
    """HAProxy, with each of its ports on a free one."""

    def __init__(self, nodes: Nodes, folder: Path) -> None:
        page = (REPOSITORY / "docs" / "cluster-setup.md").read_text(encoding="utf-8")
        (text,) = re.findall(r"```haproxy\n(.*?)```", page, re.DOTALL)
        self.websocket, self.http, self.tcp = (Address("127.0.0.1", port) for port in free_ports(3))
        for number, server in enumerate(nodes.servers.values(), 1):
            for port, address in ((3012, server.websocket), (3013, server.http), (3014, server.tcp)):
                text = text.replace(f"10.0.0.{number}:{port}", str(address))
            text = text.replace(f"{server.tcp} port 3013", f"{server.tcp} port {server.http.port}")
        for port, address in ((3012, self.websocket), (3013, self.http), (3014, self.tcp)):
            text = text.replace(f"bind :{port}", f"bind {address}")
        assert "10.0.0" not in text
        self.configuration = folder / "haproxy.cfg"
        self.configuration.write_text(text, encoding="utf-8")

    def answers(self) -> bool:
        """Whether clients on each port are answered, each time: so none reaches a node that is not ready."""
        try:
            for _ in range(4):
                with TcpClient(self.tcp) as tcp, WebSocketClient(self.websocket) as websocket:
                    for client in (tcp, websocket):
                        if client.ask(f"use-db {DATABASE} {TOKEN}", timeout_seconds=5) != [OK]:
                            return False
                with HttpClient(self.http) as http:
                    if http.request(f"use-db {DATABASE} {TOKEN};get k").status != 200:
                        return False
        except (OSError, EndOfConnectionError):
            return False
        return True


@pytest.fixture(name="nodes")
def _nodes(etcd: EtcdCluster, disk_folder: Path) -> Iterator[Nodes]:
    with running_nodes(etcd, disk_folder, name="balanced") as nodes:
        create_database(nodes.servers["a"], DATABASE)
        yield nodes


@pytest.fixture(name="balancer")
def _balancer(nodes: Nodes, disk_folder: Path) -> Iterator[Balancer]:
    balancer = Balancer(nodes, disk_folder)
    program = find("haproxy")
    with (disk_folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen([program, "-db", "-f", balancer.configuration], stdout=log, stderr=log)
    try:
        wait_until(balancer.answers, "HAProxy serves nobody")
        yield balancer
    finally:
        process.terminate()
        process.wait()


def test_clients_reach_ready_nodes_and_are_back_soon_when_one_is_killed(nodes: Nodes, balancer: Balancer) -> None:
    with Load([balancer.tcp] * 3) as load:
        silences = []
        for _ in range(2):
            target = load.answers + 100
            wait_until(lambda: load.answers >= target, "nothing is acknowledged")  # noqa: B023
            owner = nodes.wait_for_owner()
            load.take_longest()
            nodes.servers[owner].kill()
            nodes.wait_for_owner(other_than=owner)
            target = load.answers + 100
            wait_until(lambda: load.answers >= target, "nothing is acknowledged any more")  # noqa: B023
            silences.append(load.take_longest())
            wait_until(balancer.answers, "clients are sent to a node that is not ready")
            nodes.servers[owner].start()
        follower = nodes.others(nodes.wait_for_owner())[0]
        follower.send_signal(signal.SIGSTOP)
        try:
            wait_until(balancer.answers, "clients are sent to a node that does not answer")
        finally:
            follower.send_signal(signal.SIGCONT)
    print(f"the longest times without an answer: {silences}")
    assert min(silences) < ALLOWANCE * KILLED_SECONDS
    data = nodes.stop_and_compare()
    texts = {key[4:].decode(): entry.text for key, entry in data.items() if key[4:].startswith(b"k-")}
    for key, writer in load.writers.items():
        assert int(texts[key]) >= writer.acknowledged
