"""How time and memory grow with the data: keys, lists of keys, the length of values, databases."""

from __future__ import annotations

import itertools
import statistics
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tools.benchmark import processes, servers
from tools.benchmark.crowd import CrowdOrder
from tools.benchmark.measure import Generator, MeasureError, drive, latencies_of, measure, orders_for, percentile
from tools.benchmark.runs import MIB, new_folder
from tools.benchmark.scenarios import KEY_COUNT, Load
from tools.benchmark.sections import Column, Section
from tools.benchmark.wire import Control, RawClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from tools.benchmark.measure import Figures, Timing
    from tools.benchmark.scale import ScalePlan
    from tools.benchmark.sections import Point
    from tools.benchmark.servers import Server

CONNECTIONS = 20
SAMPLE_MAX = 1 << 16
STARTS = 3
HITS = 100
"""Keys that a list by prefix finds."""
VALUES_IN_FLIGHT = 8
VALUE_KEYS = 16
USES_SHOWN = 100
"""The last of the uses of a token, of which the median is shown."""


def crowd_order(server: Server, role: str, *, protocol: str = "websocket") -> CrowdOrder:
    """An order for a load generator of `crowd`, to be completed by `replace`."""
    address = server.addresses[protocol]
    return CrowdOrder(role=role, host=address.host, port=address.port, database=servers.DATABASE, token=servers.TOKEN)


def load_keys(server: Server, first: int, count: int) -> dict[str, Any]:
    """Set keys over one TCP connection; return the generator's result."""
    order = replace(crowd_order(server, "loader", protocol="tcp"), key_first=first, key_count=count)
    with Generator(order) as loader:
        loader.next_line()
        loader.tell("0 0")
        return loader.result()


def run_alone(generator: Generator, seconds: float) -> dict[str, Any]:
    """Have a generator that is ready do its work for an interval, with nothing beside it; return its result."""
    begin_ns = time.monotonic_ns()
    generator.tell(f"{begin_ns} {begin_ns + int(seconds * 1e9)}")
    return generator.result()


# --- keys ------------------------------------------------------------------------------------------------------


def measure_keys(plan: ScalePlan) -> Iterator[Section]:
    """A database that grows; the same server on few keys is measured beside it each time."""
    section = Section(
        name="keys",
        title="Keys (values of 200 bytes; loaded over one TCP connection; then used over"
        f" {CONNECTIONS} WebSocket connections, one at a time each)",
        columns=(
            Column("keys", "keys"),
            Column("durability", "durability"),
            Column("load_per_second", "loaded/s"),
            Column("start_ms", "start ms"),
            Column("rss_anon_at_start_mib", "RssAnon at start MiB", ".1f"),
            Column("set_per_second", "set/s"),
            Column("set_p50_ms", "p50 ms", ".3f"),
            Column("set_p99_ms", "p99 ms", ".3f"),
            Column("set_cpu_us", "CPU µs", ".1f"),
            Column("set_ratio", "to few keys", ".2f"),
            Column("get_safe_per_second", "get-safe/s"),
            Column("get_safe_p50_ms", "p50 ms", ".3f"),
            Column("get_safe_p99_ms", "p99 ms", ".3f"),
            Column("get_safe_cpu_us", "CPU µs", ".1f"),
            Column("get_safe_ratio", "to few keys", ".2f"),
            Column("rss_anon_mib", "RssAnon MiB", ".1f"),
            Column("rss_mib", "RSS MiB", ",.1f"),
            Column("file_mib", "file MiB", ",.1f"),
        ),
    )
    yield section
    with new_folder(plan.folder) as growing, new_folder(plan.folder) as small:
        loaded = 0
        for number, (count, durability) in enumerate(itertools.product(plan.keys, plan.durabilities)):
            point = section.add({"keys": count, "durability": durability})
            if loaded < count:
                with servers.run_pynun(growing, "relaxed") as server:
                    took = load_keys(server, loaded, count - loaded)
                point["load_per_second"] = took["operations"] / took["seconds"]
                loaded = count
            if number == 0:
                with servers.run_pynun(small, "relaxed") as server:
                    load_keys(server, 0, KEY_COUNT)
            _measure_keys_at(point, count, durability, growing, small, plan)
            point["file_mib"] = _disk_bytes(growing / "dbs" / "data.mdb") / MIB
            yield section


def _measure_keys_at(point: Point, count: int, durability: str, growing: Path, small: Path, plan: ScalePlan) -> None:
    starts = []
    for _ in range(STARTS - 1):
        with servers.run_pynun(growing, durability) as server:
            starts.append(server.start_seconds)
    with servers.run_pynun(small, durability) as few_server, servers.run_pynun(growing, durability) as server:
        assert server.pid is not None
        starts.append(server.start_seconds)
        point["start_ms"] = statistics.median(starts) * 1000
        point["rss_anon_at_start_mib"] = processes.memory(server.pid).rss_anon_bytes / MIB
        for name, gets_percent in (("set", 0), ("get_safe", 100)):
            many = Load(
                connections=CONNECTIONS, gets_percent=gets_percent, key_count=count, key_sample=min(count, SAMPLE_MAX)
            )
            few = Load(connections=CONNECTIONS, gets_percent=gets_percent)
            figures, few_figures = measure_pair(server, many, few_server, few, plan.timing, plan.repeat)
            point |= {
                f"{name}_per_second": statistics.median(one.operations_per_second for one in figures),
                f"{name}_p50_ms": statistics.median(one.p50_ms for one in figures),
                f"{name}_p99_ms": statistics.median(one.p99_ms for one in figures),
                f"{name}_cpu_us": statistics.median(one.cpu_us_per_operation or 0 for one in figures),
                f"{name}_ratio": statistics.median(
                    one.operations_per_second / other.operations_per_second
                    for one, other in zip(figures, few_figures, strict=True)
                ),
            }
        memory = processes.memory(server.pid)
        point |= {"rss_anon_mib": memory.rss_anon_bytes / MIB, "rss_mib": memory.rss_bytes / MIB}


def measure_pair(
    server: Server, load: Load, other: Server, other_load: Load, timing: Timing, repeat: int
) -> tuple[list[Figures], list[Figures]]:
    """Measure two servers in turn, to and fro, so that what disturbs hits both alike."""
    figures: list[Figures] = []
    other_figures: list[Figures] = []
    turns = [(figures, server, load), (other_figures, other, other_load)]
    for _ in range(repeat):
        for found, one, its_load in turns:
            found.append(measure(one, its_load, timing))
        turns.reverse()
    return figures, other_figures


def _disk_bytes(path: Path) -> int:
    return path.stat().st_blocks * 512


# --- lists -----------------------------------------------------------------------------------------------------


def measure_listing(plan: ScalePlan) -> Iterator[Section]:
    """`keys`: a few by prefix, one by its end, and all; and what others notice of it."""
    section = Section(
        name="listing",
        title=f"keys ({HITS} by prefix, one by its end, all of them), and {CONNECTIONS} other connections that set and"
        " get (half each) before and while all keys are listed again and again",
        columns=(
            Column("keys", "keys"),
            Column("prefix_p50_ms", "prefix p50 ms", ".3f"),
            Column("prefix_p99_ms", "p99 ms", ".3f"),
            Column("suffix_p50_ms", "end p50 ms", ",.1f"),
            Column("all_p50_ms", "all p50 ms", ",.1f"),
            Column("all_mib", "answer MiB", ",.2f"),
            Column("others_per_second", "others/s"),
            Column("others_p50_ms", "p50 ms", ".3f"),
            Column("others_p99_ms", "p99 ms", ".3f"),
            Column("others_during_per_second", "others/s during"),
            Column("others_during_p50_ms", "p50 ms", ".3f"),
            Column("others_during_p99_ms", "p99 ms", ".3f"),
            Column("all_during_p50_ms", "all p50 ms during", ",.1f"),
            Column("rss_anon_mib", "RssAnon MiB", ".1f"),
        ),
    )
    yield section
    with new_folder(plan.folder) as folder, servers.run_pynun(folder, plan.durabilities[0]) as server:
        assert server.pid is not None
        with Control(server.addresses["websocket"]) as control:
            control.ask(f"use-db {servers.DATABASE} {servers.TOKEN}")
            control.set_many(f"set hit-{number:03d} v" for number in range(HITS))
        loaded = 0
        for count in plan.listed_keys:
            own_count = count - HITS - 1  # and $connections, which is there as soon as somebody is
            load_keys(server, loaded, own_count - loaded)
            loaded = own_count
            point = section.add({"keys": count})
            prefix = _list_alone(server, "hit-*", HITS, plan.timing.seconds)
            point |= {"prefix_p50_ms": percentile(prefix, 0.5) / 1000, "prefix_p99_ms": percentile(prefix, 0.99) / 1000}
            point["suffix_p50_ms"] = percentile(_list_alone(server, "*00000007", 1, plan.timing.seconds), 0.5) / 1000
            point["all_p50_ms"] = percentile(_list_alone(server, "", count, plan.timing.seconds), 0.5) / 1000
            point["all_mib"] = (own_count * len(",key-00000000") + HITS * len(",hit-000")) / MIB
            sample = min(own_count, SAMPLE_MAX)
            load = Load(connections=CONNECTIONS, gets_percent=50, key_count=own_count, key_sample=sample)
            orders = orders_for(server, load, plan.timing)
            before = drive(server, orders, plan.timing).figures
            with Generator(replace(crowd_order(server, "lister"), key_count=count)) as lister:
                lister.next_line()
                during, _, [listed] = drive(server, orders, plan.timing, [lister])
            point |= {
                "others_per_second": before.operations_per_second,
                "others_p50_ms": before.p50_ms,
                "others_p99_ms": before.p99_ms,
                "others_during_per_second": during.operations_per_second,
                "others_during_p50_ms": during.p50_ms,
                "others_during_p99_ms": during.p99_ms,
                "all_during_p50_ms": percentile(latencies_of([listed]), 0.5) / 1000,
                "rss_anon_mib": processes.memory(server.pid).rss_anon_bytes / MIB,
            }
            yield section


def _list_alone(server: Server, pattern: str, count: int, seconds: float) -> Counter[int]:
    with Generator(replace(crowd_order(server, "lister"), pattern=pattern, key_count=count)) as lister:
        lister.next_line()
        return latencies_of([run_alone(lister, seconds)])


# --- values ----------------------------------------------------------------------------------------------------


def measure_values(plan: ScalePlan) -> Iterator[Section]:
    """Long values on one WebSocket connection; one more watches nothing, so all the time is the server's and ours."""
    section = Section(
        name="values",
        title=f"Values (WS, 1 connection; p50: one at a time; MB/s: {VALUES_IN_FLIGHT} in flight)",
        columns=(
            Column("value_bytes", "bytes"),
            Column("durability", "durability"),
            Column("set_p50_ms", "set p50 ms", ".3f"),
            Column("set_mb_per_second", "set MB/s", ",.1f"),
            Column("get_safe_p50_ms", "get-safe p50 ms", ".3f"),
            Column("get_safe_mb_per_second", "get-safe MB/s", ",.1f"),
            Column("rss_anon_mib", "RssAnon MiB", ".1f"),
        ),
    )
    yield section
    for durability in plan.durabilities:
        with new_folder(plan.folder) as folder, servers.run_pynun(folder, durability) as server:
            assert server.pid is not None
            for value_bytes in plan.value_bytes:
                point = section.add({"value_bytes": value_bytes, "durability": durability})
                _measure_values_of(point, value_bytes, server, plan.timing.seconds / 3)
                point["rss_anon_mib"] = processes.memory(server.pid).rss_anon_bytes / MIB
                yield section


def _measure_values_of(point: Point, value_bytes: int, server: Server, seconds: float) -> None:
    keys = [f"value-{number:02d}" for number in range(VALUE_KEYS)]
    with RawClient(server.addresses["websocket"], f"use-db {servers.DATABASE} {servers.TOKEN}") as client:
        sets = [client.request(f"set {key} {str(number % 10) * value_bytes}") for number, key in enumerate(keys)]
        gets = [client.request(f"get-safe {key}") for key in keys]
        for request in sets:
            client.burst([request], 1)
        for name, requests, messages in (("set", sets, 1), ("get_safe", gets, 2)):
            singles = [[request] for request in requests]
            durations = repeat_for(seconds, singles, partial(client.burst, messages_each=messages))
            point[f"{name}_p50_ms"] = statistics.median(durations) * 1000
            bursts = [requests[start : start + VALUES_IN_FLIGHT] for start in range(0, VALUE_KEYS, VALUES_IN_FLIGHT)]
            durations = repeat_for(seconds, bursts, partial(client.burst, messages_each=messages))
            megabytes = len(durations) * VALUES_IN_FLIGHT * value_bytes / 1e6
            point[f"{name}_mb_per_second"] = megabytes / sum(durations)


def repeat_for(seconds: float, bursts: list[list[bytes]], send: Callable[[list[bytes]], object]) -> list[float]:
    """Send bursts in turn for so long, three at least; return how long each took, in seconds."""
    durations: list[float] = []
    end = time.monotonic() + seconds
    for burst in itertools.cycle(bursts):
        began = time.monotonic()
        send(burst)
        durations.append(time.monotonic() - began)
        if len(durations) >= 3 and time.monotonic() >= end:
            break
    return durations


# --- databases -------------------------------------------------------------------------------------------------


def measure_databases(plan: ScalePlan) -> Iterator[Section]:
    """Many databases, each made as an administrator makes it and used as clients use it."""
    section = Section(
        name="databases",
        title=f"Databases (create-db one after another; use-db: use {plan.uses} of the same token; first: after a"
        " restart, when its hash must be checked)",
        columns=(
            Column("databases", "databases"),
            Column("create_p50_ms", "create p50 ms", ".2f"),
            Column("create_p99_ms", "p99 ms", ".2f"),
            Column("use_p50_ms", "use-db p50 ms", ".3f"),
            Column("use_all_p50_ms", "each in turn p50 ms", ".3f"),
            Column("list_ms", "list-dbs ms", ".2f"),
            Column("rss_anon_mib", "RssAnon MiB", ".1f"),
            Column("restart_ms", "start ms", ",.0f"),
            Column("first_use_ms", "first use-db ms", ".2f"),
            Column("rss_anon_restarted_mib", "RssAnon MiB", ".1f"),
        ),
    )
    yield section
    with new_folder(plan.folder) as folder:
        made = 0
        for count in plan.databases:
            point = section.add({"databases": count})
            with servers.run_pynun(folder, plan.durabilities[0]) as server:
                _measure_making(point, made, count, server, plan)
            made = count
            with servers.run_pynun(folder, plan.durabilities[0]) as server, _admin(server) as control:
                assert server.pid is not None
                point["restart_ms"] = server.start_seconds * 1000
                point["first_use_ms"] = _seconds_of(control, f"use-db many-{count - 1} token-{count - 1}") * 1000
                point["rss_anon_restarted_mib"] = processes.memory(server.pid).rss_anon_bytes / MIB
            yield section


def _measure_making(point: Point, made: int, count: int, server: Server, plan: ScalePlan) -> None:
    assert server.pid is not None
    with _admin(server) as control:
        created = [_seconds_of(control, f"create-db many-{number} token-{number}") for number in range(made, count)]
        use = f"use-db many-{count - 1} token-{count - 1}"
        used = [_seconds_of(control, use) for _ in range(plan.uses)]
        own = range(made, count)  # the tokens that were checked in this process
        in_turn = [_seconds_of(control, f"use-db many-{number} token-{number}") for number in own]
        point["list_ms"] = statistics.median(_seconds_of(control, "debug list-dbs") for _ in range(3)) * 1000
        [names] = control.ask("debug list-dbs")
    if names.count("many-") != count:
        raise MeasureError(f"{names.count('many-')} databases are listed instead of {count}")
    as_us = Counter(int(seconds * 1e6) for seconds in created)
    point |= {
        "create_p50_ms": percentile(as_us, 0.5) / 1000,
        "create_p99_ms": percentile(as_us, 0.99) / 1000,
        "use_p50_ms": statistics.median(used[-USES_SHOWN:]) * 1000,
        "use_all_p50_ms": statistics.median(in_turn) * 1000,
        "rss_anon_mib": processes.memory(server.pid).rss_anon_bytes / MIB,
    }


def _admin(server: Server) -> Control:
    control = Control(server.addresses["websocket"])
    control.ask(f"auth {servers.ADMIN_USER} {servers.ADMIN_PASSWORD}")
    return control


def _seconds_of(control: Control, command: str) -> float:
    began = time.monotonic()
    control.ask(command)
    return time.monotonic() - began
