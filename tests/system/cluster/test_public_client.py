"""The public JavaScript client at an edge: it notices the loss of the owner as a pause, and keeps its count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.cluster import running_nodes, wait_until
from tests.support.node import INSTALL_SECONDS_MAX, TESTS, NodeScript, require_node
from tests.system.cluster.test_nodes import health
from tools.clients.sessions import OK, TOKEN, create_database, tcp_session

if TYPE_CHECKING:
    from pathlib import Path

    from tools.etcd.cluster import EtcdCluster

pytestmark = pytest.mark.timeout(INSTALL_SECONDS_MAX + 180)


def test_it_goes_on_over_its_connection_and_keeps_its_count(etcd: EtcdCluster, disk_folder: Path) -> None:
    require_node()
    with running_nodes(etcd, disk_folder, name="public-client") as nodes:
        owner = nodes.wait_for_owner()
        edge, other = nodes.others(owner)
        create_database(edge, "d")
        for server in (edge, other):
            wait_until(lambda server=server: health(server) == (200, "ok\n"), server.log_text())  # type: ignore[misc]
        known = {"url": f"ws://{edge.websocket}", "database": "d", "token": TOKEN}
        with NodeScript(TESTS / "system" / "javascript" / "failover.js", known) as script:
            script.expect("working")
            nodes.servers[owner].kill()
            nodes.wait_for_owner(other_than=owner)
            with tcp_session(other, "d") as client:
                assert client.ask("set watched 1") == [OK]
                assert client.ask("get watched") == ["value 1\n", OK]
            script.tell()
            result = script.done()["result"]
    assert result["isSame"], "it connected again"
    assert result["seen"] == [1]
    assert result["value"] == {"value": 1, "version": 0}
    assert result["reads"] == ["as it was"]
    assert set(result["errors"]) <= {"error no-db-selected"}
    assert result["pending"] == 0
