"""A term on a fake etcd: its store, and what it takes to be deposed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pynun.cluster.etcd.gateway import Delete, grant, put, transaction
from pynun.cluster.keys import Keys, Owner, encode_number
from pynun.cluster.replicated_store import ReplicatedStore
from pynun.cluster.transactions import campaign, judge_campaign
from tests.cluster.fake_etcd import FakeEtcd

if TYPE_CHECKING:
    from pynun.cluster.caller import Caller
    from pynun.engine.overlay import Batch
    from pynun.storage.store import LmdbStore

KEYS = Keys("test")


class OwnedStore(ReplicatedStore):
    """The store of an owner; the tests of every store write to it too."""

    def write(self, batch: Batch, operations: int) -> None:
        """Make a batch durable and have reads find it."""
        self.append(batch, operations)


def make_cluster(etcd: FakeEtcd, head: int = 0) -> None:
    """Put what `nun-db cluster init` puts."""
    etcd.call(put(KEYS.id, b"id"))
    etcd.call(put(KEYS.head, encode_number(head)))


def own(data: LmdbStore, etcd: FakeEtcd, *, caller: Caller | None = None, node: str = "a") -> OwnedStore:
    """Win a campaign; the store of the term."""
    owner = Owner(node, "127.0.0.1:3015", etcd.call(grant(3)).lease)
    won = judge_campaign(owner, etcd.call(campaign(KEYS, owner)))
    assert won.has_won
    return OwnedStore(data, caller or etcd, KEYS, won.term, lambda: math.inf)


def depose(etcd: FakeEtcd) -> None:
    """Have the lease of the owner end."""
    etcd.call(transaction((), (Delete(KEYS.owner),)))


def owned_store(data: LmdbStore) -> OwnedStore:
    """The store of the first term of a cluster of its own."""
    etcd = FakeEtcd()
    make_cluster(etcd, data.revision)
    return own(data, etcd)
