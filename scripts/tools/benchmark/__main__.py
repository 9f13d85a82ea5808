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
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.benchmark import machine, plots, report, servers
from tools.benchmark.cluster import measure_cluster
from tools.benchmark.load import raise_descriptor_limit
from tools.benchmark.measure import Timing
from tools.benchmark.profile import profile_scenario
from tools.benchmark.runs import FAILURES, Plan, Row, run_commit, run_idle, run_keys, run_scenario, say
from tools.benchmark.scale import PARTS, SLOW_READER, ScalePlan, run_scale
from tools.benchmark.scenarios import COMMIT_SCENARIO, IDLE_SCENARIO, KEYS_SCENARIO, SCENARIOS
from tools.benchmark.viewers import measure_viewers, summary
from tools.clients.server import REPOSITORY, file_system_type
from tools.etcd.program import MissingEtcdError

if TYPE_CHECKING:
    from collections.abc import Sequence

FAMILIES = ("baseline", "pynun", "redis", "raw")
DURABILITIES = ("relaxed", "always")
NAMES = (*(scenario.name for scenario in SCENARIOS), KEYS_SCENARIO, IDLE_SCENARIO, COMMIT_SCENARIO)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Starts the server as users do, drives it from separate processes beside a plain trio-websocket"
        " server, Redis and a server that does nothing, and prints one table. docs/performance.md explains it.",
        epilog="scenarios: " + ", ".join(NAMES),
    )
    what = parser.add_argument_group("what is measured").add_argument
    what("--scenario", action="append", choices=NAMES, metavar="NAME", help="only this; repeatable")
    what("--durability", choices=DURABILITIES, help="of the server; default: both")
    what("--server", action="append", choices=FAMILIES, help="only this and the externals; repeatable; default: all")
    what(
        "--external", action="append", default=[], type=_external, metavar="NAME=ws://USER:PASSWORD@HOST:PORT",
        help="also a server that already runs; ?tcp=PORT&http=PORT&pid=ID may follow; repeatable",
    )  # fmt: skip
    what(
        "--scale", action="append", nargs="?", const="all", default=[], choices=("all", *PARTS), metavar="PART",
        help=f"how time and memory grow instead of all this: {', '.join(PARTS)}; repeatable; default: all of them",
    )  # fmt: skip
    what(
        "--slow-reader", action="store_true",
        help="one stopped reader among 100 watchers instead, for --seconds (default 60); exit 1 when it costs memory,"
        " or gets the wrong last value",
    )  # fmt: skip
    what(
        "--viewers", action="store_true",
        help="only from camera to camera between two released OHIF viewers; takes minutes, and needs npm and Chromium",
    )  # fmt: skip
    what(
        "--cluster", action="store_true",
        help="clusters of 1, 2, 3 nodes beside a single server instead; needs Go, for etcd; exit 1 when a target is not"
        " reached",
    )  # fmt: skip
    what("--calibrate", action="store_true", help="only the load generator's own limit")
    what("--profile", action="store_true", help="only where the server's time goes, by py-spy")
    how = parser.add_argument_group("how").add_argument
    how("--quick", action="store_true", help="a minute or two in all: short, one round, fewer keys and connections")
    how("--seconds", type=float, help="of each measurement; default 3")
    how("--repeat", type=int, help="rounds, of which the median is shown; default 3 (--scale: 1)")
    how("--keys", type=int, help=f"of the scenario {KEYS_SCENARIO}; default 1,000,000")
    how("--keys-max", type=int, help="of --scale; default 10,000,000, which take 5 GB of disk")
    how("--connections-max", type=int, help="of --scale; default 5,000")
    how("--idle-connections", type=int, help=f"of the scenario {IDLE_SCENARIO}; default 5,000")
    how("--generators", type=int, default=1, help="processes that drive connections; default 1")
    how("--data-dir", type=Path, help="the folder, on the disk to measure, for all data; default /var/tmp")
    out = parser.add_argument_group("what comes out").add_argument
    out("--json", type=Path, metavar="FILE", help="also write all figures, of each round, as JSON")
    out("--plot", type=Path, metavar="DIR", help="also draw what --scale or --cluster gave, as SVG")
    out("--check", action="store_true", help="exit 1 when a target is not reached")
    return parser


def _external(text: str) -> servers.External:
    try:
        return servers.parse_external(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _set_defaults(options: argparse.Namespace) -> None:
    """What was not given depends on whether the run is a quick one."""
    defaults: dict[str, Any] = {
        "seconds": (3.0, 0.4), "repeat": (1 if options.scale else 3, 1), "keys": (1_000_000, 20_000),
        "keys_max": (10_000_000, 20_000), "idle_connections": (5000, 500), "connections_max": (5000, 100),
    }  # fmt: skip
    if options.slow_reader:
        defaults["seconds"] = (60.0, 3.0)
    for name, (whole, quick) in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else whole)


def _plan(options: argparse.Namespace, folder: Path) -> Plan:
    return Plan(
        timing=Timing(options.seconds, min(1.0, options.seconds / 3), options.generators),
        repeat=options.repeat,
        durabilities=(options.durability,) if options.durability else DURABILITIES,
        families=frozenset({"raw"} if options.calibrate else options.server or FAMILIES),
        externals=() if options.calibrate else tuple(options.external),
        keys=options.keys,
        idle_connections=options.idle_connections,
        folder=folder,
    )


def _disk_folder() -> Path:
    """Where temporary data go by default: the first usual place that is not kept in memory."""
    candidates = [Path("/var/tmp"), Path(tempfile.gettempdir()), REPOSITORY]
    for candidate in candidates:
        if os.access(candidate, os.W_OK) and file_system_type(candidate) not in machine.IN_MEMORY:
            return candidate
    return candidates[1]


def _run(chosen: Sequence[str], plan: Plan) -> list[Row]:
    rows = [row for scenario in SCENARIOS if scenario.name in chosen for row in run_scenario(scenario, plan)]
    if "pynun" in plan.families:
        rows += run_keys(plan) if KEYS_SCENARIO in chosen else []
    rows += run_idle(plan) if IDLE_SCENARIO in chosen else []
    return rows + (run_commit(plan) if COMMIT_SCENARIO in chosen else [])


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = _parser()
    options = parser.parse_args()
    _set_defaults(options)
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
        try:
            for scenario in SCENARIOS:
                for durability in plan.durabilities if scenario.name in chosen else ():
                    print(profile_scenario(scenario, durability, plan), end="\n\n")
        except FAILURES as error:
            sys.exit(str(error))
        return 0
    redis = servers.find_redis()
    shown = ("seconds", "repeat", "keys", "idle_connections", "keys_max", "connections_max", "generators")
    about: dict[str, Any] = {
        "format": report.FORMAT,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": machine.commit_id(),
        "machine": machine.describe_machine(plan.folder),
        "versions": machine.versions(None if redis is None else servers.redis_version(redis)),
        "options": {name: getattr(options, name) for name in shown},
    }
    found: dict[str, Any]
    if options.viewers:
        try:
            figures = measure_viewers()
        except FAILURES as error:
            sys.exit(str(error))
        found, texts, failed = {"viewers": figures}, [summary(figures)], False
    elif options.cluster:
        try:
            sections, holds = measure_cluster(plan)
        except (*FAILURES, MissingEtcdError) as error:
            sys.exit(str(error))
        found = {"cluster": [asdict(section) for section in sections]}
        texts, failed = [section.table() + "\n" for section in sections], not holds
    elif options.scale or options.slow_reader:
        found, texts, failed = _measure_scale(options, plan)
    else:
        found, texts, failed = _measure_rows(options, chosen, plan, redis_is_missing=redis is None)
    heading = [", ".join(f"{name} {value}" for name, value in about[part].items()) for part in ("machine", "versions")]
    print("\n".join([f"commit {about['commit']}, {about['started']}", *heading, "", *texts]))
    if options.json:
        options.json.write_text(json.dumps(about | found, indent=1) + "\n", encoding="utf-8")
    if options.plot and (drawn := found.get("scale") or found.get("cluster")):
        print("\n".join(map(str, plots.draw(drawn, options.plot))))
    return int(failed)


def _measure_rows(
    options: argparse.Namespace, chosen: Sequence[str], plan: Plan, *, redis_is_missing: bool
) -> tuple[dict[str, Any], list[str], bool]:
    """The table: for JSON, as text, and whether the run failed."""
    rows = _run(chosen, plan)
    remarks = report.notes(
        rows,
        redis_is_missing=redis_is_missing and "redis" in plan.families,
        file_system_is_memory=file_system_type(plan.folder) in machine.IN_MEMORY,
    )
    table = report.table(rows if options.calibrate else [row for row in rows if row.server != servers.RAW])
    failed = any(row.error is not None or (options.check and row.holds is False) for row in rows)
    return {"notes": remarks, "results": [asdict(row) for row in rows]}, [table, *remarks], failed


def _measure_scale(options: argparse.Namespace, plan: Plan) -> tuple[dict[str, Any], list[str], bool]:
    """What grows, and the slow reader: for JSON, as text, and whether it failed."""
    scale = ScalePlan(
        plan=plan, keys_max=options.keys_max, connections_max=options.connections_max, is_quick=options.quick
    )
    parts = (*(PARTS if "all" in options.scale else options.scale), *([SLOW_READER] if options.slow_reader else []))
    sections = run_scale(parts, scale)
    remarks = report.noise_notes([section.others_cpu_share for section in sections])
    found = {"scale": [asdict(section) for section in sections], "notes": remarks}
    texts = [section.table() + "\n" for section in sections]
    return found, [*texts, *remarks], any(section.error for section in sections)


if __name__ == "__main__":
    sys.exit(main())
