"""What can happen to a cluster of three machines, and for how long nobody may be answered then."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.linearizability.cluster.machines import Machines
    from tests.support.cluster import Nodes
    from tools.clients.server import Server
    from tools.etcd.cluster import EtcdCluster, EtcdMember

LEASE_SECONDS: Final = 3
CUT_SECONDS: Final = 5.5
"""At least; until another node owns the data."""


class Cluster(NamedTuple):
    """What can fail. Node, member of etcd and machine have the same place."""

    machines: Machines
    etcd: EtcdCluster
    nodes: Nodes

    @property
    def servers(self) -> list[Server]:
        """The nodes, by place."""
        return list(self.nodes.servers.values())

    def owner(self) -> int:
        """The place of the node that owns the data."""
        return list(self.nodes.servers).index(self.nodes.wait_for_owner())

    def leader(self) -> EtcdMember:
        """The member of etcd that leads."""
        return self.etcd.leader()


class Fault(NamedTuple):
    """One thing that happens, and how all is well again."""

    kind: str
    bound_seconds: float
    """Nobody may be without an answer for longer."""
    begin: Callable[[Cluster], Callable[[], None]]
    """Let it happen; returns what ends it."""
    lasts_seconds: float = 0.0
    """At least; and until somebody is answered."""


def _start(cluster: Cluster, place: int) -> None:
    server = cluster.servers[place]
    if not server.is_running:
        server.start()


def _start_member(cluster: Cluster, member: EtcdMember) -> None:
    cluster.etcd.start(member)
    cluster.etcd.wait()


def _kill_owner(cluster: Cluster) -> Callable[[], None]:
    place = cluster.owner()
    cluster.servers[place].kill()
    return lambda: _start(cluster, place)


def _kill_follower(cluster: Cluster) -> Callable[[], None]:
    place = (cluster.owner() + 1) % 3
    cluster.servers[place].kill()
    return lambda: _start(cluster, place)


def _kill_owner_and_follower(cluster: Cluster) -> Callable[[], None]:
    owner = cluster.owner()
    places = owner, (owner + 2) % 3
    for place in places:
        cluster.servers[place].kill()

    def end() -> None:
        for place in places:
            _start(cluster, place)

    return end


def _stop_owner(cluster: Cluster) -> Callable[[], None]:
    place = cluster.owner()
    server = cluster.servers[place]
    code = server.stop()
    assert code == 0, f"exit code {code} at a clean stop:\n{server.log_text()[-3000:]}"
    return lambda: _start(cluster, place)


def _kill_leader(cluster: Cluster) -> Callable[[], None]:
    member = cluster.leader()
    member.kill()
    return lambda: _start_member(cluster, member)


def _kill_both(cluster: Cluster) -> Callable[[], None]:
    place, member = cluster.owner(), cluster.leader()
    member.kill()
    cluster.servers[place].kill()

    def end() -> None:
        _start_member(cluster, member)
        _start(cluster, place)

    return end


def _pause_owner(cluster: Cluster) -> Callable[[], None]:
    server = cluster.servers[cluster.owner()]
    server.send_signal(signal.SIGSTOP)
    return lambda: server.send_signal(signal.SIGCONT)


def _pause_leader(cluster: Cluster) -> Callable[[], None]:
    member = cluster.leader()
    member.pause()
    return member.resume


def _cutting(
    *, is_owner: bool, sends: bool = True, receives: bool = True, cables: int = 2
) -> Callable[[Cluster], Callable[[], None]]:
    """Cut a machine off from the others, or from one of them; with `sends`, what it sends is lost."""

    def begin(cluster: Cluster) -> Callable[[], None]:
        place = (cluster.owner() + (not is_owner)) % 3
        for step in range(1, 1 + cables):
            other = (place + step) % 3
            if sends:
                cluster.machines.cut(place, other)
            if receives:
                cluster.machines.cut(other, place)
        return cluster.machines.mend

    return begin


def _lose_machine(cluster: Cluster) -> Callable[[], None]:
    """Without power: nobody is told, and nothing runs there any more."""
    place = cluster.owner()
    member = cluster.etcd.members[place]
    cut = _cutting(is_owner=True)(cluster)
    cluster.servers[place].kill()
    member.kill()

    def end() -> None:
        cut()
        _start_member(cluster, member)
        _start(cluster, place)

    return end


_AWAY: Final = 6.0

FAULTS: Final = (
    Fault("owner killed", 1.0, _kill_owner),
    Fault("owner stopped", 1.0, _stop_owner),
    Fault("etcd leader killed", 2.0, _kill_leader),
    Fault("owner and etcd leader killed", _AWAY, _kill_both),
    Fault("owner's machine cut off", _AWAY, _cutting(is_owner=True), CUT_SECONDS),
    Fault("owner paused", _AWAY, _pause_owner, 2 * LEASE_SECONDS),
    Fault("owner's machine can't send", _AWAY, _cutting(is_owner=True, receives=False), CUT_SECONDS),
    Fault("follower killed", 1.0, _kill_follower),
    Fault("owner's machine without power", _AWAY, _lose_machine, CUT_SECONDS),
    Fault("one cable of the owner's machine cut", _AWAY, _cutting(is_owner=True, cables=1), CUT_SECONDS),
    Fault("owner's machine can't receive", _AWAY, _cutting(is_owner=True, sends=False), CUT_SECONDS),
    Fault("owner and a follower killed", 1.0, _kill_owner_and_follower),
    Fault("follower's machine cut off", _AWAY, _cutting(is_owner=False), CUT_SECONDS),
    Fault("etcd leader paused", 2.0, _pause_leader, LEASE_SECONDS),
)
