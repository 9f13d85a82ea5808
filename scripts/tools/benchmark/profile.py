"""Where the server's time goes: a scenario against the server under py-spy, which samples all threads.

It starts the server itself, so it needs no additional rights.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tools.benchmark import servers
from tools.benchmark.measure import measure
from tools.benchmark.processes import STOP_SECONDS_MAX, MeasureError, family
from tools.benchmark.runs import new_folder

if TYPE_CHECKING:
    from tools.benchmark.runs import Plan
    from tools.benchmark.scenarios import Scenario

FUNCTIONS = 20
SAMPLES_PER_SECOND = 200


def profile_scenario(scenario: Scenario, durability: str, plan: Plan) -> str:
    """Run a scenario; return its figures and the functions that took most time themselves, start-up included."""
    program = Path(sys.executable).with_name("py-spy")
    if not program.exists():
        raise MeasureError(f"py-spy is missing: {sys.executable} -m pip install py-spy")
    with new_folder(plan.folder) as folder:
        path = folder / "stacks"
        record = [
            str(program),
            "record",
            "--format",
            "raw",
            "--rate",
            str(SAMPLES_PER_SECOND),
            "--output",
            str(path),
            "--",
        ]
        with servers.run_pynun(folder, durability, record) as server:
            servers.fill(server, scenario.drive.key_count)
            figures = measure(server, scenario.drive, plan.timing)
            _end_profiled(server.pid)
        counted: Counter[str] = Counter()
        for line in path.read_text(encoding="utf-8").splitlines():
            stack, _, samples = line.rpartition(" ")
            counted[stack.rpartition(";")[2]] += int(samples)
    lines = [
        f"{scenario.title}, {durability}, under py-spy: {figures['operations_per_second']:,.0f} {scenario.unit}/s",
        " share  function, file, line",
    ]
    lines += [f"{samples / counted.total():6.1%}  {name}" for name, samples in counted.most_common(FUNCTIONS)]
    return "\n".join(lines)


def _end_profiled(profiler: int) -> None:
    """End the server, and wait until the profiler has written its file and ended too."""
    os.kill(family(profiler)[1], signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS_MAX
    while Path(f"/proc/{profiler}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z":
        if time.monotonic() > deadline:
            raise MeasureError("py-spy did not end")
        time.sleep(0.05)
