"""Running etcds that the tests of a file share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.etcd import running_etcd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.etcd.cluster import EtcdCluster


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdCluster]:
    """An etcd of one member; each test uses a cluster name of its own."""
    with running_etcd() as running:
        yield running


@pytest.fixture
def three_etcds() -> Iterator[EtcdCluster]:
    """An etcd of three members, of the test's own."""
    with running_etcd(3) as running:
        yield running
