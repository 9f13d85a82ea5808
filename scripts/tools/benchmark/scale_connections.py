"""How time and memory grow with clients: connections, watchers of one key, watched keys, watchers of `$connections`."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from tools.benchmark import processes, servers
from tools.benchmark.crowd import CONNECTED
from tools.benchmark.measure import (
    Generator,
    MeasureError,
    drive,
    fill,
    latencies_of,
    measure,
    orders_for,
    percentile,
)
from tools.benchmark.runs import MIB, new_folder
from tools.benchmark.scale_data import CONNECTIONS, SAMPLE_MAX, crowd_order, load_keys, run_alone
from tools.benchmark.scenarios import KEY_COUNT, Load
from tools.benchmark.sections import Column, Section
from tools.benchmark.wire import Control

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.benchmark.scale import ScalePlan
    from tools.benchmark.sections import Point
    from tools.benchmark.servers import Server

LEAVE_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.01


def measure_connections(plan: ScalePlan) -> Iterator[Section]:
    """Many connections: how long until all are there, what each costs, and how fast the server is with them."""
    section = Section(
        name="connections",
        title="WebSocket connections (all connect at once and log in; then do nothing; then all of them set, one at a"
        " time each; then all are closed at once)",
        columns=(
            Column("connections", "connections"),
            Column("arrival_seconds", "all there s", ".2f"),
            Column("arrivals_per_second", "a second"),
            Column("ready_p50_ms", "ready p50 ms", ",.0f"),
            Column("ready_p99_ms", "p99 ms", ",.0f"),
            Column("arrival_cpu_us", "CPU µs each"),
            Column("kib_per_connection", "KiB each", ".1f"),
            Column("set_alone_per_second", f"set/s of {CONNECTIONS} alone"),
            Column("set_beside_idle_per_second", "beside the idle"),
            Column("set_beside_idle_p99_ms", "p99 ms", ".2f"),
            Column("set_beside_idle_max_ms", "longest ms", ",.0f"),
            Column("pings", "pings"),
            Column("set_all_per_second", "set/s of all"),
            Column("set_all_p50_ms", "p50 ms", ".1f"),
            Column("set_all_p99_ms", "p99 ms", ".1f"),
            Column("leave_seconds", "all gone s", ".2f"),
            Column("rss_anon_mib", "RssAnon MiB", ".1f"),
            Column("rss_anon_after_mib", "after all left", ".1f"),
        ),
    )
    yield section
    for count in plan.connections:
        point = section.add({"connections": count})
        with new_folder(plan.folder) as folder, servers.run_pynun(folder, plan.durabilities[0]) as server:
            _measure_connections_of(point, count, server, plan)
        yield section


def _measure_connections_of(point: Point, count: int, server: Server, plan: ScalePlan) -> None:
    assert server.pid is not None
    fill(server, KEY_COUNT)
    twenty = Load(connections=CONNECTIONS)
    before, cpu_before = processes.memory(server.pid), processes.cpu_seconds(server.pid)
    with Generator(replace(crowd_order(server, "arrivals"), connections=count)) as arrivals:
        arrivals.next_line()
        memory, cpu = processes.memory(server.pid), processes.cpu_seconds(server.pid) - cpu_before
        point |= {
            "arrival_cpu_us": cpu / count * 1e6,
            "kib_per_connection": (memory.rss_anon_bytes - before.rss_anon_bytes) / 1024 / count,
            "rss_anon_mib": memory.rss_anon_bytes / MIB,
        }
        timing = replace(plan.timing, seconds=plan.idle_seconds)
        beside, _, [arrived] = drive(server, orders_for(server, twenty, timing), timing, [arrivals])
        latencies = latencies_of([arrived])
        point |= {
            "set_beside_idle_per_second": beside.operations_per_second,
            "set_beside_idle_p99_ms": beside.p99_ms,
            "set_beside_idle_max_ms": beside.max_ms,
            "pings": arrived["operations"],
            "arrival_seconds": arrived["seconds"],
            "arrivals_per_second": count / arrived["seconds"],
            "ready_p50_ms": percentile(latencies, 0.5) / 1000,
            "ready_p99_ms": percentile(latencies, 0.99) / 1000,
        }
        began = time.monotonic()
    _wait_alone(server)
    point["leave_seconds"] = time.monotonic() - began
    point["set_alone_per_second"] = measure(server, twenty, plan.timing).operations_per_second
    everybody = measure(server, Load(connections=count), plan.timing)
    point |= {
        "set_all_per_second": everybody.operations_per_second,
        "set_all_p50_ms": everybody.p50_ms,
        "set_all_p99_ms": everybody.p99_ms,
    }
    _wait_alone(server)
    point["rss_anon_after_mib"] = processes.memory(server.pid).rss_anon_bytes / MIB


def _wait_alone(server: Server) -> None:
    """Return when the server has noticed that everybody else is gone."""
    end = time.monotonic() + LEAVE_SECONDS_MAX
    with Control(server.addresses["websocket"]) as control:
        control.ask(f"use-db {servers.DATABASE} {servers.TOKEN}")
        while control.ask("get $connections") != ["value 1\n"]:
            if time.monotonic() > end:
                raise MeasureError(f"connections that ended are still counted after {LEAVE_SECONDS_MAX:.0f} s")
            time.sleep(_POLL_SECONDS)


def measure_watchers(plan: ScalePlan) -> Iterator[Section]:
    """Many watchers of one key, from just before the `set` to the receipt of the last event."""
    section = Section(
        name="watchers",
        title="Watchers of one key (from `set` to the last receipt; the next set when all have it)",
        columns=(
            Column("watchers", "watchers"),
            Column("last_receipt_p50_ms", "last receipt p50 ms", ",.2f"),
            Column("last_receipt_p99_ms", "p99 ms", ",.2f"),
            Column("generator_p50_ms", "a server that does nothing p50 ms", ",.2f"),
            Column("generator_p99_ms", "p99 ms", ",.2f"),
            Column("cpu_us_per_event", "CPU µs an event", ".2f"),
            Column("sets", "sets"),
            Column("kib_per_watcher", "KiB each", ".1f"),
        ),
    )
    yield section
    for count in plan.watchers:
        point = section.add({"watchers": count})
        for name, run in (("last_receipt", None), ("generator", servers.run_raw)):
            with new_folder(plan.folder) as folder:
                running = servers.run_pynun(folder, plan.durabilities[0]) if run is None else run(folder)
                with running as server:
                    _measure_watchers_of(point, name, count, server, plan)
        yield section


def _measure_watchers_of(point: Point, name: str, count: int, server: Server, plan: ScalePlan) -> None:
    assert server.pid is not None
    before = processes.memory(server.pid)
    with Generator(replace(crowd_order(server, "audience"), connections=count)) as audience:
        audience.next_line()
        memory, cpu_before = processes.memory(server.pid), processes.cpu_seconds(server.pid)
        result = run_alone(audience, plan.timing.seconds)
        cpu = processes.cpu_seconds(server.pid) - cpu_before
    latencies = latencies_of([result])
    point |= {f"{name}_p50_ms": percentile(latencies, 0.5) / 1000, f"{name}_p99_ms": percentile(latencies, 0.99) / 1000}
    if name == "last_receipt":
        point |= {
            "cpu_us_per_event": cpu / result["sets_acknowledged"] / count * 1e6,
            "sets": result["operations"],
            "kib_per_watcher": (memory.rss_anon_bytes - before.rss_anon_bytes) / 1024 / count,
        }


def measure_watches(plan: ScalePlan) -> Iterator[Section]:
    """Many watched keys, each by one session: what a watch costs, and how fast these keys can be set."""
    section = Section(
        name="watches",
        title=f"Watched keys (each by one of {plan.watching_sessions} sessions; then set, in random order, over"
        f" {CONNECTIONS} connections)",
        columns=(
            Column("watches", "watched keys"),
            Column("bytes_per_watch", "bytes each"),
            Column("watch_per_second", "watch/s"),
            Column("unwatched_set_per_second", "set/s unwatched"),
            Column("unwatched_set_cpu_us", "CPU µs", ".1f"),
            Column("watched_set_per_second", "set/s watched"),
            Column("watched_set_cpu_us", "CPU µs", ".1f"),
            Column("watched_set_p50_ms", "p50 ms", ".3f"),
            Column("watched_set_p99_ms", "p99 ms", ".3f"),
            Column("rss_anon_mib", "RssAnon MiB", ".1f"),
        ),
    )
    yield section
    for count in plan.watches:
        point = section.add({"watches": count})
        with new_folder(plan.folder) as folder:
            with servers.run_pynun(folder, plan.durabilities[0]) as server:
                load_keys(server, 0, count)
            # Started anew: what loading left behind would hide what watches take.
            with servers.run_pynun(folder, plan.durabilities[0]) as server:
                _measure_watches_of(point, count, server, plan)
        yield section


def _measure_watches_of(point: Point, count: int, server: Server, plan: ScalePlan) -> None:
    assert server.pid is not None
    load = Load(connections=CONNECTIONS, key_count=count, key_sample=min(count, SAMPLE_MAX))
    sessions = min(plan.watching_sessions, count)
    order = replace(crowd_order(server, "subscribers"), connections=sessions, keys_per_connection=count // sessions)
    with Generator(order) as subscribers:
        if (line := subscribers.next_line().strip()) != CONNECTED:
            raise MeasureError(f"subscribers said {line!r}")
        before, began = processes.memory(server.pid), time.monotonic()
        subscribers.tell("watch")
        subscribers.next_line()
        seconds, memory = time.monotonic() - began, processes.memory(server.pid)
        watched, sets, [received] = drive(server, orders_for(server, load, plan.timing), plan.timing, [subscribers])
        if received["sets_acknowledged"] != sets:
            raise MeasureError(f"{received['sets_acknowledged']} events were received of {sets} sets")
    _wait_alone(server)
    unwatched = measure(server, load, plan.timing)
    point |= {
        "bytes_per_watch": (memory.rss_anon_bytes - before.rss_anon_bytes) / count,
        "watch_per_second": count / seconds,
        "unwatched_set_per_second": unwatched.operations_per_second,
        "unwatched_set_cpu_us": unwatched.cpu_us_per_operation or 0,
        "watched_set_per_second": watched.operations_per_second,
        "watched_set_cpu_us": watched.cpu_us_per_operation or 0,
        "watched_set_p50_ms": watched.p50_ms,
        "watched_set_p99_ms": watched.p99_ms,
        "rss_anon_mib": memory.rss_anon_bytes / MIB,
    }


def measure_presence(plan: ScalePlan) -> Iterator[Section]:
    """All connect at once and all watch `$connections`: each arrival is told to everybody who is there."""
    section = Section(
        name="presence",
        title="Sessions that all connect at once and watch $connections, until each knows that all are there",
        columns=(
            Column("sessions", "sessions"),
            Column("seconds", "all know s", ".2f"),
            Column("ready_p99_ms", "ready p99 ms", ",.0f"),
            Column("cpu_seconds", "CPU s", ".2f"),
            Column("cpu_us_per_session", "CPU µs each"),
        ),
    )
    yield section
    for count in plan.presence_sessions:
        point = section.add({"sessions": count})
        with new_folder(plan.folder) as folder, servers.run_pynun(folder, plan.durabilities[0]) as server:
            assert server.pid is not None
            cpu_before = processes.cpu_seconds(server.pid)
            order = replace(crowd_order(server, "arrivals"), connections=count, watches_presence=True)
            with Generator(order) as arrivals:
                arrivals.next_line()
                cpu = processes.cpu_seconds(server.pid) - cpu_before
                result = run_alone(arrivals, 0)
        point |= {
            "seconds": result["seconds"],
            "ready_p99_ms": percentile(latencies_of([result]), 0.99) / 1000,
            "cpu_seconds": cpu,
            "cpu_us_per_session": cpu / count * 1e6,
        }
        yield section
