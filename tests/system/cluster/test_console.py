"""The console's screen of the cluster, in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.cluster import running_nodes
from tests.support.node import require_node
from tests.system.console.test_console import Run

if TYPE_CHECKING:
    from pathlib import Path

    from tools.etcd.cluster import EtcdCluster

pytestmark = pytest.mark.timeout(300)


def test_another_node_takes_over(etcd: EtcdCluster, disk_folder: Path, chromium: str) -> None:
    require_node()
    with running_nodes(etcd, disk_folder, 2, name="console") as nodes:
        owner = nodes.wait_for_owner()
        successor = {"a": "b", "b": "a"}[owner]
        Run(nodes.servers[owner], chromium)("cluster", owner=owner, successor=successor)
        assert nodes.wait_for_owner(other_than=owner) == successor
