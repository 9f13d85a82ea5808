"""What /metrics tells of a node of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pynun.histogram import Histogram


class ClusterFigures(NamedTuple):
    """Of one node, now; each is explained where the metric is."""

    is_owner: bool
    nodes: Mapping[str, int]
    batch: int
    batches_behind: int
    behind_seconds: float
    etcd_answered_at: float
    edge_clients: int
    linked_clients: Mapping[str, int]
    terms: int
    lost_terms: int
    accept_seconds: Histogram
    copies: int
