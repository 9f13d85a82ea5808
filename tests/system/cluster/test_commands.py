"""`nun-db cluster` from the check before the start to the removal, and what is refused in a node's folder."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.acknowledged import DATABASE
from tests.support.cluster import running_nodes, wait_until
from tools.clients.server import nun_db
from tools.clients.sessions import admin_session, create_database, tcp_session

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.cluster import Nodes
    from tools.clients.server import Server
    from tools.etcd.cluster import EtcdCluster


@pytest.fixture(name="nodes")
def _nodes(etcd: EtcdCluster, disk_folder: Path) -> Iterator[Nodes]:
    with running_nodes(etcd, disk_folder, 2, name="commands") as nodes:
        create_database(nodes.servers["a"], DATABASE, then="set k v")
        nodes.wait_until_known()
        yield nodes


def cluster(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `nun-db cluster` on a node's machine, as its administrator."""
    login = ("-u", server.user, "-p", server.password, "--host", f"http://{server.http}")
    return nun_db(
        *login, "cluster", *arguments, environment={**server.environment, "NUN_DBS_DIR": str(server.data_dir)}
    )


def status(server: Server, *options: str) -> str:
    """What a node says of itself, and of the others as they were up to a second ago."""
    shown = nun_db("-h", f"http://{server.http}", "status", *options)
    assert shown.returncode == 0, shown.stderr
    return shown.stdout


def said(done: subprocess.CompletedProcess[str], code: int = 0) -> Any:  # noqa: ANN401 - JSON
    """What a command printed as JSON."""
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_a_cluster_is_checked_handed_over_and_removed(nodes: Nodes) -> None:
    a, b = nodes.servers.values()
    checked = {one["check"]: one["result"] for one in said(cluster(a, "check", "--json"))}
    assert checked["election timeout"] == checked["clock of 127.0.0.1"] == "ok"
    assert checked["certificate"] == "warning"  # NUN_CLUSTER_PLAIN

    for name in ("b", "a", ""):
        owner = nodes.wait_for_owner()
        assert said(cluster(b, "hand-over", *filter(None, [name]), "--json")) == {
            "owner": name or {"a": "b", "b": "a"}[owner]
        }
    seen = said(cluster(a, "status", "--json"))
    assert {node["node"]: node["role"] for node in seen["nodes"]} == {"a": "following", "b": "owner"}
    assert seen["etcd"][0]["state"] == "leader"
    assert 0 < seen["lease_seconds"] <= 3
    text = cluster(a, "status").stdout
    assert "since" in text
    assert "The lease of b lasts" in text

    owned = re.compile(r"^cluster +owned by b for [0-9.]+ .*; 1 following, 0 away$", re.MULTILINE)
    wait_until(lambda: owned.search(status(a)), "what a knows of the others is more than a second old")
    shown = status(a)
    assert re.search(r"^node +a, following for [0-9.]+ ", shown, re.MULTILINE)
    assert re.search(r"^etcd +answered [0-9.]+ m?s ago$", shown, re.MULTILINE)
    wait_until(lambda: json.loads(status(b, "--json"))["node"]["role"] == "owner", "b does not say that it is owner")

    refused = cluster(a, "hand-over", "nobody")
    assert refused.returncode == 1
    assert "the cluster has no node nobody; its nodes are: a, b" in refused.stderr
    assert "these nodes run, or ran until a moment ago: a, b" in cluster(a, "reset", "--yes").stderr

    a.kill()
    with admin_session(b) as client:
        wait_until(lambda: "(Disconnected)" in client.ask("cluster-state")[0], "a does not count as away")
        assert f"{b.tcp}(self):Primary" in client.ask("cluster-state")[0]
        assert client.ask("leave a") == ["ok \n"]
        assert "(Disconnected)" not in client.ask("cluster-state")[0]
    with tcp_session(b, DATABASE) as client:
        assert client.ask("get k") == ["value v\n", "ok \n"]

    backup = str(b.data_dir.parent / "backup")
    assert nun_db("backup", backup, "--data-dir", str(b.data_dir)).returncode == 0
    assert b.stop() == 0
    for command in (("restore", backup, "--replace"), ("import", "other", backup)):
        refused = nun_db(*command, "--data-dir", str(b.data_dir))
        assert refused.returncode == 1
        assert "belongs to a cluster, whose other nodes would not get this change" in refused.stderr
    assert said(cluster(b, "reset", "--yes", "--json")) == {"removed": True}
    assert said(cluster(b, "reset", "--yes", "--json")) == {"removed": False}
    assert cluster(b, "leave").returncode == 0
    assert nun_db("restore", backup, "--replace", "--data-dir", str(b.data_dir)).returncode == 0
    assert cluster(b, "init").returncode == 0
    b.start()
    with tcp_session(b, DATABASE) as client:
        assert client.ask("get k") == ["value v\n", "ok \n"]

    trail = (a.data_dir / "audit.jsonl").read_text() + (b.data_dir / "audit.jsonl").read_text()
    done = {(line["event"], line["outcome"]) for line in map(json.loads, trail.splitlines())}
    events = ("hand-over", "remove-node", "reset-cluster", "leave-cluster", "begin-cluster")
    assert {*((event, "ok") for event in events), ("hand-over", "failed")} <= done
