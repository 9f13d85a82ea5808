"""The command line of the simulation: see scripts/simulate --help."""

from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback
from collections import Counter

from tests.simulation.cluster.simulation import Simulation as ClusterSimulation
from tests.simulation.cluster.simulation import SimulationError as ClusterSimulationError
from tests.simulation.simulation import Simulation, SimulationError

STEPS = 400
SESSIONS = 12
SECONDS = 60.0


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/simulate",
        description="Runs the engine, the steps of the committer and the outboxes under seeds, with sessions that come"
        " and go, passwords that are answered late, a disk that is slow or full, and crashes anywhere, and compares"
        " all with the model. Exit code 1 when a seed fails; the command that repeats it is printed.",
    )
    parser.add_argument("--seed", type=int, default=1, help="the first seed; default 1")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, one after another; default 1")
    parser.add_argument(
        "--cluster", action="store_true", help="simulate nodes on an etcd instead, with their elections"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of each run of a cluster; default {SECONDS:g}")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of each run; default {STEPS}")
    parser.add_argument("--sessions", type=int, default=SESSIONS, help=f"open at once, at most; default {SESSIONS}")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # of the committer, about the disk that is full
    counts: Counter[str] = Counter()
    failed = 0
    began = time.monotonic()
    for seed in range(options.seed, options.seed + options.seeds):
        simulation: Simulation | ClusterSimulation
        if options.cluster:
            simulation = ClusterSimulation(seed, seconds=options.seconds)
        else:
            simulation = Simulation(seed, steps=options.steps, sessions_max=options.sessions)
        try:
            simulation.run()
        except (SimulationError, ClusterSimulationError) as error:
            failed += 1
            print(f"seed {seed} failed: {error}", flush=True)
        except Exception:
            failed += 1
            traceback.print_exc()
            print(f"seed {seed} failed: {simulation.replay}", flush=True)
        counts.update(simulation.counts)
        if options.seeds == 1:
            print(f"seed {seed}: trace {simulation.trace}")
    print(
        f"{options.seeds} seeds, {failed} failed: "
        + ", ".join(f"{count:,} {name}" for name, count in counts.items())
        + f"; {time.monotonic() - began:.1f} s"
    )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
