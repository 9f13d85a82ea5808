"""The command line of the benchmark: see scripts/bench --help."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tools.benchmark import machine, plots, report, servers, slow_reader
from tools.benchmark.measure import Timing
from tools.benchmark.processes import REPOSITORY, raise_descriptor_limit
from tools.benchmark.profile import profile_scenario
from tools.benchmark.runs import Plan, Row, run_idle, run_keys, run_scenario, say
from tools.benchmark.scale import PARTS, plan_of, run_scale
from tools.benchmark.scenarios import IDLE_CONNECTIONS, IDLE_SCENARIO, KEY_COUNT_MANY, KEYS_SCENARIO, SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FAMILIES = ("baseline", "pynun", "redis", "raw")
DURABILITIES = ("relaxed", "always")
SCALE_KEYS_MAX = 10_000_000
SCALE_CONNECTIONS_MAX = 5000
SLOW_READER_SECONDS = 60.0
NAMES = (*(scenario.name for scenario in SCENARIOS), KEYS_SCENARIO, IDLE_SCENARIO)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Starts the server as users do, drives it from separate processes beside a plain trio-websocket"
        " server, Redis and a server that does nothing, and prints one table. docs/performance.md explains it.",
        epilog="scenarios: " + ", ".join(NAMES),
    )
    choose = parser.add_argument_group("what is measured")
    choose.add_argument("--scenario", action="append", choices=NAMES, metavar="NAME", help="only this; repeatable")
    choose.add_argument("--durability", choices=DURABILITIES, help="of the server; default: both")
    choose.add_argument(
        "--server", action="append", choices=FAMILIES, help="only this and the externals; repeatable; default: all"
    )
    choose.add_argument(
        "--external", action="append", default=[], type=_external, metavar="NAME=ws://USER:PASSWORD@HOST:PORT",
        help="also a server that already runs; ?tcp=PORT&http=PORT&pid=ID may follow; repeatable",
    )  # fmt: skip
    choose.add_argument(
        "--scale", action="append", nargs="?", const="all", choices=("all", *PARTS), metavar="PART",
        help="how time and memory of the server grow instead of all this: with " + ", ".join(PARTS) + "; repeatable;"
        " default: all of them",
    )  # fmt: skip
    choose.add_argument(
        "--slow-reader", action="store_true",
        help=f"one stopped reader among {slow_reader.WATCHERS} watchers instead, for --seconds (default"
        f" {SLOW_READER_SECONDS:g}); exit 1 when it costs memory, or gets the wrong last value",
    )  # fmt: skip
    choose.add_argument("--calibrate", action="store_true", help="only the load generator's own limit")
    choose.add_argument("--profile", action="store_true", help="only where the server's time goes, under cProfile")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--quick", action="store_true", help="a minute or two in all: short, one round, fewer keys and connections"
    )
    how.add_argument("--seconds", type=float, help="of each measurement; default 3")
    how.add_argument("--repeat", type=int, help="rounds, of which the median is shown; default 3")
    how.add_argument("--keys", type=int, help=f"of the scenario {KEYS_SCENARIO}; default {KEY_COUNT_MANY:,}")
    how.add_argument("--keys-max", type=int, help=f"of --scale; default {SCALE_KEYS_MAX:,}, which take 5 GB of disk")
    how.add_argument("--connections-max", type=int, help=f"of --scale; default {SCALE_CONNECTIONS_MAX:,}")
    how.add_argument("--idle-connections", type=int, help=f"of {IDLE_SCENARIO}; default {IDLE_CONNECTIONS:,}")
    how.add_argument("--generators", type=int, default=1, help="processes that drive connections; default 1")
    how.add_argument("--data-dir", type=Path, help="the folder, on the disk to measure, for all data; default /var/tmp")
    out = parser.add_argument_group("what comes out")
    out.add_argument("--json", type=Path, metavar="FILE", help="also write all figures, of each round, as JSON")
    out.add_argument("--plot", type=Path, metavar="DIR", help="also draw what --scale and --slow-reader gave, as SVG")
    out.add_argument("--check", action="store_true", help="exit 1 when a target is not reached")
    return parser


def _external(text: str) -> servers.External:
    try:
        return servers.parse_external(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _plan(options: argparse.Namespace, folder: Path) -> Plan:
    seconds, repeat, keys, idle = (0.4, 1, 20_000, 500) if options.quick else (3.0, 3, KEY_COUNT_MANY, IDLE_CONNECTIONS)
    seconds = seconds if options.seconds is None else options.seconds
    families = frozenset(options.server or FAMILIES)
    if options.calibrate:
        families = frozenset({"raw"})
    return Plan(
        timing=Timing(seconds, warmup_seconds=min(1.0, seconds / 3), generators=options.generators),
        repeat=repeat if options.repeat is None else options.repeat,
        durabilities=DURABILITIES if options.durability is None else (options.durability,),
        families=families,
        externals=() if options.calibrate else tuple(options.external),
        key_count_many=keys if options.keys is None else options.keys,
        idle_connections=idle if options.idle_connections is None else options.idle_connections,
        folder=folder,
    )


def _disk_folder() -> Path:
    """Where temporary data go by default: the first usual place that is not kept in memory."""
    candidates = [Path("/var/tmp"), Path(tempfile.gettempdir()), REPOSITORY]
    for candidate in candidates:
        if os.access(candidate, os.W_OK) and machine.file_system_type(candidate) not in machine.IN_MEMORY:
            return candidate
    return candidates[1]


def _run(chosen: Sequence[str], plan: Plan) -> list[Row]:
    rows: list[Row] = []
    for scenario in SCENARIOS:
        if scenario.name in chosen:
            rows += run_scenario(scenario, plan)
    if KEYS_SCENARIO in chosen:
        rows += run_keys(plan)
    if IDLE_SCENARIO in chosen:
        rows += run_idle(plan)
    return rows


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = _parser()
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # so that every child is ended
    raise_descriptor_limit()
    if options.plot:
        try:
            plots.load_matplotlib()
        except plots.PlotError as error:
            parser.error(str(error))
    folder = Path(tempfile.mkdtemp(prefix="pynun-bench-", dir=options.data_dir or _disk_folder()))
    try:
        return _measure(options, _plan(options, folder))
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(options: argparse.Namespace, plan: Plan) -> int:
    chosen = options.scenario or NAMES
    if options.profile:
        for scenario in SCENARIOS:
            for durability in plan.durabilities if scenario.name in chosen else ():
                print(profile_scenario(scenario, durability, plan), end="\n\n")
        return 0
    redis = servers.find_redis()
    about = {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": machine.commit_id(),
        "machine": machine.describe_machine(plan.folder),
        "versions": machine.versions(None if redis is None else servers.redis_version(redis)),
        "options": {
            "seconds": plan.timing.seconds,
            "warmup_seconds": plan.timing.warmup_seconds,
            "generators": plan.timing.generators,
            "rounds": plan.repeat,
            "keys": plan.key_count_many,
            "idle_connections": plan.idle_connections,
        },
    }
    if options.scale or options.slow_reader:
        return _measure_scale(options, plan, about)
    rows = _run(chosen, plan)
    remarks = report.notes(
        rows,
        redis_is_missing=redis is None and "redis" in plan.families,
        file_system_is_memory=machine.file_system_type(plan.folder) in machine.IN_MEMORY,
    )
    print(_heading(about))
    print(report.table(rows if options.calibrate else [row for row in rows if not report.is_raw(row)]))
    for remark in remarks:
        print(remark)
    if options.json:
        options.json.write_text(json.dumps(report.as_json(rows, about, remarks), indent=1) + "\n", encoding="utf-8")
    failed = any(row.error is not None for row in rows)
    return int(failed or (options.check and any(row.holds is False for row in rows)))


def _measure_scale(options: argparse.Namespace, plan: Plan, about: Mapping[str, object]) -> int:
    """What grows, and the slow reader; return the exit code."""
    parts = options.scale or ()
    keys_max, connections_max = (20_000, 100) if options.quick else (SCALE_KEYS_MAX, SCALE_CONNECTIONS_MAX)
    scale_plan = plan_of(
        timing=plan.timing,
        repeat=options.repeat or 1,
        durabilities=plan.durabilities,
        folder=plan.folder,
        keys_max=options.keys_max or keys_max,
        connections_max=options.connections_max or connections_max,
        is_quick=options.quick,
    )
    sections = run_scale(tuple(PARTS) if "all" in parts else parts, scale_plan)
    seconds = options.seconds or (3.0 if options.quick else SLOW_READER_SECONDS)
    readers = [
        slow_reader.run_slow_reader(durability, seconds, plan.folder)
        for durability in (plan.durabilities if options.slow_reader else ())
    ]
    remarks = report.noise_notes([section.others_cpu_share for section in sections])
    remarks += report.noise_notes([phase.figures.others_cpu_share for reader in readers for phase in reader.phases])
    print(_heading(about))
    print("\n\n".join([*(section.table() for section in sections), *(reader.table() for reader in readers), *remarks]))
    figures = report.scale_as_json(sections, readers, about, remarks)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        print("\n".join(["", *map(str, plots.draw(json.loads(json.dumps(figures)), options.plot))]))
    return int(any(section.error for section in sections) or any(reader.complaints for reader in readers))


def _heading(about: Mapping[str, object]) -> str:
    lines = [f"commit {about['commit']}, {about['started']}"]
    for part in ("machine", "versions", "options"):
        values = about[part]
        assert isinstance(values, dict)
        lines.append(", ".join(f"{name} {value}" for name, value in values.items()))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
