"""The nodes of a cluster, as etcd knows them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from pynun.cluster.etcd.gateway import Range, prefix_end, transaction
from pynun.cluster.keys import decode_number, decode_owner
from pynun.errors import StartError

if TYPE_CHECKING:
    from pynun.cluster.joining import PatientCaller
    from pynun.cluster.keys import Keys


class NodeState(NamedTuple):
    """One node."""

    node: str
    role: str
    """`owner`, `following`, or `away`: it gives no sign of life."""
    behind: int | None
    """Batches that its data has not got yet; None: not known."""
    version: str
    address: str
    """Of its link."""


def read_overview(caller: PatientCaller, keys: Keys) -> list[NodeState]:
    """All nodes, by name. Raises StartError if there is no such cluster."""
    ranges = (
        Range(keys.owner),
        Range(keys.head),
        Range(keys.member_prefix, prefix_end(keys.member_prefix)),
        Range(keys.live_prefix, prefix_end(keys.live_prefix), is_keys_only=True),
    )
    owner, head, members, live = (
        answer for answer in caller.ask(transaction((), ranges)).answers if answer is not None
    )
    if head.first is None:
        raise StartError("etcd has no cluster of this name; see NUN_CLUSTER_NAME")
    newest = decode_number(head.first.value)
    owning = None if owner.first is None else decode_owner(owner.first.value).node
    living = {pair.key.removeprefix(keys.live_prefix).decode() for pair in live.pairs}
    found = []
    for pair in members.pairs:
        node = pair.key.removeprefix(keys.member_prefix).decode()
        about = json.loads(pair.value)
        role = "owner" if node == owning else "following" if node in living else "away"
        behind = max(0, newest - int(about["applied"]))
        # What the owner has is in the log: its own word of it is a second old.
        found.append(NodeState(node, role, 0 if role == "owner" else behind, about["version"], about["address"]))
    return sorted(found)
