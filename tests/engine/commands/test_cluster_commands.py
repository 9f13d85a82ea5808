"""The cluster commands of the original in a cluster: its nodes are shown, and another one can be made the owner."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pynun.engine.audit_events import Fact
from pynun.engine.cluster import ClusterNode
from pynun.engine.effects import Turn
from tests.engine.world import ADMIN_USER, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engine.world import Client

OK = ["ok \n"]


class _Cluster:
    """Three nodes; `c` is away. Remembers what it was asked to do."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []

    def nodes(self) -> list[ClusterNode]:
        return [
            ClusterNode("a", "h:2", is_owner=True, is_live=True),
            ClusterNode("b", "h:1", is_owner=False, is_live=True),
            ClusterNode("c", "h:3", is_owner=False, is_live=False),
        ]

    def hand_over(self, node: str) -> None:
        self.done.append(("hand over", node))

    def forget(self, node: str, then: Callable[[], None]) -> None:
        self.done.append(("forget", node))
        then()


@pytest.fixture(name="cluster")
def _cluster() -> _Cluster:
    return _Cluster()


@pytest.fixture(name="admin")
def _admin(cluster: _Cluster) -> Client:
    world = World()
    world.engine.context = replace(world.engine.context, cluster=cluster)
    return world.admin()


def test_all_nodes_are_shown_as_the_original_shows_them(admin: Client) -> None:
    state = "cluster-state  h:1(Connected):Secoundary , h:2(self):Primary , h:3(Disconnected):Secoundary ,\n"
    assert admin.ask("cluster-state") == [state, *OK]


@pytest.mark.parametrize(
    ("command", "done"),
    [
        ("set-primary b", [("hand over", "b")]),
        ("set-primary h:1", [("hand over", "b")]),
        ("set-primary a", []),
        ("debug force-election", [("hand over", "")]),
        ("leave a", [("hand over", "")]),
        ("join d", []),
        ("election win", []),
    ],
)
def test_a_command_has_this_effect(admin: Client, cluster: _Cluster, command: str, done: list[tuple[str, str]]) -> None:
    assert admin.ask(command) == OK
    assert cluster.done == done


@pytest.mark.parametrize(
    ("command", "event", "shown", "outcome"),
    [
        ("set-primary b", "hand-over", "set-primary b", "ok"),
        ("set-primary h:1", "hand-over", "set-primary h:1", "ok"),
        ("set-primary secret", "hand-over", "set-primary ***", "failed"),
        ("debug force-election", "hand-over", "debug force-election", "ok"),
        ("leave a", "remove-node", "leave a", "ok"),
        ("leave b", "remove-node", "leave b", "failed"),
    ],
)
def test_who_did_it_is_in_the_trail(admin: Client, command: str, event: str, shown: str, outcome: str) -> None:
    admin.world.trail.take()
    admin.ask(command)
    ((fact, found, _),) = admin.world.trail.take()
    assert (fact, found) == (Fact(event, None, ADMIN_USER, shown), outcome)
    assert admin.world.connect().ask(command) == ["error Not auth \n"]
    ((fact, found, _),) = admin.world.trail.take()
    assert (fact, found) == (Fact(event, None, None, shown), "refused")


def test_what_is_only_shown_is_not_in_the_trail(admin: Client) -> None:
    admin.world.trail.take()
    admin.ask("debug list-dbs")
    admin.ask("cluster-state")
    assert admin.world.trail.take() == []


def test_a_node_that_is_away_is_taken_off_the_list(admin: Client, cluster: _Cluster) -> None:
    assert admin.ask("leave c") == OK
    turn = admin.world.credentials.needs[-1]
    assert isinstance(turn, Turn)
    turn.ask(lambda: cluster.done.append(("done", "")))
    assert cluster.done == [("forget", "c"), ("done", "")]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("set-primary d", "the cluster has no node d; its nodes are: a, b, c"),
        ("set-primary c", "the node c gives no sign of life, so it can't take over"),
        ("leave d", "the cluster has no node d; its nodes are: a, b, c"),
        ("leave b", "the node b runs: stop it first"),
    ],
)
def test_what_can_not_be_is_refused(admin: Client, cluster: _Cluster, command: str, told: str) -> None:
    assert admin.ask(command) == [f"error {told} \n"]
    assert cluster.done == []
