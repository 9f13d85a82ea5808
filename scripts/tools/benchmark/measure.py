"""One measurement: load generators in processes of their own against one server, for one interval.

The generators get the interval's begin and end beforehand; at these very times this process reads the server's
processor time, and at the end its memory. Afterwards the versions of all keys are added up: each set that was answered
with `ok` must have been carried out exactly once, or the figure is worth nothing.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from tools.benchmark import processes
from tools.benchmark.load import Order, key_name, value_of, watched_key_name
from tools.benchmark.processes import Memory, python_module
from tools.benchmark.servers import DATABASE, TOKEN, Server, versions_total
from tools.benchmark.wire import Control

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.benchmark.crowd import CrowdOrder
    from tools.benchmark.scenarios import Load

VERIFIED_KEYS_MAX = 1000
"""With more keys than this the versions are not added up: it would take longer than the measurement."""


class MeasureError(Exception):
    """A load generator failed, or what it counted is not what the server did."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long is measured."""

    seconds: float
    warmup_seconds: float
    generators: int = 1
    """Processes that drive connections in a closed loop; more than one helps only on more than two cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one measurement, or the median of several, gives; None: not known."""

    operations_per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float = 0.0
    cpu_us_per_operation: float | None = None
    rss_anon_bytes: int | None = None
    rss_bytes: int | None = None
    generator_cpu_share: float = 0.0
    """Processor time of the busiest load generator, as a part of one core."""
    others_cpu_share: float = 0.0
    """What neither server nor load generators used, as a part of one core: 0 on a quiet machine."""


class Generator:
    """A load generator's process; ended, if it still runs, when its `with` block is left."""

    def __init__(self, order: Order | CrowdOrder) -> None:
        self._order = order

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            python_module(self._order.module),
            env=processes.environment({}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self.tell(json.dumps(asdict(self._order)))
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # does nothing when it has ended
        self._process.communicate()

    def tell(self, line: str) -> None:
        """Give it its next line of input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def next_line(self) -> str:
        """Wait for its next line of output. Raises MeasureError when it failed."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        line = self._process.stdout.readline()
        if not line:
            raise MeasureError(self._process.stderr.read().strip() or "a load generator was ended from outside")
        return line

    def result(self) -> dict[str, Any]:
        """Wait for its result. Raises MeasureError when it failed, or saw what should not be."""
        result: dict[str, Any] = json.loads(self.next_line())
        if result["complaints"]:
            raise MeasureError("; ".join(result["complaints"]))
        return result


class Driven(NamedTuple):
    """What came of one interval."""

    figures: Figures
    sets_acknowledged: int
    background: list[dict[str, Any]]
    """The results of generators that ran beside."""


def fill(server: Server, key_count: int) -> None:
    """Give a database its keys, and the watched one."""
    if "redis" in server.addresses or not server.keeps_values:
        return
    with Control(server.addresses["websocket"]) as control:
        control.ask(f"use-db {DATABASE} {TOKEN}")
        commands = (f"set {key_name(number)} {value_of(number)}" for number in range(key_count))
        if server.name == "baseline":  # one command in a frame is all it knows
            control.ask_all(list(commands))
        else:
            control.set_many(commands)
        control.ask(f"set {watched_key_name(0)} {value_of(0)}")


def measure(server: Server, load: Load, timing: Timing) -> Figures:
    """Drive one server for one interval. Raises MeasureError when the server did not do what it acknowledged."""
    orders = orders_for(server, load, timing)
    is_verified = "redis" not in server.addresses and server.keeps_values and load.key_sample <= VERIFIED_KEYS_MAX
    if load.watchers:
        keys = [watched_key_name(number) for number in range(load.watched_keys)]
    else:
        keys = [key_name(number) for number in range(load.key_count)]
    versions_before = versions_total(server, keys) if is_verified else 0
    figures, sets_acknowledged, _ = drive(server, orders, timing)
    if is_verified:
        sets_done = versions_total(server, keys) - versions_before
        if sets_done != sets_acknowledged:
            raise MeasureError(f"{sets_acknowledged} sets were acknowledged, {sets_done} were carried out")
    return figures


def idle_memory(server: Server, connections: int) -> tuple[Memory, Memory]:
    """The server's memory before and while so many connections have selected the database and do nothing."""
    assert server.pid is not None
    with Generator(_order(server, "idle", connections=1)) as first:  # what only the first connection takes
        first.next_line()
        before = processes.memory(server.pid)
        with Generator(_order(server, "idle", connections=connections)) as many:
            many.next_line()
            return before, processes.memory(server.pid)


def _order(server: Server, role: str, *, protocol: str = "websocket", connections: int = 1) -> Order:
    address = server.addresses[protocol]
    return Order(
        role=role,
        protocol=protocol,
        host=address.host,
        port=address.port,
        database=DATABASE,
        token=TOKEN,
        connections=connections,
    )


def orders_for(server: Server, load: Load, timing: Timing) -> list[Order]:
    """What the load generators of a load do."""
    address = server.addresses["redis" if "redis" in server.addresses else load.protocol]
    common = Order(
        role="clients",
        protocol="redis" if "redis" in server.addresses else load.protocol,
        host=address.host,
        port=address.port,
        database=DATABASE,
        token=TOKEN,
        connections=load.connections,
        in_flight=load.in_flight,
        gets_percent=load.gets_percent,
        key_count=load.key_count,
        key_sample=load.key_sample,
        sets_per_second=load.sets_per_second,
        watched_keys=load.watched_keys,
    )
    fields = asdict(common)
    if load.watchers:
        # At full speed a quarter of the watchers reads the times, lest reading them is what is measured.
        step = 1 if load.sets_per_second else 4
        watchers = Order(**fields | {"role": "watchers", "connections": load.watchers, "stamped_watchers_step": step})
        return [Order(**fields | {"role": "writer"}), watchers]
    count = min(timing.generators, load.connections)
    shares = [load.connections // count + (index < load.connections % count) for index in range(count)]
    return [Order(**fields | {"connections": share, "seed": index}) for index, share in enumerate(shares)]


def drive(server: Server, orders: Sequence[Order], timing: Timing, background: Sequence[Generator] = ()) -> Driven:
    """Run generators to their end; the figures are of those in `orders`, but the writer.

    Those in `background` are ready already; they get the same interval and their results are handed on.
    """
    with contextlib.ExitStack() as stack:
        generators = [stack.enter_context(Generator(order)) for order in orders]
        for generator in generators:
            generator.next_line()
        begin_ns = time.monotonic_ns() + int(timing.warmup_seconds * 1e9)
        end_ns = begin_ns + int(timing.seconds * 1e9)
        for generator in (*generators, *background):
            generator.tell(f"{begin_ns} {end_ns}")
        _sleep_until(begin_ns)
        cpu_before, busy_before, began_ns = _server_cpu(server), processes.machine_busy_seconds(), time.monotonic_ns()
        _sleep_until(end_ns)
        cpu, busy = _server_cpu(server) - cpu_before, processes.machine_busy_seconds() - busy_before
        seconds = (time.monotonic_ns() - began_ns) / 1e9
        memory = None if server.pid is None else processes.memory(server.pid)
        results = [generator.result() for generator in generators]
        beside = [generator.result() for generator in background]
    counted = [result for result, order in zip(results, orders, strict=True) if order.role != "writer"]
    operations = sum(result["operations"] for result in counted)
    if not operations:
        raise MeasureError("nothing was answered within the interval")
    latencies = latencies_of(counted)
    generator_cpu = [result["cpu_seconds"] for result in (*results, *beside)]
    figures = Figures(
        operations_per_second=operations / timing.seconds,
        p50_ms=percentile(latencies, 0.50) / 1000,
        p99_ms=percentile(latencies, 0.99) / 1000,
        max_ms=max(latencies) / 1000,
        cpu_us_per_operation=None if server.pid is None else cpu / operations * 1e6,
        rss_anon_bytes=None if memory is None else memory.rss_anon_bytes,
        rss_bytes=None if memory is None else memory.rss_bytes,
        generator_cpu_share=max(generator_cpu) / timing.seconds,
        others_cpu_share=max(0.0, busy - cpu - sum(generator_cpu)) / seconds,
    )
    return Driven(figures, sum(result["sets_acknowledged"] for result in results), beside)


def latencies_of(results: Sequence[dict[str, Any]]) -> Counter[int]:
    """How many times each latency, in microseconds, was seen by any of some generators."""
    latencies: Counter[int] = Counter()
    for result in results:
        for latency_us, count in result["latency_us"].items():
            latencies[int(latency_us)] += count
    return latencies


def percentile(counted: Counter[int], part: float) -> float:
    """The smallest value that at least this part of all does not exceed; 0 of nothing."""
    wanted = part * counted.total()
    seen = 0
    for value in sorted(counted):
        seen += counted[value]
        if seen >= wanted:
            return float(value)
    return 0.0


def _server_cpu(server: Server) -> float:
    return 0.0 if server.pid is None else processes.cpu_seconds(server.pid)


def _sleep_until(moment_ns: int) -> None:
    while (remaining_ns := moment_ns - time.monotonic_ns()) > 0:
        time.sleep(remaining_ns / 1e9)
