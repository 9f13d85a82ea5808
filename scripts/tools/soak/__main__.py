"""The command line of the long run: see scripts/soak --help."""

from __future__ import annotations

import argparse
import datetime
import json
import random
import shutil
import signal
import sys
import tempfile
import traceback
from dataclasses import asdict
from pathlib import Path

from tools.benchmark.machine import commit_id, describe_machine, versions
from tools.clients.server import Server, real_disk_folder
from tools.soak import killing, report, steady
from tools.soak.run import Run

KILLS = 200
MINUTES = 15.0
SHORT_SECONDS = 60.0
"""A shorter run has shorter rounds, and is too short to say anything about growth."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/soak",
        description="Starts a real server and loads it from all three transports: half of the time one server that"
        " lives long, with connections that come and go, the other half servers that are killed at random moments and"
        " started again. Exit code 1 when anything acknowledged is lost, anything is half there, or memory,"
        " descriptors or the data file grow. docs/reliability.md explains it.",
    )
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"how long, about; default {MINUTES:g}")
    parser.add_argument("--kills", type=int, default=KILLS, help=f"how often it is killed; default {KILLS}")
    parser.add_argument("--seed", type=int, help="of everything random but the timing; default: a new one, printed")
    parser.add_argument("--data-dir", type=Path, help="the folder, on a real disk, in which the data folder is made")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures and samples as JSON")
    parser.add_argument(
        "--durability", choices=("always", "relaxed"), default="always",
        help="of the server; with relaxed, kills lose the last moment: the way to see that a loss is found",
    )  # fmt: skip
    return parser


def main() -> int:
    """Run it; return the exit code."""
    options = _parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # so that the server is ended
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="pynun-soak-", dir=options.data_dir or real_disk_folder()))
    about: dict[str, object] = {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit_id(),
        "machine": describe_machine(folder),
        "versions": versions(None),
        "options": {
            "minutes": options.minutes,
            "kills": options.kills,
            "seed": seed,
            "durability": options.durability,
        },
    }
    is_good = False
    try:
        is_good = _soak(options, seed, folder, about)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        if is_good:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"the data folder was kept: {folder}", file=sys.stderr)
    return 0 if is_good else 1


def _soak(options: argparse.Namespace, seed: int, folder: Path, about: dict[str, object]) -> bool:
    """Both phases, then the report; whether all is good."""
    seconds = options.minutes * 60
    trouble: str | None = None
    with Server(folder / "dbs", environment={"NUN_DURABILITY": options.durability}) as server:
        run = Run(server, random.Random(seed))
        run.say(f"seed {seed}, data in {folder}")
        try:
            run.prepare()
            is_short = seconds < SHORT_SECONDS
            steady.run_rounds(
                run,
                seconds / 2,
                slow_seconds=4.0 if is_short else 10.0,
                round_seconds=2.0 if is_short else steady.ROUND_SECONDS,
            )
            if options.kills:
                killing.run_kills(run, options.kills, seconds / 2)
        except Exception as error:
            trouble = "".join(traceback.format_exception(error))
            run.say("failed")
    phases = (steady.PHASE, killing.PHASE)
    growths = report.growths(run.figures, phases)
    print("\n".join(f"{name}: {value}" for name, value in about.items()))
    for phase in phases:
        print(f"\n{report.table(phase, run.figures.samples)}")
    print(f"\n{report.summary(run.figures)}")
    print("\n".join(map(str, growths)))
    is_good = trouble is None and all(growth.holds for growth in growths)
    if trouble is not None:
        print(f"\n{trouble}")
    good = "nothing was lost, nothing grows" if growths else "nothing was lost; too short to say anything about growth"
    print(good if is_good else "FAILED: see above")
    if options.json:
        found = {
            **about,
            "figures": asdict(run.figures),
            "growths": [{**asdict(growth), "holds": growth.holds} for growth in growths],
            "trouble": trouble,
            "is_good": is_good,
        }
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return is_good


if __name__ == "__main__":
    sys.exit(main())
