"""docs/cluster.md: the cluster on one machine, as its page says."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import commands
from tests.support.node import leave_out
from tests.system.container.test_page import compose_function, type_in, unpacked
from tools.clients.server import REPOSITORY
from tools.etcd.program import MissingEtcdError, find_etcd

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.container.engine import Engine

pytestmark = pytest.mark.timeout(900)

PAGE = REPOSITORY / "docs" / "cluster.md"
MAKE = "scripts/etcd --output docker/etcd"

__all__ = ["unpacked"]  # a fixture


def test_the_demo_works(engine: Engine, unpacked: Path) -> None:
    docker = compose_function(engine)
    try:
        find_etcd()
    except MissingEtcdError as error:
        leave_out(str(error))
    engine.docker("tag", "pynun:0.0.page", "pynun:latest")
    subprocess.run([REPOSITORY / "scripts" / "etcd", "--output", unpacked / "docker" / "etcd"], check=True, timeout=900)
    up, use, down = commands(PAGE, "cluster-demo")
    exporting = "export NUN_PWD=choose-another\n"
    assert exporting in up.text
    try:
        told = type_in(engine, up, docker, {MAKE: ":", "up -d\n": f"up -d\n{WAIT}\n"})
        assert "node-3" in told, told
        told = type_in(engine, use._replace(text=exporting + use.text), docker)
        assert "value v" in told, told
    finally:
        type_in(engine, down._replace(text=exporting + down.text), docker)


WAIT = (
    "for port in 3013 4013 5013; do"
    ' for _ in $(seq 300); do curl -sf "http://127.0.0.1:$port/readyz" && break; sleep 0.2; done; done;'
)
"""What a person does who reads the page."""
