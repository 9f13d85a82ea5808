"""The whole contract through a node that does not own the engine, byte for byte."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.conformance.test_transcripts import MORE, OVER_TCP, RECORDED
from tests.support.cluster import running_nodes, wait_until
from tests.support.transcript import Scenario, Step, Target, play_and_compare
from tests.system.cluster.test_nodes import health
from tools.clients.sessions import OK, admin_session

if TYPE_CHECKING:
    from pathlib import Path

    from tools.clients.server import Server
    from tools.etcd.cluster import EtcdCluster


ALONE = "cluster-state  <TCP-ADDR>(self):Primary ,\n"


def state_of(owner: Server, edge: Server) -> str:
    """The answer to `cluster-state`, once each knows of the other."""
    nodes = sorted((f"{owner.tcp}(Connected):Primary", f"{edge.tcp}(self):Secoundary"))
    state = f"cluster-state  {' , '.join(nodes)} ,\n"
    with admin_session(edge) as admin:
        wait_until(lambda: admin.ask("cluster-state")[0] == state, edge.log_text())
    return state.replace(str(owner.tcp), "<TCP-ADDR>")


def hands_over(step: Step) -> bool:
    """Whether it makes another node the owner, which loses what is under way. Its own test is test_edges.py."""
    return step.send.strip() == "debug force-election" and step.receive == {step.on: [OK]}


def among_nodes(step: Step, state: str) -> Step:
    """The step in a cluster: all its nodes are listed, and nothing else is answered in another way."""
    if step.receive == "any":
        return step
    return replace(
        step,
        receive={
            name: [state if message == ALONE else message for message in messages]
            for name, messages in step.receive.items()
        },
    )


@pytest.mark.parametrize(
    ("scenarios", "settings"),
    [
        pytest.param(RECORDED, {"NUN_LOGIN_BURST": "", "NUN_LOGIN_DELAY_MAX": ""}, id="recorded"),
        pytest.param(MORE, {}, id="more"),
        pytest.param(OVER_TCP, {}, id="tcp"),
    ],
)
def test_the_transcripts(
    etcd: EtcdCluster,
    tmp_path: Path,
    scenarios: list[Scenario],
    settings: dict[str, str],
    request: pytest.FixtureRequest,
) -> None:
    patient = {"NUN_LEASE_SECONDS": "20", **settings}  # no failover on a busy machine
    with running_nodes(etcd, tmp_path, 2, settings=patient, name=request.node.callspec.id) as nodes:
        owner = nodes.wait_for_owner()
        (edge,) = nodes.others(owner)
        wait_until(lambda: health(edge) == (200, "ok\n"), edge.log_text())
        target = replace(Target.of(edge), tcp_address_text=str(nodes.servers[owner].tcp))
        state = state_of(nodes.servers[owner], edge)
        for scenario in scenarios:
            steps = tuple(among_nodes(step, state) for step in scenario.steps if not hands_over(step))
            play_and_compare(target, replace(scenario, steps=steps))
