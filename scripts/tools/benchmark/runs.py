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
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tools.benchmark import servers
from tools.benchmark.measure import Figures, Timing, commit_calls, disk_commit_ms, idle_memory, measure, median_of
from tools.benchmark.processes import MeasureError
from tools.benchmark.scenarios import (
    COMMIT_SCENARIO,
    GROWTH_MIB_MAX,
    IDLE_KIB_MAX,
    IDLE_SCENARIO,
    KEY_COUNT,
    KEYS_SCENARIO,
    KEYS_TARGET,
    Drive,
    Facts,
    Scenario,
)
from tools.benchmark.servers import BASELINE, RAW, REDIS
from tools.benchmark.wire import WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from tools.benchmark.servers import External, Server

MIB = 1024 * 1024

FAILURES = (MeasureError, WireError, OSError)
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
    keys: int
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
    unit: str = "op"
    figures: Figures = field(default_factory=dict)
    """Medians over the rounds."""
    rounds: list[Figures] = field(default_factory=list)
    ratio: float | None = None
    ratio_is_of_p50: bool = False
    cpu_ratio: float | None = None
    """The baseline's processor time for an operation to this server's: what other processes disturb least."""
    generator_limit_share: float | None = None
    """Operations per second as a part of what the load generator reaches against a server that does nothing."""
    target: str | None = None
    holds: bool | None = None
    error: str | None = None


class Entry(NamedTuple):
    """A server that runs, what it does, and the row for that."""

    row: Row
    server: Server
    drive: Drive


def participants_of(plan: Plan) -> list[Participant]:
    """Everything that is compared, the baseline first and the raw limit last."""
    found = [Participant(BASELINE, "no disk", servers.run_baseline)]
    found += [Participant("pynun", one, partial(servers.run_pynun, durability=one)) for one in plan.durabilities]
    if redis := servers.find_redis():
        found += [
            Participant(REDIS, policy, partial(servers.run_redis, program=redis, appendfsync=policy))
            for policy in ("everysec", "always")
        ]
    found.append(Participant(RAW, "no disk", servers.run_raw))
    chosen = [one for one in found if one.name.lower().partition(" ")[0] in plan.families]
    externals = [
        Participant(one.name, "its own", partial(servers.use_external, external=one)) for one in plan.externals
    ]
    at = next((index for index, one in enumerate(chosen) if one.name in (REDIS, RAW)), len(chosen))
    return [*chosen[:at], *externals, *chosen[at:]]


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


def run_scenario(scenario: Scenario, plan: Plan) -> list[Row]:
    """Measure one scenario with every participant that can do it."""
    rows: list[Row] = []
    commits_ms: list[float] = []
    with contextlib.ExitStack() as stack:
        entries: list[Entry] = []
        for participant in participants_of(plan):
            what, durability, unit = scenario.drive, participant.durability, scenario.unit
            if participant.name == BASELINE and scenario.baseline_drive is not None:
                what, durability, unit = scenario.baseline_drive, f"WS, {durability}", "op"
            if participant.name == REDIS and not scenario.has_redis:
                continue
            row = Row(
                scenario=scenario.name, title=scenario.title, server=participant.name, durability=durability,
                unit=unit, ratio_is_of_p50=scenario.compares_p50,
            )  # fmt: skip
            try:
                server = stack.enter_context(participant.run(stack.enter_context(new_folder(plan.folder))))
                if participant.name != REDIS and what.protocol not in server.addresses:
                    continue
                servers.fill(server, what.key_count, what.watched_keys)
                entries.append(Entry(row, server, what))
            except FAILURES as error:
                row.error = str(error)
            rows.append(row)
        measure_in_turn(entries, plan, lambda: commits_ms.append(disk_commit_ms(plan.folder)))
    _conclude(scenario, rows, statistics.median(commits_ms))
    return rows


def measure_in_turn(entries: Sequence[Entry], plan: Plan, before_round: Callable[[], None] = lambda: None) -> None:
    """Measure all of them in each round, to and fro, so that none is always measured after the same other."""
    for round_number in range(plan.repeat):
        before_round()
        for row, server, what in entries if round_number % 2 == 0 else reversed(entries):
            if row.error is not None:
                continue
            try:
                figures = measure(server, what, plan.timing)
            except FAILURES as error:
                row.error = str(error)
                say(f"  {row.title}: {row.server} ({row.durability}) failed: {error}")
                continue
            row.rounds.append(figures)
            say(
                f"  {row.title}: {row.server} ({row.durability}): {figures['operations_per_second']:,.0f} {row.unit}/s,"
                f" p50 {figures['p50_ms']:.3f} ms, p95 {figures['p95_ms']:.3f} ms, p99 {figures['p99_ms']:.3f} ms"
            )
    for row, _, _ in entries:
        row.figures = median_of(row.rounds) if row.error is None else {}


def ratio_of(row: Row, base: Row, figure: str = "operations_per_second") -> float:
    """The median of the rounds' ratios."""
    return statistics.median(own[figure] / other[figure] for own, other in zip(row.rounds, base.rounds, strict=True))


def _conclude(scenario: Scenario, rows: list[Row], commit_ms: float) -> None:
    """Ratios, targets."""
    measured = [row for row in rows if row.figures]
    baseline, raw = (next((row for row in measured if row.server == name), None) for name in (BASELINE, RAW))
    for row in measured:
        row.figures["commit_ms"] = commit_ms
        own_load = row.server != BASELINE or scenario.baseline_drive is None
        if raw and row is not raw and own_load and row.server != REDIS and not scenario.drive.sets_per_second:
            row.generator_limit_share = ratio_of(row, raw)
        if row.server in (BASELINE, RAW) or baseline is None:
            continue
        row.ratio = ratio_of(row, baseline, "p50_ms" if scenario.compares_p50 else "operations_per_second")
        if row.figures.get("cpu_us_per_operation") and "cpu_us_per_operation" in baseline.figures:
            row.cpu_ratio = baseline.figures["cpu_us_per_operation"] / row.figures["cpu_us_per_operation"]
        target = scenario.targets.get(row.durability) if row.server == "pynun" else None
        if target is not None:
            facts = Facts(row.figures["p50_ms"], row.ratio, baseline.figures["p50_ms"], commit_ms)
            row.target, row.holds = target.text, target.holds(facts)


def run_keys(plan: Plan) -> list[Row]:
    """Set and get with many keys beside the same server with few, and what the many cost in memory."""
    rows: list[Row] = []
    with new_folder(plan.folder) as loaded:
        say(f"  filling a database with {plan.keys:,} keys")
        try:
            with servers.run_pynun(loaded, "relaxed") as server:
                servers.load_keys(server, 0, plan.keys)
            for durability in plan.durabilities:
                rows += _run_keys_with(durability, loaded, plan)
        except FAILURES as error:
            title = f"WS, 20 connections, {plan.keys:,} keys"
            rows.append(Row(scenario=KEYS_SCENARIO, title=title, server="pynun", durability="-", error=str(error)))
    return rows


def _copy_to_disk(source: Path, target: Path) -> None:
    """Copy a folder's files and wait until they are on disk, so that no commit that is measured waits for them."""
    shutil.copytree(source, target)
    for path in target.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _run_keys_with(durability: str, loaded: Path, plan: Plan) -> list[Row]:
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        few_folder, many_folder = (stack.enter_context(new_folder(plan.folder)) for _ in range(2))
        _copy_to_disk(loaded / "dbs", many_folder / "dbs")
        few_server = stack.enter_context(servers.run_pynun(few_folder, durability))
        servers.fill(few_server, KEY_COUNT)
        many_server = stack.enter_context(servers.run_pynun(many_folder, durability))
        say(f"  ready with {plan.keys:,} keys after {many_server.start_seconds:.2f} s")
        for name, gets_percent in (("set", 0), ("get-safe", 100)):
            pair = [
                Entry(
                    Row(
                        scenario=f"{KEYS_SCENARIO}-{name}", title=f"WS, 20 connections, {name}, {key_count:,} keys",
                        server="pynun", durability=durability,
                    ),
                    server,
                    Drive(connections=20, gets_percent=gets_percent, key_count=key_count),
                )
                for server, key_count in ((few_server, KEY_COUNT), (many_server, plan.keys))
            ]  # fmt: skip
            measure_in_turn(pair, plan)
            few, many = (entry.row for entry in pair)
            rows += [few, many]
            for row, server, _ in pair:
                row.figures["start_seconds"] = server.start_seconds
            if few.error is None and many.error is None:
                growth_mib = (many.figures["rss_anon_bytes"] - few.figures["rss_anon_bytes"]) / MIB
                many.figures["memory_growth_mib"] = growth_mib
                many.ratio = ratio_of(many, few)
                many.target = f"{KEYS_TARGET.text}, RssAnon + ≤ {GROWTH_MIB_MAX:g} MiB"
                many.holds = KEYS_TARGET.holds(Facts(0, many.ratio, 0, 0)) and growth_mib <= GROWTH_MIB_MAX
    return rows


def run_idle(plan: Plan) -> list[Row]:
    """Memory of many connections that selected a database and do nothing."""

    def judge(row: Row, server: Server, _folder: Path) -> None:
        row.figures = idle_memory(server, plan.idle_connections)
        if row.server == "pynun":
            row.target = f"≤ {IDLE_KIB_MAX:g} KiB a connection"
            row.holds = row.figures["kib_per_connection"] <= IDLE_KIB_MAX

    participants = participants_of(plan)
    # Durability has nothing to do with idle connections: one of them is enough.
    chosen = [one for one in participants if one.name not in (REDIS, RAW) and one.durability != "always"]
    return _run_once(IDLE_SCENARIO, f"{plan.idle_connections:,} idle connections", chosen or participants, plan, judge)


def run_commit(plan: Plan) -> list[Row]:
    """What one commit of ten changes costs: writes, syncs, bytes."""

    def judge(row: Row, server: Server, folder: Path) -> None:
        servers.fill(server, KEY_COUNT)
        row.figures = commit_calls(server, folder)

    # With `relaxed` one commit holds the changes of a tenth of a second.
    ours = [one for one in participants_of(plan) if one.name == "pynun" and one.durability == "always"]
    return _run_once(COMMIT_SCENARIO, "commit of 10 changes", ours, plan, judge)


def _run_once(
    scenario: str,
    title: str,
    participants: Sequence[Participant],
    plan: Plan,
    judge: Callable[[Row, Server, Path], None],
) -> list[Row]:
    """A row for each participant whose process is known, filled by `judge`."""
    rows = []
    for participant in participants:
        row = Row(scenario=scenario, title=title, server=participant.name, durability=participant.durability)
        try:
            with new_folder(plan.folder) as folder, participant.run(folder) as server:
                if not server.pid:
                    continue
                judge(row, server, folder)
        except FAILURES as error:
            row.error = str(error)
        say(f"  {title}: {row.server} ({row.durability}): {row.error or row.figures}")
        rows.append(row)
    return rows
