"""A node that can't reach the owner, or etcd, says why: a firewall between them, certificates that do not fit."""

from __future__ import annotations

import datetime
import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import Authority
from tests.support.cluster import Nodes, wait_until
from tests.support.etcd import running_etcd
from tests.support.relay import Relay
from tests.support.watched import Scrape, request
from tools.clients.exact_clients import http_post
from tools.clients.server import nun_db
from tools.clients.sessions import create_database
from tools.etcd.cluster import Certificates

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.clients.server import Server
    from tools.etcd.cluster import EtcdCluster

DATABASE = "d"
UNREACHED = "the node that owns the data can't be reached"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(name="nodes")
def _nodes(etcd: EtcdCluster, disk_folder: Path, request: pytest.FixtureRequest) -> Iterator[Nodes]:
    """Two nodes that are not started, of which `a` should be the owner."""
    name = re.sub(r"\W+", "-", request.node.name)[:60]
    nodes = Nodes(etcd, disk_folder, 2, name=name, settings={"NUN_LEASE_SECONDS": "20"})
    yield nodes
    nodes.end()


def reason(server: Server) -> str:
    """Why a node is not ready; empty if it is."""
    try:
        text = request(server.http, "/readyz").text
    except ConnectionResetError:
        return "its term has just ended, and all connections with it"
    return "" if text == "ok\n" else text.removeprefix("not ready: ").strip()


def start(nodes: Nodes) -> tuple[Server, Server]:
    """Start both; the owner, and the node that follows."""
    a, b = nodes.servers.values()
    nodes.start("a")
    assert nodes.wait_for_owner() == "a"
    create_database(a, DATABASE)
    nodes.start("b")
    wait_until(lambda: reason(b) == "", b.log_text())
    return a, b


@pytest.mark.parametrize("what", ["everything", "new connections"])
def test_a_firewall_is_told_and_its_end(nodes: Nodes, what: str) -> None:
    """Also one that lets what is connected go on: HTTP requests need new connections."""
    a = nodes.servers["a"]
    host, _, port = a.environment["NUN_CLUSTER_ADDR"].rpartition(":")
    with Relay(a.tcp._replace(host=host, port=int(port))) as relay:
        a.environment = {**a.environment, "NUN_CLUSTER_EXTERNAL_ADDR": relay.address}
        _, b = start(nodes)
        assert http_post(b.http, f"use-db {DATABASE} pwd; set k v") == "empty;empty"
        relay.take_away(only_new=what == "new connections")
        wait_until(lambda: reason(b) == f"{UNREACHED}: timed out", b.log_text())
        status = nun_db("-h", f"http://{b.http}", "status")
        assert f"NOT READY: {UNREACHED}: timed out" in status.stdout

        def shown() -> dict[str, str]:
            rows = json.loads(nun_db("cluster", "status", "--json", environment=nodes.environment).stdout)["nodes"]
            return {row["node"]: row["unready"] for row in rows}

        wait_until(lambda: shown() == {"a": "", "b": f"{UNREACHED}: timed out"}, "cluster status does not show it")
        assert f"{UNREACHED}: timed out" in nun_db("cluster", "status", environment=nodes.environment).stdout
        text = f"node a, which owns the data, can't be reached at {relay.address}, and clients of this node can't be"
        wait_until(lambda: text in b.log_text(), b.log_text())
        assert b.log_text().count(text) == 1
        relay.bring_back()
        wait_until(lambda: reason(b) == "", b.log_text())
        assert "node a, which owns the data, can be reached again" in b.log_text()
        assert http_post(b.http, f"use-db {DATABASE} pwd; get k") == "empty;value v\n"


def settings(nodes: Nodes, authority: Authority, name: str, not_after: datetime.datetime | None = None) -> None:
    """Give a node a certificate of its own."""
    certificate, key = authority.issue(name, not_after=not_after)
    environment = {key: value for key, value in nodes.servers[name].environment.items() if key != "NUN_CLUSTER_PLAIN"}
    nodes.servers[name].environment = {
        **environment,
        "NUN_CLUSTER_CA": str(authority.file),
        "NUN_CLUSTER_CERT": str(certificate),
        "NUN_CLUSTER_KEY": str(key),
    }


@pytest.mark.parametrize("whose", ["a", "b"])
def test_expired_certificates_are_told_at_both_ends(nodes: Nodes, whose: str, disk_folder: Path) -> None:
    authority = Authority(disk_folder)
    for name in nodes.servers:
        settings(nodes, authority, name)
    a, b = start(nodes)
    assert (b.stop(), a.stop()) == (0, 0)
    settings(nodes, authority, whose, datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1))
    nodes.start("a")
    assert nodes.wait_for_owner() == "a"
    wait_until(lambda: Scrape(a.http).value("nun_db_cluster_nodes", role="away") == 1, "a does not know of b")
    nodes.start("b")
    its, own = (
        "its certificate is not accepted here: certificate has expired",
        "it does not accept this node's certificate",
    )
    seen_by_b, seen_by_a = (its, own) if whose == "a" else (own, its)
    wait_until(lambda: reason(b).startswith(f"{UNREACHED}: {seen_by_b}"), b.log_text())
    wait_until(lambda: "to NUN_CLUSTER_ADDR was refused: " in a.log_text(), a.log_text())
    assert f"a connection from 127.0.0.1 (node b) to NUN_CLUSTER_ADDR was refused: {seen_by_a}" in a.log_text()
    wait_until(lambda: seen_by_b in b.log_text(), b.log_text())
    assert b.log_text().count(seen_by_b) == a.log_text().count(seen_by_a) == 1, "tries are told once"
    assert reason(a) == ""


def test_a_node_without_tls_among_others_is_told(nodes: Nodes, disk_folder: Path) -> None:
    a, b = start(nodes)
    assert b.stop() == 0
    settings(nodes, Authority(disk_folder), "b")
    nodes.start("b")
    wait_until(lambda: "NUN_CLUSTER_PLAIN must be the same at all nodes" in reason(b), b.log_text())
    assert a.is_running


def test_expired_certificates_of_etcd_are_told(disk_folder: Path) -> None:
    """They are noticed when a connection is made anew; the node's own is, too, when it starts."""
    authority = Authority(disk_folder)
    expired = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    certificate, key = authority.issue("node")
    settings = {"NUN_ETCD_CA": str(authority.file), "NUN_ETCD_CERT": str(certificate), "NUN_ETCD_KEY": str(key)}
    with running_etcd(certificates=Certificates(authority.file, *authority.issue("etcd"))) as etcd:
        nodes = Nodes(etcd, disk_folder, 1, name="certificates", settings=settings)
        (server,) = nodes.servers.values()
        try:
            server.start()
            wait_until(lambda: reason(server) == "", server.log_text())
            etcd.members[0].stop()
            authority.issue("etcd", not_after=expired)
            etcd.start(etcd.members[0])
            refused = "no quorum: etcd does not answer, because of a certificate: see the log"
            wait_until(lambda: reason(server) == refused, server.log_text())
            told = f"etcd did not answer in time ({etcd.urls}: its certificate is not accepted here: certificate has"
            wait_until(lambda: f"can't show etcd a sign of life: {told} expired)" in server.log_text(), "not told")
            authority.issue("etcd")
            wait_until(lambda: reason(server) == "", server.log_text())
            assert server.log_text().count("can't show etcd a sign of life") == 1
            wait_until(lambda: "etcd answers again" in server.log_text(), server.log_text())
            assert server.stop() == 0, server.log_text()
            authority.issue("node", not_after=expired)
            own = f"waiting for etcd: etcd does not answer ({etcd.urls}: it does not accept this node's certificate: "
            with server.starting():
                wait_until(lambda: own in server.log_text(), server.log_text())
        finally:
            nodes.end()
