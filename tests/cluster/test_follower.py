"""A node whose data does not fit the log in etcd stops and says what to do. All else, the simulation shows."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, cast

import pytest
import trio

from pynun.cluster.etcd.gateway import put
from pynun.cluster.follower import Follower
from pynun.engine.overlay import Batch
from pynun.errors import StartError
from pynun.storage.store import LmdbStore
from tests.cluster.fake_etcd import FakeClient, FakeEtcd
from tests.cluster.owner import KEYS, make_cluster

if TYPE_CHECKING:
    from pathlib import Path

    from pynun.cluster.etcd.client import Client
    from pynun.cluster.keys import Owner


class _Observer:
    def owner_seen(self, owner: Owner | None, term: int, revision: int) -> None:
        """Ignore it."""

    def log_seen(self, applied: int, head: int) -> None:
        """Ignore it."""

    def data_failed(self, reason: str | None) -> None:
        """Ignore it."""


def refused(folder: Path, etcd: FakeEtcd) -> str:
    """Why a node with one batch can't follow."""
    with contextlib.closing(LmdbStore(folder)) as data:
        data.write(Batch(1), 1)
        follower = Follower(cast("Client", FakeClient(etcd)), KEYS, data, _Observer())
        with pytest.raises(BaseExceptionGroup) as failed:
            trio.run(follower.run)
    (error,) = failed.value.exceptions
    assert isinstance(error, StartError)
    return str(error)


def test_an_etcd_without_the_cluster(disk_folder: Path) -> None:
    assert "etcd lost the data of this cluster" in refused(disk_folder / "dbs", FakeEtcd())


def test_an_etcd_that_was_set_back(disk_folder: Path) -> None:
    etcd = FakeEtcd()
    make_cluster(etcd, 0)
    assert "has batch 1, and the log in etcd ends at 0" in refused(disk_folder / "dbs", etcd)


@pytest.mark.parametrize("first", [3, 4])
def test_a_log_that_begins_later(disk_folder: Path, first: int) -> None:
    etcd = FakeEtcd()
    make_cluster(etcd, 3)
    if first == 3:
        etcd.call(put(KEYS.log(3), b""))
    assert "has not got batch 2 any more" in refused(disk_folder / "dbs", etcd)
