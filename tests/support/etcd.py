"""A real etcd for tests; where it can't be built, they are left out with the reason."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pynun.cluster.etcd.members import Members, parse_urls
from tests.support.node import leave_out
from tools.clients.server import new_folder
from tools.etcd.cluster import EtcdCluster
from tools.etcd.program import MissingEtcdError, find_etcd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tools.etcd.cluster import Certificates


@contextlib.contextmanager
def running_etcd(
    count: int = 1, *, election_ms: int = 500, options: Sequence[str] = (), certificates: Certificates | None = None
) -> Iterator[EtcdCluster]:
    """A running etcd with so many members, ended afterwards; `options` are more options of etcd."""
    try:
        find_etcd()
    except MissingEtcdError as error:
        leave_out(str(error))
    with (
        new_folder() as folder,
        EtcdCluster(folder, count, election_ms=election_ms, options=options, certificates=certificates) as etcd,
    ):
        yield etcd


def members_of(etcd: EtcdCluster) -> Members:
    """How clients reach it."""
    return Members(parse_urls(etcd.urls.split(",")))
