"""One measurement: load generators in processes of their own against one server, for one interval.

The generators get the interval's begin and end beforehand; at these very times this process reads the server's
processor time, and at the end its memory. Afterwards the versions of all keys are added up: each set that was answered
with `ok` must have been carried out exactly once, or the figure is worth nothing.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import lmdb

from tools.benchmark import processes
from tools.benchmark.load import Idle, Result, Writer
from tools.benchmark.processes import Generator, MeasureError
from tools.benchmark.servers import REDIS, Server, versions_total
from tools.benchmark.wire import OK_FRAME, ask, encode_frame, key_name, log_in, value_of, watched_key_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tools.benchmark.load import Load
    from tools.benchmark.scenarios import Drive

Figures: TypeAlias = dict[str, float]
"""Names end with their units. What is not known is left out."""

VERIFIED_KEYS_MAX = 1000
"""With more keys than this the versions are not added up: it would take longer than the measurement."""
COMMIT_CHANGES = 10
COMMITS = 100


@dataclass(frozen=True, slots=True)
class Timing:
    """How long is measured."""

    seconds: float
    warmup_seconds: float
    generators: int = 1
    """Processes that drive connections in a closed loop; more than one helps only on more than two cores."""


class Driven(NamedTuple):
    """What came of one interval."""

    figures: Figures
    sets_acknowledged: int
    background: list[Result]
    """Of generators that ran beside."""


def measure(server: Server, what: Drive, timing: Timing) -> Figures:
    """Drive one server for one interval. Raises MeasureError when the server did not do what it acknowledged."""
    is_verified = server.name != REDIS and server.keeps_values and what.key_count <= VERIFIED_KEYS_MAX
    if what.watchers:
        keys = [watched_key_name(number) for number in range(what.watched_keys)]
    else:
        keys = [key_name(number) for number in range(what.key_count)]
    versions_before = versions_total(server, keys) if is_verified else 0
    figures, sets_acknowledged, _ = drive(server, what.loads(server, timing.generators), timing)
    if is_verified and (sets_done := versions_total(server, keys) - versions_before) != sets_acknowledged:
        raise MeasureError(f"{sets_acknowledged} sets were acknowledged, {sets_done} were carried out")
    return figures


def drive(server: Server, loads: Sequence[Load], timing: Timing, background: Sequence[Generator] = ()) -> Driven:
    """Run loads to their end; the figures are of all but the writer.

    Those in `background` are connected already; they get the same interval and their results are handed on.
    """
    with contextlib.ExitStack() as stack:
        generators = [stack.enter_context(Generator(load)) for load in loads]
        begin_ns = time.monotonic_ns() + int(timing.warmup_seconds * 1e9)
        end_ns = begin_ns + int(timing.seconds * 1e9)
        for generator in (*generators, *background):
            generator.begin("run", begin_ns, end_ns)
        _sleep_until(begin_ns)
        cpu_before, busy_before, began_ns = cpu_of(server), processes.machine_busy_seconds(), time.monotonic_ns()
        _sleep_until(end_ns)
        cpu, busy = cpu_of(server) - cpu_before, processes.machine_busy_seconds() - busy_before
        seconds = (time.monotonic_ns() - began_ns) / 1e9
        memory = memory_figures(server)
        results: list[Result] = [generator.answer() for generator in generators]
        beside: list[Result] = [generator.answer() for generator in background]
    counted = [result for result, load in zip(results, loads, strict=True) if not isinstance(load, Writer)]
    operations = sum(result.operations for result in counted)
    if not any(result.latencies_ns for result in counted):
        raise MeasureError("nothing was answered within the interval")
    generator_cpu = [result.cpu_seconds for result in (*results, *beside)]
    figures = {
        "operations_per_second": operations / timing.seconds,
        **latency_figures(counted),
        **({"cpu_us_per_operation": cpu / operations * 1e6} if server.pid else {}),
        **memory,
        "generator_cpu_share": max(generator_cpu) / timing.seconds,
        # What neither server nor load generators used, as a part of one core: 0 on a quiet machine.
        "others_cpu_share": max(0.0, busy - cpu - sum(generator_cpu)) / seconds,
    }
    return Driven(figures, sum(result.sets_acknowledged for result in results), beside)


def run_alone(load: Load, seconds: float) -> Result:
    """Run a load for an interval, with nothing beside it."""
    with Generator(load) as generator:
        return run_connected(generator, seconds)


def run_connected(generator: Generator, seconds: float) -> Result:
    """Have a generator that is connected run for an interval."""
    now_ns = time.monotonic_ns()
    result: Result = generator.call("run", now_ns, now_ns + int(seconds * 1e9))
    return result


def latency_figures(results: Iterable[Result]) -> Figures:
    """p50, p95, p99 and the longest of all latencies."""
    latencies_ms = sorted(latency_ns / 1e6 for result in results for latency_ns in result.latencies_ns)
    return {
        "p50_ms": percentile(latencies_ms, 0.5),
        "p95_ms": percentile(latencies_ms, 0.95),
        "p99_ms": percentile(latencies_ms, 0.99),
        "max_ms": percentile(latencies_ms, 1),
    }


def percentile(ordered: Sequence[float], part: float) -> float:
    """The smallest value that at least this part of all does not exceed; 0 of nothing."""
    return ordered[max(math.ceil(part * len(ordered)) - 1, 0)] if ordered else 0.0


def median_of(rounds: Sequence[Figures]) -> Figures:
    """The median of each figure."""
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]} if rounds else {}


def cpu_of(server: Server) -> float:
    """The server's processor time so far, in seconds; 0 when it can't be known."""
    return processes.cpu_seconds(server.pid) if server.pid else 0.0


def memory_figures(server: Server) -> Figures:
    """The server's memory; nothing when it can't be known."""
    return {name: float(value) for name, value in processes.memory(server.pid)._asdict().items()} if server.pid else {}


def idle_memory(server: Server, connections: int) -> Figures:
    """The server's memory while so many connections have selected the database and do nothing, and for each."""
    with Generator(Idle(address=server.addresses["websocket"], connections=1)):  # what only the first connection takes
        before = processes.memory(server.pid).rss_anon_bytes
        with Generator(Idle(address=server.addresses["websocket"], connections=connections)):
            figures = memory_figures(server)
    return figures | {"kib_per_connection": (figures["rss_anon_bytes"] - before) / 1024 / connections}


def disk_commit_ms(folder: Path) -> float:
    """What the disk costs: the median of LMDB commits of ten puts with fsync, without any server."""
    chance, durations = random.Random(0), []
    data = tempfile.mkdtemp(prefix="commit-", dir=folder)
    try:
        with lmdb.open(data, map_size=1 << 28) as environment:
            for _ in range(COMMITS):
                began = time.monotonic()
                with environment.begin(write=True) as transaction:
                    for number in chance.choices(range(1000), k=COMMIT_CHANGES):
                        transaction.put(key_name(number).encode(), value_of(number).encode())
                durations.append(time.monotonic() - began)
    finally:
        shutil.rmtree(data)
    return statistics.median(durations) * 1000


def commit_calls(server: Server, folder: Path) -> Figures:
    """Writes, syncs and KiB that one commit of ten changes costs the server, counted by strace.

    A write to a file that was opened with O_SYNC or O_DSYNC is a sync too. Raises MeasureError without strace.
    """
    trace = folder / "strace"
    calls = "write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,msync,sync_file_range"
    command = ["strace", "-f", "-yy", "-s", "0", "-e", f"trace={calls}", "-o", str(trace), "-p", str(server.pid)]
    changes = ";".join(f"set {key_name(number)} {value_of(number)}" for number in range(COMMIT_CHANGES))
    try:
        strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, process_group=0)
    except FileNotFoundError:
        raise MeasureError("strace is missing (Debian: apt-get install strace)") from None
    try:
        assert strace.stderr is not None
        if "attached" not in (said := strace.stderr.readline()):
            raise MeasureError(said.strip())
        with contextlib.closing(log_in(server.addresses["websocket"], "websocket")) as connection:
            for _ in range(COMMITS):
                ask(connection, encode_frame(changes), OK_FRAME * COMMIT_CHANGES)
        synchronous = _synchronous_descriptors(server.pid)
    finally:
        strace.terminate()
        strace.communicate()
    done = re.findall(r"(\w+)\((\d+)<(/[^>]*)>.*\) += (\d+)", trace.read_text(encoding="utf-8"))
    ours = [(call, int(descriptor), int(count)) for call, descriptor, path, count in done if str(folder) in path]
    writes = [(descriptor, count) for call, descriptor, count in ours if "write" in call]
    syncs = len(ours) - len(writes) + sum(descriptor in synchronous for descriptor, _ in writes)
    return {
        "writes_per_commit": len(writes) / COMMITS,
        "syncs_per_commit": syncs / COMMITS,
        "kib_per_commit": sum(count for _, count in writes) / 1024 / COMMITS,
    }


def _synchronous_descriptors(pid: int) -> set[int]:
    found = set()
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            match = re.search(r"flags:\s+([0-7]+)", path.read_text(encoding="ascii"))
            if match and int(match[1], 8) & (os.O_SYNC | os.O_DSYNC):
                found.add(int(path.name))
    return found


def _sleep_until(moment_ns: int) -> None:
    while (remaining_ns := moment_ns - time.monotonic_ns()) > 0:
        time.sleep(remaining_ns / 1e9)
