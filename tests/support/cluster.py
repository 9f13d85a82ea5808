"""Nodes of a cluster as processes, on one etcd."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

from pynun.cluster.etcd.blocking_client import BlockingClient
from pynun.cluster.etcd.gateway import read
from pynun.cluster.keys import Keys, decode_number, decode_owner
from pynun.engine.key_layout import LAST_IDENTIFIER, prefixes
from pynun.storage.store import LmdbStore
from pynun.timestamps import steady_seconds
from tests.support.etcd import members_of
from tools.clients.server import Server, free_ports
from tools.clients.sessions import admin_session
from tools.etcd.cluster import LOCAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from pynun.cluster.keys import Owner
    from pynun.engine.overlay import Entry
    from pynun.setting_values import Address
    from tools.etcd.cluster import EtcdCluster, Host

WAIT_SECONDS_MAX = 60.0


class Nodes:
    """Servers named `a`, `b`, …, each with a folder of its own below `folder`; none is started yet."""

    def __init__(
        self,
        etcd: EtcdCluster,
        folder: Path,
        count: int = 3,
        *,
        name: str = "test",
        hosts: Sequence[Host] = (),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """On these hosts, each of which has a member of etcd, or all here."""
        self.etcd = etcd
        self.keys = Keys(name)
        ports = free_ports(count)
        self.environment = {
            "NUN_ETCD": etcd.urls, "NUN_CLUSTER_NAME": name, "NUN_CLUSTER_PLAIN": "1", **(settings or {}),
        }  # fmt: skip
        self.servers = {}
        for place, port in enumerate(ports):
            node, host = "abcdefgh"[place], hosts[place] if hosts else LOCAL
            address = f"{host.address}:{port}"
            own = {"NUN_NODE_NAME": node, "NUN_CLUSTER_ADDR": address, "NUN_CLUSTER_EXTERNAL_ADDR": address}
            if hosts:
                own["NUN_ETCD"] = ",".join(one.url for one in (*etcd.members[place:], *etcd.members[:place]))
            server = Server(folder / node, environment={**self.environment, **own}, wrapper=host.before)
            server.websocket, server.http, server.tcp = (
                one._replace(host=host.address) for one in (server.websocket, server.http, server.tcp)
            )
            self.servers[node] = server

    def start(self, *names: str) -> None:
        """Start some nodes, all of them if none is named, one after another."""
        for name in names or self.servers:
            self.servers[name].start()

    def end(self) -> None:
        """End all that run."""
        for server in self.servers.values():
            with contextlib.suppress(AssertionError):
                server.end()

    def read(self, key: bytes) -> bytes | None:
        """A key in etcd."""
        with BlockingClient(members_of(self.etcd)) as client:
            until = steady_seconds() + WAIT_SECONDS_MAX
            found = client.call(read(key), lambda: until).first
        return None if found is None else found.value

    def owner_now(self) -> Owner | None:
        """Who owns the engine."""
        value = self.read(self.keys.owner)
        return None if value is None else decode_owner(value)

    def wait_for_owner(self, *, other_than: str = "") -> str:
        """Wait until a node owns the engine; its name."""
        found: list[Owner] = []

        def is_there() -> bool:
            owner = self.owner_now()
            if owner is not None and owner.node != other_than:
                found.append(owner)
            return bool(found)

        wait_until(is_there, "there is no owner")
        return found[0].node

    def wait_until_known(self) -> None:
        """Wait until the owner knows all nodes: it looks once a second, and hands over to none that is new."""
        with admin_session(self.servers[self.wait_for_owner()]) as client:
            wait_until(
                lambda: all(str(one.tcp) in client.ask("cluster-state")[0] for one in self.servers.values()),
                "the owner does not know all nodes",
            )

    def owner_address(self) -> Address:
        """Of the owner's link."""
        owner = self.owner_now()
        assert owner is not None
        return owner.link

    def head(self) -> int:
        """The number of the newest batch."""
        value = self.read(self.keys.head)
        assert value is not None
        return decode_number(value)

    def wait_for_all(self) -> None:
        """Wait until all nodes that run have all batches."""
        running = [node for node, server in self.servers.items() if server.is_running]

        def is_equal() -> bool:
            head = self.head()
            return all(self._applied(node) == head for node in running)

        wait_until(is_equal, "not all nodes have everything")

    def _applied(self, node: str) -> int | None:
        value = self.read(self.keys.member(node))
        return None if value is None else int(json.loads(value)["applied"])

    def stop_and_compare(self) -> dict[bytes, Entry]:
        """Stop all nodes when they have everything; fail unless their data is the same. Returns the data."""
        self.wait_for_all()
        running = {node: server for node, server in self.servers.items() if server.is_running}
        for server in running.values():
            assert server.stop() == 0, server.log_text()
        found = {}
        for node, server in running.items():
            with contextlib.closing(LmdbStore(server.data_dir)) as store:
                found[node] = (store.revision, store.operations, all_entries(store))
        first = next(iter(found.values()))
        assert all(one == first for one in found.values()), {node: one[:2] for node, one in found.items()}
        return first[2]

    def others(self, name: str) -> list[Server]:
        """The servers of the other nodes."""
        return [server for node, server in self.servers.items() if node != name]


def all_entries(store: LmdbStore) -> dict[bytes, Entry]:
    """All that is stored, the server's own notes too."""
    last = store.get(LAST_IDENTIFIER)
    assert last is not None
    return {
        prefix + key: entry
        for identifier in range(last.version + 1)
        for prefix in prefixes(identifier)
        for key, entry in store.read_all(prefix)
    }


def wait_until(is_true: Callable[[], Any], otherwise: str, seconds: float = WAIT_SECONDS_MAX) -> None:
    """Wait until something is true; it is asked often."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.01)


@contextlib.contextmanager
def running_nodes(
    etcd: EtcdCluster, folder: Path, count: int = 3, *, settings: Mapping[str, str] | None = None, name: str = "test"
) -> Iterator[Nodes]:
    """Nodes that run, of a cluster that begins empty; one of them owns the engine."""
    nodes = Nodes(etcd, folder, count, name=name, settings=settings)
    try:
        nodes.start()
        nodes.wait_for_owner()
        yield nodes
    finally:
        nodes.end()
