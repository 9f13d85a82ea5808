"""etcd has no space left: changes wait, and every node says why."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.acknowledged import DATABASE
from tests.support.cluster import running_nodes, wait_until
from tests.support.etcd import running_etcd
from tests.support.watched import request
from tools.clients.server import nun_db
from tools.clients.sessions import create_database, tcp_session

if TYPE_CHECKING:
    from pathlib import Path

    from tools.clients.server import Server

FULL = "not ready: etcd takes no changes: its space is used up (docs/cluster-operation.md)\n"

STOP_SECONDS = 10.0
"""What service managers allow."""

pytestmark = pytest.mark.timeout(300)


def test_every_node_says_that_etcd_is_full(disk_folder: Path) -> None:
    with (
        running_etcd(options=("--quota-backend-bytes", str(2 * 1024 * 1024))) as etcd,
        running_nodes(etcd, disk_folder, 2) as nodes,
    ):
        name = nodes.wait_for_owner()
        owner, (other,) = nodes.servers[name], nodes.others(name)
        create_database(owner, DATABASE)
        with tcp_session(owner, DATABASE) as client:
            for number in range(100):
                client.send(f"set k{number} {random.randbytes(40_000).hex()}")
                wait_until(lambda: client.quiet(0.05) or health(owner) == FULL, "neither an answer nor a reason")
                if health(owner) == FULL:
                    break
            for server in (owner, other):
                wait_until(lambda server=server: health(server) == FULL, "it does not say so")  # type: ignore[misc]
        shown = json.loads(nun_db("cluster", "status", "--json", environment=nodes.environment).stdout)
        assert {row["role"] for row in shown["nodes"]} == {"owner", "following"}, "they live"
        assert shown["etcd"][0]["state"] == "leader; alarm:NOSPACE"
        began = time.monotonic()
        assert owner.stop() == 0, owner.log_text()
        took = time.monotonic() - began
        print(f"the stop took {took:.1f} s")
        assert took < 3 * STOP_SECONDS, "it waited for etcd"
        reason = "etcd has not accepted the last changes in time: they get no answer"
        trouble = f"({etcd.urls}: etcdserver: mvcc: database space exceeded)"
        assert f"this node's term as owner ends: {reason} {trouble}" in owner.log_text()
        wait_until(lambda: "no lease to campaign with: etcd" in other.log_text(), other.log_text())


def health(server: Server) -> str:
    """What a node says of itself."""
    return request(server.http, "/readyz").text
