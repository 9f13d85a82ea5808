"""What the engine knows of the other nodes, if it serves a cluster: for the original's commands of replication."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class ClusterNode(NamedTuple):
    """A node that was ever part of the cluster."""

    name: str
    address: str
    """HOST:PORT of its TCP listener."""
    is_owner: bool
    """Whether it is this one, which runs the commands."""
    is_live: bool


class Cluster(Protocol):
    """The cluster that this engine serves."""

    def nodes(self) -> Sequence[ClusterNode]:
        """All of them, as they were a second ago."""

    def hand_over(self, node: str) -> None:
        """Let another node run the commands, soon: the one of that name, or whichever is furthest if it is empty."""

    def forget(self, node: str, then: Callable[[], None]) -> None:
        """Take a node off the list, and call `then` when it is done or could not be done."""
