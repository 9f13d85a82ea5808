"""How time and memory grow: with keys, connections, watchers, watches, the length of values, databases.

Each part measures the same at several sizes and yields a point (its figures by name) for each. A part that fails leaves
the points it has; the others are measured all the same.
"""

from __future__ import annotations

import contextlib
import itertools
import resource
import statistics
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from tools.benchmark import processes, servers
from tools.benchmark.crowd import Arrivals, Audience, Lister, Subscribers
from tools.benchmark.load import Clients
from tools.benchmark.measure import (
    cpu_of,
    drive,
    latency_figures,
    measure,
    memory_figures,
    run_alone,
    run_connected,
)
from tools.benchmark.processes import Generator, MeasureError
from tools.benchmark.report import aligned
from tools.benchmark.runs import FAILURES, MIB, Entry, Plan, Row, measure_in_turn, new_folder, ratio_of, say
from tools.benchmark.scenarios import KEY_COUNT, Drive
from tools.benchmark.slow_reader import slow_reader
from tools.benchmark.wire import LOGIN, Control

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tools.benchmark.servers import Server

Point: TypeAlias = dict[str, float | str]
"""The size that grows first; names end with their units."""

CONNECTIONS = 20
STARTS = 3
HITS = 100
"""Keys that a list by prefix finds."""
VALUE_KEYS = 16
VALUES_IN_FLIGHT = 8
WATCHING_SESSIONS = 100
IDLE_SECONDS = 35.0
"""Silent clients are pinged every 30 s."""
LEAVE_SECONDS_MAX = 60.0


@dataclass(slots=True, kw_only=True)
class Section:
    """What one part gave."""

    name: str
    title: str
    points: list[Point] = field(default_factory=list)
    others_cpu_share: float = 0.0
    """What neither servers nor load generators used while all of it was measured, as a part of one core."""
    error: str | None = None
    """Why there are no more points."""

    def table(self) -> str:
        """The title, and a line for each point."""
        names = list(dict.fromkeys(itertools.chain.from_iterable(self.points)))
        lines = [[name.replace("_", " ") for name in names]]
        lines += [[shown(point.get(name, "")) for name in names] for point in self.points]
        texts = [self.title, aligned(lines)] if names else [self.title]
        return "\n".join([*texts, f"failed: {self.error}"] if self.error else texts)


def shown(value: float | str) -> str:
    """A figure with three digits that count."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalePlan:
    """Up to which sizes is measured."""

    plan: Plan
    keys_max: int
    connections_max: int
    is_quick: bool

    def sizes(self, most: int, *smaller: int, quick: int = 0) -> list[int]:
        """Those below the most, and it; a quick run has another most."""
        most = quick if quick and self.is_quick else most
        return [*(size for size in smaller if size < most), most]

    @contextlib.contextmanager
    def server(self, folder: Path | None = None, durability: str | None = None) -> Iterator[Server]:
        """The server, by default with the first durability on a new folder."""
        with contextlib.ExitStack() as stack:
            own = folder or stack.enter_context(new_folder(self.plan.folder))
            yield stack.enter_context(servers.run_pynun(own, durability or self.plan.durabilities[0]))


def figures_of(name: str, figures: dict[str, float], *wanted: str) -> Point:
    """Some of the figures, with a name before theirs."""
    short = {"per_second": "operations_per_second", "cpu_us": "cpu_us_per_operation"}
    return {f"{name}_{one}": figures[short.get(one, one)] for one in wanted}


def anon_mib(server: Server) -> float:
    """The server's private memory."""
    return memory_figures(server)["rss_anon_bytes"] / MIB


def keys(scale: ScalePlan) -> Iterator[Point]:
    """Keys: loaded over one TCP connection, then used over 20 connections, beside a server on 1,000 keys."""
    plan = scale.plan
    with new_folder(plan.folder) as growing, new_folder(plan.folder) as small:
        with scale.server(small, "relaxed") as server:
            servers.load_keys(server, 0, KEY_COUNT)
        loaded = 0
        sizes = scale.sizes(scale.keys_max, 1000, 100_000, 1_000_000)
        for count, durability in itertools.product(sizes, plan.durabilities):
            point: Point = {"keys": count, "durability": durability}
            if loaded < count:
                with scale.server(growing, "relaxed") as server:
                    took = servers.load_keys(server, loaded, count - loaded)
                point["load_per_second"] = took.operations / took.seconds
                loaded = count
            starts = []
            for _ in range(STARTS):
                with scale.server(growing, durability) as server:
                    starts.append(server.start_seconds * 1000)
            point["start_ms"] = statistics.median(starts)
            with scale.server(small, durability) as few_server, scale.server(growing, durability) as server:
                point["rss_anon_at_start_mib"] = anon_mib(server)
                for name, gets_percent in (("set", 0), ("get_safe", 100)):
                    what = Drive(connections=CONNECTIONS, gets_percent=gets_percent)
                    pair = [
                        Entry(Row(scenario="keys", title=name, server=f"{size:,} keys", durability=durability), one, it)
                        for one, size, it in (
                            (server, count, replace(what, key_count=count)), (few_server, KEY_COUNT, what),
                        )
                    ]  # fmt: skip
                    measure_in_turn(pair, plan)
                    many, few = (entry.row for entry in pair)
                    if error := many.error or few.error:
                        raise MeasureError(error)
                    point |= figures_of(name, many.figures, "per_second", "p50_ms", "p99_ms", "cpu_us")
                    point[f"{name}_ratio"] = ratio_of(many, few)
                memory = memory_figures(server)
            point |= {"rss_anon_mib": memory["rss_anon_bytes"] / MIB, "rss_mib": memory["rss_bytes"] / MIB}
            files = (growing / "dbs").iterdir()
            yield point | {"file_mib": sum(file.stat().st_blocks for file in files) * 512 / MIB}


def listing(scale: ScalePlan) -> Iterator[Point]:
    """Lists of keys: 100 by prefix, one by its end, all; and others that set and get before and meanwhile."""
    timing = scale.plan.timing
    with scale.server() as server:
        address = server.addresses["websocket"]

        def listed(pattern: str, count: int) -> dict[str, float]:
            return latency_figures([run_alone(Lister(address=address, pattern=pattern, count=count), timing.seconds)])

        with Control(address) as control:
            control.ask(LOGIN)
            control.ask_all([f"set hit-{number:03d} v" for number in range(HITS)])
        loaded = 0
        for count in scale.sizes(min(scale.keys_max, 1_000_000), 1000, 10_000, 100_000):
            own_count = count - HITS - 1  # and $connections, which exists as soon as somebody is connected
            servers.load_keys(server, loaded, own_count - loaded)
            loaded = own_count
            point: Point = {"keys": count} | figures_of("prefix", listed("hit-*", HITS), "p50_ms", "p99_ms")
            point |= figures_of("suffix", listed("*00000007", 1), "p50_ms")
            point |= figures_of("all", listed("", count), "p50_ms")
            point["all_mib"] = (own_count * len(",key-00000000") + HITS * len(",hit-000")) / MIB
            loads = Drive(connections=CONNECTIONS, gets_percent=50, key_count=own_count).loads(server)
            before = drive(server, loads, timing).figures
            with Generator(Lister(address=address, pattern="", count=count)) as lister:
                during, _, background = drive(server, loads, timing, [lister])
            point |= figures_of("others", before, "per_second", "p50_ms", "p99_ms")
            point |= figures_of("others_during", during, "per_second", "p50_ms", "p99_ms")
            yield (
                point
                | figures_of("all_during", latency_figures(background), "p50_ms")
                | {"rss_anon_mib": anon_mib(server)}
            )


def connections(scale: ScalePlan) -> Iterator[Point]:
    """WebSocket connections: all connect at once; do nothing; are closed at once; then as many set, one at a time."""
    timing = scale.plan.timing
    idle = replace(timing, seconds=timing.seconds if scale.is_quick else IDLE_SECONDS)
    twenty = Drive(connections=CONNECTIONS)
    for count in scale.sizes(scale.connections_max, 100, 1000, 2500):
        with scale.server() as server:
            servers.fill(server, KEY_COUNT)
            before, cpu_before = anon_mib(server), cpu_of(server)
            with Generator(Arrivals(address=server.addresses["websocket"], connections=count)) as arrivals:
                during, cpu = anon_mib(server), cpu_of(server) - cpu_before
                beside, _, [arrived] = drive(server, twenty.loads(server), idle, [arrivals])
                began = time.monotonic()
            wait_alone(server)
            leave_seconds = time.monotonic() - began
            alone = measure(server, twenty, timing)
            everybody = measure(server, Drive(connections=count), timing)
            wait_alone(server)
            yield {
                "connections": count,
                "arrival_seconds": arrived.seconds,
                "arrivals_per_second": count / arrived.seconds,
                **figures_of("ready", latency_figures([arrived]), "p50_ms", "p99_ms"),
                "arrival_cpu_us": cpu / count * 1e6,
                "kib_per_connection": (during - before) * 1024 / count,
                **figures_of("set_alone", alone, "per_second"),
                **figures_of("set_beside_idle", beside, "per_second", "p99_ms", "max_ms"),
                "pings": arrived.operations,
                **figures_of("set_all", everybody, "per_second", "p50_ms", "p99_ms"),
                "leave_seconds": leave_seconds,
                "rss_anon_mib": during,
                "rss_anon_after_mib": anon_mib(server),
            }


def wait_alone(server: Server) -> None:
    """Return when the server has noticed that everybody else is gone."""
    end = time.monotonic() + LEAVE_SECONDS_MAX
    with Control(server.addresses["websocket"]) as control:
        control.ask(LOGIN)
        while control.ask("get $connections") != ["value 1\n"]:
            if time.monotonic() > end:
                raise MeasureError(f"connections that ended are still counted after {LEAVE_SECONDS_MAX:.0f} s")
            time.sleep(0.01)


def watchers(scale: ScalePlan) -> Iterator[Point]:
    """Watchers of one key: from `set` to the last receipt; the next set when all have it."""
    for count in scale.sizes(scale.connections_max, 10, 100, 1000, 2500):
        point: Point = {"watchers": count}
        for name in ("last_receipt", "generator"):
            with (
                new_folder(scale.plan.folder) as folder,
                servers.run_raw(folder) if name == "generator" else scale.server(folder) as server,
            ):
                before = anon_mib(server)
                with Generator(Audience(address=server.addresses["websocket"], connections=count)) as audience:
                    after, cpu_before = anon_mib(server), cpu_of(server)
                    result = run_connected(audience, scale.plan.timing.seconds)
                    cpu = cpu_of(server) - cpu_before
                point |= figures_of(name, latency_figures([result]), "p50_ms", "p99_ms")
                if name == "last_receipt":
                    point |= {
                        "cpu_us_per_event": cpu / result.sets_acknowledged / count * 1e6,
                        "sets": result.operations,
                        "kib_per_watcher": (after - before) * 1024 / count,
                    }
        yield point


def watches(scale: ScalePlan) -> Iterator[Point]:
    """Watched keys: each by one of 100 sessions; then set, in random order, over 20 connections."""
    timing = scale.plan.timing
    for count in scale.sizes(100_000, 100, 1000, 10_000, quick=2000):
        sessions = min(WATCHING_SESSIONS, count)
        what = Drive(connections=CONNECTIONS, key_count=count)
        with new_folder(scale.plan.folder) as folder:
            with scale.server(folder) as server:
                servers.load_keys(server, 0, count)
            # Started anew: what loading left behind would hide what watches take.
            with scale.server(folder) as server:
                crowd = Subscribers(
                    address=server.addresses["websocket"], connections=sessions, keys_each=count // sessions
                )
                with Generator(crowd) as subscribers:
                    before, began = anon_mib(server), time.monotonic()
                    subscribers.call("watch")
                    seconds, during = time.monotonic() - began, anon_mib(server)
                    watched, sets, [received] = drive(server, what.loads(server), timing, [subscribers])
                    if received.sets_acknowledged != sets:
                        raise MeasureError(f"{received.sets_acknowledged} events were received of {sets} sets")
                wait_alone(server)
                yield {
                    "watches": count,
                    "bytes_per_watch": (during - before) * MIB / count,
                    "watch_per_second": count / seconds,
                    **figures_of("unwatched_set", measure(server, what, timing), "per_second", "cpu_us"),
                    **figures_of("watched_set", watched, "per_second", "cpu_us", "p50_ms", "p99_ms"),
                    "rss_anon_mib": during,
                }


def presence(scale: ScalePlan) -> Iterator[Point]:
    """Sessions that all connect at once and watch $connections, until each knows that all are connected."""
    for count in scale.sizes(2000, 250, 500, 1000, quick=40):
        with scale.server() as server:
            cpu_before = cpu_of(server)
            crowd = Arrivals(address=server.addresses["websocket"], connections=count, watches_presence=True)
            with Generator(crowd) as arrivals:
                cpu = cpu_of(server) - cpu_before
                result = arrivals.call("run", 0, 0)
        yield {
            "sessions": count,
            "seconds": result.seconds,
            **figures_of("ready", latency_figures([result]), "p99_ms"),
            "cpu_seconds": cpu,
            "cpu_us_per_session": cpu / count * 1e6,
        }


def values(scale: ScalePlan) -> Iterator[Point]:
    """Long values on one WebSocket connection: p50 one at a time, MB a second with 8 in flight."""
    for value_bytes, durability in itertools.product(
        [1 << shift for shift in range(10, 21, 2)], scale.plan.durabilities
    ):
        with scale.server(durability=durability) as server:
            point: Point = {"value_bytes": value_bytes, "durability": durability}
            one = Clients(
                address=server.addresses["websocket"],
                key_count=VALUE_KEYS,
                key_sample=VALUE_KEYS,
                value_bytes=value_bytes,
            )
            for name, gets_percent in (("set", 0), ("get_safe", 100)):
                single = replace(one, gets_percent=gets_percent)
                point |= figures_of(name, drive(server, [single], scale.plan.timing).figures, "p50_ms")
                several = replace(single, in_flight=VALUES_IN_FLIGHT)
                figures = drive(server, [several], scale.plan.timing).figures
                point[f"{name}_mb_per_second"] = figures["operations_per_second"] * value_bytes / 1e6
            yield point | {"rss_anon_mib": anon_mib(server)}


def databases(scale: ScalePlan) -> Iterator[Point]:
    """Databases: create-db one after another; use-db with the same token, with each in turn, after a restart."""

    def timed(control: Control, commands: Sequence[str]) -> dict[str, float]:
        durations = []
        for command in commands:
            began = time.monotonic()
            answer = control.ask(command)
            durations.append((time.monotonic() - began) * 1000)
            if command == "debug list-dbs" and answer[0].count("many-") != count:
                raise MeasureError(f"{answer[0].count('many-')} databases are listed instead of {count}")
        durations.sort()
        return {"p50_ms": statistics.median(durations), "p99_ms": durations[int(len(durations) * 0.99)]}

    def admin(server: Server) -> Control:
        control = Control(server.addresses["websocket"])
        control.ask(f"auth {servers.ADMIN_USER} {servers.ADMIN_PASSWORD}")
        return control

    with new_folder(scale.plan.folder) as folder:
        made = 0
        for count in (1, 10, 20) if scale.is_quick else (10, 100, 500, 1000, 2000):
            new = [f"many-{number} token-{number}" for number in range(made, count)]
            with scale.server(folder) as server, admin(server) as control:
                created = timed(control, [f"create-db {one}" for one in new])
                used = timed(control, [f"use-db {new[-1]}"] * 200)
                in_turn = timed(control, [f"use-db {one}" for one in new])  # tokens that were checked in this process
                listed = timed(control, ["debug list-dbs"] * 3)
                rss_anon_mib = anon_mib(server)
            made = count
            with scale.server(folder) as server, admin(server) as control:
                yield {
                    "databases": count,
                    **figures_of("create", created, "p50_ms", "p99_ms"),
                    **figures_of("use", used, "p50_ms"),
                    **figures_of("use_all", in_turn, "p50_ms"),
                    **figures_of("list", listed, "p50_ms"),
                    "rss_anon_mib": rss_anon_mib,
                    "restart_ms": server.start_seconds * 1000,
                    **figures_of("first_use", timed(control, [f"use-db {new[-1]}"]), "p50_ms"),
                    "rss_anon_restarted_mib": anon_mib(server),
                }


_PARTS = (keys, listing, connections, watchers, watches, presence, values, databases)
SLOW_READER = "slow-reader"
PARTS: dict[str, Callable[[ScalePlan], Iterator[Point]]] = {part.__name__: part for part in _PARTS}
"""By the name that the command line takes; the docstring is the title."""


def run_scale(parts: Sequence[str], scale: ScalePlan) -> list[Section]:
    """Measure the chosen parts, in the order of PARTS."""
    sections: list[Section] = []
    for name, part in (PARTS | {SLOW_READER: slow_reader}).items():
        if name not in parts:
            continue
        busy_before, own_before, began = processes.machine_busy_seconds(), _own_cpu_seconds(), time.monotonic()
        section = Section(name=name, title=part.__doc__ or name)
        sections.append(section)
        say(section.title)
        try:
            for point in part(scale):
                section.points.append(point)
                say("  " + ", ".join(f"{figure.replace('_', ' ')} {shown(value)}" for figure, value in point.items()))
        except FAILURES as error:
            section.error = str(error)
            say(f"  failed: {error}")
        others = processes.machine_busy_seconds() - busy_before - (_own_cpu_seconds() - own_before)
        section.others_cpu_share = max(0.0, others) / (time.monotonic() - began)
    return sections


def _own_cpu_seconds() -> float:
    """Processor time of this process and of its children that ended: at the end of a part, all that it used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
