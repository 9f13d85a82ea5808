"""The nodes of a cluster, as etcd knows them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pynun.cluster.etcd.gateway import Range, prefix_end, remaining, transaction
from pynun.cluster.keys import decode_number, decode_owner
from pynun.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pynun.cluster.etcd.gateway import LeaseAnswer, RangeAnswer
    from pynun.cluster.joining import PatientCaller
    from pynun.cluster.keys import Keys, Owner

OWNER: Final = "owner"
FOLLOWING: Final = "following"
AWAY: Final = "away"
"""It gives no sign of life."""


class NodeState(NamedTuple):
    """One node."""

    node: str
    role: str
    """`OWNER`, `FOLLOWING` or `AWAY`."""
    behind: int | None
    """Batches that its data has not got yet; None: not known."""
    version: str
    since: float | None
    """Unix time in seconds at which it took its role, by its own clock; None if it is away or runs an older version."""
    address: str
    """Of its link."""
    client_address: str
    """Of its TCP listener, for clients."""
    trouble: str
    """Why its data can't take changes; empty if it can, or the node is away."""
    unready: str
    """Why it can't serve clients; empty if it can, or the node is away, or runs an older version."""

    @property
    def is_ready(self) -> bool:
        """Whether it could own the data."""
        return self.role != AWAY and not self.trouble


class Overview(NamedTuple):
    """All nodes by name, and the owner's lease."""

    nodes: list[NodeState]
    owner: Owner | None


def ranges(keys: Keys) -> tuple[Range, ...]:
    """What to read at one revision."""
    return (
        Range(keys.owner),
        Range(keys.head),
        Range(keys.member_prefix, prefix_end(keys.member_prefix)),
        Range(keys.live_prefix, prefix_end(keys.live_prefix), is_keys_only=True),
    )


def judge(keys: Keys, answers: Sequence[RangeAnswer | None]) -> Overview:
    """What the answers to `ranges` mean. Raises StartError if there is no such cluster."""
    owner, head, members, live = (answer for answer in answers if answer is not None)
    if head.first is None:
        raise StartError("etcd has no cluster of this name; see NUN_CLUSTER_NAME")
    newest = decode_number(head.first.value)
    owning = None if owner.first is None else decode_owner(owner.first.value)
    living = {pair.key.removeprefix(keys.live_prefix).decode() for pair in live.pairs}
    found = []
    for pair in members.pairs:
        node = pair.key.removeprefix(keys.member_prefix).decode()
        is_owner = owning is not None and node == owning.node
        found.append(_node(node, OWNER if is_owner else FOLLOWING if node in living else AWAY, newest, pair.value))
    return Overview(sorted(found), owning)


def _node(node: str, role: str, newest: int, said: bytes) -> NodeState:
    about: dict[str, Any] = json.loads(said)
    # What the owner has is in the log: its own word of it is a second old.
    behind = 0 if role == OWNER else max(0, newest - int(about["applied"]))
    since = None if role == AWAY else about.get("since")
    trouble, unready = ("" if role == AWAY else about.get(name, "") for name in ("trouble", "unready"))
    clients = about.get("clients", "")
    return NodeState(node, role, behind, about["version"], since, about["address"], clients, trouble, unready)


def read_overview(caller: PatientCaller, keys: Keys) -> Overview:
    """Look at etcd. Raises StartError if there is no such cluster."""
    return judge(keys, caller.ask(transaction((), ranges(keys))).answers)


def read_lease(caller: PatientCaller, owner: Owner) -> LeaseAnswer:
    """How long the owner's lease still lasts. Raises StartError."""
    return caller.ask(remaining(owner.lease))
