"""The original's cluster commands, as far as they make sense on one node, or in a cluster on etcd."""

from __future__ import annotations

from functools import partial
from types import GeneratorType
from typing import TYPE_CHECKING

from pynun.engine.commands import keys
from pynun.engine.commands.admin import wait_for_disk
from pynun.engine.effects import Turn
from pynun.protocol import messages
from pynun.protocol.messages import Refusal

if TYPE_CHECKING:
    from pynun.engine.cluster import Cluster, ClusterNode
    from pynun.engine.commands.command import Perform
    from pynun.engine.effects import Steps
    from pynun.engine.events import Result
    from pynun.engine.session import Session


def accept(_session: Session) -> None:
    """Of the original's way to replicate: accepted from an admin, without effect."""


def set_primary(session: Session, name: str) -> None:
    """In a cluster, have that node run the commands from now on; on one node, without effect."""
    cluster = session.engine.context.cluster
    if cluster is None:
        return
    node = _node(cluster, name)
    if not node.is_live:
        raise messages.node_is_away(node.name)
    if not node.is_owner:
        cluster.hand_over(node.name)


def leave(session: Session, name: str) -> Steps | None:
    """In a cluster, let another node run the commands, or take one that is away off the list."""
    cluster = session.engine.context.cluster
    if cluster is None:
        return None
    node = _node(cluster, name)
    if node.is_owner:
        cluster.hand_over("")
        return None
    if node.is_live:
        raise messages.node_runs(node.name)
    return _forget(cluster, node.name)


def _forget(cluster: Cluster, name: str) -> Steps:
    yield Turn(partial(cluster.forget, name))
    return None


def _node(cluster: Cluster, name: str) -> ClusterNode:
    """A node by its name or its address. Raises Refusal."""
    nodes = cluster.nodes()
    for node in nodes:
        if name in (node.name, node.address):
            return node
    raise messages.no_node(name, [node.name for node in nodes])


def operation(session: Session, identifier: int, text: str, perform: Perform) -> Steps:
    """Acknowledge an operation, then run it: its messages follow the acknowledgement's."""
    acknowledgement = messages.acknowledgement(identifier, session.engine.context.address)
    if text.startswith("rp "):
        raise Refusal("rp can't hold another rp", (acknowledgement,))
    try:
        result: Result | Steps = perform(text)
        if isinstance(result, GeneratorType):
            result = yield from result
    except Refusal as refusal:
        raise Refusal(refusal.error, (acknowledgement, *refusal.messages)) from None
    match result:
        case None:
            return [acknowledgement]
        case str():
            return [acknowledgement, result]
        case bytes():
            return [acknowledgement, result.decode()]
        case list():
            return [acknowledgement, *result]
    raise AssertionError(result)


def replicate(session: Session, name: str, key: str, version: int, value: str) -> Steps | None:
    return keys.change(session, session.engine.database(name), key, version, value)


def replicate_remove(session: Session, name: str, key: str) -> None:
    keys.remove_from(session, session.engine.database(name), key)


def replicate_increment(session: Session, name: str, key: str, step: int) -> None:
    keys.increment_in(session, session.engine.database(name), key, step)


def replicate_snapshot(session: Session, names: list[str]) -> None:
    """Like `snapshot`: all changes so far are on disk before the reply."""
    unknown = [name for name in names if session.engine.find_database(name) is None]
    if unknown:
        raise messages.snapshot_failed(unknown[-1])
    wait_for_disk(session)
