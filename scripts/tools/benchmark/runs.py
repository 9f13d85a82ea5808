"""Which servers do which scenarios, in rounds: each round measures every server once, so that noise hits all alike.

Every scenario begins with new servers on new folders. A ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tools.benchmark import servers
from tools.benchmark.commit_cost import measure_commit
from tools.benchmark.measure import Figures, MeasureError, Timing, fill, idle_memory, measure
from tools.benchmark.processes import ChildError
from tools.benchmark.scenarios import (
    GROWTH_MIB_MAX,
    IDLE_KIB_MAX,
    IDLE_SCENARIO,
    KEY_COUNT,
    KEYS_SCENARIO,
    KEYS_TARGET,
    Facts,
    Load,
    Scenario,
)
from tools.benchmark.wire import WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from tools.benchmark.servers import External, Server

BASELINE = "baseline"
RAW = "raw limit"
MIB = 1024 * 1024

FAILURES = (MeasureError, ChildError, WireError, OSError)
"""What makes a row fail without ending the run."""


class Participant(NamedTuple):
    """A server that can be started on a folder of its own."""

    name: str
    durability: str
    run: Callable[[Path], AbstractContextManager[Server]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run does."""

    timing: Timing
    repeat: int
    durabilities: tuple[str, ...]
    families: frozenset[str]
    """Of baseline, pynun, redis, raw."""
    externals: tuple[External, ...]
    key_count_many: int
    idle_connections: int
    folder: Path
    """On the disk that is measured; everything in it is removed at the end."""


@dataclass(slots=True, kw_only=True)
class Row:
    """One line of the table."""

    scenario: str
    title: str
    server: str
    durability: str
    unit: str
    figures: Figures | None = None
    """Medians over the rounds; None when the row has another figure, or failed."""
    rounds: list[Figures] = field(default_factory=list)
    kib_per_connection: float | None = None
    memory_growth_mib: float | None = None
    start_seconds: float | None = None
    """From the start of the process until it was ready, with the keys of the row in the folder."""
    ratio: float | None = None
    ratio_is_of_p50: bool = False
    cpu_ratio: float | None = None
    """The baseline's processor time for an operation to this server's: what other processes on the machine disturb
    least."""
    commit_ms: float | None = None
    generator_limit_share: float | None = None
    """Operations per second as a part of what the load generator reaches against a server that does nothing."""
    target: str | None = None
    holds: bool | None = None
    error: str | None = None


def participants_of(plan: Plan) -> list[Participant]:
    """Everything that is compared, the baseline first and the raw limit last."""
    found = []
    if BASELINE in plan.families:
        found.append(Participant(BASELINE, "no disk", servers.run_baseline))
    if "pynun" in plan.families:
        found += [
            Participant("pynun", durability, partial(servers.run_pynun, durability=durability))
            for durability in plan.durabilities
        ]
    found += [
        Participant(external.name, "its own", partial(servers.use_external, external)) for external in plan.externals
    ]
    redis = servers.find_redis()
    if "redis" in plan.families and redis is not None:
        found += [
            Participant("Redis", policy, partial(servers.run_redis, redis, appendfsync=policy))
            for policy in ("everysec", "always")
        ]
    if "raw" in plan.families:
        found.append(Participant(RAW, "no disk", servers.run_raw))
    return found


def say(text: str) -> None:
    """Tell what is going on, on standard error: standard output holds the table alone."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def new_folder(parent: Path) -> Iterator[Path]:
    """A folder for one server's data and output, removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="server-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _load_for(participant: Participant, server: Server, scenario: Scenario) -> Load | None:
    """What this participant does in a scenario; None: nothing."""
    if participant.name == BASELINE:
        return scenario.baseline_load or scenario.load
    if participant.name == "Redis":
        return scenario.load if scenario.has_redis else None
    return scenario.load if scenario.load.protocol in server.addresses else None


def run_scenario(scenario: Scenario, plan: Plan) -> list[Row]:
    """Measure one scenario with every participant."""
    chosen = [one for one in participants_of(plan) if one.name != "Redis" or scenario.has_redis]
    rows: list[Row] = []
    commits_ms: list[float] = []
    with contextlib.ExitStack() as stack:
        entries: list[tuple[Row, Server, Load]] = []
        for participant in chosen:
            row = Row(
                scenario=scenario.name,
                title=scenario.title,
                server=participant.name,
                durability=participant.durability,
                unit=scenario.unit if participant.name != BASELINE or scenario.baseline_load is None else "op",
                ratio_is_of_p50=scenario.compares_p50,
            )
            if participant.name == BASELINE and scenario.baseline_load is not None:
                row.durability = f"WS, {participant.durability}"
            try:
                server = stack.enter_context(participant.run(stack.enter_context(new_folder(plan.folder))))
                if load := _load_for(participant, server, scenario):
                    fill(server, load.key_count)
                    entries.append((row, server, load))
                    rows.append(row)
            except FAILURES as error:
                row.error = str(error)
                rows.append(row)
        for round_number in range(plan.repeat):
            commits_ms.append(measure_commit(plan.folder))
            # To and fro, so that none is always measured after the same other.
            for row, server, load in entries if round_number % 2 == 0 else reversed(entries):
                if row.error is None:
                    _measure_into(row, server, load, plan.timing)
    _conclude(scenario, rows, statistics.median(commits_ms))
    return rows


def _measure_into(row: Row, server: Server, load: Load, timing: Timing) -> None:
    try:
        figures = measure(server, load, timing)
    except FAILURES as error:
        row.error = str(error)
        say(f"  {row.title}: {row.server} ({row.durability}) failed: {error}")
        return
    row.rounds.append(figures)
    say(
        f"  {row.title}: {row.server} ({row.durability}): {figures.operations_per_second:,.0f} {row.unit}/s,"
        f" p50 {figures.p50_ms:.3f} ms, p99 {figures.p99_ms:.3f} ms"
    )


def _conclude(scenario: Scenario, rows: list[Row], commit_ms: float) -> None:
    """Medians, ratios, targets."""
    for row in rows:
        row.commit_ms = commit_ms
        row.figures = median_figures(row.rounds) if row.error is None else None
    by_name = {row.server: row for row in rows}
    baseline, raw = by_name.get(BASELINE), by_name.get(RAW)
    for row in rows:
        if row.figures is None or row.server == RAW:
            continue
        own_load = row.server != BASELINE or scenario.baseline_load is None
        has_limit = own_load and row.server != "Redis" and not scenario.load.sets_per_second
        if has_limit and raw is not None and raw.figures is not None:
            row.generator_limit_share = row.figures.operations_per_second / raw.figures.operations_per_second
        if row.server == BASELINE or baseline is None or baseline.figures is None:
            continue
        pairs = list(zip(row.rounds, baseline.rounds, strict=True))
        if scenario.compares_p50:
            row.ratio = statistics.median(own.p50_ms / base.p50_ms for own, base in pairs)
        else:
            row.ratio = statistics.median(own.operations_per_second / base.operations_per_second for own, base in pairs)
        if row.figures.cpu_us_per_operation and baseline.figures.cpu_us_per_operation:
            row.cpu_ratio = baseline.figures.cpu_us_per_operation / row.figures.cpu_us_per_operation
        target = scenario.targets.get(row.durability) if row.server == "pynun" else None
        if target is not None:
            row.target = target.text
            row.holds = target.holds(Facts(row.figures.p50_ms, row.ratio, baseline.figures.p50_ms, commit_ms))


def run_keys(plan: Plan) -> list[Row]:
    """Set and get with many keys beside the same server with few, and what the many cost in memory."""
    if "pynun" not in plan.families:
        return []
    few = Load(connections=20)
    many = Load(connections=20, key_count=plan.key_count_many, key_sample=min(plan.key_count_many, 1 << 16))
    loads = {
        "set": (few, many),
        "get-safe": (replace(few, gets_percent=100), replace(many, gets_percent=100)),
    }
    rows: list[Row] = []
    with new_folder(plan.folder) as loaded:
        say(f"  filling a database with {plan.key_count_many:,} keys")
        try:
            with servers.run_pynun(loaded, "relaxed") as server:
                fill(server, plan.key_count_many)
            for durability in plan.durabilities:
                rows += _run_keys_with(durability, loads, loaded, plan)
        except FAILURES as error:
            title = f"WS, 20 connections, {plan.key_count_many:,} keys"
            rows.append(
                Row(scenario=KEYS_SCENARIO, title=title, server="pynun", durability="-", unit="op", error=str(error))
            )
    return rows


def _copy_to_disk(source: Path, target: Path) -> None:
    """Copy a folder's files and wait until they are on disk, so that no commit that is measured waits for them."""
    shutil.copytree(source, target)
    for path in target.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _run_keys_with(durability: str, loads: dict[str, tuple[Load, Load]], loaded: Path, plan: Plan) -> list[Row]:
    rows = []
    with contextlib.ExitStack() as stack:
        few_folder = stack.enter_context(new_folder(plan.folder))
        many_folder = stack.enter_context(new_folder(plan.folder))
        _copy_to_disk(loaded / "dbs", many_folder / "dbs")
        few_server = stack.enter_context(servers.run_pynun(few_folder, durability))
        fill(few_server, KEY_COUNT)
        many_server = stack.enter_context(servers.run_pynun(many_folder, durability))
        say(f"  ready with {plan.key_count_many:,} keys after {many_server.start_seconds:.2f} s")
        for operation, (few, many) in loads.items():
            pair = []
            for load, server in ((few, few_server), (many, many_server)):
                row = Row(
                    scenario=f"{KEYS_SCENARIO}-{operation}",
                    title=f"WS, 20 connections, {operation}, {load.key_count:,} keys",
                    server=server.name,
                    durability=durability,
                    unit="op",
                    start_seconds=server.start_seconds,
                )
                pair.append((row, server, load))
                rows.append(row)
            for round_number in range(plan.repeat):
                for row, server, load in pair if round_number % 2 == 0 else reversed(pair):
                    if row.error is None:
                        _measure_into(row, server, load, plan.timing)
            _conclude_keys(pair[0][0], pair[1][0])
    return rows


def _conclude_keys(few: Row, many: Row) -> None:
    for row in (few, many):
        row.figures = median_figures(row.rounds) if row.error is None else None
    if few.figures is None or many.figures is None:
        return
    many.ratio = statistics.median(
        own.operations_per_second / other.operations_per_second
        for own, other in zip(many.rounds, few.rounds, strict=True)
    )
    many.target = KEYS_TARGET.text
    many.holds = KEYS_TARGET.holds(Facts(many.figures.p50_ms, many.ratio, few.figures.p50_ms, 0))
    if few.figures.rss_anon_bytes is not None and many.figures.rss_anon_bytes is not None:
        many.memory_growth_mib = (many.figures.rss_anon_bytes - few.figures.rss_anon_bytes) / MIB
        many.target += f", RssAnon + ≤ {GROWTH_MIB_MAX:g} MiB"
        many.holds = many.holds and many.memory_growth_mib <= GROWTH_MIB_MAX


def run_idle(plan: Plan) -> list[Row]:
    """Memory of many connections that selected a database and do nothing."""
    rows = []
    for participant in participants_of(plan):
        if participant.name in ("Redis", RAW) or (participant.name == "pynun" and participant.durability != "relaxed"):
            continue  # durability has nothing to do with idle connections: one of them is enough
        row = Row(
            scenario=IDLE_SCENARIO,
            title=f"{plan.idle_connections:,} idle connections",
            server=participant.name,
            durability=participant.durability,
            unit="connection",
        )
        try:
            with new_folder(plan.folder) as folder, participant.run(folder) as server:
                if server.pid is None:
                    continue
                before, after = idle_memory(server, plan.idle_connections)
        except FAILURES as error:
            row.error = str(error)
        else:
            row.kib_per_connection = (after.rss_anon_bytes - before.rss_anon_bytes) / 1024 / plan.idle_connections
            row.figures = Figures(
                operations_per_second=0, p50_ms=0, p99_ms=0, rss_anon_bytes=after.rss_anon_bytes,
                rss_bytes=after.rss_bytes,
            )  # fmt: skip
            if participant.name == "pynun":
                row.target = f"≤ {IDLE_KIB_MAX:g} KiB a connection"
                row.holds = row.kib_per_connection <= IDLE_KIB_MAX
            say(f"  {row.title}: {row.server}: {row.kib_per_connection:.1f} KiB a connection")
        rows.append(row)
    return rows


def median_figures(rounds: Iterable[Figures]) -> Figures | None:
    """The median of each figure; None of no rounds."""
    rounds = list(rounds)
    if not rounds:
        return None

    def median(get: Callable[[Figures], float | None]) -> float | None:
        known = [value for one in rounds if (value := get(one)) is not None]
        return statistics.median(known) if known else None

    def median_bytes(get: Callable[[Figures], float | None]) -> int | None:
        value = median(get)
        return None if value is None else int(value)

    return Figures(
        operations_per_second=statistics.median(one.operations_per_second for one in rounds),
        p50_ms=statistics.median(one.p50_ms for one in rounds),
        p99_ms=statistics.median(one.p99_ms for one in rounds),
        max_ms=statistics.median(one.max_ms for one in rounds),
        cpu_us_per_operation=median(lambda one: one.cpu_us_per_operation),
        rss_anon_bytes=median_bytes(lambda one: one.rss_anon_bytes),
        rss_bytes=median_bytes(lambda one: one.rss_bytes),
        generator_cpu_share=statistics.median(one.generator_cpu_share for one in rounds),
        others_cpu_share=statistics.median(one.others_cpu_share for one in rounds),
    )
