"""A cluster beside a single server: what the owner pays for each event, how late events are, how many changes it takes.

etcd has three members, which do not sync. Everything runs on this machine, so ratios count, not times.
"""

from __future__ import annotations

import contextlib
import http.client
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from pynun.cluster.etcd.blocking_client import BlockingClient
from pynun.cluster.etcd.gateway import put
from pynun.cluster.etcd.members import Members, parse_urls
from pynun.timestamps import steady_seconds
from tools.benchmark import servers
from tools.benchmark.load import Clients, Watchers, Writer
from tools.benchmark.measure import Figures, drive, median_of, percentile
from tools.benchmark.processes import MeasureError
from tools.benchmark.runs import new_folder, say
from tools.benchmark.scale import Point, Section
from tools.benchmark.scenarios import KEY_COUNT
from tools.clients.server import free_ports
from tools.etcd.cluster import EtcdCluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tools.benchmark.load import Load
    from tools.benchmark.runs import Plan
    from tools.benchmark.servers import Server

NODES_MAX: Final = 3
WATCHERS: Final = 300
FEW_WATCHERS: Final = 20
SETS_PER_SECOND: Final = 60.0
CONNECTIONS: Final = 100
COMMITS: Final = 200
COMMIT_BYTES: Final = 300
READY_SECONDS_MAX: Final = 60.0

CPU_RATIO_MAX: Final = 0.6
"""Processor time of the owner of three nodes for an event, to that of a single server."""
THROUGHPUT_RATIO_MIN: Final = 0.3
COMMITS_MAX: Final = 2.0
"""An event from node to node is at most so many commits of etcd later than on a single server."""

_BAR: Final = 40


class _Rounds(NamedTuple):
    """What each kind of server gave, by its number of nodes; 0: the single server."""

    fan_out: dict[int, list[Figures]]
    latency: dict[int, list[Figures]]
    throughput: dict[int, list[Figures]]
    commits_ms: list[float]


def measure_cluster(plan: Plan) -> tuple[list[Section], bool]:
    """The sections, and whether every target was reached. Raises MeasureError, WireError, OSError."""
    counts = range(NODES_MAX + 1)
    rounds = _Rounds({count: [] for count in counts}, {0: [], NODES_MAX: []}, {0: [], NODES_MAX: []}, [])
    for number in range(plan.repeat):
        for count in counts:
            say(f"round {number + 1}: {f'{count} nodes' if count else 'a single server'}")
            with _running(plan, count) as (nodes, urls):
                rounds.fan_out[count].append(_fan_out(plan, nodes))
                if count in (0, NODES_MAX):
                    rounds.latency[count].append(_latency(plan, nodes))
                    rounds.throughput[count].append(_throughput(plan, nodes))
                if count == NODES_MAX:
                    rounds.commits_ms.append(_commit_ms(urls))
    return _sections(rounds)


def _sections(rounds: _Rounds) -> tuple[list[Section], bool]:
    single = median_of(rounds.fan_out[0])["cpu_us_per_operation"]
    fan_out = Section(name="cluster-fan-out", title=f"{WATCHERS} watchers, one key, {SETS_PER_SECOND:.0f} sets/s")
    bars = []
    for count, found in rounds.fan_out.items():
        figures = median_of(found)
        cpu = figures["cpu_us_per_operation"]
        name = f"{count} nodes" if count > 1 else "1 node" if count else "single server"
        fan_out.points.append(
            Point(servers=name, owner_cpu_us_per_event=cpu, ratio=cpu / single, p50_ms=figures["p50_ms"],
                  p99_ms=figures["p99_ms"])
        )  # fmt: skip
        bars.append(f"{name:>14} {'█' * round(_BAR * cpu / single):<{_BAR + 8}} {cpu:.1f} µs")
    fan_out.title += "\n" + "\n".join(bars)
    commit_ms = percentile(sorted(rounds.commits_ms), 0.5)
    latency = Section(name="cluster-latency", title=f"{FEW_WATCHERS} watchers at another node than the setter")
    throughput = Section(name="cluster-throughput", title=f"{CONNECTIONS} connections set, at the owner")
    for count, name in ((0, "single server"), (NODES_MAX, f"{NODES_MAX} nodes")):
        figures = median_of(rounds.latency[count])
        latency.points.append(
            Point(servers=name, p50_ms=figures["p50_ms"], p99_ms=figures["p99_ms"], etcd_commit_p50_ms=commit_ms)
        )
        figures = median_of(rounds.throughput[count])
        rate = figures["operations_per_second"]
        first = throughput.points[0]["sets_per_second"] if throughput.points else rate
        throughput.points.append(
            Point(servers=name, sets_per_second=rate, ratio=rate / float(first), p50_ms=figures["p50_ms"],
                  p99_ms=figures["p99_ms"])
        )  # fmt: skip
    late_ms = float(latency.points[1]["p50_ms"]) - float(latency.points[0]["p50_ms"])
    holds = (
        float(fan_out.points[-1]["ratio"]) <= CPU_RATIO_MAX,
        late_ms <= COMMITS_MAX * commit_ms,
        float(throughput.points[1]["ratio"]) >= THROUGHPUT_RATIO_MIN,
    )
    for section, is_reached, target in (
        (fan_out, holds[0], f"ratio of {NODES_MAX} nodes at most {CPU_RATIO_MAX}"),
        (latency, holds[1], f"at most {COMMITS_MAX:.0f} commits of etcd later"),
        (throughput, holds[2], f"ratio at least {THROUGHPUT_RATIO_MIN}"),
    ):
        section.title = f"{section.title}\ntarget: {target}: {'reached' if is_reached else 'NOT REACHED'}"
    return [fan_out, latency, throughput], all(holds)


# --- what runs -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _running(plan: Plan, count: int) -> Iterator[tuple[list[Server], str]]:
    """A single server, or nodes, the owner first; and the addresses of etcd."""
    with contextlib.ExitStack() as stack:
        if not count:
            folder = stack.enter_context(new_folder(plan.folder))
            yield [stack.enter_context(servers.run_pynun(folder, "always"))], ""
            return
        etcd = stack.enter_context(EtcdCluster(stack.enter_context(new_folder(plan.folder)), 3))
        nodes: list[Server] = []
        for number, port in enumerate(free_ports(count)):
            folder = stack.enter_context(new_folder(plan.folder))
            settings = {
                "NUN_ETCD": etcd.urls, "NUN_NODE_NAME": f"node-{number}", "NUN_CLUSTER_PLAIN": "1",
                "NUN_LEASE_SECONDS": "20", "NUN_CLUSTER_ADDR": f"127.0.0.1:{port}",
                "NUN_CLUSTER_EXTERNAL_ADDR": f"127.0.0.1:{port}",
            }  # fmt: skip
            nodes.append(stack.enter_context(servers.run_pynun(folder, "always", settings=settings)))
            _wait_until_ready(nodes[-1])
        yield nodes, etcd.urls


def _wait_until_ready(node: Server) -> None:
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection(*node.addresses["http"], timeout=5)
            with contextlib.closing(connection):
                connection.request("GET", "/readyz")
                if connection.getresponse().status == http.client.OK:
                    return
        time.sleep(0.05)
    raise MeasureError("a node is not ready")


# --- what is measured ----------------------------------------------------------------------------------------------


def _drive(plan: Plan, nodes: Sequence[Server], loads: Sequence[Load]) -> Figures:
    return drive(nodes[0], loads, plan.timing).figures


def _fan_out(plan: Plan, nodes: Sequence[Server]) -> Figures:
    """One sets at the owner; the watchers are spread over all nodes."""
    servers.fill(nodes[0], 1)
    shares = [WATCHERS // len(nodes)] * len(nodes)
    writer = Writer(address=nodes[0].addresses["websocket"], sets_per_second=SETS_PER_SECOND)
    watching = [
        Watchers(address=node.addresses["websocket"], connections=share)
        for node, share in zip(nodes, shares, strict=True)
    ]
    return _drive(plan, nodes, [writer, *watching])


def _latency(plan: Plan, nodes: Sequence[Server]) -> Figures:
    """One sets at a node that does not own the data, the watchers are at another one."""
    writer = Writer(address=nodes[len(nodes) // 2].addresses["websocket"], sets_per_second=SETS_PER_SECOND)
    watching = Watchers(address=nodes[-1].addresses["websocket"], connections=FEW_WATCHERS)
    return _drive(plan, nodes, [writer, watching])


def _throughput(plan: Plan, nodes: Sequence[Server]) -> Figures:
    servers.fill(nodes[0], KEY_COUNT)
    clients = Clients(address=nodes[0].addresses["websocket"], connections=CONNECTIONS, key_count=KEY_COUNT)
    return _drive(plan, nodes, [clients])


def _commit_ms(urls: str) -> float:
    """The median of single puts to etcd, as many a second as there are sets: a pause makes each slower."""
    took_ms = []
    with BlockingClient(Members(parse_urls(urls.split(",")))) as client:
        for _ in range(COMMITS):
            time.sleep(1 / SETS_PER_SECOND)
            began = time.perf_counter()
            client.call(put(b"/bench", b"x" * COMMIT_BYTES), lambda: steady_seconds() + READY_SECONDS_MAX)
            took_ms.append((time.perf_counter() - began) * 1000)
    return percentile(sorted(took_ms), 0.5)
