"""The note in a data folder that says which cluster its data belongs to (`pynun.engine.key_layout.CLUSTER`).

It is there from the first batch on. So nobody writes to the data beside the cluster, and no node to the data of another
cluster, by mistake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.engine.key_layout import CLUSTER
from pynun.engine.overlay import Batch, Entry
from pynun.errors import MapFullError, StartError

if TYPE_CHECKING:
    from pathlib import Path

    from pynun.storage.store import LmdbStore


def cluster_of(data: LmdbStore) -> str | None:
    """The id of the cluster that the data belongs to; None: it is of a single node, or empty."""
    note = data.get(CLUSTER)
    return None if note is None else note.text


def refuse_member(data: LmdbStore) -> None:
    """Raise StartError if the data belongs to a cluster: for a server that is no node."""
    if cluster_of(data) is not None:
        raise StartError(
            f"the data in {data.folder} belongs to a cluster: set NUN_ETCD, or, to run it alone from now on, stop all"
            " nodes and run nun-db cluster leave"
        )


def refuse_change(data: LmdbStore) -> None:
    """Raise StartError if the data belongs to a cluster: for what changes the data of a stopped server."""
    if cluster_of(data) is not None:
        raise change_refused(data.folder)


def change_refused(folder: Path) -> StartError:
    """What such a change is told in the folder of a node."""
    return StartError(
        f"the data in {folder} belongs to a cluster, whose other nodes would not get this change: use nun-db import"
        " --online with a running node; or stop all nodes, and put a backup in place of all their data as"
        " docs/cluster-operation.md says"
    )


def write_note(data: LmdbStore, cluster_id: str | None) -> None:
    """Write the note, or take it away: into the data of a stopped server. Raises StorageError."""
    batch = Batch(data.revision + 1)
    batch.entries[CLUSTER] = None if cluster_id is None else Entry(0, cluster_id)
    try:
        data.write(batch, data.operations)
    except MapFullError:
        data.grow()
        data.write(batch, data.operations)
