"""The command line of the long run of a cluster: see `scripts/soak --cluster --help`."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Final

from tests.linearizability.broken_server import BREAKAGES
from tests.linearizability.checker import MissingCheckerError, find_checker
from tests.linearizability.cluster.faults import FAULTS as KINDS
from tests.linearizability.cluster.machines import Machines
from tests.linearizability.cluster.run import Result, Run
from tools.benchmark.machine import commit_id, describe_machine
from tools.clients.server import real_disk_folder
from tools.etcd.cluster import EtcdCluster
from tools.etcd.program import MissingEtcdError, find_etcd

FAULTS: Final = 200
MINUTES: Final = 60.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/soak --cluster",
        description="Runs three nodes and three members of etcd on machines that are network namespaces, with clients"
        " on all nodes, and lets one thing after another fail: kills, clean stops, pauses, cut cables. Exit code 1 when"
        " anything acknowledged is lost, a history is not linearizable, the nodes differ at the end, or a kind of fault"
        " mostly takes longer than three times its bound. Needs root, the commands ip, nsenter and unshare, and Go.",
    )
    parser.add_argument("--faults", type=int, default=FAULTS, help=f"how many; default {FAULTS}")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"at least so long; default {MINUTES:g}")
    parser.add_argument("--seed", type=int, help="of everything random but the timing; default: a new one, printed")
    parser.add_argument("--data-dir", type=Path, help="the folder, on a real disk, in which the data folders are made")
    parser.add_argument(
        "--rest-seconds",
        type=float,
        default=0.0,
        help="of each writer before a change; default 0: they keep the processors busy",
    )
    parser.add_argument("--only", choices=[kind.kind for kind in KINDS], help="have only this kind of fault")
    parser.add_argument("--breakage", choices=BREAKAGES, help="of the nodes, to see that it is found")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures as JSON")
    return parser


def main() -> int:
    """Run it; return the exit code."""
    options = _parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # so that all is ended
    try:
        find_checker()
        find_etcd()
    except (MissingCheckerError, MissingEtcdError) as error:
        print(f"scripts/soak --cluster: {error}", file=sys.stderr)
        return 2
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="pynun-cluster-", dir=options.data_dir or real_disk_folder()))
    print(f"commit: {commit_id()}\nmachine: {describe_machine(folder)}\nseed: {seed}", flush=True)
    trouble = ""
    with Machines() as machines:
        hosts = [machine.host for machine in machines.machines]
        (folder / "etcd").mkdir()
        with EtcdCluster(folder / "etcd", len(hosts), hosts=hosts) as etcd:
            broken = "-m", "tests.linearizability.broken_server", options.breakage
            wrapper = (sys.executable, *broken) if options.breakage else ()
            run = Run(machines, etcd, folder, seed, wrapper, rest_seconds=options.rest_seconds)
            kinds = [kind for kind in KINDS if options.only in (None, kind.kind)]
            try:
                run.run(kinds, options.faults, options.minutes * 60)
            except Exception as error:
                trouble = "".join(traceback.format_exception(error))
    is_good = not trouble and run.result.is_good
    print(_table(run.result))
    print(_summary(run.result))
    print(trouble or ("nothing was lost" if is_good else "FAILED: see above"))
    if options.json:
        options.json.write_text(json.dumps({**asdict(run.result), "trouble": trouble, "is_good": is_good}, indent=1))
    if is_good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"the data folders were kept: {folder}", file=sys.stderr)
    return 0 if is_good else 1


def _table(result: Result) -> str:
    """For each kind of fault: how often, and the longest times without an answer."""
    lines = [
        "nobody answered, seconds",
        f"{'fault':<38} {'times':>5} {'median':>7} {'longest':>8} {'bound':>6} {'beyond':>7} {'worst client':>13}",
    ]
    silences = result.silences()
    for fault in KINDS:
        if some := silences.get(fault.kind):
            worst = max(one.worst_seconds for one in result.outcomes if one.kind == fault.kind)
            lines.append(
                f"{fault.kind:<38} {len(some):>5} {some[len(some) // 2]:>7.2f} {some[-1]:>8.2f}"
                f" {fault.bound_seconds:>6.1f} {sum(one > fault.bound_seconds for one in some):>7} {worst:>13.2f}"
            )
    return "\n".join(lines)


def _summary(result: Result) -> str:
    histories = f"{len(result.not_linearizable)} histories are NOT linearizable" if result.not_linearizable else ""
    return (
        f"{len(result.outcomes)} faults, {result.acknowledged:,} acknowledged changes, {len(result.lost)} lost;"
        f" {result.operations:,} operations in histories ({result.unknown:,} without an answer):"
        f" {histories or 'linearizable'}; the nodes are {'equal' if result.are_equal else 'NOT EQUAL'} at the end"
    )


if __name__ == "__main__":
    sys.exit(main())
